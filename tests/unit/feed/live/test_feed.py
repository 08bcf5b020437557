"""The live feed over a gateway that the test drives, on a clock that runs forty times as fast as the machine's."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.calls.outcome import Done, NotSent, Outcome
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, LiveClock, PacedClock, ReplayClock
from daemon.core.errors import SettingsError
from daemon.core.events import Bar, Event, FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.feed.live.feed import LiveFeed
from daemon.feed.live.frames import Counts, Refused, Row, Trouble
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.instruments import InstrumentBook
from daemon.market.records import Quote
from daemon.settings.feed import LiveSettings
from daemon.settings.market import MarketSettings
from daemon.tape.format import TapeWriter
from tests.samples import OPEN, RELIANCE, SBIN
from tests.threads import Hung
from tests.unit.core.readings import FakeReadings
from tests.unit.feed.live.links import FakeLink, FakeVenue
from tests.unit.orders.live import until

SPEED = 40.0
NAMES = (SBIN, RELIANCE)
MINUTE = 60 * NS_PER_S


class Quoter:
    """Implements `Quotes` with prices that the test sets."""

    def __init__(self) -> None:
        self.prices: dict[str, str] = {}
        self.asked: list[list[str]] = []
        self.closed = False
        self.disk = Aside("quotes token")

    async def quotes(self, symbols: list[str]) -> Outcome[list[Quote]]:
        """Those there are; none at all is a venue that is away."""
        self.asked.append(symbols)
        if not self.prices:
            return NotSent("away")
        return Done([Quote(symbol=symbol, last=Decimal(self.prices[symbol])) for symbol in symbols])

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


class Stage:
    """A live feed, the venue behind it, and everything that it published."""

    def __init__(self, start: int | None, clock: LiveClock | None = None, **settings: Any) -> None:
        self.clock: LiveClock | PacedClock = PacedClock(SPEED) if clock is None else clock
        if isinstance(self.clock, PacedClock) and start is not None:
            self.clock.start(start)
        self.venue = FakeVenue()
        self.quoter = Quoter()
        self.token: str | None = "one"
        self.raw: list[TickBatch] = []
        self.events: list[Event] = []
        self.calendar = MarketCalendar()
        self.bus = Bus()
        bars = BarBuilder(self.calendar, {"1m": 60}, NS_PER_S)
        self.bars = BarsActor(self.bus, bars)
        self.bus.tap((TickBatch, TimeAdvanced, FeedStatus, Bar), self.events.append)
        limits = LiveSettings(**({"silence_s": 3000.0} | settings))
        self.feed = LiveFeed(
            self.bus, NAMES, TickFilter(InstrumentBook(MarketSettings()), self.calendar, 20.0), self.calendar,
            Schedule(60, NS_PER_S, 15), self.clock, limits, self.venue.connect, self._token,
            self.quoter, self.raw.append, random.Random(1),
        )  # fmt: skip

    def _token(self) -> str:
        if self.token is None:
            raise SettingsError("no token: hrmd login makes one")
        return self.token

    @property
    def link(self) -> FakeLink:
        """The newest."""
        return self.venue.links[-1]

    def tick(self, price: float, symbol: str = SBIN, age_s: float = 0.0) -> None:
        """A tick stamped by the feed's own clock, or some seconds ago."""
        ts = self.clock.now_ns() - round(age_s * NS_PER_S)
        self.link.tick(Row(NAMES.index(symbol), ts, price, 1, -1, np.nan, np.nan, -1, -1, -1))

    def of(self, kind: type[Event]) -> list[Any]:
        """Published events of one type."""
        return [event for event in self.events if type(event) is kind]

    def said(self) -> list[tuple[str, str | None, str]]:
        """The feed's states so far."""
        return [(status.state.value, status.symbol, status.reason) for status in self.of(FeedStatus)]

    async def told(self, state: FeedState, symbol: str | None = None, times: int = 1) -> str:
        """Wait for a state; returns its reason."""

        def found() -> list[FeedStatus]:
            return [event for event in self.of(FeedStatus) if (event.state, event.symbol) == (state, symbol)]

        await until(lambda: len(found()) >= times)
        return found()[times - 1].reason


