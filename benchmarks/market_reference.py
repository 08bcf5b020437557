"""Prints what the best possible trader and its bounds earn in the simulated markets, and simple rules beside it.

    python benchmarks/market_reference.py [--sessions 20000]

Invariant: everything is simulated from fixed seeds, so two runs print the same table.
"""

from __future__ import annotations

import argparse

import numpy as np

from models.config import FeatureSettings
from models.training import composition as comp
from models.training.baselines import EmaScore, fit_linear, fit_model, fit_thresholds
from models.training.batches import BatchSettings
from models.training.market import FloatArray, HiddenRegimeMarket, simulate
from models.training.reference import (
    POSITIONS,
    REACHABLE,
    conditional_means,
    filter_beliefs,
    pnl_bp,
    simulated_sessions,
    solve,
)
from models.training.settings import ObjectiveSettings


def best_known(ahead: FloatArray, cost_bp: float) -> FloatArray:
    """Return the profit of whoever knows the returns (N, D) in advance, bp, (N,)."""
    cost = cost_bp * np.abs(POSITIONS[:, None] - POSITIONS[None, :])
    value = np.broadcast_to(-cost_bp * np.abs(POSITIONS), (len(ahead), 3))
    for t in range(ahead.shape[1] - 1, -1, -1):
        held = ahead[:, t, None] * POSITIONS + value
        value = np.where(REACHABLE, held[:, None, :] - cost, -np.inf).max(axis=-1)
    return np.asarray(value[:, 0])


def known_regime(market: HiddenRegimeMarket) -> float:
    """Return what a trader earns who sees the regime of the newest bar, bp a session."""
    mean = market.regime_matrix @ market.drifts_bp
    cost = market.cost_bp * np.abs(POSITIONS[:, None] - POSITIONS[None, :])
    value = np.broadcast_to(-market.cost_bp * np.abs(POSITIONS), (3, 3))
    for _ in range(market.bars - 1):
        held = mean[:, None] * POSITIONS + market.regime_matrix @ value
        value = np.where(REACHABLE, held[:, None, :] - cost, -np.inf).max(axis=-1)
    return float(market.regime_prior @ value[:, 0])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    count = parser.parse_args().sessions
    market = HiddenRegimeMarket()
    drawn = simulate(market, count, 999)
    beliefs = filter_beliefs(market, drawn)
    means, cost = conditional_means(market, beliefs), market.cost_bp
    positions = solve(market).positions(beliefs, drawn.vol_state)
    best = pnl_bp(positions, means, cost)
    realised = pnl_bp(positions, drawn.returns_bp[:, 1:], cost)
    sharpe = realised.mean() / realised.std() * np.sqrt(252)
    print(f"hidden-regime market, {count} sessions")
    print(f"  best trader        {best.mean():7.2f} bp a session (realised {realised.mean():.2f}, Sharpe {sharpe:.2f})")
    print(f"  known regime       {100 * known_regime(market) / best.mean():7.0f} %")
    print(f"  perfect foresight  {100 * best_known(drawn.returns_bp[:, 1:], cost).mean() / best.mean():7.0f} %")
    sessions, settings = simulated_sessions(market, count, 999), BatchSettings(FeatureSettings())
    costs = ObjectiveSettings().costs
    for fitted in (3_000, 15_000):
        history = simulated_sessions(market, fitted, 12_345)
        for trader in (
            fit_thresholds("ema 3/40", EmaScore(), history, settings, costs),
            fit_model("linear", fit_linear, history, settings, costs),
        ):
            share = pnl_bp(trader.positions(sessions), means, cost).mean() / best.mean()
            print(f"  {trader.name:<10} on {fitted:>6} {100 * share:7.1f} %")
    other = comp.CompositionMarket()
    best_other = comp.reference_pnl_bp(other, comp.simulate(other, count, 999))
    print(f"composition market: best trader {best_other.mean():.2f} bp a session")


if __name__ == "__main__":
    main()
