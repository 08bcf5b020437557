"""What any venue tells of an account: orders, trades, positions, money. Each adapter makes these of its own messages.

Invariant: nothing here knows a broker's names or codes.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from daemon.calls.records import ZERO, Record
from daemon.core.events import OrderType, Side


class OrderStatus(StrEnum):
    """Of an order in the venue's book. OTHER is what an adapter has no word for: it isn't over."""

    OTHER = "other"
    CANCELLED = "cancelled"
    FILLED = "filled"
    TRANSIT = "transit"
    REJECTED = "rejected"
    PENDING = "pending"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self in (OrderStatus.CANCELLED, OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


class VenueOrder(Record, frozen=True, kw_only=True):
    """One row of the order book.

    `tag` is ours, "" on an order that carries none; `type` is None for one that isn't ours to place; `ts` is UTC ns, of
    whole seconds.
    """

    venue_id: str
    tag: str
    symbol: str
    side: Side
    type: OrderType | None
    quantity: int
    filled: int = 0
    remaining: int = 0
    limit_price: Decimal = ZERO
    stop_price: Decimal = ZERO
    average_price: Decimal = ZERO
    status: OrderStatus
    product: str = ""
    message: str = ""
    ts: int = 0


class VenueTrade(Record, frozen=True, kw_only=True):
    """One trade; `trade_id` is the venue's own and tells repetitions apart."""

    trade_id: str
    venue_id: str
    tag: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    ts: int = 0


class VenuePosition(Record, frozen=True, kw_only=True):
    """Net position of one symbol and product; `quantity` is signed, amounts in rupees."""

    symbol: str
    product: str
    quantity: int
    bought: int = 0
    sold: int = 0
    buy_average: Decimal = ZERO
    sell_average: Decimal = ZERO
    average_price: Decimal = ZERO
    realised: Decimal = ZERO


class Funds(Record, frozen=True, kw_only=True):
    """The account's money, rupees."""

    total: Decimal
    utilised: Decimal
    available: Decimal
    realised: Decimal


class VenueMargin(Record, frozen=True, kw_only=True):
    """What the venue wants for an order, and what it says is free; rupees."""

    required: Decimal
    available: Decimal


class Acknowledged(Record, frozen=True, kw_only=True):
    """The venue took an order-changing call; what it leads to is told by the book and the order socket."""

    venue_id: str
    message: str = ""
