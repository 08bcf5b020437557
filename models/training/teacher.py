"""A trained network and a batch of sessions → lessons: what it does at some of the decisions, for another to learn.

A large network needs far more arithmetic a decision than whole sessions leave time for. It learns here from single
decisions, drawn from many sessions, without the noise of returns: the teacher's action probabilities (Hinton et al.,
arXiv 1503.02531), its quantity, and what its policy goes on to earn. Invariant: a lesson holds live decisions only, and
every position is weighted by how likely the teacher is to be in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.features import Features
from models.hrm import HRM
from models.training import objective as ob
from models.training.loss import Objective, SegmentLoss, Targets
from models.training.sessions import Ints
from models.training.settings import ObjectiveSettings


IDLE_SHARE = 0.05
"""Weight of a decision at which the teacher surely holds, beside 1 for one at which it surely acts."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher does at n decisions.

    ``rows`` (n,) of the batch; ``probs`` (n, 3, 5), ``quantity`` (n,), ``occupancy`` (n, 3): P(position); in bp
    ``values`` (n, 3) and ``actions`` (n, 3, 5): what it goes on to earn from each position, and after each action.
    """

    rows: Ints
    probs: Tensor
    quantity: Tensor
    occupancy: Tensor
    values: Tensor
    actions: Tensor


@torch.no_grad()
def lesson(teacher: HRM, features: Features, targets: Targets, count: int, rng: np.random.Generator) -> Lesson:
    """Let the teacher, at one segment, go through the sessions and keep ``count`` of their live decisions.

    Those at which it is likely to act come more often: who matches it everywhere matches it under any such weights.
    """
    shape = targets.returns_bp.shape
    _, outputs = teacher.segment(features, teacher.initial_state(features))
    policy = outputs.policy.masked_fill(outputs.policy.isinf(), 0.0)
    probs = ob.action_probabilities(policy.view(*shape, 3, 5), targets.live)
    outcome = ob.expected_outcome(probs, targets.returns_bp, targets.cost_bp)
    remaining = ob.remaining_pnl(probs, targets.returns_bp, targets.cost_bp)
    live = np.flatnonzero(targets.live.cpu().numpy())
    acting = (outcome.occupancy * (1 - probs[..., ob.HOLD])).sum(-1).flatten().cpu().numpy()[live]
    chance = (acting + IDLE_SHARE) / (acting + IDLE_SHARE).sum()
    rows = np.sort(rng.choice(live, min(count, len(live)), replace=False, p=chance))
    picked = torch.as_tensor(rows, device=targets.live.device)
    return Lesson(
        rows=rows,
        probs=probs.flatten(0, 1)[picked],
        quantity=outputs.quantity[picked],
        occupancy=outcome.occupancy.flatten(0, 1)[picked],
        values=remaining.values[:, :-1].flatten(0, 1)[picked],
        actions=remaining.actions.flatten(0, 1)[picked],
    )


def imitation(taught: Lesson, settings: ObjectiveSettings) -> Objective:
    """Return the objective of a lesson: Kullback–Leibler divergence from the teacher, its quantity, its values.

    ``SegmentLoss.pnl_bp`` is what one action of the pupil followed by the teacher earns from a decision on, in bp.
    """

    def objective(policy: Tensor, quantity: Tensor, value: Tensor) -> SegmentLoss:
        probs = ob.action_probabilities(policy)
        ratio = taught.probs.clamp_min(1e-8).log() - probs.clamp_min(1e-8).log()
        divergence = (taught.occupancy * (taught.probs * ratio).sum(-1)).sum(-1).mean()
        amount = (quantity - taught.quantity).square().mean()
        wanted = taught.values / settings.scale_bp
        miss = functional.smooth_l1_loss(value, wanted)
        total = divergence + settings.quantity_weight * amount + settings.value_weight * miss
        frozen = probs.detach()
        earned = (taught.occupancy * (frozen * taught.actions).sum(-1)).sum(-1).mean()
        return SegmentLoss(total, float(earned), frozen, taught.occupancy, taught.actions)

    return objective