@asynccontextmanager
async def staged(
    start: int | None = OPEN + 5 * MINUTE, clock: LiveClock | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    """A running feed with its bars, on a fast clock or on the given one."""
    stage = Stage(start, clock, **settings)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(stage.feed.run()), tasks.create_task(stage.bars.run())]
        await stage.venue.made.wait()
        yield stage
        for task in running:
            task.cancel()


async def kept_ticking(stage: Stage, done: Callable[[], Any], *symbols: str) -> None:
    """Ticks of these symbols until something has happened."""
    price = 800.0
    while not done():
        for symbol in symbols or (SBIN,):
            stage.tick(price := price + 0.05, symbol)
        await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_ticks_come_stamped_after_all_that_was_told() -> None:
    """And before all that is told later: the cut that a replay of the record makes again."""
    async with staged() as stage:
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= 2)
    told = 0
    for event in stage.events:
        if isinstance(event, TimeAdvanced):
            assert event.ts > told
            told = event.ts
        elif isinstance(event, TickBatch):
            assert int(event.ts_recv.min()) > told
            told = max(told, int(event.ts_recv.max()) - 1)
    moments = {event.ts for event in stage.of(TimeAdvanced)}
    assert {bar.ts_close + NS_PER_S for bar in stage.of(Bar)} <= moments


async def test_raw_batches_are_recorded_and_the_filter_decides_the_rest() -> None:
    """A tick of nobody's price is on the record, not on the bus."""
    async with staged() as stage:
        stage.tick(800.0)
        await until(lambda: stage.raw)
        stage.tick(5.0)
        await until(lambda: len(stage.raw) == 2)
        assert len(stage.of(TickBatch)) == 1
        assert stage.feed.tick_filter.rejected["bad_price"] == 1


@pytest.mark.slow
async def test_a_start_inside_a_session_is_a_gap() -> None:
    """STALE first, CONNECTED with the first tick, and the first bar is marked."""
    async with staged() as stage:
        await stage.told(FeedState.STALE)
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= 2)
        states = [state for state, symbol, _ in stage.said() if symbol is None]
        assert states[:2] == ["stale", "connected"]
        assert stage.of(Bar)[0].gap


async def test_a_link_made_before_the_open_is_no_gap() -> None:
    """Connected while the market is closed; the first bar of the day is whole."""
    readings = FakeReadings(OPEN - 30 * NS_PER_S)
    async with staged(clock=LiveClock(readings), stale_after_s=600.0) as stage:
        assert await stage.told(FeedState.CONNECTED) == "subscribed, the market is closed"
        for second in range(-29, 63):
            readings.go(1.0)
            if second > 0:
                stage.tick(800.0 + second * 0.05)
                await until(lambda second=second: len(stage.of(TickBatch)) >= second)
            stage.feed.tell_time()
        await until(lambda: stage.of(Bar))
        assert stage.said() == [("connected", None, "subscribed, the market is closed")]
        assert [bar.gap for bar in stage.of(Bar)] == [False]


async def test_a_day_that_nobody_confirmed_has_bars() -> None:
    """The first weekday of 2027, from half a minute before its open on."""
    opened = ist_ns(dt.date(2027, 1, 1), "09:15")
    readings = FakeReadings(opened - 30 * NS_PER_S)
    async with staged(clock=LiveClock(readings), stale_after_s=600.0) as stage:
        await stage.told(FeedState.CONNECTED)
        for second in range(-29, 63):
            readings.go(1.0)
            if second > 0:
                stage.tick(800.0 + second * 0.05)
                await until(lambda second=second: len(stage.of(TickBatch)) >= second)
            stage.feed.tell_time()
        await until(lambda: stage.of(Bar))
        assert [(bar.ts_open, bar.gap) for bar in stage.of(Bar)] == [(opened, False)]


