"""A machine's clocks that a test turns."""

from __future__ import annotations

from daemon.core.clock import NS_PER_S


class FakeReadings:
    """Implements `Readings`."""

    def __init__(self, wall_ns: int) -> None:
        self._wall = wall_ns
        self._steady = 5_000 * NS_PER_S
        self._monotonic = 4_000 * NS_PER_S

    def wall_ns(self) -> int:
        """Moves with `go` and `jump`."""
        return self._wall

    def steady_ns(self) -> int:
        """Moves with `go` alone."""
        return self._steady

    def monotonic_ns(self) -> int:
        """Moves with `go`, but not while the machine sleeps."""
        return self._monotonic

    def go(self, seconds: float, *, asleep: bool = False, wall_s: float | None = None) -> None:
        """Let time pass; the wall clock may pass another time (`wall_s`), as a bad one does."""
        passed = round(seconds * NS_PER_S)
        self._steady += passed
        self._wall += passed if wall_s is None else round(wall_s * NS_PER_S)
        if not asleep:
            self._monotonic += passed

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self._wall += round(seconds * NS_PER_S)
