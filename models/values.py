"""What a value head says → what came of it in training, by a straight line a position.

Invariant: without a line a value is what the head says, to the last bit.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Three = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
"""Of flat, long and short, in the order of the policy head's rows."""


class ValueCalibration(BaseModel):
    """`factor` · value + `offset`, in the units of the head; fitted on so many sessions of the training market."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: Three
    offset: Three
    sessions: Annotated[int, Field(ge=1)]

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (…, 3) of the three positions, calibrated."""
        return np.asarray(values * np.array(self.factor) + np.array(self.offset))

    def of_one(self, value: float, position: int) -> float:
        """A value of one position, the row of the policy head."""
        return self.factor[position] * value + self.offset[position]
