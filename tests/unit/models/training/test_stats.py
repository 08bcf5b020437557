"""Tests of ratios, their errors and their controls."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from models.training import stats


def profits(mean: float, count: int = 500, seed: int = 1) -> stats.Floats:
    """Return normal session profits with deviation 10."""
    return mean + 10 * np.random.default_rng(seed).standard_normal(count)


def test_sharpe_is_mean_over_deviation_and_needs_two_profits() -> None:
    """1, 3 has mean 2 and deviation √2; one profit or constant ones have no ratio."""
    assert stats.sharpe_ratio(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2))
    assert stats.annualised(1.0) == pytest.approx(math.sqrt(252))
    assert math.isnan(stats.sharpe_ratio(np.array([1.0])))
    assert math.isnan(stats.sharpe_ratio(np.zeros(5)))


def test_bootstrap_interval_has_the_known_error() -> None:
    """For independent profits the interval is about ±1.96·√(252/N) wide, and holds the value."""
    interval = stats.bootstrap_sharpe(profits(1.0))
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(252 / 500), rel=0.15)
    assert stats.bootstrap_sharpe(profits(1.0)) == interval
    assert math.isnan(stats.bootstrap_sharpe(np.zeros(3)).low)


def test_blocks_widen_the_interval_of_dependent_profits() -> None:
    """Profits that come in runs of ten are less certain than they look one by one."""
    runs = np.repeat(profits(1.0, 60), 10)
    narrow, wide = stats.bootstrap_sharpe(runs, block=1), stats.bootstrap_sharpe(runs, block=20)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_probabilistic_sharpe_is_the_normal_probability() -> None:
    """Symmetric normal-tailed profits give Φ(SR·√(N−1)/√(1+SR²/2)); the benchmark at the ratio itself gives a half."""
    pnl = profits(1.0, 200_000)
    ratio = stats.sharpe_ratio(pnl[:400])
    assert stats.probabilistic_sharpe(pnl[:400], ratio) == pytest.approx(0.5)
    pair = np.tile([-1.0, 1.2], 50)
    sr = stats.sharpe_ratio(pair)
    expected = NormalDist().cdf(sr * math.sqrt(99) / math.sqrt(1 + 0 * sr**2))  # two-point: skew 0, kurtosis 1
    assert stats.probabilistic_sharpe(pair) == pytest.approx(expected, abs=1e-3)
    assert math.isnan(stats.probabilistic_sharpe(np.zeros(3)))


def test_negative_skew_lowers_the_probability() -> None:
    """Rare large losses make the same ratio less convincing than rare large gains."""
    gains = np.append(np.full(95, -0.5), np.full(5, 15.0))
    losses = 2 * gains.mean() - gains
    assert stats.sharpe_ratio(gains) == pytest.approx(stats.sharpe_ratio(losses))
    assert stats.probabilistic_sharpe(losses) < stats.probabilistic_sharpe(gains)


def test_deflation_asks_for_more_the_more_was_tried() -> None:
    """The best of K lucky ratios grows with K as simulated maxima do; without tries nothing is deflated."""
    rng = np.random.default_rng(3)
    for count in (10, 100):
        trials = 0.05 * rng.standard_normal(count)
        simulated = (0.05 * rng.standard_normal((20_000, count))).max(axis=1).mean()
        own_spread = trials.std(ddof=1) / 0.05
        assert stats.expected_best_sharpe(trials) == pytest.approx(simulated * own_spread, rel=0.06)
    assert stats.expected_best_sharpe(np.array([0.1])) == 0.0
    some, nothing = np.array([0.1, -0.1, 0.0]), np.full(7, np.nan)
    ten, three = (stats.expected_best_sharpe(it) for it in (np.concatenate((some, nothing)), some))
    assert ten > 1.5 * three > 0  # those that came to nothing were tried, too
    assert np.isnan(stats.expected_best_sharpe(np.array([0.1, np.nan])))
    pnl = profits(1.0)
    assert stats.deflated_sharpe(pnl, np.array([0.2, -0.2, 0.0])) < stats.probabilistic_sharpe(pnl)


def total(positions: stats.Floats, returns: stats.Floats) -> float:
    """Return the mean profit without costs."""
    return float((positions * returns).sum(axis=1).mean())


def test_permuting_days_finds_real_foresight_and_no_other() -> None:
    """Positions that know their day beat all orders; positions that are always long beat none, drift or not."""
    rng = np.random.default_rng(5)
    returns = 1.0 + rng.standard_normal((80, 10))
    knowing = stats.day_permuted(np.sign(returns), returns, total)
    assert knowing.p_value == pytest.approx(1 / 201)
    assert knowing.null_high < knowing.value
    always = stats.day_permuted(np.ones_like(returns), returns, total)
    assert always.p_value == 1.0
    assert always.null_mean == pytest.approx(always.value)


def test_a_day_is_permuted_whole_and_with_days_of_the_same_instruments() -> None:
    """What A and B did on a day goes to another day together; the day on which only A traded stays."""
    days, names = np.array([1, 2, 3, 4, 1, 2, 4]), ["A"] * 4 + ["B"] * 3
    order = stats.whole_days(days, names)
    seen = set()
    for seed in range(50):
        rows = order(np.random.default_rng(seed))
        assert sorted(rows.tolist()) == list(range(7))
        assert [names[row] for row in rows] == names
        assert rows[2] == 2
        taken = days[rows]
        assert taken[[0, 1, 3]].tolist() == taken[4:].tolist()
        seen.add(tuple(taken[4:].tolist()))
    assert len(seen) == 6


def test_profits_of_a_day_are_one() -> None:
    """Summed, in time order; without days every session counts alone."""
    assert stats.by_day(np.array([1.0, 2.0, 3.0]), np.array([9, 5, 9])).tolist() == [2.0, 4.0]
    assert stats.by_day(np.array([1.0, 2.0]), None).tolist() == [1.0, 2.0]


def test_groups_split_all_sessions() -> None:
    """Every session stands in one group; a group of one has no error; terciles are thirds."""
    pnl = np.array([1.0, 3.0, 10.0])
    rows = stats.by_group(pnl, np.array(["a", "a", "b"]))
    assert [(row.group, row.sessions, row.mean_bp) for row in rows] == [("a", 2, 2.0), ("b", 1, 10.0)]
    assert rows[0].error_bp == pytest.approx(1.0)
    assert math.isnan(rows[1].error_bp)
    assert np.unique(stats.terciles(np.arange(9.0)), return_counts=True)[1].tolist() == [3, 3, 3]


def test_summary_of_nothing_is_nan() -> None:
    """No sessions: figures without a value, no error."""
    figures = stats.summary(np.empty(0))
    assert figures["sessions"] == 0
    assert all(math.isnan(figures[name]) for name in ("mean_bp", "sharpe", "psr", "dsr"))
