"""How long no tick has come where one is due. Invariant: what our time is set to meanwhile is no silence."""

from __future__ import annotations

from collections.abc import Callable

from daemon.core.clock import NS_PER_S, Clock, LiveClock, PacedClock
from daemon.market.calendar import MarketCalendar


class Silence:
    """Of all ticks, from the newest one or from the run's beginning."""

    def __init__(self, calendar: MarketCalendar, clock: Clock) -> None:
        self._calendar, self._clock = calendar, clock
        self._passed_ns: Callable[[], int] = (
            clock.passed_ns if isinstance(clock, LiveClock | PacedClock) else clock.now_ns
        )
        self._broken = self._passed_ns()

    def end(self) -> None:
        """A tick has come."""
        self._broken = self._passed_ns()

    def seconds(self) -> float | None:
        """So far, of the session that goes on; None outside of one, and before a tape's time runs."""
        now = self._clock.now_ns()
        session = self._calendar.session_at(now) if now else None
        return None if session is None else min(self._passed_ns() - self._broken, now - session.open_ns) / NS_PER_S
