"""How often somebody may ask: a bucket for each token and kind of request, refilled with time (token bucket).

Invariant: what takes risk away is never slowed, and one who asks too often slows nobody else.
"""

from __future__ import annotations

import math

from daemon.control.routes import Pace
from daemon.core.clock import NS_PER_S, Clock
from daemon.settings.run import ControlSettings

BURST_S = 10.0
MOST_BUCKETS = 4096


class Paces:
    """Every bucket; the longest unused goes where there are too many."""

    def __init__(self, settings: ControlSettings, clock: Clock) -> None:
        self._clock = clock
        self._per_s = {
            Pace.READ: settings.reads_per_s,
            Pace.WRITE: settings.writes_per_s,
            Pace.HEAVY: settings.heavy_per_minute / 60,
        }
        self._most = {
            Pace.READ: max(1.0, settings.reads_per_s * BURST_S),
            Pace.WRITE: max(1.0, settings.writes_per_s * BURST_S),
            Pace.HEAVY: max(1.0, settings.heavy_per_minute),
        }
        self._buckets: dict[tuple[str, Pace], tuple[float, int]] = {}

    def wait_s(self, who: str, pace: Pace) -> int:
        """0 where a request may go, and is counted; else for how many seconds it may not."""
        if pace is Pace.FREE:
            return 0
        now, most = self._clock.monotonic_ns(), self._most[pace]
        left, since = self._buckets.pop((who, pace), (most, now))
        left = min(most, left + (now - since) / NS_PER_S * self._per_s[pace])
        may = left >= 1
        self._buckets[who, pace] = (left - 1 if may else left, now)
        while len(self._buckets) > MOST_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return 0 if may else math.ceil((1 - left) / self._per_s[pace])
