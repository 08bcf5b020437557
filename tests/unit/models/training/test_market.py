"""Tests of the hidden-regime market and its best trader."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.training.market import BP, HiddenRegimeMarket, bars_from_returns, markov_paths, simulate
from models.training.reference import (
    POSITIONS,
    conditional_means,
    filter_beliefs,
    pnl_bp,
    simulated_sessions,
    solve,
)


def test_same_seed_same_sessions_and_other_seed_others() -> None:
    """A seed fixes every bar; another seed gives other bars."""
    market = HiddenRegimeMarket()
    one, again, other = (simulated_sessions(market, 5, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.bars, again.bars)
    assert not np.array_equal(one.bars, other.bars)


def test_chains_follow_their_matrix() -> None:
    """Observed transition frequencies are those of the matrix, to three standard errors."""
    market = HiddenRegimeMarket()
    paths = markov_paths(market.regime_matrix, market.regime_prior, 4_000, 75, np.random.default_rng(0))
    for state in range(3):
        leaving = paths[:, :-1] == state
        stayed = (paths[:, 1:][leaving] == state).mean()
        error = np.sqrt(market.regime_matrix[state, state] * 0.05 / leaving.sum())
        assert abs(stayed - market.regime_matrix[state, state]) < 3 * error
    assert np.allclose(market.regime_prior @ market.regime_matrix, market.regime_prior)


def test_bars_carry_the_simulated_returns() -> None:
    """Closes give back the returns, opens are the closes before them, highs and lows enclose both."""
    market = HiddenRegimeMarket(bars=20)
    drawn = simulate(market, 3, 5)
    vol = np.asarray(market.vol_bp)[drawn.vol_state]
    bars = bars_from_returns(drawn.returns_bp, vol, 5).bars.reshape(3, 20, 5)
    assert np.allclose(np.log(bars[..., 3] / bars[..., 0]) / BP, drawn.returns_bp)
    assert np.array_equal(bars[:, 1:, 0], bars[:, :-1, 3])
    assert (bars[..., 1] >= bars[..., [0, 3]].max(-1)).all()
    assert (bars[..., 2] <= bars[..., [0, 3]].min(-1)).all()


def test_volume_shows_the_volatility_state() -> None:
    """A threshold on volume tells the two volatility states apart."""
    market = HiddenRegimeMarket()
    drawn = simulate(market, 20, 7)
    volume = simulated_sessions(market, 20, 7).bars[:, 4].reshape(20, 75)
    guess = volume > 10_000 * np.sqrt(np.prod(market.vol_bp))
    assert (guess == drawn.vol_state).mean() > 0.97


def test_filter_is_bayes_rule() -> None:
    """The belief equals the posterior found by adding up every regime path of a short session."""
    market = HiddenRegimeMarket(bars=4)
    drawn = simulate(market, 3, 11)
    beliefs = filter_beliefs(market, drawn)
    vol = np.asarray(market.vol_bp)[drawn.vol_state]
    for n in range(3):
        posterior = np.zeros(3)
        for path in itertools.product(range(3), repeat=4):
            chance = market.regime_prior[path[0]]
            for before, after in itertools.pairwise(path):
                chance *= market.regime_matrix[before, after]
            deviation = (drawn.returns_bp[n] - market.drifts_bp[list(path)]) / vol[n]
            posterior[path[-1]] += chance * np.exp(-0.5 * (deviation**2).sum())
        assert np.allclose(beliefs[n, -1], posterior / posterior.sum())


def test_conditional_mean_is_unbiased() -> None:
    """Realised returns minus the filter's expectation average to zero within three standard errors."""
    market = HiddenRegimeMarket()
    drawn = simulate(market, 3_000, 13)
    miss = drawn.returns_bp[:, 1:] - conditional_means(market, filter_beliefs(market, drawn))
    assert abs(miss.mean()) < 3 * miss.std() / np.sqrt(miss.size)
    trend = conditional_means(market, filter_beliefs(market, drawn)) > 1.0
    assert abs(miss[trend].mean()) < 3 * miss.std() / np.sqrt(trend.sum())


def test_reference_earns_what_was_measured() -> None:
    """The best trader earns 9.4 bp a session at a Sharpe of 2.4, as in the project's records."""
    market = HiddenRegimeMarket()
    reference = solve(market, grid=20, nodes=21)
    drawn = simulate(market, 20_000, 17)
    beliefs = filter_beliefs(market, drawn)
    positions = reference.positions(beliefs, drawn.vol_state)
    expected = pnl_bp(positions, conditional_means(market, beliefs), market.cost_bp)
    assert expected.mean() == pytest.approx(9.4, abs=0.35)
    realised = pnl_bp(positions, drawn.returns_bp[:, 1:], market.cost_bp)
    assert realised.mean() / realised.std() * np.sqrt(252) == pytest.approx(2.42, abs=0.25)


def test_no_simple_threshold_rule_beats_the_reference() -> None:
    """Trading whenever the filter's mean exceeds a threshold earns less, for every threshold tried."""
    market = HiddenRegimeMarket()
    drawn = simulate(market, 3_000, 19)
    beliefs = filter_beliefs(market, drawn)
    means = conditional_means(market, beliefs)
    best = pnl_bp(solve(market, grid=20, nodes=21).positions(beliefs, drawn.vol_state), means, market.cost_bp).mean()
    for threshold in (0.2, 0.4, 0.6, 0.8):
        positions = np.sign(means) * (np.abs(means) > threshold)
        assert pnl_bp(positions, means, market.cost_bp).mean() < best


def test_costs_are_paid_on_every_change_and_at_the_end() -> None:
    """Long, flat, short, end: three changes and one close, each one unit."""
    positions = POSITIONS[np.array([[1, 0, 2]])]
    assert pnl_bp(positions, np.zeros((1, 3)), 2.0)[0] == -8.0
