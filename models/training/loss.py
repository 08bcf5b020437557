"""Head outputs of a batch of sessions → the loss of one segment and what it says about stopping.

Invariant: the policy is trained by expected profit, value and quantity heads by terms that leave the policy's
probabilities alone, and everything is in basis points until it is divided by ``scale_bp``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.features import VOLATILITY_UNIT_BP
from models.training import objective as ob
from models.training.batches import Batch
from models.training.sessions import Ints, Sessions
from models.training.settings import CostStep, ObjectiveSettings, ProfitUnit

Objective = Callable[[Tensor, Tensor, Tensor], "SegmentLoss"]
"""Policy (n, 3, 5), quantity (n,) and value (n, 3) of all decisions of a batch → what the segment came to."""


@dataclass(frozen=True)
class Targets:
    """What B sessions of D decisions can earn, as tensors; names as in `Batch`, ``cost_bp`` (B,)."""

    returns_bp: Tensor
    variance_bp2: Tensor
    live: Tensor
    cost_bp: Tensor

    @classmethod
    def of(cls, batch: Batch, cost_bp: np.ndarray, device: torch.device, unit: ProfitUnit = ProfitUnit.BP) -> Targets:
        """Tensors of a batch on ``device``; by volatility each session counts as if it moved `VOLATILITY_UNIT_BP`."""

        def real(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32).to(device)

        live = torch.as_tensor(batch.live).to(device)
        share = np.ones(len(cost_bp)) if unit is ProfitUnit.BP else usual_volatility_share(batch)
        return cls(
            real(batch.returns_bp * share[:, None]), real(batch.variance_bp2 * np.square(share)[:, None]), live,
            real(cost_bp * share),
        )  # fmt: skip


def usual_volatility_share(batch: Batch) -> np.ndarray:
    """`VOLATILITY_UNIT_BP` over the standard deviation of a bar of each session, (B,)."""
    variance = (batch.variance_bp2 * batch.live).sum(axis=1) / np.maximum(batch.live.sum(axis=1), 1)
    return np.asarray(VOLATILITY_UNIT_BP / np.sqrt(np.maximum(variance, 1e-4)))


@dataclass(frozen=True)
class Weights:
    """The parts of the objective that change over training."""

    cost_scale: float
    entropy_bp: float
    labels: bool

    @classmethod
    def at(cls, step: int, steps: int, settings: ObjectiveSettings) -> Weights:
        """Return what holds at a step.

        Costs ramp up from zero: with full costs from the start, random trading loses so much that a network learns
        never to trade, and stays there. The entropy term fades out linearly.
        """
        share = step / steps
        ramp = 1.0 if settings.cost_ramp == 0 else min(1.0, share / settings.cost_ramp)
        return cls(ramp, settings.entropy_bp * (1 - share), step < settings.warm_start_steps)


@dataclass(frozen=True)
class SegmentLoss:
    """What one segment came to.

    ``total`` is the scalar to minimise. The rest has no graph: expected profit (bp a session), probabilities
    (B, D, 3, 5), P(position) (B, D, 3) and the worth of every action in bp (B, D, 3, 5).
    """

    total: Tensor
    pnl_bp: float
    probs: Tensor
    occupancy: Tensor
    actions: Tensor


def expected_profit(targets: Targets, settings: ObjectiveSettings, weights: Weights) -> Objective:
    """Return the objective of whole sessions: rows run over sessions, then decisions."""
    shape = targets.returns_bp.shape

    def objective(policy: Tensor, quantity: Tensor, value: Tensor) -> SegmentLoss:
        heads = policy.view(*shape, 3, 5), quantity.view(shape), value.view(*shape, 3)
        return segment_loss(*heads, targets, settings, weights)

    return objective


def segment_loss(
    policy: Tensor, quantity: Tensor, value: Tensor, targets: Targets, settings: ObjectiveSettings, weights: Weights
) -> SegmentLoss:
    """Return the loss of one segment.

    ``policy`` (B, D, 3, 5), ``quantity`` (B, D), ``value`` (B, D, 3) in units of ``scale_bp``.
    """
    cost = targets.cost_bp * weights.cost_scale
    probs = ob.action_probabilities(policy, targets.live)
    outcome = ob.expected_outcome(probs, targets.returns_bp, cost)
    frozen = probs.detach()
    with torch.no_grad():
        remaining = ob.remaining_pnl(frozen, targets.returns_bp, cost)
    gain = -_label_loss(probs, targets, cost) * settings.scale_bp if weights.labels else outcome.pnl_bp.mean()
    entropy = -(probs * probs.clamp_min(1e-8).log()).sum(-1)  # (B, D, 3)
    entropy = (outcome.occupancy.detach() * entropy).sum(dim=(1, 2)).mean()
    sized = ob.expected_outcome(frozen, targets.returns_bp, cost, quantity, targets.variance_bp2)
    utility = (sized.pnl_bp - 0.5 * settings.risk_aversion * sized.risk_bp2).mean()
    wanted = remaining.values[:, :-1] / settings.scale_bp
    miss = functional.smooth_l1_loss(value, wanted, reduction="none").mean(dim=-1)
    miss = (miss * targets.live).sum() / targets.live.sum().clamp_min(1)
    total = (
        -(gain + weights.entropy_bp * entropy + settings.quantity_weight * utility) / settings.scale_bp
        + settings.value_weight * miss
    )
    return SegmentLoss(
        total, float(outcome.pnl_bp.detach().mean()), frozen, outcome.occupancy.detach(), remaining.actions
    )


def _label_loss(probs: Tensor, targets: Targets, cost: Tensor) -> Tensor:
    """Cross entropy against hindsight-optimal actions: a short warm start, never more (they under-trade)."""
    labels = ob.hindsight_actions(targets.returns_bp, cost)
    chosen = probs.gather(-1, labels[..., None]).squeeze(-1).clamp_min(1e-8).log()
    live = targets.live[..., None].expand_as(chosen)
    return -(chosen * live).sum() / live.sum().clamp_min(1)


def improvement_bp(before: SegmentLoss, after: SegmentLoss) -> Tensor:
    """Return what the later segment's policy adds to expected profit at each decision, in bp, (B, D).

    Σ over positions q·(π_after − π_before)·Q: the exact effect of changing one decision and leaving the rest.
    """
    return (before.occupancy[..., None] * (after.probs - before.probs) * before.actions).sum(dim=(-1, -2))


def costs_of(sessions: Sessions, costs: tuple[CostStep, ...]) -> np.ndarray:
    """Cost a side in bp of each session, (N,): its own where it says so, otherwise that of its day."""
    return session_costs(sessions.start_ns(), costs) if sessions.cost_bp is None else sessions.cost_bp


def session_costs(start_ns: Ints, costs: tuple[CostStep, ...]) -> np.ndarray:
    """Cost a side in bp on each session's day, (B,); before the first entry the first one holds."""
    since = np.array([step.since_ns for step in costs])
    row = np.maximum(np.searchsorted(since, start_ns, side="right") - 1, 0)
    return np.array([step.cost_bp for step in costs])[row]
