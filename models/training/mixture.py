"""Sessions of a member that nobody names → the exact filter over members, and a trader who goes by it.

What is exact: P(member | all bars so far) over a finite grid, each member's own belief, and so what the next bar is
expected to return. What is a bound: the trader follows the values of one typical member, whose belief is such that he
expects what all members together do; the best trader without that knowledge earns at least as much, and the one who
knows the member more. He is told what bars show: each bar's volatility and the noise's tails exactly, and the cost.
Invariant: a decision reads its own session up to its bar and earlier sessions, nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from models.training import reference as ref
from models.training.market import FloatArray, HiddenRegimeMarket, IntArray, Simulated

RATIOS, TRENDS, FLATS, REVERSALS = 8, 5, 4, 2
"""Points of the grid along the strength of a drift, how long trends and flat spells last, and how often they turn."""
STRENGTHS, LENGTHS = 4, 2
"""Typical members, of whom one is followed: strengths, lengths of a trend."""
CELLS, NODES = 12, 11
"""Of the tables of values (`models.training.reference.solve`); finer ones earn 0.5 % more, in twice the time."""


@dataclass(frozen=True)
class Grid:
    """K members that could be the one at hand, alike in all that can be seen.

    ``weights`` (K,) before anything is seen; ``typical``: a few, whose values are worked out.
    """

    markets: tuple[HiddenRegimeMarket, ...]
    weights: FloatArray
    typical: tuple[HiddenRegimeMarket, ...]
    cells: int = CELLS
    nodes: int = NODES

    @classmethod
    def of_one(cls, market: HiddenRegimeMarket, cells: int = CELLS, nodes: int = NODES) -> Grid:
        """The grid of a trader who knows the member."""
        return cls((market,), np.ones(1), (market,), cells, nodes)

    @cached_property
    def matrices(self) -> FloatArray:
        """Regime matrices, (K, 3, 3)."""
        return np.array([market.regime_matrix for market in self.markets])

    @cached_property
    def drifts_bp(self) -> FloatArray:
        """Drift of each regime, (K, 3)."""
        return np.array([market.drifts_bp for market in self.markets])

    @cached_property
    def priors(self) -> FloatArray:
        """Regimes of a session's first bar, (K, 3)."""
        return np.array([market.regime_prior for market in self.markets])


def quantiles(low: float, high: float, points: int) -> FloatArray:
    """Midpoints of ``points`` equally likely parts of what is even in its logarithm between two bounds."""
    shares = (np.arange(points) + 0.5) / points
    return np.asarray(np.exp(math.log(low) + shares * math.log(high / low)))


@dataclass(frozen=True)
class Ranges:
    """What a drift may be like before anything is seen, as `models.training.family.draw` draws it."""

    without_drift: float
    ratio: tuple[float, float]
    trend_bars: tuple[float, float]
    flat_bars: tuple[float, float]
    reversal: tuple[float, float]


def grid_around(member: HiddenRegimeMarket, ranges: Ranges) -> Grid:
    """Every member that looks like ``member`` where nothing but its drift is hidden."""
    typical = math.sqrt(member.vol_bp[0] * member.vol_bp[1])

    def hidden(ratio: float, trend: float, flat: float, reversal: float) -> HiddenRegimeMarket:
        return replace(
            member, drift_bp=typical * ratio, stay_trend=1 - 1 / trend, stay_flat=1 - 1 / flat, reversal=reversal
        )

    ratios, trends = quantiles(*ranges.ratio, RATIOS), quantiles(*ranges.trend_bars, TRENDS)
    flats, even = quantiles(*ranges.flat_bars, FLATS), np.linspace(*ranges.reversal, 2 * REVERSALS + 1)[1::2]
    drifting = list(product(range(RATIOS), range(TRENDS), range(FLATS), range(REVERSALS)))
    markets = [hidden(ratios[a], trends[b], flats[c], even[d]) for a, b, c, d in drifting]
    weights = np.full(len(markets), (1 - ranges.without_drift) / len(markets))
    middle = math.sqrt(ranges.flat_bars[0] * ranges.flat_bars[1]), float(np.mean(ranges.reversal))
    few = product(quantiles(*ranges.ratio, STRENGTHS), quantiles(*ranges.trend_bars, LENGTHS))
    stand = [hidden(ratio, trend, *middle) for ratio, trend in few]
    nothing = replace(member, drift_bp=0.0)
    return Grid(
        (nothing, *markets),
        np.append(ranges.without_drift, weights),
        (nothing, *stand),
    )


@dataclass(frozen=True)
class Filtered:
    """What N sessions of T bars tell under each of K members.

    ``beliefs`` (K, N, T, 3): P(regime of a bar | member, its session up to it); ``evidence`` (K, N, T): log-likelihood
    of the session up to a bar, up to what all members share.
    """

    beliefs: FloatArray
    evidence: FloatArray


