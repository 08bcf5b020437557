"""Memory in use, looked at again and again → what is wrong with it now: nothing, or that something is to be done.

Over the limit first what nobody needs is let go, then the strategy in charge forgets, is made anew, and is left; after
each of these nothing is done for a while, so that it can show what it did. Going flat frees nothing, so that isn't one
of them. Loop-free. Invariant: within the rest no second finding; what is let go is let go once, until memory has left
the limit by a tenth.
"""

from __future__ import annotations

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.supervision.health import MARGIN
from daemon.supervision.triggers import Finding, Trigger

GB = 10**9


class MemoryLimits(msgspec.Struct, frozen=True):
    """In GB of memory in use."""

    warn_gb: float
    fail_gb: float


class MemoryWatch:
    """Of one process; times are of the machine's clock. Without a limit nothing is ever found."""

    def __init__(self, limit_gb: float | None, rest_s: float) -> None:
        self.freed = False
        """Whether what nobody needs was let go since memory was last well below the limit."""
        self.wanted = ""
        """The step that would have been taken, and why it wasn't; "" where nothing is held back."""
        self._limit_gb = limit_gb
        self._rest_ns = int(rest_s * NS_PER_S)
        self._rests_until = 0

    def lower_to(self, limit_gb: float) -> None:
        """The system ends the process before the limit of the settings."""
        self._limit_gb = min(self._limit_gb, limit_gb) if self._limit_gb is not None else None

    def look(self, used_bytes: int, now_ns: int) -> Finding | None:
        """What is wrong by now."""
        used, limit = used_bytes / GB, self._limit_gb
        if limit is None or used < limit:
            self.wanted = ""
            self.freed = self.freed and limit is not None and used >= limit * (1 - MARGIN)
            return None
        if now_ns < self._rests_until:
            return None
        return Finding(Trigger.MEMORY, f"{used:.2f} GB of memory in use, limit {limit:g} GB")

    def rest(self, now_ns: int) -> None:
        """A step was taken: wait for what it does."""
        self._rests_until = now_ns + self._rest_ns
