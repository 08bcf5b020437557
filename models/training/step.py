"""One batch of sessions → one weight update a segment: deep supervision with learned halting.

Every segment has a loss, a backward pass and an optimizer step; the state is detached in between (arXiv 2506.21734,
section 2.3), so memory does not grow with segments. Rows are worked through ``rows_at_once`` at a time: the objective
couples the decisions of a session, so gradients of the head outputs are taken first, for all rows, and then sent
through the network piece by piece. Invariant: the result does not depend on ``rows_at_once`` beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.core import Latent
from models.features import Features
from models.hrm import HRM
from models.training.loss import Objective, SegmentLoss, improvement_bp
from models.training.settings import DeepSupervisionSettings, HaltTarget, Precision
from models.training.tokens import TokenTargets


@dataclass(frozen=True)
class SegmentReport:
    """What one segment did.

    Profit in bp a session, ``active`` the share of rows still thinking, ``change`` ‖Δz‖/‖z‖ of z_H in its last cycle,
    averaged over rows.
    """

    loss: float
    pnl_bp: float
    q_loss: float
    gradient_norm: float
    active: float
    change: float


@dataclass(frozen=True)
class StepSettings:
    """What `train_step` needs to know."""

    supervision: DeepSupervisionSettings
    rows_at_once: int
    precision: Precision
    scale_bp: float


class ExplodedError(Exception):
    """A loss or gradient norm that no step may be taken on; the weights are as they were."""


@dataclass(frozen=True)
class _Outputs:
    """Head outputs of all rows that thought, and the state they left: leaves for the objective's gradient.

    ``tokens`` (m, P, 3): answers of the tokens of bars; (m, 0) where they are not asked.
    """

    policy: Tensor
    quantity: Tensor
    value: Tensor
    tokens: Tensor
    z: Latent
    change: float


def train_step(
    model: HRM,
    features: Features,
    objective: Objective,
    settings: StepSettings,
    update: Callable[[], float],
    minimum: np.ndarray | None,
    anyone: Callable[[bool], bool] = bool,
    asked: TokenTargets | None = None,
) -> list[SegmentReport]:
    """Run the supervised segments of one batch of n decisions.

    ``objective`` makes a segment's loss of the head outputs of all n. ``update`` clips the gradients, moves the
    weights, clears the gradients and returns the norm before clipping; it raises `ExplodedError` instead where that
    norm is out of bounds. ``minimum`` (n,) segments before which a row may not halt; None keeps every row thinking to
    the end. ``anyone`` tells whether a flag is set in any process that trains along: all take the same number of
    updates. ``asked`` adds its term to every segment's loss. Raises `ExplodedError` where a loss is not finite.
    """
    total = len(features)
    device = next(model.parameters()).device
    z = model.core.initial(total, model.config.features.tokens)
    z = Latent(z.z_H.clone(), z.z_L.clone())  # rows are written below
    policy = torch.zeros(total, 3, 5, device=device)
    quantity, value = torch.zeros(total, device=device), torch.zeros(total, 3, device=device)
    active = np.arange(total)
    before: SegmentLoss | None = None
    reports: list[SegmentReport] = []
    for depth in range(1, settings.supervision.segments + 1):
        if len(active) == 0:  # done here, but others still think: vote and update along
            if anyone(False):
                raise ExplodedError("the loss of another process is not finite")
            update()
            if not anyone(False):
                break
            continue
        rows = torch.as_tensor(active, device=device)
        inputs = features if len(active) == total else features.take(active)
        z_before = Latent(z.z_H[rows], z.z_L[rows])
        whole = len(active) <= settings.rows_at_once
        outputs = _forward(model, inputs, z_before, settings, asked, grad=whole)
        leaves = [outputs.policy, outputs.quantity, outputs.value, outputs.tokens]
        if not whole:
            leaves = [leaf.requires_grad_() for leaf in leaves]
        policy, quantity, value = (
            full.detach().index_copy(0, rows, leaf)
            for full, leaf in zip((policy, quantity, value), leaves[:3], strict=True)
        )
        loss = objective(policy, quantity, value)
        learned = torch.zeros((), device=device)
        if before is not None:
            last = depth == settings.supervision.segments
            learned = q_loss(model, z_before, outputs.z, improvement_bp(before, loss).flatten()[rows], settings, last)
        combined = loss.total + settings.supervision.q_weight * learned
        if asked is not None:
            combined = combined + asked.weight * asked.loss(leaves[3], rows)
        if anyone(not bool(combined.isfinite())):
            raise ExplodedError(f"loss is {combined.item()}")
        combined.backward()  # type: ignore[no-untyped-call]
        if not whole:
            _backward_pieces(model, inputs, z_before, settings, asked, [leaf.grad for leaf in leaves])
        norm = update()
        reports.append(
            SegmentReport(combined.item(), loss.pnl_bp, learned.item(), norm, len(active) / total, outputs.change)
        )
        z.z_H[rows], z.z_L[rows] = outputs.z.z_H.detach(), outputs.z.z_L.detach()
        before = loss
        if minimum is not None:
            q = model.heads.q(outputs.z.z_H[:, 0].detach()).detach().cpu().numpy()
            active = active[~((minimum[active] <= depth) & (q[:, 0] > q[:, 1]))]
            if not anyone(len(active) > 0):
                break
    return reports


def _autocast(settings: StepSettings, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision is Precision.BF16)


def _segment(model: HRM, features: Features, z: Latent, settings: StepSettings, asked: TokenTargets | None) -> _Outputs:
    with _autocast(settings, z.z_H.device):
        inputs = model.embed(features)
        new, change, _ = model.core(inputs.x, z, inputs.valid)
        heads = model.heads(new.z_H[:, 0], change)
    tokens = heads.value[:, :0] if asked is None else asked.answers(new.z_H.to(z.z_H.dtype))
    new = Latent(new.z_H.to(z.z_H.dtype), new.z_L.to(z.z_L.dtype))
    settled = float(heads.change.z_H[:, -1].mean())
    policy = heads.policy.masked_fill(heads.policy.isinf(), 0.0)
    return _Outputs(policy, heads.quantity, heads.value, tokens, new, settled)


def _forward(
    model: HRM, features: Features, z: Latent, settings: StepSettings, asked: TokenTargets | None, *, grad: bool
) -> _Outputs:
    """All rows: in one piece with a graph, or in pieces without one."""
    if grad:
        return _segment(model, features, z, settings, asked)
    with torch.no_grad():
        parts = [
            _segment(model, features.take(piece), _at(z, piece), settings, asked)
            for piece in _pieces(features, settings)
        ]
    return _Outputs(
        torch.cat([p.policy for p in parts]),
        torch.cat([p.quantity for p in parts]),
        torch.cat([p.value for p in parts]),
        torch.cat([p.tokens for p in parts]),
        Latent(torch.cat([p.z.z_H for p in parts]), torch.cat([p.z.z_L for p in parts])),
        float(np.mean([p.change for p in parts])),
    )


def _backward_pieces(
    model: HRM,
    features: Features,
    z: Latent,
    settings: StepSettings,
    asked: TokenTargets | None,
    gradients: list[Tensor | None],
) -> None:
    """Send gradients of the head outputs through the network, one piece at a time."""
    for piece in _pieces(features, settings):
        part = _segment(model, features.take(piece), _at(z, piece), settings, asked)
        pairs = [
            (out, grad[torch.as_tensor(piece, device=grad.device)])
            for out, grad in zip((part.policy, part.quantity, part.value, part.tokens), gradients, strict=True)
            if grad is not None
        ]
        torch.autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs])


def _pieces(features: Features, settings: StepSettings) -> list[np.ndarray]:
    rows = np.arange(len(features))
    return [rows[i : i + settings.rows_at_once] for i in range(0, len(rows), settings.rows_at_once)]


def _at(z: Latent, rows: np.ndarray) -> Latent:
    index = torch.as_tensor(rows, device=z.z_H.device)
    return Latent(z.z_H[index], z.z_L[index])


def q_loss(model: HRM, before: Latent, after: Latent, gain_bp: Tensor, settings: StepSettings, last: bool) -> Tensor:
    """Fit the Q head of the state before this segment to what this segment turned out to be worth.

    Only the head is trained: the states are detached. Q_continue − Q_halt learns what going on is worth on average, in
    units of ``scale_bp``: what this segment adds less its cost, and what the ones after it are worth where they pay
    (Q-learning; its mean, so that a rare large gain counts). As published, the two are logits instead: of the segment
    not having paid, and of the better of the next state's two Q values.
    """
    q = model.heads.q(before.z_H[:, 0].detach()).float()
    with torch.no_grad():
        following = model.heads.q(after.z_H[:, 0]).float()
    net_bp = gain_bp - settings.supervision.segment_cost_bp
    if settings.supervision.halt_target is HaltTarget.IMPROVEMENT:
        beyond = torch.zeros_like(net_bp) if last else (following[:, 1] - following[:, 0]).clamp_min(0.0)
        miss: Tensor = q[:, 1] - q[:, 0] - net_bp / settings.scale_bp - beyond
        return miss.square().mean()
    go = torch.sigmoid(following[:, 0] if last else following.amax(dim=-1))
    loss: Tensor = functional.binary_cross_entropy_with_logits(q, torch.stack([(net_bp <= 0).float(), go], dim=-1))
    return loss


def zero_gradients(model: nn.Module) -> None:
    """Forget all gradients, so that the next backward pass starts from nothing."""
    for parameter in model.parameters():
        parameter.grad = None
