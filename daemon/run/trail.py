"""Every step of a decision and of the orders that come of it → one log line with the ids of both.

`grep ORDER_ID` and `grep DECISION_ID` are then the whole story. Invariant: a line about an order names the order, and
the decision that wanted it where one did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from daemon.core.events import (
    Action,
    CancelOrder,
    Decision,
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
    OrderRejected,
    OrderSent,
    OrderUnknown,
)
from daemon.core.ids import decision_id
from daemon.orders.book import Order

log = structlog.get_logger("trail")

STEPS: Final[dict[type[Event], tuple[str, tuple[str, ...]]]] = {
    OrderApproved: ("order approved", ()),
    OrderDenied: ("order denied", ("check", "limit", "value")),
    OrderSent: ("order sent", ()),
    OrderAccepted: ("order accepted", ("venue_id",)),
    OrderRejected: ("order rejected", ("code", "reason")),
    CancelOrder: ("order unwanted", ("reason", "who")),
    OrderCancelRequested: ("order cancel requested", ("reason",)),
    OrderCancelFailed: ("order cancel failed", ("reason",)),
    OrderCancelled: ("order cancelled", ("filled", "reason")),
    OrderExpired: ("order expired", ("filled", "reason")),
    OrderUnknown: ("order unknown", ("reason",)),
    OrderAmended: ("order amended", ("quantity", "change")),
    Fill: ("order filled", ("fill_id", "side", "quantity", "price", "costs")),
}
"""What is said of each event about an order, and with which of its fields."""
TRAILED: Final[tuple[type[Event], ...]] = (Decision, OrderIntent, *STEPS)
KEPT: Final = 10_000
"""Orders whose decision is remembered; a day has fewer."""


class Trail:
    """Writes the lines; decisions to hold at debug, everything else at info."""

    def __init__(self, find: Callable[[str], Order | None]) -> None:
        """`find`: an order by its id, for those of an earlier process."""
        self._find = find
        self._wanted: dict[str, OrderIntent] = {}

    def record(self, event: Event) -> None:
        """Say it; types not in `TRAILED` are passed over."""
        if isinstance(event, Decision):
            return _decided(event)
        if isinstance(event, OrderIntent):
            return self._want(event)
        if type(event) in STEPS:
            words, names = STEPS[type(event)]
            order_id = str(getattr(event, "order_id", ""))
            log.info(words, **self._ids(order_id), **{name: _plain(getattr(event, name)) for name in names})
        return None

    def _want(self, intent: OrderIntent) -> None:
        self._wanted[intent.order_id] = intent
        if len(self._wanted) > KEPT:
            del self._wanted[next(iter(self._wanted))]
        log.info(
            "order wanted", **self._ids(intent.order_id), side=intent.side.value, quantity=intent.quantity,
            type=intent.type.value, reduces=intent.reduces, strategy=intent.strategy, reason=intent.reason,
        )  # fmt: skip

    def _ids(self, order_id: str) -> dict[str, str]:
        intent = self._wanted.get(order_id)
        if intent is None:
            found = self._find(order_id)
            intent = found.intent if found is not None else None
        if intent is None:
            return {"order": order_id}
        decision = {"decision": intent.decision} if intent.decision else {}
        return {"order": order_id, **decision, "symbol": intent.symbol}


def _decided(decision: Decision) -> None:
    say = log.debug if decision.action is Action.HOLD and not decision.failed else log.info
    say(
        "decision", decision=decision_id(decision.symbol, decision.ts_bar), symbol=decision.symbol,
        strategy=decision.strategy, action=decision.action.name, failed=decision.failed, reason=decision.reason,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """A log's own kinds: exact money as text."""
    return value if isinstance(value, (int, float)) else str(value)
