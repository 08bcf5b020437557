"""Times of past calls → may the next one go now, or how long must it wait.

Fyers counts all REST calls together: 10 a second, 200 a minute, 100,000 a day; a fourth breach of the minute blocks the
account for the day. Invariant: within any second, minute and day in India no more calls are granted than the limits
say, and the last `kept_for_exits` of each are granted to exits only.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

import msgspec

from daemon.clock import DAY_NS, NS_PER_MS, NS_PER_S, Clock
from daemon.market.calendar import IST_OFFSET_NS

MINUTE_NS: Final = 60 * NS_PER_S


class Purpose(StrEnum):
    """What a call is for: EXIT (cancellations, reducing orders, and the reads that these wait for) or ORDINARY."""

    EXIT = "exit"
    ORDINARY = "ordinary"


class Limit(msgspec.Struct, frozen=True):
    """Calls in a window, and how many of them are kept for exits."""

    calls: int
    kept_for_exits: int


class RateLimits(msgspec.Struct, frozen=True):
    """Fyers' limits. Windows count `slack_ms` longer here, for calls don't travel equally fast."""

    second: Limit = Limit(10, 3)
    minute: Limit = Limit(200, 40)
    day: Limit = Limit(100_000, 2_000)
    slack_ms: int = 100


class RateBudget:
    """One for all calls of an account."""

    def __init__(self, clock: Clock, limits: RateLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else RateLimits()
        slack = self._limits.slack_ms * NS_PER_MS
        self._windows = ((self._limits.second, NS_PER_S + slack), (self._limits.minute, MINUTE_NS + slack))
        self._recent: deque[int] = deque(maxlen=max(self._limits.second.calls, self._limits.minute.calls))
        self._held_until = 0
        self._day = self._today()
        self._used_today = 0

    @property
    def used_today(self) -> int:
        """Calls counted since midnight in India."""
        return self._used_today if self._today() == self._day else 0

    def take(self, purpose: Purpose, calls: int = 1) -> int:
        """0 where so many calls may go now (and are counted), else the nanoseconds until it is worth asking again.

        A request with several orders in it counts as that many calls, for the exchange counts orders. More calls than
        a window ever holds are never granted.
        """
        now = self._clock.monotonic_ns()
        wait = max(self._held_until - now, self._wait_for_day(purpose, calls))
        for limit, span in self._windows:
            room = _allowed(limit, purpose) - calls + 1
            if len(self._recent) >= room:
                wait = max(wait, self._recent[-room] + span - now if room > 0 else span)
        if wait > 0:
            return wait
        self._recent.extend([now] * calls)
        self._used_today += calls
        return 0

    def assume_used(self, calls: int, in_last_minute: int) -> None:
        """Count what an earlier process may have used: `calls` today, `in_last_minute` of them as if just now."""
        self._wait_for_day(Purpose.EXIT)
        self._used_today += calls
        self._recent.extend([self._clock.monotonic_ns()] * in_last_minute)

    def hold(self, seconds: float) -> None:
        """Grant nothing for so long, exits included: after a 429, calling on is what gets an account blocked."""
        self._held_until = max(self._held_until, self._clock.monotonic_ns() + int(seconds * NS_PER_S))

    def _wait_for_day(self, purpose: Purpose, calls: int = 1) -> int:
        """0, or the nanoseconds to midnight in India where the day is used up; starts a new day's count."""
        today = self._today()
        if today != self._day:
            self._day, self._used_today = today, 0
        if self._used_today + calls <= _allowed(self._limits.day, purpose):
            return 0
        return DAY_NS - (self._clock.now_ns() + IST_OFFSET_NS) % DAY_NS

    def _today(self) -> int:
        return (self._clock.now_ns() + IST_OFFSET_NS) // DAY_NS


def _allowed(limit: Limit, purpose: Purpose) -> int:
    return limit.calls if purpose is Purpose.EXIT else max(0, limit.calls - limit.kept_for_exits)
