"""Turns a written graph into a `Runner` on ONNX Runtime: one cycle a call, on the calling thread alone.

The input network runs in torch, once a decision. Invariant: a graph runs only for the weights that it was made from, by
their sha256.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.act import HeadValues
from models.actions import ACTIONS, POSITIONS
from models.errors import NotInstalled, RuntimeUnavailable
from models.features import Features
from models.hrm import HRM
from models.runtimes.arrays import ALLOWED, ArrayState, ArrayTokens, Floats, start
from models.runtimes.graph import FORMAT, INPUTS

CAPPED: Final = POSITIONS * ACTIONS
REFUSALS: Final = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
"""What the library raises for a file that it can't run."""
HIDDEN: Final = np.float32(-3e38)
"""Added to the score of a token that isn't there."""


class OnnxRunner:
    """Runs segments of the graph at `path`. One call at a time.

    Raises RuntimeUnavailable where the library is missing, the graph is not of this model, or int8 would be wrong here.
    """

    def __init__(self, model: HRM, *, path: Path, sha256: str, precision: str, settled_below: float = 0.0) -> None:
        self.model = model
        self.settled_below = settled_below
        self._session = open_session(path, sha256, precision)
        if precision == "int8" and not adds_int8_exactly():
            raise RuntimeUnavailable(
                "onnxruntime int8 needs VNNI: without it sums of products overflow, and answers are wrong"
            )
        tokens = model.config.features.tokens
        self._cycles, self._cap = model.config.architecture.h_cycles, np.float32(model.config.logit_cap)
        self._h_init, self._l_init = (
            np.repeat(init.detach().float().numpy()[None], tokens, 0) for init in (model.core.H_init, model.core.L_init)
        )

    @torch.inference_mode()
    def embed(self, features: Features) -> ArrayTokens:
        """Run the input network once a decision."""
        tokens = self.model.embed(features)
        return ArrayTokens(tokens.x.float().numpy(), None if tokens.valid is None else features.valid)

    def start(self, features: Features, budget: int, carried: ArrayState | None) -> ArrayState:
        """Return a fresh state, or fresh counts around the carried z_H and z_L."""
        return start(features, budget, carried, self._h_init, self._l_init)

    def segment(self, x: ArrayTokens, state: ArrayState) -> tuple[HeadValues, ArrayState]:
        """Run one segment: up to N cycles on the rows that have not settled."""
        rows, tokens = x.x.shape[:2]
        valid = np.ones((rows, tokens), np.bool_) if x.valid is None else x.valid
        bias = np.where(valid, np.float32(0), HIDDEN)[:, None, None, :]
        weight = valid.astype(np.float32)[:, :, None]
        z_h, z_l = state.z_h.copy(), state.z_l.copy()
        change = np.empty((2, rows, self._cycles), np.float32)
        readings: Floats = np.empty((rows, CAPPED + 1 + POSITIONS + 2), np.float32)
        ran = np.zeros(rows, np.int64)
        active = np.arange(rows)
        for cycle in range(self._cycles):
            inputs = (x.x[active], z_h[active], z_l[active], bias[active], weight[active])
            answers = self._session.run(None, dict(zip(INPUTS, inputs, strict=True)))
            z_h[active], z_l[active], readings[active] = answers[0], answers[1], answers[4]
            change[:, active, cycle:] = np.stack(answers[2:4])[:, :, None]
            ran[active] += 1
            active = active[~(change[:, active, cycle] < self.settled_below).all(0)]
            if not len(active):
                break
        return self._values(readings, change), state.after(z_h, z_l, ran)

    def freeze(self, active: NDArray[np.bool_], new: ArrayState, old: ArrayState) -> ArrayState:
        """Take `new` in the active rows and `old` in those that have halted."""
        return new.where(active, old)

    def _values(self, readings: Floats, change: Floats) -> HeadValues:
        policy = self._cap * np.tanh(readings[:, :CAPPED] / self._cap).reshape(-1, POSITIONS, ACTIONS)
        return HeadValues(
            policy=np.where(ALLOWED, policy, np.float32(-np.inf)),
            quantity=np.reciprocal(1 + np.exp(-readings[:, CAPPED])),
            value=readings[:, CAPPED + 1 : CAPPED + 1 + POSITIONS],
            q_halt=readings[:, -2],
            q_continue=readings[:, -1],
            change_h=change[0],
            change_l=change[1],
        )


def open_session(path: Path, sha256: str, precision: str) -> Any:
    """Load the graph at `path` for one thread, and check that it was made from the weights of that hash.

    Raises RuntimeUnavailable where the library is missing or the graph is another.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        refusals = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ImportError as error:
        raise NotInstalled(f"onnxruntime: the package {error.name} is not installed (extra `onnx`)") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except tuple(getattr(refusals, name) for name in REFUSALS) as error:
        raise RuntimeUnavailable(f"onnxruntime: {path} can't be run: {str(error).splitlines()[0]}") from None
    said = session.get_modelmeta().custom_metadata_map
    for key, wanted in (("format", FORMAT), ("sha256", sha256), ("precision", precision)):
        if said.get(key) != wanted:
            raise RuntimeUnavailable(
                f"onnxruntime: {path} does not match its model: {key} is {said.get(key)}, expected {wanted}; "
                "write it anew with hrmd model export"
            )
    return session


def adds_int8_exactly(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor's int8 products are added up in 32 bits.

    x86 without VNNI adds pairs in 16 bits, which full-range weights overflow (see "reduce_range" in ONNX Runtime's
    page on quantisation): measured on a Zen 3, the mean error of a small network's head was 0.39; tests ask for
    0.25, which VNNI meets.
    """
    try:
        flags = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    except OSError:
        return True
    return not flags or "vnni" in flags[0]
