"""A journal that grows → snapshots of the account in it, and the request to delete what they make needless.

Invariant: a snapshot holds exactly what the events before it lead to, for it is taken when every event published so far
has been handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from daemon.bus import Bus
from daemon.clock import DAY_NS, Clock, wall_ns
from daemon.events import AccountSnapshot, Event
from daemon.journal import JOURNALED, Journal
from daemon.settings import JournalSettings

log = structlog.get_logger("journal")


class JournalKeeper:
    """Bounds the journal of a process that runs for weeks."""

    def __init__(
        self,
        bus: Bus,
        journal: Journal,
        snapshot: Callable[[], AccountSnapshot],
        settings: JournalSettings,
        clock: Clock,
    ) -> None:
        self.snapshots = 0
        self._bus = bus
        self._journal = journal
        self._snapshot = snapshot
        self._every = settings.snapshot_every
        self._keep_ns = settings.keep_days * DAY_NS
        self._clock = clock
        self._taken_at = 0
        self._due = asyncio.Event()
        bus.tap(JOURNALED, self._count)

    async def run(self) -> None:
        """Take a snapshot each `snapshot_every` records, until cancelled."""
        while True:
            await self._due.wait()
            await self._bus.idle()
            self._bus.publish(self._snapshot())
            self.snapshots += 1
            self._taken_at = self._journal.appended
            self._due.clear()
            self._journal.shorten(wall_ns() - self._keep_ns, self._clock.now_ns() - self._keep_ns)
            log.debug("snapshot", records=self._taken_at)

    def _count(self, _: Event) -> None:
        if self._journal.appended - self._taken_at >= self._every:
            self._due.set()
