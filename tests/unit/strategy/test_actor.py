"""The strategy stage: one decision for each complexity, in order, stamped with the run's time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.clock import Clock, LiveClock, ReplayClock
from daemon.core.events import Action, Decision, Event, InferenceMeasured, StrategySwapped
from daemon.core.latency import FixedLatency, Latency, MeasuredLatency
from daemon.strategy.actor import StrategyActor
from strategies.base import MarketView, Moment, Strategy, decision
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies.moments import CALENDAR, MINUTE, VIEW, complexity_at, make_bar, position


class Noting:
    """A strategy that keeps its moments and the thread it was asked on; a gate can hold it back."""

    def __init__(self, name: str, *, in_thread: bool) -> None:
        self.name = name
        self.in_thread = in_thread
        self.moments: list[Moment] = []
        self.threads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def decide(self, moment: Moment) -> Decision:
        """Buy as many as there are bars."""
        self.gate.wait(20)
        self.threads.append(threading.current_thread().name)
        if self.broken:
            raise RuntimeError("as asked")
        self.moments.append(moment)
        return decision(moment, self.name, Action.BUY_LONG, len(moment.bars), 0.5, "")


class Stage:
    """A bus, the actor on it, and everything that it published."""

    def __init__(self, strategies: Sequence[Strategy], executor: ThreadPoolExecutor, clock: Clock, latency: Latency):
        self.bus = Bus()
        self.heard: list[Event] = []
        self.bus.tap((Decision, InferenceMeasured), self.heard.append)
        named = {strategy.name: strategy for strategy in strategies}
        self.actor = StrategyActor(
            self.bus, MarketView(VIEW, CALENDAR), named, strategies[0].name, clock, latency, executor, ("5m", "30m")
        )

    @property
    def decisions(self) -> list[Decision]:
        """The decisions so far."""
        return [event for event in self.heard if isinstance(event, Decision)]

    def close_bar(self, n: int, *symbols: str) -> None:
        """Publish the n-th bar of each symbol and then the complexities, as the stages before do."""
        for symbol in symbols or ("AAA",):
            self.bus.publish(make_bar(n, 100.0 + n, symbol=symbol))
        for symbol in symbols or ("AAA",):
            self.bus.publish(complexity_at(OPEN_NS + (n + 1) * 5 * MINUTE, symbol=symbol))

    async def idle(self) -> None:
        """Wait until all is handled."""
        async with asyncio.timeout(20):
            await self.bus.idle()


@asynccontextmanager
async def stage(
    *strategies: Strategy, clock: Clock | None = None, latency: Latency | None = None
) -> AsyncIterator[Stage]:
    """Run the actor with one inference thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="inference") as executor:
        made = Stage(strategies, executor, clock or ReplayClock(OPEN_NS), latency or FixedLatency(0.0))
        task = asyncio.create_task(made.actor.run())
        try:
            yield made
        finally:
            task.cancel()


async def test_each_complexity_gets_one_decision() -> None:
    """Of the active strategy, about the bar that closed, on the loop's own thread, without a measurement."""
    rules = Noting("rules", in_thread=False)
    async with stage(rules) as it:
        for n in range(3):
            it.close_bar(n)
        await it.idle()
    assert [(d.strategy, d.symbol, d.quantity, d.ts_bar) for d in it.decisions] == [
        ("rules", "AAA", n + 1, OPEN_NS + (n + 1) * 5 * MINUTE) for n in range(3)
    ]
    assert set(rules.threads) == {threading.current_thread().name}
    assert len(it.heard) == 3


async def test_it_remembers_bars_of_its_intervals_and_positions() -> None:
    """Coarse bars and positions are in the moment; bars of other intervals are not even queued."""
    rules = Noting("rules", in_thread=False)
    async with stage(rules) as it:
        it.bus.publish(make_bar(0, 50.0, interval="1m"))
        assert it.bus.pending == 0
        it.bus.publish(make_bar(0, 70.0, interval="30m"))
        it.bus.publish(position(30))
        it.close_bar(0)
        await it.idle()
    (moment,) = rules.moments
    assert (moment.position, len(moment.bars), len(moment.coarse)) == (30, 1, 1)


