"""The numbers of a network by their names, as arrays in fp32: what is decided with where no torch is needed.

Invariant: names and shapes are those of `HRM.state_dict`, which `tests/unit/models/test_weights.py` holds them to. The
module in torch is made of them when it is first asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.actions import ACTIONS, POSITIONS
from models.config import ArchitectureSettings, HRMConfig, LReset
from models.features import BAR_FEATURES, POSITION_FEATURES, calendar_names
from models.vocabulary import Vocabularies

if TYPE_CHECKING:
    from models.hrm import HRM

Floats = NDArray[np.float32]

ROPE_THETA: Final = 10_000.0
HEADS: Final = {"policy": POSITIONS * ACTIONS, "quantity": 1, "value": POSITIONS, "q": 2}
"""The readings of z_H, and how many numbers each is."""


@dataclass(frozen=True, eq=False)
class Weights:
    """``arrays`` by the names of `weight_shapes`, and what they are the weights of."""

    config: HRMConfig
    vocabularies: Vocabularies
    arrays: Mapping[str, Floats]


class Network:
    """One network, as numbers and as a module; either is made of the other when it is first asked for."""

    def __init__(self, source: Weights | HRM) -> None:
        self.config, self.vocabularies = source.config, source.vocabularies
        self._weights: Weights | None = source if isinstance(source, Weights) else None
        self._model: HRM | None = None if isinstance(source, Weights) else source.eval()

    @property
    def weights(self) -> Weights:
        """Its numbers as they were when they were first asked for: who changes the module makes another `Network`."""
        if self._weights is None:
            assert self._model is not None
            self._weights = self._model.weights()
        return self._weights

    @property
    def model(self) -> HRM:
        """The module in torch, in eval mode."""
        if self._model is None:
            from models.hrm import HRM

            self._model = HRM.of(self.weights)
        return self._model


def weight_shapes(config: HRMConfig, vocabularies: Vocabularies) -> dict[str, tuple[int, ...]]:
    """What the numbers of a network are called, and the shape of each."""
    shape, features = config.architecture, config.features
    dim = shape.l_dim
    shapes: dict[str, tuple[int, ...]] = {
        **_linear("input.patch", features.patch * len(BAR_FEATURES), dim, bias=True),
        **_linear("input.coarse", features.coarse_window * len(BAR_FEATURES), dim, bias=True),
        **_linear("input.calendar", len(calendar_names(features)), dim, bias=True),
        "input.decision": (dim,),
        "input.memory": (dim,),
        **_linear("input.position", len(POSITION_FEATURES), dim),
        "input.instrument.weight": (len(vocabularies.instruments), config.instrument_dim),
        "input.timeframe.weight": (len(vocabularies.timeframes), config.timeframe_dim),
        **_linear("input.instrument_proj", config.instrument_dim, dim),
        **_linear("input.timeframe_proj", config.timeframe_dim, dim),
        **_stack("input.encoder", shape, dim, shape.input_layers),
        **_stack("core.L_level", shape, dim, shape.l_layers),
        **_stack("core.H_level", shape, shape.h_dim, shape.h_layers),
        "core.H_init": (shape.h_dim,),
        "core.L_init": (dim,),
    }
    if shape.h_dim != dim:
        shapes |= _linear("core.h_to_l", shape.h_dim, dim) | _linear("core.l_to_h", dim, shape.h_dim)
    if shape.l_reset is LReset.LEARNED:
        shapes |= _linear("core.reset_gate", shape.h_dim, dim, bias=True)
    for head, numbers in HEADS.items():
        shapes |= _linear(f"heads.{head}", shape.h_dim, numbers, bias=True)
    return shapes


def rotary(tokens: int, head_dim: int) -> tuple[Floats, Floats]:
    """Cosines and sines that queries and keys are turned by, (tokens, head_dim / 2) each, rounded from fp64."""
    frequency = 1.0 / np.float32(ROPE_THETA) ** (np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))
    angles = np.outer(np.arange(tokens, dtype=np.float32), frequency).astype(np.float64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = False) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def _stack(name: str, shape: ArchitectureSettings, dim: int, layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in (f"{name}.layers.{number}" for number in range(layers)):
        shapes |= _linear(f"{layer}.self_attn.qkv_proj", dim, 3 * dim) | _linear(f"{layer}.self_attn.o_proj", dim, dim)
        inner = shape.inner(dim)
        shapes |= _linear(f"{layer}.mlp.gate_up_proj", dim, 2 * inner) | _linear(f"{layer}.mlp.down_proj", inner, dim)
    return shapes
