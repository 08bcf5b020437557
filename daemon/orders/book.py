"""The life of an order: one table of legal moves, and a book of all orders.

Invariant: an order's state only moves along `MOVES`; what the venue repeats or sends late changes no state, what
contradicts the table is a fault that names both states, and a fill is counted exactly once, even one that comes after
its order was thought done. A filled order that somebody makes larger at the venue works on. An order that is to be
taken off the market stays so, whatever its state, until it is done.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from daemon.core.errors import IllegalTransition
from daemon.core.events import (
    EXTERNAL,
    SETTLEMENT,
    CancelOrder,
    Event,
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRecord,
    OrderRejected,
    OrderSent,
    OrderUnknown,
)

FOREIGN = "X"
"""What our ids of orders that somebody else placed begin with; the venue's id follows."""

NO_REASON = "no reason was given"

KEPT = 20_000
"""Finished orders that are remembered, so that what comes late about them is understood."""


class OrderState(StrEnum):
    """Where an order stands."""

    INTENT = "INTENT"
    APPROVED = "APPROVED"
    DENIED = "DENIED"
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCEL_PENDING = "CANCEL_PENDING"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"

    @property
    def done(self) -> bool:
        """Nothing more is expected of the order."""
        return self in DONE

    @property
    def amendable(self) -> bool:
        """The venue may yet say that somebody changed the order's quantity."""
        return bool(MOVES[self])


S = OrderState
_ENDS = frozenset({S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED})
MOVES: dict[OrderState, frozenset[OrderState]] = {
    S.INTENT: frozenset({S.APPROVED, S.DENIED, S.CANCELLED}),
    S.APPROVED: _ENDS | {S.SENT, S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN},
    S.SENT: _ENDS | {S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN},
    S.ACCEPTED: _ENDS | {S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN},
    S.PARTIALLY_FILLED: _ENDS | {S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN},
    S.CANCEL_PENDING: _ENDS | {S.ACCEPTED, S.PARTIALLY_FILLED, S.UNKNOWN},
    S.UNKNOWN: _ENDS | {S.ACCEPTED, S.PARTIALLY_FILLED},
    S.DENIED: frozenset(),
    S.FILLED: frozenset({S.PARTIALLY_FILLED}),
    S.CANCELLED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
}
"""Every legal move; INTENT to CANCELLED is an order that a crash kept from ever leaving, FILLED to PARTIALLY_FILLED one
that was made larger at the venue before we knew it filled."""
DONE = _ENDS | {S.DENIED}
"""States in which nothing more is expected of an order."""
CANCELLABLE = (S.ACCEPTED, S.PARTIALLY_FILLED)
"""States of an order that the venue holds."""

_LATE: dict[OrderState, frozenset[OrderState]] = {
    S.APPROVED: frozenset({S.SENT}),
    S.SENT: frozenset({S.SENT, S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN}),
    S.ACCEPTED: frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCEL_PENDING}),
    S.CANCEL_PENDING: frozenset({S.CANCEL_PENDING, S.UNKNOWN}),
}
"""By what is said: the states of an order to which it is no news any more."""

_MAY_FILL_LATE = frozenset({S.CANCELLED, S.REJECTED, S.EXPIRED})


class Order(msgspec.Struct, gc=False):
    """One order and what became of it so far; `turnover` is what its fills traded, rupees.

    `unwanted` is why the order is to be taken off the market, "" where it isn't.
    """

    intent: OrderIntent
    state: OrderState = OrderState.INTENT
    filled: int = 0
    fill_ids: tuple[str, ...] = ()
    venue_id: str = ""
    reason: str = ""
    turnover: Decimal = Decimal(0)
    unwanted: str = ""

    @property
    def foreign(self) -> bool:
        """Whether somebody else placed it."""
        return self.intent.strategy == EXTERNAL

    @property
    def remaining(self) -> int:
        """Quantity not yet filled."""
        return self.intent.quantity - self.filled

    def record(self) -> OrderRecord:
        """What a snapshot keeps of the order."""
        return OrderRecord(
            self.intent, self.state.value, self.filled, self.turnover, self.venue_id, self.fill_ids, self.unwanted
        )


