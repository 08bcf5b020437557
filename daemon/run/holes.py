"""Bars → what has to be said of a tape that is silent inside its sessions.

Of each symbol the bars of a day follow each other from the first to the last; where nothing was traded, or recorded,
there is none. Invariant: what comes before a day's first bar, in a pause of its session and after its last is no hole.
"""

from __future__ import annotations

from typing import Final

import msgspec

from daemon.core.clock import india_day
from daemon.core.events import Bar
from daemon.market.calendar import MarketCalendar
from daemon.report.text import ist_date

FEW: Final = 0.05
"""Of a symbol's bars: so many may be missing without a word."""
SHOWN: Final = 3
"""Symbols that are named."""


class _Symbol(msgspec.Struct):
    """`opened`, `length`, `last` and `bars` are the day's, the others those of all days that are over."""

    day: int = -1
    opened: int = 0
    """When its first bar began, UTC ns."""
    length: int = 1
    last: int = 0
    """How many bars after the first the newest is."""
    bars: int = 0
    slots: int = 0
    missing: int = 0
    worst: tuple[int, int] = (0, 0)
    """How many are missing on the day with most, and when its first bar began."""

    def end_day(self, calendar: MarketCalendar) -> None:
        slots = self.last + 1 if self.bars else 0
        if slots > self.bars:
            slots -= self._paused(calendar)
        self.slots += slots
        self.missing += slots - self.bars
        self.worst = max(self.worst, (slots - self.bars, self.opened), key=lambda it: it[0])
        self.bars = 0

    def _paused(self, calendar: MarketCalendar) -> int:
        """How many bars a pause leaves no moment of."""
        opened, length = self.opened, self.length
        pauses = calendar.pauses_between(opened, opened + (self.last + 1) * length)
        return sum(max(0, (stop - opened) // length + (opened - start) // length) for start, stop in pauses)


class Holes:
    """Tell it every bar of one interval, each symbol's in order, then ask."""

    def __init__(self, interval: str, calendar: MarketCalendar) -> None:
        self._interval = interval
        self._calendar = calendar
        self._of: dict[str, _Symbol] = {}

    def record(self, bar: Bar) -> None:
        """A bar of the interval."""
        seen = self._of.setdefault(bar.symbol, _Symbol())
        day = india_day(bar.ts_open)
        if day != seen.day or not seen.bars:
            seen.end_day(self._calendar)
            seen.day, seen.opened, seen.length = day, bar.ts_open, bar.ts_close - bar.ts_open
        seen.last = (bar.ts_open - seen.opened) // seen.length
        seen.bars += 1

    def words(self) -> str:
        """Of the symbols that lack a considerable share of their bars; "" where none does."""
        said = []
        for symbol, seen in self._of.items():
            seen = msgspec.structs.replace(seen)
            seen.end_day(self._calendar)
            if seen.missing > seen.slots * FEW:
                count, ts = seen.worst
                text = f"{symbol} {seen.missing:,} of {seen.slots:,}, {count:,} of them on {ist_date(ts)}"
                said.append((seen.missing / seen.slots, text))
        if not said:
            return ""
        said.sort(reverse=True)
        more = f" and {len(said) - SHOWN} symbols more" if len(said) > SHOWN else ""
        return (
            f"{self._interval} bars without a tick inside a day: {'; '.join(text for _, text in said[:SHOWN])}{more}. "
            "What the price did then is unknown: nothing was decided, no stop and no order traded"
        )
