"""The sandbox's tape → candles of history, by arithmetic of its own, so that a wrong bar of ours would show.

Minutes are counted from 09:15 in India, as Fyers does; a day's candle starts at midnight UTC of its date. Invariant: a
candle is made of the ticks that a replay would accept, and of no others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import IST_OFFSET_NS, NS_PER_S
from daemon.feed.replay import Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook

CHUNK_ROWS: Final = 65_536
MAX_JUMP_PERCENT: Final = 20.0
DAY_S: Final = 86_400
OPEN_S: Final = 9 * 3600 + 15 * 60
IST_S: Final = IST_OFFSET_NS // NS_PER_S

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Candles:
    """History of the tapes; without one there is none."""

    def __init__(self, tapes: Sequence[Path], instruments: InstrumentBook, calendar: MarketCalendar) -> None:
        self._tapes = tuple(tapes)
        self._instruments = instruments
        self._calendar = calendar
        self._ticks: dict[str, tuple[Ints, Floats, Ints]] | None = None

    @property
    def symbols(self) -> list[str]:
        """Who is on the tapes."""
        return list(self._read())

    def of(self, symbol: str, minutes: int | None, first: dt.date, last: dt.date) -> list[list[float]]:
        """`[start, open, high, low, close, volume]` of the days from `first` to `last`; `minutes` None: daily."""
        found = self._read().get(symbol)
        if found is None:
            return []
        seconds, prices, quantities = found
        local = seconds + IST_S
        inside = (local >= _day(first)) & (local < _day(last) + DAY_S)
        local, prices, quantities = local[inside], prices[inside], quantities[inside]
        if not len(local):
            return []
        day = local // DAY_S * DAY_S
        starts = day if minutes is None else day + OPEN_S + (local - day - OPEN_S) // (minutes * 60) * minutes * 60
        edges = np.flatnonzero(np.append(True, np.diff(starts) != 0))
        ends = np.append(edges[1:], len(starts)) - 1
        epoch = starts[edges] if minutes is None else starts[edges] - IST_S
        columns = (
            epoch, prices[edges], np.maximum.reduceat(prices, edges), np.minimum.reduceat(prices, edges), prices[ends],
            np.add.reduceat(quantities, edges),
        )  # fmt: skip
        return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _read(self) -> dict[str, tuple[Ints, Floats, Ints]]:
        """Seconds (UTC), prices and traded quantities by symbol, read at the first question."""
        if self._ticks is None:
            self._ticks = self._from_tapes() if self._tapes else {}
        return self._ticks

    def _from_tapes(self) -> dict[str, tuple[Ints, Floats, Ints]]:
        tick_filter = TickFilter(self._instruments, self._calendar, MAX_JUMP_PERCENT)
        parts: dict[str, list[tuple[Ints, Floats, Ints]]] = {}
        for raw in Tapes(self._tapes, (), CHUNK_ROWS).batches():
            batch, _ = tick_filter.apply(raw)
            for code in np.unique(batch.code).tolist():
                rows = batch.code == code
                quantities = np.maximum(batch.last_qty[rows], 0)
                part = (batch.ts_event[rows] // NS_PER_S, batch.ltp[rows], quantities)
                parts.setdefault(batch.symbols[code], []).append(part)
        return {name: _joined(items) for name, items in parts.items()}


def _joined(parts: list[tuple[Ints, Floats, Ints]]) -> tuple[Ints, Floats, Ints]:
    seconds, prices, quantities = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(seconds, kind="stable")
    return seconds[order], prices[order], quantities[order]


def _day(date: dt.date) -> int:
    """Seconds from the epoch to midnight of `date`, on India's clock."""
    return (date - dt.date(1970, 1, 1)).days * DAY_S
