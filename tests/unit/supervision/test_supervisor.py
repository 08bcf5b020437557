"""Restarts within a budget, the ladder of strategies, and the end beyond both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import Fault
from daemon.core.events import (
    Action,
    ActorRestarted,
    Event,
    FeedState,
    FeedStatus,
    Flatten,
    StrategySwapped,
    SwapStrategy,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.settings.run import SupervisorSettings
from daemon.supervision.supervisor import Ladder, Supervisor
from tests.samples import decide

RUNGS = ("hrm", "rules", "flat")


def decision(strategy: str = "hrm", *, failed: bool = False) -> Any:
    """A HOLD, perhaps because the model failed."""
    return decide(Action.HOLD, strategy=strategy, failed=failed, reason="not finite" if failed else "fine")


def test_the_ladder_counts_failures_in_a_row() -> None:
    """The third in a row steps down; a good one between starts again."""
    ladder = Ladder(RUNGS, "hrm", 3)
    failures = [True, True, False, True, True]
    assert [ladder.on_decision(decision(failed=failed)) for failed in failures] == [None] * 5
    assert ladder.on_decision(decision(failed=True)) == "rules"
    ladder.take("rules")
    assert (ladder.active, ladder.failed, ladder.rung, ladder.below()) == ("rules", 0, 1, "flat")


def test_the_ladder_hears_only_who_is_in_charge() -> None:
    """A decision of a strategy that was replaced says nothing about the present one."""
    ladder = Ladder(RUNGS, "rules", 1)
    assert ladder.on_decision(decision("hrm", failed=True)) is None
    assert ladder.failed == 0


def test_the_last_rung_has_none_below() -> None:
    """Failures and crashes there lead nowhere."""
    ladder = Ladder(("hrm",), "hrm", 1)
    assert ladder.on_decision(decision(failed=True)) is None
    assert ladder.on_crash() is None


def test_a_strategy_beside_the_ladder_stands_on_its_top() -> None:
    """Not listed, it still has the listed ones below it."""
    ladder = Ladder(("rules", "flat"), "hrm", 1)
    assert (ladder.rung, ladder.below(), ladder.has("hrm"), ladder.has("ppo")) == (0, "rules", True, False)


def test_crashes_count_as_failures() -> None:
    """Two crashes and a failed decision are three."""
    ladder = Ladder(RUNGS, "hrm", 3)
    assert [ladder.on_crash(), ladder.on_crash(), ladder.on_decision(decision(failed=True))] == [None, None, "rules"]


class Desk:
    """A supervisor and what it published."""

    def __init__(self, **settings: Any) -> None:
        self.bus = Bus()
        self.clock = ReplayClock(1)
        chosen = SupervisorSettings(**({"ladder": list(RUNGS)} | settings))
        ladder = Ladder(chosen.ladder, "hrm", chosen.max_failed_decisions)
        self.supervisor = Supervisor(self.bus, ladder, chosen, self.clock)
        self.said: list[Event] = []
        self.bus.tap((StrategySwapped, Flatten, ActorRestarted), self.said.append)

    def tell(self, *events: Event) -> list[Event]:
        """Publish and let the supervisor handle what reaches it; what it said."""
        before = len(self.said)
        for event in events:
            self.bus.publish(event)
            while (taken := self.supervisor.inbox.take()) is not None:
                self.supervisor.handle(taken)
                self.supervisor.inbox.done()
        return self.said[before:]


def test_three_failures_step_down_and_say_why() -> None:
    """The swap names both strategies, the count and the last reason; good decisions in between are heard."""
    desk = Desk()
    bad, good = decision(failed=True), decision()
    assert desk.tell(good, bad, bad, good, bad, bad) == []
    (swap,) = desk.tell(bad)
    assert swap == StrategySwapped(ts=1, old="hrm", new="rules", reason="3 failed decisions in a row: not finite")


def test_the_step_to_flat_closes_everything() -> None:
    """The swap is followed by the command."""
    desk = Desk(ladder=["hrm", "flat"], max_failed_decisions=1)
    swap, flatten = desk.tell(decision(failed=True))
    assert isinstance(swap, StrategySwapped)
    assert flatten == Flatten(ts=1, reason="no strategy is left")


def test_swaps_by_command() -> None:
    """To a rung of the ladder and back; to the present one or an unknown one nothing happens."""
    desk = Desk()

    def command(name: str) -> list[Event]:
        return desk.tell(SwapStrategy(ts=5, name=name, reason="by hand"))

    assert command("rules") == [StrategySwapped(ts=1, old="hrm", new="rules", reason="by hand")]
    assert command("rules") == []
    assert command("nonsense") == []
    assert desk.supervisor.ladder.active == "rules"
    assert command("hrm") == [StrategySwapped(ts=1, old="rules", new="hrm", reason="by hand")]


def test_feed_and_trading_states_are_only_watched() -> None:
    """They are logged, nothing follows."""
    desk = Desk()
    status = FeedStatus(ts=1, state=FeedState.STALE, symbol=None, reason="silence")
    assert desk.tell(status, TradingStateChanged(ts=1, state=TradingState.HALTED, reason="x")) == []


class Fragile(Actor):
    """Raises on the events whose time is even; keeps the others."""

    def __init__(self, bus: Bus, name: str = "fragile") -> None:
        super().__init__(bus)
        self.name = name
        self.handled: list[int] = []
        self.inbox = bus.subscribe(name, (TimeAdvanced,))

    def handle(self, event: Event) -> None:
        """Keep or crash."""
        assert isinstance(event, TimeAdvanced)
        if event.ts % 2 == 0:
            raise ValueError(f"even {event.ts}")
        self.handled.append(event.ts)


async def keep(desk: Desk, actor: Actor, *times: int) -> None:
    """Keep the actor running while `times` pass."""
    for ts in times:
        desk.bus.publish(TimeAdvanced(ts=ts))
    async with asyncio.timeout(30):
        async with asyncio.TaskGroup() as group:
            kept = group.create_task(desk.supervisor.keep(actor))
            await desk.bus.idle()
            kept.cancel()


async def test_a_crashed_actor_goes_on_with_the_next_event() -> None:
    """Each crash is an event with the error; nothing else is lost."""
    desk = Desk()
    actor = Fragile(desk.bus)
    await keep(desk, actor, 1, 2, 3, 4, 5)
    assert actor.handled == [1, 3, 5]
    assert desk.said == [
        ActorRestarted(ts=1, actor="fragile", error="ValueError: even 2", restarts=1),
        ActorRestarted(ts=1, actor="fragile", error="ValueError: even 4", restarts=2),
    ]
    assert desk.supervisor.restarts == {"fragile": 2}


async def test_beyond_the_budget_is_a_fault() -> None:
    """Three restarts are allowed, the fourth crash ends it."""
    desk = Desk()
    actor = Fragile(desk.bus)
    await keep(desk, actor, 2, 4, 6)
    with pytest.raises(ExceptionGroup) as failed:
        await keep(desk, actor, 8)
    (fault,) = failed.value.exceptions
    assert isinstance(fault, Fault)
    assert str(fault) == "actor 'fragile' crashed 4 times, last with ValueError: even 8"


async def test_old_crashes_are_forgiven() -> None:
    """Only those within the window count."""
    desk = Desk(max_restarts=1, restart_window_s=10)
    actor = Fragile(desk.bus)
    for step in range(4):
        desk.clock.advance(step * 11 * NS_PER_S)
        await keep(desk, actor, 2)
    assert desk.supervisor.restarts == {"fragile": 4}


async def test_a_crashing_strategy_steps_down_before_the_budget_is_spent() -> None:
    """Its crashes count as failed decisions, and the next rung starts with a fresh budget."""
    desk = Desk(max_restarts=2, max_failed_decisions=2)
    actor = Fragile(desk.bus, "strategy")
    await keep(desk, actor, 2, 4)
    swaps = [event for event in desk.said if isinstance(event, StrategySwapped)]
    assert [(swap.new, swap.reason) for swap in swaps] == [("rules", "strategy crashed: ValueError: even 4")]
    await keep(desk, actor, 2, 4)
    assert desk.supervisor.ladder.active == "flat"
    assert isinstance(desk.said[-2], Flatten)
    with pytest.raises(ExceptionGroup):
        await keep(desk, actor, 2, 4, 6)
