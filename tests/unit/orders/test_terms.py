"""What somebody changed of an order at the venue, and what only looks like a change."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from daemon.core.events import OrderType
from daemon.orders.book import Order
from daemon.orders.terms import Terms
from daemon.orders.venue import OrderStatus, VenueOrder
from tests.samples import intend

D = Decimal
LIMIT, MARKET, SL_LIMIT = OrderType.LIMIT, OrderType.MARKET, OrderType.SL_LIMIT


def wanted(kind: OrderType = LIMIT, limit: str | None = "700") -> Order:
    """An order as we sent it."""
    return Order(intent=intend("T1", quantity=10, type=kind, limit_price=None if limit is None else D(limit)))


def row(kind: OrderType | None = LIMIT, limit: str = "700", stop: str = "0", quantity: int = 10) -> VenueOrder:
    """The same as the venue shows it."""
    order = wanted().intent
    known: dict[str, Any] = {"venue_id": "V1", "tag": "T1", "symbol": order.symbol, "side": order.side}
    return VenueOrder(
        **known, type=kind, quantity=quantity, limit_price=D(limit), stop_price=D(stop), status=OrderStatus.PENDING
    )


@pytest.mark.parametrize(
    "shown",
    [row(), row(limit="700.00"), row(stop="3"), row(kind=None), row(limit="0"), row(SL_LIMIT, "700", "0")],
    ids=["same", "digits", "a price that its type has not", "no type", "no price", "no stop price"],
)
def test_what_nobody_changed_is_no_change(shown: VenueOrder) -> None:
    """Nor is a row that doesn't tell everything."""
    terms = Terms()
    assert not terms.differ(wanted(), shown)
    assert terms.changed(wanted(), shown) is None


def test_a_change_is_told() -> None:
    """A price, or the type; a quantity only makes the book be read."""
    assert Terms().differ(wanted(), row(quantity=5))
    assert Terms().changed(wanted(), row(quantity=5)) is None
    assert Terms().differ(wanted(), row(limit="701"))
    assert Terms().changed(wanted(), row(limit="701")) == (LIMIT, D("701"), None)
    terms = Terms()
    assert terms.changed(wanted(), row()) is None
    assert terms.changed(wanted(), row(SL_LIMIT, "701", "699")) == (SL_LIMIT, D("701"), D("699"))


def test_a_market_order_that_stands_as_a_limit_is_what_we_sent() -> None:
    """Its first row is what it is compared with, whether a push or the book brought it."""
    terms, order = Terms(), wanted(MARKET, None)
    assert not terms.differ(order, row(limit="705"))
    assert terms.changed(order, row(limit="705")) is None
    assert terms.differ(order, row(limit="706"))
    assert terms.changed(order, row(limit="706")) == (LIMIT, D("706"), None)
