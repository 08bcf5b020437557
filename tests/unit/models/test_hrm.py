"""The network: independence of rows and padding, reproducibility, resets, gradients, growth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.actions import VALID_ACTIONS
from models.agent import HRMAgent
from models.config import ArchitectureSettings, Gradient, HRMSettings, LReset
from models.core import Latent, ReasoningCore, relative_change
from models.features import Features, encode
from models.hrm import HRM, HeadOutputs, HRMState
from models.layers import SwiGLU, trunc_normal
from models.vocabulary import Vocabularies
from tests.unit.models.conftest import SMALL, Observe, Settings

NAMES = Vocabularies().grow(["NSE:NIFTY50-INDEX"], ["5m", "30m"])


def build(settings: Settings, seed: int = 3, **shape: object) -> HRM:
    """Return a network with weights drawn from a seed."""
    torch.manual_seed(seed)
    return HRM(settings(shape=shape).network(), NAMES).eval()


def feed(settings: Settings, observe: Observe, *seeds: int, **changes: object) -> Features:
    """Encode one observation a seed."""
    return encode([observe(seed, **changes) for seed in seeds], NAMES, settings().features)


@torch.no_grad()
def think(model: HRM, features: Features, segments: int = 2) -> tuple[HRMState, HeadOutputs]:
    """Run some segments."""
    state = model.initial_state(features, budget=segments)
    for _ in range(segments):
        state, outputs = model.segment(features, state)
    return state, outputs


def test_outputs_do_not_depend_on_the_rest_of_the_batch(settings: Settings, observe: Observe) -> None:
    """A row alone, among others, and among rows that need padding, answers the same within 1e-5."""
    model = build(settings)
    crowd = encode([observe(0), observe(1, bars=7, coarse=0), observe(2)], NAMES, settings().features)
    state, together = think(model, crowd)
    for row in range(3):
        alone_state, alone = think(model, crowd.take(np.array([row])))
        torch.testing.assert_close(alone.policy[0], together.policy[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.value[0], together.value[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.change.z_L[0], together.change.z_L[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone_state.z.z_H[0, 0], state.z.z_H[row, 0], atol=1e-5, rtol=0)


def test_outputs_do_not_depend_on_what_padding_holds(settings: Settings, observe: Observe) -> None:
    """Masked tokens may hold anything."""
    model = build(settings)
    features = feed(settings, observe, 1, bars=7, coarse=0)
    _, clean = think(model, features)
    features.patches[0, :2] = 1e3
    features.coarse[:] = -1e3
    _, dirty = think(model, features)
    for name in ("policy", "quantity", "value", "q_halt"):
        torch.testing.assert_close(getattr(dirty, name), getattr(clean, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(dirty.change.z_H, clean.change.z_H, atol=1e-5, rtol=0)


def test_one_seed_is_bit_identical_and_two_are_not(settings: Settings, observe: Observe) -> None:
    """Weights and outputs of a seed are equal to the last bit."""
    features = feed(settings, observe, 0, 1)
    first, second, other = (think(build(settings, seed), features)[0].z.z_H for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_base_profile_has_27_million_parameters() -> None:
    """H 512×6 and L 256×4 with the input network and the heads: 27 M within 3 %."""
    shape = SMALL | {
        "h_dim": 512, "h_layers": 6, "h_heads": 8, "l_dim": 256, "l_layers": 4, "l_heads": 4, "input_layers": 3,
        "h_cycles": 3, "l_steps": 5,
    }  # fmt: skip
    with torch.device("meta"):
        config = HRMSettings.model_validate({"profile": "base", "architecture": {"base": shape}}).network()
        model = HRM(config, NAMES)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(27e6, rel=0.03)


def test_invalid_actions_are_masked_in_every_position(settings: Settings, observe: Observe) -> None:
    """Flat can open, long and short can only close; the rest is −inf and logits stay inside the cap."""
    _, outputs = think(build(settings), feed(settings, observe, 0, 1))
    assert VALID_ACTIONS[1] == (False, False, True, False, True)
    allowed = torch.tensor(VALID_ACTIONS).expand(2, 3, 5)
    assert torch.isneginf(outputs.policy[~allowed]).all()
    assert outputs.policy[allowed].abs().max() <= 5.0


def test_the_three_positions_are_answered_at_once(settings: Settings, observe: Observe) -> None:
    """A neutral forward holds the policy of every position: the side does not change the rows."""
    model = build(settings)
    rows = [think(model, feed(settings, observe, 0, position_side=side))[1].policy for side in (-1, 0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[1], rows[2])


def test_an_untaught_position_detail_changes_nothing_until_it_is_taught(settings: Settings, observe: Observe) -> None:
    """The projection of size, profit and age starts at zero; with weights it matters."""
    model = build(settings)
    neutral = feed(settings, observe, 0, position_side=1)
    held = feed(settings, observe, 0, position_side=1, position_size=1.0, unrealised_atr=2.0)
    assert torch.equal(think(model, neutral)[1].policy, think(model, held)[1].policy)
    with torch.no_grad():
        model.input.position.weight.fill_(0.5)
    assert not torch.equal(think(model, neutral)[1].policy, think(model, held)[1].policy)


@pytest.mark.parametrize("reset", list(LReset))
def test_what_a_cycle_finds_in_the_low_state(settings: Settings, reset: LReset) -> None:
    """Each reset does what its name says to a state that is not the initial one, and nothing to the initial one."""
    torch.manual_seed(0)
    core = ReasoningCore(settings(shape={"l_reset": reset, "gradient": "last_cycle"}).shape, tokens=4)
    z = Latent(torch.randn(2, 4, 16), torch.randn(2, 4, 8))
    start = core.initial(2, 4)
    found = core.reset(z)
    if reset is LReset.NONE:
        assert found is z.z_L
    elif reset is LReset.HARD:
        torch.testing.assert_close(found, start.z_L)
    elif reset is LReset.SOFT:
        torch.testing.assert_close(found, (z.z_L + start.z_L) / 2)
    else:
        share = ((found - start.z_L) / (z.z_L - start.z_L)).detach()
        torch.testing.assert_close(share, torch.sigmoid(core.reset_gate(z.z_H)).detach(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(core.reset(start), start.z_L)


def test_the_four_resets_give_four_answers(settings: Settings, observe: Observe) -> None:
    """The setting reaches the recurrence: from the second cycle on the states differ."""
    features = feed(settings, observe, 0)
    answers = []
    for reset in LReset:
        model = build(settings, l_reset=reset, gradient="last_cycle")
        answers.append(think(model, features)[0].z.z_H)
    assert all(not torch.equal(a, b) for i, a in enumerate(answers) for b in answers[:i])


def graph_calls(core: ReasoningCore, segment_inputs: tuple[Tensor, Latent]) -> tuple[list[bool], list[bool]]:
    """Run one segment and return, step by step, whether L and H kept a graph."""
    seen: tuple[list[bool], list[bool]] = ([], [])
    hooks = [
        level.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out.requires_grad))
        for level, kept in ((core.L_level, seen[0]), (core.H_level, seen[1]))
    ]
    core(*segment_inputs)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("gradient", "low", "high"),
    [
        (Gradient.ONE_STEP, [False] * 3 + [True], [False, True]),
        (Gradient.LAST_CYCLE, [False] * 2 + [True] * 2, [False, True]),
        (Gradient.FULL_BPTT, [True] * 4, [True] * 2),
    ],
)
def test_which_steps_keep_a_graph(settings: Settings, gradient: Gradient, low: list[bool], high: list[bool]) -> None:
    """N = 2, T = 2: one step keeps the last L and the last H, the others a cycle or everything."""
    torch.manual_seed(0)
    core = ReasoningCore(settings(shape={"gradient": gradient}).shape, tokens=4)
    assert graph_calls(core, (torch.randn(1, 4, 8), core.initial(1, 4))) == (low, high)


def test_every_weight_gets_a_gradient(settings: Settings, observe: Observe) -> None:
    """No part of the network is cut off from the loss."""
    model = build(settings, l_reset="learned", gradient="last_cycle").train()
    features = feed(settings, observe, 0, position_side=1, position_size=1.0)
    state, _ = model.segment(features, model.initial_state(features))
    _, outputs = model.segment(features, state.detach())
    allowed = torch.isfinite(outputs.policy)
    total = outputs.policy[allowed].sum() + outputs.quantity.sum() + outputs.value.sum()
    (total + outputs.q_halt.sum() + outputs.q_continue.sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_settled_row_stops_alone(settings: Settings, observe: Observe) -> None:
    """Early stop inside a segment freezes the rows that have settled and leaves the others their cycles."""
    model = build(settings, h_cycles=6)
    features = feed(settings, observe, 0, 1, 2)
    with torch.no_grad():
        tokens, state = model.embed(features), model.initial_state(features)
        full, all_cycles = model.reason(tokens, state)
        largest = torch.maximum(all_cycles.change.z_H, all_cycles.change.z_L)  # (B, N)
        threshold = float(largest[:, 2:5].amin(1).median()) * 1.0001
        stopped, few = model.reason(tokens, state, settled_below=threshold)
    expected = [next((n + 1 for n in range(6) if row[n] < threshold), 6) for row in largest.tolist()]
    assert stopped.cycles.tolist() == expected
    assert 1 < min(expected) < 6
    assert full.cycles.tolist() == [6, 6, 6]
    for row, cycles in enumerate(expected):
        z = state.z
        with torch.no_grad():
            for _ in range(cycles):
                z = model.core.cycle(tokens.x, z, None)
        torch.testing.assert_close(stopped.z.z_H[row], z.z_H[row])
        torch.testing.assert_close(stopped.z.z_L[row], z.z_L[row])
        assert few.change.z_H[row, -1] == all_cycles.change.z_H[row, cycles - 1]


def test_a_segment_ends_when_every_row_has_settled(settings: Settings, observe: Observe) -> None:
    """Under a threshold that everything meets one cycle is run and its change is repeated."""
    model = build(settings)
    features = feed(settings, observe, 0, 1)
    with torch.no_grad():
        state, outputs = model.reason(model.embed(features), model.initial_state(features), settled_below=1e9)
    assert state.cycles.tolist() == [1, 1]
    assert outputs.change.z_H.shape == (2, 2)
    assert torch.equal(outputs.change.z_H[:, 0], outputs.change.z_H[:, 1])


def test_relative_change_of_known_vectors() -> None:
    """From (3, 4) to (3, 0): ‖Δ‖ 4 over ‖z‖ 3; a masked token does not count."""
    new, old = torch.tensor([[[3.0, 0.0], [9.0, 9.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    assert float(relative_change(new, old, torch.tensor([[True, False]]))) == pytest.approx(4 / 3)
    assert float(relative_change(new[:, :1], old[:, :1], None)) == pytest.approx(4 / 3)


def test_growing_leaves_trained_rows_and_answers_untouched(settings: Settings, observe: Observe) -> None:
    """Old rows keep their bits, old names their answers; a new row starts as "unknown"."""
    model = build(settings)
    features = feed(settings, observe, 0, 1)
    before_rows, before = model.input.instrument.weight.clone(), think(model, features)[1]
    model.grow(NAMES.grow(["B", "C"], ["1h"]))
    assert torch.equal(model.input.instrument.weight[:2], before_rows)
    assert torch.equal(model.input.instrument.weight[2:], before_rows[:1].expand(2, -1))
    assert model.input.timeframe.weight.shape[0] == 4
    assert model.input.instrument.weight.requires_grad
    assert torch.equal(think(model, features)[1].policy, before.policy)
    with pytest.raises(ValueError, match="instruments can only grow at the end"):
        model.grow(Vocabularies().grow(["C"]))


def test_an_unknown_instrument_is_answered_by_the_unknown_row(settings: Settings, observe: Observe) -> None:
    """Any two unseen symbols get one answer, and the unknown row is what makes it."""
    model = build(settings)
    one, two = (think(model, feed(settings, observe, 0, symbol=name))[1].policy for name in ("X", "Y"))
    assert torch.equal(one, two)
    assert not torch.equal(one, think(model, feed(settings, observe, 0))[1].policy)
    with torch.no_grad():
        model.input.instrument.weight[0] += 1.0
    assert not torch.equal(one, think(model, feed(settings, observe, 0, symbol="X"))[1].policy)


def test_learning_trains_the_unknown_row(settings: Settings, observe: Observe) -> None:
    """With dropout of identities the unknown row gets an optimizer step though no symbol is unknown."""
    agent = HRMAgent.untrained(
        settings(embeddings={"unknown_dropout": 0.9}), 1, instruments=["NSE:NIFTY50-INDEX"], timeframes=["5m"]
    )
    before = agent.model.input.instrument.weight[0].clone()
    agent.learn([observe(seed) for seed in range(8)], [0] * 8, learning_rate=1e-2)
    assert (agent.model.input.instrument.weight[0] - before).abs().max() > 1e-3


def test_state_counts_and_budget(settings: Settings, observe: Observe) -> None:
    """A state knows its cycles, segments, remaining budget and complexity, and can be merged row by row."""
    model = build(settings)
    features = feed(settings, observe, 0, 1)
    start = model.initial_state(features, budget=3)
    state, _ = think(model, features)
    assert (state.cycles.tolist(), state.segments.tolist(), state.budget.tolist()) == ([4, 4], [2, 2], [0, 0])
    merged = state.where(np.array([True, False]), start)
    assert (merged.segments.tolist(), merged.budget.tolist()) == ([2, 0], [0, 3])
    assert torch.equal(merged.z.z_H[1], start.z.z_H[1])
    assert torch.equal(merged.z.z_L[0], state.z.z_L[0])
    assert merged.complexity.tolist() == [0.2, 0.2]


def test_truncated_normal_has_the_deviation_it_says() -> None:
    """The cut at ±2 is made up for, and nothing lies outside it."""
    torch.manual_seed(0)
    drawn = trunc_normal((200_000,), 0.5)
    assert float(drawn.std()) == pytest.approx(0.5, rel=0.01)
    assert float(drawn.abs().max()) < 2 * 0.5 / 0.87


@pytest.mark.parametrize(("dim", "inner"), [(64, 256), (256, 768), (512, 1536)])
def test_swiglu_inner_width_follows_the_reference(dim: int, inner: int) -> None:
    """round(4·d·2/3) rounded up to 256."""
    shape = ArchitectureSettings(
        h_dim=dim, h_layers=1, h_heads=4, l_dim=dim, l_layers=1, l_heads=4, h_cycles=1, l_steps=1
    )
    layer = SwiGLU(dim, shape.inner(dim))
    assert isinstance(layer.down_proj, nn.Linear)
    assert layer.down_proj.in_features == inner
