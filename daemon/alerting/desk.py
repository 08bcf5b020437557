"""Runs beside the path: looks at the daemon, keeps the book of alerts, and hands what is to be told to the sender.

Invariants: an event that comes is only put aside, so nobody who publishes one waits or fails for it; and what was told
is in the journal, so that the next process doesn't tell it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.alerting.book import AlertBook
from daemon.alerting.conditions import WATCHED, Condition, condition, of_event
from daemon.alerting.digest import Stands, count_day, digest
from daemon.alerting.kinds import KINDS
from daemon.alerting.messages import Message, told
from daemon.alerting.sender import Sender
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_S, Clock, india_day
from daemon.core.errors import UsageError
from daemon.core.events import AlertChanged, AlertSent, Event, RunCounted, Severity
from daemon.core.threads import ThreadWorker, Worker
from daemon.journal.reader import JournalReader, is_blank
from daemon.settings.alerts import AlertKind, AlertSettings

log = structlog.get_logger("alerts")

LOOK_S: Final = 1.0
PUT_ASIDE: Final = 1000
"""Events between two looks; more, and the oldest aren't told one by one."""
COUNT_S: Final = 60.0
"""A day that can't be counted in so long is told without its counts: the journal's disk hangs."""
CLOSE_S: Final = 5.0
"""What waits when the daemon ends is tried for so long."""


class Watched(msgspec.Struct, frozen=True):
    """Whom the desk asks. All answer at once, from memory."""

    conditions: Callable[[], Sequence[Condition] | None]
    """All that is so now; None while nobody should look (it ends, or has only just begun)."""
    trades: Callable[[], bool]
    """Whether events count: neither while it recovers nor while it ends."""
    stands: Callable[[], Stands]
    close_ns: Callable[[int], int | None]
    """When the session of the day of a time closes, UTC ns; None where there is none."""
    first: str
    """The strategy that the settings put in charge."""


class Earlier(msgspec.Struct, frozen=True):
    """What earlier processes told, oldest first; and whether the newest ended in order."""

    told: list[Event] = []
    in_order: bool = True


def earlier(path: Path | None, *, live: bool, run: int) -> Earlier:
    """Of the runs before `run` in a journal, live ones or those of tapes. Raises `UsageError`."""
    if path is None or is_blank(path):
        return Earlier()
    reader = JournalReader(path)
    try:
        tapes = reader.metadata_of_all("tapes")
        runs = sorted(it for it, names in tapes.items() if (names == "[]") is live and it < run)
        if not runs:
            return Earlier()
        told = list(reader.of_runs(runs, AlertChanged, AlertSent))
        return Earlier(told, any(True for _ in reader.of_runs(runs[-1:], RunCounted)))
    finally:
        reader.close()


