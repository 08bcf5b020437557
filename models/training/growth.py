"""A trained network → the first weights of a deeper one that computes the same.

A block is `x = rms(x + f(x))`. With output projections of zero it hands on what a block before it has normalised, so
layers added behind trained ones change nothing until training moves them (Net2Net, Chen et al., arXiv 1511.05641; zero
branches, Zhang et al., arXiv 1901.09321). A large network so costs its full arithmetic only at the end of its training.
Invariant: every tensor of the small network is found, unchanged, in the large one.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from models.hrm import HRM
from models.training.errors import TrainingError

_LAYER = re.compile(r"^(?P<stack>.+)\.layers\.(?P<index>\d+)\.")
_OUTPUTS = ("o_proj.weight", "down_proj.weight")


@torch.no_grad()
def start_from(model: HRM, small: HRM) -> None:
    """Give `model` the weights of `small`, and zero outputs to the layers that only `model` has.

    Both share widths, features and vocabularies; cycles and steps may differ, and then the sameness holds as far as the
    small network's states have settled. Raises TrainingError naming the first weight that does not fit.
    """
    mine, theirs = model.state_dict(), small.state_dict()
    stacks = {match["stack"] for name in theirs if (match := _LAYER.match(name))}
    for name, tensor in theirs.items():
        if name not in mine:
            raise _unfit(name, f"{tuple(tensor.shape)}, which the model to be trained does not have")
        if mine[name].shape != tensor.shape:
            raise _unfit(name, f"{tuple(tensor.shape)}, the model to be trained needs {tuple(mine[name].shape)}")
    for name, tensor in mine.items():
        _fill(name, tensor, theirs, stacks)


def _fill(name: str, tensor: Tensor, theirs: dict[str, Tensor], stacks: set[str]) -> None:
    """Copy one weight, or make it that of a layer which hands on what it gets."""
    if name in theirs:
        tensor.copy_(theirs[name])
        return
    layer = _LAYER.match(name)
    if layer is None or layer["stack"] not in stacks:
        raise _unfit(name, "missing, and only stacks of one layer or more can grow")
    if name.endswith(_OUTPUTS):
        tensor.zero_()


def _unfit(name: str, what: str) -> TrainingError:
    return TrainingError(f"training_params.start_from: weight {name} is {what}")
