"""`market.calendar_file`: what it adds and corrects, what is refused, and that what is written is read."""

import datetime as dt
import os
import re
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError, UsageError
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.calendar_file import (
    FIRST_DATE,
    CalendarFile,
    SpecialSession,
    read_calendar_file,
    write_calendar_file,
)

HOLIDAYS = "{2027-01-26: A, 2027-03-22: B, 2027-03-26: C, 2027-04-14: D, 2027-10-29: E}"


def put(directory: Path, text: str) -> Path:
    """A calendar file."""
    path = directory / "calendar.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(directory: Path, text: str) -> MarketCalendar:
    """The calendar with a file of this text."""
    return MarketCalendar.load(put(directory, text))


def test_without_a_file_it_is_the_shipped_table() -> None:
    """Which begins where a file may begin."""
    calendar = MarketCalendar.load(None)
    assert (calendar.first_date, calendar.file) == (FIRST_DATE, CalendarFile())


def test_holidays_and_sessions_lie_over_the_table(tmp_path: Path) -> None:
    """A session becomes a holiday, a holiday an ordinary day, a Saturday and an evening sessions."""
    calendar = loaded(
        tmp_path,
        "holidays: {2026-12-30: Elections, '2026-02-01': No budget}\n"
        "sessions:\n"
        "  - {date: 2026-12-25}\n"
        "  - {date: 2026-12-26, name: full Saturday}\n"
        '  - {date: 2026-12-27, parts: [[18:00, "19:00"]], name: Muhurat}\n'
        '  - {date: 2026-12-28, parts: [["09:15", "10:00"], ["11:30", "12:30"]]}\n',
    )
    days = {number: calendar.session(dt.date(2026, 12, number)) for number in range(25, 31)}
    assert days.pop(30) is None
    assert calendar.closed_because(dt.date(2026, 12, 30)) == "Elections"
    assert calendar.session(dt.date(2026, 2, 1)) is None
    hours = {
        25: ("09:15", "15:15"), 26: ("09:15", "15:15"), 27: ("18:00", "19:00"), 28: ("09:15", "12:30"),
        29: ("09:15", "15:15"),
    }  # fmt: skip
    for number, session in days.items():
        assert session is not None
        assert (session.open_ns, session.close_ns) == tuple(ist_ns(session.date, clock) for clock in hours[number])
    assert calendar.session_at(ist_ns(dt.date(2026, 12, 28), "11:00")) is None
    assert calendar.parts(dt.date(2026, 12, 28)) == [("09:15", "10:00"), ("11:30", "12:30")]


def test_a_confirmed_year_has_the_holidays_of_the_file_and_no_others(tmp_path: Path) -> None:
    """Nothing is guessed of it; the year after it isn't confirmed."""
    calendar = loaded(tmp_path, f"confirmed_to: 2027-12-31\nholidays: {HOLIDAYS}\n")
    assert calendar.confirmed_to == dt.date(2027, 12, 31)
    assert calendar.doubt(dt.date(2027, 3, 2)) == ""
    assert calendar.closed_because(dt.date(2027, 3, 22)) == "B"
    assert calendar.holidays(2027) == sorted(calendar.file.holidays)
    assert "2028 is not confirmed:" in calendar.doubt(dt.date(2028, 3, 2))
    assert calendar.session(dt.date(2028, 1, 26)) is None


def test_half_a_year_may_be_confirmed(tmp_path: Path) -> None:
    """From there on the doubt names the day, and the holidays of fixed date are taken again."""
    calendar = loaded(tmp_path, "confirmed_to: 2027-06-30\nholidays: {2027-03-22: B}\n")
    assert calendar.session(dt.date(2027, 1, 26)) is not None
    assert calendar.session(dt.date(2027, 10, 29)) is not None
    assert calendar.closed_because(dt.date(2027, 12, 25)) == "Christmas"
    assert "2027 is not confirmed after 2027-06-30" in calendar.doubt(dt.date(2027, 7, 1))


