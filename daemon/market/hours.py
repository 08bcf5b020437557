"""Starts of recorded sessions → when the market was open on those days, by the calendar.

Invariant: it follows from the day alone, whatever bars of it there are; of a day that the calendar doesn't know the
usual hours are taken.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date, ist_ns

if TYPE_CHECKING:
    from collections.abc import Callable

Ints = NDArray[np.int64]
USUAL = ("09:15", "15:30")


def hours_of(calendar: MarketCalendar) -> Callable[[Ints], Ints]:
    """What gives open and close, (N, 2), of the days of so many times, (N,), all UTC nanoseconds."""

    @cache
    def of_day(ts_ns: int) -> tuple[int, int]:
        day = ist_date(ts_ns)
        try:
            session = calendar.session(day)
        except CalendarRangeError:
            session = None
        if session is None:
            return ist_ns(day, USUAL[0]), ist_ns(day, USUAL[1])
        return session.open_ns, session.close_ns

    return lambda starts: np.array([of_day(ts) for ts in starts.tolist()], np.int64).reshape(-1, 2)
