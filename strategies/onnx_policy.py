"""`strategy.name: onnx`: any policy as an ONNX graph decides, where it takes and gives what is written here.

    bars    (1, window, 5) float32   open, high, low, close: price / newest close − 1; volume: / its mean − 1, 0 without
    state   (1, 8) float32           side held (−1, 0, 1), open profit in average bar ranges, bars held, minutes since
                                     the open, minutes to the close, complexity, basis points a side, may enter (0, 1)
    scores  (1, 3) float32           short, flat, long: the highest is what the policy wants to be

Invariant: the file's content is part of the strategy's hash, and one observation has one answer: one thread, no state.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from strategies.own import Answer, Observation, buy, close, hold, sell
from strategies.own import Parameters as _Parameters

INPUTS: Final = ("bars", "state")
OUTPUT: Final = "scores"
STATE: Final = 8
REFUSALS: Final = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
"""What the library raises for a file that it can't run."""
WANTS: Final = ("short", "flat", "long")


class OnnxPolicy:
    """See the module."""

    class Parameters(_Parameters):
        """What may be set under `strategy.parameters`."""

        path: Annotated[Path, AfterValidator(Path.absolute)]
        window: Annotated[int, Field(ge=1, le=10_000)] = 60
        quantity: Annotated[int, Field(ge=1)] = 10
        margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
        """How far the best score must lie above that of staying as it is."""

    parameters: Parameters

    def __init__(self) -> None:
        """Raises `ValueError` for a file that is no such policy, `ModuleNotFoundError` without the extra hrmd[onnx]."""
        path = self.parameters.path
        self.files = (path,)
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        refusals: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        try:
            self._session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except tuple(getattr(refusals, name) for name in REFUSALS) as error:
            raise ValueError(f"{path}: is no ONNX graph that can be run ({error})") from None
        takes, gives = (self._names(part) for part in (self._session.get_inputs(), self._session.get_outputs()))
        if sorted(takes) != sorted(INPUTS) or OUTPUT not in gives:
            raise ValueError(
                f"{path}: expected a graph of {' and '.join(INPUTS)} that gives {OUTPUT}, it has "
                f"{', '.join(takes) or 'no inputs'} and gives {', '.join(gives) or 'nothing'}"
            )

    def decide(self, seen: Observation) -> Answer:
        """What the scores want to be, from what is held."""
        parameters = self.parameters
        if len(seen.bars) < parameters.window:
            return hold(f"not enough bars: {len(seen.bars)} of {parameters.window}")
        (scores,) = self._session.run([OUTPUT], inputs(seen, parameters.window))
        scores = np.asarray(scores, np.float64)
        if scores.shape != (1, len(WANTS)) or not np.isfinite(scores).all():
            raise ValueError(f"expected three finite scores, got {scores.ravel().tolist()}")
        held = int(np.sign(seen.position)) + 1
        best = int(scores[0].argmax())
        if best == held or scores[0, best] - scores[0, held] <= parameters.margin:
            return hold(f"stays {WANTS[held]}")
        if seen.position:
            return close(f"wants to be {WANTS[best]}")
        if not seen.may_enter:
            return hold("no entries this late")
        return (buy if WANTS[best] == "long" else sell)(parameters.quantity, f"wants to be {WANTS[best]}")

    @staticmethod
    def _names(parts: Any) -> list[str]:
        return [str(part.name) for part in parts]


def inputs(seen: Observation, window: int) -> dict[str, NDArray[np.float32]]:
    """What the graph is given; training on recorded bars calls it as well, so that both see the same."""
    bars = seen.bars.last(window)
    prices = np.column_stack((bars.opens, bars.highs, bars.lows, bars.closes)) / seen.price - 1
    known = np.nan_to_num(bars.volumes)
    usual = known.mean()
    volumes = known / usual - 1 if usual > 0 else np.zeros(len(known))
    state = (
        np.sign(seen.position), seen.unrealised_atr, seen.bars_held, seen.minute_of_session, seen.minutes_to_close,
        seen.complexity, seen.cost_bp, float(seen.may_enter),
    )  # fmt: skip
    rows = np.column_stack((prices, volumes))
    return {"bars": rows[None].astype(np.float32), "state": np.array([state], np.float32)}
