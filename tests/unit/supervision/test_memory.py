"""Too much memory: what is done about it, in which order, and when not."""

from __future__ import annotations

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    EaseStrategy,
    Event,
    Halt,
    LockStrategy,
    MemoryMeasured,
    Mitigation,
    MitigationTaken,
    StrategySwapped,
)
from daemon.settings.run import SupervisorSettings
from daemon.supervision.care import Traits
from daemon.supervision.memory import GB, MemoryWatch
from daemon.supervision.mitigation import MILD
from daemon.supervision.supervisor import Ladder, Supervisor
from tests.samples import OPEN
from tests.unit.supervision.test_care import made

FREE, CACHES, RENEW, DOWN = (
    Mitigation.FREE_MEMORY, Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN,
)  # fmt: skip
EVERY_S = 30.0


class Desk:
    """A supervisor on hrm, rules, flat with a limit of 4 GB; `left_gb` is what freeing leaves, None: all of it."""

    def __init__(self, *, timed: bool = True) -> None:
        self.bus = Bus()
        self.clock = ReplayClock(OPEN)
        settings = SupervisorSettings(ladder=["hrm", "rules", "flat"])
        traits = Traits({"hrm": frozenset(MILD)}, memory_limit_gb=4.0)
        ladder = Ladder(settings.ladder, "hrm", settings.max_failed_decisions)
        self.supervisor = Supervisor(self.bus, ladder, settings, self.clock, traits, timed=timed)
        self.supervisor.free = self.free
        self.used = 0.0
        self.left_gb: float | None = None
        self.freed = 0
        self.said: list[Event] = []
        self.bus.tap((EaseStrategy, MitigationTaken, StrategySwapped, Halt), self.said.append)

    def free(self) -> int:
        """What is left."""
        self.freed += 1
        return int((self.used if self.left_gb is None else self.left_gb) * GB)

    def measure(self, *used_gb: float, every_s: float = EVERY_S) -> list[Mitigation]:
        """So much in use, again and again; the steps that follow."""
        before = len(self.said)
        for used in used_gb:
            self.used = used
            self.clock.advance(self.clock.now_ns() + int(every_s * NS_PER_S))
            self.tell(MemoryMeasured(ts=self.clock.now_ns(), used_bytes=int(used * GB)))
        return [it.step for it in self.said[before:] if isinstance(it, EaseStrategy | MitigationTaken)]

    def tell(self, event: Event) -> None:
        """Publish and let the supervisor handle it."""
        self.bus.publish(event)
        while (taken := self.supervisor.inbox.take()) is not None:
            self.supervisor.handle(taken)
            self.supervisor.inbox.done()


def test_step_by_step_and_never_flat() -> None:
    """Mildest first, each with its evidence; the last strategy that decides stays, whatever it holds."""
    desk = Desk()
    assert desk.measure(3.9, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5) == [FREE, CACHES, RENEW, DOWN]
    assert isinstance(desk.said[0], MitigationTaken)
    assert desk.said[0].trigger == "memory"
    assert desk.said[0].evidence == "4.00 GB of memory in use, limit 4 GB"
    assert desk.supervisor.ladder.active == "rules"
    assert desk.measure(*[5.0] * 20) == []
    assert not any(isinstance(one, Halt) for one in desk.said)


def test_each_step_gets_time_and_freeing_is_not_repeated_every_second() -> None:
    """Thirty seconds; while nothing is left to be done memory is given back once in as many."""
    desk = Desk()
    assert desk.measure(*[4.5] * 29, every_s=1) == [FREE]
    assert desk.measure(*[4.5] * 90, every_s=1) == [CACHES, RENEW, DOWN]
    before = desk.freed
    desk.measure(*[4.5] * 90, every_s=1)
    assert desk.freed - before == 3


def test_what_helped_ends_it() -> None:
    """At the limit it doesn't flap; what is given back just before the next step counts as well."""
    desk = Desk()
    assert desk.measure(4.1, 3.8, 3.7, 3.9) == [FREE]
    desk.left_gb = 3.9
    assert desk.measure(4.05, 4.05) == []
    desk.left_gb = None
    assert desk.measure(4.05) == [CACHES]
    assert desk.measure(3.5, 4.1) == [FREE]
    assert desk.measure(4.1) == [RENEW]


def test_while_locked_it_is_wanted_and_good_decisions_don_t_hide_it() -> None:
    """Health says so until it is unlocked, or memory is well."""
    desk = Desk()
    desk.tell(LockStrategy(ts=OPEN, locked=True, reason="I watch"))
    assert desk.measure(4.1) == []
    desk.tell(made(1))
    (said,) = desk.supervisor.trouble
    assert said == "free_memory is wanted (4.10 GB of memory in use, limit 4 GB) and not done: locked: I watch"
    desk.measure(3.9)
    assert desk.supervisor.trouble == []
    desk.tell(LockStrategy(ts=OPEN, locked=False, reason=""))
    assert desk.measure(4.1) == [FREE]


def test_in_a_replay_the_machine_decides_nothing() -> None:
    """However much it holds."""
    assert Desk(timed=False).measure(*[9.0] * 5) == []
    assert MemoryWatch(None, 1.0).look(99 * GB, 0) is None
