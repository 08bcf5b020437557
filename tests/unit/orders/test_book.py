"""The life of an order: every pair of states, repetitions, late messages, and what may never happen."""

from __future__ import annotations

import pytest

from daemon.core.errors import IllegalTransition
from daemon.core.events import (
    Event,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderExpired,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    TimeAdvanced,
)
from daemon.orders.book import KEPT, MOVES, Order, OrderBook, OrderState
from tests.samples import fill_of, intend

S = OrderState
INTENT = intend(quantity=100)
ENDS = {S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED}
LEGAL = {
    S.INTENT: {S.APPROVED, S.DENIED, S.CANCELLED},
    S.APPROVED: {S.SENT, S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN, *ENDS},
    S.SENT: {S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN, *ENDS},
    S.ACCEPTED: {S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN, *ENDS},
    S.PARTIALLY_FILLED: {S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN, *ENDS},
    S.CANCEL_PENDING: {S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN, *ENDS},
    S.UNKNOWN: {S.ACCEPTED, S.PARTIALLY_FILLED, *ENDS},
    S.FILLED: {S.PARTIALLY_FILLED},
}
"""Written out again, so that a change of the table is a change of two places."""


def to(state: OrderState, number: int = 1) -> Event:
    """The event that moves an order of 100 to `state`; of fills, 10 or the rest of 100."""
    ts, order_id = INTENT.ts + number, INTENT.order_id
    match state:
        case S.APPROVED:
            return OrderApproved(ts=ts, order_id=order_id)
        case S.DENIED:
            return OrderDenied(ts=ts, order_id=order_id, symbol=INTENT.symbol, check="c", limit="l", value="v")
        case S.ACCEPTED:
            return OrderAccepted(ts=ts, order_id=order_id, venue_id="V1")
        case S.REJECTED:
            return OrderRejected(ts=ts, order_id=order_id, code=-99, reason="no")
        case S.CANCELLED:
            return OrderCancelled(ts=ts, order_id=order_id, filled=0, reason="late")
        case S.SENT:
            return OrderSent(ts=ts, order_id=order_id)
        case S.CANCEL_PENDING:
            return OrderCancelRequested(ts=ts, order_id=order_id, reason="enough")
        case S.EXPIRED:
            return OrderExpired(ts=ts, order_id=order_id, filled=0, reason="the day ended")
        case S.UNKNOWN:
            return OrderUnknown(ts=ts, order_id=order_id, reason="silence")
        case S.PARTIALLY_FILLED:
            return fill_of(INTENT, 10, number)
        case _:
            return fill_of(INTENT, 100, number)


PATHS: dict[OrderState, tuple[OrderState, ...]] = {
    S.INTENT: (),
    S.APPROVED: (S.APPROVED,),
    S.DENIED: (S.DENIED,),
    S.SENT: (S.APPROVED, S.SENT),
    S.CANCEL_PENDING: (S.APPROVED, S.SENT, S.ACCEPTED, S.CANCEL_PENDING),
    S.EXPIRED: (S.APPROVED, S.ACCEPTED, S.EXPIRED),
    S.ACCEPTED: (S.APPROVED, S.ACCEPTED),
    S.PARTIALLY_FILLED: (S.APPROVED, S.ACCEPTED, S.PARTIALLY_FILLED),
    S.FILLED: (S.APPROVED, S.ACCEPTED, S.FILLED),
    S.CANCELLED: (S.APPROVED, S.ACCEPTED, S.CANCELLED),
    S.REJECTED: (S.APPROVED, S.REJECTED),
    S.UNKNOWN: (S.APPROVED, S.UNKNOWN),
}


def at(state: OrderState) -> OrderBook:
    """A book whose one order has reached `state`."""
    book = OrderBook()
    assert book.apply(INTENT) is not None
    for number, step in enumerate(PATHS[state], 1):
        moved = book.apply(to(step, number))
        assert moved is not None
        assert moved.state is step
    return book


def test_the_table_is_the_one_meant() -> None:
    """Every state is in it, and those that end an order are the five."""
    assert {state: set(moves) for state, moves in MOVES.items() if moves} == LEGAL
    assert set(MOVES) == set(S)
    assert {state for state in S if state.done} == {S.DENIED, *ENDS}


REACHABLE = [state for state in S if state is not S.INTENT]
NO_NEWS = {
    S.APPROVED: {S.SENT},
    S.SENT: {S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN},
    S.ACCEPTED: {S.PARTIALLY_FILLED, S.CANCEL_PENDING},
    S.CANCEL_PENDING: {S.UNKNOWN},
}
"""By what is said: the states in which it comes too late to matter."""
LATE_FILLS = {S.CANCELLED, S.REJECTED, S.EXPIRED}


