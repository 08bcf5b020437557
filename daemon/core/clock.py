"""The only place that knows what time it is: UTC nanoseconds for events, monotonic nanoseconds for durations.

Invariant: `now_ns` never goes back within a run.
"""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
DAY_NS = 86_400 * NS_PER_S
MAX_SKEW_NS = 2_500 * NS_PER_MS
"""So far ahead of our receipt a stamp of the venue may lie: two seconds of a slow clock, and what can't be measured."""


class Clock(Protocol):
    """What every stage may ask about time."""

    def now_ns(self) -> int:
        """The event time of the run, UTC nanoseconds."""

    def monotonic_ns(self) -> int:
        """For durations and deadlines inside the run, nanoseconds."""


class LiveClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._latest = 0

    def now_ns(self) -> int:
        """Wall time, UTC nanoseconds; stands still while the machine's clock is set back."""
        self._latest = max(self._latest, time.time_ns())
        return self._latest

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()


class ReplayClock:
    """Time as the tape tells it: stands still until `advance`, so a replay does not depend on the machine's speed."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """The tape's time, UTC nanoseconds."""
        return self._now

    def monotonic_ns(self) -> int:
        """The same clock: no time passes while a stage works."""
        return self._now

    def advance(self, ts: int) -> None:
        """Move to `ts`; earlier times are ignored."""
        if ts > self._now:
            self._now = ts


class PacedClock:
    """Tape time that runs with the machine's, `speed` times as fast, from the moment `start` is called."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._tape_start = 0
        self._wall_start = 0

    def start(self, tape_ns: int) -> None:
        """Let `tape_ns` be now."""
        self._tape_start = max(tape_ns, self.now_ns())
        self._wall_start = time.monotonic_ns()

    def now_ns(self) -> int:
        """The tape's time, UTC nanoseconds; 0 before `start`."""
        if not self._wall_start:
            return 0
        return self._tape_start + int((time.monotonic_ns() - self._wall_start) * self._speed)

    def monotonic_ns(self) -> int:
        """The machine's monotonic clock: a deadline is real time even on a fast tape."""
        return time.monotonic_ns()

    def wall_seconds_until(self, tape_ns: int) -> float:
        """How long to sleep until the tape's time is `tape_ns`, seconds ≥ 0."""
        return max(0.0, (tape_ns - self.now_ns()) / self._speed / NS_PER_S)


def india_day(ts: int) -> int:
    """The day of India's calendar that `ts` (UTC ns) falls on, counted since 1970."""
    return (ts + 19_800 * NS_PER_S) // DAY_NS


def wall_ns() -> int:
    """Wall time for run metadata (never for events), UTC nanoseconds."""
    return time.time_ns()


def stopwatch_ns() -> int:
    """Monotonic time for measuring the program itself, nanoseconds."""
    return time.perf_counter_ns()
