"""Seed → sessions of a market whose drift is hidden behind a chain of events, with its exact best trader.

The first ``opening`` bars carry events, every ``spacing`` bars, each a swap of two of the three regimes (down, flat,
up) and visible as a bar of heavy volume with a long wick. After the opening the drift is the image of the flat regime
under the composition of all swaps, in order: no single event says anything about it, and leaving one out makes it
wrong. Swaps do not commute, so their order matters. Invariant: the reference knows the regime from the events alone,
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.training.market import FloatArray, IntArray, bars_from_returns
from models.training.reference import POSITIONS, REACHABLE, pnl_bp
from models.training.sessions import Sessions

#: Where each kind of event sends the regimes down, flat, up.
SWAPS = np.array([[1, 0, 2], [0, 2, 1], [2, 1, 0]])
#: Multiples of upper wick, lower wick and volume that make a kind visible: kind 0, kind 1, kind 2, no event.
MARKS = np.array([[8.0, 1.0, 6.0], [1.0, 8.0, 6.0], [8.0, 8.0, 6.0], [1.0, 1.0, 1.0]])
NO_EVENT = 3
FLAT_REGIME = 1


@dataclass(frozen=True)
class CompositionMarket:
    """Parameters; ``events`` is how many swaps must be composed."""

    bars: int = 60
    events: int = 6
    spacing: int = 4
    drift_bp: float = 1.0
    vol_bp: float = 6.0
    cost_bp: float = 3.0

    @property
    def opening(self) -> int:
        """Bars before the drift begins."""
        return self.events * self.spacing

    @property
    def drifts_bp(self) -> FloatArray:
        """Drift of each regime, basis points a bar, shape (3,)."""
        return self.drift_bp * np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True)
class Composed:
    """Simulated sessions: returns in bp and event kinds (N, T), 3 for none; regime (N,) after the opening."""

    returns_bp: FloatArray
    event: IntArray
    regime: IntArray


def simulate(market: CompositionMarket, sessions: int, seed: int) -> Composed:
    """Draw ``sessions`` independent sessions."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(SWAPS), (sessions, market.events))
    event = np.full((sessions, market.bars), NO_EVENT, dtype=np.int64)
    regime = np.full(sessions, FLAT_REGIME, dtype=np.int64)
    for k in range(market.events):
        slot = k * market.spacing + rng.integers(0, market.spacing, sessions)
        event[np.arange(sessions), slot] = kinds[:, k]
        regime = SWAPS[kinds[:, k], regime]
    drifting = np.arange(market.bars) >= market.opening
    noise = market.vol_bp * rng.standard_normal((sessions, market.bars))
    return Composed(noise + np.where(drifting, market.drifts_bp[regime][:, None], 0.0), event, regime)


def conditional_means(market: CompositionMarket, composed: Composed) -> FloatArray:
    """Return what bar t+1 is expected to return given all events and returns up to bar t, in bp, shape (N, T−1).

    The regime is known from the opening's last event on. Before that the events still to come are unknown, and a swap
    drawn evenly sends any regime to each of its images with equal chance; but no drift is earned before the opening
    ends.
    """
    drifting = np.arange(1, market.bars) >= market.opening
    known = _known_from(composed)[:, None] <= np.arange(market.bars - 1)
    exact = market.drifts_bp[composed.regime][:, None]
    return np.where(drifting & known, exact, 0.0)


def _known_from(composed: Composed) -> IntArray:
    """Bar of each session's last event, (N,)."""
    happened = composed.event != NO_EVENT
    return np.asarray(happened.shape[1] - 1 - happened[:, ::-1].argmax(axis=1))


def best_positions(market: CompositionMarket, composed: Composed) -> FloatArray:
    """Positions of the best trader over bars 1…T−1, −1/0/+1, shape (N, T−1).

    Backward induction over (position, bars left) with the known drift; a position is open only while it pays.
    """
    means = conditional_means(market, composed)
    n, steps = means.shape
    cost = market.cost_bp * np.abs(POSITIONS[:, None] - POSITIONS[None, :])
    value = np.broadcast_to(-market.cost_bp * np.abs(POSITIONS), (n, 3))
    choice = np.empty((n, steps, 3), dtype=np.int64)
    for t in range(steps - 1, -1, -1):
        ahead = means[:, t, None] * POSITIONS + value  # (N, 3) by position held
        options = np.where(REACHABLE, ahead[:, None, :] - cost, -np.inf)
        choice[:, t] = options.argmax(axis=-1)
        value = options.max(axis=-1)
    held = np.zeros(n, dtype=np.int64)
    out = np.empty((n, steps))
    for t in range(steps):
        held = choice[np.arange(n), t, held]
        out[:, t] = POSITIONS[held]
    return out


def reference_pnl_bp(market: CompositionMarket, composed: Composed) -> FloatArray:
    """Return what the best trader expects to earn in each session, bp, (N,)."""
    return pnl_bp(best_positions(market, composed), conditional_means(market, composed), market.cost_bp)


def composed_sessions(market: CompositionMarket, sessions: int, seed: int) -> Sessions:
    """Fresh sessions as bars, each with what an exact observer expected of it."""
    composed = simulate(market, sessions, seed)
    expected = np.concatenate([np.full((sessions, 1), np.nan), conditional_means(market, composed)], axis=1)
    vol = np.full(composed.event.shape, market.vol_bp)
    return bars_from_returns(composed.returns_bp, vol, seed, expected, MARKS[composed.event], symbol="SIM2")
