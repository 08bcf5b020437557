"""The strategy stage: one decision for each complexity, in order, stamped with the run's time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.clock import Clock, LiveClock, ReplayClock
from daemon.core.errors import StrategyHung
from daemon.core.events import (
    Action,
    Decision,
    Event,
    InferenceMeasured,
    ShadowDecided,
    ShadowStrategy,
    StrategySwapped,
)
from daemon.core.ids import decision_id
from daemon.core.latency import FixedLatency, Latency, MeasuredLatency
from daemon.strategy.actor import StrategyActor, ThinkingLimit
from strategies.base import HUNG, LATE, NOT_FINITE, RAISED, UNFIT, MarketView, Moment, Strategy, decision, unthought
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies.moments import CALENDAR, MINUTE, VIEW, complexity_at, make_bar, position

PATIENT = ThinkingLimit(60.0, 3)
HASTY = ThinkingLimit(0.2, 1)
"""One fresh start a day."""


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

    def __init__(self, strategies: Sequence[Strategy], limit: ThinkingLimit, clock: Clock, latency: Latency) -> None:
        self.bus = Bus()
        self.heard: list[Event] = []
        self.bus.tap((Decision, InferenceMeasured), self.heard.append)
        named = {strategy.name: strategy for strategy in strategies}
        self.actor = StrategyActor(
            self.bus, MarketView(VIEW, CALENDAR), named, strategies[0].name, clock, latency, limit, ("5m", "30m")
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
        async with asyncio.timeout(60):
            await self.bus.idle()

    def swap(self, new: str) -> None:
        """Put another strategy in charge."""
        self.bus.publish(StrategySwapped(ts=0, old=self.actor.active, new=new, reason=""))


@asynccontextmanager
async def stage(
    *strategies: Strategy, clock: Clock | None = None, latency: Latency | None = None, limit: ThinkingLimit = PATIENT
) -> AsyncIterator[Stage]:
    """Run the actor."""
    made = Stage(strategies, limit, clock or ReplayClock(OPEN_NS), latency or FixedLatency(0.0))
    task = asyncio.create_task(made.actor.run())
    try:
        yield made
    finally:
        task.cancel()
        made.actor.close()


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
async def test_what_a_strategy_raises_is_a_failed_decision(in_thread: bool) -> None:
    """Of that strategy, a HOLD with the error; what waits behind it and the next bar are answered by it as well."""
    hrm = Noting("hrm", in_thread=in_thread)
    async with stage(hrm) as it:
        hrm.broken = True
        it.close_bar(0, "AAA", "BBB")
        await it.idle()
        hrm.broken = False
        it.close_bar(1, "AAA", "BBB")
        await it.idle()
    assert [(d.symbol, d.failed, d.halt_reason) for d in it.decisions] == [
        ("AAA", True, RAISED), ("BBB", True, RAISED), ("AAA", False, ""), ("BBB", False, ""),
    ]  # fmt: skip
    assert {d.strategy for d in it.decisions} == {"hrm"}
    assert (it.decisions[0].action, it.decisions[0].reason) == (Action.HOLD, "RuntimeError: as asked")


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
    """What is being thought about goes on, what waits is passed over, of each symbol the newest is decided.

    The symbol that was passed over more often comes first.
    """
    hrm, clock = Hurried(), ReplayClock(OPEN_NS)
    hrm.gate.clear()
    async with stage(hrm, clock=clock) as it:
        for n in range(3):
            it.close_bar(n, "AAA", "BBB")
            for _ in range(20):
                await asyncio.sleep(0)
            clock.advance(OPEN_NS + (n + 1) * MINUTE)
        assert it.actor.owed == 6
        hrm.gate.set()
        await it.idle()
    assert it.actor.owed == 0
    assert [(d.symbol, d.quantity) for d in it.decisions] == [("AAA", 1), ("BBB", 3), ("AAA", 3)]
    assert it.actor.superseded == 3


async def test_the_time_runs_from_the_asking() -> None:
    """Each is told when it was asked for and how many share the time; the last has it for itself."""
    hrm, clock = Hurried(), ReplayClock(OPEN_NS)
    async with stage(hrm, clock=clock) as it:
        it.close_bar(0, "AAA", "BBB", "CCC")
        clock.advance(OPEN_NS + MINUTE)
        await it.idle()
    assert hrm.asked == [("AAA", OPEN_NS, 3), ("BBB", OPEN_NS, 2), ("CCC", OPEN_NS, 1)]


# -- a strategy that never answers -------------------------------------------------------------------------------------


class Hanging(Noting):
    """Hangs on some symbols until it is let go, and then says something that nobody should hear."""

    def __init__(self, *symbols: str) -> None:
        super().__init__("hrm", in_thread=True)
        self.hangs_on = set(symbols)
        self.release = threading.Event()
        self.hung: list[threading.Thread] = []
        self.asked_about: list[str] = []

    def decide(self, moment: Moment) -> Decision:
        """Hang or decide."""
        self.asked_about.append(moment.symbol)
        if moment.symbol in self.hangs_on:
            self.hung.append(threading.current_thread())
            self.release.wait(60)
            return decision(moment, self.name, Action.SELL_SHORT, 999, 1.0, "too late")
        return super().decide(moment)


async def test_a_decision_that_does_not_come_is_a_failed_one() -> None:
    """A HOLD that says so; the next bar is decided on a fresh thread, and the late answer is never heard."""
    hrm = Hanging("AAA")
    async with stage(hrm, limit=HASTY) as it:
        it.close_bar(0)
        await it.idle()
        hrm.hangs_on.clear()
        it.close_bar(1)
        await it.idle()
        hrm.release.set()
        await asyncio.to_thread(hrm.hung[0].join, 60)
        it.close_bar(2)
        await it.idle()
    first, *later = it.decisions
    assert (first.action, first.failed, first.halt_reason) == (Action.HOLD, True, HUNG)
    assert first.reason == "hung: no answer within 0.2 s"
    assert [(d.action, d.quantity, d.failed) for d in later] == [
        (Action.BUY_LONG, 2, False),
        (Action.BUY_LONG, 3, False),
    ]
    assert {type(event) for event in it.heard[:1]} == {Decision}  # how long it takes nobody knows
    assert not hrm.hung[0].is_alive()


async def test_a_strategy_that_hangs_too_often_is_not_asked_again() -> None:
    """Once more than it may: unfit, without another thread, until it is put in charge anew or the next day begins."""
    hrm, clock = Hanging("AAA"), ReplayClock(OPEN_NS)
    async with stage(hrm, Noting("rules", in_thread=False), clock=clock, limit=HASTY) as it:
        for n in range(4):
            it.close_bar(n)
            await it.idle()
        assert [d.halt_reason for d in it.decisions] == [HUNG, UNFIT, UNFIT, UNFIT]
        assert all(d.failed and d.action is Action.HOLD for d in it.decisions)
        assert it.decisions[1].reason == "hung: no answer within 0.2 s, 2 times today: not asked again"
        assert it.decisions[2].reason == "hung 2 times today, not asked again"
        assert len(hrm.hung) == 2

        hrm.hangs_on.clear()
        it.swap("rules")
        it.swap("hrm")
        it.close_bar(4)
        await it.idle()
        assert it.decisions[-1].action is Action.BUY_LONG
        hrm.hangs_on.add("AAA")
        for n in (5, 6, 7):
            it.close_bar(n)
            await it.idle()
        assert it.decisions[-1].halt_reason == UNFIT
        clock.advance(OPEN_NS + 24 * 60 * MINUTE)
        hrm.hangs_on.clear()
        it.close_bar(8)
        await it.idle()
        assert it.decisions[-1].action is Action.BUY_LONG
        hrm.release.set()


async def test_who_waits_behind_a_hang_is_late_and_asked_first_the_next_time() -> None:
    """Not asked at all, nobody's failure; at the next close the one that hangs comes last."""
    hrm = Hanging("AAA")
    async with stage(hrm, clock=LiveClock(), limit=HASTY) as it:
        it.close_bar(0, "AAA", "BBB", "CCC")
        await it.idle()
        it.close_bar(1, "AAA", "BBB", "CCC")
        await it.idle()
        hrm.release.set()
    assert [(d.symbol, d.failed, d.halt_reason) for d in it.decisions] == [
        ("AAA", True, HUNG), ("BBB", False, LATE), ("CCC", False, LATE),
        ("BBB", False, ""), ("CCC", False, ""), ("AAA", True, UNFIT),
    ]  # fmt: skip
    assert hrm.asked_about == ["AAA", "BBB", "CCC", "AAA"]


