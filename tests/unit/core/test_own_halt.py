"""A halt that goes on by itself: only where nothing besides its cause has asked for a stop."""

from __future__ import annotations

import pytest

from daemon.core.bus import Bus
from daemon.core.events import ITSELF, Event, Flatten, Halt, Reduce, Resume, TradingState, TradingStateChanged
from daemon.core.own_halt import REDUCED_BEFORE, OwnHalt

CAUSE = "the lamp "
OURS = Halt(ts=5, reason="the lamp is out", automatic=True, who=ITSELF)


class Bench:
    """One cause, with risk's part played by the test."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.own = OwnHalt(self.bus, CAUSE)
        self.asked: list[Event] = []

    def hear(self, *events: Event) -> None:
        """What is published by others, and by risk."""
        for event in events:
            self.bus.publish(event)

    def goes_on(self) -> list[Event]:
        """What it says when the cause is over."""
        self.bus.tap((Halt, Resume, Reduce), self.asked.append)
        self.own.go_on(9, "light")
        return self.asked


def be(state: TradingState, reason: str = OURS.reason) -> TradingStateChanged:
    """What risk says."""
    return TradingStateChanged(ts=5, state=state, reason=reason)


def test_it_goes_on_where_nothing_else_stands() -> None:
    """As a machine that settles no doubts; and not twice."""
    bench = Bench()
    bench.own.halt(5, "is out")
    bench.hear(be(TradingState.HALTED))
    assert bench.own.alone
    assert bench.goes_on() == [Resume(ts=9, reason="light", automatic=True, who=ITSELF)]
    bench.hear(be(TradingState.ACTIVE, "light"))
    assert len(bench.goes_on()) == 1


@pytest.mark.parametrize(
    "stop",
    [Halt(ts=6, reason="fire", who="asha"), Flatten(ts=6, reason="out"),
     Halt(ts=6, reason="funds differ", automatic=True, who=ITSELF)],
)  # fmt: skip
@pytest.mark.parametrize("before_risk", [True, False])
def test_a_stop_that_changes_no_state_stands(stop: Event, before_risk: bool) -> None:
    """Whether risk had got to the halt when it was given or not."""
    bench = Bench()
    if before_risk:
        bench.hear(OURS, stop, be(TradingState.HALTED))
    else:
        bench.hear(OURS, be(TradingState.HALTED), stop)
    assert bench.goes_on() == []


def test_after_a_person_resumed_it_is_as_new() -> None:
    """The next halt of the cause is over with the cause."""
    bench = Bench()
    bench.hear(OURS, be(TradingState.HALTED), Halt(ts=6, reason="fire"), Resume(ts=7, reason="well"))
    bench.hear(be(TradingState.ACTIVE, "well"), OURS, be(TradingState.HALTED))
    assert len(bench.goes_on()) == 1


def test_an_orderly_end_is_no_other_stop() -> None:
    """The process is asked to end: the cause still stands alone."""
    bench = Bench()
    bench.hear(OURS, be(TradingState.HALTED), Halt(ts=6, reason="SIGTERM", shutdown=True))
    assert len(bench.goes_on()) == 1


def test_what_was_only_reduced_is_so_again() -> None:
    """Also where a person said so a moment before the halt, and after a restart, by the reason."""
    bench = Bench()
    bench.hear(Reduce(ts=4, reason="careful"), OURS, be(TradingState.REDUCING, "careful"), be(TradingState.HALTED))
    assert bench.goes_on() == [Reduce(ts=9, reason="careful, as before: light", who=ITSELF)]
    bench.hear(be(TradingState.REDUCING, "careful, as before: light"), OURS, be(TradingState.HALTED))
    assert bench.goes_on()[-1] == Reduce(ts=9, reason="careful, as before: light", who=ITSELF)
    again = Bench()
    again.hear(be(TradingState.HALTED, f"{OURS.reason}{REDUCED_BEFORE}"))
    assert again.goes_on() == [Reduce(ts=9, reason="light", who=ITSELF)]