@pytest.mark.parametrize("after", REACHABLE)
@pytest.mark.parametrize("before", list(S))
def test_every_pair_of_states(before: OrderState, after: OrderState) -> None:
    """A legal move is made, one of a finished order or a repetition is passed over, any other is a fault."""
    book = at(before)
    event = fill_of(INTENT, 90, 9) if (before, after) == (S.PARTIALLY_FILLED, S.FILLED) else to(after, 9)
    repeated = before is after and after is not S.PARTIALLY_FILLED
    filling = after in (S.PARTIALLY_FILLED, S.FILLED)
    if (before in LATE_FILLS and filling) or (before, after) == (S.CANCEL_PENDING, S.PARTIALLY_FILLED):
        order = book.apply(event)
        assert order is not None
        assert (order.state, order.filled) == (before, 10 if after is S.PARTIALLY_FILLED else 100)
        assert book.apply(event) is None
        return
    if before.done or repeated or before in NO_NEWS.get(after, ()):
        assert book.apply(event) is None
        assert before.done or book.working[INTENT.order_id].state is before
    elif after in LEGAL[before]:
        moved = book.apply(event)
        assert moved is not None
        assert moved.state is after
        assert (INTENT.order_id in book.working) is not after.done
    else:
        with pytest.raises(IllegalTransition, match=rf"order T1: no move from {before} to {after}"):
            book.apply(event)


def test_fields_follow_the_events() -> None:
    """Venue id, reason, fills and what remains are kept; counts are of finished orders."""
    book = at(S.ACCEPTED)
    order = book.working[INTENT.order_id]
    assert (order.venue_id, order.remaining) == ("V1", 100)
    book.apply(fill_of(INTENT, 40, 3))
    assert (order.filled, order.remaining, order.fill_ids) == (40, 60, ("T1-3",))
    book.apply(to(S.CANCELLED, 4))
    assert (order.state, order.reason, order.filled) == (S.CANCELLED, "late", 40)
    assert book.counts == {S.CANCELLED: 1}
    assert at(S.DENIED).counts == {S.DENIED: 1}


def test_a_repeated_fill_counts_once() -> None:
    """By its id, while the order works and after it is done."""
    book = at(S.ACCEPTED)
    first, rest = fill_of(INTENT, 40, 1), fill_of(INTENT, 60, 2)
    assert [book.apply(event) is not None for event in (first, first, rest, rest, first)] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert book.working == {}
    assert book.counts == {S.FILLED: 1}


@pytest.mark.parametrize("state", [S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN])
def test_an_overfill_is_a_fault_and_books_nothing(state: OrderState) -> None:
    """More than remains contradicts the order; the order stays as it was."""
    book = at(state)
    order = book.working[INTENT.order_id]
    before = (order.filled, order.fill_ids, order.state)
    with pytest.raises(IllegalTransition, match=f"a fill of 101 with {order.remaining} remaining in {state}"):
        book.apply(fill_of(INTENT, 101, 7))
    assert (order.filled, order.fill_ids, order.state) == before


def test_a_fill_of_an_order_nobody_approved_is_a_fault() -> None:
    """An intent can't fill, and is not half booked."""
    book = at(S.INTENT)
    with pytest.raises(IllegalTransition, match="from INTENT to FILLED"):
        book.apply(fill_of(INTENT))
    order = book.working[INTENT.order_id]
    assert (order.state, order.filled, order.fill_ids) == (S.INTENT, 0, ())


def test_a_repeated_intent_starts_no_second_life() -> None:
    """Neither while the order works nor after it is done; under another content it is a fault."""
    book = at(S.ACCEPTED)
    assert book.apply(INTENT) is None
    assert book.working[INTENT.order_id].state is S.ACCEPTED
    with pytest.raises(IllegalTransition, match="T1: the id was used before"):
        book.apply(intend(quantity=7))
    book.apply(fill_of(INTENT))
    assert book.apply(INTENT) is None
    assert book.working == {}


def test_strangers_and_other_events_change_nothing() -> None:
    """Orders that nobody knows, and events that are none of an order."""
    book = at(S.ACCEPTED)
    assert book.apply(OrderAccepted(ts=1, order_id="other", venue_id="V2")) is None
    assert book.apply(fill_of(intend("other"))) is None
    assert book.apply(TimeAdvanced(ts=1)) is None
    assert list(book.working) == [INTENT.order_id]


