"""Turns NSE's dated table of holidays and special sessions into answers about time.

The session is the stretch of continuous trading in cash and index: 09:15 to 15:30 IST, and 09:15 to 15:15 from
2026-08-03, when the closing auction came. From 15:15 to 15:35 an equity has one auction price, and the index stands
still until 15:28: a fill invented there would be false, so the daemon's day ends before it. Futures trade on to 15:40;
that stretch is not used. On days of two stretches (disaster-recovery Saturdays, the outage of 2021-02-24) a session
reaches from the first open to the last close, and the pause between counts as outside.

Invariant: `session_at(ts)` is a session exactly where `in_session` is true; a date beyond the table is an error, never
a guess (only `in_session` answers False there, because a faulty stamp must not stop a feed).
"""

from __future__ import annotations

import datetime as dt
import itertools
from importlib import resources
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS
from daemon.core.documents import parse_yaml
from daemon.core.errors import UsageError

IST_OFFSET_NS: Final = 19_800 * 1_000_000_000
_MINUTE_NS: Final = 60 * 1_000_000_000
_EPOCH: Final = dt.date(1970, 1, 1)
_TABLE: Final = "nse_calendar.yaml"


class CalendarRangeError(UsageError):
    """A date outside the calendar's table was asked for."""


class Session(msgspec.Struct, frozen=True, gc=False):
    """One trading day: continuous trading in [open_ns, close_ns), UTC nanoseconds; `date` is the date in India."""

    date: dt.date
    open_ns: int
    close_ns: int


