"""Days after the last one that NSE has confirmed: ordinary weekdays less the holidays of fixed date, and said so."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest

from daemon.core.events import Side
from daemon.market.calendar import FIXED_HOLIDAYS, CalendarRangeError, MarketCalendar, Session, ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings

YEARS = (2027, 2028, 2029, 2030)


@pytest.fixture(scope="module")
def calendar() -> MarketCalendar:
    """The packaged calendar."""
    return MarketCalendar()


def days_of(year: int) -> list[dt.date]:
    """Every day of a year."""
    first = dt.date(year, 1, 1)
    return [first + dt.timedelta(days=n) for n in range((dt.date(year + 1, 1, 1) - first).days)]


@pytest.mark.parametrize("year", YEARS)
def test_a_weekday_is_a_session_but_for_the_fixed_holidays(calendar: MarketCalendar, year: int) -> None:
    """At the hours that the table ends with; every question gives the same answer."""
    for day in days_of(year):
        expected = day.weekday() < 5 and (day.month, day.day) not in FIXED_HOLIDAYS
        session = Session(day, ist_ns(day, "09:15"), ist_ns(day, "15:15")) if expected else None
        noon = ist_ns(day, "12:00")
        assert calendar.session(day) == session
        assert calendar.session_at(noon) == session
        assert calendar.in_session(np.array([noon])).tolist() == [expected]
        assert not calendar.confirmed(day)


def test_every_fixed_holiday_was_one_in_every_year_of_the_table(calendar: MarketCalendar) -> None:
    """What is guessed of the future held in the whole past, so that none of it is a session given away."""
    for year in range(2012, calendar.confirmed_to.year + 1):
        for month, day in FIXED_HOLIDAYS:
            assert calendar.session(dt.date(year, month, day)) is None, (year, month, day)


def test_the_year_turns_without_a_break(calendar: MarketCalendar) -> None:
    """From the last session of the table to the first one beyond it."""
    evening = ist_ns(dt.date(2026, 12, 31), "16:00")
    assert calendar.next_session(evening).date == dt.date(2027, 1, 1)
    week = calendar.sessions_between(ist_ns(dt.date(2026, 12, 24), "10:00"), ist_ns(dt.date(2027, 1, 4), "10:00"))
    assert [session.date.day for session in week] == [24, 28, 29, 30, 31, 1, 4]


def test_a_year_that_is_not_confirmed_is_named(calendar: MarketCalendar) -> None:
    """With what to do; a day of the table has no doubt."""
    assert calendar.doubt(dt.date(2026, 12, 31)) == ""
    doubt = calendar.doubt(dt.date(2027, 3, 2))
    assert doubt.startswith("calendar: 2027 is not confirmed: ")
    assert "hrmd calendar update" in doubt


def test_why_there_is_no_session(calendar: MarketCalendar) -> None:
    """The weekday, or the holiday's name where it is known."""
    because = {
        "2026-11-24": "Guru Nanak Jayanti", "2026-11-28": "Saturday", "2026-11-27": "", "2027-01-26": "Republic Day",
        "2021-04-21": "a holiday", "2027-01-31": "Sunday", "2021-01-26": "Republic Day",
    }  # fmt: skip
    assert {day: calendar.closed_because(dt.date.fromisoformat(day)) for day in because} == because


def test_before_the_table_and_after_the_end_of_time(calendar: MarketCalendar) -> None:
    """The past is known somewhere and is not guessed; no tape holds a stamp of 2100."""
    with pytest.raises(CalendarRangeError, match="2009-12-31: the market calendar begins on 2010-01-01"):
        calendar.session(dt.date(2009, 12, 31))
    with pytest.raises(CalendarRangeError, match="2100-01-01: the market calendar ends on 2099-12-31"):
        calendar.session(dt.date(2100, 1, 1))
    with pytest.raises(CalendarRangeError, match="2100-01-01"):
        calendar.next_session(ist_ns(dt.date(2099, 12, 31), "16:00"))


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("symbol", ["SBIN", "NIFTY", "NSE:BANKNIFTY28JANFUT", "NSE:NIFTY27JAN24000CE"])
def test_charges_lots_and_ticks_go_on_as_they_last_were(symbol: str, year: int) -> None:
    """Their tables hold from a date on: the newest row stands until another one does."""
    then, now = dt.date(year, 6, 1), dt.date(2026, 12, 1)
    found = [InstrumentBook(MarketSettings(), day).resolve(symbol) for day in (then, now)]
    assert found[0] == found[1]
    assert found[0] is not None
    costs = CostSchedule()
    charged = [costs.charges(found[0], Side.SELL, 600, Decimal(800), ist_ns(day, "10:00")) for day in (then, now)]
    assert charged[0] == charged[1]
