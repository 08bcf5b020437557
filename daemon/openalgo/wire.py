"""OpenAlgo's messages → the records of any venue, and our orders → its JSON.

Names are those of OpenAlgo's API v1 (docs/api of marketcalls/openalgo). Numbers come as numbers or as texts, times in
the form of the broker behind it. Invariant: a price goes through as the decimal that was written, and a record that
can't be read whole is an error; an order's time that can't be read is 0.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from daemon.calls.records import ZERO, WireError, record_of, rows_of
from daemon.core.clock import IST, NS_PER_S
from daemon.core.events import OrderIntent, OrderType
from daemon.feed.live.frames import FIRST_VALID_S, LAST_VALID_S
from daemon.market.records import Candle, Quote
from daemon.openalgo.symbols import SHARES, Names
from daemon.orders.venue import Funds, OrderStatus, VenueOrder, VenuePosition, VenueTrade

PRODUCTS: Final = {"INTRADAY": "MIS", "CNC": "CNC", "MARGIN": "NRML"}
TYPES: Final = {
    OrderType.MARKET: "MARKET", OrderType.LIMIT: "LIMIT", OrderType.SL_LIMIT: "SL", OrderType.SL_MARKET: "SL-M",
}  # fmt: skip
STATUSES: Final = {
    "complete": OrderStatus.FILLED, "cancelled": OrderStatus.CANCELLED, "rejected": OrderStatus.REJECTED,
    "open": OrderStatus.PENDING, "pending": OrderStatus.PENDING, "trigger pending": OrderStatus.PENDING,
    "expired": OrderStatus.EXPIRED,
}  # fmt: skip
_OUR_PRODUCTS: Final = {theirs: ours for ours, theirs in PRODUCTS.items()}
_OUR_TYPES: Final = {theirs: ours for ours, theirs in TYPES.items()}
_TIMES: Final = ("%d-%b-%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%H:%M:%S %d-%m-%Y")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def place_body(
    intent: OrderIntent, kind: OrderType, limit: Decimal | None, product: str, names: Names = SHARES
) -> dict[str, object] | None:
    """The fields of `placeorder` but the key; None for a symbol that OpenAlgo has no name for.

    Our id goes as the strategy's name: OpenAlgo's log keeps it, and its books in analyze mode.
    """
    named = names.theirs(intent.symbol)
    if named is None:
        return None
    return {
        "strategy": intent.order_id, "symbol": named[0], "exchange": named[1], "action": intent.side.value,
        "pricetype": TYPES[kind], "product": PRODUCTS[product], "quantity": str(intent.quantity),
        "price": format(limit or ZERO, "f"), "trigger_price": format(intent.stop_price or ZERO, "f"),
        "disclosed_quantity": "0",
    }  # fmt: skip


def orders(document: Mapping[str, Any], names: Names = SHARES) -> list[VenueOrder]:
    """The `orders` of `orderbook`."""
    book = document.get("data")
    if not isinstance(book, dict):
        raise WireError("data: expected an object")
    return [read_order(row, names) for row in rows_of(book, "orders")]


def read_order(row: Mapping[str, Any], names: Names = SHARES) -> VenueOrder:
    """One row of the order book, or an order update.

    `filled` and `tag` (the strategy's name, our id where it is ours) are what the row says of them, if anything: in
    analyze mode it does.
    """
    status = STATUSES.get(str(row.get("order_status", "")).lower(), OrderStatus.OTHER)
    quantity = _units(row, "quantity")
    told = _units(row, "filled_quantity") if row.get("filled_quantity") is not None else 0
    filled = quantity if status is OrderStatus.FILLED else told
    fields = {
        **_named(row, names), "venue_id": _id(row), "tag": str(row.get("strategy") or ""),
        "type": _OUR_TYPES.get(str(row.get("pricetype")).upper()),
        "quantity": quantity, "filled": filled, "remaining": quantity - filled, "limit_price": _amount(row, "price"),
        "stop_price": _amount(row, "trigger_price"), "average_price": _amount(row, "average_price"),
        "status": status.value, "message": str(row.get("rejection_reason") or ""), "ts": parse_time(row),
    }  # fmt: skip
    return record_of(fields, VenueOrder, "order")


def trades(document: Mapping[str, Any], now_ns: int, names: Names = SHARES) -> list[VenueTrade]:
    """The rows of `tradebook`, all of the day of `now_ns`, whose times may lack it.

    They have no ids: what they say, and how often it was said, tells them apart.
    """
    found, seen = [], Counter[str]()
    for row in rows_of(document, "data"):
        price, quantity, moment = _amount(row, "average_price"), _traded(row), str(row.get("timestamp", ""))
        said = f"{moment}/{quantity}@{price.normalize():f}".replace(" ", "T")
        key = f"{_id(row)}:{said}"
        seen[key] += 1
        fields = {
            **_named(row, names), "trade_id": f"{said}#{seen[key]}", "venue_id": _id(row), "tag": "",
            "quantity": quantity, "price": price, "ts": parse_time(row) or _time_of_day(moment, now_ns),
        }  # fmt: skip
        del fields["product"]
        found.append(record_of(fields, VenueTrade, "trade"))
    return found


def positions(
    document: Mapping[str, Any], traded: Sequence[tuple[str, VenueTrade]], names: Names = SHARES
) -> list[VenuePosition]:
    """The rows of `positionbook`, with what the day's trades (each with its product) bought and sold of each."""
    found = []
    for row in rows_of(document, "data"):
        named = _named(row, names)
        fields = {**named, "quantity": _units(row, "quantity"), "average_price": _amount(row, "average_price")}
        del fields["side"]
        mine = [it for product, it in traded if it.symbol == named["symbol"] and product == named["product"]]
        for side, units, average in (("BUY", "bought", "buy_average"), ("SELL", "sold", "sell_average")):
            parts = [it for it in mine if it.side.value == side]
            fields[units] = sum(it.quantity for it in parts)
            value = sum((it.quantity * it.price for it in parts), ZERO)
            fields[average] = value / fields[units] if fields[units] else ZERO
        found.append(record_of(fields, VenuePosition, "position"))
    return found


def product_of(row: Mapping[str, Any]) -> str:
    """Ours, of a row's; theirs where we have none."""
    said = str(row.get("product")).upper()
    return _OUR_PRODUCTS.get(said, said)


def funds(document: Mapping[str, Any]) -> Funds:
    """The `data` of `funds`: what is free and what positions bind are the account's money."""
    row = document.get("data")
    if not isinstance(row, dict):
        raise WireError("data: expected an object")
    available, utilised = _amount(row, "availablecash"), _amount(row, "utiliseddebits")
    realised = _amount(row, "m2mrealized")
    return Funds(total=available + utilised, utilised=utilised, available=available, realised=realised)


def quotes(document: Mapping[str, Any], names: Names = SHARES) -> list[Quote]:
    """The `results` of `multiquotes`, those without a quote too."""
    found = []
    for row in rows_of(document, "results"):
        symbol, values = names.ours(str(row.get("symbol")), str(row.get("exchange"))), row.get("data")
        if not isinstance(values, dict):
            found.append(Quote(symbol=symbol, error=str(row.get("error") or "no quote")))
            continue
        found.append(
            Quote(
                symbol=symbol, last=_amount(values, "ltp"), bid=_amount(values, "bid"), ask=_amount(values, "ask"),
                volume=_units(values, "volume") if values.get("volume") is not None else 0,
            )
        )  # fmt: skip
    return found


def candles(document: Mapping[str, Any]) -> list[Candle]:
    """The `data` of `history`, each of a time, four prices and a volume."""
    found = []
    for row in rows_of(document, "data"):
        start = parse_time(row)
        if not start:
            raise WireError("history: a candle without a time that can be read")
        first, high, low, last = (float(_amount(row, name)) for name in ("open", "high", "low", "close"))
        found.append(Candle(start // NS_PER_S, first, high, low, last, int(_amount(row, "volume"))))
    return found


def analyzing(document: Mapping[str, Any]) -> bool:
    """Whether the server only pretends to trade, by the `data` of `analyzer`."""
    row = document.get("data")
    mode = row.get("analyze_mode") if isinstance(row, dict) else None
    if not isinstance(mode, bool):
        raise WireError("data.analyze_mode: expected true or false")
    return mode


def parse_time(row: Mapping[str, Any]) -> int:
    """UTC ns of a row's `timestamp` in any of the forms that brokers use; 0 where it is none."""
    return read_time(row) or 0


def read_time(row: Mapping[str, Any]) -> int | None:
    """As `parse_time`; None where it is a time at which no exchange sent anything, before 2000 or after 2099."""
    moment = row.get("timestamp")
    if isinstance(moment, int | Decimal | float) and not isinstance(moment, bool):
        return _ns_of_number(Decimal(moment)) if moment else 0
    found = _read_time(str(moment or ""))
    return found if not found or FIRST_VALID_S <= found // NS_PER_S < LAST_VALID_S else None


def _ns_of_number(moment: Decimal) -> int | None:
    """Of seconds, or thousandths, millionths or billionths of one: no two of them can be meant by one number."""
    for per_s in (1, 1000, 1_000_000, NS_PER_S):
        if FIRST_VALID_S * per_s <= moment < LAST_VALID_S * per_s:
            return int(moment * (NS_PER_S // per_s))
    return None


def _read_time(text: str) -> int:
    """Of a text: with its zone, or in India's."""
    for form in _TIMES:
        try:
            return _ns(dt.datetime.strptime(text, form).replace(tzinfo=IST))
        except ValueError:
            continue
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return 0
    return _ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=IST))


def _time_of_day(text: str, now_ns: int) -> int:
    """`13:58:03` of today; now, where it is anything else."""
    try:
        moment = dt.time.fromisoformat(text)
    except ValueError:
        return now_ns
    today = dt.datetime.fromtimestamp(now_ns // NS_PER_S, IST).date()
    return _ns(dt.datetime.combine(today, moment.replace(tzinfo=IST)))


def encode(document: object) -> bytes:
    """JSON."""
    return msgspec.json.encode(document)


def _ns(moment: dt.datetime) -> int:
    return int((moment - _EPOCH) / dt.timedelta(microseconds=1)) * 1000


def _named(row: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Symbol, side and product, as ours."""
    exchange, symbol = row.get("exchange"), row.get("symbol")
    if not isinstance(exchange, str) or not isinstance(symbol, str):
        raise WireError(f"symbol, exchange of order {row.get('orderid')}: expected texts")
    return {"symbol": names.ours(symbol, exchange), "side": str(row.get("action", "")).upper(),
            "product": product_of(row)}  # fmt: skip


def _id(row: Mapping[str, Any]) -> str:
    found = row.get("orderid")
    if not isinstance(found, str | int) or isinstance(found, bool) or not str(found):
        raise WireError("orderid: expected a text")
    return str(found)


def _amount(row: Mapping[str, Any], name: str) -> Decimal:
    """A number, or a text that is one; 0 where there is none."""
    value = row.get(name)
    if value is None or value == "":
        return ZERO
    try:
        amount = Decimal(value if isinstance(value, int | Decimal) else str(value))
    except InvalidOperation:
        raise WireError(f"{name}: expected a number") from None
    if not amount.is_finite():
        raise WireError(f"{name}: expected a number")
    return amount


def _units(row: Mapping[str, Any], name: str) -> int:
    amount = _amount(row, name)
    if amount != amount.to_integral_value() or row.get(name) in (None, ""):
        raise WireError(f"{name}: expected whole units")
    return int(amount)


def _traded(row: Mapping[str, Any]) -> int:
    """Units of a trade; some brokers only tell its value."""
    quantity = _units(row, "quantity")
    price, value = _amount(row, "average_price"), _amount(row, "trade_value")
    if not quantity and price:
        quantity = int((value / price).to_integral_value())
    if quantity <= 0:
        raise WireError("quantity: expected what was traded")
    return quantity
