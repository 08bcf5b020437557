from __future__ import annotations

import pytest

from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import UsageError
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.faults import Chance, Fault, FaultKind, FaultPlan, Route

DROP = Fault(kind=FaultKind.DROP)


SBIN, TCS = "NSE:SBIN-EQ", "NSE:TCS-EQ"


def drawn(plan: FaultPlan, route: Route, count: int) -> list[str]:
    """What befalls so many calls of a route."""
    return [fault.kind.value if fault else "" for fault in (plan.next(route) for _ in range(count))]


def test_the_queue() -> None:
    """Queued faults befall calls of their route, oldest first, as often as they say, and are counted."""
    plan = FaultPlan(0)
    plan.queue(
        [Fault(kind=FaultKind.DROP, times=2), Fault(kind=FaultKind.BROKEN), Fault(kind=FaultKind.CUT, on=Route.PUSH)]
    )
    assert (plan.queued, plan.waiting(Route.PLACE), plan.waiting(Route.PUSH), plan.waiting(Route.ANY)) == (4, 3, 1, 0)
    assert drawn(plan, Route.ORDERS, 1) == [""]
    assert drawn(plan, Route.PLACE, 4) == ["drop", "drop", "broken", ""]
    assert drawn(plan, Route.PUSH, 2) == ["cut", ""]
    assert plan.suffered == {"drop": 2, "broken": 1, "cut": 1}


def test_any_route_but_pushes() -> None:
    """A fault of any call befalls the next call, whatever it is, but no push."""
    plan = FaultPlan(0)
    plan.queue([Fault(kind=FaultKind.DELAY, on=Route.ANY)])
    assert drawn(plan, Route.PUSH, 1) == [""]
    assert drawn(plan, Route.FUNDS, 2) == ["delay", ""]


def test_sockets_are_no_calls() -> None:
    """A fault of any call befalls the symbol service too, but nothing that a socket sends, nor the published names."""
    plan = FaultPlan(0)
    plan.queue([Fault(kind=FaultKind.DELAY, on=Route.ANY)])
    for route in (Route.AUTH, Route.SNAPSHOT, Route.TICK, Route.FRAME, Route.INDICES):
        assert drawn(plan, route, 1) == [""]
    assert drawn(plan, Route.SYMBOLS, 1) == ["delay"]


def test_a_fault_of_one_symbol() -> None:
    """A fault that names a symbol waits for it, in the queue and by chance; one that names none takes the first."""
    plan = FaultPlan(0)
    plan.queue([Fault(kind=FaultKind.FREEZE, on=Route.TICK, symbol=TCS)])
    assert plan.next(Route.TICK, (SBIN,)) is None
    found = plan.next(Route.TICK, (SBIN, TCS))
    assert found is not None
    assert found.symbol == TCS
    plan.chances([Chance(probability=1.0, fault=Fault(kind=FaultKind.FREEZE, on=Route.TICK, symbol=TCS))], 0)
    assert plan.next(Route.TICK, (SBIN,)) is None
    assert plan.next(Route.TICK, (TCS,)) is not None
    plan.queue([Fault(kind=FaultKind.WRONG_PRICE, on=Route.TICK)])
    assert drawn(plan, Route.TICK, 1) == ["wrong_price"]


def test_chance_is_seeded_by_route() -> None:
    """The same seed brings the same faults to a route however often another one is called; another seed others."""
    chances = [Chance(probability=0.3, fault=DROP), Chance(probability=0.2, fault=Fault(kind=FaultKind.NO_ACK))]
    plans = [FaultPlan(0) for _ in range(3)]
    for plan, seed in zip(plans, (7, 7, 8), strict=True):
        plan.chances([*chances, Chance(probability=0.5, fault=Fault(kind=FaultKind.DELAY, on=Route.ORDERS))], seed)
    drawn(plans[1], Route.ORDERS, 50)
    first, second, third = (drawn(plan, Route.PLACE, 100) for plan in plans)
    assert first == second != third
    assert 15 < first.count("drop") < 45
    assert 5 < first.count("no_ack") < 30


def test_a_queued_fault_does_not_shift_chance() -> None:
    """A queued fault takes the place of the chance's, and the ones after stay where they were."""
    plain, queued = FaultPlan(0), FaultPlan(0)
    for plan in (plain, queued):
        plan.chances([Chance(probability=0.5, fault=DROP)], 3)
    queued.queue([Fault(kind=FaultKind.BROKEN)])
    assert drawn(queued, Route.PLACE, 20)[1:] == drawn(plain, Route.PLACE, 20)[1:]


def test_clear() -> None:
    """After clearing nothing goes wrong."""
    plan = FaultPlan(0)
    plan.queue([DROP])
    plan.chances([Chance(probability=1.0, fault=DROP)], 0)
    plan.clear()
    assert drawn(plan, Route.PLACE, 3) == ["", "", ""]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.CUT, on=Route.PLACE),
        Fault(kind=FaultKind.DROP, on=Route.PUSH),
        Fault(kind=FaultKind.PARTIAL, on=Route.MODIFY),
        Fault(kind=FaultKind.NO_ACK, on=Route.ORDERS),
        Fault(kind=FaultKind.STALE, on=Route.FUNDS),
        Fault(kind=FaultKind.FREEZE, on=Route.FRAME),
        Fault(kind=FaultKind.TRUNCATE, on=Route.PUSH),
        Fault(kind=FaultKind.EXPIRE_TOKEN, on=Route.INDICES),
        Fault(kind=FaultKind.EXPIRE_TOKEN, code=-50),
        Fault(kind=FaultKind.LAG, on=Route.FUNDS),
        Fault(kind=FaultKind.ECHO, on=Route.FRAME),
        Fault(kind=FaultKind.DROP, on=Route.PLACE, symbol=SBIN),
        Fault(kind=FaultKind.BROKEN, status=404),
        Fault(kind=FaultKind.DELAY, seconds=-1),
        Fault(kind=FaultKind.DELAY, times=0),
    ],
)
def test_what_cannot_be(fault: Fault) -> None:
    """A fault that can't befall its route is refused, in the queue and by chance, and names itself."""
    with pytest.raises(UsageError, match=fault.kind.value):
        FaultPlan(0).queue([fault])
    with pytest.raises(UsageError, match=fault.kind.value):
        FaultPlan(0).chances([Chance(probability=0.1, fault=fault)], 0)


def test_a_probability_is_one() -> None:
    """A probability lies in [0, 1]."""
    with pytest.raises(UsageError, match="0 to 1"):
        FaultPlan(0).chances([Chance(probability=1.5, fault=DROP)], 0)


def test_the_meter() -> None:
    """Calls are counted in sliding windows and, where the limits hold, refused beyond 10 a second, 200 a minute."""
    clock = ReplayClock(0)
    meter, lenient = CallMeter(clock, enforce=True), CallMeter(clock, enforce=False)
    assert [meter.admit() for _ in range(11)] == [None] * 10 + [1.0]
    assert [lenient.admit() for _ in range(11)] == [None] * 11
    clock.advance(NS_PER_S - 1)
    assert meter.admit() == 1.0
    for second in range(2, 25):
        clock.advance(second * NS_PER_S)
        last = [meter.admit() for _ in range(9)]
    assert last[-1] == 60.0
    assert (meter.total, meter.most_in_second, meter.most_in_minute) == (219, 12, 219)
    assert meter.refused == 21
    clock.advance(100 * NS_PER_S)
    assert meter.admit() is None
