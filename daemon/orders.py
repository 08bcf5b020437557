"""The life of an order: one table of legal moves, and a book of all orders.

Invariant: an order's state only moves along `MOVES`; what the venue repeats or sends late changes nothing, what
contradicts the table is a fault that names both states.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from daemon.errors import IllegalTransition
from daemon.events import (
    Event,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderUnknown,
)


class OrderState(StrEnum):
    """Where an order stands."""

    INTENT = "INTENT"
    APPROVED = "APPROVED"
    DENIED = "DENIED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"

    @property
    def done(self) -> bool:
        """Nothing more can happen to the order."""
        return not MOVES[self]


S = OrderState
MOVES: dict[OrderState, frozenset[OrderState]] = {
    S.INTENT: frozenset({S.APPROVED, S.DENIED}),
    S.APPROVED: frozenset({S.ACCEPTED, S.REJECTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELLED, S.UNKNOWN}),
    S.ACCEPTED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED, S.UNKNOWN}),
    S.PARTIALLY_FILLED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.CANCELLED, S.UNKNOWN}),
    S.UNKNOWN: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED}),
    S.DENIED: frozenset(),
    S.FILLED: frozenset(),
    S.CANCELLED: frozenset(),
    S.REJECTED: frozenset(),
}


class Order(msgspec.Struct, gc=False):
    """One order and what became of it so far."""

    intent: OrderIntent
    state: OrderState = OrderState.INTENT
    filled: int = 0
    fill_ids: tuple[str, ...] = ()
    venue_id: str = ""
    reason: str = ""
    updated_ts: int = 0

    @property
    def remaining(self) -> int:
        """Quantity not yet filled."""
        return self.intent.quantity - self.filled


class OrderBook:
    """All orders of the run by client id; `working` are those at the venue or on their way there."""

    def __init__(self) -> None:
        self.working: dict[str, Order] = {}
        self.counts: dict[OrderState, int] = {}
        self._known: set[str] = set()

    def apply(self, event: Event) -> Order | None:
        """Move the order that `event` speaks of; None when it is unknown, late or a repetition.

        Raises `IllegalTransition` for a move that the table does not hold.
        """
        if isinstance(event, OrderIntent):
            return self._open(event)
        if isinstance(event, OrderApproved):
            return self._move(event.order_id, OrderState.APPROVED, event.ts)
        if isinstance(event, OrderDenied):
            return self._move(event.order_id, OrderState.DENIED, event.ts, f"{event.check}: {event.value}")
        if isinstance(event, OrderAccepted):
            order = self._move(event.order_id, OrderState.ACCEPTED, event.ts)
            if order is not None:
                order.venue_id = event.venue_id
            return order
        if isinstance(event, OrderRejected):
            return self._move(event.order_id, OrderState.REJECTED, event.ts, event.reason)
        if isinstance(event, OrderCancelled):
            return self._move(event.order_id, OrderState.CANCELLED, event.ts, event.reason)
        if isinstance(event, OrderUnknown):
            return self._move(event.order_id, OrderState.UNKNOWN, event.ts, event.reason)
        if isinstance(event, Fill):
            return self._fill(event)
        return None

    def _open(self, intent: OrderIntent) -> Order | None:
        """A new order; None for a repetition. Two orders under one id would lose one of them: that is a fault."""
        if intent.order_id in self._known:
            order = self.working.get(intent.order_id)
            if order is not None and order.intent != intent:
                raise IllegalTransition(f"order {intent.order_id}: the id was used before, for another intent")
            return None
        self._known.add(intent.order_id)
        order = self.working[intent.order_id] = Order(intent=intent, updated_ts=intent.ts)
        return order

    def _fill(self, fill: Fill) -> Order | None:
        order = self.working.get(fill.order_id)
        if order is None or fill.fill_id in order.fill_ids:
            return None
        if fill.quantity > order.remaining:
            raise IllegalTransition(
                f"order {fill.order_id}: a fill of {fill.quantity} with {order.remaining} remaining in {order.state}"
            )
        state = OrderState.FILLED if fill.quantity == order.remaining else OrderState.PARTIALLY_FILLED
        self._move(fill.order_id, state, fill.ts)
        order.fill_ids += (fill.fill_id,)
        order.filled += fill.quantity
        return order

    def _move(self, order_id: str, state: OrderState, ts: int, reason: str = "") -> Order | None:
        order = self.working.get(order_id)
        if order is None or (order.state is state and state is not OrderState.PARTIALLY_FILLED):
            return None
        if state is OrderState.ACCEPTED and order.state is OrderState.PARTIALLY_FILLED:
            return None
        if state not in MOVES[order.state]:
            raise IllegalTransition(f"order {order_id}: no move from {order.state} to {state}")
        order.state, order.reason, order.updated_ts = state, reason, ts
        if state.done:
            del self.working[order_id]
            self.counts[state] = self.counts.get(state, 0) + 1
        return order
