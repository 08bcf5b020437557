"""Fills and bars → what has to be said of orders that came to more than all that traded meanwhile.

Where a tape has no book the paper venue fills an order whole, however little trades: on such a market nobody could have
had that price. Invariant: a bar of which nobody counted what traded, or that moved without, says nothing.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from daemon.core.events import Bar, Fill
from daemon.report.text import counted, ist_minute, whole


class _Beyond(msgspec.Struct, frozen=True):
    symbol: str
    ts: int
    filled: int
    traded: int


class ThinBars:
    """Tell it every fill of what has a volume, and every bar of one interval, in order, then ask."""

    def __init__(self) -> None:
        self._filled: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """Since the newest bar of each symbol: when (UTC ns), and how many units."""
        self._first: _Beyond | None = None
        self._bars = 0

    def fill(self, fill: Fill) -> None:
        """Something traded."""
        self._filled[fill.symbol].append((fill.ts, fill.quantity))

    def bar(self, bar: Bar) -> None:
        """A bar has closed."""
        waiting = self._filled.get(bar.symbol)
        if not waiting:
            return
        filled = sum(quantity for ts, quantity in waiting if ts < bar.ts_close)
        self._filled[bar.symbol] = [(ts, quantity) for ts, quantity in waiting if ts >= bar.ts_close]
        if bar.volume < 0 or (bar.volume == 0 and bar.high > bar.low) or filled <= bar.volume:
            return
        self._bars += 1
        self._first = self._first or _Beyond(bar.symbol, bar.ts_open, filled, bar.volume)

    def words(self) -> str:
        """What has to be said; "" where nothing does."""
        first = self._first
        if first is None:
            return ""
        return (
            f"more was filled in {counted(self._bars, 'bar')} than traded in the market (the first: {first.symbol} on "
            f"{ist_minute(first.ts)}, {whole(first.filled)} filled where {whole(first.traded)} traded): no market "
            "gives that at such prices"
        )
