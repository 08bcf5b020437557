"""Times of past calls → may the next one go now, or how long must it wait.

Fyers counts all REST calls together: 10 a second, 200 a minute, 100,000 a day; a fourth breach of the minute blocks the
account for the day. Invariant: within any second, minute and day in India no more calls are granted than the limits
say, over all processes that keep one record, and the last `kept_for_exits` of each are granted to exits only.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

import msgspec

from daemon.clock import DAY_NS, NS_PER_MS, NS_PER_S, Clock
from daemon.fyers.call_record import CallRecord
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

    @classmethod
    def of(cls, a_second: int, a_minute: int, a_day: int) -> RateLimits:
        """So many calls; as large a part of each is kept for exits as of Fyers' own limits."""
        return cls(
            Limit(a_second, a_second * 3 // 10), Limit(a_minute, a_minute // 5), Limit(a_day, a_day // 50)
        )  # fmt: skip


class RateBudget:
    """One for all calls of an account; with a `record` it goes on where earlier processes left it."""

    def __init__(self, clock: Clock, limits: RateLimits | None = None, record: CallRecord | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else RateLimits()
        slack = self._limits.slack_ms * NS_PER_MS
        self._windows = ((self._limits.second, NS_PER_S + slack), (self._limits.minute, MINUTE_NS + slack))
        self._recent: deque[int] = deque(maxlen=max(self._limits.second.calls, self._limits.minute.calls))
        self._held_until = 0
        self._day = self._today()
        self._used_today = 0
        self._record = record
        if record is not None:
            self._go_on(record)

    @property
    def used_today(self) -> int:
        """Calls counted since midnight in India."""
        return self._used_today if self._today() == self._day else 0

    def take(self, purpose: Purpose) -> int:
        """0 where a call may go now (and is counted), else the nanoseconds until it is worth asking again."""
        now = self._clock.monotonic_ns()
        wait = max(self._held_until - now, self._wait_for_day(purpose))
        for limit, span in self._windows:
            room = _allowed(limit, purpose)
            if len(self._recent) >= room:
                wait = max(wait, self._recent[-room] + span - now if room > 0 else span)
        if wait > 0:
            return wait
        self._recent.append(now)
        self._used_today += 1
        if self._record is not None:
            self._record.note(now, self._day, self._used_today)
        return 0

    def hold(self, seconds: float) -> None:
        """Grant nothing for so long, exits included: after a 429, calling on is what gets an account blocked."""
        now = self._clock.monotonic_ns()
        self._held_until = max(self._held_until, now + int(seconds * NS_PER_S))
        if self._record is not None:
            self._record.hold(now, self._held_until)

    def close(self) -> None:
        """Let go of the record."""
        if self._record is not None:
            self._record.close()

    def _go_on(self, record: CallRecord) -> None:
        """Count what earlier processes used."""
        now = self._clock.monotonic_ns()
        past = record.past(now)
        self._recent.extend(now - age for age in past.ages_ns)
        self._held_until = now + past.held_ns
        if past.day == self._day:
            self._used_today = past.used

    def _wait_for_day(self, purpose: Purpose) -> int:
        """0, or the nanoseconds to midnight in India where the day is used up; starts a new day's count."""
        today = self._today()
        if today != self._day:
            self._day, self._used_today = today, 0
        if self._used_today < _allowed(self._limits.day, purpose):
            return 0
        return DAY_NS - (self._clock.now_ns() + IST_OFFSET_NS) % DAY_NS

    def _today(self) -> int:
        return (self._clock.now_ns() + IST_OFFSET_NS) // DAY_NS


def _allowed(limit: Limit, purpose: Purpose) -> int:
    return limit.calls if purpose is Purpose.EXIT else max(0, limit.calls - limit.kept_for_exits)
