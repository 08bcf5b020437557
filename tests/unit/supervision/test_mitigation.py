"""Which step is taken about a trip, and how many a day."""

from __future__ import annotations

import pytest

from daemon.core.events import Mitigation
from daemon.supervision.mitigation import MILD, Probation, Stairs
from daemon.supervision.triggers import Trigger

KNOWS = {"hrm": frozenset(MILD), "rules": frozenset[Mitigation]()}
MINUTE = 60_000_000_000


def walk(trigger: Trigger, rung: str = "hrm", below: str | None = "rules") -> list[Mitigation]:
    """Every step that is taken while the same goes on."""
    stairs, taken = Stairs(KNOWS, 100), []
    for _ in range(10):
        step = stairs.next(trigger, rung, below)
        if step is None:
            break
        stairs.took(step, 1)
        taken.append(step)
        if step not in MILD:
            break
    return taken


def test_what_is_slow_thinks_less_before_it_goes() -> None:
    """In order, to the next strategy."""
    assert walk(Trigger.LATENCY) == [*MILD, Mitigation.STEP_DOWN]


def test_what_fails_is_made_anew_before_it_goes() -> None:
    """Less depth mends no failure."""
    wanted = [Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN]
    assert walk(Trigger.ERROR_RATE) == walk(Trigger.FLAPPING) == wanted


@pytest.mark.parametrize("trigger", [Trigger.IN_A_ROW, Trigger.NOT_FINITE, Trigger.MODEL_AGE])
def test_what_gives_nothing_good_any_more_goes_at_once(trigger: Trigger) -> None:
    """Nothing milder helps."""
    assert walk(trigger) == [Mitigation.STEP_DOWN]


def test_a_strategy_takes_what_it_knows() -> None:
    """The rules know nothing mild; above flat the step is flat, above nothing a halt, and then nothing."""
    assert walk(Trigger.LATENCY, "rules", "flat") == [Mitigation.FLAT]
    assert walk(Trigger.LATENCY, "rules", None) == [Mitigation.HALT]
    stairs = Stairs(KNOWS, 100)
    stairs.took(Mitigation.HALT, 1)
    assert stairs.next(Trigger.IN_A_ROW, "rules", None) is None


def test_steps_only_go_forward() -> None:
    """After caches were cleared for its failures, what is slow goes on behind that."""
    stairs = Stairs(KNOWS, 100)
    stairs.took(Mitigation.CLEAR_CACHES, 1)
    assert stairs.next(Trigger.LATENCY, "hrm", "rules") is Mitigation.SINGLE_CYCLE
    stairs.begin()
    assert stairs.next(Trigger.LATENCY, "hrm", "rules") is Mitigation.LESS_DEPTH


def test_a_day_has_its_limit() -> None:
    """Those of an earlier process count; the next day counts anew; a lock lets none pass."""
    stairs = Stairs(KNOWS, 2)
    stairs.remember(Mitigation.BACK, 1)
    stairs.took(Mitigation.LESS_DEPTH, 1)
    assert (stairs.left(1), stairs.left(2), stairs.tries(1), stairs.tries(2)) == (0, 2, 1, 0)
    assert stairs.barred(1) == "2 automatic steps were taken today, no more is allowed"
    with pytest.raises(ValueError, match="no more is allowed"):
        stairs.took(Mitigation.CLEAR_CACHES, 1)
    stairs.took(Mitigation.CLEAR_CACHES, 2)
    stairs.locked = "by the operator"
    assert stairs.barred(3) == "locked: by the operator"
    with pytest.raises(ValueError, match="locked"):
        stairs.took(Mitigation.SINGLE_CYCLE, 3)


def test_probation_is_time_without_a_trip_and_fine_decisions_in_a_row() -> None:
    """Either begins anew with what isn't fine."""
    one = Probation(10, 3)
    assert not one.waited(0)
    assert one.waited(10 * MINUTE)
    one.trip(10 * MINUTE)
    assert not one.waited(19 * MINUTE)
    for failed in (False, False, True, False):
        one.shadow(failed=failed)
    assert (one.fine, one.waited(20 * MINUTE)) == (1, True)
