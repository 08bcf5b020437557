"""A journal that grows → snapshots of the account in it, and the request to delete what they make needless.

Invariant: a snapshot holds exactly what the events before it lead to. It is taken when every event published so far has
been handled, and none is taken any more once a stage has crashed: what it was handling then may be lost in memory, and
only the journal knows it.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, Clock
from daemon.core.events import AccountSnapshot, ActorRestarted, Event
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.settings.run import JournalSettings

log = structlog.get_logger("journal")


class JournalKeeper:
    """Bounds the journal of a process that runs for weeks: a snapshot each `snapshot_every` records."""

    def __init__(
        self,
        bus: Bus,
        journal: Journal,
        snapshot: Callable[[], AccountSnapshot],
        settings: JournalSettings,
        clock: Clock,
        wall: Clock,
    ) -> None:
        """`clock` is the run's, `wall` that of the day on which it runs: the two differ where a tape is played."""
        self.snapshots = 0
        self._bus = bus
        self._journal = journal
        self._snapshot = snapshot
        self._every = settings.snapshot_every
        self._keep_ns = settings.keep_days * DAY_NS
        self._clock = clock
        self._wall = wall
        self._due_at = settings.snapshot_every
        self._crashed = False
        bus.tap(JOURNALED, self._count)

    def _count(self, event: Event) -> None:
        self._crashed = self._crashed or isinstance(event, ActorRestarted)
        if self._journal.appended >= self._due_at and not self._crashed:
            self._due_at = self._journal.appended + self._every
            self._bus.when_idle(self._take)

    def _take(self) -> None:
        if self._crashed:
            return
        self._bus.publish(self._snapshot())
        self.snapshots += 1
        self._journal.shorten(self._wall.now_ns() - self._keep_ns, self._clock.now_ns() - self._keep_ns)
        log.debug("snapshot", records=self._journal.appended)