async def test_a_slow_strategy_thinks_on_the_inference_thread() -> None:
    """The loop goes on meanwhile; what it took is published before the decision."""
    hrm = Noting("hrm", in_thread=True)
    hrm.gate.clear()
    async with stage(hrm) as it:
        it.close_bar(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert it.decisions == []
        assert it.bus.pending > 0
        hrm.gate.set()
        await it.idle()
    measured, decided = it.heard
    assert isinstance(measured, InferenceMeasured)
    assert isinstance(decided, Decision)
    assert measured.symbol == "AAA"
    assert measured.elapsed_ns > 0
    assert hrm.threads[0].startswith("inference")


async def test_decisions_leave_in_the_order_of_their_bars() -> None:
    """Bars and positions that come while it thinks wait: each decision sees the market as of its own bar."""
    hrm = Noting("hrm", in_thread=True)
    hrm.gate.clear()
    async with stage(hrm) as it:
        it.close_bar(0, "AAA", "BBB")
        for _ in range(20):
            await asyncio.sleep(0)
        it.bus.publish(position(30))
        it.close_bar(1, "AAA", "BBB")
        hrm.gate.set()
        await it.idle()
    assert [(d.symbol, d.quantity) for d in it.decisions] == [("AAA", 1), ("BBB", 1), ("AAA", 2), ("BBB", 2)]
    assert [(m.symbol, len(m.bars), m.position) for m in hrm.moments] == [
        ("AAA", 1, 0), ("BBB", 1, 0), ("AAA", 2, 30), ("BBB", 2, 0),
    ]  # fmt: skip


async def test_a_swap_holds_from_its_place_in_the_order() -> None:
    """The next complexity is the new strategy's; both have seen the same market."""
    rules, other = Noting("rules", in_thread=False), Noting("other", in_thread=True)
    async with stage(rules, other) as it:
        it.close_bar(0)
        it.bus.publish(StrategySwapped(ts=0, old="rules", new="other", reason=""))
        it.close_bar(1)
        await it.idle()
    assert [(d.strategy, d.quantity) for d in it.decisions] == [("rules", 1), ("other", 2)]


async def test_flat_decides_nothing() -> None:
    """Below the last rung every complexity is answered with a HOLD that says why, and is no failure."""
    rules = Noting("rules", in_thread=False)
    async with stage(rules) as it:
        it.bus.publish(StrategySwapped(ts=0, old="rules", new="flat", reason=""))
        it.close_bar(0)
        await it.idle()
    (found,) = it.decisions
    assert (found.strategy, found.action, found.failed) == ("flat", Action.HOLD, False)
    assert found.reason == "no strategy is in charge"
    assert rules.moments == []


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_decision_is_stamped_with_the_run_s_time(in_thread: bool) -> None:
    """Its time is the clock's at the asking plus the latency; without a latency it is the asking itself."""
    asked = OPEN_NS + 5 * MINUTE + 123
    for latency, ns in ((FixedLatency(40.0), 40_000_000), (FixedLatency(0.0), 0), (MeasuredLatency(), 0)):
        clock = ReplayClock(asked)
        async with stage(Noting("any", in_thread=in_thread), clock=clock, latency=latency) as it:
            it.close_bar(0)
            await it.idle()
        (found,) = it.decisions
        assert (found.ts, found.latency_ns, found.ts_bar) == (asked + ns, ns, OPEN_NS + 5 * MINUTE)


async def test_measured_latency_is_the_clock_s() -> None:
    """On a live clock the time that thinking took is in the decision."""
    async with stage(Noting("hrm", in_thread=True), clock=LiveClock(), latency=MeasuredLatency()) as it:
        it.close_bar(0)
        await it.idle()
    (found,) = it.decisions
    assert found.latency_ns > 0


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_crash_reaches_the_supervisor_and_loses_one_decision(in_thread: bool) -> None:
    """The exception leaves `run`; restarted, the stage goes on with the next bar and what it remembers."""
    hrm = Noting("hrm", in_thread=in_thread)
    with ThreadPoolExecutor(1) as executor:
        it = Stage([hrm], executor, ReplayClock(OPEN_NS), FixedLatency(0.0))
        hrm.broken = True
        it.close_bar(0)
        with pytest.raises(RuntimeError, match="as asked"):
            await it.actor.run()
        assert it.bus.pending == 0
        hrm.broken = False
        task = asyncio.create_task(it.actor.run())
        it.close_bar(1)
        await it.idle()
        task.cancel()
    assert [d.quantity for d in it.decisions] == [2]


async def test_nothing_of_a_decision_but_its_time_is_changed() -> None:
    """The stage stamps and publishes what the strategy said."""
    rules = Noting("rules", in_thread=False)
    async with stage(rules, latency=FixedLatency(7.0)) as it:
        it.close_bar(0)
        await it.idle()
    (found,) = it.decisions
    said = decision(rules.moments[0], "rules", Action.BUY_LONG, 1, 0.5, "")
    assert found == msgspec.structs.replace(said, ts=OPEN_NS + 7_000_000, latency_ns=7_000_000)


class Hurried(Noting):
    """A strategy that notes how much time it was given."""

    def __init__(self) -> None:
        super().__init__("hrm", in_thread=True)
        self.asked: list[tuple[str, int, int]] = []

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Note and decide."""
        self.asked.append((moment.symbol, asked_ns, waiting))
        return self.decide(moment)


async def test_a_newer_bar_cancels_an_older_request() -> None:
    """What is being thought about goes on, what still waits is passed over, the newest of each symbol is decided."""
    hrm, clock = Hurried(), ReplayClock(OPEN_NS)
    hrm.gate.clear()
    async with stage(hrm, clock=clock) as it:
        for n in range(3):
            it.close_bar(n, "AAA", "BBB")
            for _ in range(20):
                await asyncio.sleep(0)
            clock.advance(OPEN_NS + (n + 1) * MINUTE)
        hrm.gate.set()
        await it.idle()
    assert [(d.symbol, d.quantity) for d in it.decisions] == [("AAA", 1), ("AAA", 3), ("BBB", 3)]
    assert it.actor.superseded == 3


async def test_the_time_runs_from_the_asking() -> None:
    """Each is told when it was asked for and how many share the time; the last has it for itself."""
    hrm, clock = Hurried(), ReplayClock(OPEN_NS)
    async with stage(hrm, clock=clock) as it:
        it.close_bar(0, "AAA", "BBB", "CCC")
        clock.advance(OPEN_NS + MINUTE)
        await it.idle()
    assert hrm.asked == [("AAA", OPEN_NS, 3), ("BBB", OPEN_NS, 2), ("CCC", OPEN_NS, 1)]
