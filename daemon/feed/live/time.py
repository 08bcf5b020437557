"""The wall clock and the market's calendar → the moments that are due, and the stamps of what is received.

Invariant: what is told never goes back, and a tick is stamped later than every moment that was told before it, so that
a replay of the stamps meets the moments in the same places.
"""

from __future__ import annotations

import math

from daemon.core.clock import NS_PER_S, LiveClock, PacedClock, Readings
from daemon.feed.replay import Schedule
from daemon.market.calendar import MarketCalendar, Session, ist_date
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS


class Moments:
    """Loop-free; all times are UTC ns."""

    def __init__(self, calendar: MarketCalendar, schedule: Schedule) -> None:
        self.session: Session | None = None
        """The present session, or the one to come; None before the first `line_up`."""
        self.told = 0
        """The latest time that was told."""
        self._calendar = calendar
        self._schedule = schedule
        self._due: list[int] = []

    def take_due(self, now: int) -> int | None:
        """The next moment that is due by `now`, told by this; None when there is none."""
        self._line_up(now)
        if not self._due or self._due[0] > now:
            return None
        self.told = self._due.pop(0)
        return self.told

    def take_now(self, now: int) -> int | None:
        """`now` itself, told by this, where it lies after all that was told; call it when nothing is due."""
        if now <= self.told:
            return None
        self.told = now
        return now

    def tell(self, ts: int) -> None:
        """Something was said of the feed at `ts`: what is received from now on is stamped later."""
        self.told = max(self.told, ts)

    def stamp(self, now: int) -> int:
        """When ticks that are read at `now` were received."""
        return max(now, self.told + 1)

    def wait_s(self, now: int, longest_s: float) -> float:
        """Seconds until something is due, at most `longest_s`."""
        self._line_up(now)
        return min(max((self._due[0] - now) / NS_PER_S, 0.0), longest_s) if self._due else longest_s

    def _line_up(self, now: int) -> None:
        """The moments still to come of the present session, or of the next."""
        if self._due:
            return
        session = self._calendar.session(ist_date(now))
        if session is None or self._schedule.of(session)[-1] <= max(now - 1, self.told):
            session = self._calendar.next_session(now)
        self.session = session
        self._due = [moment for moment in self._schedule.of(session) if moment > self.told and moment >= now]


def live_clock(settings: Settings, readings: Readings | None = None) -> LiveClock | PacedClock:
    """The machine's clock, by `readings` (None: the machine's own); in a rehearsal one that the first tick starts.

    That one runs `feed.speed` times as fast, as the sandbox may that plays the day.
    """
    return PacedClock(settings.feed.speed) if settings.feed.rehearse else LiveClock(readings)


def live_schedule(settings: Settings) -> Schedule:
    """Moments at which a bar of any interval closes: each of them may have to be marked before it does."""
    seconds = [INTERVALS[name] for name in settings.bars.intervals if name != "1d"] or [INTERVALS["1d"]]
    grace_ns = settings.bars.grace_ms * 1_000_000
    return Schedule(math.gcd(*seconds), grace_ns, settings.strategy.square_off_minutes)
