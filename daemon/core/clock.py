"""The only place that knows what time it is: UTC nanoseconds for events, monotonic nanoseconds for durations.

Invariant: `now_ns` never goes back within a run.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
DAY_NS = 86_400 * NS_PER_S
IST_OFFSET_NS = 19_800 * NS_PER_S
"""India's time less UTC; it has no daylight saving."""
_EPOCH = dt.date(1970, 1, 1)
IST = dt.timezone(dt.timedelta(microseconds=IST_OFFSET_NS // 1000), "IST")
MAX_SKEW_NS = 2_500 * NS_PER_MS
"""So far ahead of our receipt a stamp of the venue may lie: two seconds of a slow clock, and what can't be measured."""

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What every stage may ask about time."""

    def now_ns(self) -> int:
        """The event time of the run, UTC nanoseconds."""

    def monotonic_ns(self) -> int:
        """For durations and deadlines inside the run, nanoseconds."""


@dataclass(frozen=True, slots=True)
class VenueTime:
    """What the venue says of the time, by which days and sessions begin and end; as it stands here it says nothing."""

    undated: Callable[[], str] = lambda: ""
    """Why nobody knows what day it is, "" where it is known."""
    at: Callable[[int], int] = lambda ts: ts
    """The venue's time at a moment of ours, UTC ns; ours, unless it is known to be wrong."""


OWN_TIME: Final = VenueTime()
"""That of a tape, or of a clock that nobody doubts."""


class Readings(Protocol):
    """The machine's own clocks, as they are read."""

    def wall_ns(self) -> int:
        """What the machine believes the time to be, UTC nanoseconds; may jump."""

    def steady_ns(self) -> int:
        """Time since some moment before the start, the machine's sleep included; never jumps, never goes back."""

    def monotonic_ns(self) -> int:
        """Time since some moment before the start in which the machine was awake; the same in every process."""


class MachineReadings:
    """The machine's own clocks."""

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def steady_ns(self) -> int:
        """CLOCK_BOOTTIME; CLOCK_MONOTONIC, which may stand still while the machine sleeps, where there is none."""
        return time.clock_gettime_ns(_STEADY)

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()


class LiveClock:
    """Wall time as it was at the start, and from there the machine's steady clock.

    What happens to the wall clock meanwhile moves nothing: `daemon.feed.live.clock_watch` looks at it, at the venue's
    time, too, and says what is to be made up for.
    """

    def __init__(self, readings: Readings | None = None) -> None:
        self.readings = readings if readings is not None else MachineReadings()
        # (since, event time then, to be made up for, in so many parts of what passes)
        self._line = (self.readings.steady_ns(), self.readings.wall_ns(), 0, 1)

    def now_ns(self) -> int:
        """The event time, UTC nanoseconds."""
        return self._time_at(self.readings.steady_ns())

    def _time_at(self, steady_ns: int) -> int:
        since, base, bend, parts = self._line
        passed = steady_ns - since
        bent = min(abs(bend), passed // parts)
        return base + passed + (bent if bend > 0 else -bent)

    def passed_ns(self) -> int:
        """How much time has passed since some moment before the start, whatever `step` and `bend` did, nanoseconds."""
        return self.readings.steady_ns()

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return self.readings.monotonic_ns()

    def step(self, by_ns: int) -> None:
        """Go forward at once; a negative step is none."""
        steady = self.readings.steady_ns()
        self._line = (steady, self._time_at(steady) + max(0, by_ns), 0, 1)

    def bend(self, by_ns: int, parts: int) -> None:
        """Gain (or, below 0, lose) so much by running faster (slower) by one in `parts`, at least two."""
        if parts < 2:
            raise ValueError(f"parts: expected at least 2, got {parts}: time would stand still")
        steady = self.readings.steady_ns()
        self._line = (steady, self._time_at(steady), by_ns, parts)


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
        self._made = time.monotonic_ns()

    def start(self, tape_ns: int) -> None:
        """Let `tape_ns` be now."""
        self._tape_start = max(tape_ns, self.now_ns())
        self._wall_start = time.monotonic_ns()

    def now_ns(self) -> int:
        """The tape's time, UTC nanoseconds; 0 before `start`."""
        if not self._wall_start:
            return 0
        return self._tape_start + int((time.monotonic_ns() - self._wall_start) * self._speed)

    def passed_ns(self) -> int:
        """How much of the tape's time has passed since the clock was made, whatever `start` did, nanoseconds."""
        return int((time.monotonic_ns() - self._made) * self._speed)

    def monotonic_ns(self) -> int:
        """The machine's monotonic clock: a deadline is real time even on a fast tape."""
        return time.monotonic_ns()

    def ns_within(self, wall_s: float) -> int:
        """How much of the tape's time passes within `wall_s` of the machine's, nanoseconds."""
        return int(wall_s * self._speed * NS_PER_S)

    def wall_seconds_until(self, tape_ns: int) -> float:
        """How long to sleep until the tape's time is `tape_ns`, seconds ≥ 0."""
        return max(0.0, (tape_ns - self.now_ns()) / self._speed / NS_PER_S)


def india_day(ts: int) -> int:
    """The day of India's calendar that `ts` (UTC ns) falls on, counted since 1970."""
    return (ts + IST_OFFSET_NS) // DAY_NS


def day_number(day: dt.date | str) -> int:
    """A date (also in ISO's form) as `india_day` counts it."""
    return ((dt.date.fromisoformat(day) if isinstance(day, str) else day) - _EPOCH).days


def wall_ns() -> int:
    """Wall time for run metadata (never for events), UTC nanoseconds."""
    return time.time_ns()


def stopwatch_ns() -> int:
    """Monotonic time for measuring the program itself, nanoseconds."""
    return time.perf_counter_ns()
