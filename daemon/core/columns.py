"""Integer columns → their running maximum, and the rows of each symbol.

The maximum is there at once where they rise already, as almost every column of times does.
"""

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


def newest_rows(code: NDArray[np.int32], symbols: int) -> NDArray[np.intp]:
    """(symbols,): the last row of each code, −1 where it has none."""
    rows = np.full(symbols, -1)
    rows[code] = np.arange(len(code))  # of several values for one place the last stays
    return rows


def rows_by_code(code: NDArray[np.int32]) -> list[tuple[int, NDArray[np.intp]]]:
    """(code, its rows in their order) of each code that there is, smallest first; codes are not negative."""
    # numpy sorts 16-bit integers by radix, wider ones by comparison
    order = np.argsort(code.astype(np.uint16) if len(code) and code.max() < 65_536 else code, kind="stable")
    ordered = code[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return list(zip(ordered[starts].tolist(), np.split(order, starts[1:]), strict=True))
