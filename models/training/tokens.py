"""Expected returns of a batch → what every token of bars should know: whether a rise or a fall was to come after it.

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
from torch.nn import functional

from models.features import Features
from models.training.sessions import Ints

FIRST = 1
"""Tokens of bars begin behind the decision token."""
KINDS = 3
"""Fall, neither, rise."""
CLEAR = 0.5
"""From this share of the root mean square on an expectation is one of a rise or a fall."""


@dataclass(frozen=True)
class TokenTargets:
    """What P tokens of bars are asked in n decisions: ``read`` maps their z_H (…, h_dim) to (…, KINDS) logits.

    ``kind`` (n, P) int64: 0, 1, 2 for an expected fall, neither, rise; ``known`` (n, P): false for tokens without bars.
    """

    read: nn.Module
    kind: Tensor
    known: Tensor
    weight: float

    @classmethod
    def of(cls, read: nn.Module, features: Features, returns_bp: Tensor, patch: int, weight: float) -> TokenTargets:
        """Targets of B sessions of D decisions from their expected returns (B, D); n is B·D, sessions first."""
        sessions, decisions = returns_bp.shape
        tokens = features.patches.shape[1]
        behind = patch * torch.arange(tokens - 1, -1, -1)  # bars from a token's end to the decision's
        bar = torch.arange(decisions)[:, None] - behind  # (D, P)
        clear = CLEAR * returns_bp.square().mean().sqrt()
        kinds = 1 + (returns_bp > clear).long() - (returns_bp < -clear).long()
        known = (bar >= 0).expand(sessions, -1, -1).reshape(-1, tokens)
        return cls(read, kinds[:, bar.clamp_min(0)].reshape(-1, tokens), known.to(kinds.device), weight)

    def take(self, rows: Ints) -> TokenTargets:
        """Return the targets of some decisions."""
        index = torch.as_tensor(rows, device=self.kind.device)
        return TokenTargets(self.read, self.kind[index], self.known[index], self.weight)

    def answers(self, z_H: Tensor) -> Tensor:
        """Read z_H (n, S, h_dim) at the tokens of bars. (n, P, KINDS)."""
        logits: Tensor = self.read(z_H[:, FIRST : FIRST + self.kind.shape[1]])
        return logits

    def loss(self, answers: Tensor, rows: Tensor) -> Tensor:
        """Cross entropy of the answers (m, P, KINDS) of ``rows`` (m,), averaged over known tokens."""
        kind, known = self.kind[rows], self.known[rows]
        missed = functional.cross_entropy(answers.flatten(0, 1), kind.flatten(), reduction="none")
        return (missed * known.flatten()).sum() / known.sum().clamp_min(1)