@pytest.mark.slow
async def test_a_link_that_ends_is_replaced_and_the_gap_is_marked() -> None:
    """STALE at once, then a second link with everything subscribed; the bar of the gap and the next are marked."""
    async with staged() as stage:
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= 2)
        first = stage.link
        first.say(Refused("the connection was closed", token=False))
        reason = await stage.told(FeedState.STALE, times=2)
        assert reason == "the connection was closed"
        await until(lambda: len(stage.venue.links) == 2)
        assert first.killed
        seen = len(stage.of(Bar))
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= seen + 3)
        gaps = [bar.gap for bar in stage.of(Bar)[seen:]]
        assert gaps[0]
        assert not gaps[-1]
        assert "without" in stage.said()[-1][2]
        assert stage.feed.links == 2


@pytest.mark.slow
async def test_what_was_recorded_replays_to_the_same_bars(tmp_path: Path) -> None:
    """Cut at the same places, whatever happened to the link; the gaps are told by the journal."""
    async with staged() as stage:
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= 3, *NAMES)
        stage.link.say(Refused("the connection was closed", token=False))
        await until(lambda: len(stage.venue.links) == 2)
        seen = len(stage.of(Bar))
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= seen + 4, *NAMES)
    with TapeWriter(tmp_path / "t.parquet", columns=("ts_recv", "last_qty")) as writer:
        for batch in stage.raw:
            writer.write(batch)
    bus, clock, replayed = Bus(), ReplayClock(), list[Bar]()
    bars = BarsActor(bus, BarBuilder(stage.calendar, {"1m": 60}, NS_PER_S))
    bus.tap((Bar,), replayed.append)
    again = TapeFeed(
        bus, Tapes([tmp_path / "t.parquet"], [], 4096),
        TickFilter(InstrumentBook(MarketSettings()), stage.calendar, 20.0), stage.calendar,
        Schedule(60, NS_PER_S, 15), clock,
    )  # fmt: skip
    handling = asyncio.create_task(bars.run())
    await again.run()
    handling.cancel()
    live = [msgspec.structs.replace(bar, gap=False) for bar in stage.of(Bar)]
    assert replayed[: len(live)] == live


async def test_a_mute_link_is_killed() -> None:
    """Half open: nothing comes and nothing is closed."""
    async with staged(silence_s=30.0, restart_first_s=0.01) as stage:
        await kept_ticking(stage, lambda: stage.of(TickBatch))
        mute = stage.link
        await until(lambda: mute.killed)
        assert (await stage.told(FeedState.STALE, times=2)).startswith("no ticks for ")
        await until(lambda: len(stage.venue.links) > 1)


@pytest.mark.slow
async def test_a_bar_that_closes_in_silence_is_marked_before_it_does() -> None:
    """The link isn't given up yet, but what the bar missed nobody knows."""
    async with staged(silence_s=10_000.0) as stage:
        await kept_ticking(stage, lambda: len(stage.of(Bar)) >= 2)
        seen = len(stage.of(Bar))
        await until(lambda: len(stage.of(Bar)) > seen)
        if stage.of(Bar)[seen].ticks:
            assert stage.of(Bar)[seen].gap
        assert "as a bar closes" in await stage.told(FeedState.STALE, times=2)
        assert not stage.link.killed


@pytest.mark.slow
async def test_a_silent_night_ends_no_link() -> None:
    """An hour after the close without a tick: no status, no restart."""
    async with staged(OPEN + 380 * MINUTE) as stage:
        await until(lambda: stage.clock.now_ns() > OPEN + 382 * MINUTE)
        assert [state for state, _, _ in stage.said()] == ["connected"]
        assert len(stage.venue.links) == 1
        assert stage.feed.freshness.stale == {}


@pytest.mark.slow
async def test_a_market_that_stands_still_after_its_close_is_no_fault() -> None:
    """From 15:15 on an index stands still until 15:28 (since 2026-08-03): its session ends before."""
    close = 1_795_427_100 * NS_PER_S  # 2026-11-23 15:15 IST
    async with staged(close - 20 * NS_PER_S) as stage:
        await kept_ticking(stage, lambda: stage.clock.now_ns() > close)
        seen = len(stage.said())
        await until(lambda: stage.clock.now_ns() > close + 300 * NS_PER_S)
        assert len(stage.said()) == seen
        assert not stage.link.killed


