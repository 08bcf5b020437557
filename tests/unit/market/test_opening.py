"""What is said of a moment, and that it is said once."""

import datetime as dt

import pytest
import structlog

from daemon.core.events import TimeAdvanced
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.calendar_file import CalendarFile, SpecialSession
from daemon.market.opening import CalendarWatch, say_now


def at(text: str) -> int:
    """A moment in India."""
    day, clock = text.split()
    return ist_ns(dt.date.fromisoformat(day), clock)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-11-24 11:00", "no session today (Guru Nanak Jayanti); next: Wed 25 Nov 2026 09:15 IST"),
        ("2026-11-28 11:00", "no session today (Saturday); next: Mon 30 Nov 2026 09:15 IST"),
        ("2021-04-21 11:00", "no session today (a holiday); next: Thu 22 Apr 2021 09:15 IST"),
        ("2026-11-27 09:14", "opens today at 09:15 IST"),
        ("2026-11-27 09:15", "open until 15:15 IST"),
        ("2026-11-27 15:15", "closed for today; next: Mon 30 Nov 2026 09:15 IST"),
        ("2024-03-02 11:00", "in a pause, goes on at 11:30 IST"),
        ("2026-12-31 16:00", "closed for today; next: Fri 01 Jan 2027 09:15 IST, not confirmed"),
        ("2027-01-26 11:00", "no session today (Republic Day, not confirmed); "
                             "next: Wed 27 Jan 2027 09:15 IST, not confirmed"),
        ("2027-01-27 11:00", "open until 15:15 IST, not confirmed"),
    ],
)  # fmt: skip
def test_a_moment(moment: str, said: str) -> None:
    """Open or not, why not, and when next."""
    assert say_now(MarketCalendar(), at(moment)) == said


def test_the_calendar_file_is_heard() -> None:
    """A special session is the next one."""
    saturday = SpecialSession(dt.date(2026, 11, 28), (("10:00", "11:00"),), "a test")
    calendar = MarketCalendar(CalendarFile(sessions=(saturday,)))
    assert say_now(calendar, at("2026-11-27 16:00")) == "closed for today; next: Sat 28 Nov 2026 10:00 IST"


def test_each_year_is_said_once() -> None:
    """However often the time is told, and over the turn of the year; a confirmed one never."""
    watch = CalendarWatch(MarketCalendar())
    moments = ["2026-12-31 10:00", "2027-01-01 10:00", "2027-01-01 10:01", "2027-03-02 10:00", "2028-01-03 10:00"]
    with structlog.testing.capture_logs() as lines:
        for moment in moments:
            watch.on_time(TimeAdvanced(ts=at(moment)))
    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert [line["event"].split()[1] for line in lines] == ["2027", "2028"]


def test_a_closed_day_is_said_once() -> None:
    """At its first moment; a day that is open is no news."""
    watch = CalendarWatch(MarketCalendar())
    with structlog.testing.capture_logs() as lines:
        for moment in ("2026-11-27 10:00", "2026-11-28 00:00", "2026-11-28 10:00", "2026-11-30 09:15"):
            watch.on_time(TimeAdvanced(ts=at(moment)))
    (line,) = lines
    assert line["event"] == "the market is closed"
    assert line["session"] == "no session today (Saturday); next: Mon 30 Nov 2026 09:15 IST"


@pytest.mark.parametrize("ts", [0, at("2009-12-31 10:00"), at("2099-12-31 10:00"), at("2150-01-04 10:00")])
def test_outside_the_calendar_nothing_is_said(ts: int) -> None:
    """A clock that isn't set, or a tape that has no time yet, is nobody's fault here."""
    calendar = MarketCalendar()
    with structlog.testing.capture_logs() as lines:
        CalendarWatch(calendar).look(ts)
    assert (say_now(calendar, ts), lines) == ("", [])
