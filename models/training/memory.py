"""How much memory training may take, and what fits into it.

What a step keeps for its gradients grows with the rows that go through the network together, by about

    bytes a row = 40 · 4 · tokens · (h_dim · h_layers + l_dim · l_layers + l_dim · input_layers) · steps with gradients

(measured on `base`: 31 floats a token, channel and layer; 40 leaves room), beside weights, gradients, two moments and
the moving average. Invariant: which rows go together changes results by rounding only, and equal settings give equal
rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from models.config import ArchitectureSettings, Gradient
from models.training.errors import TrainingError

GB: Final = 1e9
_FLOATS: Final = 40
_COPIES: Final = 6
"""Weights, gradients, two moments, the moving average, and one for a checkpoint."""
_BASE_GB: Final = 0.8
"""Interpreter, torch and the sessions of a batch."""
_SHARE: Final = 0.9
_FEWEST: Final = 16
_STATM: Final = Path("/proc/self/statm")


def rows_within(limit_gb: float, wanted: int, shape: ArchitectureSettings, tokens: int, parameters: int) -> int:
    """At most `wanted` rows, as many as fit into `limit_gb`, and never fewer than 16."""
    layers = shape.h_dim * shape.h_layers + shape.l_dim * (shape.l_layers + shape.input_layers)
    steps = {
        Gradient.ONE_STEP: 1,
        Gradient.LAST_CYCLE: shape.l_steps,
        Gradient.FULL_BPTT: shape.h_cycles * shape.l_steps,
    }[shape.gradient]
    a_row = 4 * _FLOATS * tokens * layers * steps
    left = (limit_gb * _SHARE - _BASE_GB) * GB - 4 * _COPIES * parameters
    return max(_FEWEST, min(wanted, int(left / a_row)))


def resident_gb() -> float | None:
    """What this process holds now; None where the system doesn't say."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / GB


def check_memory(limit_gb: float, rows: int) -> None:
    """Raises TrainingError beyond `limit_gb`; `rows` go through the network together."""
    held = resident_gb()
    if held is not None and held > limit_gb:
        raise TrainingError(
            f"training holds {held:.1f} GB, performance.memory_limit_gb is {limit_gb:g}: raise it, or lower "
            f"training_params.rows_at_once (at most {rows} now); the last checkpoint is kept, --resume goes on"
        )
