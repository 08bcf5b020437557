"""Ticks for the feed's tests, made from a few columns."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from daemon.core.events import TICK_COLUMNS, TickBatch
from daemon.market.instruments import Instrument, Kind

SECOND = 1_000_000_000
OPEN_NS = 1_767_584_700 * SECOND
"""2026-01-05 09:15 IST."""


def make_batch(symbols: tuple[str, ...] = ("AAA",), **columns: Any) -> TickBatch:
    """Make a batch of the given columns, null in the others; `ts_event` and `ts_recv` are seconds after the open."""
    n = len(next(iter(columns.values())))
    full: dict[str, Any] = {"code": np.zeros(n, np.int32), "ltp": np.full(n, 100.0)}
    full |= {"bid": np.full(n, np.nan), "ask": np.full(n, np.nan)}
    for name, values in columns.items():
        if name.startswith("ts_"):
            full[name] = np.array([OPEN_NS + round(second * SECOND) for second in values], dtype=np.int64)
        else:
            full[name] = np.asarray(values, dtype=full[name].dtype if name in full else np.int64)
    full.setdefault("ts_event", OPEN_NS + np.arange(n, dtype=np.int64) * SECOND)
    full.setdefault("ts_recv", full["ts_event"])
    for name in TICK_COLUMNS:
        full.setdefault(name, np.full(n, -1, dtype=np.int64))
    return TickBatch(symbols=symbols, **full)


def listed(symbol: str, kind: Kind = Kind.EQUITY) -> Instrument:
    """Make an instrument that a filter may know: ticks of five paise, lots of one."""
    return Instrument(symbol, kind, "NSE", 1, Decimal("0.05"), True)
