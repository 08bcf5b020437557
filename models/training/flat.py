"""An HRM's settings → a flat recurrent network of equal weights and compute: the baseline without a hierarchy.

One stack holds the layers of both modules and runs over the tokens again and again, as many times as gives the layer
passes of a segment. Input network, heads, features, objective and trainer are those of the HRM. Invariant: weights and
layer passes equal those of the HRM, the passes up to rounding to whole rounds.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.config import ArchitectureSettings, Gradient, HRMConfig
from models.core import Change, Latent, ReasoningCore, relative_change
from models.hrm import HRM
from models.layers import Stack, trunc_normal
from models.training.errors import TrainingError
from models.vocabulary import Vocabularies


class FlatCore(nn.Module):
    """One weight-tied stack: `z = stack(z + x)`, `rounds` times a segment. It has the interface of `ReasoningCore`."""

    H_init: Tensor

    def __init__(self, shape: ArchitectureSettings, tokens: int) -> None:
        super().__init__()
        if (shape.h_dim, shape.h_heads) != (shape.l_dim, shape.l_heads):
            raise TrainingError("a flat network of equal weights needs h_dim = l_dim and h_heads = l_heads")
        layers = shape.h_layers + shape.l_layers
        passes = shape.h_cycles * (shape.l_steps * shape.l_layers + shape.h_layers)
        self.shape = shape
        self.gradient = shape.gradient
        self.rounds = max(1, round(passes / layers))
        self.stack = Stack(
            dim=shape.h_dim, layers=layers, heads=shape.h_heads, inner=shape.inner(shape.h_dim), tokens=tokens
        )
        self.register_buffer("H_init", trunc_normal((shape.h_dim,), 1.0))

    def initial(self, batch: int, tokens: int) -> Latent:
        """Return the state before the first round; the second half of the pair is the same state."""
        z = self.H_init.expand(batch, tokens, -1)
        return Latent(z, z)

    def forward(
        self, x: Tensor, z: Latent, valid: Tensor | None = None, *, settled_below: float = 0.0
    ) -> tuple[Latent, Change, Tensor]:
        """Run one segment; without `full_bptt` only the last round keeps a graph. Rounds are never left out."""
        mask = None if valid is None else valid[:, None, None, :]
        state, before, grad = z.z_H, z.z_H, torch.is_grad_enabled()
        for index in range(self.rounds):
            before = state
            with torch.set_grad_enabled(grad and (self.gradient is Gradient.FULL_BPTT or index == self.rounds - 1)):
                state = self.stack(state + x, mask)
        with torch.no_grad():
            change = relative_change(state, before, valid)[:, None].expand(-1, self.shape.h_cycles)
        ran = torch.full((x.shape[0],), self.shape.h_cycles, dtype=torch.int64, device=x.device)
        return Latent(state, state), Change(change, change), ran


class FlatNetwork(HRM):
    """An `HRM` whose reasoning core is a `FlatCore`."""

    def __init__(self, config: HRMConfig, vocabularies: Vocabularies) -> None:
        super().__init__(config, vocabularies)
        self.core = cast("ReasoningCore", FlatCore(config.architecture, config.features.tokens))
