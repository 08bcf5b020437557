"""Times of REST calls → how many came within a second and a minute, and whether Fyers would have said 429.

Invariant: what is reported as the most calls in a window was seen in a true sliding window, whatever the clock's grid.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from daemon.core.clock import NS_PER_S, Clock

PER_SECOND: Final = 10
PER_MINUTE: Final = 200


class CallMeter:
    """Counts every call; with `enforce` it refuses what exceeds 10 a second or 200 a minute."""

    def __init__(self, clock: Clock, *, enforce: bool) -> None:
        self.total = 0
        self.refused = 0
        self.most_in_second = 0
        self.most_in_minute = 0
        self._clock = clock
        self._enforce = enforce
        self._second: deque[int] = deque()
        self._minute: deque[int] = deque()

    def admit(self) -> float | None:
        """Count a call; the seconds after which it may be repeated where it is refused, else None."""
        now = self._clock.monotonic_ns()
        in_second = _slide(self._second, now, NS_PER_S)
        in_minute = _slide(self._minute, now, 60 * NS_PER_S)
        self.total += 1
        self.most_in_second = max(self.most_in_second, in_second)
        self.most_in_minute = max(self.most_in_minute, in_minute)
        if not self._enforce or (in_second <= PER_SECOND and in_minute <= PER_MINUTE):
            return None
        self.refused += 1
        return 1.0 if in_minute <= PER_MINUTE else 60.0


def _slide(window: deque[int], now: int, span: int) -> int:
    window.append(now)
    while window[0] <= now - span:
        window.popleft()
    return len(window)
