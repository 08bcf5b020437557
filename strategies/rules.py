"""The rules strategy: EMA cross with a regime filter.

Long while the fast exponential average is above the slow one, short while below; entered only in the regimes that the
settings name and left when the averages cross back. It is the last deciding rung of the ladder and the plainest
baseline. Invariant: no state beyond the moment, and microseconds per decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.events import Action, Decision
from strategies.base import ATR_BARS, CLOSE, HIGH, LOW, Moment, decision, hold

SLOW_SPANS = 4
"""How many spans of the slow average its window holds: e^−8 of the weight lies outside."""


class RulesParameters(Protocol):
    """The settings `strategy.rules`."""

    @property
    def fast(self) -> int:
        """Span of the fast average, bars."""

    @property
    def slow(self) -> int:
        """Span of the slow average, bars."""

    @property
    def min_bars(self) -> int:
        """Bars needed before the first decision."""

    @property
    def quantity(self) -> int:
        """Units per trade."""

    @property
    def trade_in(self) -> Sequence[str]:
        """Regimes in which positions are opened."""


class RulesStrategy:
    """See the module."""

    name = "rules"
    in_thread = False

    def __init__(self, parameters: RulesParameters) -> None:
        self._quantity = parameters.quantity
        self._min_bars = parameters.min_bars
        self._regimes = frozenset(parameters.trade_in)
        self.window = SLOW_SPANS * parameters.slow
        self._spans = (parameters.fast, parameters.slow)
        self._weights = self._ema_weights(self.window)

    def decide(self, moment: Moment) -> Decision:
        """HOLD until `min_bars` are there; else follow the cross."""
        if len(moment.bars) < self._min_bars:
            return hold(moment, self.name, f"not enough bars: {len(moment.bars)} of {self._min_bars}")
        closes = moment.bars[-self.window :, CLOSE]
        weights = self._weights if len(closes) == self.window else self._ema_weights(len(closes))
        fast, slow = (weights @ closes).tolist()
        gap = fast - slow
        if not math.isfinite(gap):
            return hold(moment, self.name, "bars are not finite")
        confidence = self._confidence(moment, gap)
        if moment.position > 0 and gap < 0:
            return decision(
                moment, self.name, Action.CLOSE_LONG, moment.position, confidence, "fast average crossed under slow"
            )
        if moment.position < 0 and gap > 0:
            return decision(
                moment, self.name, Action.CLOSE_SHORT, -moment.position, confidence, "fast average crossed over slow"
            )
        if moment.position or gap == 0:
            return decision(moment, self.name, Action.HOLD, 1, confidence, "no cross")
        if not moment.may_enter:
            return hold(moment, self.name, "no entries this late")
        if moment.complexity.regime not in self._regimes:
            return hold(moment, self.name, f"regime is {moment.complexity.regime}")
        action = Action.BUY_LONG if gap > 0 else Action.SELL_SHORT
        side = "over" if gap > 0 else "under"
        return decision(moment, self.name, action, self._quantity, confidence, f"fast average {side} slow")

    def _confidence(self, moment: Moment, gap: float) -> float:
        """The gap between the averages in average bar ranges, at most 1."""
        highs, lows = moment.bars[-ATR_BARS:, HIGH].tolist(), moment.bars[-ATR_BARS:, LOW].tolist()
        span = (math.fsum(highs) - math.fsum(lows)) / len(highs)
        return min(1.0, abs(gap) / span) if span > 0 else 0.0

    def _ema_weights(self, length: int) -> NDArray[np.float64]:
        """Weights of both averages with α = 2 / (span + 1), newest bar last, rows adding up to 1, shape (2, length)."""
        decay = 1.0 - 2.0 / (np.array(self._spans)[:, None] + 1.0)
        weights = decay ** np.arange(length - 1, -1, -1)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
