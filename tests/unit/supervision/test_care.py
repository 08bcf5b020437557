"""What the supervisor does about the strategy in charge: steps and their evidence, lock, way back, and the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    Action,
    EaseStrategy,
    Event,
    Flatten,
    Halt,
    InferenceMeasured,
    LockStrategy,
    Mitigation,
    MitigationTaken,
    PositionChanged,
    ShadowDecided,
    ShadowStrategy,
    StrategySwapped,
    SwapStrategy,
    TradingState,
    TradingStateChanged,
)
from daemon.settings.run import SupervisorSettings
from daemon.supervision.care import Traits
from daemon.supervision.mitigation import MILD
from daemon.supervision.supervisor import BEFORE, Ladder, Supervisor
from strategies.base import UNFIT
from tests.samples import MINUTE, OPEN, SBIN, decide, position_of

SECOND_NS = 1_000_000_000
SAID = (
    StrategySwapped, Flatten, Halt, EaseStrategy, MitigationTaken, ShadowStrategy, LockStrategy,
)  # fmt: skip


class Desk:
    """A supervisor on the ladder hrm, rules, flat, and what it published."""

    def __init__(self, *, timed: bool = True, missing: dict[str, str] | None = None, **settings: Any) -> None:
        self.bus = Bus()
        self.clock = ReplayClock(OPEN)
        chosen = SupervisorSettings(**({"ladder": ["hrm", "rules", "flat"]} | settings))
        gone = missing or {}
        traits = Traits(
            {"hrm": frozenset(MILD)}, lambda it: "2019-01-02" if it.strategy == "hrm" else "", gone, 50.0
        )  # fmt: skip
        ladder = Ladder(chosen.ladder, "hrm", chosen.max_failed_decisions, gone)
        self.supervisor = Supervisor(self.bus, ladder, chosen, self.clock, traits, timed=timed)
        self.said: list[Event] = []
        self.bus.tap(SAID, self.said.append)

    def tell(self, *events: Event) -> list[Event]:
        """Publish at their times and let the supervisor handle what reaches it; what it said."""
        before = len(self.said)
        for event in events:
            self.clock.advance(max(getattr(event, "ts", 0), self.clock.now_ns()))
            self.bus.publish(event)
            self.handle()
        return self.said[before:]

    def handle(self) -> None:
        """What waits for it."""
        while (taken := self.supervisor.inbox.take()) is not None:
            self.supervisor.handle(taken)
            self.supervisor.inbox.done()

    def steps(self) -> list[Mitigation]:
        """In their order."""
        return [it.step for it in self.said if isinstance(it, EaseStrategy | MitigationTaken)]


def made(close: int, strategy: str = "hrm", *, failed: bool = False, **changes: Any) -> Any:
    """A decision of the `close`-th minute."""
    at = OPEN + close * MINUTE
    values = {"strategy": strategy, "failed": failed, "reason": "bad" if failed else "fine", "ts_bar": at, "ts": at}
    return decide(Action.HOLD, **(values | changes))


def slow(closes: Iterable[int], ms: int = 1000) -> list[Event]:
    """Measured decisions of the HRM."""
    events: list[Event] = []
    for n in closes:
        measured = InferenceMeasured(ts=OPEN + n * MINUTE, symbol=SBIN, elapsed_ns=ms * 1_000_000)
        events += [measured, made(n)]
    return events


def test_a_second_each_thinks_less_and_less_and_goes_at_the_fiftieth() -> None:
    """A step at each tenth decision, mildest first, each with its evidence."""
    desk = Desk()
    first = desk.tell(*slow(range(10)))
    evidence = "10 of 10 decisions took longer than 100 ms"
    assert first == [EaseStrategy(OPEN + 9 * MINUTE, Mitigation.LESS_DEPTH, "hrm", "latency", evidence)]
    desk.tell(*slow(range(10, 50)))
    assert desk.steps() == [*MILD, Mitigation.STEP_DOWN]
    assert desk.supervisor.ladder.active == "rules"
    assert desk.supervisor.reason == evidence


def test_another_model_has_a_clean_record() -> None:
    """Neither the slow decisions of the one before nor what was done about it count; its own do."""
    desk = Desk()
    one, two = ({"model_hash": name} for name in ("one", "two"))
    desk.tell(*(made(n, failed=n % 3 != 2, **one) for n in range(29)))
    assert desk.steps() == [Mitigation.CLEAR_CACHES, Mitigation.RENEW]
    desk.tell(*(made(n, failed=n == 29, **two) for n in range(29, 40)))
    assert desk.steps() == [Mitigation.CLEAR_CACHES, Mitigation.RENEW]
    desk.tell(*(made(n, failed=n % 3 != 2, **two) for n in range(40, 60)))
    assert desk.steps() == [Mitigation.CLEAR_CACHES, Mitigation.RENEW] * 2
    assert desk.supervisor.ladder.active == "hrm"


def test_in_a_replay_nothing_is_slow() -> None:
    """And what fails is mended as ever."""
    desk = Desk(timed=False)
    assert desk.tell(*slow(range(100))) == []
    desk.tell(*(made(n, failed=n % 3 != 2) for n in range(100, 130)))
    assert desk.steps() == [Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN]


def test_two_of_three_failed_is_over_at_the_thirtieth() -> None:
    """Caches, made anew, the next strategy."""
    desk = Desk()
    desk.tell(*(made(n, failed=n % 3 != 2) for n in range(31)))
    assert desk.supervisor.ladder.active == "rules"
    assert desk.steps() == [Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN]


def test_a_model_past_its_days_goes_with_its_first_decision() -> None:
    """And not where nobody set a limit."""
    desk = Desk(triggers={"model_age_days": 100})
    desk.tell(made(0))
    assert desk.supervisor.reason.startswith("the model knows days up to 2019-01-02, ")
    assert Desk().tell(made(0)) == []


def test_while_locked_nothing_is_done_and_it_is_said() -> None:
    """Which step, on what evidence; by hand everything can be done; unlocked the next trip acts."""
    desk = Desk()
    desk.tell(LockStrategy(ts=OPEN, locked=True, reason="I watch it"))
    failed = [made(n, failed=True) for n in range(3)]
    assert desk.tell(*failed) == []
    (said,) = desk.supervisor.trouble
    assert said == "step_down is wanted (3 failed decisions in a row: bad) and not done: locked: I watch it"
    (swap,) = desk.tell(SwapStrategy(ts=OPEN + 4 * MINUTE, name="rules", reason="by hand"))
    assert isinstance(swap, StrategySwapped)
    assert desk.supervisor.trouble == []
    desk.tell(
        SwapStrategy(ts=OPEN + 4 * MINUTE, name="hrm", reason="by hand"),
        LockStrategy(ts=OPEN + 4 * MINUTE, locked=False, reason="seen"),
    )
    desk.tell(*(made(n, failed=True) for n in range(5, 8)))
    assert desk.supervisor.ladder.active == "rules"


def test_the_day_s_steps_are_used_up() -> None:
    """Those of an earlier process count; a person is needed, and told."""
    desk = Desk(max_steps_per_day=1)
    earlier = MitigationTaken(OPEN, Mitigation.BACK, "hrm", "probation", "")
    desk.supervisor.recall([earlier], None, OPEN)
    assert desk.tell(*(made(n, failed=True) for n in range(5))) == []
    (said,) = desk.supervisor.trouble
    assert said.endswith("not done: 1 automatic steps were taken today, no more is allowed")
    desk.tell(*(made(1440 + n, failed=True) for n in range(3)))
    assert desk.supervisor.ladder.active == "rules"


def test_flat_by_itself_closes_and_then_halts() -> None:
    """The halt comes when nothing is held any more, once; trouble says so until a person resumes.

    What is done is on record before why: a process that is killed in between leaves nobody in charge who was left.
    """
    desk = Desk(ladder=["hrm", "flat"], max_failed_decisions=1)
    desk.tell(position_of(100))
    swapped = desk.tell(made(1, failed=True))
    assert [type(event) for event in swapped] == [StrategySwapped, Flatten, MitigationTaken]
    assert desk.supervisor.held == {SBIN}
    halt, taken = desk.tell(position_of(0))
    assert isinstance(taken, MitigationTaken)
    assert isinstance(halt, Halt)
    assert (taken.step, halt.automatic) == (Mitigation.HALT, True)
    assert halt.reason == "no strategy is left, call: 1 failed decisions in a row: bad"
    assert desk.tell(position_of(10), position_of(0)) == []
    assert desk.supervisor.trouble == ["halted by itself: no strategy is left"]
    desk.tell(TradingStateChanged(ts=OPEN, state=TradingState.ACTIVE, reason="resumed"))
    assert desk.supervisor.trouble == []


def test_flat_by_hand_does_not_halt() -> None:
    """A person is there already."""
    desk = Desk()
    said = desk.tell(position_of(100), SwapStrategy(ts=OPEN, name="flat", reason="enough"), position_of(0))
    assert [type(event) for event in said] == [StrategySwapped, Flatten]


def test_below_the_last_rung_is_a_halt() -> None:
    """A ladder without flat: nobody closes, so a person is called; once. The halt is on record before its reason."""
    desk = Desk(ladder=["hrm"], max_failed_decisions=1)
    said = desk.tell(*(made(n, failed=True) for n in range(4)))
    assert [type(event) for event in said] == [Halt, MitigationTaken]


def stepped_down(**settings: Any) -> Desk:
    """The HRM went after three failures; a try a day, after ten minutes."""
    desk = Desk(**({"probation_minutes": 10, "tries_per_day": 1} | settings))
    desk.tell(*(made(n, failed=True) for n in range(3)))
    desk.said.clear()
    return desk


def shadow(close: int, *, failed: bool = False) -> ShadowDecided:
    """What the HRM would have done."""
    return ShadowDecided(ts=OPEN + close * MINUTE, symbol=SBIN, strategy="hrm", failed=failed, reason="")


def test_back_up_after_probation_and_fine_shadows() -> None:
    """The shadow begins in the middle; time alone is not enough; a second try is for another day."""
    desk = stepped_down()
    assert desk.tell(made(6, "rules")) == []
    assert desk.tell(made(7, "rules")) == [ShadowStrategy(ts=OPEN + 7 * MINUTE, strategy="hrm")]
    assert desk.tell(*(made(n, "rules") for n in range(8, 20))) == []
    desk.tell(*(shadow(20) for _ in range(9)), shadow(20, failed=True), *(shadow(20) for _ in range(9)))
    assert desk.tell(made(21, "rules")) == []
    status = desk.supervisor.care.back("rules", desk.clock.now_ns())
    assert status == "hrm: in 0 min without a trip, 9 of 10 shadow decisions fine, 1 tries left today"
    taken, swap = desk.tell(shadow(21), made(22, "rules"))
    assert isinstance(taken, MitigationTaken)
    assert taken.step is Mitigation.BACK
    assert swap == StrategySwapped(
        ts=OPEN + 22 * MINUTE, old="rules", new="hrm",
        reason="probation: 10 min without a trip, 10 fine decisions in the shadow", who="hrmd",
    )  # fmt: skip
    desk.tell(*(made(n, failed=True) for n in range(23, 26)))
    assert desk.supervisor.ladder.active == "rules"
    assert desk.tell(*(shadow(40) for _ in range(20)), *(made(n, "rules") for n in range(40, 60))) == []
    assert desk.supervisor.care.back("rules", desk.clock.now_ns()) == "hrm: not today any more, 1 tries were made"


def test_never_back_by_itself_where_nobody_asked_for_it() -> None:
    """As shipped; nor in a replay, nor where a person chose the strategy, nor while locked."""
    minutes = [made(n, "rules") for n in range(4, 200)]
    for desk in (stepped_down(tries_per_day=0), stepped_down(timed=False)):
        assert desk.tell(*minutes) == []
        said = desk.supervisor.care.back("rules", desk.clock.now_ns())
        assert said == "hrm: never by itself (supervisor.tries_per_day)"
    chosen = stepped_down()
    chosen.tell(SwapStrategy(ts=OPEN, name="hrm", reason="x"), SwapStrategy(ts=OPEN, name="rules", reason="x"))
    chosen.said.clear()
    assert chosen.tell(*minutes) == []
    assert chosen.supervisor.care.back("rules", OPEN) == ""
    locked = stepped_down()
    locked.tell(LockStrategy(ts=OPEN, locked=True, reason="x"))
    assert locked.tell(*minutes) == []


def test_all_depth_comes_back_after_probation() -> None:
    """What thinks less is well for ten minutes, and thinks on as before."""
    desk = Desk(probation_minutes=10, tries_per_day=1)
    desk.tell(*slow(range(10)))
    desk.said.clear()
    (eased,) = desk.tell(*slow(range(10, 21), ms=10))
    assert isinstance(eased, EaseStrategy)
    assert (eased.step, eased.strategy) == (Mitigation.BACK, "hrm")
    assert desk.supervisor.care.stairs.taken == []


def test_who_a_rollback_puts_in_charge() -> None:
    """Who was before; else the next below; never flat, never who isn't there."""
    desk = Desk()
    assert desk.supervisor.rollback_to == "rules"
    desk.tell(SwapStrategy(ts=OPEN, name="rules", reason="x"))
    assert desk.supervisor.rollback_to == "hrm"
    desk.tell(SwapStrategy(ts=OPEN, name="flat", reason="x"), SwapStrategy(ts=OPEN, name="rules", reason="x"))
    assert desk.supervisor.rollback_to == ""
    gone = Desk(missing={"hrm": "damaged"})
    gone.supervisor.start(OPEN)
    assert gone.supervisor.rollback_to == ""


