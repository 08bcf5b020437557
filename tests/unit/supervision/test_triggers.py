"""What is wrong with the strategy in charge, from its decisions alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from daemon.core.events import Action, Decision
from daemon.settings.run import TriggerSettings
from daemon.supervision.triggers import Finding, Trigger, Watch, too_old
from strategies.base import INVALID, LATE
from tests.samples import DAY, MINUTE, OPEN, decide

MS = 1_000_000


def watch(closes: int = 3, deadline_ms: float = 50.0, **settings: Any) -> Watch:
    """With the shipped settings, but for those given."""
    return Watch(TriggerSettings(**settings), closes, deadline_ms)


def at(close: int, *, failed: bool = False, action: Action = Action.HOLD, **changes: Any) -> Decision:
    """A decision at the `close`-th minute."""
    return decide(action, failed=failed, reason="why" if failed else "fine", ts_bar=OPEN + close * MINUTE, **changes)


def trips(one: Watch, decisions: Iterable[Decision], elapsed_ns: int | None = None) -> list[tuple[int, Finding]]:
    """(how many decisions it took, what tripped), of every decision that tripped."""
    found = []
    for count, decision in enumerate(decisions, 1):
        found += [(count, finding) for finding in one.on_decision(decision, elapsed_ns) if finding.trips]
    return found


def test_two_of_three_failed_never_three_in_a_row_trip_at_the_tenth() -> None:
    """As soon as there are enough decisions to speak of a share, on a decision that failed, with its reason."""
    count, finding = trips(watch(), (at(n, failed=n % 3 != 2) for n in range(30)))[0]
    assert (count, finding.trigger) == (10, Trigger.ERROR_RATE)
    assert finding.evidence == "7 of 10 decisions failed (all instruments): why"


def test_an_instrument_is_not_outvoted() -> None:
    """One in 30 always fails, 3.3 % of all: its own share trips, and it is named."""
    crowd = (at(n, failed=s == 0, symbol=f"S{s}") for n in range(12) for s in range(30))
    count, finding = trips(watch(), crowd)[0]
    assert count == 9 * 30 + 1
    assert "(S0)" in finding.evidence


def test_one_bad_moment_of_the_machine_is_one() -> None:
    """Twenty instruments fail at two closes of ten: a third of all, and no trip."""
    crowd = [at(n, failed=n in (4, 5), symbol=f"S{s}") for n in range(10) for s in range(20)]
    assert trips(watch(), crowd) == []


def test_a_little_is_told_only() -> None:
    """From 1 % on; below that nothing is said."""
    one = watch()
    said = [one.on_decision(at(n, failed=n == 5), None) for n in range(100)]
    assert not said[4]
    assert {finding.trips for findings in said for finding in findings} == {False}
    assert said[60][0].trigger is Trigger.ERROR_RATE
    assert watch(error_warn_percent=2).on_decision(at(0), None) == []


def test_what_lies_before_the_window_is_forgotten() -> None:
    """Failures that a hundred good decisions followed say nothing."""
    one = watch()
    assert trips(one, (at(n, failed=n < 9) for n in range(9))) == []
    assert trips(one, (at(n) for n in range(9, 120))) == []
    assert one.on_decision(at(200), None) == []


def test_a_second_each_trips_at_the_tenth() -> None:
    """Ten decisions of one second."""
    count, finding = trips(watch(), (at(n) for n in range(20)), 1_000 * MS)[0]
    assert (count, finding.trigger) == (10, Trigger.LATENCY)
    assert finding.evidence == "10 of 10 decisions took longer than 100 ms"


@pytest.mark.parametrize(("elapsed_ms", "tripping"), [(49, None), (60, False), (101, True)])
def test_slow_is_told_and_very_slow_trips(elapsed_ms: int, tripping: bool | None) -> None:
    """50 and 100 ms."""
    one = watch()
    found = [one.on_decision(at(n), elapsed_ms * MS) for n in range(10)][-1]
    assert [finding.trips for finding in found] == ([] if tripping is None else [tripping])


def test_slow_means_slower_than_the_deadline_allows() -> None:
    """Who gives a model 400 ms isn't told that it took 300."""
    assert trips(watch(deadline_ms=400), (at(n) for n in range(20)), 300 * MS) == []
    assert trips(watch(deadline_ms=400), (at(n) for n in range(20)), 900 * MS)


def test_two_slow_ones_are_no_trip() -> None:
    """A pause of the machine: the 99th percentile of a few is their largest, which says nothing."""
    one = watch()
    assert not any(one.on_decision(at(n), (500 if n in (3, 4) else 10) * MS) for n in range(30))


def test_nothing_is_slow_where_nobody_measured() -> None:
    """A replay: all the time that a slow machine may need."""
    assert trips(watch(), (at(n, latency_ns=10**10) for n in range(50))) == []


def test_answers_of_no_use_trip_at_the_third_of_a_day() -> None:
    """Not in a row, good ones between; the next day counts anew."""
    one = watch(at_least=100)
    bad = [at(n, failed=True, halt_reason=INVALID) for n in (1, 20, 40)]
    assert trips(one, [bad[0], at(2), bad[1], at(21)]) == []
    tomorrow = decide(Action.HOLD, failed=True, reason="why", halt_reason=INVALID, ts_bar=OPEN + DAY)
    assert trips(one, [tomorrow]) == []
    one.clear()
    assert [finding.trigger for _, finding in trips(one, bad)] == [Trigger.NOT_FINITE]


def test_in_and_out_at_every_bar_trips() -> None:
    """Eleven changes within an hour; a side that is kept, or an hour that passes, is none."""
    to_and_fro = [Action.BUY_LONG, Action.CLOSE_LONG]
    (count, finding), *_ = trips(watch(), (at(5 * n, action=to_and_fro[n % 2]) for n in range(12)))
    assert (count, finding.trigger) == (11, Trigger.FLAPPING)
    assert trips(watch(), (at(7 * n, action=to_and_fro[n % 2]) for n in range(50))) == []
    assert trips(watch(), (at(n, action=Action.BUY_LONG) for n in range(50))) == []


def test_a_turn_that_came_too_late_is_nobody_s_failure() -> None:
    """It counts neither as a failure nor as a good one."""
    assert trips(watch(), (at(n, halt_reason=LATE) for n in range(50))) == []


def test_a_model_has_its_time() -> None:
    """Days from its newest training day; without a limit or a day nothing is old."""
    now = OPEN  # 2026-01-05
    assert too_old("2026-01-04", 1, now) is None
    finding = too_old("2026-01-03", 1, now)
    assert finding is not None
    assert finding.evidence == "the model knows days up to 2026-01-03, 2 days ago; 1 allowed"
    assert too_old("", 1, now) is None
