"""Turns weights into a `Runner` whose segments are one call into the native kernel.

Weights are packed once, at their precision; a segment is one C call that holds no Python lock and takes no memory but
its answers. Invariant: a row's answer depends on that row alone, whatever else is in the batch, bit for bit.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.act import HeadValues
from models.actions import ACTIONS, POSITIONS
from models.config import LReset
from models.errors import RuntimeUnavailable
from models.features import BAR_FEATURES, Features, calendar_names
from models.native.build import INSTRUCTIONS, VARIANTS, load_kernel
from models.runtimes.arrays import ALLOWED, ArrayState, ArrayTokens, Floats, start
from models.weights import HEADS, Weights, rotary

NativePrecision = Literal["int8", "bf16", "int16", "fp32"]
RESETS: Final = {LReset.NONE: 0, LReset.SOFT: 1, LReset.HARD: 2, LReset.LEARNED: 3}
CAPPED: Final = POSITIONS * ACTIONS
READINGS: Final = CAPPED + 1 + POSITIONS + 2
"""Numbers that the kernel answers a row: policy, quantity, value, q_halt, q_continue."""
ANSWERS: Final = {1: "is already running on another thread", 2: "ran out of memory"}


class _Shape(ctypes.Structure):
    """`hrm::Shape` of models/native/model.hpp."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in (
            "precision", "tokens", "input_layers", "h_dim", "h_layers", "h_heads", "h_inner", "l_dim", "l_layers",
            "l_heads", "l_inner", "h_cycles", "l_steps", "l_reset", "patch_inputs", "coarse_inputs", "calendar_inputs",
        )),
        ("soft_keep", ctypes.c_float),
        ("logit_cap", ctypes.c_float),
    ]  # fmt: skip


class NativeRunner:
    """Runs segments of a network. One call at a time.

    `variants`: kernels that may be used, the first that the processor runs. Raises RuntimeUnavailable where none can be
    built or the processor lacks what `precision` needs.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        precision: NativePrecision,
        cache: Path,
        settled_below: float = 0.0,
        variants: Sequence[str] = tuple(VARIANTS),
    ) -> None:
        self.settled_below = settled_below
        self.whole = True
        """Whether masked tokens think along, as they must where a state is carried to a bar that unmasks them."""
        self._network = _Network(weights, precision, load_kernel(precision, cache, variants=variants))
        shape = weights.config.architecture
        self._cycles, self._l_dim = shape.h_cycles, shape.l_dim
        self._tokens = weights.config.features.tokens
        self._embeddings = _Embeddings(weights)
        self._h_init, self._l_init = (
            np.ascontiguousarray(np.broadcast_to(init, (self._tokens, len(init))))
            for init in (weights.arrays["core.H_init"], weights.arrays["core.L_init"])
        )

    def embed(self, features: Features) -> ArrayTokens:
        """Run the input network once a decision."""
        rows = len(features)
        x = np.empty((rows, self._tokens, self._l_dim), np.float32)
        valid = None if features.valid.all() else np.ascontiguousarray(features.valid)
        decision, coarse_timeframe = self._embeddings.look_up(features)
        inputs = [np.ascontiguousarray(array, np.float32) for array in (
            features.patches, features.coarse, features.calendar, decision, coarse_timeframe,
        )]  # fmt: skip
        self._network.embed(rows, *(array.ctypes.data for array in inputs), _pointer(valid), self.whole, x.ctypes.data)
        return ArrayTokens(x, valid)

    def start(self, features: Features, budget: int, carried: ArrayState | None) -> ArrayState:
        """Return a fresh state, or fresh counts around the carried z_H and z_L."""
        return start(features, budget, carried, self._h_init, self._l_init)

    def segment(self, x: ArrayTokens, state: ArrayState) -> tuple[HeadValues, ArrayState]:
        """Run one segment on every row."""
        rows, cycles = len(x.x), self._cycles
        z_h, z_l = (np.array(z, np.float32, order="C") for z in (state.z_h, state.z_l))
        change_h, change_l = np.empty((rows, cycles), np.float32), np.empty((rows, cycles), np.float32)
        ran, readings = np.empty(rows, np.int64), np.empty((rows, READINGS), np.float32)
        outputs = (z_h, z_l, change_h, change_l, ran, readings)
        pointers = (array.ctypes.data for array in outputs)
        self._network.segment(rows, x.x.ctypes.data, _pointer(x.valid), self.whole, self.settled_below, *pointers)
        return _values(readings, change_h, change_l), state.after(z_h, z_l, ran)

    def freeze(self, active: NDArray[np.bool_], new: ArrayState, old: ArrayState) -> ArrayState:
        """Take `new` in the active rows and `old` in those that have halted."""
        return new.where(active, old)

    def briefly(self) -> NativeRunner:
        """On the same weights, a runner that leaves masked tokens out: the same answers, sooner."""
        brief = copy.copy(self)
        brief.whole = False
        return brief

    def keep(self, rows: NDArray[np.int64], x: ArrayTokens, state: ArrayState) -> tuple[ArrayTokens, ArrayState]:
        """Tokens and state of `rows` alone."""
        return x.take(rows), state.take(rows)


class _Network:
    """The packed weights inside the kernel; freed with this object."""

    def __init__(self, weights: Weights, precision: NativePrecision, kernel: ctypes.CDLL) -> None:
        self._kernel, self._precision = kernel, precision
        pointer, number = ctypes.c_void_p, ctypes.c_int
        kernel.hrm_new.restype = pointer
        kernel.hrm_new.argtypes = [ctypes.POINTER(_Shape), pointer, ctypes.c_uint64]
        kernel.hrm_free.argtypes = [pointer]
        kernel.hrm_embed.argtypes = [pointer, number, *[pointer] * 6, number, pointer]
        kernel.hrm_segment.argtypes = [pointer, number, *[pointer] * 2, number, ctypes.c_float, *[pointer] * 6]
        flat = flat_weights(weights)
        self._handle = kernel.hrm_new(_shape(weights, precision), flat.ctypes.data, flat.size)
        if not self._handle:
            raise RuntimeUnavailable(f"native {precision}: the kernel refused {flat.size} weights of this shape")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._kernel.hrm_free(self._handle)

    def embed(self, rows: int, *arguments: int | None) -> None:
        """Call `hrm_embed`. Raises RuntimeError where the kernel refuses."""
        self._check(self._kernel.hrm_embed(self._handle, rows, *arguments))

    def segment(self, rows: int, *arguments: float | None) -> None:
        """Call `hrm_segment`. Raises RuntimeError where the kernel refuses."""
        self._check(self._kernel.hrm_segment(self._handle, rows, *arguments))

    def _check(self, answer: int) -> None:
        if answer:
            raise RuntimeError(f"native {self._precision} {ANSWERS.get(answer, f'answered {answer}')}")


class _Embeddings:
    """What the decision token and the coarse token are made of: tables (names, l_dim), projected once."""

    def __init__(self, weights: Weights) -> None:
        arrays = weights.arrays
        with np.errstate(over="ignore", invalid="ignore"):  # what isn't finite is refused where it comes out
            self._instrument = arrays["input.instrument.weight"] @ arrays["input.instrument_proj.weight"].T
            self._timeframe = arrays["input.timeframe.weight"] @ arrays["input.timeframe_proj.weight"].T
        self._decision, self._position = arrays["input.decision"], arrays["input.position.weight"].T  # (3, l_dim)

    def look_up(self, features: Features) -> tuple[Floats, Floats]:
        """Return the decision token's content and what is added to the coarse token, (B, l_dim) each."""
        position = (features.position[:, :, None] * self._position).sum(1)
        decision = self._decision + self._instrument[features.instrument] + self._timeframe[features.timeframe]
        return decision + position, self._timeframe[features.coarse_timeframe]