class OrderBook:
    """All orders by client id: `working` may still do something, `finished` are the latest that can't."""

    def __init__(self) -> None:
        self.working: dict[str, Order] = {}
        self.finished: dict[str, Order] = {}
        self.counts: dict[OrderState, int] = {}

    def find(self, order_id: str) -> Order | None:
        """The order of that client id, finished ones too."""
        return self.working.get(order_id) or self.finished.get(order_id)

    def apply(self, event: Event) -> Order | None:
        """Move the order that `event` speaks of; None when it is unknown, late or a repetition.

        Raises `IllegalTransition` for a move that the table does not hold.
        """
        match event:
            case OrderIntent():
                return self._open(event)
            case OrderApproved():
                return self._move(event.order_id, S.APPROVED)
            case OrderDenied():
                return self._move(event.order_id, S.DENIED, f"{event.check}: {event.value}")
            case OrderSent():
                return self._move(event.order_id, S.SENT)
            case OrderAccepted():
                return self._accept(event)
            case OrderRejected():
                return self._move(event.order_id, S.REJECTED, event.reason)
            case CancelOrder():
                return self._unwant(event)
            case OrderCancelRequested():
                return self._request_cancel(event)
            case OrderCancelFailed():
                return self._work_on(event)
            case OrderCancelled():
                return self._move(event.order_id, S.CANCELLED, event.reason)
            case OrderExpired():
                return self._move(event.order_id, S.EXPIRED, event.reason)
            case OrderUnknown():
                return self._move(event.order_id, S.UNKNOWN, event.reason)
            case OrderAmended():
                return self._amend(event)
            case Fill():
                return self._fill(event)
            case _:
                return None

    def restore(self, record: OrderRecord) -> None:
        """Put an order of a snapshot back."""
        order = Order(
            intent=record.intent, state=OrderState(record.state), filled=record.filled, fill_ids=record.fill_ids,
            venue_id=record.venue_id, turnover=record.turnover, unwanted=record.unwanted,
        )  # fmt: skip
        (self.finished if order.state.done else self.working)[record.intent.order_id] = order

    def _open(self, intent: OrderIntent) -> Order | None:
        """A new order; None for a repetition. Two orders under one id would lose one of them: that is a fault."""
        known = self.find(intent.order_id)
        if known is not None:
            if known.intent != intent:
                raise IllegalTransition(f"order {intent.order_id}: the id was used before, for another intent")
            return None
        order = self.working[intent.order_id] = Order(intent=intent)
        if order.foreign or intent.strategy == SETTLEMENT:  # the venue had it before we knew of it
            order.state, order.venue_id = S.SENT, intent.order_id.removeprefix(FOREIGN)
        return order

    def _unwant(self, event: CancelOrder) -> Order | None:
        """Whoever asked first is remembered."""
        order = self.working.get(event.order_id)
        if order is None or order.unwanted:
            return None
        order.unwanted = event.reason or NO_REASON
        return order

    def _request_cancel(self, event: OrderCancelRequested) -> Order | None:
        moved = self._move(event.order_id, S.CANCEL_PENDING, event.reason)
        if moved is not None:
            moved.unwanted = moved.unwanted or event.reason or NO_REASON
        return moved

    def _accept(self, event: OrderAccepted) -> Order | None:
        order = self.working.get(event.order_id)
        if order is not None and order.filled and order.state is S.UNKNOWN:
            moved = self._move(event.order_id, S.PARTIALLY_FILLED)
        else:
            moved = self._move(event.order_id, S.ACCEPTED)
        if order is not None and event.venue_id:
            order.venue_id = event.venue_id
        return moved

    def _work_on(self, event: OrderCancelFailed) -> Order | None:
        """Back to where the order was before its cancellation was asked for."""
        order = self.working.get(event.order_id)
        if order is None or order.state is not S.CANCEL_PENDING:
            return None
        order.state = S.PARTIALLY_FILLED if order.filled else S.ACCEPTED
        order.reason = event.reason
        return order

    def _amend(self, event: OrderAmended) -> Order | None:
        """Another quantity, type or price from now on; what is filled already is all of it then, or a part (again)."""
        order = self.find(event.order_id)
        if order is None or not order.state.amendable:
            return None
        if event.of(order.intent) == order.intent or event.quantity < max(1, order.filled):
            return None
        if order.state is S.FILLED:
            if event.quantity == order.intent.quantity:
                return None
            self._revive(order)
        order.intent = event.of(order.intent)
        if not order.remaining:
            self._move(event.order_id, S.FILLED)
        return order

    def _fill(self, fill: Fill) -> Order | None:
        order = self.find(fill.order_id)
        if order is None or fill.fill_id in order.fill_ids or order.state in (S.FILLED, S.DENIED):
            return None
        if fill.quantity > order.remaining:
            raise IllegalTransition(
                f"order {fill.order_id}: a fill of {fill.quantity} with {order.remaining} remaining in {order.state}"
            )
        whole = fill.quantity == order.remaining
        still = order.state in _MAY_FILL_LATE or (order.state is S.CANCEL_PENDING and not whole)
        if not still:
            self._move(fill.order_id, S.FILLED if whole else S.PARTIALLY_FILLED)
        order.fill_ids += (fill.fill_id,)
        order.filled += fill.quantity
        order.turnover += fill.quantity * fill.price
        return order

    def _move(self, order_id: str, state: OrderState, reason: str = "") -> Order | None:
        order = self.working.get(order_id)
        if order is None or (order.state is state and state is not S.PARTIALLY_FILLED):
            return None
        if order.state in _LATE.get(state, ()):
            return None
        if state not in MOVES[order.state]:
            raise IllegalTransition(f"order {order_id}: no move from {order.state} to {state}")
        order.state, order.reason = state, reason
        if state.done:
            self._finish(order)
        return order

    def _revive(self, order: Order) -> None:
        """It was made larger at the venue: the fills that we took for all of it are a part."""
        order.state = S.PARTIALLY_FILLED
        self.counts[S.FILLED] -= 1
        self.working[order.intent.order_id] = self.finished.pop(order.intent.order_id)

    def _finish(self, order: Order) -> None:
        del self.working[order.intent.order_id]
        self.counts[order.state] = self.counts.get(order.state, 0) + 1
        self.finished[order.intent.order_id] = order
        if len(self.finished) > KEPT:
            del self.finished[next(iter(self.finished))]