class Keeping(Hanging):
    """Keeps something while it thinks, and can be made anew."""

    def __init__(self, made: list[Keeping], *symbols: str) -> None:
        super().__init__(*symbols)
        self.made = made
        self.made.append(self)
        self.renewing = threading.Event()
        self.renewing.set()
        self.unrenewable = False

    def renewed(self) -> Keeping:
        """Another one that hangs on nothing."""
        self.renewing.wait(60)
        if self.unrenewable:
            raise OSError("the graph is gone")
        return Keeping(self.made)


async def test_a_strategy_that_keeps_something_is_made_anew() -> None:
    """While that takes, nothing is decided and nobody fails; then another instance decides, the old one never again."""
    made: list[Keeping] = []
    hrm = Keeping(made, "AAA")
    hrm.renewing.clear()
    async with stage(hrm, limit=HASTY) as it:
        it.close_bar(0)
        it.close_bar(1)
        await it.idle()
        hrm.renewing.set()
        await it.actor._renewals["hrm"]
        it.close_bar(2)
        await it.idle()
        hrm.release.set()
    assert [(d.failed, d.halt_reason) for d in it.decisions] == [(True, HUNG), (False, LATE), (False, "")]
    assert it.decisions[1].reason == "hung, and is being made anew"
    assert it.actor.strategies["hrm"] is made[1]
    assert (len(hrm.asked_about), len(made[1].asked_about)) == (1, 1)


