"""The rules strategy: an EMA cross, entered only where the session's own trend pays for it.

Long while the fast exponential average is above the slow one, short while below, and left when the averages cross back.
A rung to fall back on must above all not lose, so an entry also needs a session that (from its first close on)

- is `not_before_minutes` old, and was seen from its beginning,
- has moved `min_trend` standard errors of its own bars: |Σr| ≥ min_trend · √Σr²,
- would earn `pays` times `cost_bp`, were it to keep its average pace until the close,
- with `once`, is so for the first time: whatever becomes of an entry, it was the session's only one,

and a regime that the settings name (where they name all three, also one that isn't known yet). Sitting out is the usual
answer (docs/rules.md has what it came to). Invariant: no state beyond the moment, and microseconds per decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.core.events import Action, Decision, Regime
from strategies.base import ATR_BARS, CLOSE, HIGH, LOW, Moment, decision, hold

SLOW_SPANS = 4
"""How many spans of the slow average its window holds: e^−8 of the weight lies outside."""

SESSION_MINUTES = 375
"""Of the longest session: all of it is looked at."""

SEEN_SHARE = 0.75
"""Share of the bars of a session so far without which nothing can be said of it: a late start, a long halt."""

BP = 1e4

KNOWN_REGIMES = frozenset(Regime) - {Regime.UNKNOWN}


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

    @property
    def not_before_minutes(self) -> int:
        """Minutes of a session before its first entry."""

    @property
    def min_trend(self) -> float:
        """Standard errors that the session must have moved; 0: any."""

    @property
    def cost_bp(self) -> float:
        """What a round trip costs, basis points."""

    @property
    def pays(self) -> float:
        """How many times its cost an entry must promise; 0: any."""

    @property
    def once(self) -> bool:
        """Whether an entry is made at the first chance of a session only."""


class RulesStrategy:
    """See the module."""

    name = "rules"
    in_thread = False

    def __init__(self, parameters: RulesParameters) -> None:
        self._quantity = parameters.quantity
        self._min_bars = parameters.min_bars
        named = frozenset(map(Regime, parameters.trade_in))
        self._regimes = named if KNOWN_REGIMES - named else frozenset(Regime)
        self._not_before = parameters.not_before_minutes
        self._min_trend = parameters.min_trend
        self._promise_bp = parameters.pays * parameters.cost_bp
        self._once = parameters.once
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
        keeps_out = self._keeps_out(moment, 1.0 if gap > 0 else -1.0)
        if keeps_out:
            return hold(moment, self.name, keeps_out)
        action = Action.BUY_LONG if gap > 0 else Action.SELL_SHORT
        side = "over" if gap > 0 else "under"
        return decision(moment, self.name, action, self._quantity, confidence, f"fast average {side} slow")

    def _keeps_out(self, moment: Moment, sign: float) -> str:
        """Why nothing is opened on the side of `sign`; empty where nothing speaks against it."""
        if not moment.may_enter:
            return "no entries this late"
        if moment.minute_of_session < self._not_before:
            return f"no entries in the first {self._not_before} minutes"
        if moment.complexity.regime not in self._regimes:
            return f"regime is {moment.complexity.regime}"
        if self._once or self._min_trend or self._promise_bp:
            return self._keeps_out_of_session(moment, sign)
        return ""

    def _keeps_out_of_session(self, moment: Moment, sign: float) -> str:
        """The same, for what the session itself has to say; index i of the arrays is its bar i + 2."""
        length = int(moment.interval[:-1])  # minutes; nothing is opened on bars of a day
        count = moment.session_bars
        if count < 2 or count * length < SEEN_SHARE * moment.minute_of_session:
            return f"too little was seen of the session: {count} bars"
        closes = moment.bars[-count:, CLOSE]
        if not np.isfinite(closes).all():
            return "bars are not finite"
        returns = np.diff(np.log(closes))
        moves, errors = np.cumsum(returns), np.sqrt(np.cumsum(returns**2))
        since = np.arange(count - 2, -1, -1.0) * length  # minutes between each bar and this one
        ahead = (moment.minutes_to_close + since) / (np.arange(1, count) * length)
        promises = np.abs(moves) * ahead * BP
        passed = (errors > 0.0) & (np.abs(moves) >= self._min_trend * errors) & (promises >= self._promise_bp)
        if not passed[-1]:
            trend = abs(moves[-1]) / errors[-1] if errors[-1] > 0.0 else 0.0
            return f"the session's trend is {trend:.1f} standard errors and promises {promises[-1]:.0f} bp"
        if moves[-1] * sign < 0.0:
            return "the averages point against the session"
        if self._once and (passed & (moment.minute_of_session - since >= self._not_before))[:-1].any():
            return "the session has had its entry"
        return ""

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
