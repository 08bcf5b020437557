"""Turns NSE's dated table of holidays and special sessions into answers about time.

The session is the stretch of continuous trading in cash and index: 09:15 to 15:30 IST, and 09:15 to 15:15 from
2026-08-03, when the closing auction came. From 15:15 to 15:35 an equity has one auction price, and the index stands
still until 15:28: a fill invented there would be false, so the daemon's day ends before it. Futures trade on to 15:40;
that stretch is not used. On days of two stretches (disaster-recovery Saturdays, the outage of 2021-02-24) a session
reaches from the first open to the last close, and the pause between counts as outside.

Over the table that ships lies `market.calendar_file`. After `confirmed_to` no list of NSE's is known: weekdays are
taken as sessions, less the holidays of fixed date, and `doubt` says so; a day too many brings no tick, a day too few
would leave a market untraded. The past before the table is known somewhere, only not here: it is not guessed.

Invariant: `session_at(ts)` is a session exactly where `in_session` is true; a date before the table or after its end
is an error (only `in_session` answers False there, because a faulty stamp must not stop a feed).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, day_number
from daemon.core.errors import UsageError
from daemon.market.calendar_file import LAST_DATE, CalendarFile, SpecialSession, check_confirmed, read_calendar_file
from daemon.market.tables import shipped_table

FIXED_HOLIDAYS: Final = {
    (1, 26): "Republic Day",
    (4, 14): "Dr. Baba Saheb Ambedkar Jayanti",
    (5, 1): "Maharashtra Day",
    (8, 15): "Independence Day",
    (10, 2): "Mahatma Gandhi Jayanti",
    (12, 25): "Christmas",
}
"""Holidays that fall on the same day of every year, by (month, day)."""
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MINUTE_NS: Final = 60 * 1_000_000_000
_EPOCH: Final = dt.date(1970, 1, 1)
_TABLE: Final = "nse_calendar.yaml"

Ints = NDArray[np.int64]


class CalendarRangeError(UsageError):
    """A date before the calendar's table, or after the end of all calendars, was asked for."""


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
    return day_number(day) * DAY_NS + _minutes(clock) * _MINUTE_NS - IST_OFFSET_NS


def ist_clock(ts_ns: int) -> str:
    """The time of day in India, "HH:MM"."""
    minutes = (ts_ns + IST_OFFSET_NS) % DAY_NS // _MINUTE_NS
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


