"""How an order stands at the venue → the type and prices that somebody gave it there.

A market order that we send may stand there as a limit order (`protected`, or as the broker turns it), so an order is
compared with what we wanted only where its type is the same, and else with how it was first seen. Prices count where
the type has them, and 0 is no price but a row that doesn't tell. Invariant: what nobody changed is never a change.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeAlias

from daemon.core.events import OrderType
from daemon.core.pairs import STOPS
from daemon.orders.book import Order
from daemon.orders.venue import VenueOrder

LIMITS: Final = (OrderType.LIMIT, OrderType.SL_LIMIT)
KEPT: Final = 20_000
"""Orders that are remembered."""

Standing: TypeAlias = tuple[OrderType | None, Decimal | None, Decimal | None]
"""Type, limit price and stop price."""

UNCHANGED: Final[Standing] = (None, None, None)


class Terms:
    """What was last known of each order's type and prices, by the venue's id."""

    def __init__(self) -> None:
        self._known: dict[str, Standing] = {}

    def differ(self, order: Order, report: VenueOrder) -> bool:
        """Whether `report` says anything of the order that we don't know: quantity, type or a price."""
        if report.quantity and report.quantity != order.intent.quantity:
            return True
        told, known = _told(report), self._before(order, report)
        if told is not None and known is None:
            self._keep(report.venue_id, told)
        return None not in (told, known) and told != known

    def changed(self, order: Order, report: VenueOrder) -> Standing | None:
        """What type and prices are now, where somebody changed them; from then on that is known."""
        told, known = _told(report), self._before(order, report)
        if told is None:
            return None
        self._keep(report.venue_id, told)
        return None if known is None or told == known else told

    def _keep(self, venue_id: str, told: Standing) -> None:
        self._known[venue_id] = told
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    def _before(self, order: Order, report: VenueOrder) -> Standing | None:
        """What it was; None where it is seen for the first time and isn't what we asked for by its type."""
        intent = order.intent
        if intent.type is report.type:
            return _standing(intent.type, intent.limit_price, intent.stop_price)
        return self._known.get(report.venue_id)


def _told(report: VenueOrder) -> Standing | None:
    """What a row says; None where it doesn't say all of it."""
    if report.type is None:
        return None
    told = _standing(report.type, report.limit_price, report.stop_price)
    return None if 0 in told[1:] else told


def _standing(kind: OrderType, limit: Decimal | None, stop: Decimal | None) -> Standing:
    return kind, limit if kind in LIMITS else None, stop if kind in STOPS else None