async def test_a_symbol_without_ticks_goes_stale_and_comes_back() -> None:
    """The other one, and the feed, are not touched."""
    async with staged(stale_after_s=20.0) as stage:
        await kept_ticking(stage, lambda: any(symbol == RELIANCE for _, symbol, _ in stage.said()))
        assert await stage.told(FeedState.STALE, RELIANCE) == "no recent tick yet, limit 20 s"
        back = lambda: ("connected", RELIANCE, "ticks again") in stage.said()  # noqa: E731
        await kept_ticking(stage, back, SBIN, RELIANCE)
        assert stage.feed.freshness.stale == {}
        assert SBIN not in [symbol for _, symbol, _ in stage.said()]


async def test_a_refused_token_waits_for_a_new_one() -> None:
    """No storm of attempts; the new token ends the wait, and the reason says what to do."""
    async with staged(restart_longest_s=1000.0) as stage:
        stage.venue.refusing = True
        stage.link.say(Refused("the token has expired", token=True))
        assert await stage.told(FeedState.STALE, times=2) == "the token has expired: log in again (hrmd login)"
        stage.venue.refusing = False
        assert stage.feed.links == 1
        stage.token = "two"
        await until(lambda: len(stage.venue.links) == 2)
        assert stage.link.token == "two"
        await kept_ticking(stage, lambda: stage.of(TickBatch))


async def test_a_token_file_that_is_gone_is_waited_for() -> None:
    """Its own message is the reason."""
    async with staged() as stage:
        await kept_ticking(stage, lambda: stage.of(TickBatch))
        stage.token = None
        stage.link.say(Refused("closed", token=False))
        assert await stage.told(FeedState.STALE, times=2) == "closed"
        assert await stage.told(FeedState.STALE, times=3) == "no token: hrmd login makes one"
        stage.token = "two"
        await until(lambda: len(stage.venue.links) == 2)


async def test_a_token_file_on_a_disk_that_hangs_holds_up_no_time() -> None:
    """Moments are told while the link waits for its token, and it comes when the disk goes on."""
    async with staged() as stage:
        hung = Hung()
        stage.feed.read_by(hung.thread)
        stage.link.say(Refused("closed", token=False))
        await until(lambda: hung.begun)
        told = len(stage.of(TimeAdvanced))
        await until(lambda: len(stage.of(TimeAdvanced)) > told + 3)
        assert len(stage.venue.links) == 1
        hung.goes_on.set()
        await until(lambda: len(stage.venue.links) == 2)


async def test_a_gateway_that_grows_is_replaced() -> None:
    """By what it says of itself; complaints of the venue end nothing."""
    async with staged(max_gateway_mb=100.0, restart_first_s=0.01) as stage:
        stage.link.say(Trouble(-300, "no such symbol"), Counts(1, 1, 0, 0, 99 * 1024, {}, {}, {}))
        await until(lambda: stage.feed.counts)
        assert not stage.link.killed
        stage.link.say(Counts(1, 1, 0, 0, 101 * 1024, {}, {}, {}))
        await until(lambda: len(stage.venue.links) == 2)
        assert stage.venue.links[0].killed


async def test_a_symbol_that_the_sdk_lost_is_won_back_by_a_new_link() -> None:
    """One share ticks, the other doesn't, and the gateway says that something was swallowed."""
    async with staged(stale_after_s=20.0, restart_first_s=0.01) as stage:
        await kept_ticking(stage, lambda: RELIANCE in stage.feed.freshness.stale)
        stage.link.say(Counts(9, 9, 0, 0, 1, {}, {}, {"ZeroDivisionError": 1}))
        await kept_ticking(stage, lambda: len(stage.venue.links) == 2)
        reasons = [reason for _, symbol, reason in stage.said() if symbol is None]
        assert f"the SDK lost its hold of {RELIANCE}" in reasons