def flat_weights(weights: Weights) -> Floats:
    """Every weight in the order in which `Model::make` of models/native/packing.cpp reads them, fp32."""
    arrays, shape, tokens = weights.arrays, weights.config.architecture, weights.config.features.tokens
    names: list[str] = []
    for layer in ("patch", "coarse", "calendar"):
        names += [f"input.{layer}.weight", f"input.{layer}.bias"]
    names.append("input.memory")
    crossing = shape.h_dim != shape.l_dim
    after = _blocks("input.encoder", shape.input_layers)
    after += ["core.h_to_l.weight"] * crossing
    after += ["core.reset_gate.weight", "core.reset_gate.bias"] * (shape.l_reset is LReset.LEARNED)
    after += [*_blocks("core.L_level", shape.l_layers), *["core.l_to_h.weight"] * crossing]
    after += [*_blocks("core.H_level", shape.h_layers), "core.H_init", "core.L_init"]
    after += [f"heads.{head}.{part}" for part in ("weight", "bias") for head in HEADS]
    tables = [*rotary(tokens, shape.l_dim // shape.l_heads), *rotary(tokens, shape.h_dim // shape.h_heads)]
    parts = [*(arrays[name] for name in names), *tables, *(arrays[name] for name in after)]
    return np.concatenate([part.ravel() for part in parts])


def _blocks(stack: str, layers: int) -> list[str]:
    matrices = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    return [f"{stack}.layers.{layer}.{matrix}.weight" for layer in range(layers) for matrix in matrices]


def _shape(weights: Weights, precision: NativePrecision) -> _Shape:
    config, shape = weights.config, weights.config.architecture
    return _Shape(
        precision=list(INSTRUCTIONS).index(precision),
        tokens=config.features.tokens,
        input_layers=shape.input_layers,
        h_dim=shape.h_dim,
        h_layers=shape.h_layers,
        h_heads=shape.h_heads,
        h_inner=shape.inner(shape.h_dim),
        l_dim=shape.l_dim,
        l_layers=shape.l_layers,
        l_heads=shape.l_heads,
        l_inner=shape.inner(shape.l_dim),
        h_cycles=shape.h_cycles,
        l_steps=shape.l_steps,
        l_reset=RESETS[shape.l_reset],
        patch_inputs=config.features.patch * len(BAR_FEATURES),
        coarse_inputs=config.features.coarse_window * len(BAR_FEATURES),
        calendar_inputs=len(calendar_names(config.features)),
        soft_keep=shape.soft_reset_keep,
        logit_cap=config.logit_cap,
    )


def _values(readings: Floats, change_h: Floats, change_l: Floats) -> HeadValues:
    policy = readings[:, :CAPPED].reshape(-1, POSITIONS, ACTIONS)
    return HeadValues(
        policy=np.where(ALLOWED, policy, np.float32(-np.inf)),
        quantity=readings[:, CAPPED],
        value=readings[:, CAPPED + 1 : CAPPED + 1 + POSITIONS],
        q_halt=readings[:, -2],
        q_continue=readings[:, -1],
        change_h=change_h,
        change_l=change_l,
    )


def _pointer(array: NDArray[np.bool_] | None) -> int | None:
    return None if array is None else array.ctypes.data
