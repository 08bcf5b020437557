"""The live feed, bars and risk on a machine whose clock is turned: no time is made or lost, and new risk waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.core.events import (
    Action,
    Bar,
    CancelOrder,
    Event,
    FeedStatus,
    OrderApproved,
    OrderDenied,
    OrderIntent,
    TickBatch,
    TimeAdvanced,
)
from daemon.feed.live.clock_watch import UNCONFIRMED, ClockWatch
from daemon.feed.live.feed import LiveFeed
from daemon.feed.live.frames import Row
from daemon.feed.replay import Schedule
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.feed import LiveSettings
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import CLOSE, MINUTE, OPEN, RELIANCE, SBIN, decide, fill_of, intend
from tests.unit.core.readings import FakeReadings
from tests.unit.feed.live.links import FakeLink, FakeVenue
from tests.unit.orders.live import until

NAMES = (SBIN, RELIANCE)
HOUR = 3600.0


class Machine:
    """A machine whose clocks the test turns, the venue's own time, and the path from link to risk."""

    def __init__(self, venue_ns: int, wrong_s: float) -> None:
        self.venue_ns = venue_ns
        self.readings = FakeReadings(venue_ns + round(wrong_s * NS_PER_S))
        self.clock = LiveClock(self.readings)
        self.watch = ClockWatch(self.clock, len(NAMES), 2.0)
        self.links, self.events = FakeVenue(), list[Event]()
        self.bus, calendar = Bus(), MarketCalendar()
        instruments = InstrumentBook(MarketSettings())
        kinds = (Bar, TimeAdvanced, FeedStatus, OrderIntent, OrderApproved, OrderDenied, CancelOrder, TickBatch)
        self.bus.tap(kinds, self.events.append)
        self.feed = LiveFeed(
            self.bus, NAMES, TickFilter(instruments, calendar, 20.0), calendar, Schedule(60, NS_PER_S, 15), self.clock,
            LiveSettings(), self.links.connect, lambda: "token", rng=random.Random(1), clock_watch=self.watch,
        )  # fmt: skip
        self.book, limits = RiskBook(), RiskSettings()
        builder = IntentBuilder(limits, ExecutionSettings(), instruments, "T")
        gate = RiskGate(limits, instruments, calendar, 30)
        self.risk = RiskActor(self.bus, self.book, builder, gate, self.clock, calendar, 15)
        self.bars = BarsActor(self.bus, BarBuilder(calendar, {"1m": 60}, NS_PER_S))

    @property
    def link(self) -> FakeLink:
        """The newest."""
        return self.links.links[-1]

    def of(self, kind: type[Event]) -> list[Any]:
        """Published events of one type."""
        return [event for event in self.events if type(event) is kind]

    def states(self) -> list[tuple[str, str]]:
        """What was said of the whole feed."""
        return [(status.state.value, status.reason) for status in self.of(FeedStatus) if status.symbol is None]

    async def second(self, ticking: bool = True) -> None:
        """A second for everybody: a tick of each symbol, stamped by the venue, and a look at the clock."""
        self.readings.go(1.0)
        self.venue_ns += NS_PER_S
        if ticking:
            read = len(self.of(TickBatch)) + sum(self.feed.tick_filter.rejected.values())
            stamp = self.venue_ns // NS_PER_S * NS_PER_S
            price = 800.0 + stamp // NS_PER_S % 7 * 0.05
            self.link.tick(*(Row(code, stamp, price, 1, -1, np.nan, np.nan, -1, -1, -1) for code in range(2)))
            await until(lambda: len(self.of(TickBatch)) + sum(self.feed.tick_filter.rejected.values()) > read)
        self.feed.tell_time()
        await self.bus.idle()

    async def seconds(self, count: int) -> None:
        """So many, with ticks."""
        for _ in range(count):
            await self.second()

    async def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self.readings.jump(seconds)
        self.feed.tell_time()
        await self.bus.idle()

    async def enter(self) -> OrderApproved | OrderDenied:
        """A decision to buy; risk's answer."""
        now = self.clock.now_ns()
        self.bus.publish(decide(Action.BUY_LONG, 10, ts=now, ts_bar=now))
        await self.bus.idle()
        answer: OrderApproved | OrderDenied = [e for e in self.events if isinstance(e, OrderApproved | OrderDenied)][-1]
        return answer

    async def hold(self, quantity: int) -> None:
        """A position, as a fill makes it."""
        self.bus.publish(fill_of(intend("held", quantity=quantity)))
        await self.bus.idle()