async def test_a_strategy_that_can_not_be_made_anew_fails() -> None:
    """At every bar, with the reason, so that the ladder steps down; the lost instance isn't asked again."""
    hrm = Keeping([], "AAA")
    hrm.unrenewable = True
    async with stage(hrm, limit=HASTY) as it:
        it.close_bar(0)
        await it.idle()
        await it.actor._renewals["hrm"]
        for n in (1, 2):
            it.close_bar(n)
            await it.idle()
        hrm.release.set()
    assert [(d.failed, d.halt_reason) for d in it.decisions] == [(True, HUNG), (True, RAISED), (True, RAISED)]
    assert it.decisions[1].reason == "hung, and can't be made anew: OSError: the graph is gone"
    assert len(hrm.asked_about) == 1


async def test_who_could_not_be_made_anew_is_tried_again_when_it_is_put_in_charge() -> None:
    """What was in the way is mended; a person puts it back and needs no restart."""
    made: list[Keeping] = []
    hrm = Keeping(made, "AAA")
    hrm.unrenewable = True
    async with stage(hrm, Noting("rules", in_thread=False), limit=HASTY) as it:
        it.close_bar(0)
        await it.idle()
        await it.actor._renewals["hrm"]
        hrm.unrenewable = False
        it.swap("rules")
        it.swap("hrm")
        await it.idle()
        await it.actor._renewals["hrm"]
        it.close_bar(1)
        await it.idle()
        hrm.release.set()
    assert [(d.failed, d.halt_reason) for d in it.decisions] == [(True, HUNG), (False, "")]
    assert it.actor.strategies["hrm"] is made[1]


class Thinking(Keeping):
    """How deep it may think goes on with who is made anew, as the HRM's does."""

    depth = 16

    def __init__(self, made: list[Keeping], *symbols: str, most_segments: int | None = None) -> None:
        super().__init__(made, *symbols)
        self.most_segments = most_segments

    def ease(self, *, most_segments: int | None, single_cycle: bool) -> None:
        """At most so many segments."""
        self.most_segments = most_segments

    def forget(self) -> None:
        """It remembers nothing."""

    def renewed(self) -> Thinking:
        """Another one that hangs on nothing."""
        return Thinking(self.made, most_segments=self.most_segments)


async def test_who_hung_while_it_thought_less_has_all_its_depth_when_it_is_put_in_charge() -> None:
    """The one that was made of it while it was eased isn't the one that decides."""
    hrm = Thinking([], "AAA", most_segments=1)
    async with stage(hrm, Noting("rules", in_thread=False), limit=HASTY) as it:
        it.close_bar(0)
        await it.idle()
        await it.actor._renewals["hrm"]
        it.swap("rules")
        it.swap("hrm")
        await it.idle()
        await it.actor._renewals["hrm"]
        it.close_bar(1)
        await it.idle()
        hrm.release.set()
    decides = it.actor.strategies["hrm"]
    assert isinstance(decides, Thinking)
    assert decides is not hrm
    assert (it.decisions[-1].halt_reason, decides.most_segments) == ("", None)


async def test_in_a_replay_a_hang_is_a_fault() -> None:
    """A replay that went on would show a day that never was."""
    hrm = Hanging("AAA")
    it = Stage([hrm], ThinkingLimit(0.2, None), ReplayClock(OPEN_NS), FixedLatency(0.0))
    it.close_bar(0)
    bar = decision_id("AAA", OPEN_NS + 5 * MINUTE)
    with pytest.raises(StrategyHung, match=rf"strategy hrm, {bar}: hung: no answer within 0.2 s"):
        await it.actor.run()
    assert it.decisions == []
    hrm.release.set()
    it.actor.close()


# -- taking turns ------------------------------------------------------------------------------------------------------


