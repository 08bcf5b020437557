"""When a symbol last had a believable, recent tick → which symbols are stale, and which are fresh again.

Only time that the market was open counts: nights, holidays and pauses make nobody stale, and after an opening or a new
link everybody starts afresh. A tick counts where its exchange stamp is recent too, so that a snapshot of old values, or
a feed that is minutes behind, doesn't pass for life. Invariant: a symbol is reported once when it goes stale and once
when it is fresh again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from daemon.core.clock import NS_PER_S
from daemon.core.events import TickBatch


class Change(msgspec.Struct, frozen=True):
    """A symbol went stale, or is `fresh` again."""

    symbol: str
    fresh: bool
    reason: str


class Freshness:
    """Loop-free; `symbols` fixes the codes of the batches."""

    def __init__(self, symbols: Sequence[str], stale_after_s: float) -> None:
        self.stale: dict[str, str] = {}
        """Symbol → why."""
        self._symbols = tuple(symbols)
        self._limit_ns = int(stale_after_s * NS_PER_S)
        self._limit_s = stale_after_s
        self._last = np.zeros(len(self._symbols), dtype=np.int64)
        self._since = 0
        self._quiet_until = -1
        """Nobody goes stale before; ticks that come meanwhile only put it off."""

    def start(self, ts: int) -> None:
        """The market opened, or a new link was made: silence counts from here."""
        self._since = max(self._since, ts)

    def on_ticks(self, batch: TickBatch) -> None:
        """Note accepted ticks; `batch.symbols` are ours."""
        recent = batch.ts_recv - batch.ts_event <= self._limit_ns
        code, received = (batch.code, batch.ts_recv) if recent.all() else (batch.code[recent], batch.ts_recv[recent])
        np.maximum.at(self._last, code, received)

    def check(self, now: int) -> list[Change]:
        """What changed by `now`, while the market is open."""
        if now <= self._quiet_until and not self.stale:
            return []
        newest = np.maximum(self._last, self._since)
        overdue = now - newest > self._limit_ns
        changes = []
        for code in np.flatnonzero(overdue).tolist():
            symbol = self._symbols[code]
            if symbol not in self.stale:
                seen = int(self._last[code])
                age = f"for {(now - seen) / NS_PER_S:.0f} s" if seen else "yet"
                reason = f"no recent tick {age}, limit {self._limit_s:g} s"
                self.stale[symbol] = reason
                changes.append(Change(symbol, False, reason))
        if self.stale:
            for code, symbol in enumerate(self._symbols):
                if symbol in self.stale and not overdue[code] and self._last[code] >= self._since:
                    del self.stale[symbol]
                    changes.append(Change(symbol, True, "ticks again"))
        self._quiet_until = int(newest.min(initial=now)) + self._limit_ns
        return changes
