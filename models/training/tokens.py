"""Expected returns of a batch → what every token of bars should know: what was to be expected after its last bar.

A policy is asked at one token only. Where an answer is the end of a long chain, that says too little about the links: a
network learns chains of three or four by heart, and longer ones never. Asking every token of bars for its link, with a
linear reading that is thrown away after training, makes the chain learnable. The window holds what happened after all
but the last of these tokens, so realised returns would only teach to look there: the returns must be expectations
(`Target.ESTIMATED` or `Target.CONDITIONAL_MEAN`), which no bar shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.features import Features
from models.training.sessions import Ints

FIRST = 1
"""Tokens of bars begin behind the decision token."""


@dataclass(frozen=True)
class TokenTargets:
    """What P tokens of bars are asked in n decisions: ``read`` maps their z_H (…, h_dim) to (…, 1).

    ``expected`` (n, P) in any unit, ``known`` (n, P): false for tokens without bars.
    """

    read: nn.Module
    expected: Tensor
    known: Tensor
    weight: float

    @classmethod
    def of(cls, read: nn.Module, features: Features, returns_bp: Tensor, patch: int, weight: float) -> TokenTargets:
        """Targets of B sessions of D decisions from their expected returns (B, D); n is B·D, sessions first."""
        sessions, decisions = returns_bp.shape
        tokens = features.patches.shape[1]
        behind = patch * torch.arange(tokens - 1, -1, -1)  # bars from a token's end to the decision's
        bar = torch.arange(decisions)[:, None] - behind  # (D, P)
        expected = returns_bp[:, bar.clamp_min(0)].reshape(-1, tokens)
        known = (bar >= 0).expand(sessions, -1, -1).reshape(-1, tokens)
        return cls(read, expected, known.to(expected.device), weight)

    def take(self, rows: Ints) -> TokenTargets:
        """Return the targets of some decisions."""
        index = torch.as_tensor(rows, device=self.expected.device)
        return TokenTargets(self.read, self.expected[index], self.known[index], self.weight)

    def answers(self, z_H: Tensor) -> Tensor:
        """Read z_H (n, S, h_dim) at the tokens of bars. (n, P)."""
        read: Tensor = self.read(z_H[:, FIRST : FIRST + self.expected.shape[1]]).squeeze(-1)
        return read

    def loss(self, answers: Tensor, rows: Tensor) -> Tensor:
        """Share of the targets' mean square that the answers (m, P) of ``rows`` (m,) leave unexplained."""
        expected, known = self.expected[rows], self.known[rows]
        scale = (expected.square() * known).sum() / known.sum().clamp_min(1)
        miss = (answers - expected * scale.clamp_min(1e-12).rsqrt()).square() * known
        return miss.sum() / known.sum().clamp_min(1)