def test_an_old_file_takes_nothing_back(tmp_path: Path) -> None:
    """What a newer hrmd knows stays confirmed."""
    assert loaded(tmp_path, "confirmed_to: 2020-12-31").confirmed_to == MarketCalendar().confirmed_to


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected confirmed_to, holidays or sessions"),
        ("[]", "expected confirmed_to, holidays or sessions, got '[]'"),
        ("holiday: {}", "holiday: no such key (did you mean holidays?)"),
        ("holidays: {2027-01-26: A, 2027-01-26: B}", "2027-01-26 is set twice"),
        ("holidays: {2027-01-26: A, '2027-01-26': B}", "2027-01-26 is set twice"),
        ("holidays: [2027-01-26]", "holidays: expected days and names such as 2027-01-26: Republic Day"),
        ("holidays: {Diwali: 2027-10-29}", "holidays: expected a date such as 2026-01-06, got 'Diwali'"),
        ("holidays: {2027-01-26 10:00:00: A}", "holidays: expected a date"),
        ("holidays: {2027-13-26: A}", "holidays: expected a date such as 2026-01-06, got '2027-13-26'"),
        ("holidays: {2009-01-26: A}", "holidays: 2009-01-26 is not between 2010-01-01 and 2099-12-31"),
        ("holidays: {2027-01-26: }", "holidays: 2027-01-26: expected a name of 1 to 80 characters"),
        ('holidays: {2027-01-26: "a\\nb"}', "holidays: 2027-01-26: expected a name"),
        ("confirmed_to: soon", "confirmed_to: expected a date such as 2026-01-06, got 'soon'"),
        ("confirmed_to: 2027-12-31", "but it has 0 weekday holidays of 2027; expected 5 to 30"),
        (f"confirmed_to: 2028-12-31\nholidays: {HOLIDAYS}", "it has 0 weekday holidays of 2028"),
        ("sessions: {date: 2027-10-29}", "sessions: expected a list such as"),
        ("sessions: [2027-10-29]", "sessions, entry 1: expected date, parts or name"),
        ("sessions: [{name: Muhurat}]", "sessions, entry 1: has no date"),
        ("sessions: [{date: 2027-10-29, open: '18:00'}]", "sessions, entry 1: open: no such key"),
        ("sessions: [{date: 2027-10-29}, {date: 2027-10-29}]", "sessions: 2027-10-29 stands there 2 times"),
        ("holidays: {2027-10-29: A}\nsessions: [{date: 2027-10-29}]", "2027-10-29 is a holiday (A) and has a session"),
        ("sessions: [{date: 2027-10-29, parts: 18}]", "parts: expected stretches such as"),
        ("sessions: [{date: 2027-10-29, parts: []}]", "parts: expected stretches such as"),
        ("sessions: [{date: 2027-10-29, parts: [[1800, 1900]]}]", "times of day such as 09:15, got '1800'"),
        ("sessions: [{date: 2027-10-29, parts: [['9:15', '19:00']]}]", "times of day such as 09:15"),
        ("sessions: [{date: 2027-10-29, parts: [['19:00', '18:00']]}]", "each time later than the one before it"),
        ("sessions: [{date: 2027-10-29, parts: [['09:15', '11:00'], ['10:00', '12:00']]}]", "each time later"),
        ("holidays: {a: 1", "is not valid YAML"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """Which names the setting, the file, the place in it and what would be right."""
    path = put(tmp_path, text)
    with pytest.raises(SettingsError, match=re.escape(f"market.calendar_file: {path}: ")) as refused:
        MarketCalendar.load(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    """Missing, a directory, a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("none.yaml", "No such file"), (".", "is a directory"), ("pipe", "is a named pipe")):
        with pytest.raises(SettingsError, match=rf"market\.calendar_file: .*{message}"):
            read_calendar_file(tmp_path / name)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All of it, through a link to where it lies, and nothing else is left behind."""
    file = CalendarFile(
        dt.date(2027, 12, 31),
        {dt.date(2027, 1, 26): "Republic Day: closed, #1", dt.date(2027, 3, 22): "होली"},
        (
            SpecialSession(dt.date(2027, 10, 29), (("18:00", "18:30"), ("18:45", "19:00")), "Muhurat"),
            SpecialSession(dt.date(2027, 1, 2)),
        ),
    )
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "calendar.yaml"
    link.symlink_to(tmp_path / "elsewhere" / "real.yaml")
    write_calendar_file(link, file)
    found = read_calendar_file(link)
    assert (found.confirmed_to, found.holidays) == (file.confirmed_to, file.holidays)
    assert found.sessions == file.sessions[::-1]
    assert link.is_symlink()
    assert [item.name for item in (tmp_path / "elsewhere").iterdir()] == ["real.yaml"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(UsageError, match=r"market\.calendar_file: .*none/c\.yaml: can't be written \(No such file"):
        write_calendar_file(tmp_path / "none" / "c.yaml", CalendarFile())