async def test_a_quote_that_differs_makes_its_symbol_stale_until_it_agrees() -> None:
    """With both numbers; ticks alone don't clear it."""
    async with staged(compare_every_s=0.05) as stage:
        stage.quoter.prices = {SBIN: "900", RELIANCE: "1"}
        stage.tick(800.0)
        assert await stage.told(FeedState.STALE, SBIN) == "feed 800, quote 900: more than 1 % apart"
        stage.quoter.prices[SBIN] = "801"
        assert await stage.told(FeedState.CONNECTED, SBIN) == "feed and quote agree again"
        assert stage.feed.distrusted == {}
    await stage.feed.close()
    assert stage.quoter.closed


async def test_without_quotes_nothing_is_judged() -> None:
    """A venue that doesn't answer makes nobody stale."""
    async with staged(compare_every_s=0.02) as stage:
        stage.tick(800.0)
        await until(lambda: len(stage.quoter.asked) > 1)
        assert stage.feed.distrusted == {}


async def test_in_a_rehearsal_the_first_tick_says_what_time_it_is() -> None:
    """Nothing is told before it."""
    async with staged(start=None) as stage:
        await asyncio.sleep(0.3)
        assert stage.events == []
        stage.link.tick(Row(0, OPEN + MINUTE, 800.0, 1, 5, np.nan, np.nan, -1, -1, -1))
        await until(lambda: stage.of(TickBatch))
        assert stage.clock.now_ns() >= OPEN + MINUTE + NS_PER_S // 2
        assert stage.feed.tick_filter.rejected == dict.fromkeys(stage.feed.tick_filter.rejected, 0)


@pytest.mark.parametrize("lead", [-10 * MINUTE, MINUTE])
async def test_the_first_tick_of_a_rehearsal_is_no_reason_for_another_link(lead: int) -> None:
    """The time jumps from nothing to that of the tape, before the open or after it; no time has passed for the link."""
    async with staged(start=None, start_s=3000.0) as stage:
        stage.feed.tell_time()
        stage.link.tick(Row(0, OPEN + lead, 800.0, 1, 5, np.nan, np.nan, -1, -1, -1))
        await until(lambda: stage.of(FeedStatus))
        stage.feed.tell_time()
        await until(lambda: stage.clock.now_ns() > OPEN + lead + 30 * NS_PER_S)
        assert len(stage.venue.links) == 1
        assert not stage.link.killed


async def test_a_link_that_is_slow_to_subscribe_outlives_the_first_tick_of_a_rehearsal() -> None:
    """Half a century between two looks at the clock is no time that the link took."""
    async with staged(start=None, start_s=3000.0) as stage:
        silent = FakeLink("a link that doesn't say that it is subscribed")
        stage.venue.next_link = silent
        stage.link.kill()
        await until(lambda: stage.link is silent)
        silent.tick(Row(0, OPEN + MINUTE, 800.0, 1, 5, np.nan, np.nan, -1, -1, -1))
        await until(lambda: stage.of(TickBatch))
        stage.feed.tell_time()
        assert not silent.killed


async def test_a_spawn_that_fails_is_tried_again() -> None:
    """No file descriptors left, say: the daemon lives on."""
    stage = Stage(OPEN + 5 * MINUTE, restart_first_s=0.01)
    broken = [OSError(24, "Too many open files")]
    connect = stage.venue.connect

    @asynccontextmanager
    async def unlucky(token: str) -> AsyncIterator[FakeLink]:
        if broken:
            raise broken.pop()
        async with connect(token) as link:
            yield link

    feed = LiveFeed(
        stage.bus, NAMES, stage.feed.tick_filter, stage.calendar, Schedule(60, NS_PER_S, 15), stage.clock,
        LiveSettings(restart_first_s=0.01), unlucky, lambda: "one",
    )  # fmt: skip
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run())
        await stage.venue.made.wait()
        running.cancel()
    assert not broken
    assert feed.links == 2
