"""Restarts within a budget, the ladder of strategies, and the end beyond both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import Fault, StartAgain
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
from daemon.supervision.supervisor import Kept, Ladder, Supervisor
from strategies.base import LATE, UNFIT
from tests.samples import MINUTE, OPEN, decide

RUNGS = ("hrm", "rules", "flat")


def decision(strategy: str = "hrm", *, failed: bool = False, close: int = 0, **changes: Any) -> Any:
    """A HOLD at the `close`-th bar close, perhaps because the model failed."""
    reason = "not finite" if failed else "fine"
    values = {"strategy": strategy, "failed": failed, "reason": reason, "ts_bar": OPEN + close * MINUTE} | changes
    return decide(Action.HOLD, **values)


def late(close: int, **changes: Any) -> Any:
    """A HOLD whose turn came too late."""
    return decision(close=close, halt_reason=LATE, reason="no time is left", **changes)


def reasons(ladder: Ladder, decisions: Iterable[Any]) -> list[str | None]:
    """What the ladder says to each."""
    return [ladder.on_decision(made) for made in decisions]


def test_the_ladder_counts_failures_in_a_row() -> None:
    """The third in a row is why to step down; a good one between starts again."""
    ladder = Ladder(RUNGS, "hrm", 3)
    failures = [True, True, False, True, True]
    assert reasons(ladder, (decision(failed=bad, close=n) for n, bad in enumerate(failures))) == [None] * 5
    why = "3 failed decisions in a row: not finite"
    assert ladder.on_decision(decision(failed=True, close=5)) == why
    ladder.take("rules")
    assert (ladder.active, ladder.rung, ladder.below()) == ("rules", 1, "flat")
    assert reasons(ladder, (decision("rules", failed=True, close=n) for n in (5, 6))) == [None, None]


def test_many_instruments_at_one_close_are_one_failure() -> None:
    """However many failed together; the third close is the third failure."""
    ladder = Ladder(RUNGS, "hrm", 3)
    crowd = [decision(failed=True, close=close, symbol=f"S{n}") for close in (0, 1) for n in range(9)]
    assert reasons(ladder, crowd) == [None] * 18
    assert ladder.on_decision(decision(failed=True, close=2, symbol="S0"))


def test_an_instrument_that_always_fails_is_not_outvoted() -> None:
    """Others are answered well at every close: what is held of this one would never be looked after."""
    ladder = Ladder(RUNGS, "hrm", 3)
    for close in range(3):
        assert ladder.on_decision(decision(close=close, symbol="GOOD")) is None
        bad = ladder.on_decision(decision(close=close, symbol="BAD", failed=True))
        assert ladder.on_decision(decision(close=close, symbol="FINE")) is None
        assert bool(bad) is (close == 2)


def test_an_instrument_that_recovers_starts_again() -> None:
    """Failures of different instruments at different closes, with good decisions between, come to nothing."""
    ladder = Ladder(RUNGS, "hrm", 2)
    for close in range(8):
        failing, good = ("A", "B") if close % 2 else ("B", "A")
        said = reasons(ladder, [decision(close=close, symbol=good), decision(close=close, symbol=failing, failed=True)])
        assert said == [None, None]


def test_a_hiccup_of_the_machine_is_no_failure() -> None:
    """Nine instruments come too late at one close, and at another: the model stays; one good decision starts again."""
    ladder = Ladder(RUNGS, "hrm", 3)
    crowd = [late(close, symbol=f"S{n}") for close in (0, 1) for n in range(9)]
    assert reasons(ladder, crowd) == [None] * 18
    assert (
        reasons(ladder, [decision(close=2, symbol="S0"), *(late(close, symbol="S1") for close in (2, 3))]) == [None] * 3
    )


def test_a_model_that_is_never_in_time_is_left() -> None:
    """Nobody was answered at three closes in a row: this machine needs a lighter strategy."""
    ladder = Ladder(RUNGS, "hrm", 3)
    said = reasons(ladder, (late(close, symbol=symbol) for close in range(3) for symbol in ("A", "B")))
    assert said[:4] == [None] * 4
    assert said[4] == "3 bar closes without a decision in time in a row: no time is left"


def test_some_who_are_always_late_are_no_reason() -> None:
    """As long as others are answered: they take turns."""
    ladder = Ladder(RUNGS, "hrm", 3)
    for close in range(9):
        assert reasons(ladder, [decision(close=close, symbol="A"), late(close, symbol="B")]) == [None, None]


def test_an_unfit_strategy_is_left_at_once() -> None:
    """Its own reason is the ladder's."""
    ladder = Ladder(RUNGS, "hrm", 3)
    assert ladder.on_decision(decision(failed=True, halt_reason=UNFIT, reason="hung 4 times")) == "hung 4 times"