def test_a_rollback_never_puts_back_who_was_left_by_itself() -> None:
    """What hung would hang again: its name is said instead, over a restart, too; a person's own word still counts."""
    desk = Desk(ladder=["hrm", "ppo", "rules", "flat"])
    unfit = made(0, failed=True, halt_reason=UNFIT, reason="hung 3 times today")
    desk.tell(unfit)
    assert desk.supervisor.ladder.active == "ppo"
    assert (desk.supervisor.left, desk.supervisor.rollback_to) == ("hrm", "rules")
    short = Desk()
    short.tell(unfit)
    assert (short.supervisor.left, short.supervisor.rollback_to) == ("hrm", "")
    again = Desk()
    again.supervisor.resume("rules", short.supervisor.reason, OPEN, "hrm", short.supervisor.who)
    assert (again.supervisor.left, again.supervisor.rollback_to) == ("hrm", "")
    short.tell(SwapStrategy(ts=OPEN, name="hrm", reason="mended"))
    assert (short.supervisor.left, short.supervisor.rollback_to) == ("", "rules")


def test_a_start_without_the_own_strategy_is_on_the_next_and_says_why() -> None:
    """In the swap, in words, and the missing one can't be put in charge."""
    desk = Desk(missing={"hrm": "model.safetensors: damaged"})
    desk.supervisor.start(OPEN)
    (swap,) = desk.said
    assert swap == StrategySwapped(
        ts=OPEN, old="hrm", new="rules", reason="hrm can't be built: model.safetensors: damaged", who="hrmd"
    )
    assert desk.supervisor.unbuilt == "model.safetensors: damaged"
    assert desk.supervisor.ladder.within_reach == ["rules", "flat"]
    assert desk.supervisor.ladder.rung == 1
    assert len(desk.tell(SwapStrategy(ts=OPEN, name="hrm", reason="x"))) == 0