def filtered(grid: Grid, drawn: Simulated) -> Filtered:
    """Run every member's filter over the sessions."""
    n, t = drawn.returns_bp.shape
    volatility = grid.markets[0].volatility_bp(drawn.vol_state)
    beliefs, evidence = np.empty((len(grid.markets), n, t, 3)), np.empty((len(grid.markets), n, t))
    prior = np.broadcast_to(grid.priors[:, None], (len(grid.markets), n, 3))
    total = np.zeros((len(grid.markets), n))
    for i in range(t):
        deviation = (drawn.returns_bp[:, i, None] - grid.drifts_bp[:, None]) / volatility[:, i, None]
        density = grid.markets[0].log_density(deviation)
        joint = prior * np.exp(density)
        mass = np.maximum(joint.sum(axis=-1), 1e-300)
        beliefs[:, :, i] = joint / mass[..., None]
        total = total + np.log(mass)
        evidence[:, :, i] = total
        prior = beliefs[:, :, i] @ grid.matrices
    return Filtered(beliefs, evidence)


def posterior(grid: Grid, seen: Filtered, past: int) -> FloatArray:
    """P(member | the ``past`` sessions before, and this one up to each bar), (K, N, T)."""
    whole = np.cumsum(np.pad(seen.evidence[..., -1], ((0, 0), (1, 0))), axis=1)
    rows = np.arange(seen.evidence.shape[1])
    earlier = whole[:, rows] - whole[:, np.maximum(rows - past, 0)]
    logs = np.log(np.maximum(grid.weights, 1e-300))[:, None, None] + earlier[..., None] + seen.evidence
    weights = np.exp(logs - logs.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def expected_bp(grid: Grid, seen: Filtered, weights: FloatArray) -> FloatArray:
    """What the next bar is expected to return by all that is known, bp, (N, T−1)."""
    ahead = np.einsum("kntr,krs,ks->knt", seen.beliefs[:, :, :-1], grid.matrices, grid.drifts_bp)
    return np.asarray((weights[..., :-1] * ahead).sum(axis=0))


def positions(grid: Grid, seen: Filtered, weights: FloatArray, vol_state: IntArray) -> FloatArray:
    """Position held over bars 1…T−1 of each session, −1/0/+1, (N, T−1), by the values of one typical member a session.

    His drift up and down is believed in so far as all members together expect one: his expectation is the mixture's.
    """
    n, t = vol_state.shape
    out, cost = np.zeros((n, t - 1)), grid.markets[0].cost_bp
    drift = grid.drifts_bp[:, 2]
    down, up = (np.einsum("knt,knt,k->nt", weights, seen.beliefs[..., side], drift) for side in (0, 2))
    chosen = _nearest(grid, weights[..., 0])
    for index in np.unique(chosen):
        market, rows = grid.typical[index], np.flatnonzero(chosen == index)
        if market.drift_bp == 0.0:
            continue
        table = ref.solve(market, grid=grid.cells, nodes=grid.nodes).continuation
        low, high = down[rows] / market.drift_bp, up[rows] / market.drift_bp
        whole = np.maximum(low + high, 1.0)
        belief = np.stack([low / whole, 1.0 - (low + high) / whole, high / whole], axis=-1)
        held = np.zeros(len(rows), dtype=np.int64)
        for i in range(t - 1):
            held = ref.best_position(ref.interpolate(table[i], belief[:, i], vol_state[rows, i]), held, cost)
            out[rows, i] = ref.POSITIONS[held]
    return out


def _nearest(grid: Grid, weights: FloatArray) -> IntArray:
    """The typical member of each session, (N,): nearest to the members that can pay, by strength and length of a trend.

    ``weights`` (K, N) as a session begins.
    """
    shares = weights * grid.drifts_bp[:, 2, None] ** 2
    shares = shares / np.maximum(shares.sum(axis=0), 1e-300)

    def place(market: HiddenRegimeMarket) -> tuple[float, float]:
        return math.log(max(market.drift_bp, 1e-9)), -math.log(1.0 - market.stay_trend)

    middle = np.einsum("kn,kd->nd", shares, np.array([place(market) for market in grid.markets]))
    stand = np.array([place(market) for market in grid.typical])
    return np.asarray(np.square(middle[:, None] - stand).sum(axis=-1).argmin(axis=1))


def trader_bp(member: HiddenRegimeMarket, grid: Grid, drawn: Simulated, past: int) -> FloatArray:
    """What the trader who goes by the filter earns in each of the sessions of ``member``, bp, (N,).

    He knows the ``past`` sessions before each; the expectation of returns is that of who knows the member, which has
    the same mean as the returns themselves and little of their noise.
    """
    seen = filtered(grid, drawn)
    taken = positions(grid, seen, posterior(grid, seen, past), drawn.vol_state)
    means = ref.conditional_means(member, ref.filter_beliefs(member, drawn))
    return ref.pnl_bp(taken, means, member.cost_bp)
