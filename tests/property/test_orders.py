"""Whatever the venue says, in whatever order and however often: no illegal state, no lost and no doubled quantity."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from daemon.core.errors import IllegalTransition
from daemon.core.events import (
    Event,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderUnknown,
)
from daemon.orders.book import MOVES, OrderBook, OrderState
from tests.depth import examples
from tests.samples import fill_of, intend

KINDS = ("approved", "denied", "sent", "accepted", "rejected", "cancel_pending", "cancelled", "expired", "unknown")
S = OrderState
NO_NEWS = {
    (S.SENT, S.APPROVED), (S.ACCEPTED, S.SENT), (S.PARTIALLY_FILLED, S.SENT), (S.CANCEL_PENDING, S.SENT),
    (S.UNKNOWN, S.SENT), (S.PARTIALLY_FILLED, S.ACCEPTED), (S.CANCEL_PENDING, S.ACCEPTED),
    (S.UNKNOWN, S.CANCEL_PENDING),
}  # fmt: skip


def message(kind: str, order_id: str) -> Event:
    """What is said about an order."""
    match kind:
        case "approved":
            return OrderApproved(ts=1, order_id=order_id)
        case "denied":
            return OrderDenied(ts=1, order_id=order_id, symbol="S", check="c", limit="l", value="v")
        case "accepted":
            return OrderAccepted(ts=1, order_id=order_id, venue_id="V")
        case "rejected":
            return OrderRejected(ts=1, order_id=order_id, code=1, reason="r")
        case "cancelled":
            return OrderCancelled(ts=1, order_id=order_id, filled=0, reason="r")
        case "sent":
            return OrderSent(ts=1, order_id=order_id)
        case "cancel_pending":
            return OrderCancelRequested(ts=1, order_id=order_id, reason="r")
        case "expired":
            return OrderExpired(ts=1, order_id=order_id, filled=0, reason="r")
        case _:
            return OrderUnknown(ts=1, order_id=order_id, reason="r")


class Orders(RuleBasedStateMachine):
    """An order book beside the simplest model of it: the last legal state and the sum of distinct fills."""

    intents = Bundle("intents")

    def __init__(self) -> None:
        super().__init__()
        self.book = OrderBook()
        self.state: dict[str, OrderState] = {}
        self.filled: dict[str, int] = {}
        self.seen: set[str] = set()
        self.quantity: dict[str, int] = {}

    @rule(target=intents, quantity=st.integers(1, 20))
    def intend(self, quantity: int) -> OrderIntent:
        """A new order."""
        intent = intend(f"T{len(self.state)}", quantity=quantity)
        assert self.book.apply(intent) is not None
        self.state[intent.order_id] = OrderState.INTENT
        self.filled[intent.order_id] = 0
        self.quantity[intent.order_id] = quantity
        return intent

    @rule(intent=intents)
    def repeat(self, intent: OrderIntent) -> None:
        """The same intent again."""
        assert self.book.apply(intent) is None

    @rule(intent=intents, kind=st.sampled_from(KINDS))
    def say(self, intent: OrderIntent, kind: str) -> None:
        """Anything about an order, legal or not."""
        self._apply(message(kind, intent.order_id), intent.order_id, OrderState(kind.upper()))

    @rule(intent=intents, quantity=st.integers(1, 25), number=st.integers(0, 6))
    def fill(self, intent: OrderIntent, quantity: int, number: int) -> None:
        """A fill, perhaps a repetition, perhaps too large."""
        order_id = intent.order_id
        fill = fill_of(intent, quantity, number)
        before = self.state[order_id]
        if before in (S.FILLED, S.DENIED) or fill.fill_id in self.seen:
            assert self.book.apply(fill) is None
            return
        left = self.quantity[order_id] - self.filled[order_id]
        if quantity > left:
            self._refuse(fill)
            return
        if before.done or (before is S.CANCEL_PENDING and quantity < left):
            assert self.book.apply(fill) is not None
            self.seen.add(fill.fill_id)
            self.filled[order_id] += quantity
            return
        state = OrderState.FILLED if quantity == left else OrderState.PARTIALLY_FILLED
        if self._apply(fill, order_id, state):
            self.seen.add(fill.fill_id)
            self.filled[order_id] += quantity

    def _apply(self, event: Event, order_id: str, state: OrderState) -> bool:
        before = self.state[order_id]
        repeated = before is state and not isinstance(event, Fill)
        if before.done or repeated or (before, state) in NO_NEWS:
            assert self.book.apply(event) is None
            return False
        if state not in MOVES[before]:
            self._refuse(event)
            return False
        moved = self.book.apply(event)
        assert moved is not None
        found = before is S.UNKNOWN and state is S.ACCEPTED and self.filled[order_id] > 0
        self.state[order_id] = S.PARTIALLY_FILLED if found else state
        return True

    def _refuse(self, event: Event) -> None:
        try:
            self.book.apply(event)
        except IllegalTransition:
            return
        raise AssertionError(f"{event} should have been refused")

    @invariant()
    def agrees(self) -> None:
        """States, fills and counts are those of the model; a finished order works no more."""
        working = {order_id for order_id, state in self.state.items() if not state.done}
        assert set(self.book.working) == working
        for order_id in working:
            order = self.book.working[order_id]
            assert (order.state, order.filled) == (self.state[order_id], self.filled[order_id])
            assert 0 <= order.filled < order.intent.quantity
        done = [state for state in self.state.values() if state.done]
        assert self.book.counts == {state: done.count(state) for state in set(done)}


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=examples(150), stateful_step_count=40)
TestOrders.__doc__ = "The state machine."