class Slow(Noting):
    """Has time for `served` symbols at a close; all others come too late."""

    def __init__(self, served: int) -> None:
        super().__init__("hrm", in_thread=True)
        self.served = served
        self.at: dict[int, int] = {}

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Decide for the first ones."""
        done = self.at.get(moment.ts, 0)
        if done >= self.served:
            return unthought(moment, self.name, LATE, "no time is left")
        self.at[moment.ts] = done + 1
        return self.decide(moment)


@pytest.mark.parametrize("served", [1, 2])
async def test_instruments_of_a_slow_model_take_turns(served: int) -> None:
    """None goes without for longer than it takes to serve the others once; each sees the market as of its own bar."""
    hrm, symbols = Slow(served), ("AAA", "BBB", "CCC", "DDD")
    async with stage(hrm) as it:
        for n in range(8):
            it.close_bar(n, *symbols)
            it.bus.publish(position(30))
            await it.idle()
    answered = [(d.ts_bar, d.symbol) for d in it.decisions if not d.halt_reason]
    closes = sorted({d.ts_bar for d in it.decisions})
    for first in range(8 - 4 // served + 1):
        window = closes[first : first + 4 // served]
        assert {symbol for ts, symbol in answered if ts in window} == set(symbols)
    assert len(it.decisions) == 32
    assert [d.ts_bar for d in it.decisions] == sorted(d.ts_bar for d in it.decisions)
    assert all(len(m.bars) == (m.ts - OPEN_NS) // (5 * MINUTE) for m in hrm.moments)


async def test_a_turn_sees_the_market_at_its_own_place() -> None:
    """A position that changes after an instrument was asked about isn't seen, though it was decided on last."""
    hrm = Slow(1)
    async with stage(hrm) as it:
        it.close_bar(0, "AAA", "BBB")
        await it.idle()
        for symbol in ("AAA", "BBB"):
            it.bus.publish(make_bar(1, 101.0, symbol=symbol))
        close = OPEN_NS + 10 * MINUTE
        hrm.served = 2
        it.bus.publish(complexity_at(close, symbol="AAA"))
        it.bus.publish(position(30))
        it.bus.publish(complexity_at(close, symbol="BBB"))
        await it.idle()
    assert [(d.ts_bar, d.symbol) for d in it.decisions[2:]] == [(close, "BBB"), (close, "AAA")]
    assert [m.position for m in hrm.moments if m.ts == close] == [0, 0]


async def test_turns_are_not_lost_in_a_swap() -> None:
    """One that waits for its turn when another strategy takes over is still answered, by the one that was asked."""
    hrm = Slow(1)
    async with stage(hrm, Noting("rules", in_thread=False)) as it:
        it.close_bar(0, "AAA", "BBB")
        await it.idle()
        for symbol in ("AAA", "BBB"):
            it.bus.publish(make_bar(1, 101.0, symbol=symbol))
        close = OPEN_NS + 10 * MINUTE
        it.bus.publish(complexity_at(close, symbol="AAA"))
        it.swap("rules")
        it.bus.publish(complexity_at(close, symbol="BBB"))
        await it.idle()
    assert [(d.strategy, d.symbol) for d in it.decisions[2:]] == [("rules", "BBB"), ("hrm", "AAA")]


async def test_the_shadow_decides_beside_and_nobody_hears_a_decision_of_it() -> None:
    """On the newest bar, after the one in charge; what it raises is told; a swap ends it."""
    rules, better = Noting("rules", in_thread=False), Noting("hrm", in_thread=True)
    async with stage(rules, better) as it:
        told: list[ShadowDecided] = []
        it.bus.tap((ShadowDecided,), told.append)
        it.bus.publish(ShadowStrategy(ts=0, strategy="hrm"))
        it.close_bar(0, "AAA", "BBB")
        await it.idle()
        better.broken = True
        it.close_bar(1, "AAA")
        await it.idle()
        assert {decision.strategy for decision in it.decisions} == {"rules"}
        assert len(it.decisions) == 3
        assert [(one.strategy, one.failed) for one in told][:1] == [("hrm", False)]
        assert (told[-1].failed, told[-1].reason) == (True, "RuntimeError: as asked")
        it.swap("hrm")
        count = len(told)
        it.close_bar(2, "AAA")
        await it.idle()
        assert len(told) == count


async def test_a_figure_that_is_none_is_a_failure() -> None:
    """Whatever was wanted: HOLD, and the reason names it."""

    class Sure(Noting):
        def decide(self, moment: Moment) -> Decision:
            return decision(moment, self.name, Action.BUY_LONG, 1, float("nan"), "")

    for in_thread in (True, False):
        async with stage(Sure("hrm", in_thread=in_thread)) as it:
            it.close_bar(0)
            await it.idle()
            (made,) = it.decisions
            assert (made.action, made.failed, made.halt_reason) == (Action.HOLD, True, NOT_FINITE)
            assert made.reason == "confidence is not finite"
