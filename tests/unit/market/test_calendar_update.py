"""What a list of NSE's changes in the file, and what it leaves alone."""

import datetime as dt

import pytest

from daemon.core.errors import UsageError
from daemon.market.calendar import MarketCalendar
from daemon.market.calendar_file import CalendarFile, SpecialSession
from daemon.market.calendar_update import updated
from tests.unit.market.test_holiday_list import DAYS

SHIPPED = MarketCalendar()
LISTED_2026 = {day: SHIPPED.closed_because(day) for day in SHIPPED.holidays(2026)}
WEEKDAYS = {day: name for day, name in DAYS.items() if day.weekday() < 5}


def test_a_new_year() -> None:
    """Its weekday holidays, and that it is confirmed; a second time nothing changes."""
    found = updated(CalendarFile(), DAYS)
    assert (found.file.confirmed_to, found.file.holidays) == (dt.date(2027, 12, 31), WEEKDAYS)
    assert found.changes[0] == "+ 2027-01-26 Tue Republic Day"
    assert found.changes[-1] == "confirmed to 2027-12-31"
    assert found.remarks == [
        "2027-10-29 Diwali Laxmi Pujan: once NSE tells the hours of Muhurat trading, move it from holidays to sessions"
    ]
    assert updated(found.file, DAYS).changes == []


def test_the_list_is_the_truth_of_its_year() -> None:
    """What the file had of that year goes; other years and all sessions stay."""
    evening = SpecialSession(dt.date(2027, 10, 29), (("18:00", "19:00"),), "Muhurat")
    old = CalendarFile(
        dt.date(2028, 12, 31),
        {dt.date(2027, 3, 23): "Holi", dt.date(2027, 3, 22): "Holi (Dhuleti)", dt.date(2028, 1, 26): "Republic Day"},
        (evening,),
    )
    found = updated(old, DAYS)
    assert found.file.confirmed_to == dt.date(2028, 12, 31)
    assert found.file.sessions == (evening,)
    assert dt.date(2028, 1, 26) in found.file.holidays
    assert dt.date(2027, 10, 29) not in found.file.holidays
    assert "- 2027-03-23 Tue Holi" in found.changes
    assert "~ 2027-03-22 Mon Holi (was Holi (Dhuleti))" in found.changes
    assert found.remarks == ["2027-10-29 Diwali Laxmi Pujan: keeps the session that the file gives it"]


def test_a_year_that_ships_is_added_to() -> None:
    """What hrmd knows is not repeated, and what the list lacks stays a holiday and is named."""
    assert updated(CalendarFile(), LISTED_2026).changes == []
    election = dt.date(2026, 12, 30)
    listed = {day: name for day, name in LISTED_2026.items() if day != dt.date(2026, 1, 15)} | {election: "Elections"}
    found = updated(CalendarFile(), listed)
    assert found.file == CalendarFile(None, {election: "Elections"})
    assert found.changes == ["+ 2026-12-30 Wed Elections"]
    assert found.remarks == [
        "2026-01-15 Municipal corporation elections in Maharashtra: not in the list, stays a holiday"
    ]


def test_a_shipped_evening_session_stays() -> None:
    """NSE lists the day of Muhurat trading as a holiday."""
    listed = {day: SHIPPED.closed_because(day) for day in SHIPPED.holidays(2025)} | {dt.date(2025, 10, 21): "Muhurat"}
    found = updated(CalendarFile(), listed)
    assert (found.changes, found.remarks) == ([], [])


def test_no_year_is_left_out() -> None:
    """2028 can't be confirmed while 2027 isn't."""
    listed = {dt.date(2028, day.month, day.day): name for day, name in DAYS.items()}
    with pytest.raises(UsageError, match="holds 2028, but 2027 is not confirmed yet; update that year first"):
        updated(CalendarFile(), listed)
    assert updated(CalendarFile(), DAYS | listed).file.confirmed_to == dt.date(2028, 12, 31)
