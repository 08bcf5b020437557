"""Bars of one symbol in order of time → those with a price that the bars around them contradict.

A bar says no more than four prices, so one false print (paise for rupees, a digit lost) is a whole bar. A level is
believed where `BELIEVED_AFTER` bars in a row are at it. Invariant: what moves less than `FAR`, or stays, is no fault.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FAR: Final = 0.5
"""Of the last price: more than any price band and any day's range of a share lets it go, there and back."""
BELIEVED_AFTER: Final = 3


def false_bars(prices: Floats, few: float) -> Mask:
    """(n,): which of the bars, (n, 4) open, high, low, close, are false; a move of `few` rupees is never far."""
    n, false, start = len(prices), np.zeros(len(prices), dtype=np.bool_), 0
    close = prices[:, 3]  # as arrays of one too, so that all is compared in one way

    def far(rows: slice, reference: Floats) -> Mask:
        away = np.abs(prices[rows] - reference[..., None]).max(axis=1)
        found: Mask = away > np.maximum(FAR * reference, few)
        return found

    if n > BELIEVED_AFTER and far(slice(0, 1), close[1])[0] and not far(slice(1, 1 + BELIEVED_AFTER), close[1]).any():
        false[0], start = True, 1
    for row in (np.flatnonzero(far(slice(1, n), close[:-1])) + 1).tolist():
        if row <= start:
            continue
        after = slice(row + 1, row + 1 + BELIEVED_AFTER)
        near = np.flatnonzero(~far(after, close[row - 1]))
        if len(near):
            start = row + 1 + int(near[0])  # the market is where it was
            false[row:start] = True
        elif n - row < BELIEVED_AFTER:
            start = n
            false[row:] = True
    return false
