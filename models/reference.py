"""Turns puzzles into puzzles: the published model, put together from the same core as the trading model.

A token embedding with a puzzle prefix in front and a token head behind replace the input network and the trading heads.
It exists to prove the core against the published numbers (`tests/unit/models/test_golden.py`) and to reason about
puzzles (`benchmarks/reasoning.py`). Source: arXiv 2506.21734 and sapientinc/HRM (Apache-2.0). Invariant: what is shared
with the trading model is shared by import and never copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ArchitectureSettings
from models.core import Change, ReasoningCore
from models.hrm import HRMState, q_head
from models.layers import linear, trunc_normal

IGNORED: Final = -100
"""Label of a token that no loss looks at."""


@dataclass(frozen=True, slots=True, eq=False)
class Puzzles:
    """Token ids (B, S) int64 and the puzzle each row belongs to (B,) int64."""

    inputs: Tensor
    identifiers: Tensor


class TokenOutputs(NamedTuple):
    """Logits (B, S, vocabulary) of the token head, the two Q logits (B,), and the change in each cycle."""

    logits: Tensor
    q_halt: Tensor
    q_continue: Tensor
    change: Change


class ReferenceHRM(nn.Module):
    """The published model; position 0 holds the puzzle's prefix embedding and feeds the Q head."""

    prefix: Tensor

    def __init__(self, shape: ArchitectureSettings, *, vocabulary: int, tokens: int, identifiers: int) -> None:
        super().__init__()
        if shape.h_dim != shape.l_dim or shape.input_layers:
            raise ValueError("the published model has modules of equal width and no input layers")
        dim = shape.h_dim
        self.dim, self.tokens = dim, tokens
        self.embed_tokens = nn.Embedding(vocabulary, dim, _weight=trunc_normal((vocabulary, dim), dim**-0.5))
        self.register_buffer("prefix", torch.zeros(identifiers, dim))
        self.core = ReasoningCore(shape, tokens + 1)
        self.lm_head = linear(dim, vocabulary)
        self.q_head = q_head(dim)

    def embed(self, puzzles: Puzzles) -> Tensor:
        """`sqrt(d) · cat(prefix, tokens)`. (B, 1 + S, d)."""
        prefix = self.prefix[puzzles.identifiers][:, None]
        return math.sqrt(self.dim) * torch.cat([prefix, self.embed_tokens(puzzles.inputs)], dim=1)

    def initial_state(self, features: Puzzles, *, budget: int = 1) -> HRMState:
        """Return the state before the first segment."""
        batch = len(features.inputs)
        zero = np.zeros(batch, np.int64)
        z = self.core.initial(batch, self.tokens + 1)
        return HRMState(
            z=z, cycles=zero, segments=zero, budget=np.full(batch, budget, np.int64), complexity=np.zeros(batch)
        )

    def segment(self, features: Puzzles, state: HRMState) -> tuple[HRMState, TokenOutputs]:
        """Embed and run one segment."""
        z, change, ran = self.core(self.embed(features), state.z)
        after = replace(
            state, z=z, cycles=state.cycles + ran.numpy(), segments=state.segments + 1, budget=state.budget - 1
        )
        q_halt, q_continue = self.q_values(after)
        return after, TokenOutputs(self.lm_head(z.z_H)[:, 1:], q_halt, q_continue, change)

    def q_values(self, state: HRMState) -> tuple[Tensor, Tensor]:
        """(q_halt, q_continue), each (B,)."""
        q = self.q_head(state.z.z_H[:, 0]).float()
        return q[:, 0], q[:, 1]


def stablemax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each token under stablemax, in fp64; 0 where ignored. (B, S, V), (B, S) -> (B, S).

    stablemax replaces exp(x) by x + 1 for x ≥ 0 and 1/(1 − x) below (arXiv 2501.04697).
    """
    wide = logits.double()
    powers = torch.where(wide < 0, 1 / (1 - wide + 1e-30), wide + 1)
    logs = torch.log(powers / powers.sum(-1, keepdim=True))
    counted = labels != IGNORED
    picked = logs.gather(-1, torch.where(counted, labels, 0)[..., None]).squeeze(-1)
    return torch.where(counted, -picked, 0.0)


def solved(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which rows have every counted token right. (B,) bool."""
    return ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(-1)


class ReferenceLoss(NamedTuple):
    """The published loss and its parts, summed over the batch."""

    loss: Tensor
    lm_loss: Tensor
    q_halt_loss: Tensor
    q_continue_loss: Tensor


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Stablemax cross entropy, mean over the counted tokens of each row. (B,), fp64."""
    counted = (labels != IGNORED).sum(-1).clamp_min(1)
    return stablemax_cross_entropy(logits, labels).sum(-1) / counted


def reference_loss(outputs: TokenOutputs, labels: Tensor, target_q_continue: Tensor) -> ReferenceLoss:
    """`lm + 0.5 · (BCE(q_halt, solved) + BCE(q_continue, target))`; target (B,) from `continue_target`."""
    lm_loss = token_loss(outputs.logits, labels).sum()
    right = solved(outputs.logits, labels).float()
    q_halt_loss = F.binary_cross_entropy_with_logits(outputs.q_halt, right, reduction="sum")
    q_continue_loss = F.binary_cross_entropy_with_logits(outputs.q_continue, target_q_continue, reduction="sum")
    return ReferenceLoss(lm_loss + 0.5 * (q_halt_loss + q_continue_loss), lm_loss, q_halt_loss, q_continue_loss)


@torch.no_grad()
def continue_target(model: ReferenceHRM, puzzles: Puzzles, state: HRMState) -> Tensor:
    """Return what going on from `state` is worth, by the published second forward pass. (B,), 0..1."""
    _, following = model.segment(puzzles, state.detach())
    last = torch.as_tensor(state.budget <= 1)
    best = torch.where(last, following.q_halt, torch.maximum(following.q_halt, following.q_continue))
    return torch.sigmoid(best)


@dataclass(frozen=True, slots=True, eq=False)
class SolvePuzzles:
    """The puzzle objective for `models.supervision.supervise`: labels (B, S), IGNORED where nothing is asked."""

    labels: Tensor

    def __call__(self, outputs: TokenOutputs, active: Tensor) -> tuple[Tensor, Tensor]:
        """Mean token loss of the active rows, and which rows are solved."""
        return token_loss(outputs.logits, self.labels)[active].mean(), solved(outputs.logits, self.labels)
