"""Paper on a live feed, on a machine that is a day or some hours wrong.

What is held stays while nobody knows the day, and is closed when it is time for that at the venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import NS_PER_S, LiveClock, MachineReadings, india_day
from daemon.core.errors import StartAgain
from daemon.core.events import Action, Event, Fill, OrderAccepted, OrderApproved, OrderDenied, OrderIntent, Side
from daemon.core.latency import MeasuredLatency
from daemon.feed.live.clock_watch import STAMPS_PAUSE_NS
from daemon.feed.live.frames import Row
from daemon.journal.writer import Journal
from daemon.machine import Machine
from daemon.market.calendar import ist_date
from daemon.plan import RunPlan
from daemon.recovery.account import recover
from tests.samples import CLOSE, DAY, MINUTE, OPEN, SBIN, decide, fill_of, intend, settings_of
from tests.unit.feed.live.links import FakeVenue
from tests.unit.market.masters import put
from tests.unit.sandbox.desk import TOKEN, until

pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")

NOON = OPEN + 60 * MINUTE
"""The market's time."""
TODAY = india_day(NOON)
AWAY = "http://127.0.0.1:9"
"""Where nobody answers: nothing but the ticks says what time it is."""


class WrongReadings(MachineReadings):
    """The machine's clocks, of which the wall's began at some time of the test's."""

    def __init__(self, began_ns: int) -> None:
        self._ahead = began_ns - self.steady_ns()

    def wall_ns(self) -> int:
        """As a battery clock that somebody set wrong."""
        return self.steady_ns() + self._ahead

    def set_forward(self, by_ns: int) -> None:
        """As somebody who sets it right."""
        self._ahead += by_ns


def hold(path: Path) -> None:
    """A journal of this morning: 100 of one share bought, and another hundred sold at a loss of ₹10,000."""
    bought, sold = intend("M1", Side.BUY, 200, ts=OPEN + MINUTE), intend("M2", Side.SELL, 100, ts=OPEN + 2 * MINUTE)
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "1"})
    for intent, fill in ((bought, fill_of(bought)), (sold, fill_of(sold, price=Decimal(700)))):
        approved = OrderApproved(ts=intent.ts, order_id=intent.order_id)
        accepted = OrderAccepted(ts=intent.ts, order_id=intent.order_id, venue_id=intent.order_id)
        for event in (intent, approved, accepted, fill):
            journal.append(event)
    journal.close()


class Paper:
    """A daemon on paper, whose machine's clock is wrong by some time, and the venue's ticks."""

    def __init__(self, directory: Path, wrong_ns: int, venue_ns: int, *changes: str) -> None:
        token = directory / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.venue = FakeVenue()
        self.path = directory / "j.sqlite"
        self.events: list[Event] = []
        settings = settings_of(
            "strategy.name=rules", "supervisor.ladder=[rules, flat]", "feed.source=fyers", f"feed.symbols=[{SBIN}]",
            f"broker.fyers.token_file={token}", f"broker.fyers.calls_file={directory / 'calls'}",
            f"broker.fyers.data_url={AWAY}/data", f"broker.fyers.api_url={AWAY}/api", "risk.max_daily_loss=5000",
            "market.symbol_master.use=never", *changes,
        )  # fmt: skip
        self.wrong_ns, self.volume = wrong_ns, 1000
        self.readings = WrongReadings(venue_ns + wrong_ns)
        machine = Machine(readings=self.readings, gateway=self.venue.connect)
        plan = RunPlan(
            tapes=[], symbols=[], clock=LiveClock(machine.readings), latency=MeasuredLatency(), journal=self.path,
            durable=True, restarts=True, order_prefix="W", recover=True, machine=machine,
        )  # fmt: skip
        self.app = App(settings, plan)
        self.app.bus.tap((OrderIntent, OrderDenied, Fill), self.events.append)

    def of(self, kind: type[Event]) -> list[Event]:
        """What was said of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def trade(self, times: int) -> None:
        """Ticks of today, as the venue stamps them."""
        for _ in range(times):
            self.volume += 1
            now = self.readings.wall_ns() - self.wrong_ns
            self.venue.links[-1].tick(Row(0, now, 700.0, 1, self.volume, 699.9, 700.1, 10, 10, -1))
            await asyncio.sleep(STAMPS_PAUSE_NS / NS_PER_S)


@asynccontextmanager
async def living(directory: Path, wrong_ns: int, venue_ns: int = NOON) -> AsyncIterator[Paper]:
    """Begun at a time of the venue's, until the block ends, then stopped in order."""
    paper = Paper(directory, wrong_ns, venue_ns)
    task = asyncio.create_task(paper.app.run())
    try:
        async with asyncio.timeout(60):
            await until(lambda: paper.venue.links or task.done())
            yield paper
    finally:
        paper.app.stop("enough")
        await task


