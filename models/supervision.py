"""Turns a batch and an objective into weight updates: deep supervision with learned halting.

Every segment has a loss, a backward pass and an optimizer step, and the state is detached in between (arXiv 2506.21734,
section 2.3), so memory does not grow with segments. The Q head learns two things: `q_halt`, whether stopping here is
right; `q_continue`, what going on will be worth: the better of the next segment's Q values, or its q_halt where the
next is the last. The published code runs a second forward pass for that target. Here the segment that follows anyway
supplies it, one segment late and to the Q head alone. Invariant: a row that halts is neither learned from nor counted
again in that pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.actions import VALID_ACTIONS
from models.errors import InvalidOutput
from models.hrm import HeadOutputs, HRMState


class QOutputs(Protocol):
    """Any head outputs that carry Q logits, each (B,)."""

    @property
    def q_halt(self) -> Tensor:
        """Logit: stopping now is right."""

    @property
    def q_continue(self) -> Tensor:
        """Logit: going on is right."""


B = TypeVar("B", contravariant=True)
O = TypeVar("O", bound=QOutputs)  # noqa: E741 - B and O, batch and outputs
OutputsOut = TypeVar("OutputsOut", bound=QOutputs, covariant=True)
OutputsIn = TypeVar("OutputsIn", bound=QOutputs, contravariant=True)


class Supervised(Protocol[B, OutputsOut]):
    """A model that deep supervision can train; `HRM` is one."""

    def initial_state(self, features: B, *, budget: int = 1) -> HRMState:
        """Return the state before the first segment."""

    def segment(self, features: B, state: HRMState) -> tuple[HRMState, OutputsOut]:
        """Embed and run one segment."""

    def q_values(self, state: HRMState) -> tuple[Tensor, Tensor]:
        """Read (q_halt, q_continue) again from a state."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Weights to clip."""


class Objective(Protocol[OutputsIn]):
    """What a task wants of a segment's outputs."""

    def __call__(self, outputs: OutputsIn, active: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss over the active rows (a scalar with a graph) and which rows are right, (B,) bool.

        `active` (B,) bool is never empty.
        """


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One update, over the rows that were still thinking; `active` is their share of the batch."""

    loss: float
    q_loss: float
    accuracy: float
    active: float
    gradient_norm: float


def supervised_segment(
    model: Supervised[B, O],
    batch: B,
    state: HRMState,
    objective: Objective[O],
    optimizer: torch.optim.Optimizer,
    *,
    active: Tensor,
    clip_norm: float = 1.0,
    q_weight: float = 0.5,
) -> tuple[HRMState, O, SegmentReport]:
    """Run one segment from `state` (detached), learn from its `active` rows (B,), and return the next state, detached.

    Rows may stand at different depths: a caller that replaces halted rows by new ones trains as the publication did.
    Raises InvalidOutput, before the weights are touched, where the loss is not finite.
    """
    optimizer.zero_grad(set_to_none=True)  # before the forward pass, which has no use for old gradients
    after, outputs = model.segment(batch, state)
    loss, correct = objective(outputs, active)
    q_loss = F.binary_cross_entropy_with_logits(outputs.q_halt[active], correct[active].float())
    going_on = active & torch.as_tensor(state.segments > 0, device=active.device)
    if bool(going_on.any()):
        last = torch.as_tensor(after.budget <= 0, device=active.device)
        q_loss = q_loss + _continue_loss(model.q_values(state)[1], outputs, going_on, last)
    total = loss + q_weight * q_loss
    if not bool(total.isfinite()):
        raise InvalidOutput(f"loss is {total.item()} in segment {int(after.segments.max())}")
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    report = SegmentReport(
        loss=loss.item(),
        q_loss=q_loss.item(),
        accuracy=float(correct[active].float().mean()),
        active=float(active.float().mean()),
        gradient_norm=float(norm),
    )
    return after.detach(), outputs, report


def _continue_loss(q_continue: Tensor, outputs: QOutputs, rows: Tensor, last: Tensor) -> Tensor:
    """Fit q_continue (B,) of the states before this segment to what its Q values turned out to be, in `rows`."""
    with torch.no_grad():
        best = torch.where(last, outputs.q_halt, torch.maximum(outputs.q_halt, outputs.q_continue))
        target = torch.sigmoid(best[rows])
    return F.binary_cross_entropy_with_logits(q_continue[rows], target)


def halted(state: HRMState, outputs: QOutputs, minimum: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows stop in training: budget used up, or q_halt > q_continue at or over their minimum. (B,)."""
    prefers = (outputs.q_halt > outputs.q_continue).cpu().numpy()
    stops: NDArray[np.bool_] = (state.budget <= 0) | (prefers & (state.segments >= minimum))
    return stops


def supervise(
    model: Supervised[B, O],
    batch: B,
    objective: Objective[O],
    optimizer: torch.optim.Optimizer,
    *,
    segments: int,
    minimum: NDArray[np.int64] | None = None,
    clip_norm: float = 1.0,
    q_weight: float = 0.5,
) -> tuple[SegmentReport, ...]:
    """Run up to `segments` supervised segments on one batch and update the weights after each; one report each.

    `minimum` (B,): segments before which a row may not halt, from `AdaptiveComputationTime.exploration_minimum`; None
    keeps every row thinking to the end. Raises InvalidOutput where a loss is not finite.
    """
    state = model.initial_state(batch, budget=segments)
    least = np.full(len(state.budget), segments) if minimum is None else minimum
    active = torch.ones(len(least), dtype=torch.bool, device=state.z.z_H.device)
    reports = []
    while bool(active.any()):
        state, outputs, report = supervised_segment(
            model, batch, state, objective, optimizer, active=active, clip_norm=clip_norm, q_weight=q_weight
        )
        reports.append(report)
        active = active & ~torch.as_tensor(halted(state, outputs, least), device=active.device)
    return tuple(reports)


@dataclass(frozen=True, slots=True, eq=False)
class ActionTargets:
    """Supervised targets of a batch: an action for the position each row is in, and optionally value and quantity.

    `side` (B,) rows of the policy head; `actions` (B,); `values` (B,) outcome; `quantities` (B,) share 0..1.
    """

    side: NDArray[np.int64]
    actions: NDArray[np.int64]
    values: NDArray[np.float64] | None = None
    quantities: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Refuse (ValueError) an action that its position does not allow."""
        allowed = np.array(VALID_ACTIONS)[self.side, self.actions]
        if not allowed.all():
            row = int(np.flatnonzero(~allowed)[0])
            raise ValueError(f"row {row}: action {self.actions[row]} is not allowed in position row {self.side[row]}")

    def __call__(self, outputs: HeadOutputs, active: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy of the action, plus Huber losses of value and quantity where they are given."""
        device = outputs.policy.device
        side, actions = torch.as_tensor(self.side, device=device), torch.as_tensor(self.actions, device=device)
        rows = torch.arange(len(side), device=device)
        logits = outputs.policy[rows, side]  # (B, 5)
        loss = F.cross_entropy(logits[active], actions[active])
        if self.values is not None:
            values = torch.as_tensor(self.values, dtype=torch.float32, device=device)
            loss = loss + F.smooth_l1_loss(outputs.value[rows, side][active], values[active])
        if self.quantities is not None:
            quantities = torch.as_tensor(self.quantities, dtype=torch.float32, device=device)
            loss = loss + F.smooth_l1_loss(outputs.quantity[active], quantities[active])
        return loss, logits.argmax(-1) == actions
