"""Small settings, observations and agents that the model tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.agent import HRMAgent
from models.config import HRMSettings
from models.features import Observation

SMALL = {
    "h_dim": 16, "h_layers": 1, "h_heads": 2, "l_dim": 8, "l_layers": 1, "l_heads": 2, "input_layers": 1,
    "h_cycles": 2, "l_steps": 2,
}  # fmt: skip
Settings = Callable[..., HRMSettings]
Observe = Callable[..., Observation]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models are tested as they run: on one intra-op thread."""
    torch.set_num_threads(1)


@pytest.fixture
def settings() -> Settings:
    """Build settings for a network of a few thousand weights; `shape` and other keys override parts of it."""

    def build(shape: dict[str, object] | None = None, **parts: object) -> HRMSettings:
        tree: dict[str, object] = {
            "profile": "small",
            "architecture": {"small": SMALL | (shape or {})},
            "act": {"max_segments": 4},
            "features": {"window": 20, "patch": 5, "min_bars": 6, "coarse_window": 4},
        }
        return HRMSettings.model_validate(tree | parts)

    return build


@pytest.fixture
def observe() -> Observe:
    """Draw an observation from a seeded random walk; keywords replace its fields."""

    def build(seed: int = 0, *, bars: int = 20, coarse: int = 4, **changes: object) -> Observation:
        rng = np.random.default_rng(seed)
        observation = Observation(
            symbol="NSE:NIFTY50-INDEX",
            interval="5m",
            ts=1_700_000_000_000_000_000,
            bars=walk(bars, rng),
            coarse=walk(coarse, rng),
            position_side=0,
            position_size=0.0,
            unrealised_atr=0.0,
            bars_held=0,
            minute_of_session=100.0,
            minutes_to_close=275.0,
            weekday=1,
            spread_bp=1.0,
            complexity=0.2,
        )
        return replace(observation, **changes)

    return build


@pytest.fixture
def agent(settings: Settings) -> HRMAgent:
    """Return an untrained agent that knows one instrument and one timeframe."""
    return HRMAgent.untrained(settings(), 7, instruments=["NSE:NIFTY50-INDEX"], timeframes=["5m"])


def walk(bars: int, rng: np.random.Generator) -> np.ndarray:
    """Draw bars (n, 5) of a random walk around 24,000 with volume."""
    path = 24_000 * np.exp(np.cumsum(rng.normal(0, 6e-4, bars + 1)))
    opened, closed = path[:-1], path[1:]
    high, low = np.maximum(opened, closed) * 1.0002, np.minimum(opened, closed) * 0.9998
    return np.stack([opened, high, low, closed, rng.integers(100, 1000, bars)], axis=1)
