"""The HRM strategy when time is short: shared time, a single cycle, and at last no thought at all."""

from __future__ import annotations

from daemon.core.clock import ReplayClock
from daemon.core.events import Action
from tests.unit.strategies.test_hrm import Ticking, strategy, walk

MS = 1_000_000


def test_with_time_it_thinks_as_ever() -> None:
    """On a clock that stands still being asked is being decided, whoever waits."""
    hrm = strategy()
    assert hrm.decide_since(walk(0), 0, 1) == strategy().decide(walk(0))
    assert hrm.decide_since(walk(0), 0, 50) == strategy().decide(walk(0))


def test_waiting_decisions_share_the_time() -> None:
    """The more wait, the fewer segments each gets: a share of the deadline, never more."""
    depths = [
        strategy(clock=Ticking(), deadline_ms=24).decide_since(walk(0), 0, waiting).segments for waiting in (1, 4, 8)
    ]
    assert depths[0] == 5
    assert depths[0] > depths[1] > depths[2] >= 1


def test_no_time_for_a_segment_is_a_single_cycle() -> None:
    """Once it knows what a segment costs; before it knows it tries one."""
    clock = Ticking()
    hrm = strategy(clock=clock, deadline_ms=20)
    assert hrm.decide_since(walk(0), clock.now_ns(), 100).halt_reason == "deadline"
    hurried = hrm.decide_since(walk(0), clock.now_ns(), 100)
    assert (hurried.segments, hurried.halt_reason, hurried.failed) == (1, "single_cycle", False)
    again = strategy().decide_at(walk(0), 1, single_cycle=True)
    assert (again.action, again.confidence, again.value) == (hurried.action, hurried.confidence, hurried.value)


def test_no_time_at_all_is_a_failed_hold() -> None:
    """A request that waited past its deadline is not thought about; the supervisor counts it."""
    clock = ReplayClock(1_000 * MS)
    late = strategy(clock=clock, deadline_ms=50).decide_since(walk(0), 900 * MS, 1)
    assert (late.action, late.failed, late.halt_reason, late.segments) == (Action.HOLD, True, "late", 0)
    assert late.reason == "asked 100 ms ago, no time is left"
