"""Decisions → whether their market has been unlike those that the model knows for so long that it should step down.

One bar over the limit refuses one entry; this counts what lasts: so many bars in a row, or a share of the newest ones.
Each symbol counts for itself. Invariant: a function of the decisions alone, and a decision that measured nothing
(another strategy's, a HOLD that saw no market) changes no count.
"""

from __future__ import annotations

from collections import deque

import msgspec

from daemon.core.events import Decision


class NoveltyLimits(msgspec.Struct, frozen=True):
    """When novelty has lasted: `in_a_row` bars without a break, or `share` of the newest `window` once it is full."""

    in_a_row: int
    window: int
    share: float


class LastingNovelty:
    """Counts a model's decisions; loop-free."""

    def __init__(self, limits: NoveltyLimits) -> None:
        self._limits = limits
        self._newest: dict[str, deque[bool]] = {}
        self._run: dict[str, int] = {}

    def on_decision(self, decision: Decision) -> str | None:
        """Count one; why to step down as of it, or None."""
        if decision.novelty <= 0.0:
            return None
        symbol, limits, novel = decision.symbol, self._limits, decision.novelty > 1.0
        newest = self._newest.setdefault(symbol, deque(maxlen=limits.window))
        newest.append(novel)
        run = self._run[symbol] = self._run.get(symbol, 0) + 1 if novel else 0
        unlike = "of a market unlike those the model knows"
        if run >= limits.in_a_row:
            return f"{symbol}: {run} bars in a row {unlike} ({decision.novelty:.1f} × the limit)"
        count = sum(newest)
        if len(newest) == limits.window and count >= limits.share * limits.window:
            return f"{symbol}: {count} of {limits.window} bars {unlike}"
        return None

    def forget(self) -> None:
        """Start anew, as when another model is in charge."""
        self._newest.clear()
        self._run.clear()
