"""One process or many → the same training code; torchrun starts many.

Invariant: with one process nothing is communicated, and with many every rank applies the same gradient.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from models.training.errors import TrainingError


@dataclass(frozen=True)
class Group:
    """The place of a process among those that train together."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    """Where flags are put to be talked about: nccl knows no other memory than a GPU's."""

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
        votes = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())


def join_group(device: str = "cpu") -> tuple[Group, str]:
    """Join the group that torchrun's environment describes, and the device of this process; alone without it.

    Each process has a GPU of its own where GPUs are asked for. Raises TrainingError for a device that isn't there.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if world == 1:
        return Group(), usable_device(device)
    own = usable_device(device_of_rank(device, local))
    gpu = torch.device(own).type == "cuda"
    if gpu:
        torch.cuda.set_device(torch.device(own))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    return Group(dist.get_rank(), world, own), own


def device_of_rank(device: str, local_rank: int) -> str:
    """``cuda`` is a process's own GPU; a device with a number is taken at its word only where one process asks."""
    if device == "cuda":
        return f"cuda:{local_rank}"
    if device.startswith("cuda:"):
        raise TrainingError(f"--device {device}: many processes can't share it; give cuda, and each has its own")
    return device


def usable_device(device: str) -> str:
    """The device where tensors can be made on it. Raises TrainingError in one line where they can't."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise TrainingError(f"--device {device}: no such device; expected cpu, cuda or cuda:N") from None
    if kind not in ("cpu", "cuda"):
        raise TrainingError(f"--device {device}: can't train there; expected cpu, cuda or cuda:N")
    if kind == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        wanted = torch.device(device).index or 0
        if wanted >= found:
            there = f"there are {found}" if found else "there is none that torch can use"
            raise TrainingError(f"--device {device}: no such GPU, {there}")
    return device