def ist_date(ts_ns: int) -> dt.date:
    """The calendar date in India at `ts_ns` (UTC nanoseconds)."""
    return _EPOCH + dt.timedelta(days=(ts_ns + IST_OFFSET_NS) // DAY_NS)


def ist_ns(day: dt.date, clock: str) -> int:
    """UTC nanoseconds of the time of day `clock` ("HH:MM", India) on `day`."""
    hours, minutes = clock.split(":")
    return (day - _EPOCH).days * DAY_NS + (int(hours) * 60 + int(minutes)) * _MINUTE_NS - IST_OFFSET_NS


class MarketCalendar:
    """NSE's sessions from the table's first date to its last."""

    def __init__(self) -> None:
        text = resources.files("daemon.market").joinpath(_TABLE).read_text(encoding="utf-8")
        table = parse_yaml(text)
        self.first_date: dt.date = table["first_date"]
        self.last_date: dt.date = table["last_date"]
        parts = _parts_by_day(table)
        days: int = (self.last_date - self.first_date).days + 1
        self._first_day: int = (self.first_date - _EPOCH).days
        self._by_day: list[Session | None] = [None] * days
        self._pauses: list[tuple[int, int]] = []
        self._open = np.zeros(days, dtype=np.int64)
        self._close = np.zeros(days, dtype=np.int64)
        for day, stretches in parts.items():
            index = (day - self.first_date).days
            session = Session(day, stretches[0][0], stretches[-1][1])
            self._by_day[index] = session
            self._open[index], self._close[index] = session.open_ns, session.close_ns
            self._pauses += [(a[1], b[0]) for a, b in itertools.pairwise(stretches)]
        self._sessions = [session for session in self._by_day if session is not None]
        self._opens = np.array([session.open_ns for session in self._sessions], dtype=np.int64)
        self._closes = np.array([session.close_ns for session in self._sessions], dtype=np.int64)

    def session(self, day: dt.date) -> Session | None:
        """The session of `day` (date in India), None on a holiday; raises `CalendarRangeError` outside the table."""
        return self._by_day[self._index((day - _EPOCH).days)]

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that trades at `ts_ns` (open ≤ ts < close), else None; raises `CalendarRangeError`."""
        session = self._by_day[self._index((ts_ns + IST_OFFSET_NS) // DAY_NS)]
        if session is None or not session.open_ns <= ts_ns < session.close_ns:
            return None
        if any(start <= ts_ns < stop for start, stop in self._pauses):
            return None
        return session

    def next_session(self, ts_ns: int) -> Session:
        """The first session that opens after `ts_ns`; raises `CalendarRangeError` where the table holds none."""
        self._index((ts_ns + IST_OFFSET_NS) // DAY_NS)
        index = int(np.searchsorted(self._opens, ts_ns, side="right"))
        if index == len(self._sessions):
            raise self._out_of_range(self.last_date + dt.timedelta(days=1))
        return self._sessions[index]

    def sessions_between(self, first_ns: int, last_ns: int) -> list[Session]:
        """Sessions that have a moment in [first_ns, last_ns], oldest first; raises `CalendarRangeError`."""
        for ts_ns in (first_ns, last_ns):
            self._index((ts_ns + IST_OFFSET_NS) // DAY_NS)
        start = int(np.searchsorted(self._closes, first_ns, side="right"))
        stop = int(np.searchsorted(self._opens, last_ns, side="right"))
        return self._sessions[start:stop]

    def in_session(self, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,): whether each of `ts`, (n,) UTC nanoseconds, falls into continuous trading; False outside the table."""
        if len(ts) == 0:
            return np.zeros(0, dtype=np.bool_)
        lowest, highest = int(ts.min()), int(ts.max())
        if self._whole_range_inside(lowest, highest):
            return np.ones(len(ts), dtype=np.bool_)
        day: NDArray[np.int64] = np.floor_divide(ts + IST_OFFSET_NS, DAY_NS)
        day -= self._first_day
        np.clip(day, 0, len(self._by_day) - 1, out=day)
        within = (ts >= self._open[day]) & (ts < self._close[day])
        for start, stop in self._pauses:
            if start <= highest and stop > lowest:
                within &= (ts < start) | (ts >= stop)
        return within

    def _whole_range_inside(self, lowest: int, highest: int) -> bool:
        """The common case of a feed: a batch that lies within one session."""
        index = int(np.searchsorted(self._opens, lowest, side="right")) - 1
        if index < 0 or highest >= self._sessions[index].close_ns:
            return False
        return all(start > highest or stop <= lowest for start, stop in self._pauses)

    def _index(self, epoch_day: int) -> int:
        index = epoch_day - self._first_day
        if not 0 <= index < len(self._by_day):
            raise self._out_of_range_day(epoch_day)
        return index

    def _out_of_range_day(self, epoch_day: int) -> CalendarRangeError:
        try:
            return self._out_of_range(_EPOCH + dt.timedelta(days=epoch_day))
        except OverflowError:
            return self._out_of_range(f"day {epoch_day} since 1970")

    def _out_of_range(self, day: dt.date | str) -> CalendarRangeError:
        return CalendarRangeError(
            f"{day}: the market calendar covers {self.first_date} to {self.last_date}; "
            f"to extend it add NSE's holidays and special sessions to daemon/market/{_TABLE}"
        )


def _parts_by_day(table: dict[str, Any]) -> dict[dt.date, list[tuple[int, int]]]:
    """Every trading day's stretches of continuous trading, [open_ns, close_ns), by date."""
    holidays = {day for days in table["holidays"].values() for day in days}
    special = {row["date"]: row["parts"] for row in table["sessions"]}
    hours = [(row["from"], row["open"], row["close"]) for row in table["hours"]]
    parts: dict[dt.date, list[tuple[int, int]]] = {}
    day: dt.date = table["first_date"]
    while day <= table["last_date"]:
        if day in special:
            parts[day] = [(ist_ns(day, start), ist_ns(day, stop)) for start, stop in special[day]]
        elif day.weekday() < 5 and day not in holidays:
            _, start, stop = [row for row in hours if row[0] <= day][-1]
            parts[day] = [(ist_ns(day, start), ist_ns(day, stop))]
        day += dt.timedelta(days=1)
    return parts
