"""Integer columns → their running maximum, at once where they rise already, as almost every column of times does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def running_max(values: Ints, before: int) -> Ints:
    """(n,): the largest of `before` and `values` up to each row; `values` itself where they never fall below it.

    A comparison with the row before is several times quicker than numpy's `accumulate`, which goes row by row.
    """
    if len(values) and values[0] >= before and bool((values[1:] >= values[:-1]).all()):
        return values
    running: Ints = np.maximum(np.maximum.accumulate(values), before)
    return running
