"""Small settings and markets that the training tests share."""

from __future__ import annotations

import pytest

from models.config import ActSettings, ArchitectureSettings, ConvergenceSettings, FeatureSettings, HRMSettings
from models.training.market import HiddenRegimeMarket
from models.training.reference import simulated_sessions
from models.training.sessions import Sessions
from models.training.settings import TrainingSettings


@pytest.fixture(scope="session")
def hrm() -> HRMSettings:
    """Return the smallest network that still has every part."""
    shape = ArchitectureSettings(
        h_dim=16, h_layers=1, h_heads=2, l_dim=16, l_layers=1, l_heads=2, h_cycles=1, l_steps=1
    )
    return HRMSettings(
        profile="small",
        architecture={"small": shape},
        features=FeatureSettings(window=20, patch=10, min_bars=2, coarse_window=4),
        convergence=ConvergenceSettings(early_stop=False),
        act=ActSettings(max_segments=4),
    )


@pytest.fixture
def market() -> HiddenRegimeMarket:
    """Return a hidden-regime market of short sessions."""
    return HiddenRegimeMarket(bars=16)


@pytest.fixture
def sessions(market: HiddenRegimeMarket) -> Sessions:
    """Return 24 short simulated sessions."""
    return simulated_sessions(market, 24, seed=3)


@pytest.fixture
def training() -> TrainingSettings:
    """Return settings of a run that takes a second."""
    return TrainingSettings(
        steps=6,
        batch_sessions=4,
        min_sessions=4,
        validate_every=3,
        checkpoint_every=2,
        validation_sessions=8,
        estimate_sessions=200,
        novelty_sessions=200,
    )
