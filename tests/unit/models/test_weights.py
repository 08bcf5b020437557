"""Tests of networks as plain numbers: what they are called, what is made of them, and that no torch is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import LReset
from models.hrm import HRM
from models.layers import Rope
from models.vocabulary import Vocabularies
from models.weights import Network, Weights, rotary, weight_shapes
from tests.unit.models.conftest import Settings

NAMES = Vocabularies().grow(["NSE:SBIN-EQ", "NSE:RELIANCE-EQ"], ["5m"])
FEATURES = {"window": 20, "patch": 5, "min_bars": 6, "coarse_window": 4}
WITHOUT_TORCH = """
import sys
from daemon.core.clock import LiveClock
from daemon.settings.loading import load_settings
from daemon.strategy.build import build_strategies
settings = load_settings(overrides=["performance.runtime=native"])
built = build_strategies(settings, LiveClock())
print(" ".join(sorted(built)), built["hrm"].runtime, "torch" in sys.modules, sep="; ")
"""


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ({}, {}),
        ({"h_dim": 24, "h_heads": 2, "l_dim": 16, "l_heads": 2}, {}),
        ({"l_reset": LReset.LEARNED, "gradient": "last_cycle"}, {}),
        ({"input_layers": 2, "h_layers": 3}, {"past_sessions": 20, "belief": True}),
    ],
    ids=["equal", "crossing", "gate", "told of the past"],
)
def test_names_and_shapes_are_those_of_the_module(
    settings: Settings, shape: dict[str, object], features: dict[str, object]
) -> None:
    """What a file is held to without torch is what the module in torch has, name for name."""
    config = settings(shape=shape, features=FEATURES | features).network()
    model = HRM(config, NAMES)
    assert weight_shapes(config, NAMES) == {name: tuple(one.shape) for name, one in model.state_dict().items()}


def test_numbers_and_module_are_made_of_each_other(settings: Settings) -> None:
    """To the last bit, there and back; what a module learns later leaves its numbers of before alone."""
    model = HRM(settings().network(), NAMES)
    weights = model.weights()
    again = Network(weights).model
    assert all(torch.equal(again.state_dict()[name], one) for name, one in model.state_dict().items())
    before = weights.arrays["input.memory"].copy()
    with torch.no_grad():
        model.input.memory.add_(1.0)
        again.input.memory.add_(1.0)
    assert np.array_equal(weights.arrays["input.memory"], before)
    assert isinstance(Network(model).weights, Weights)
    assert not np.array_equal(Network(model).weights.arrays["input.memory"], before)


@pytest.mark.parametrize(("tokens", "head_dim"), [(8, 16), (16, 64)])
def test_positions_turn_as_in_torch(tokens: int, head_dim: int) -> None:
    """But for what torch rounds otherwise in the last place of a frequency, times the position."""
    own, torchs = rotary(tokens, head_dim), Rope(tokens, head_dim)
    for mine, theirs in zip(own, (torchs.cos, torchs.sin), strict=True):
        np.testing.assert_allclose(mine, theirs[:, : head_dim // 2].numpy(), rtol=0, atol=tokens * 2**-25)


@pytest.mark.slow
def test_the_ladder_is_built_without_torch(kernels: Path) -> None:
    """The shipped model and policy decide natively: nothing imports what only training needs."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    rungs, runtime, torch_is_there = done.stdout.splitlines()[-1].split("; ")
    if not runtime.startswith("native"):
        pytest.skip(f"no native kernel here: {runtime}")
    assert (rungs, torch_is_there) == ("hrm ppo rules", "False")
