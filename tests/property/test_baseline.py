"""Strategies beside a baseline: who earns no less is hardly ever left, who earns clearly less nearly always."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest

from benchmarks.canary import NOISES, SD_BP
from daemon.settings.run import TriggerSettings
from daemon.supervision.baseline import Baseline
from tests.unit.supervision.test_baseline import RIVAL, session

RUNS = 300
SESSIONS = 250
ALPHA = 0.05
BLANK = session(0, 0, 0)


def ever_tripped(kind: str, mean_bp: float, settings: TriggerSettings) -> float:
    """The share of runs that trip at any session, each looked at after every one of them."""
    rng, tripped = np.random.default_rng(11), 0
    for _ in range(RUNS):
        found = Baseline(settings, msgspec.structs.replace(RIVAL, alpha=ALPHA))
        for day, difference in enumerate(mean_bp + SD_BP * NOISES[kind](rng, SESSIONS), 1):
            ours = Decimal(round(float(difference) * 100, 2))
            found.see(msgspec.structs.replace(BLANK, day=day, real_net_pnl=ours))
            if found.finding("hrm", "aa") is not None:
                tripped += 1
                break
    return tripped / RUNS


@pytest.mark.parametrize("kind", NOISES)
def test_without_a_true_difference_at_most_alpha_ever_trips(kind: str) -> None:
    """Even where any size would do: it is the proof that holds them back."""
    anything = TriggerSettings(baseline_warn_percent=1e-9, baseline_trip_percent=1e-9)
    assert ever_tripped(kind, 0.0, anything) <= ALPHA


@pytest.mark.parametrize("kind", NOISES)
def test_who_earns_clearly_less_is_found(kind: str) -> None:
    """Half a standard deviation of a session: at least four in five within a year."""
    assert ever_tripped(kind, -5.0, TriggerSettings()) >= 0.8