@asynccontextmanager
async def machine(start: int, wrong_s: float = 0.0) -> AsyncIterator[Machine]:
    """A running path; time passes only when the test lets it."""
    it = Machine(start, wrong_s)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(it.feed.run()), tasks.create_task(it.bars.run()), tasks.create_task(it.risk.run())]
        await it.links.made.wait()
        yield it
        for task in running:
            task.cancel()


async def test_a_clock_set_back_an_hour_stops_nothing_but_new_risk() -> None:
    """Bars close, entries are denied until the venue confirms, exits aren't, and 15:15 is by the venue's time."""
    async with machine(CLOSE - 60 * MINUTE) as it:
        await it.seconds(70)
        assert isinstance(await it.enter(), OrderApproved)
        await it.hold(7)
        await it.seconds(3)
        await it.jump(-HOUR)
        denied = await it.enter()
        assert isinstance(denied, OrderDenied)
        assert denied.check == "stale_feed"
        assert "the machine's clock jumped by -3600.0 s" in denied.value
        await it.second(ticking=False)
        now = it.clock.now_ns()
        it.bus.publish(decide(Action.CLOSE_LONG, 7, ts=now, ts_bar=now))
        await it.bus.idle()
        assert isinstance(it.events[-1], OrderApproved)
        bars = len(it.of(Bar))
        await it.seconds(130)
        assert [bar.ts_close for bar in it.of(Bar)[bars:]][::2] == [CLOSE - 58 * MINUTE, CLOSE - 57 * MINUTE]
        assert it.states()[-1][0] == "connected"
        assert isinstance(await it.enter(), OrderApproved)
        assert it.watch.trouble == "the machine's clock is 3600.0 s behind the daemon's time"
    for moment in it.of(TimeAdvanced):
        assert moment.ts <= it.venue_ns


async def test_square_off_is_at_its_time_whatever_the_wall_clock_does() -> None:
    """Set back before it: it comes at 15:15. Set forward before it: not a second earlier."""
    for jump_s in (-HOUR, HOUR):
        async with machine(CLOSE - 17 * MINUTE) as it:
            await it.seconds(10)
            await it.hold(7)
            await it.jump(jump_s)
            await it.seconds(100)
            assert it.of(OrderIntent) == []
            await it.seconds(12)
            (square_off,) = it.of(OrderIntent)
            assert (square_off.reason, square_off.quantity) == ("square-off time", 7)
            assert CLOSE - 15 * MINUTE <= square_off.ts < CLOSE - 15 * MINUTE + NS_PER_S


async def test_a_clock_set_forward_closes_no_bar_early() -> None:
    """A bar closes when its minute is over at the venue."""
    async with machine(OPEN + 5 * MINUTE) as it:
        await it.seconds(70)
        closed = [bar.ts_close for bar in it.of(Bar)]
        await it.jump(HOUR)
        await it.seconds(20)
        assert [bar.ts_close for bar in it.of(Bar)] == closed
        await it.seconds(40)
        assert max(bar.ts_close for bar in it.of(Bar)) == OPEN + 7 * MINUTE


async def test_a_start_on_a_wrong_clock_is_mended_while_nothing_is_dared() -> None:
    """An hour slow: all ticks are from the future. Set right, time goes forward, bars close, the link is the same."""
    async with machine(OPEN + 90 * MINUTE, wrong_s=-HOUR) as it:
        await it.seconds(6)
        assert it.of(TickBatch) == []
        assert it.states()[-1][1].startswith("the venue's ticks are stamped 3600.")
        assert isinstance(await it.enter(), OrderDenied)
        await it.jump(HOUR)
        await it.seconds(20)
        assert it.states()[-1][0] == "connected"
        assert isinstance(await it.enter(), OrderApproved)
        await it.seconds(60)
        assert it.of(Bar)[-1].ts_close == OPEN + 91 * MINUTE
        assert len(it.links.links) == 1
    moments = [moment.ts for moment in it.of(TimeAdvanced)]
    assert moments == sorted(moments)


async def test_the_first_ticks_of_a_link_end_no_hold() -> None:
    """They say that the feed flows; that the time is right takes some that move."""
    async with machine(OPEN + 30 * MINUTE) as it:
        assert it.states()[0] == ("stale", UNCONFIRMED)
        await it.second()
        await it.second()
        assert it.states()[-1] == ("stale", UNCONFIRMED)
        assert isinstance(await it.enter(), OrderDenied)
        await it.seconds(4)
        assert it.states()[-1][0] == "connected"