def test_an_order_is_plain() -> None:
    """A new order stands at its intent, with all of it open."""
    order = Order(intent=INTENT)
    assert (order.state, order.remaining, order.filled, order.reason) == (S.INTENT, 100, 0, "")


def test_a_failed_cancellation_puts_the_order_back_to_work() -> None:
    """To where it was: accepted, or partly filled; said of any other order it changes nothing."""
    failed = OrderCancelFailed(ts=9, order_id=INTENT.order_id, reason="too late")
    book = at(S.CANCEL_PENDING)
    moved = book.apply(failed)
    assert moved is not None
    assert moved.state is S.ACCEPTED
    assert book.apply(failed) is None
    book.apply(to(S.PARTIALLY_FILLED, 1))
    book.apply(to(S.CANCEL_PENDING, 2))
    moved = book.apply(failed)
    assert moved is not None
    assert moved.state is S.PARTIALLY_FILLED


def test_an_order_that_is_found_again_remembers_its_fills() -> None:
    """Unknown after a part was filled, then shown by the book: partly filled, not untouched."""
    book = at(S.PARTIALLY_FILLED)
    book.apply(to(S.UNKNOWN, 5))
    moved = book.apply(to(S.ACCEPTED, 6))
    assert moved is not None
    assert (moved.state, moved.filled, moved.venue_id) == (S.PARTIALLY_FILLED, 10, "V1")


def test_finished_orders_are_forgotten_in_the_end() -> None:
    """Only so many are kept, oldest out first; memory stays bounded."""
    book = OrderBook()
    for number in range(KEPT + 3):
        intent = intend(f"N{number}")
        book.apply(intent)
        book.apply(OrderDenied(ts=1, order_id=intent.order_id, symbol="S", check="c", limit="l", value="v"))
    assert len(book.finished) == KEPT
    assert book.find("N2") is None
    assert book.find("N3") is not None


@pytest.mark.parametrize("state", list(S))
def test_a_record_brings_an_order_back(state: OrderState) -> None:
    """State, quantities, ids and fills, among the working or the finished ones."""
    book = at(state)
    order = book.find(INTENT.order_id)
    assert order is not None
    again = OrderBook()
    again.restore(order.record())
    assert (INTENT.order_id in again.working) is not state.done
    found = again.find(INTENT.order_id)
    assert found is not None
    assert found.record() == order.record()


def test_an_order_that_was_changed_at_the_venue_is_followed() -> None:
    """Larger: more may fill; down to what is filled: it is done; a size that can't be, and a repetition: no news."""
    book = OrderBook()
    intent = intend("T1", quantity=10)
    book.apply(intent)
    book.apply(OrderApproved(ts=1, order_id="T1"))
    book.apply(OrderAccepted(ts=1, order_id="T1", venue_id="V"))
    assert book.apply(OrderAmended(ts=2, order_id="T1", quantity=15, change=5)) is not None
    assert book.apply(OrderAmended(ts=2, order_id="T1", quantity=15, change=5)) is None
    assert book.apply(fill_of(intent, 12)) is not None
    assert book.apply(OrderAmended(ts=3, order_id="T1", quantity=11, change=-4)) is None
    order = book.apply(OrderAmended(ts=3, order_id="T1", quantity=12, change=-3))
    assert order is not None
    assert (order.state, order.remaining) == (OrderState.FILLED, 0)
    assert book.working == {}


def test_a_filled_order_that_was_made_larger_works_on() -> None:
    """We took its fills for all of it; the venue works the rest. A cancelled order does not come back."""
    book = OrderBook()
    intent = intend("T1", quantity=10)
    for event in (intent, OrderApproved(ts=1, order_id="T1"), fill_of(intent, 10)):
        assert book.apply(event) is not None
    assert book.counts == {OrderState.FILLED: 1}
    order = book.apply(OrderAmended(ts=2, order_id="T1", quantity=14, change=4))
    assert order is not None
    assert (order.state, order.remaining) == (OrderState.PARTIALLY_FILLED, 4)
    assert (book.working, book.finished) == ({"T1": order}, {})
    assert book.counts == {OrderState.FILLED: 0}
    assert book.apply(fill_of(intent, 4, 2)) is not None
    assert (order.state, book.counts) == (OrderState.FILLED, {OrderState.FILLED: 1})
    cancelled = at(OrderState.CANCELLED)
    assert cancelled.apply(OrderAmended(ts=2, order_id=INTENT.order_id, quantity=200, change=100)) is None
