"""An order as it is asked for, as it stands in the book, and a quote as it is met: the words of the sandbox's market.

Codes and numbers are Fyers'. Invariant: an order's `remaining` is what was wanted less what was traded.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from daemon.core.events import OrderType, Side
from daemon.sandbox.ledger import ZERO, Position, Trade

BAD_PARAMETERS: Final = -50
BAD_ORDER_ID: Final = -51
REFUSED: Final = -99
BAD_SYMBOL: Final = -300
STOPS: Final = (OrderType.SL_MARKET, OrderType.SL_LIMIT)
LIMITS: Final = (OrderType.LIMIT, OrderType.SL_LIMIT)
TYPE_OF_CODE: Final = {1: OrderType.LIMIT, 2: OrderType.MARKET, 3: OrderType.SL_MARKET, 4: OrderType.SL_LIMIT}
CODE_OF_TYPE: Final = {order_type: code for code, order_type in TYPE_OF_CODE.items()}


class Status(IntEnum):
    """Fyers' numbers."""

    CANCELLED = 1
    FILLED = 2
    TRANSIT = 4
    REJECTED = 5
    PENDING = 6
    EXPIRED = 7


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A price, and the best bid and ask with their quantities where they are known: 0 is a side on which nobody is.

    The rest is what the data socket tells and orders don't meet: the day's volume, the last trade's quantity, open
    interest, and the exchange's own time of the quote (UTC ns; when it arrives, where it isn't known).
    """

    last: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_quantity: int | None = None
    ask_quantity: int | None = None
    lower_band: Decimal | None = None
    upper_band: Decimal | None = None
    volume: int | None = None
    last_quantity: int | None = None
    open_interest: int | None = None
    stamp_ns: int | None = None


class Print(msgspec.Struct, frozen=True, gc=False):
    """A quote of one symbol as the market got it, at `ts` (UTC ns)."""

    symbol: str
    quote: Quote
    ts: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it was asked for."""

    tag: str
    symbol: str
    side: Side
    type: OrderType
    quantity: int
    limit_price: Decimal = ZERO
    stop_price: Decimal = ZERO
    product: str = "INTRADAY"
    validity: str = "DAY"


class Order(msgspec.Struct, kw_only=True):
    """An order in the book; `wanted` follows modifications, times are UTC ns."""

    order_id: str
    wanted: Wanted
    status: Status
    placed_ts: int
    filled: int = 0
    turnover: Decimal = ZERO
    armed: bool = True
    message: str = ""

    @property
    def remaining(self) -> int:
        """Units not yet traded."""
        return self.wanted.quantity - self.filled

    @property
    def average_price(self) -> Decimal:
        """Of its trades, 0 before the first."""
        return self.turnover / self.filled if self.filled else ZERO


class Refusal(msgspec.Struct, frozen=True):
    """A no, with Fyers' code; `order_id` where the refused order stands in the book all the same."""

    code: int
    message: str
    order_id: str = ""


News: TypeAlias = Order | Trade | Position


def one_sided(quote: Quote, side: Side) -> Quote:
    """A quote at the end of the day's band, where only buyers, or only sellers, are left."""
    end = (quote.upper_band if side is Side.BUY else quote.lower_band) or quote.last
    if side is Side.BUY:
        return msgspec.structs.replace(quote, last=end, upper_band=end, bid=end, ask=ZERO, ask_quantity=0)
    return msgspec.structs.replace(quote, last=end, lower_band=end, ask=end, bid=ZERO, bid_quantity=0)