class AlertDesk:
    """One daemon's alerts; `journal` is where a digest counts the day, of live runs or of tapes."""

    def __init__(
        self, bus: Bus, clock: Clock, settings: AlertSettings, sender: Sender, watched: Watched, before: Earlier,
        journal: Path | None, *, live: bool, thread: Callable[[str], Worker] = ThreadWorker, count_s: float = COUNT_S,
    ) -> None:  # fmt: skip
        """`thread` counts a day, for `count_s` at most."""
        self.book = AlertBook(settings.clear_after_s, settings.repeat_hours, settings.warn_after_s)
        self.book.restore(before.told)
        self.sender = sender
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._watched = watched
        self._journal = journal
        self._live = live
        self._counting, self._count_s = Aside("digest", thread), count_s
        self._broken_off = not before.in_order
        digests = (it.key for it in before.told if isinstance(it, AlertChanged) and it.kind == AlertKind.DIGEST)
        self._digests = set(digests)
        self._aside: deque[Event] = deque(maxlen=PUT_ASIDE)
        bus.tap(WATCHED, self._aside.append, where=lambda _: watched.trades())

    async def run(self) -> None:
        """Look, until cancelled; while a day is counted it goes on looking."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_the_days(), name="digest")
            while True:
                self.look()
                await asyncio.sleep(LOOK_S)

    async def _tell_the_days(self) -> None:
        while True:
            await self.tell_the_day()
            await asyncio.sleep(LOOK_S)

    async def run_until_it_trades(self) -> None:
        """Look while the daemon recovers: one that never begins to trade is told of, too."""
        while not self._watched.trades():
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """What has happened since the last look and what is so now: raised, and cleared."""
        now = self._clock.now_ns()
        if not now:
            return
        self._tell(self._noted(now))
        found = self._watched.conditions()
        if found is None:
            return
        self._tell(self.book.look(now, found))
        for keys, target in self.sender.taken():
            if keys:
                self._bus.publish(AlertSent(ts=now, keys=keys, target=target))

    async def tell_the_day(self) -> None:
        """The digest, once a day, after the session's close."""
        now, minutes = self._clock.now_ns(), self._settings.digest_minutes
        close = self._watched.close_ns(now) if now and minutes is not None and self._watched.trades() else None
        if close is None or minutes is None or now < close + int(minutes * 60 * NS_PER_S):
            return
        lasting = tuple(sorted({one.kind.value for one in self.book.standing.values() if not KINDS[one.kind].news}))
        stands = msgspec.structs.replace(self._watched.stands(), standing=lasting)
        key = f"{AlertKind.DIGEST}:{stands.date}"
        if key in self._digests:
            return
        self._digests.add(key)
        message = await self._digest(stands, india_day(now) * DAY_NS - IST_OFFSET_NS)
        if AlertKind.DIGEST not in self._settings.muted:
            self.sender.send(message)
        self._bus.publish(
            AlertChanged(
                ts=now, key=key, kind=AlertKind.DIGEST.value, severity=Severity.INFO, raised=True, text=message.body
            )
        )  # fmt: skip

    async def _digest(self, stands: Stands, since_ns: int) -> Message:
        journal = self._journal
        if journal is None:
            return digest(stands, None)
        try:
            counts = await self._counting.ask(partial(count_day, journal, since_ns, self._live), self._count_s)
        except (UsageError, TimeoutError) as error:
            log.warning("the day can't be counted", reason=str(error))
            counts = None
        return digest(stands, counts)

    def last_word(self, kind: AlertKind, text: str) -> None:
        """What is so as the daemon ends; it is sent, and on no record any more. To be told before `close`."""
        said = condition(kind, Severity.CRITICAL, text)
        change = AlertChanged(
            ts=self._clock.now_ns(), key=said.key, kind=kind.value, severity=said.severity, raised=True, text=said.text
        )
        if self._wanted(change):
            self.sender.send(told(change))
        log.error("alert", kind=change.kind, severity=change.severity.value, text=change.text)

    def close(self) -> None:
        """What waits is tried for a moment; a service that hangs holds up nothing."""
        self.sender.close(CLOSE_S)

    def _noted(self, now: int) -> list[AlertChanged]:
        changes: list[AlertChanged] = []
        if self._broken_off:
            self._broken_off = False
            text = "the process before did not end in order (killed, or by a fault): its log says why"
            changes += self.book.note(now, condition(AlertKind.BROKEN_OFF, Severity.CRITICAL, text))
        while self._aside:
            found = of_event(self._aside.popleft(), self._watched.first)
            changes += self.book.note(now, found) if found is not None else []
        return changes

    def _tell(self, changes: Iterable[AlertChanged]) -> None:
        for change in changes:
            if self._wanted(change):
                self.sender.send(told(change))
            log.info(
                "alert" if change.raised else "alert cleared", kind=change.kind, severity=change.severity.value,
                text=change.text,
            )  # fmt: skip
            self._bus.publish(change)

    def _wanted(self, change: AlertChanged) -> bool:
        settings, kind = self._settings, AlertKind(change.kind)
        if kind in settings.muted or change.severity.rank < settings.minimum.rank:
            return False
        return change.raised or (settings.cleared and not KINDS[kind].news)
