"""Turns a model into a `Runner`: segments run eagerly by torch, answers as plain arrays.

Another runtime (a graph engine, a hand-written kernel) replaces this class and nothing else. How many threads torch
uses and on which thread this is called is the caller's affair. Invariant: nothing here keeps a graph or changes the
model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.act import HeadValues
from models.features import Features
from models.hrm import HRM, HeadOutputs, HRMState, Tokens


class TorchRunner:
    """Runs segments of an `HRM`. `settled_below` stops the cycles of a settled row inside a segment; 0 never does."""

    def __init__(self, model: HRM, *, settled_below: float = 0.0) -> None:
        self.model = model
        self.settled_below = settled_below

    @torch.inference_mode()
    def embed(self, features: Features) -> Tokens:
        """Run the input network once a decision."""
        return self.model.embed(features)

    @torch.inference_mode()
    def start(self, features: Features, budget: int, carried: HRMState | None) -> HRMState:
        """Return a fresh state, or a fresh count around the carried z_H and z_L."""
        state = self.model.initial_state(features, budget=budget)
        return state if carried is None else replace(state, z=carried.z)

    @torch.inference_mode()
    def segment(self, x: Tokens, state: HRMState) -> tuple[HeadValues, HRMState]:
        """Run one segment on every row."""
        after, outputs = self.model.reason(x, state, settled_below=self.settled_below)
        return head_values(outputs), after

    @torch.inference_mode()
    def freeze(self, active: NDArray[np.bool_], new: HRMState, old: HRMState) -> HRMState:
        """Take `new` in the active rows and `old` in those that have halted."""
        return new.where(active, old)


def head_values(outputs: HeadOutputs) -> HeadValues:
    """Tensors to arrays, fp32."""

    def array(tensor: Tensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
        return values

    return HeadValues(
        policy=array(outputs.policy),
        quantity=array(outputs.quantity),
        value=array(outputs.value),
        q_halt=array(outputs.q_halt),
        q_continue=array(outputs.q_continue),
        change_h=array(outputs.change.z_H),
        change_l=array(outputs.change.z_L),
    )