@pytest.mark.parametrize("wrong_ns", [DAY, -3 * DAY])
async def test_nothing_is_done_by_a_day_that_the_ticks_are_not_of(tmp_path: Path, wrong_ns: int) -> None:
    """Tomorrow or last Friday by the machine: what is held isn't closed, nor the loss of this morning forgotten."""
    hold(tmp_path / "j.sqlite")
    async with living(tmp_path, wrong_ns) as paper:
        watch = paper.app.feed.clock_watch
        await until(lambda: paper.app.desk.open)
        await paper.trade(8)
        await until(lambda: "set it right" in watch.held)
        want = decide(Action.BUY_LONG, 10, ts=paper.app.plan.clock.now_ns(), price=700.0)
        paper.app.bus.publish(want)
        await paper.trade(4)
        assert (paper.of(OrderIntent), paper.of(Fill)) == ([], [])
        assert (paper.app.risk.book.day, paper.app.risk.closing.flatten_reason) == (TODAY, "")
    account = recover(tmp_path / "j.sqlite", Decimal(1_000_000))
    assert account is not None
    assert (account.day, account.held, account.closing) == (TODAY, {SBIN: 100}, {})
    async with living(tmp_path, 0) as paper:  # set right, and started again
        await until(lambda: paper.app.desk.open)
        await paper.trade(8)
        await until(lambda: not paper.app.feed.clock_watch.held)
        paper.app.bus.publish(decide(Action.BUY_LONG, 10, ts=paper.app.plan.clock.now_ns(), price=700.0))
        await until(lambda: paper.of(OrderDenied))
        (denied,) = paper.of(OrderDenied)
        assert isinstance(denied, OrderDenied)
        assert denied.check == "daily_loss"
        assert paper.of(Fill) == []


@pytest.mark.parametrize("wrong_h", [-3, 3])
async def test_it_is_squared_off_when_the_venue_s_ticks_say_so(tmp_path: Path, wrong_h: int) -> None:
    """By a clock that is hours behind, or beyond its own close; nothing is opened, and the line says why."""
    hold(tmp_path / "j.sqlite")
    async with living(tmp_path, wrong_h * 60 * MINUTE, CLOSE - 12 * MINUTE) as paper:
        await until(lambda: paper.app.desk.open)
        assert paper.of(OrderIntent) == []
        await paper.trade(40)
        (intent,) = paper.of(OrderIntent)
        assert isinstance(intent, OrderIntent)
        assert (intent.side, intent.quantity, intent.reason) == (Side.SELL, 100, "square-off time")
        watch = paper.app.feed.clock_watch
        assert watch is not None
        assert watch.held
        assert ("of ticks are ahead of this machine's clock" if wrong_h < 0 else "the venue's ticks") in watch.trouble
        if wrong_h > 0:  # ticks from the future are not taken, and so nothing is filled by them
            await paper.trade(8)
            assert paper.of(Fill)


async def test_on_paper_too_a_clock_that_is_set_forward_into_the_day_is_a_new_start(tmp_path: Path) -> None:
    """Its contracts and lots are of the day on which it began."""
    began = NOON - 3 * DAY
    put(tmp_path, ist_date(began))
    paper = Paper(
        tmp_path, began - NOON, NOON, "market.symbol_master.use=always", f"market.symbol_master.directory={tmp_path}",
        "market.symbol_master.min_rows=1",
    )  # fmt: skip
    task = asyncio.create_task(paper.app.run())
    async with asyncio.timeout(60):
        await until(lambda: paper.venue.links)
        await paper.trade(4)
        paper.readings.set_forward(NOON - began)
        paper.wrong_ns = 0
        while not task.done():
            await paper.trade(1)
    with pytest.raises(StartAgain, match="began with a clock of 2026-01-02, which was set forward by 259"):
        await task
