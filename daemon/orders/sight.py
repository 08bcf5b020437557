"""Readings of the broker's book and positions, and the time → how long it has been out of sight, in words.

Pushes say what happened, readings what is: without them a fill, a cancellation or another's order may have been missed,
and nobody would know. Pure. Invariant: what was never read, or not for longer than the limit, is named.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from daemon.calls.outcome import Outcome, Rejected
from daemon.core.clock import NS_PER_S, Clock

log = structlog.get_logger("execution")

BOOK: Final = "orders and trades"
POSITIONS: Final = "positions"
LIMIT: Final = 1.5
"""Times `reconcile_s`: one reading may fail, and be tried again, without stopping anything."""
SHORTEST_LIMIT_S: Final = 5.0
"""A reading takes its time, however often they are wanted."""


class Sight:
    """When book and positions were last read, and why not since."""

    def __init__(self, clock: Clock, reconcile_s: float) -> None:
        self._clock = clock
        self._limit_ns = int(max(LIMIT * reconcile_s, SHORTEST_LIMIT_S) * NS_PER_S)
        self._read: dict[str, int | None] = {BOOK: None, POSITIONS: None}
        self._why: dict[str, str] = {}

    def saw(self, what: str) -> None:
        """It was read just now."""
        self._read[what] = self._clock.monotonic_ns()
        if self._why.pop(what, None) is not None:
            log.info(f"the broker's {what} can be read again")

    def missed(self, what: str, outcome: Outcome[Any]) -> None:
        """It was asked for, and this was the answer; said once until it is read again."""
        first = what not in self._why
        if isinstance(outcome, Rejected):
            self._why[what] = f"{outcome.code}: {outcome.message}"
        else:
            self._why[what] = str(getattr(outcome, "reason", ""))
        if first:
            log.warning(f"the broker's {what} can't be read", why=self._why[what])

    @property
    def missing(self) -> bool:
        """Whether the latest reading of anything failed."""
        return bool(self._why)

    @property
    def trouble(self) -> str:
        """What hasn't been read for too long, and why; "" where all is in sight."""
        now = self._clock.monotonic_ns()
        for what, read in self._read.items():
            why = f" ({self._why[what]})" if self._why.get(what) else ""
            if read is None:
                return f"the broker's {what} have not been read yet{why}"
            if now - read > self._limit_ns:
                return f"the broker's {what} have not been read for {(now - read) / NS_PER_S:.0f} s{why}"
        return ""

    @property
    def age_s(self) -> float | None:
        """Seconds since the older of the two was read; None where one never was."""
        read = [at for at in self._read.values() if at is not None]
        return (self._clock.monotonic_ns() - min(read)) / NS_PER_S if len(read) == len(self._read) else None

    @property
    def left_s(self) -> float:
        """Seconds until there is trouble, should nothing be read; 0 where there is."""
        if any(read is None for read in self._read.values()):
            return 0.0
        oldest = min(read for read in self._read.values() if read is not None)
        return max(0.0, (oldest + self._limit_ns - self._clock.monotonic_ns()) / NS_PER_S)
