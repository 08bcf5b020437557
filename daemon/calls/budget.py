"""Times of past calls → may the next one go now, or how long must it wait.

A broker counts all REST calls of an account together: Fyers 10 a second, 200 a minute, 100,000 a day, and a fourth
breach of the minute blocks the account for the day. All count: those of the feed, of a login, a check or a download.
Invariant: within any second, minute and day in India no more calls are made than the limits say, over all processes
that keep one record, and the last `kept_for_exits` of each are granted to exits only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import msgspec

from daemon.calls.call_record import LONGEST_WAY_NS, CallRecord, Calls
from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_MS, NS_PER_S, Clock, india_day

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
    slack_ms: int = 200

    @classmethod
    def of(cls, a_second: int, a_minute: int, a_day: int) -> RateLimits:
        """So many calls; as large a part of each is kept for exits as of Fyers' own limits."""
        return cls(
            Limit(a_second, a_second * 3 // 10), Limit(a_minute, a_minute // 5), Limit(a_day, a_day // 50)
        )  # fmt: skip


class Grant:
    """A call that may go now. From the grant on it counts as on its way, and from `sent` as made."""

    __slots__ = ("_budget", "_number", "_stamped")

    def __init__(self, budget: RateBudget, number: int) -> None:
        self._budget = budget
        self._number = number
        self._stamped = False

    def sent(self) -> None:
        """It has left this machine, or never will; only the first time counts."""
        if not self._stamped:
            self._stamped = True
            self._budget.stamp(self._number)


class RateBudget:
    """One for all calls of an account; with a `record` it is one for all processes, too.

    The venue counts calls when they arrive. So a call is in its windows from its grant until a window's length after it
    left this machine, which may be seconds later where a connection has to be made first.
    """

    def __init__(self, clock: Clock, limits: RateLimits | None = None, record: CallRecord | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else RateLimits()
        slack = self._limits.slack_ms * NS_PER_MS
        self._windows = ((self._limits.second, NS_PER_S + slack), (self._limits.minute, MINUTE_NS + slack))
        self._record = record
        self._calls = Calls(max(self._limits.second.calls, self._limits.minute.calls))
        with self._shared() as calls:
            self._calls = calls

    @property
    def used_today(self) -> int:
        """Calls counted since midnight in India."""
        return self._calls.used if self._today() == self._calls.day else 0

    @property
    def trouble(self) -> str:
        """Why calls are counted in memory alone; "" where they are on record, or need not be."""
        return self._record.trouble if self._record is not None else ""

    def take(self, purpose: Purpose) -> int:
        """0 where a call may go now (and is counted as made now), else as `reserve`."""
        answer = self.reserve(purpose)
        if isinstance(answer, int):
            return answer
        answer.sent()
        return 0

    def reserve(self, purpose: Purpose) -> Grant | int:
        """A grant where a call may go now, else the nanoseconds until it is worth asking again."""
        now = self._clock.monotonic_ns()
        with self._shared() as past:
            wait = max(past.held_until - now, self._wait_for_day(past, purpose))
            latest = past.latest(now)
            for limit, span in self._windows:
                room = _allowed(limit, purpose)
                if len(latest) >= room:
                    wait = max(wait, latest[-room] + span - now if room > 0 else span)
            if wait > 0:
                return wait
            past.used += 1
            return Grant(self, past.add(now + LONGEST_WAY_NS))

    def stamp(self, number: int) -> None:
        """The call of that number left now."""
        with self._shared() as past:
            past.stamp(number, self._clock.monotonic_ns())

    def hold(self, seconds: float) -> None:
        """Grant nothing for so long, exits included: after a 429, calling on is what gets an account blocked."""
        now = self._clock.monotonic_ns()
        with self._shared() as past:
            past.held_at, past.held_until = now, max(past.held_until, now + int(seconds * NS_PER_S))

    def close(self) -> None:
        """Let go of the record."""
        if self._record is not None:
            self._record.close()

    @contextmanager
    def _shared(self) -> Iterator[Calls]:
        """What is known of past calls, by this process or by all."""
        if self._record is None:
            yield self._calls
            return
        with self._record.shared(self._clock.monotonic_ns()) as calls:
            self._calls = calls
            yield calls

    def _wait_for_day(self, past: Calls, purpose: Purpose) -> int:
        """0, or the nanoseconds to midnight in India where the day is used up; starts a new day's count."""
        today = self._today()
        if today != past.day:
            past.day, past.used = today, 0
        if past.used < _allowed(self._limits.day, purpose):
            return 0
        return DAY_NS - (self._clock.now_ns() + IST_OFFSET_NS) % DAY_NS

    def _today(self) -> int:
        return india_day(self._clock.now_ns())


def _allowed(limit: Limit, purpose: Purpose) -> int:
    return limit.calls if purpose is Purpose.EXIT else max(0, limit.calls - limit.kept_for_exits)
