"""Deep supervision: a step a segment, detached states, halting, and Q targets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.config import ArchitectureSettings
from models.core import Latent
from models.errors import InvalidOutput
from models.hrm import HRMState
from models.reference import IGNORED, Puzzles, ReferenceHRM, SolvePuzzles, TokenOutputs, stablemax_cross_entropy
from models.supervision import halted, supervise, supervised_segment
from tests.unit.models.conftest import SMALL

EQUAL = SMALL | {"l_dim": 16, "input_layers": 0}
BATCH = 4


@pytest.fixture
def model() -> ReferenceHRM:
    """Return a small puzzle model."""
    torch.manual_seed(1)
    return ReferenceHRM(ArchitectureSettings.model_validate(EQUAL), vocabulary=5, tokens=6, identifiers=1)


@pytest.fixture
def puzzles() -> Puzzles:
    """Return four random rows."""
    torch.manual_seed(2)
    return Puzzles(torch.randint(0, 5, (BATCH, 6)), torch.zeros(BATCH, dtype=torch.int64))


def adam(model: ReferenceHRM, lr: float = 1e-3) -> torch.optim.Optimizer:
    """Return an optimizer."""
    return torch.optim.AdamW(model.parameters(), lr=lr)


def test_every_segment_is_a_step_on_a_detached_state(model: ReferenceHRM, puzzles: Puzzles) -> None:
    """Five segments move the weights five times; no state that goes in carries a graph."""
    seen: list[tuple[bool, float]] = []
    segment = model.segment

    class Watched(ReferenceHRM):
        def segment(self, features: Puzzles, state: HRMState) -> tuple[HRMState, TokenOutputs]:
            seen.append((state.z.z_H.requires_grad, model.lm_head.weight.sum().item()))
            return segment(features, state)

    watched = Watched(ArchitectureSettings.model_validate(EQUAL), vocabulary=5, tokens=6, identifiers=1)
    watched.core, watched.q_head = model.core, model.q_head
    reports = supervise(watched, puzzles, SolvePuzzles(puzzles.inputs), adam(model), segments=5, clip_norm=math.inf)
    assert len(reports) == 5
    assert not any(requires_grad for requires_grad, _ in seen)
    assert len({weight for _, weight in seen}) == 5


def test_supervision_teaches_a_puzzle(model: ReferenceHRM, puzzles: Puzzles) -> None:
    """Copying the input is learned, and q_halt learns that it is right."""
    optimizer = adam(model, 1e-2)
    for _ in range(60):
        reports = supervise(model, puzzles, SolvePuzzles(puzzles.inputs), optimizer, segments=3)
    assert reports[-1].accuracy == 1.0
    assert reports[-1].loss < 0.2
    _, outputs = model.segment(puzzles, model.initial_state(puzzles))
    assert (outputs.q_halt > 0).all()


class Scripted:
    """A model whose Q logits follow a script; `weight` is there to have a gradient."""

    def __init__(self, q_halt: list[list[float]]) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.script = torch.tensor(q_halt)  # (B, segments)
        self.depth = 0

    def parameters(self) -> list[torch.nn.Parameter]:
        """Two scalars."""
        return [self.weight, self.bias]

    def initial_state(self, features: None, *, budget: int = 1) -> HRMState:
        """Counts at zero around an empty latent."""
        rows = len(self.script)
        none = torch.zeros(rows, 1, 1)
        zero = np.zeros(rows, np.int64)
        return HRMState(Latent(none, none), zero, zero, np.full(rows, budget), np.zeros(rows))

    def segment(self, features: None, state: HRMState) -> tuple[HRMState, TokenOutputs]:
        """Play the script."""
        q_halt = self.script[:, self.depth] + 0 * self.weight
        self.depth += 1
        outputs = TokenOutputs(self.weight, q_halt, torch.zeros_like(q_halt) + 0 * self.bias, None)  # type: ignore[arg-type]
        return replace(state, segments=state.segments + 1, budget=state.budget - 1), outputs

    def q_values(self, state: HRMState) -> tuple[Tensor, Tensor]:
        """q_continue is the bias, so that its gradient shows the target."""
        rows = len(self.script)
        return self.weight.expand(rows), self.bias.expand(rows)


def always_wrong(outputs: TokenOutputs, active: Tensor) -> tuple[Tensor, Tensor]:
    """An objective without a loss."""
    return 0 * outputs.logits.sum(), torch.zeros(len(outputs.q_halt), dtype=torch.bool)


def test_rows_halt_at_their_minimum_and_are_not_counted_again() -> None:
    """Row 0 may stop at once, row 1 not before 2, row 2 never wants to."""
    scripted = Scripted([[1, 1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1]])
    optimizer = torch.optim.SGD(scripted.parameters(), lr=0.0)
    reports = supervise(scripted, None, always_wrong, optimizer, segments=4, minimum=np.array([1, 2, 1]))
    assert [report.active for report in reports] == pytest.approx([1, 2 / 3, 1 / 3, 1 / 3])


def test_supervision_ends_when_every_row_has_halted() -> None:
    """No segment is run on an empty batch."""
    scripted = Scripted([[1, 1, 1], [-1, 1, 1]])
    optimizer = torch.optim.SGD(scripted.parameters(), lr=0.0)
    reports = supervise(scripted, None, always_wrong, optimizer, segments=3, minimum=np.array([1, 1]))
    assert len(reports) == 2


@pytest.mark.parametrize(
    ("q_halt", "budget", "target"),
    [
        (2.0, 5, 1 / (1 + math.exp(-2.0))),  # the better of q_halt 2 and q_continue 0
        (-2.0, 5, 0.5),  # the better is q_continue 0
        (-2.0, 2, 1 / (1 + math.exp(2.0))),  # the next segment is the last: its q_halt
    ],
)
def test_the_continue_target_is_what_the_next_segment_says(q_halt: float, budget: int, target: float) -> None:
    """q_continue starts at 0.5, so its gradient is 0.5 minus the target; the first segment has none."""
    scripted = Scripted([[0.0, q_halt]])
    optimizer = torch.optim.SGD(scripted.parameters(), lr=0.0)
    active = torch.ones(1, dtype=torch.bool)
    state, _, _ = supervised_segment(
        scripted, None, scripted.initial_state(None, budget=budget), always_wrong, optimizer, active=active
    )
    assert scripted.bias.grad is None or float(scripted.bias.grad) == 0
    supervised_segment(scripted, None, state, always_wrong, optimizer, active=active, clip_norm=math.inf, q_weight=1.0)
    assert scripted.bias.grad is not None
    assert float(scripted.bias.grad) == pytest.approx(0.5 - target, abs=1e-6)


def test_halted_rows_are_those_that_want_to_or_must() -> None:
    """By preference from the minimum on, by budget always."""
    scripted = Scripted([[1], [1], [-1], [-1]])
    state, outputs = scripted.segment(None, scripted.initial_state(None, budget=2))
    minimum = np.array([1, 2, 1, 1])
    assert halted(state, outputs, minimum).tolist() == [True, False, False, False]
    assert halted(scripted.initial_state(None, budget=0), outputs, minimum).all()


def test_a_loss_that_is_not_finite_stops_before_the_step(model: ReferenceHRM, puzzles: Puzzles) -> None:
    """The weights are as they were."""
    before = model.lm_head.weight.clone()

    def diverged(outputs: TokenOutputs, active: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.logits.sum() * torch.nan, active

    with pytest.raises(InvalidOutput, match="loss is nan in segment 1"):
        supervise(model, puzzles, diverged, adam(model), segments=2)
    assert torch.equal(model.lm_head.weight, before)


def test_stablemax_of_known_logits() -> None:
    """Logits 1 and −1 weigh 2 and 1/2: probabilities 0.8 and 0.2; ignored tokens cost nothing."""
    logits = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    loss = stablemax_cross_entropy(logits, torch.tensor([[0, IGNORED]]))
    assert loss[0].tolist() == pytest.approx([-math.log(0.8), 0.0])


def test_the_published_model_has_equal_widths() -> None:
    """Anything else is not the published model."""
    with pytest.raises(ValueError, match="equal width"):
        ReferenceHRM(ArchitectureSettings.model_validate(SMALL), vocabulary=5, tokens=6, identifiers=1)
