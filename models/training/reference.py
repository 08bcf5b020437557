"""Hidden-regime market → its exact Bayes filter and the best possible trader, by dynamic programming.

Invariant: the trader sees only what a model sees (returns and volatility states up to the bar it decides on) and obeys
the same rules (no direct flip from long to short, flat at the end), so no model can earn more in expectation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.training.market import FloatArray, HiddenRegimeMarket, IntArray, Simulated, bars_from_returns, simulate
from models.training.sessions import Sessions

#: Positions in the order of the last axis of every value table.
POSITIONS = np.array([0.0, 1.0, -1.0])  # flat, long, short
#: REACHABLE[p] lists the positions one action can lead to from position p.
REACHABLE = np.array([[True, True, True], [True, True, False], [True, False, True]])


def filter_beliefs(market: HiddenRegimeMarket, simulated: Simulated) -> FloatArray:
    """Exact filter: P(regime of bar t | returns and volatility states up to and with t), shape (N, T, 3)."""
    n, t = simulated.returns_bp.shape
    vol = market.volatility_bp(simulated.vol_state)
    beliefs = np.empty((n, t, 3))
    prior = np.broadcast_to(market.regime_prior, (n, 3))
    for i in range(t):
        deviation = (simulated.returns_bp[:, i, None] - market.drifts_bp) / vol[:, i, None]
        density = market.log_density(deviation)
        likelihood = np.exp(density - density.max(axis=1, keepdims=True))
        joint = prior * likelihood
        beliefs[:, i] = joint / joint.sum(axis=1, keepdims=True)
        prior = beliefs[:, i] @ market.regime_matrix
    return beliefs


def conditional_means(market: HiddenRegimeMarket, beliefs: FloatArray) -> FloatArray:
    """Return what the filter expects bar t+1 to return given all up to bar t, in bp, shape (N, T−1)."""
    means: FloatArray = beliefs[:, :-1] @ market.regime_matrix @ market.drifts_bp
    return means


@dataclass(frozen=True)
class Reference:
    """The best trader of a hidden-regime market: continuation values on a grid of beliefs.

    ``continuation`` has shape (T−1, 2, G, G, 3): decision, volatility state, P(−1) and P(+1) on the grid, position held
    over the coming bar; in bp.
    """

    market: HiddenRegimeMarket
    continuation: FloatArray

    def positions(self, beliefs: FloatArray, vol_state: IntArray) -> FloatArray:
        """Return the position held over bars 1…T−1 of each session, −1/0/+1, shape (N, T−1)."""
        n, t = vol_state.shape
        held = np.zeros(n, dtype=np.int64)
        out = np.empty((n, t - 1))
        for i in range(t - 1):
            values = interpolate(self.continuation[i], beliefs[:, i], vol_state[:, i])
            held = best_position(values, held, self.market.cost_bp)
            out[:, i] = POSITIONS[held]
        return out


def best_position(values: FloatArray, held: IntArray, cost_bp: float) -> IntArray:
    """Return the reachable position with the greatest value after costs; values (N, 3), held (N,) as indices."""
    cost = cost_bp * np.abs(POSITIONS[held][:, None] - POSITIONS[None, :])
    return np.asarray(np.where(REACHABLE[held], values - cost, -np.inf).argmax(axis=1))


def interpolate(table: FloatArray, belief: FloatArray, vol_state: IntArray) -> FloatArray:
    """Bilinear interpolation of ``table`` (2, G, G, K) at ``belief`` (N, 3); returns (N, K)."""
    size = table.shape[1] - 1
    x, y = belief[:, 0] * size, belief[:, 2] * size
    i, j = np.minimum(x.astype(np.int64), size - 1), np.minimum(y.astype(np.int64), size - 1)
    fx, fy = (x - i)[:, None], (y - j)[:, None]
    low = table[vol_state, i, j] * (1 - fy) + table[vol_state, i, j + 1] * fy
    high = table[vol_state, i + 1, j] * (1 - fy) + table[vol_state, i + 1, j + 1] * fy
    return np.asarray(low * (1 - fx) + high * fx)


@lru_cache(maxsize=4)
def solve(market: HiddenRegimeMarket, grid: int = 40, nodes: int = 31) -> Reference:
    """Backward induction over (belief, volatility state, position, bars left); the newest few are remembered.

    ``grid`` cells along each of the two belief axes; ``nodes`` points of the return, spread evenly over ±5 standard
    deviations and weighted by the exact predictive density.
    """
    down, up = np.meshgrid(np.linspace(0, 1, grid + 1), np.linspace(0, 1, grid + 1), indexing="ij")
    total = np.maximum(down + up, 1.0)
    belief = np.stack([down / total, np.maximum(1 - down - up, 0.0), up / total], axis=-1).reshape(-1, 3)
    predictive = belief @ market.regime_matrix
    mean = predictive @ market.drifts_bp
    branches = {
        share: [_branch(market, predictive, share * vol, nodes) for vol in market.vol_bp]
        for share in set(market.shape[1:].tolist())
    }
    cells = len(belief)
    exit_cost = -market.cost_bp * np.abs(POSITIONS)
    value = np.broadcast_to(exit_cost, (2, cells, 3))
    table = np.empty((market.bars - 1, 2, grid + 1, grid + 1, 3))
    for t in range(market.bars - 2, -1, -1):
        weights, posterior = zip(*branches[float(market.shape[t + 1])], strict=True)
        ahead = np.empty((2, cells, 3))  # expected value after the coming bar, by its volatility state
        for v in (0, 1):
            at = interpolate(
                np.broadcast_to(value[v].reshape(1, grid + 1, grid + 1, 3), (2, grid + 1, grid + 1, 3)),
                posterior[v].reshape(-1, 3),
                np.zeros(cells * nodes, dtype=np.int64),
            ).reshape(cells, nodes, 3)
            ahead[v] = np.einsum("cn,cnk->ck", weights[v], at)
        held = mean[None, :, None] * POSITIONS + np.einsum("vw,wck->vck", market.vol_matrix, ahead)
        table[t] = held.reshape(2, grid + 1, grid + 1, 3)
        cost = market.cost_bp * np.abs(POSITIONS[:, None] - POSITIONS[None, :])
        choices = np.where(REACHABLE, held[..., None, :] - cost, -np.inf)
        value = choices.max(axis=-1)
    table.setflags(write=False)
    return Reference(market, table)


def _branch(
    market: HiddenRegimeMarket, predictive: FloatArray, vol_bp: float, nodes: int
) -> tuple[FloatArray, FloatArray]:
    """Weights (C, nodes) of the coming return and the beliefs (C, nodes, 3) it leads to."""
    reach = 5.0 * vol_bp + market.drift_bp
    returns = np.linspace(-reach, reach, nodes)
    density = np.exp(market.log_density((returns[:, None] - market.drifts_bp) / vol_bp))  # (nodes, 3)
    joint = predictive[:, None, :] * density
    mass = joint.sum(axis=-1)
    weights = mass / mass.sum(axis=1, keepdims=True)
    return weights, joint / np.maximum(mass, 1e-300)[..., None]


def pnl_bp(positions: FloatArray, returns_bp: FloatArray, cost_bp: float | FloatArray) -> FloatArray:
    """Return session profits in bp, (N,); positions and returns (N, D).

    Costs, one for all or (N,), are paid on every change of position and on the last close.
    """
    padded = np.pad(positions, ((0, 0), (1, 1)))
    turnover = np.abs(np.diff(padded, axis=1)).sum(axis=1)
    return np.asarray((positions * returns_bp).sum(axis=1) - cost_bp * turnover)


def simulated_sessions(market: HiddenRegimeMarket, sessions: int, seed: int) -> Sessions:
    """Fresh sessions as bars, each with what the exact filter expected of it (NaN for a session's first bar)."""
    simulated = simulate(market, sessions, seed)
    means = conditional_means(market, filter_beliefs(market, simulated))
    expected = np.concatenate([np.full((sessions, 1), np.nan), means], axis=1)
    return bars_from_returns(
        simulated.returns_bp, market.volatility_bp(simulated.vol_state), seed, expected,
        volume_told=market.volume, wicks_told=market.wicks,
    )  # fmt: skip
