"""Snapshots while the daemon runs: true ones, at the right moments, and none after a crash."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, ReplayClock
from daemon.core.events import AccountSnapshot, ActorRestarted, Event, Fill, Halt, OrderApproved
from daemon.journal.keeping import JournalKeeper
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.recovery.account import Account, recover
from daemon.settings.run import JournalSettings
from tests.samples import OPEN, SBIN, fill_of, intend, journaled

CASH = Decimal(1_000_000)


class Slow(Actor):
    """Books fills a while after they were published, as the portfolio stage does."""

    name = "slow"

    def __init__(self, bus: Bus, account: Account) -> None:
        super().__init__(bus)
        self.account = account
        self.inbox = bus.subscribe(self.name, (Fill,))

    async def handle(self, event: Event) -> None:  # type: ignore[override]
        """Wait, then book."""
        await asyncio.sleep(0)
        self.account.fold([event])


class Desk:
    """A journal, its keeper, and an account that follows."""

    def __init__(self, path: Path, days_later: int = 0) -> None:
        self.bus, self.account = Bus(), Account(CASH)
        self.journal = Journal(path, safe=True)
        self.journal.describe({"started_ts": "1"})
        self.bus.tap(JOURNALED, self.journal.append)
        self.actor = Slow(self.bus, self.account)
        settings = JournalSettings(snapshot_every=100, keep_days=1)
        clock = ReplayClock(OPEN + days_later * DAY_NS)
        self.keeper = JournalKeeper(
            self.bus, self.journal, lambda: self.account.snapshot(OPEN), settings, clock, ReplayClock(OPEN)
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal goes."""
    return tmp_path / "j.sqlite"


async def test_a_snapshot_is_what_the_events_before_it_lead_to(path: Path) -> None:
    """Taken in the middle of a flood, when what was published is handled; a restart reads it and finds the same."""
    desk = Desk(path)
    running = asyncio.create_task(desk.actor.run())
    for number in range(500):
        intent = intend(f"T{number}", quantity=1 + number % 7)
        approval = OrderApproved(ts=OPEN, order_id=intent.order_id)
        desk.account.fold([intent, approval])
        for event in (intent, approval, fill_of(intent)):
            desk.bus.publish(event)
        if number % 3 == 0:
            await desk.bus.idle()
    await desk.bus.idle()
    running.cancel()
    desk.journal.close()
    assert desk.keeper.snapshots >= 8
    whole = Account(CASH)
    for event in journaled(path):
        if isinstance(event, AccountSnapshot):
            assert event.holdings == whole.portfolio.holdings()
            assert event.cash == whole.portfolio.cash
        else:
            whole.fold([event])
    after = recover(path, CASH)
    assert after is not None
    assert after.records < 500
    assert after.portfolio.quantity(SBIN) == whole.portfolio.quantity(SBIN) == desk.account.portfolio.quantity(SBIN)


async def test_what_it_makes_needless_is_deleted(path: Path) -> None:
    """Older than `keep_days` and before a snapshot: gone; the run still reads whole."""
    desk = Desk(path, days_later=2)
    running = asyncio.create_task(desk.actor.run())
    for number in range(1000):
        desk.bus.publish(Halt(ts=OPEN + number, reason="r"))
        if number % 50 == 0:
            desk.bus.publish(fill_of(intend("stranger"), number=number))
            await desk.bus.idle()
            if (written := desk.journal.durable()) is not None:
                await written  # so that no snapshot is passed over for the next
    running.cancel()
    async with asyncio.timeout(30):
        while desk.journal._wanted is not None or desk.journal._doomed or desk.journal._queue:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    desk.journal.close()
    events = journaled(path)
    assert isinstance(events[0], AccountSnapshot)
    assert len(events) < 250


async def test_after_a_crash_no_snapshot_is_taken(path: Path) -> None:
    """What the stage was handling may be lost in memory: only the journal's events are believed then."""
    desk = Desk(path)
    desk.bus.publish(ActorRestarted(ts=1, actor="portfolio", error="a bug", restarts=1))
    running = asyncio.create_task(desk.actor.run())
    for number in range(300):
        desk.bus.publish(fill_of(intend("stranger"), number=number))
        await desk.bus.idle()
    running.cancel()
    desk.journal.close()
    assert desk.keeper.snapshots == 0
