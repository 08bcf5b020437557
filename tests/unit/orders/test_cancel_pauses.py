"""Cancellations that a venue refuses: asked for again for ever, and ever more rarely."""

from __future__ import annotations

from itertools import pairwise

from daemon.core.clock import NS_PER_S
from daemon.orders.cancel_pauses import FIRST_NS, LONGEST_NS, UNHEARD_NS, CancelPauses


def asked_within(pauses: CancelPauses, seconds: int, since: int = 0) -> list[int]:
    """When one who tries every 50 ms may ask."""
    found = []
    for now in range(since, since + seconds * NS_PER_S, NS_PER_S // 20):
        if pauses.due("T1", now):
            pauses.ask("T1", now)
            found.append(now)
    return found


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    """Sixteen questions in a minute, and it never ends."""
    pauses = CancelPauses()
    asked = asked_within(pauses, 60)
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert gaps[:4] == [FIRST_NS, 2 * FIRST_NS, 4 * FIRST_NS, 8 * FIRST_NS]
    assert len(asked) <= 16
    hour = asked_within(pauses, 3600, 60 * NS_PER_S)
    assert max(b - a for a, b in pairwise(hour)) == LONGEST_NS


def test_a_venue_that_takes_cancellations_again_soon_has_ours() -> None:
    """An entry that works under a halt is asked for within seconds, however long it was refused."""
    pauses = CancelPauses()
    asked = asked_within(pauses, 600)
    assert max(b - a for a, b in pairwise(asked)) <= 5 * NS_PER_S


def test_many_that_are_refused_ask_once_a_second_together() -> None:
    """So that the minute has calls for everything else, whatever works; one that is off the market counts no more."""
    pauses, names = CancelPauses(), [f"T{n}" for n in range(20)]
    asked = 0
    for now in range(0, 120 * NS_PER_S, NS_PER_S // 20):
        for name in names:
            if pauses.due(name, now):
                pauses.ask(name, now)
                asked += now >= 60 * NS_PER_S
    assert 50 <= asked <= 61
    pauses.keep(["T1"])
    alone = asked_within(pauses, 60, 200 * NS_PER_S)
    assert max(b - a for a, b in pairwise(alone)) == LONGEST_NS


def test_a_person_is_served_at_once() -> None:
    """Of one order, or of all; by one question more, and the pauses stay what they were."""
    pauses = CancelPauses()
    now = asked_within(pauses, 60)[-1]
    assert not pauses.due("T1", now + 1)
    pauses.hasten("T2")
    assert not pauses.due("T1", now + 1)
    for order_id in ("T1", None):
        pauses.hasten(order_id)
        assert pauses.due("T1", now + 1)
        pauses.ask("T1", now + 1)
        assert not pauses.due("T1", now + LONGEST_NS)
        assert pauses.due("T1", now + 1 + LONGEST_NS)


def test_people_who_ask_over_and_over_leave_calls_for_others() -> None:
    """Ten times in a minute in which every cancellation is refused: ten questions more than without them."""
    pauses = CancelPauses()
    asked_within(pauses, 60)
    asked = 0
    for second in range(60, 120, 6):
        pauses.hasten()
        asked += len(asked_within(pauses, 6, second * NS_PER_S))
    assert asked <= 12 + 10


def test_who_is_not_heard_asks_again_soon() -> None:
    """A network that is down says nothing of the order."""
    pauses = CancelPauses()
    now = asked_within(pauses, 60)[-1]
    assert not pauses.due("T1", now + UNHEARD_NS)
    pauses.unheard("T1")
    pauses.unheard("nobody's")
    assert pauses.due("T1", now + UNHEARD_NS)
    assert not pauses.due("T1", now + UNHEARD_NS - 1)


def test_how_long_to_wait_is_that_of_the_first_that_is_due() -> None:
    """Nothing to wait for where one was never asked for, or none is owed; what is off the market is forgotten."""
    pauses = CancelPauses()
    pauses.ask("T1", 0)
    pauses.ask("T2", FIRST_NS // 2)
    assert pauses.left_ns(["T1", "T2"], FIRST_NS // 2) == FIRST_NS // 2
    assert pauses.left_ns(["T1", "T3"], 1) == pauses.left_ns([], 1) == pauses.left_ns(["T1"], 9 * FIRST_NS) == 0
    pauses.keep(["T2"])
    assert pauses.due("T1", 1)
    assert not pauses.due("T2", FIRST_NS)
