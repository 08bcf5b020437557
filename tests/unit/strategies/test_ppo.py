"""Tests of the exported policy: its arithmetic is torch's, and what it can't say is no trade."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional

from daemon.core.events import Action
from daemon.strategy.build import shipped
from models import ppo
from models.errors import CheckpointError
from models.features import encode
from models.ppo import PPOPolicy, observation_vector
from models.vocabulary import Vocabularies
from strategies.hrm import ENTRIES, observation
from strategies.ppo import PPOStrategy
from tests.unit.strategies.moments import falling, moment_of, rising

POLICY = PPOPolicy.load(shipped("ppo"))
UP, DOWN = moment_of(rising(40)), moment_of(falling(40))


def test_probabilities_are_those_of_the_network_in_torch() -> None:
    """From every position, within fp32."""
    settings = POLICY.manifest.features
    seen = [observation(moment, settings.history) for moment in (UP, DOWN, UP)]
    features, side = encode(seen, Vocabularies(), settings), np.array([0, 1, 2])
    x = torch.as_tensor(observation_vector(features, side))
    layers = [(torch.as_tensor(weight), torch.as_tensor(bias)) for weight, bias in POLICY._layers]
    for weight, bias in layers[:-1]:
        x = torch.tanh(functional.linear(x, weight, bias))
    allowed = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 1, 0, 1], [0, 0, 0, 1, 1]], dtype=torch.bool)
    wanted = functional.linear(x, *layers[-1]).masked_fill(~allowed, -torch.inf).softmax(-1)
    np.testing.assert_allclose(POLICY.probabilities(features, side), wanted.numpy(), atol=1e-5)


def test_it_decides_by_the_more_probable_side() -> None:
    """What it may not do at the end of a session it doesn't, and what is held is closed as a whole."""
    policy = PPOStrategy(POLICY, 10, "ppo")
    made = [policy.decide(moment) for moment in (UP, DOWN)]
    entries = [(one.action, one.quantity) for one in made if one.action in ENTRIES]
    assert {quantity for _, quantity in entries} == {10}
    late = [policy.decide(msgspec.structs.replace(moment, may_enter=False)) for moment in (UP, DOWN)]
    assert [one.action for one in late] == [Action.HOLD, Action.HOLD]
    assert "no entries this late" in {one.reason for one in late}
    assert all(one.model_hash == POLICY.manifest.sha256 for one in (*made, *late))


def test_what_mattered_is_told_of_a_trade() -> None:
    """Parts of what it saw, the largest effect first."""
    policy = PPOStrategy(POLICY, 10, "ppo")
    moment = next(one for one in (UP, DOWN) if policy.decide(one).action in ENTRIES)
    parts = policy.explain(moment, policy.decide(moment))
    effects = [abs(part.effect) for part in parts]
    assert len(parts) > 3
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize("by", [np.inf, np.nan])
def test_a_network_whose_numbers_are_none_fails(by: float) -> None:
    """A HOLD that counts as a failure of the model, and no warning."""
    with np.errstate(invalid="ignore"):
        layers = [(weight * np.float32(by), bias * np.float32(by)) for weight, bias in POLICY._layers]
    found = PPOStrategy(PPOPolicy(layers, POLICY.manifest), 10, "ppo").decide(UP)
    assert (found.action, found.failed) == (Action.HOLD, True)
    assert found.reason == "a probability of the policy is not finite"


def _of(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """A file of these tensors with the hash that belongs to them."""
    manifest = POLICY.manifest.model_copy(update={"sha256": ppo._sha256(POLICY.manifest, tensors)})
    save_file(tensors, path, metadata={"format": ppo.FORMAT, "manifest": manifest.model_dump_json()})
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layer1.bias": None}, r"tensors missing or not asked for: layer1\.bias, layer2\.bias, layer2\.weight \(3 in"),
        (dict.fromkeys(POLICY._tensors()), r"missing or not asked for: layer0\.bias, layer0\.weight \(2 in all\)"),
        ({"other": np.zeros(1, np.float32), "more": np.zeros(1, np.float32)}, r"not asked for: layer3\.bias, .*, more"),
        ({"layer2.bias": np.full(5, np.nan, np.float32)}, r"layer2\.bias holds a value that is not finite"),
        ({"layer2.bias": np.zeros(5)}, r"layer2\.bias is of type float64, expected float32"),
        ({"layer2.weight": np.zeros((64, 5), np.float32)}, r"layer2's .* are \(64, 5\) and \(5,\), expected \(5, 64\)"),
        (
            {"layer0.weight": np.zeros((64, 9), np.float32)},
            r"layer0's .* are \(64, 9\) and \(64,\), expected \(64, 708\)",
        ),
    ],
)
def test_tensors_that_are_no_policy_are_refused(
    changed: dict[str, np.ndarray | None], said: str, tmp_path: Path
) -> None:
    """In one line and at once, whatever hash the file has: the ladder is to know before it comes down to it."""
    tensors = {name: array for name, array in (POLICY._tensors() | changed).items() if array is not None}
    with pytest.raises(CheckpointError, match=said) as refused:
        PPOPolicy.load(_of(tmp_path / "ppo.safetensors", tensors))
    assert "\n" not in str(refused.value)
