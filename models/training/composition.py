"""Seed → sessions of a market whose drift is hidden behind a chain of events, with its exact best trader.

Every ``spacing`` bars (each one, as it is measured) an event swaps two of the three regimes down, flat and up; it shows
as a bar of heavy volume with long wicks, whose sides tell which swap it is. A session starts flat, and until the next
event the drift is that of the image of flat under the composition of all swaps so far, in order. Any set of events that
leaves one out says nothing about the drift, since over the kinds of that one each regime comes once; and swaps do not
commute, so their order matters. Who wants to know the drift must apply as many swaps, one after the other, as events
have happened. Invariant: the reference knows the regime from the events alone, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.training.market import FloatArray, IntArray, bars_from_returns
from models.training.reference import POSITIONS, REACHABLE, pnl_bp
from models.training.sessions import Sessions

#: Where each kind of event sends the regimes down, flat, up.
SWAPS = np.array([[1, 0, 2], [0, 2, 1], [2, 1, 0]])
#: Upper wick and lower wick of each kind's bar, in units of volatility, and its volume as a multiple of the usual.
MARKS = np.array([[3.0, 0.3, 4.0], [0.3, 3.0, 4.0], [3.0, 3.0, 4.0]])
#: The same of a session's first bar, so that the beginning of the chain is seen.
OPENING = np.array([0.3, 0.3, 4.0])
NO_EVENT = 3
FLAT_REGIME = 1


@dataclass(frozen=True)
class CompositionMarket:
    """Parameters: bars of a session, bars from one event to the next, and what a position earns and costs."""

    bars: int = 14
    spacing: int = 1
    drift_bp: float = 18.0
    vol_bp: float = 48.0
    cost_bp: float = 3.0

    @property
    def drifts_bp(self) -> FloatArray:
        """Drift of each regime, basis points a bar, shape (3,)."""
        return self.drift_bp * np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True)
class Composed:
    """Simulated sessions, (N, T): returns in bp; event kinds, 3 for none; regime after the events up to each bar."""

    returns_bp: FloatArray
    event: IntArray
    regime: IntArray


def simulate(market: CompositionMarket, sessions: int, seed: int) -> Composed:
    """Draw ``sessions`` independent sessions."""
    rng = np.random.default_rng(seed)
    event = np.full((sessions, market.bars), NO_EVENT, dtype=np.int64)
    happen = slice(market.spacing, None, market.spacing)
    event[:, happen] = rng.integers(0, len(SWAPS), event[:, happen].shape)
    regime = np.empty_like(event)
    now = np.full(sessions, FLAT_REGIME, dtype=np.int64)
    for t in range(market.bars):
        if t and t % market.spacing == 0:
            now = SWAPS[event[:, t], now]
        regime[:, t] = now
    returns = market.vol_bp * rng.standard_normal(event.shape)
    returns[:, 1:] += market.drifts_bp[regime[:, :-1]]
    return Composed(returns, event, regime)


def conditional_means(market: CompositionMarket, composed: Composed) -> FloatArray:
    """Return what bar t+1 is expected to return given all events up to bar t, in bp, shape (N, T−1)."""
    return market.drifts_bp[composed.regime[:, :-1]]


def best_positions(market: CompositionMarket, composed: Composed, first: int = 0) -> FloatArray:
    """Positions of the best trader over bars 1…T−1, −1/0/+1, shape (N, T−1); flat before its ``first`` decision.

    Backward induction over (regime, position, bars left); the regime is known, and an event makes the next one any of
    the three with equal chance.
    """
    steps = market.bars - 1
    cost = market.cost_bp * np.abs(POSITIONS[:, None] - POSITIONS[None, :])
    value = np.broadcast_to(-market.cost_bp * np.abs(POSITIONS), (3, 3))  # (regime, position)
    choice = np.empty((steps, 3, 3), dtype=np.int64)  # (bar, regime, position held)
    for t in range(steps - 1, -1, -1):
        after = np.broadcast_to(value.mean(axis=0), (3, 3)) if (t + 1) % market.spacing == 0 else value
        ahead = market.drifts_bp[:, None] * POSITIONS + after
        options = np.where(REACHABLE, ahead[:, None, :] - cost, -np.inf)  # (regime, held, next)
        choice[t], value = options.argmax(axis=-1), options.max(axis=-1)
    held = np.zeros(len(composed.regime), dtype=np.int64)
    out = np.zeros((len(held), steps))
    for t in range(first, steps):
        held = choice[t, composed.regime[:, t], held]
        out[:, t] = POSITIONS[held]
    return out


def reference_pnl_bp(market: CompositionMarket, composed: Composed, first: int = 0) -> FloatArray:
    """Return what the best trader expects to earn in each session from its ``first`` decision on, bp, (N,)."""
    return pnl_bp(best_positions(market, composed, first), conditional_means(market, composed), market.cost_bp)


def composed_sessions(market: CompositionMarket, sessions: int, seed: int) -> Sessions:
    """Fresh sessions as bars, each with what an exact observer expected of it."""
    composed = simulate(market, sessions, seed)
    expected = np.concatenate([np.full((sessions, 1), np.nan), conditional_means(market, composed)], axis=1)
    vol = np.full(composed.event.shape, market.vol_bp)
    marks = np.concatenate([MARKS, np.full((1, 3), np.nan)])[composed.event]
    marks[:, 0] = OPENING
    return bars_from_returns(composed.returns_bp, vol, seed, expected, marks, symbol="SIM2")
