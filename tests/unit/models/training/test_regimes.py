"""Holding, a tuned rule, and how a trader does by the market's direction."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from models.config import FeatureSettings
from models.training import stats
from models.training.baselines import EmaScore, fit_ema, fit_thresholds, hold_bp
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.loss import costs_of
from models.training.market import HiddenRegimeMarket
from models.training.reference import pnl_bp, simulated_sessions
from models.training.regimes import by_regime, market_regimes
from models.training.sessions import Sessions, from_table, join
from models.training.settings import CostStep


def rising(bp_a_session: float, count: int, symbol: str = "UP") -> Sessions:
    """Sessions of four bars, each of which opens where the one before closed and moves a quarter of the way."""
    close = 100.0 * np.exp(1e-4 * bp_a_session / 4 * np.arange(1, 4 * count + 1))
    open_ = np.append(100.0, close[:-1])
    bars = np.stack([open_, np.maximum(open_, close), np.minimum(open_, close), close, np.ones(4 * count)], axis=-1)
    days = np.arange(count)[:, None] * 86_400_000_000_000 + np.arange(4) * 300_000_000_000
    return from_table(bars.reshape(count, 4, 5), days, symbol, 300)


def test_holding_earns_the_whole_way_and_pays_for_two_trades() -> None:
    """Of each symbol once, however many sessions lie between."""
    both = join([rising(8.0, 5), rising(-4.0, 3, "DOWN")])
    earned = hold_bp(both, 6.0)
    assert earned[:5].sum() == pytest.approx(40.0 - 6.0)
    assert earned[5:].sum() == pytest.approx(-12.0 - 6.0)
    assert earned[0] == pytest.approx(8.0 - 3.0)


def test_nights_belong_to_who_holds() -> None:
    """A gap between two sessions is earned by holding, though no session shows it."""
    day = rising(0.0, 3)
    bars = day.bars.copy()
    bars[4:, :4] *= math.exp(0.01)
    assert hold_bp(replace(day, bars=bars), 0.0).sum() == pytest.approx(100.0)


@pytest.mark.parametrize(("move", "label"), [(10.0, "bull"), (-10.0, "bear")])
def test_a_market_that_goes_one_way_is_called_so(move: float, label: str) -> None:
    """Every session that isn't among the wildest quarter of them has the direction's name."""
    sessions = rising(move, 40)
    rng = np.random.default_rng(1)
    returns = rng.normal(0, 1 + (np.arange(40) % 4 == 0)[:, None] * 9, (40, 3))
    labels = market_regimes(sessions, returns, connected=True)
    assert set(labels[np.arange(40) % 4 != 0]) == {label}
    assert set(labels[np.arange(40) % 4 == 0]) == {"volatile"}


def test_ratios_of_a_regime() -> None:
    """Sharpe, Sortino, Calmar and information ratio of profits that are worked out by hand."""
    pnl, held = np.array([2.0, -1.0, 2.0, 1.0]), np.array([1.0, -1.0, 0.0, 0.0])
    (row,) = by_regime(pnl, held, np.array(["bull"] * 4), 3.0)
    assert (row.regime, row.sessions, row.mean_bp) == ("bull", 4, 1.0)
    assert row.sortino == pytest.approx(math.sqrt(252) * 1.0 / math.sqrt(1 / 4))
    assert row.calmar == pytest.approx(252 * 1.0 / 1.0)
    over = pnl - held
    assert row.information == pytest.approx(math.sqrt(252) * over.mean() / over.std(ddof=1))
    assert math.isnan(stats.calmar_ratio(np.array([1.0, 1.0])))
    assert math.isnan(stats.sortino_ratio(np.array([1.0, 1.0])))


def test_tuned_spans_earn_no_less_than_fixed_ones_where_they_are_chosen() -> None:
    """On the sessions that both are fitted on, of a market whose drifts last."""
    sessions = simulated_sessions(HiddenRegimeMarket(bars=24, drift_bp=4.0), 60, 2)
    settings, costs = (
        BatchSettings(FeatureSettings(), target=Target.REALISED),
        (CostStep(since=date(1990, 1, 1), cost_bp=1.0),),
    )
    returns = returns_between_fills(sessions, np.arange(len(sessions)), settings)
    rules = fit_ema(sessions, settings, costs), fit_thresholds("ema", EmaScore(3, 40), sessions, settings, costs)
    tuned, fixed = (
        float(pnl_bp(rule.positions(sessions), returns, costs_of(sessions, costs)).mean()) for rule in rules
    )
    assert tuned >= fixed
    assert rules[0].score != EmaScore()
