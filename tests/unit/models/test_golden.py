"""The core equals the published implementation, number for number.

`tests/fixtures/hrm_small.safetensors` was produced by sapientinc/HRM at the commit in its metadata.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from models.config import ArchitectureSettings
from models.core import Latent
from models.hrm import HRMState
from models.layers import Block, Stack, rms_norm
from models.reference import Puzzles, ReferenceHRM, continue_target, reference_loss

FIXTURE = Path(__file__).parents[2] / "fixtures" / "hrm_small.safetensors"
PART_TOLERANCE = 1e-5
SEGMENT_TOLERANCE = 1e-4
RENAMED = {
    "embed_tokens.embedding_weight": "embed_tokens.weight",
    "puzzle_emb.weights": "prefix",
    "H_init": "core.H_init",
    "L_init": "core.L_init",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """Every tensor of the fixture."""
    with safe_open(FIXTURE, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


@pytest.fixture
def model(golden: dict[str, Tensor]) -> ReferenceHRM:
    """Return the published model with the fixture's weights."""
    with safe_open(FIXTURE, framework="pt") as file:
        meta = {key: int(value) for key, value in file.metadata().items() if value.isdigit()}
    shape = ArchitectureSettings(
        h_dim=meta["hidden_size"],
        l_dim=meta["hidden_size"],
        h_heads=meta["num_heads"],
        l_heads=meta["num_heads"],
        h_layers=meta["H_layers"],
        l_layers=meta["L_layers"],
        h_cycles=meta["H_cycles"],
        l_steps=meta["L_cycles"],
        expansion=float(meta["expansion"]),
    )
    model = ReferenceHRM(
        shape, vocabulary=meta["vocab_size"], tokens=meta["seq_len"], identifiers=meta["num_puzzle_identifiers"]
    )
    weights = {name.removeprefix("weight.inner."): t for name, t in golden.items() if name.startswith("weight.")}
    model.load_state_dict({ours(name): tensor for name, tensor in weights.items()})
    return model


def ours(name: str) -> str:
    """Our name of a published weight."""
    return RENAMED.get(name, f"core.{name}" if name.startswith(("H_level", "L_level")) else name)


def puzzles(golden: dict[str, Tensor]) -> Puzzles:
    """Return the fixture's batch."""
    return Puzzles(golden["input.inputs"].long(), golden["input.puzzle_identifiers"].long())


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Largest absolute difference is within the tolerance."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=0.0, atol=tolerance)


def stack_of(module: torch.nn.Module) -> Stack:
    """Return the module as the stack it is."""
    assert isinstance(module, Stack)
    return module


@torch.no_grad()
def test_parts_equal_the_published_ones(golden: dict[str, Tensor], model: ReferenceHRM) -> None:
    """Embeddings, rotary tables, one block and its halves, and each level once: within 1e-5."""
    low, high = stack_of(model.core.L_level), stack_of(model.core.H_level)
    block = low.layers[0]
    assert isinstance(block, Block)
    x = model.embed(puzzles(golden))
    initial = model.core.initial(2, 17)
    low_once = low(initial.z_L + initial.z_H + x, None)
    found = {
        "input_embeddings": x,
        "rope_cos": low.rope.cos,
        "rope_sin": low.rope.sin,
        "L_block0_attn": block.self_attn(x, low.rope, None),
        "L_block0_mlp": block.mlp(x),
        "L_block0": block(x, low.rope, None),
        "L_level_once": low_once,
        "H_level_once": high(initial.z_H + low_once, None),
    }
    assert {f"part.{name}" for name in found} == {name for name in golden if name.startswith("part.")}
    for name, tensor in found.items():
        assert_near(tensor, golden[f"part.{name}"], PART_TOLERANCE)


@torch.no_grad()
def test_three_segments_equal_the_published_ones(golden: dict[str, Tensor], model: ReferenceHRM) -> None:
    """States, logits, Q values, step counts and halting of segments 1 to 3: within 1e-4."""
    batch = puzzles(golden)
    state = model.initial_state(batch, budget=4)
    for number in (1, 2, 3):
        state, outputs = model.segment(batch, state)
        found = {
            "z_H": state.z.z_H,
            "z_L": state.z.z_L,
            "logits": outputs.logits,
            "q_halt": outputs.q_halt,
            "q_continue": outputs.q_continue,
            "steps": torch.as_tensor(state.segments),
            "halted": torch.as_tensor(state.budget <= 0),
        }
        names = {name for name in golden if name.startswith(f"seg{number}.")}
        assert {f"seg{number}.{name}" for name in found} == names
        for name, tensor in found.items():
            assert_near(tensor, golden[f"seg{number}.{name}"], SEGMENT_TOLERANCE)


def test_loss_and_gradients_equal_the_published_ones(golden: dict[str, Tensor], model: ReferenceHRM) -> None:
    """The loss after segment 1, each of its parts, and the one-step gradient of every weight: within 1e-4."""
    batch, labels = puzzles(golden), golden["train.labels"].long()
    state: HRMState
    state, outputs = model.segment(batch, model.initial_state(batch, budget=4))
    target = continue_target(model, batch, state)
    loss = reference_loss(outputs, labels, target)
    loss.loss.backward()
    assert_near(target, golden["train.target_q_continue"], SEGMENT_TOLERANCE)
    for name in ("loss", "lm_loss", "q_halt_loss", "q_continue_loss"):
        assert_near(getattr(loss, name).reshape(1), golden[f"train.{name}"], SEGMENT_TOLERANCE)
    softmax_ce = torch.nn.functional.cross_entropy(outputs.logits.mT, labels, ignore_index=-100, reduction="none")
    per_row = softmax_ce.sum(-1) / (labels != -100).sum(-1)
    assert_near(per_row.sum().reshape(1), golden["train.softmax_ce"], SEGMENT_TOLERANCE)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = {ours(n.removeprefix("grad.inner.")): t for n, t in golden.items() if n.startswith("grad.")}
    assert gradients.keys() == expected.keys()
    for name, tensor in expected.items():
        found = gradients[name]
        assert found is not None
        assert_near(found, tensor, SEGMENT_TOLERANCE)


def test_the_golden_test_bites(golden: dict[str, Tensor], model: ReferenceHRM) -> None:
    """A weight that is off by a thousandth is seen: the tolerances are tight enough to mean something."""
    batch = puzzles(golden)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
        _, outputs = model.segment(batch, model.initial_state(batch))
    with pytest.raises(AssertionError):
        assert_near(outputs.logits, golden["seg1.logits"], SEGMENT_TOLERANCE)


def test_rms_norm_and_latent_detach() -> None:
    """A normalised token has root mean square 1, and a detached latent carries no graph."""
    x = torch.randn(2, 3, 8, requires_grad=True)
    normed = rms_norm(x)
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(2, 3), rtol=1e-4, atol=1e-4)
    assert not Latent(normed, normed).detach().z_L.requires_grad
