"""The state of a batch of reasoning as plain arrays: what the runtimes without torch carry from segment to segment.

Invariant: an array of a state is never written to again, so that a halted row can be taken from an older state.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.actions import VALID_ACTIONS
from models.features import Features

Floats = NDArray[np.float32]

ALLOWED = np.array(VALID_ACTIONS)


class ArrayTokens(NamedTuple):
    """x (B, S, l_dim) and valid (B, S), None where every token is valid."""

    x: Floats
    valid: NDArray[np.bool_] | None

    def take(self, rows: NDArray[np.int64]) -> ArrayTokens:
        """Those of `rows` alone."""
        return ArrayTokens(self.x[rows], None if self.valid is None else self.valid[rows])


@dataclass(frozen=True, slots=True, eq=False)
class ArrayState:
    """Where a batch stands: z_H (B, S, h_dim), z_L (B, S, l_dim) and the counts of `HRMState`, (B,) each."""

    z_h: Floats
    z_l: Floats
    cycles: NDArray[np.int64]
    segments: NDArray[np.int64]
    budget: NDArray[np.int64]
    complexity: NDArray[np.float64]

    def after(self, z_h: Floats, z_l: Floats, ran: NDArray[np.int64]) -> ArrayState:
        """Return the state one segment later."""
        return ArrayState(z_h, z_l, self.cycles + ran, self.segments + 1, self.budget - 1, self.complexity)

    def take(self, rows: NDArray[np.int64]) -> ArrayState:
        """That of `rows` alone."""
        return ArrayState(*(getattr(self, column.name)[rows] for column in fields(self)))

    def where(self, rows: NDArray[np.bool_], other: ArrayState) -> ArrayState:
        """Take `self` in the rows (B,) that are True and `other` in the rest."""
        pick = rows[:, None, None]
        return ArrayState(
            np.where(pick, self.z_h, other.z_h),
            np.where(pick, self.z_l, other.z_l),
            np.where(rows, self.cycles, other.cycles),
            np.where(rows, self.segments, other.segments),
            np.where(rows, self.budget, other.budget),
            np.where(rows, self.complexity, other.complexity),
        )


def start(features: Features, budget: int, carried: ArrayState | None, h_init: Floats, l_init: Floats) -> ArrayState:
    """Return a fresh state, (S, h_dim) and (S, l_dim) in every row, or fresh counts around the carried z_H and z_L."""
    rows = len(features)
    zero = np.zeros(rows, np.int64)
    z_h, z_l = (np.broadcast_to(init, (rows, *init.shape)) for init in (h_init, l_init))
    return ArrayState(
        z_h=z_h if carried is None else carried.z_h,
        z_l=z_l if carried is None else carried.z_l,
        cycles=zero,
        segments=zero,
        budget=np.full(rows, budget, np.int64),
        complexity=features.complexity,
    )
