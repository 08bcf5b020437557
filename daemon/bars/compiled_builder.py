"""The bar builder whose ticks are added up in C++: a batch of any symbols in one call.

Invariant: the bars and what is late are what `BarBuilder` makes of the same ticks.
"""

from __future__ import annotations

import numpy as np

from daemon.bars.builder import BarBuilder, SessionSource
from daemon.core.events import TickBatch
from daemon.native.kernel import PART, Kernel, refused

_OUTSIDE, _TOO_MANY = -2, -3
"""Answers of the kernel: a tick of another session, no place for all parts."""


class CompiledBarBuilder(BarBuilder):
    """See the module."""

    def __init__(self, calendar: SessionSource, seconds: dict[str, int], grace_ns: int, kernel: Kernel) -> None:
        super().__init__(calendar, seconds, grace_ns)
        self._kernel = kernel
        self._room(1, 256)

    def on_ticks(self, batch: TickBatch) -> None:
        """As `BarBuilder.on_ticks`."""
        if not len(batch.ts_event):
            return
        session = self._session_of(int(batch.ts_event[0]))
        if len(self._late_by_code) < len(batch.symbols):
            self._room(len(batch.symbols), len(self._parts))
        due = self._now - self._grace
        count: int = self._kernel.bars(
            len(batch.ts_event), batch.code, batch.ts_event, batch.ts_recv, batch.ltp, batch.traded, session.open_ns,
            session.close_ns, self._base_ns, self._grace, due, len(batch.symbols), *self._places, len(self._parts),
        )  # fmt: skip
        if count == _OUTSIDE:
            self._split(batch, (batch.ts_event >= session.open_ns) & (batch.ts_event < session.close_ns))
            return
        if count == _TOO_MANY:
            self._room(len(self._late_by_code), 2 * len(self._parts))
            self.on_ticks(batch)
            return
        if count < 0:
            raise refused(count)
        for code, bucket, volume, ticks, opened, high, low, close in self._parts[:count].tolist():
            bars = self._bars_of(batch.symbols[code], session)
            self._add(bars, session, bucket, opened, high, low, close, volume, ticks)
        for symbol, late in zip(batch.symbols, self._late_by_code.tolist(), strict=False):
            if late:
                self.late_of[symbol] += late

    def _room(self, symbols: int, parts: int) -> None:
        """Make place for the kernel's answers: it writes into them by their addresses."""
        self._at, self._late_by_code = np.empty(symbols, dtype=np.int64), np.empty(symbols, dtype=np.int64)
        self._parts = np.empty(parts, dtype=PART)
        self._places = self._at.ctypes.data, self._late_by_code.ctypes.data, self._parts.ctypes.data
