"""The sequential comparison: what it proves, when it ends, and that looking often changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from daemon.settings.canary import CanarySettings
from daemon.supervision.comparison import Comparison, Verdict


def test_one_that_is_always_better_is_promoted() -> None:
    """And what it earned is in the evidence."""
    comparison = Comparison(CanarySettings())
    for _ in range(200):
        if comparison.see(20.0) is not Verdict.CONTINUE:
            break
    found = comparison.evidence
    assert found.verdict is Verdict.PROMOTE
    assert 3 <= found.sessions < 40
    assert found.mean_bp == 20.0
    assert found.better >= 20.0 > 1.0 > found.worse
    assert found.reason == "better by more than 0 bp a session, at α = 0.05"


def test_one_that_is_always_worse_is_rolled_back() -> None:
    """In as many sessions as its mirror image is promoted."""
    up, down = Comparison(CanarySettings()), Comparison(CanarySettings())
    assert up.see_all([20.0] * 60) is Verdict.PROMOTE
    assert down.see_all([-20.0] * 60) is Verdict.ROLL_BACK
    assert (up.evidence.sessions, up.evidence.better) == (down.evidence.sessions, down.evidence.worse)
    assert down.evidence.reason.startswith("worse by more than")


def test_one_of_which_nothing_is_shown_is_rolled_back_in_the_end() -> None:
    """Not a session before."""
    comparison = Comparison(CanarySettings(max_sessions=20))
    seen = [comparison.see((-1.0) ** number) for number in range(20)]
    assert seen == [Verdict.CONTINUE] * 19 + [Verdict.ROLL_BACK]
    assert comparison.evidence.reason == "nothing was shown in 20 sessions"


def test_a_verdict_is_final() -> None:
    """Nothing that comes later is counted."""
    comparison = Comparison(CanarySettings())
    comparison.see_all([30.0] * 60)
    before = comparison.evidence
    assert comparison.see(-50.0) is Verdict.PROMOTE
    assert comparison.evidence == before


def test_a_margin_has_to_be_beaten() -> None:
    """Better, but by less than that, is not better."""
    assert Comparison(CanarySettings(margin_bp=10)).see_all([8.0] * 250) is Verdict.ROLL_BACK
    assert Comparison(CanarySettings(margin_bp=5)).see_all([8.0] * 250) is Verdict.PROMOTE


def test_what_lies_beyond_the_bound_is_cut_and_counted() -> None:
    """One wild session neither proves anything nor ruins the stake."""
    comparison = Comparison(CanarySettings())
    assert comparison.see(1e9) is Verdict.CONTINUE
    assert comparison.see(-1e9) is Verdict.CONTINUE
    found = comparison.evidence
    assert (found.clipped, found.mean_bp) == (2, 0.0)
    assert min(found.better, found.worse) > 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    """And not counted."""
    comparison = Comparison(CanarySettings())
    with pytest.raises(ValueError, match="difference_bp: expected a finite number"):
        comparison.see(value)
    assert comparison.evidence.sessions == 0


def test_a_margin_beyond_the_bound_is_refused() -> None:
    """Nothing could ever beat it."""
    with pytest.raises(ValidationError, match="margin_bp below bound_bp"):
        CanarySettings(margin_bp=50, bound_bp=50)


def test_without_a_difference_the_stakes_only_fall() -> None:
    """Equal agents, as in a replay of twins: never promoted."""
    comparison = Comparison(CanarySettings(max_sessions=1000))
    comparison.see_all([0.0] * 999)
    assert comparison.evidence.better == comparison.evidence.worse == 1.0


def test_a_bet_is_placed_before_its_session_is_seen() -> None:
    """The capital after a session, given those before it, is a straight line through 1 of that session's value."""
    rng = np.random.default_rng(5)
    before = rng.normal(0.0, 10.0, 30).clip(-50.0, 50.0).tolist()

    def capital(last: float) -> float:
        comparison = Comparison(CanarySettings())
        comparison.see_all([*before, last])
        return comparison.evidence.better

    low, middle, high = capital(-40.0), capital(0.0), capital(40.0)
    assert middle == pytest.approx((low + high) / 2)
    stake = Comparison(CanarySettings())
    stake.see_all(before)
    assert middle == pytest.approx(stake.evidence.better)
