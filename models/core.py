"""Turns (x, z_L, z_H) into the next (z_L, z_H): the two-timescale recurrence and nothing else.

A *step* runs the L-module once, a *cycle* is T steps and one step of the H-module, a *segment* is N cycles.
One L step: `z_L = L(z_L + z_H + x)`; one H step: `z_H = H(z_H + z_L)`; x never enters H (arXiv 2506.21734, section 2).
Where the modules differ in width a projection stands at each crossing; with equal widths there is none, and with reset
`none` and gradient `one_step` this is the published recurrence exactly. Invariant: in training only the steps that
`Gradient` names keep a graph, so that memory does not grow with cycles, steps or segments.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.config import ArchitectureSettings, Gradient, LReset
from models.layers import Stack, linear, trunc_normal


class Latent(NamedTuple):
    """The two latent states: z_H (B, S, h_dim) and z_L (B, S, l_dim)."""

    z_H: Tensor  # noqa: N815 - the paper's name
    z_L: Tensor  # noqa: N815 - the paper's name

    def detach(self) -> Latent:
        """Cut the graph: what lets deep supervision run in constant memory."""
        return Latent(self.z_H.detach(), self.z_L.detach())

    def where(self, rows: Tensor, other: Latent) -> Latent:
        """Take `self` in the rows (B,) that are True and `other` in the rest."""
        pick = rows.view(-1, 1, 1)
        return Latent(torch.where(pick, self.z_H, other.z_H), torch.where(pick, self.z_L, other.z_L))


class Change(NamedTuple):
    """Relative change of each state, `‖Δz‖ / ‖z‖` over valid tokens, per row and cycle: 2 × (B, N), fp32."""

    z_H: Tensor  # noqa: N815 - the paper's name
    z_L: Tensor  # noqa: N815 - the paper's name


def relative_change(new: Tensor, old: Tensor, valid: Tensor | None) -> Tensor:
    """Return `‖new − old‖ / ‖new‖` of each row over its valid tokens. (B, S, d) twice, (B, S) -> (B,)."""
    difference, size = (new - old).float().square().sum(-1), new.float().square().sum(-1)  # (B, S)
    if valid is not None:
        difference, size = difference * valid, size * valid
    return (difference.sum(-1) / size.sum(-1)).sqrt()


class ReasoningCore(nn.Module):
    """The H-module, the L-module, what joins them, and the state they start from."""

    H_init: Tensor
    L_init: Tensor

    def __init__(self, shape: ArchitectureSettings, tokens: int) -> None:
        super().__init__()
        self.shape = shape
        self.gradient = shape.gradient
        self.H_level = Stack(
            dim=shape.h_dim, layers=shape.h_layers, heads=shape.h_heads, inner=shape.inner(shape.h_dim), tokens=tokens
        )
        self.L_level = Stack(
            dim=shape.l_dim, layers=shape.l_layers, heads=shape.l_heads, inner=shape.inner(shape.l_dim), tokens=tokens
        )
        same = shape.h_dim == shape.l_dim
        self.h_to_l = nn.Identity() if same else linear(shape.h_dim, shape.l_dim)
        self.l_to_h = nn.Identity() if same else linear(shape.l_dim, shape.h_dim)
        if shape.l_reset is LReset.LEARNED:
            self.reset_gate = linear(shape.h_dim, shape.l_dim, bias=True)
        self.register_buffer("H_init", trunc_normal((shape.h_dim,), 1.0))
        self.register_buffer("L_init", trunc_normal((shape.l_dim,), 1.0))

    def initial(self, batch: int, tokens: int) -> Latent:
        """Return the state before the first cycle: the fixed vectors H_init and L_init at every token."""
        return Latent(self.H_init.expand(batch, tokens, -1), self.L_init.expand(batch, tokens, -1))

    def reset(self, z: Latent) -> Tensor:
        """z_L as the next cycle finds it. (B, S, l_dim).

        The reset stands at the start of every cycle, the first included: on the initial state it changes nothing, and
        so a boundary between two segments is treated as any other boundary between two cycles.
        """
        match self.shape.l_reset:
            case LReset.NONE:
                return z.z_L
            case LReset.HARD:
                return self.L_init.expand_as(z.z_L)
            case LReset.SOFT:
                return torch.lerp(self.L_init.expand_as(z.z_L), z.z_L, self.shape.soft_reset_keep)
            case LReset.LEARNED:
                keep = torch.sigmoid(self.reset_gate(z.z_H))  # (B, S, l_dim)
                return torch.lerp(self.L_init.expand_as(z.z_L), z.z_L, keep)

    def cycle(self, x: Tensor, z: Latent, mask: Tensor | None) -> Latent:
        """Reset, T steps of L, one step of H. x: (B, S, l_dim). `mask`: (B, 1, 1, S) or None.

        With `one_step` all but the last L step and the H step run without a graph.
        """
        blind = self.shape.l_steps - 1 if self.gradient is Gradient.ONE_STEP else 0
        grad = torch.is_grad_enabled()
        with torch.set_grad_enabled(grad and not blind):
            z_L = self.reset(z)
        drive = self.h_to_l(z.z_H) + x
        for step in range(self.shape.l_steps):
            with torch.set_grad_enabled(grad and step >= blind):
                z_L = self.L_level(z_L + drive, mask)
        z_H = self.H_level(z.z_H + self.l_to_h(z_L), mask)
        return Latent(z_H, z_L)

    def forward(
        self, x: Tensor, z: Latent, valid: Tensor | None = None, *, settled_below: float = 0.0
    ) -> tuple[Latent, Change, Tensor]:
        """Run one segment.

        x: (B, S, l_dim); valid: (B, S) bool, None where every token is. A row whose two changes are both under
        `settled_below` keeps its state for the rest of the segment, whatever the other rows of the batch do; its last
        change is repeated in `Change`. Returns the state, the changes, and the cycles that each row ran (B,).
        """
        mask = None if valid is None else valid[:, None, None, :]
        cycles = self.shape.h_cycles
        active = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        ran = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        changes: list[tuple[Tensor, Tensor]] = []
        grad = torch.is_grad_enabled()
        for index in range(cycles):
            keep_graph = grad and (self.gradient is Gradient.FULL_BPTT or index == cycles - 1)
            with torch.set_grad_enabled(keep_graph):
                new = self.cycle(x, z, mask)
            with torch.no_grad():
                delta_H = relative_change(new.z_H, z.z_H, valid)
                delta_L = relative_change(new.z_L, z.z_L, valid)
            if settled_below > 0.0:
                if changes:
                    new = new.where(active, z)
                    delta_H = torch.where(active, delta_H, changes[-1][0])
                    delta_L = torch.where(active, delta_L, changes[-1][1])
                ran = ran + active
                active = active & ~((delta_H < settled_below) & (delta_L < settled_below))
            changes.append((delta_H, delta_L))
            z = new
            if settled_below > 0.0 and not bool(active.any()):
                break
        if settled_below == 0.0:
            ran = ran + cycles
        changes += [changes[-1]] * (cycles - len(changes))
        per_cycle = Change(torch.stack([c[0] for c in changes], 1), torch.stack([c[1] for c in changes], 1))
        return z, per_cycle, ran
