"""Fyers' messages → typed records with exact prices.

The REST book and the order socket tell the same things under different names (`limitPrice`, `price_limit`); both become
the same records. Names and codes are those of Fyers API v3 and of its SDK's `map.json` (fyers-apiv3 3.2.0).
Invariant: a price goes through as the decimal that was written, and a record that can't be read whole is an error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from daemon.calls.records import Record, WireError, record_of, renamed, rows_of
from daemon.core.clock import IST
from daemon.core.events import OrderType, Side
from daemon.market.records import Quote
from daemon.orders.venue import Funds, OrderStatus, VenueMargin, VenueOrder, VenuePosition, VenueTrade

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIDES: Final = {1: Side.BUY.value, -1: Side.SELL.value}
TYPE_CODES: Final = {OrderType.LIMIT: 1, OrderType.MARKET: 2, OrderType.SL_MARKET: 3, OrderType.SL_LIMIT: 4}
_TYPES: Final = {code: order_type.value for order_type, code in TYPE_CODES.items()}
STATUSES: Final = {
    1: OrderStatus.CANCELLED, 2: OrderStatus.FILLED, 4: OrderStatus.TRANSIT, 5: OrderStatus.REJECTED,
    6: OrderStatus.PENDING, 7: OrderStatus.EXPIRED,
}  # fmt: skip
OUR_TAG_PREFIX: Final = "1:"


class Profile(Record, frozen=True, kw_only=True):
    """Whose account it is."""

    client_id: str
    name: str


# -- answers ----------------------------------------------------------------------------------------------------------


def orders(document: Mapping[str, Any]) -> list[VenueOrder]:
    """The `orderBook` of `GET /orders`."""
    return [read_order(row, REST_ORDER) for row in rows_of(document, "orderBook")]


def trades(document: Mapping[str, Any]) -> list[VenueTrade]:
    """The `tradeBook` of `GET /tradebook`."""
    return [read_trade(row, REST_TRADE) for row in rows_of(document, "tradeBook")]


def positions(document: Mapping[str, Any]) -> list[VenuePosition]:
    """The `netPositions` of `GET /positions`."""
    return [read_position(row, REST_POSITION) for row in rows_of(document, "netPositions")]


def funds(document: Mapping[str, Any]) -> Funds:
    """The equity column of `GET /funds`, by the titles of its lines."""
    lines = {row.get("title"): row.get("equityAmount") for row in rows_of(document, "fund_limit")}
    found = {field: lines.get(title) for field, title in _FUND_TITLES.items()}
    return record_of(found, Funds, "fund_limit")


def margin(document: Mapping[str, Any]) -> VenueMargin:
    """The `data` of `POST /multiorder/margin`: `margin_total` is of the orders that were asked about.

    Not among the calls of the SDK; names as users of the call write them down. `margin_new_order` has been seen to be
    that of a delivery product, several times as much: it counts only where there is no total.
    """
    row = document.get("data")
    if not isinstance(row, dict):
        raise WireError("data: expected an object")
    required = row.get("margin_total")
    required = row.get("margin_new_order") if required is None else required
    found = record_of({"required": required, "available": row.get("margin_avail")}, VenueMargin, "data")
    if found.required <= 0:
        raise WireError(f"data: expected a margin above 0, got {found.required}")
    return found


def profile(document: Mapping[str, Any]) -> Profile:
    """The holder in `GET /profile`."""
    row = document.get("data")
    if not isinstance(row, dict):
        raise WireError("data: expected an object")
    return record_of({"client_id": row.get("fy_id"), "name": row.get("name")}, Profile, "data")


def quotes(document: Mapping[str, Any]) -> list[Quote]:
    """The lines of `GET /data/quotes`, those without a quote too."""
    found = []
    for row in rows_of(document, "d"):
        values = row.get("v")
        if not isinstance(values, dict):
            raise WireError("d.v: expected an object")
        if row.get("s") == "ok":
            fields = {"symbol": row.get("n"), **renamed(values, _QUOTE)}
        else:
            fields = {"symbol": row.get("n"), "error": str(values.get("errmsg") or "no quote")}
        found.append(record_of(fields, Quote, "d"))
    return found


def read_order(row: Mapping[str, Any], names: Mapping[str, str]) -> VenueOrder:
    """One order, its fields under `names` (`REST_ORDER` or `SOCKET_ORDER`); raises `WireError`."""
    fields = renamed(row, names)
    fields["type"] = _listed(_TYPES, fields.get("type"))
    status = fields.get("status")
    if isinstance(status, int):
        fields["status"] = STATUSES.get(status, OrderStatus.OTHER).value
    return record_of(_common(fields), VenueOrder, "order")


def read_trade(row: Mapping[str, Any], names: Mapping[str, str]) -> VenueTrade:
    """One trade, its fields under `names` (`REST_TRADE` or `SOCKET_TRADE`); raises `WireError`."""
    return record_of(_common(renamed(row, names)), VenueTrade, "trade")


def read_position(row: Mapping[str, Any], names: Mapping[str, str]) -> VenuePosition:
    """One position, its fields under `names` (`REST_POSITION` or `SOCKET_POSITION`); raises `WireError`."""
    return record_of(renamed(row, names), VenuePosition, "position")


REST_ORDER: Final = {
    "venue_id": "id", "tag": "orderTag", "symbol": "symbol", "side": "side", "type": "type", "quantity": "qty",
    "filled": "filledQty", "remaining": "remainingQuantity", "limit_price": "limitPrice", "stop_price": "stopPrice",
    "average_price": "tradedPrice", "status": "status", "product": "productType", "message": "message",
    "ts": "orderDateTime",
}  # fmt: skip
SOCKET_ORDER: Final = {
    "venue_id": "id", "tag": "ordertag", "symbol": "symbol", "side": "tran_side", "type": "ord_type", "quantity": "qty",
    "filled": "qty_filled", "remaining": "qty_remaining", "limit_price": "price_limit", "stop_price": "price_stop",
    "average_price": "price_traded", "status": "org_ord_status", "product": "product_type", "message": "oms_msg",
    "ts": "time_oms",
}  # fmt: skip
REST_TRADE: Final = {
    "trade_id": "tradeNumber", "venue_id": "orderNumber", "tag": "orderTag", "symbol": "symbol", "side": "side",
    "quantity": "tradedQty", "price": "tradePrice", "ts": "orderDateTime",
}  # fmt: skip
SOCKET_TRADE: Final = {
    "trade_id": "id_fill", "venue_id": "id", "tag": "ordertag", "symbol": "symbol", "side": "tran_side",
    "quantity": "qty_traded", "price": "price_traded", "ts": "fill_time",
}  # fmt: skip
REST_POSITION: Final = {
    "symbol": "symbol", "product": "productType", "quantity": "netQty", "bought": "buyQty", "sold": "sellQty",
    "buy_average": "buyAvg", "sell_average": "sellAvg", "average_price": "netAvg", "realised": "realized_profit",
}  # fmt: skip
SOCKET_POSITION: Final = {
    "symbol": "symbol", "product": "product_type", "quantity": "net_qty", "bought": "buy_qty", "sold": "sell_qty",
    "buy_average": "buy_avg", "sell_average": "sell_avg", "average_price": "net_avg", "realised": "pl_realized",
}  # fmt: skip
_QUOTE: Final = {"last": "lp", "bid": "bid", "ask": "ask", "volume": "volume"}
_FUND_TITLES: Final = {
    "total": "Total Balance", "utilised": "Utilized Amount", "available": "Available Balance",
    "realised": "Realized Profit and Loss",
}  # fmt: skip


def parse_time(text: str) -> int:
    """UTC nanoseconds of `18-Dec-2023 13:51:30` (India Standard Time); raises `WireError`."""
    try:
        date, clock = text.split(" ")
        day, month, year = date.split("-")
        hour, minute, second = clock.split(":")
        moment = dt.datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=IST
        )
    except ValueError:
        raise WireError("a time: expected such as 18-Dec-2023 13:51:30") from None
    return int((moment - _EPOCH) / dt.timedelta(seconds=1)) * 1_000_000_000


def untag(tag: str) -> str:
    """Our part of an `orderTag`: what follows `1:`; "" for the venue's own marks such as `2:Untagged`."""
    kind, separator, text = tag.partition(":")
    if not separator:
        return tag
    return text if kind + separator == OUR_TAG_PREFIX else ""


def _common(fields: dict[str, Any]) -> dict[str, Any]:
    """Sides, tags and times as ours."""
    fields["side"] = _listed(_SIDES, fields.get("side"))
    fields["tag"] = untag(str(fields.get("tag", "")))
    if "ts" in fields:
        fields["ts"] = parse_time(str(fields["ts"]))
    return fields


def _listed(table: Mapping[int, str], code: object) -> str | None:
    return table.get(code) if isinstance(code, int) else None