def test_the_ladder_hears_only_who_is_in_charge() -> None:
    """A decision of a strategy that was replaced says nothing about the present one, however it failed."""
    ladder = Ladder(RUNGS, "rules", 1)
    assert ladder.on_decision(decision("hrm", failed=True)) is None
    assert ladder.on_decision(decision("hrm", failed=True, halt_reason=UNFIT)) is None
    assert ladder.on_decision(decision("rules", failed=True))


def test_the_last_rung_has_none_below() -> None:
    """Failures there lead nowhere."""
    assert Ladder(("hrm",), "hrm", 1).below() is None
    desk = Desk(ladder=["hrm"], max_failed_decisions=1)
    assert desk.tell(decision(failed=True)) == []


def test_a_strategy_beside_the_ladder_stands_on_its_top() -> None:
    """Not listed, it still has the listed ones below it."""
    ladder = Ladder(("rules", "flat"), "hrm", 1)
    assert (ladder.rung, ladder.below(), ladder.within_reach) == (0, "rules", ["hrm", "rules", "flat"])


def test_rungs_above_the_first_one_are_out_of_reach() -> None:
    """A run that begins with the rules has built nothing above them."""
    ladder = Ladder(RUNGS, "rules", 1)
    assert (ladder.rung, ladder.within_reach) == (1, ["rules", "flat"])
    ladder.take("flat")
    assert ladder.within_reach == ["rules", "flat"]


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
    failures = [False, True, True, False, True, True]
    assert desk.tell(*(decision(failed=bad, close=n) for n, bad in enumerate(failures))) == []
    (swap,) = desk.tell(decision(failed=True, close=6))
    why = "3 failed decisions in a row: not finite"
    assert swap == StrategySwapped(ts=1, old="hrm", new="rules", reason=why, who="hrmd")


def test_a_burst_is_heard_in_its_order() -> None:
    """A good decision that is published before the supervisor comes to the failed one counts all the same."""
    desk = Desk(max_failed_decisions=2)
    for close in range(4):
        desk.bus.publish(decision(failed=True, close=close, symbol=f"S{close % 2}"))
        desk.bus.publish(decision(close=close, symbol=f"S{(close + 1) % 2}"))
    assert desk.tell() == []
    while (taken := desk.supervisor.inbox.take()) is not None:
        desk.supervisor.handle(taken)
    assert desk.said == []


def test_the_step_to_flat_closes_everything() -> None:
    """The swap is followed by the command."""
    desk = Desk(ladder=["hrm", "flat"], max_failed_decisions=1)
    swap, flatten = desk.tell(decision(failed=True))
    assert isinstance(swap, StrategySwapped)
    assert flatten == Flatten(ts=1, reason="no strategy is left", automatic=True, who="hrmd")


def test_swaps_by_command() -> None:
    """To a rung of the ladder and back; to the present one or an unknown one nothing happens."""
    desk = Desk()

    def command(name: str) -> list[Event]:
        return desk.tell(SwapStrategy(ts=5, name=name, reason="by hand", who="asha"))

    assert command("rules") == [StrategySwapped(ts=1, old="hrm", new="rules", reason="by hand", who="asha")]
    assert command("rules") == []
    assert command("nonsense") == []
    assert desk.supervisor.ladder.active == "rules"
    assert command("hrm") == [StrategySwapped(ts=1, old="rules", new="hrm", reason="by hand", who="asha")]
    assert desk.supervisor.who == "asha"


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


async def test_what_only_another_process_mends_is_no_crash() -> None:
    """It isn't tried again here."""
    desk, tries = Desk(), []

    async def run() -> None:
        tries.append(1)
        raise StartAgain("another day")

    with pytest.raises(StartAgain, match="another day"):
        await desk.supervisor.keep(Kept("symbol master", run))
    assert (len(tries), desk.said) == (1, [])


async def test_old_crashes_are_forgiven() -> None:
    """Only those within the window count."""
    desk = Desk(max_restarts=1, restart_window_s=10)
    actor = Fragile(desk.bus)
    for step in range(4):
        desk.clock.advance(step * 11 * NS_PER_S)
        await keep(desk, actor, 2)
    assert desk.supervisor.restarts == {"fragile": 4}


async def test_a_crash_of_the_strategy_stage_is_nobody_s_failure() -> None:
    """What a strategy raises is a decision that failed; a crash of the stage itself is restarted like any other."""
    desk = Desk(max_restarts=2, max_failed_decisions=1)
    actor = Fragile(desk.bus, "strategy")
    await keep(desk, actor, 2, 4)
    assert [type(event) for event in desk.said] == [ActorRestarted, ActorRestarted]
    assert desk.supervisor.ladder.active == "hrm"
    with pytest.raises(ExceptionGroup):
        await keep(desk, actor, 2)
