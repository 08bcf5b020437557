"""What is measured of decisions, bars and pulses as they come."""

from __future__ import annotations

from typing import Any

from daemon.core.clock import NS_PER_MS, NS_PER_S
from daemon.core.events import Action, Decision
from daemon.supervision.health_window import DEADLINE, DecisionWindow, Failing, Lag, Owed, Standstill, percentile
from models.act import HaltReason
from strategies.base import LATE, SINGLE_CYCLE
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, decide

S = NS_PER_S


def thought(**changes: Any) -> Decision:
    """A decision of the model."""
    values: dict[str, Any] = {"strategy": "hrm", "segments": 2, "halt_reason": "q_halt", "convergence": 0.2}
    return decide(Action.HOLD, **(values | changes))


def test_the_deadline_has_the_models_name() -> None:
    """Nothing of models is imported for it where only rules decide."""
    assert HaltReason.DEADLINE.value == DEADLINE


def test_percentiles() -> None:
    """Of few values the 99th leaves out the worst, so that one bad moment is none."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([*[1.0] * 99, 900.0], 0.99) == 1
    assert percentile([*[1.0] * 98, 900.0, 900.0], 0.99) == 900
    assert percentile([7.0], 0.99) == 7


def test_a_window_counts() -> None:
    """Failures, latencies, what was cut short, depth and convergence of those that reasoned."""
    window = DecisionWindow(100, 60)
    window.add(thought(latency_ns=10 * NS_PER_MS))
    window.add(thought(latency_ns=30 * NS_PER_MS, segments=4, halt_reason=DEADLINE, convergence=0.4))
    window.add(thought(latency_ns=20 * NS_PER_MS, segments=0, halt_reason=LATE))
    window.add(thought(latency_ns=40 * NS_PER_MS, segments=0, halt_reason="hung", failed=True))
    window.add(decide(Action.HOLD))
    found = window.figures()
    assert (found.decisions, found.failed, found.reasoned, found.cut_short) == (5, 1, 3, 2)
    assert (found.latency_p50_ms, found.latency_p99_ms) == (20, 30)
    assert (found.mean_segments, round(found.mean_convergence, 9)) == (3, 0.3)
    window.add(thought(segments=0, halt_reason=SINGLE_CYCLE))
    assert window.figures().cut_short == 3


def test_a_window_forgets() -> None:
    """The oldest beyond its size, what lies too far back, and all of it when told to."""
    window = DecisionWindow(3, 60)
    for _ in range(5):
        window.add(thought(failed=True))
    assert window.figures().decisions == 3
    window.add(thought(ts=OPEN + 120 * MINUTE + 1))
    assert (window.figures().decisions, window.figures().failed) == (1, 0)
    window.forget()
    assert (window.figures().decisions, window.figures().latency_p99_ms) == (0, 0)


def test_a_window_is_of_one_model() -> None:
    """What the one before did says nothing of the one that decides now; a decision of no model is anybody's."""
    window = DecisionWindow(100, 60)
    for _ in range(3):
        window.add(thought(failed=True, model_hash="one"))
    window.add(thought(failed=True))
    assert window.figures().failed == 4
    window.add(thought(model_hash="two"))
    assert (window.figures().decisions, window.figures().failed) == (1, 0)


def test_a_decision_that_does_not_come_is_owed() -> None:
    """From the limit on, with the symbol that waits longest; another's decision pays nothing."""
    owed = Owed()
    owed.closed(SBIN, OPEN, 0)
    owed.closed(RELIANCE, OPEN, S)
    assert owed.overdue(5 * S, 5) is None
    found = owed.overdue(5 * S + 1, 5)
    assert found is not None
    assert (found.count, found.symbol) == (1, SBIN)
    owed.decided(SBIN, OPEN)
    found = owed.overdue(10 * S, 5)
    assert found is not None
    assert (found.count, found.symbol, found.oldest_s) == (1, RELIANCE, 9)
    owed.decided(RELIANCE, OPEN)
    assert owed.overdue(100 * S, 5) is None


def test_a_newer_bar_does_not_hide_an_older_debt() -> None:
    """The oldest counts, until a decision on the newest answers for all."""
    owed = Owed()
    for number in range(4):
        owed.closed(SBIN, OPEN + number * MINUTE, number * S)
    assert owed.overdue(4 * S, 3.5) is not None
    owed.decided(SBIN, OPEN)
    found = owed.overdue(9 * S, 3.5)
    assert found is not None
    assert found.oldest_s == 6  # since the newest, which isn't answered
    owed.decided(SBIN, OPEN + 3 * MINUTE)
    assert owed.overdue(100 * S, 3.5) is None


def test_a_decision_that_nobody_owes() -> None:
    """Such as one on a bar of before the start."""
    Owed().decided(SBIN, OPEN)


def test_symbols_that_fail() -> None:
    """Until a good decision; one that came too late says nothing either way."""
    failing = Failing()
    failing.add(thought(failed=True))
    failing.add(thought(halt_reason=LATE))
    assert list(failing.symbols) == [SBIN]
    failing.add(thought())
    assert failing.symbols == {}


def test_lag_is_of_the_newest_wakings() -> None:
    """Nothing is said before there are enough; waking early is not late."""
    lag = Lag(10)
    for _ in range(9):
        lag.add(-0.1)
    assert lag.p99_ms(10) is None
    lag.add(0.3)
    assert lag.p99_ms(10) == 0
    for _ in range(10):
        lag.add(0.2)
    assert lag.p99_ms(10) == 200


def test_a_queue_that_stands_still() -> None:
    """While something waits and nothing is taken; with nothing waiting there is no lag."""
    standstill = Standstill()
    assert standstill.seconds(3, 10, 5 * S) == 0
    assert standstill.seconds(4, 10, 7 * S) == 2
    assert standstill.seconds(4, 11, 8 * S) == 0
    assert standstill.seconds(4, 11, 9 * S) == 1
    assert standstill.seconds(0, 11, 20 * S) == 0
    assert standstill.seconds(1, 11, 21 * S) == 1
