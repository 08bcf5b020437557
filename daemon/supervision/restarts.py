"""Crashes of what the supervisor keeps running → whether one more restart is within the budget. Loop-free.

Invariant: only crashes within the window count against the budget; the newest of each is told for an hour.
"""

from __future__ import annotations

from collections import deque

from daemon.core.clock import NS_PER_S

TOLD_S = 3600


class Restarts:
    """Of every stage, by name; times are of the machine's clock."""

    def __init__(self, most: int, window_s: float) -> None:
        self.counts: dict[str, int] = {}
        self._most = most
        self._window_ns = window_s * NS_PER_S
        self._crashes: dict[str, deque[int]] = {}
        self._newest: dict[str, tuple[int, str]] = {}

    def crashed(self, name: str, reason: str, now_ns: int) -> int:
        """It crashed: how often within the window where that was once too often, 0 where it may be started again."""
        crashes = self._crashes.setdefault(name, deque())
        crashes.append(now_ns)
        while now_ns - crashes[0] > self._window_ns:
            crashes.popleft()
        if len(crashes) > self._most:
            return len(crashes)
        self.counts[name] = self.counts.get(name, 0) + 1
        self._newest[name] = (now_ns, reason)
        return 0

    def told(self, now_ns: int) -> list[str]:
        """What crashed within the last hour and runs again, a line each."""
        return [
            f"{name} crashed and was started again, {self.counts[name]} times so far: {reason}"
            for name, (ts, reason) in self._newest.items()
            if now_ns - ts <= TOLD_S * NS_PER_S
        ]


def said(error: BaseException) -> str:
    """The error in one line; of a group its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
