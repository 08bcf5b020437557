"""What is predicted of a position beside what it earns."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from models.training import objective as ob
from models.training.policy import follow
from models.training.reference import pnl_bp
from models.training.reliability import LEVELS, Reliability, crps_bp, fit_values, reliability, remaining_bp

SESSIONS, STEPS = 400, 12
RNG = np.random.default_rng(4)
DRIFT = RNG.normal(0.0, 4.0, (SESSIONS, 1)) * np.ones((1, STEPS))
RETURNS = DRIFT + RNG.normal(0.0, 5.0, (SESSIONS, STEPS))
LIVE = np.ones((SESSIONS, STEPS), bool)
COST = np.full(SESSIONS, 1.0)
KEPT = np.full((SESSIONS, STEPS, 3), ob.HOLD)
"""A trader who keeps what he has."""


def judged(share: float = 1.0, returns: np.ndarray = RETURNS) -> Reliability:
    """Someone who knows each session's drift and says ``share`` of what it will bring."""
    ahead = DRIFT * np.arange(STEPS, 0, -1)
    told = share * np.stack([0 * ahead, ahead - COST[:, None], -ahead - COST[:, None]], axis=-1)
    found = reliability(told, KEPT, LIVE, returns, COST)
    assert found is not None
    return found


def test_what_is_earned_is_what_the_positions_earn() -> None:
    """From flat it is the session's profit, whatever the actions; holding to the end pays one exit."""
    rng = np.random.default_rng(1)
    actions = np.stack([rng.choice([ob.BUY_LONG, ob.SELL_SHORT, ob.HOLD], (9, STEPS)),
                        rng.choice([ob.CLOSE_LONG, ob.HOLD], (9, STEPS)),
                        rng.choice([ob.CLOSE_SHORT, ob.HOLD], (9, STEPS))], axis=-1)  # fmt: skip
    earned = remaining_bp(actions, RETURNS[:9], COST[:9])
    assert earned[:, 0, ob.FLAT] == pytest.approx(pnl_bp(follow(actions), RETURNS[:9], COST[:9]))
    kept = remaining_bp(KEPT[:9], RETURNS[:9], COST[:9])
    assert kept[:, 3, ob.SHORT] == pytest.approx(-RETURNS[:9, 3:].sum(axis=1) - 1.0)


@pytest.mark.parametrize("share", [1.0, 2.0, 0.5])
def test_a_slope_says_whether_predictions_are_bold(share: float) -> None:
    """1 where they are right, half where twice as much is said; and rows agree with what they predict."""
    found = judged(share)
    for one in found.positions[1:]:
        assert one.slope == pytest.approx(1 / share, rel=0.1)
    for row in found.rows:
        if row.position != "flat":
            assert abs(row.earned_bp - row.predicted_bp / share) < 5 * row.error_bp + 1.0


def test_a_distribution_covers_what_it_says_and_is_sharper_than_without() -> None:
    """Eighty of a hundred outcomes inside; who knows the drift has half the CRPS of who knows volatility alone."""
    for one in judged().positions[1:]:
        assert one.covered == pytest.approx(0.8, abs=0.05)
        assert one.crps_bp < 0.6 * one.crps_without_bp


def test_the_judged_give_no_quantiles() -> None:
    """Other outcomes in the judged half change its figures and not the quantiles: coverage falls."""
    wild = RETURNS.copy()
    wild[1::2] = DRIFT[1::2] + 20 * (wild[1::2] - DRIFT[1::2])
    assert judged(returns=wild).positions[1].covered < 0.7


def test_the_score_is_that_of_a_normal_distribution() -> None:
    """Of N(0, 1) at 0 it is √(2/π) − 1/√π; nineteen quantiles come close, and further off it is worse."""
    quantiles = np.array([[NormalDist().inv_cdf(level) for level in LEVELS]])
    assert crps_bp(quantiles, np.zeros(1)) == pytest.approx(math.sqrt(2 / math.pi) - 1 / math.sqrt(math.pi), rel=0.05)
    assert crps_bp(quantiles, np.ones(1)) > crps_bp(quantiles, np.zeros(1))


def test_too_few_sessions_say_nothing() -> None:
    """Half of them give quantiles, half are judged."""
    assert reliability(np.zeros((3, STEPS, 3)), KEPT[:3], LIVE[:3], RETURNS[:3], COST[:3]) is None
    assert reliability(np.zeros((9, STEPS, 3)), KEPT[:9], np.zeros((9, STEPS), bool), RETURNS[:9], COST[:9]) is None


@pytest.mark.parametrize("share", [0.3, 2.0, -1.0])
def test_values_are_calibrated_on_other_sessions(share: float) -> None:
    """A third of what comes becomes all of it, on sessions that were not fitted on; the opposite becomes nothing."""
    ahead = DRIFT * np.arange(STEPS, 0, -1)
    told = share * np.stack([0 * ahead, ahead, -ahead], axis=-1) / 10.0
    half = SESSIONS // 2
    found = fit_values(told[:half], KEPT[:half], LIVE[:half], RETURNS[:half], COST[:half], 10.0)
    assert found.sessions == half
    assert found.factor[0] == 0.0
    later = reliability(10.0 * found.of(told[half:]), KEPT[half:], LIVE[half:], RETURNS[half:], COST[half:])
    assert later is not None
    for one, factor in zip(later.positions[1:], found.factor[1:], strict=True):
        if share < 0:
            assert factor == 0.0
        else:
            assert factor == pytest.approx(1 / share, rel=0.1)
            assert one.slope == pytest.approx(1.0, abs=0.1)


def test_the_same_days_twice_are_no_surer() -> None:
    """Two instruments that move as one have the errors of one; without days they would look like twice as many."""
    told = np.broadcast_to(np.arange(STEPS, dtype=float)[None, :, None], (SESSIONS, STEPS, 3))
    once = reliability(told, KEPT, LIVE, RETURNS, COST)
    days = np.tile(np.arange(SESSIONS), 2)
    both = [np.concatenate([one, one]) for one in (told, KEPT, LIVE, RETURNS, COST)]
    known, fooled = reliability(*both, days), reliability(*both)
    assert once is not None
    assert known is not None
    assert fooled is not None
    for one, same, wrong in list(zip(once.rows, known.rows, fooled.rows, strict=True))[1:]:
        assert same.decisions == 2 * one.decisions
        assert same.error_bp == pytest.approx(one.error_bp)
        if one.position != "flat":
            assert wrong.error_bp == pytest.approx(one.error_bp / math.sqrt(2))
