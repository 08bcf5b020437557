"""One process or many → the same training code; torchrun starts many.

Invariant: with one process nothing is communicated, and with many every rank applies the same gradient.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Group:
    """The place of a process among those that train together."""

    rank: int = 0
    world: int = 1

    def average_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its mean over all ranks; a parameter without one counts as zero there."""
        if self.world == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        dist.all_reduce(flat)
        flat /= self.world
        for parameter, mean in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = mean.view_as(parameter).clone()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.world == 1:
            return flag
        votes = torch.tensor(int(flag))
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())


def join_group() -> Group:
    """Join the group that torchrun's environment describes; a group of one without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Group()
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return Group(dist.get_rank(), world)
