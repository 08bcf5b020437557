"""Measured times of segments → what the next one will take: a running quantile over the newest of them.

Invariant: `expected_ns` is a time that was really measured, never under `QUANTILE` of those in the window.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final

WINDOW: Final = 256
"""Segments looked back on: some 60 decisions."""
QUANTILE: Final = 0.99
"""A deadline is missed by more than the surprise of one segment in a hundred."""


class SegmentCost:
    """A sorted window of times, nanoseconds."""

    def __init__(self) -> None:
        self._newest: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, elapsed_ns: int) -> None:
        """Remember a segment and forget the oldest beyond the window."""
        self._newest.append(elapsed_ns)
        insort(self._sorted, elapsed_ns)
        if len(self._newest) > WINDOW:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]

    @property
    def expected_ns(self) -> int:
        """The quantile, nanoseconds; 0 before anything was measured."""
        if not self._sorted:
            return 0
        return self._sorted[math.ceil(QUANTILE * len(self._sorted)) - 1]
