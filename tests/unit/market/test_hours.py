"""When the market was open on the days of recorded sessions, whatever bars of them there are."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.hours import hours_of


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (dt.date(2020, 6, 1), "09:15", "15:30"),
        (dt.date(2026, 9, 1), "09:15", "15:15"),
        (dt.date(2020, 11, 14), "18:15", "19:15"),
        (dt.date(2020, 6, 7), "09:15", "15:30"),
        (dt.date(2001, 6, 1), "09:15", "15:30"),
    ],
    ids=["usual", "with a closing auction", "muhurat", "a Sunday", "before the table"],
)
def test_the_calendar_says_when_it_was_open(day: dt.date, opens: str, closes: str) -> None:
    """By the day alone; the usual hours of one that it doesn't know."""
    found = hours_of(MarketCalendar())(np.array([ist_ns(day, "10:00"), ist_ns(day, "12:30")]))
    assert found.tolist() == [[ist_ns(day, opens), ist_ns(day, closes)]] * 2
