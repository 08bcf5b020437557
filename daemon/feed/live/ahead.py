"""Ticks as they come → whether most of them are ahead of our time, and so rejected as `bad_time`; loop-free.

The filter takes a stamp up to `MAX_SKEW_NS` ahead of its receipt. On a machine whose clock is further behind nearly no
tick passes, and nothing else says why. Invariant: a single false symbol, or a few ticks, are no word about the clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from daemon.core.clock import MAX_SKEW_NS, NS_PER_S
from daemon.core.events import TickBatch

WINDOW_NS: Final = 60 * NS_PER_S
LEAST: Final = 20
"""Ticks in the window that are a word."""
_MOST_NS: Final = 86_400 * NS_PER_S
"""A stamp further ahead is a false one, not a clock's."""


class Ahead:
    """What the ticks of the last minute say."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int, int, float]] = deque()  # (second, ticks, of them too far ahead, by ns)
        self._ticks = self._far = 0

    def note(self, batch: TickBatch, steady: int) -> None:
        """Ticks that are read now, with the time of their receipt."""
        by = batch.ts_event - batch.ts_recv
        far = by[(by > MAX_SKEW_NS) & (by < _MOST_NS)]
        second, ticks, ahead, middle = steady // NS_PER_S, len(by), len(far), float(np.median(far)) if len(far) else 0.0
        self._ticks, self._far = self._ticks + ticks, self._far + ahead
        if self._seen and self._seen[-1][0] == second:
            _, more, before, held = self._seen.pop()
            ticks, middle = ticks + more, middle if ahead > before else held
            ahead += before
        self._seen.append((second, ticks, ahead, middle))

    def text(self, steady: int) -> str:
        """In words, with what to do; "" where no such thing is the case."""
        while self._seen and self._seen[0][0] * NS_PER_S < steady - WINDOW_NS:
            _, gone, far, _ = self._seen.popleft()
            self._ticks, self._far = self._ticks - gone, self._far - far
        ticks, ahead = self._ticks, self._far
        if ticks < LEAST or 2 * ahead <= ticks:
            return ""
        offset = float(np.median([entry[3] for entry in self._seen if entry[2]])) / NS_PER_S
        return (
            f"{ahead / ticks:.0%} of ticks are ahead of this machine's clock by {offset:.1f} s and are rejected "
            "(bad_time): set the clock (chronyc tracking)"
        )