def test_a_lock_holds_over_a_restart() -> None:
    """With its reason; one that was taken off doesn't."""
    lock = LockStrategy(ts=1, locked=True, reason="I watch it", who="asha")
    desk = Desk()
    for _ in range(2):  # two restarts
        desk.supervisor.recall([], lock, OPEN)
        (lock,) = (event for event in desk.said if isinstance(event, LockStrategy))
        desk.said.clear()
        desk.handle()
        assert desk.supervisor.care.stairs.locked == f"{BEFORE}I watch it"
        assert desk.supervisor.locked_by == "asha"
    fresh = Desk()
    fresh.supervisor.recall([], msgspec.structs.replace(lock, locked=False), OPEN)
    assert fresh.said == []


def test_flat_over_a_restart_still_halts() -> None:
    """The process ended between the step and the last fill."""
    desk = Desk()
    desk.supervisor.held = {SBIN}
    desk.supervisor.resume("flat", "3 failed", OPEN)
    desk.supervisor.recall([MitigationTaken(OPEN, Mitigation.FLAT, "rules", "error_rate", "x")], None, OPEN)
    said = desk.tell(position_of(0))
    assert Halt in {type(event) for event in said}


def test_who_hung_too_often_goes_at_once() -> None:
    """With its own reason."""
    desk = Desk()
    desk.tell(made(0, failed=True, halt_reason=UNFIT, reason="hung 4 times today"))
    assert desk.supervisor.reason == "hung 4 times today"


def test_positions_are_known_from_their_changes() -> None:
    """Opened and closed."""
    desk = Desk()
    changes: list[PositionChanged] = [position_of(100), position_of(-5, symbol="NSE:X-EQ"), position_of(0)]
    desk.tell(*changes)
    assert desk.supervisor.held == {"NSE:X-EQ"}


def test_a_market_that_the_model_does_not_know_is_left_to_the_rules() -> None:
    """After so many bars, past a policy that was trained in a market, too; never where nothing is set."""
    for novel_bars, steps in ((5, [("hrm", "rules")]), (None, [])):
        desk = Desk(ladder=["hrm", "ppo", "rules", "flat"], triggers={"novel_bars": novel_bars})
        said = [
            event
            for close in range(12)
            for event in desk.tell(decide(Action.HOLD, ts_bar=OPEN + close * 5 * MINUTE, strategy="hrm", novelty=2.0))
        ]
        assert [(one.old, one.new) for one in said if isinstance(one, StrategySwapped)] == steps
