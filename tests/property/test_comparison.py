"""Two hundred simulated canaries of each kind: the worse are hardly ever promoted, the clearly better nearly always."""

from __future__ import annotations

import pytest

from benchmarks.canary import NOISES, outcome
from daemon.settings.canary import CanarySettings

CANARIES = 200
SETTINGS = CanarySettings()


@pytest.mark.parametrize("kind", NOISES)
def test_one_that_is_worse_or_no_better_is_not_promoted(kind: str) -> None:
    """At most one in twenty, though each is looked at after every session."""
    for mean_bp in (-5.0, -1.0, 0.0):
        assert outcome(NOISES[kind], mean_bp, CANARIES, SETTINGS, seed=7).promoted <= SETTINGS.alpha, mean_bp


@pytest.mark.parametrize("kind", NOISES)
def test_one_that_is_clearly_better_is_promoted(kind: str) -> None:
    """By half a standard deviation of a session: at least four in five, and none is rolled back as worse."""
    found = outcome(NOISES[kind], 5.0, CANARIES, SETTINGS, seed=7)
    assert found.promoted >= 0.8
    assert found.median_sessions < 150


@pytest.mark.parametrize("kind", NOISES)
def test_one_that_is_clearly_worse_is_rolled_back_early(kind: str) -> None:
    """Not only for the want of proof at the end."""
    assert outcome(NOISES[kind], -10.0, CANARIES, SETTINGS, seed=7).median_sessions < 100
