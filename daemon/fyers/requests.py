"""Our orders → the JSON bodies that Fyers expects.

Invariant: a price goes out as the decimal it is, without an exponent.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from daemon.core.events import OrderType, Side
from daemon.fyers.wire import TYPE_CODES
from daemon.market.instruments import Instrument
from daemon.orders.protection import UNBOUNDED, Bounds, limit_type, worst_price


class Product(StrEnum):
    """How the venue margins and settles a position."""

    CNC = "CNC"
    INTRADAY = "INTRADAY"
    MARGIN = "MARGIN"
    MTF = "MTF"


class Validity(StrEnum):
    """How long an order stands."""

    DAY = "DAY"
    IOC = "IOC"


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be placed; `tag` has 1 to 30 letters and digits and comes back prefixed `1:`."""

    tag: str
    symbol: str
    side: Side
    quantity: int
    type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    product: Product = Product.INTRADAY
    validity: Validity = Validity.DAY

    def body(self) -> bytes:
        """The JSON that Fyers expects."""
        fields: dict[str, object] = {
            "symbol": self.symbol,
            "qty": self.quantity,
            "type": TYPE_CODES[self.type],
            "side": self.side.sign,
            "productType": self.product.value,
            "limitPrice": _plain(self.limit_price or Decimal(0)),
            "stopPrice": _plain(self.stop_price or Decimal(0)),
            "validity": self.validity.value,
            "disclosedQty": 0,
            "offlineOrder": False,
            "stopLoss": 0,
            "takeProfit": 0,
            "orderTag": self.tag,
        }
        return encode(fields)

    def margin_body(self) -> bytes:
        """The JSON by which Fyers is asked what the order would block."""
        fields = {
            "symbol": self.symbol, "qty": self.quantity, "side": self.side.sign, "type": TYPE_CODES[self.type],
            "productType": self.product.value, "limitPrice": _plain(self.limit_price or Decimal(0)), "stopLoss": 0,
            "stopPrice": _plain(self.stop_price or Decimal(0)), "takeProfit": 0,
        }  # fmt: skip
        return encode({"data": [fields]})


def protected(
    order: PlaceOrder,
    last: Decimal,
    percent: Decimal,
    instrument: Instrument,
    bounds: Bounds = UNBOUNDED,
    *,
    protects: bool = True,
) -> PlaceOrder:
    """What trades at market as the limit order at `worst_price`, a stop from its own price on; others unchanged.

    Not `protects`: only stops that the exchange takes with a limit alone.
    """
    kind = limit_type(order.type, instrument, protects=protects)
    if kind is None:
        return order
    limit = worst_price(order.side, order.stop_price or last, percent, instrument, bounds)
    return msgspec.structs.replace(order, type=kind, limit_price=limit)


def encode(document: object) -> bytes:
    """JSON with decimals as numbers."""
    return msgspec.json.Encoder(decimal_format="number").encode(document)


def _plain(price: Decimal) -> Decimal:
    """The same price without an exponent, for readers that know no `1E+2`."""
    return Decimal(format(price, "f"))