class MarketCalendar:
    """NSE's sessions from the table's first date on; `file` is what `market.calendar_file` adds and corrects."""

    def __init__(self, file: CalendarFile | None = None) -> None:
        table = shipped_table(_TABLE)
        self.file = file if file is not None else CalendarFile()
        self.first_date: dt.date = table["first_date"]
        shipped_to: dt.date = table["last_date"]
        self.confirmed_to = max(shipped_to, self.file.confirmed_to or shipped_to)
        """The last day of which NSE's holidays are known."""
        self.special: dict[dt.date, SpecialSession] = {}
        """Sessions at a weekend or with hours of their own, by date."""
        self._holidays = _holidays(table) | self._fixed_holidays()
        for row in table["sessions"]:
            self.special[row["date"]] = SpecialSession(row["date"], tuple(map(tuple, row["parts"])), row["name"])
        self._lay_over(self.file)
        self._first_day = day_number(self.first_date)
        self._asked: tuple[int, Session | None] = (-1, None)
        """The day that was asked about last, and its session."""
        self._known: tuple[int, int, Session | None] = (0, 0, None)
        """Continuous trading that was asked about last, [start, stop), and its session."""
        self._lay_out(table["hours"])

    @classmethod
    def load(cls, path: Path | None) -> MarketCalendar:
        """With the file at `path` (None: the shipped table alone). Raises `SettingsError`, one line, for a bad one."""
        if path is None:
            return cls()
        file, shipped = read_calendar_file(path), cls()
        check_confirmed(file, shipped.confirmed_to, path)
        return cls(file)

    def session(self, day: dt.date) -> Session | None:
        """The session of `day` (date in India), None on a holiday; raises `CalendarRangeError` outside the table."""
        return self._session(self._index(day_number(day)))

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that trades at `ts_ns` (open ≤ ts < close), else None; raises `CalendarRangeError`."""
        start, stop, session = self._known
        if start <= ts_ns < stop:
            return session
        session = self._session(self._index((ts_ns + IST_OFFSET_NS) // DAY_NS))
        if session is None or not session.open_ns <= ts_ns < session.close_ns:
            return None
        start, stop = session.open_ns, session.close_ns
        for begun, over in self._pauses:
            if begun <= ts_ns < over:
                return None
            if over <= ts_ns:
                start = max(start, over)
            else:
                stop = min(stop, begun)
        self._known = start, stop, session
        return session

    def stretch(self, ts_ns: int) -> tuple[int, int]:
        """The continuous trading around `ts_ns`, [start, stop) in UTC ns; (0, 0) where there is none."""
        day = (ts_ns + IST_OFFSET_NS) // DAY_NS - self._first_day
        if not 0 <= day < len(self._open) or self.session_at(ts_ns) is None:
            return 0, 0
        return self._known[:2]

    def pause_at(self, ts_ns: int) -> tuple[int, int] | None:
        """The pause of a session that `ts_ns` falls into, [start, stop) in UTC ns; None where there is none."""
        return next(((start, stop) for start, stop in self._pauses if start <= ts_ns < stop), None)

    def pauses_between(self, first_ns: int, last_ns: int) -> list[tuple[int, int]]:
        """Pauses of sessions that lie in [first_ns, last_ns], each [start, stop) in UTC ns."""
        return [(start, stop) for start, stop in self._pauses if first_ns <= start and stop <= last_ns]

    def next_session(self, ts_ns: int) -> Session:
        """The first session that opens after `ts_ns`; raises `CalendarRangeError`."""
        self._index((ts_ns + IST_OFFSET_NS) // DAY_NS)
        place = int(np.searchsorted(self._opens, ts_ns, side="right"))
        if place == len(self._opens):
            raise self._out_of_range(LAST_DATE + dt.timedelta(days=1))
        return self._trading(place)

    def sessions_between(self, first_ns: int, last_ns: int) -> list[Session]:
        """Sessions that have a moment in [first_ns, last_ns], oldest first; raises `CalendarRangeError`."""
        for ts_ns in (first_ns, last_ns):
            self._index((ts_ns + IST_OFFSET_NS) // DAY_NS)
        start = int(np.searchsorted(self._closes, first_ns, side="right"))
        stop = int(np.searchsorted(self._opens, last_ns, side="right"))
        return [self._trading(place) for place in range(start, stop)]

    def in_session(self, ts: Ints) -> NDArray[np.bool_]:
        """(n,): whether each of `ts`, (n,) UTC nanoseconds, falls into continuous trading; False outside the table."""
        if len(ts) == 0:
            return np.zeros(0, dtype=np.bool_)
        lowest, highest = int(ts.min()), int(ts.max())
        if self._whole_range_inside(lowest, highest):
            return np.ones(len(ts), dtype=np.bool_)
        day: Ints = np.floor_divide(ts + IST_OFFSET_NS, DAY_NS)
        day -= self._first_day
        np.clip(day, 0, len(self._open) - 1, out=day)
        within = (ts >= self._open[day]) & (ts < self._close[day])
        for start, stop in self._pauses:
            if start <= highest and stop > lowest:
                within &= (ts < start) | (ts >= stop)
        return within

    # -- what is known of a day ---------------------------------------------------------------------------------------

    def holidays(self, year: int) -> list[dt.date]:
        """The holidays of a year that are known, also such as fall on a weekend."""
        return sorted(day for day in self._holidays if day.year == year)

    def parts(self, day: dt.date) -> list[tuple[str, str]]:
        """The stretches of continuous trading on `day`, ("HH:MM", "HH:MM") in India; empty where there is none."""
        session, special = self.session(day), self.special.get(day)
        if session is None:
            return []
        return (
            list(special.parts)
            if special is not None and special.parts
            else [(ist_clock(session.open_ns), ist_clock(session.close_ns))]
        )

    def closed_because(self, day: dt.date) -> str:
        """Why there is no session on `day`: its holiday or its weekday; "" where there is one."""
        if self.session(day) is not None:
            return ""
        return self._holidays.get(day) or (WEEKDAYS[day.weekday()] if day.weekday() > 4 else "a holiday")

    def confirmed(self, day: dt.date) -> bool:
        """Whether NSE has said which days of the time around `day` are holidays."""
        return day <= self.confirmed_to

    def doubt(self, day: dt.date) -> str:
        """What isn't known of `day`, and what to do about it; "" where everything is."""
        if self.confirmed(day):
            return ""
        until = f" after {self.confirmed_to}" if day.year == self.confirmed_to.year else ""
        return (
            f"calendar: {day.year} is not confirmed{until}: weekdays are taken as sessions, less the holidays that are "
            "known; hrmd calendar update takes NSE's list"
        )

    def doubts(self, days: Iterable[dt.date]) -> list[str]:
        """What isn't known of any of `days`, each year once."""
        return list(dict.fromkeys(filter(None, map(self.doubt, days))))

    # -- how it is laid out -------------------------------------------------------------------------------------------

    def _fixed_holidays(self) -> dict[dt.date, str]:
        """Of the days that nobody has confirmed."""
        years = range(self.confirmed_to.year, LAST_DATE.year + 1)
        fixed = {dt.date(year, *day): name for year in years for day, name in FIXED_HOLIDAYS.items()}
        return {day: name for day, name in fixed.items() if not self.confirmed(day)}

    def _lay_over(self, file: CalendarFile) -> None:
        """Its holidays take sessions away, its sessions take holidays away."""
        self._holidays |= file.holidays
        for day in file.holidays:
            self.special.pop(day, None)
        for session in file.sessions:
            self.special.pop(session.date, None)
            self._holidays.pop(session.date, None)
            if session.parts or session.date.weekday() > 4:
                self.special[session.date] = session

    def _lay_out(self, hours: list[dict[str, Any]]) -> None:
        """Opens and closes of all days, 0 where there is no session, and of the trading days alone; the pauses."""
        days = np.arange(self._first_day, day_number(LAST_DATE) + 1, dtype=np.int64)
        since = np.searchsorted([day_number(row["from"]) for row in hours], days, side="right") - 1
        midnight = days * DAY_NS - IST_OFFSET_NS
        trades: NDArray[np.bool_] = (days + _EPOCH.weekday()) % 7 < 5
        trades[[day_number(day) - self._first_day for day in self._holidays]] = False
        trades[[day_number(day) - self._first_day for day in self.special]] = True
        opens = np.array([_minutes(row["open"]) * _MINUTE_NS for row in hours], dtype=np.int64)[since]
        closes = np.array([_minutes(row["close"]) * _MINUTE_NS for row in hours], dtype=np.int64)[since]
        self._open: Ints = np.where(trades, midnight + opens, 0)
        self._close: Ints = np.where(trades, midnight + closes, 0)
        self._pauses: list[tuple[int, int]] = []
        for day, session in self.special.items():
            if session.parts:
                parts = [(ist_ns(day, start), ist_ns(day, stop)) for start, stop in session.parts]
                index = day_number(day) - self._first_day
                self._open[index], self._close[index] = parts[0][0], parts[-1][1]
                self._pauses += [(one[1], other[0]) for one, other in itertools.pairwise(parts)]
        self._places = np.flatnonzero(trades)
        self._opens, self._closes = self._open[self._places], self._close[self._places]

    def _session(self, index: int) -> Session | None:
        """The session of a day, counted from the first; asked again and again of the same one."""
        if index != self._asked[0]:
            opened = int(self._open[index])
            day = self.first_date + dt.timedelta(days=index)
            self._asked = (index, Session(day, opened, int(self._close[index])) if opened else None)
        return self._asked[1]

    def _trading(self, place: int) -> Session:
        """The session of a trading day, counted from the first."""
        session = self._session(int(self._places[place]))
        assert session is not None
        return session

    def _whole_range_inside(self, lowest: int, highest: int) -> bool:
        """The common case of a feed: a batch that lies within one session."""
        place = int(np.searchsorted(self._opens, lowest, side="right")) - 1
        if place < 0 or highest >= self._closes[place]:
            return False
        return all(start > highest or stop <= lowest for start, stop in self._pauses)

    def _index(self, number: int) -> int:
        index = number - self._first_day
        if not 0 <= index < len(self._open):
            raise self._out_of_range_day(number)
        return index

    def _out_of_range_day(self, number: int) -> CalendarRangeError:
        try:
            return self._out_of_range(_EPOCH + dt.timedelta(days=number))
        except OverflowError:
            return CalendarRangeError(f"day {number} since 1970 is in no calendar")

    def _out_of_range(self, day: dt.date) -> CalendarRangeError:
        if day > LAST_DATE:
            return CalendarRangeError(f"{day}: the market calendar ends on {LAST_DATE}")
        return CalendarRangeError(
            f"{day}: the market calendar begins on {self.first_date}; the sessions before it aren't known here"
        )


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _holidays(table: dict[str, Any]) -> dict[dt.date, str]:
    """The table's, by date; a year may list its days alone, and then only those of fixed date have a name."""
    found: dict[dt.date, str] = {}
    for days in table["holidays"].values():
        names = days if isinstance(days, dict) else {day: FIXED_HOLIDAYS.get((day.month, day.day), "") for day in days}
        found |= names
    return found
