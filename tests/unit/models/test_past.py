"""What earlier sessions tell: sums of one session, and what a decision makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.features import NOTHING_KNOWN, TREND_SPANS, bar_features, own_variances, trend_features
from models.past import CLIP, FEWEST, LEFT, MOST, PAID_UNIT, SPANS, SUMS, WINDOW, known, left_by, session_sums
from models.training.market import HiddenRegimeMarket
from models.training.reference import simulated_sessions


def bars_of(market: HiddenRegimeMarket, seed: int) -> np.ndarray:
    """One session, (T, 5)."""
    return simulated_sessions(market, 1, seed).bars


def one_by_one(bars: np.ndarray) -> np.ndarray:
    """The sums, decision by decision, as the module says them."""
    out = np.zeros(SUMS)
    for t in range(FEWEST - 1, len(bars) - 1):
        window = bars[max(0, t + 1 - WINDOW) : t + 1][None]
        present = np.ones(window.shape[:2], bool)
        volatility = bar_features(window, present, CLIP)[1]
        told = trend_features(*own_variances(window, present), present, volatility, CLIP)[0]
        later = bars[t + 2, 0] if t + 2 < len(bars) else bars[-1, 3]
        move = math.log(later / bars[t + 1, 0]) / (volatility[0] * math.exp(told[0]))
        out += [*(told[1:] * np.clip(move, -CLIP, CLIP)), *np.square(told[1:]), 1.0]
    return out


@pytest.mark.parametrize("bars", [12, 20, 75, 90])
def test_sums_are_those_of_each_decision(bars: int) -> None:
    """All windows at once are one after the other; a decision at the last bar has nothing to come."""
    session = bars_of(HiddenRegimeMarket(bars=bars), 3)
    assert session_sums(session) == pytest.approx(one_by_one(session), rel=1e-9)


@pytest.mark.parametrize("bars", [0, 1, 11])
def test_a_short_session_leaves_nothing(bars: int) -> None:
    """Under a dozen bars no trend is taken at its word."""
    assert not session_sums(np.full((bars, 5), 100.0)).any()


def test_a_session_whose_price_never_moves_leaves_finite_sums() -> None:
    """No volatility is no division by zero."""
    assert np.isfinite(session_sums(np.full((75, 5), 100.0))).all()


def test_upside_down_it_is_the_same() -> None:
    """Trends that paid going up paid as much going down."""
    bars = bars_of(HiddenRegimeMarket(), 5)
    mirrored = np.stack([1e4 / bars[:, 0], 1e4 / bars[:, 2], 1e4 / bars[:, 1], 1e4 / bars[:, 3], bars[:, 4]], axis=-1)
    assert session_sums(mirrored) == pytest.approx(session_sums(bars), rel=1e-9)


def test_nothing_is_known_at_first() -> None:
    """Nothing but zeros, as an observation has them by default."""
    assert known([]).tolist() == list(NOTHING_KNOWN)
    assert known([left_by(np.ones((3, 5)))]).tolist() == list(NOTHING_KNOWN)


def test_only_the_newest_sessions_count() -> None:
    """As many as are asked for; more are as none."""
    sums = [left_by(bars_of(HiddenRegimeMarket(), seed)) for seed in range(MOST + 5)]
    assert known(sums, 4).tolist() == known(sums[-4:], 4).tolist()
    assert known(sums, 4)[0] == pytest.approx(1.0)
    assert known(sums[:2], MOST)[0] == pytest.approx(math.log1p(2) / math.log1p(MOST))


def test_what_paid_is_drawn_towards_nothing() -> None:
    """A hundred squares of nothing stand beside the evidence: half of it at as many, nearly all at many more."""
    sums = np.zeros(LEFT)
    sums[:SPANS], sums[SPANS : 2 * SPANS], sums[SUMS - 1] = 10.0, 100.0, 50.0
    told = known([sums])[:SUMS]
    assert told[1 : 1 + SPANS] == pytest.approx(10 / 200 / PAID_UNIT)
    assert told[1 + SPANS :] == pytest.approx(10 / math.sqrt(101) / 2)


def test_a_market_with_trends_is_told_from_one_without() -> None:
    """Over twenty sessions: what trends of eight bars paid lies far apart, and near nothing where there are none."""
    place = 1 + TREND_SPANS.index(8)

    def told(drift_bp: float) -> list[float]:
        market = HiddenRegimeMarket(drift_bp=drift_bp)
        return [
            known([left_by(one) for one in simulated_sessions(market, 20, seed).bars.reshape(20, 75, 5)])[place]
            for seed in range(8)
        ]

    assert min(told(3.0)) > max(told(0.0)) + 0.2
    assert abs(np.mean(told(0.0))) < 0.15
