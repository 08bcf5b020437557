"""HTTP requests in OpenAlgo's words → the exchange, and its answers back, or whatever the faults make of them.

Written from OpenAlgo's documentation, apart from the client's own tables. What OpenAlgo doesn't keep isn't shown: no id
of the caller's in its books (the strategy's name is kept for the truth alone), no ids of trades, no filled quantity.
Invariant: as with Fyers' words, an order reaches the exchange exactly once or not at all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from aiohttp import web

from daemon.core.clock import IST
from daemon.core.events import OrderType, Side
from daemon.sandbox import messages
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.candles import Candles
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import Fault, FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.master import THURSDAY, TUESDAY, monthly_expiry
from daemon.sandbox.messages import Message
from daemon.sandbox.order_feed import OrderFeed
from daemon.sandbox.orders import BAD_PARAMETERS, Order, Quote, Refusal, Status, Wanted
from daemon.sandbox.rest import Act, FyersApi, abort

PRODUCTS: Final = {"MIS": "INTRADAY", "CNC": "CNC", "NRML": "MARGIN"}
PRODUCT_NAMES: Final = {ours: theirs for theirs, ours in PRODUCTS.items()}
PRICE_TYPES: Final = {
    "MARKET": OrderType.MARKET, "LIMIT": OrderType.LIMIT, "SL": OrderType.SL_LIMIT, "SL-M": OrderType.SL_MARKET,
}  # fmt: skip
PRICE_TYPE_NAMES: Final = {kind: name for name, kind in PRICE_TYPES.items()}
STATUSES: Final = {
    Status.CANCELLED: "cancelled", Status.FILLED: "complete", Status.TRANSIT: "open", Status.REJECTED: "rejected",
    Status.PENDING: "open", Status.EXPIRED: "cancelled",
}  # fmt: skip
INTERVALS: Final = {"1m": 1, "3m": 3, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "1h": 60, "D": None}
INDICES: Final = {"NIFTY": "NIFTY50", "BANKNIFTY": "NIFTYBANK"}
SEGMENTS: Final = {"NFO": ("NSE", TUESDAY), "BFO": ("BSE", THURSDAY)}
"""Whose contracts they are, and on which weekday a month's expire."""
MONTHS: Final = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
RIGHT: Final = r"(?P<right>FUT|[\d.]+[CP]E)"
CONTRACT: Final = re.compile(rf"(?P<name>.+?)(?P<day>\d\d)(?P<month>{'|'.join(MONTHS)})(?P<year>\d\d){RIGHT}")
"""`[Base Symbol][Expiration Date]FUT`, or a strike and CE or PE, in OpenAlgo's documentation."""
FYERS_MONTHLY: Final = re.compile(rf"(?P<name>.+?)(?P<year>\d\d)(?P<month>{'|'.join(MONTHS)}){RIGHT}")
FYERS_WEEKLY: Final = re.compile(r"(?P<name>.+?)(?P<year>\d\d)(?P<month>[1-9OND])(?P<day>\d\d)(?P<right>[\d.]+[CP]E)")
INVALID_KEY: Final = "Invalid openalgo apikey"


class OpenAlgoApi(FyersApi):
    """The REST routes of `/api/v1`; the market behind them is the one that Fyers' routes have."""

    def __init__(
        self, exchange: Exchange, feed: OrderFeed, plan: FaultPlan, gate: TokenGate, meter: CallMeter, candles: Candles
    ) -> None:
        super().__init__(exchange, feed, plan, gate, meter)
        self._candles = candles
        self.analyze = True
        """Whether it says that it only pretends to trade, as it does."""
        self.shows_means = False
        """Whether what traded is shown at the mean price of its fills, as the adapters of some brokers do."""

    def routes(self) -> list[web.RouteDef]:
        """Every call is a POST with the key in its body."""
        calls: list[tuple[str, Route, Act]] = [
            ("placeorder", Route.PLACE, self._place), ("cancelorder", Route.CANCEL, self._cancel),
            ("orderbook", Route.ORDERS, self._orders), ("orderstatus", Route.ORDERS, self._order_status),
            ("tradebook", Route.TRADES, self._trades), ("positionbook", Route.POSITIONS, self._positions),
            ("funds", Route.FUNDS, self._funds), ("multiquotes", Route.QUOTES, self._multiquotes),
            ("quotes", Route.QUOTES, self._one_quote), ("history", Route.HISTORY, self._history),
            ("analyzer", Route.PROFILE, self._analyzer),
        ]  # fmt: skip
        return [web.post(f"/api/v1/{path}", self.handler(route, act)) for path, route, act in calls]

    def handler(self, route: Route, act: Act) -> Callable[[web.Request], Any]:
        """A call of `route` that does `act`, behind limits, faults and the key."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = _body(await request.read())
            if self._meter.admit() is not None:
                return _limited()
            fault = self._plan.next(route) or Fault(kind=FaultKind.DELAY, on=Route.ANY, seconds=0.0)
            if fault.kind is FaultKind.EXPIRE_TOKEN:
                self._gate.expire(fault.code)
            if body is None:
                return _say(400, _error("{'_schema': ['Invalid input type.']}"))
            if not self._gate.admits_token(str(body.get("apikey", ""))):
                return _say(403, _error(INVALID_KEY))
            return await self.suffer(route, act, request, body, fault)

        return handle

    async def suffer(
        self, route: Route, act: Act, request: web.Request, body: Mapping[str, Any], fault: Fault
    ) -> web.StreamResponse:
        """Act as `fault` lets it, and answer likewise."""
        match fault.kind:
            case FaultKind.LIMITED:
                return _limited()
            case FaultKind.REJECT:
                return _say(400, _error(fault.message))
            case FaultKind.LATE:
                abort(request)
                await asyncio.sleep(fault.seconds)
                self._act(act, request, body, fault)
                return web.Response()
        message = self._act(act, request, body, fault) if fault.after else {}
        spoiled = await self.spoil(request, fault, message)
        if spoiled is not None:
            return spoiled
        message = message or self._act(act, request, body, fault)
        return _say(400 if message["status"] == "error" else 200, message)

    async def spoil(self, request: web.Request, fault: Fault, message: Message) -> web.StreamResponse | None:
        """As with Fyers' words, but for what says success and isn't whole."""
        match fault.kind:
            case FaultKind.GARBLED:
                return web.Response(body=b'{"status":"success","orderid"', content_type="application/json")
            case FaultKind.NO_ACK:
                return _say(200, {"status": "success", "message": "Order queued for approval in Action Center"})
            case FaultKind.BROKEN if fault.status >= 500:
                return _say(fault.status, _error("An unexpected error occurred in the API endpoint"))
        return await super().spoil(request, fault, message)

    # -- orders -------------------------------------------------------------------------------------------------------

    def _place(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        wanted = parse_order(body)
        if isinstance(wanted, Refusal):
            return _error(wanted.message)
        at_most = fault.quantity if fault.kind is FaultKind.PARTIAL else None
        rejected = fault.message if fault.kind is FaultKind.REJECT_LATER else ""
        answer = _answer(self._exchange.place(wanted, at_most=at_most, rejected=rejected))
        return {**answer, "mode": "analyze"} if self.analyze else answer

    def _cancel(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        order = self._exchange.orders.get(str(body.get("orderid", "")))
        if order is not None and order.status is Status.CANCELLED:  # "if already cancelled, the API returns success"
            return {"status": "success", "orderid": order.order_id}
        return _answer(self._exchange.cancel(str(body.get("orderid", ""))))

    # -- the books ----------------------------------------------------------------------------------------------------

    def _orders(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        before = self._known_before(fault)
        rows = [self._order_row(order) for order in self._seen(fault).orders if order.placed_ts <= before]
        return _ok({"orders": rows, "statistics": {"total_buy_orders": 0.0, "total_sell_orders": 0.0}})

    def _order_row(self, order: Order) -> Message:
        means = {"price": order.average_price} if self.shows_means and order.filled else {}
        return order_row(order) | means

    def _order_status(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        order = self._exchange.orders.get(str(body.get("orderid", "")))
        if order is None:
            return _error("Order not found")
        return _ok({**order_row(order), "average_price": order.average_price})

    def _trades(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        before = self._known_before(fault)
        return _ok(
            [
                {
                    **_named(trade.symbol), "action": trade.side.value, "orderid": trade.order_id,
                    "product": PRODUCT_NAMES.get(trade.product, trade.product), "quantity": trade.quantity,
                    "average_price": trade.price, "timestamp": messages.ist(trade.ts).partition(" ")[2],
                    "trade_value": trade.quantity * trade.price,
                }
                for trade in self._seen(fault).trades
                if trade.ts <= before
            ]
        )  # fmt: skip

    def _positions(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        quotes = self._exchange.quotes
        return _ok(
            [
                {
                    **_named(item.symbol), "product": PRODUCT_NAMES.get(item.product, item.product),
                    "quantity": str(item.net), "average_price": f"{item.net_average:.2f}",
                    "ltp": str(quotes[item.symbol].last),
                    "pnl": f"{item.realised + item.unrealised(quotes[item.symbol].last):.2f}",
                }
                for item in self._seen(fault).positions
            ]
        )  # fmt: skip

    def _funds(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        exchange = self._exchange
        available, utilised = exchange.balance - exchange.utilised, exchange.utilised
        return _ok(
            {
                "availablecash": str(available), "collateral": "0.00", "m2mrealized": str(exchange.ledger.realised),
                "m2munrealized": "0.00", "utiliseddebits": str(utilised),
            }
        )  # fmt: skip

    # -- the market ---------------------------------------------------------------------------------------------------

    def _multiquotes(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        wanted = body.get("symbols")
        rows = [row for row in wanted if isinstance(row, dict)] if isinstance(wanted, list) else []
        if not rows:
            return _error("{'symbols': ['Missing data for required field.']}")
        return {"status": "success", "results": [self._quote_of(row) for row in rows]}

    def _one_quote(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        row = self._quote_of(body)
        return _ok(row["data"]) if "data" in row else _error(row["error"])

    def _quote_of(self, row: Mapping[str, Any]) -> Message:
        named = {"symbol": row.get("symbol"), "exchange": row.get("exchange")}
        quote = self._exchange.quotes.get(symbol_of(row))
        return {**named, "data": quote_data(quote)} if quote is not None else {**named, "error": "Symbol not found"}

    def _history(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        interval = body.get("interval")
        try:
            first, last = (dt.date.fromisoformat(str(body.get(name))) for name in ("start_date", "end_date"))
        except ValueError:
            return _error("start_date, end_date: expected yyyy-mm-dd")
        if interval not in INTERVALS:
            return _error("Unsupported interval")
        rows = self._candles.of(symbol_of(body), INTERVALS[interval], first, last)
        names = ("open", "high", "low", "close", "volume")
        return _ok(
            [
                {"timestamp": dt.datetime.fromtimestamp(row[0], IST).isoformat(" "),
                 **dict(zip(names, row[1:], strict=True))}
                for row in rows
            ]
        )  # fmt: skip

    def _analyzer(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _ok(
            {
                "analyze_mode": self.analyze,
                "mode": "analyze" if self.analyze else "live",
                "total_logs": len(self._exchange.orders),
            }
        )


def parse_order(body: Mapping[str, Any]) -> Wanted | Refusal:
    """The body of `placeorder`; refused where a parameter is missing or impossible."""
    side, kind, product = body.get("action"), body.get("pricetype", "MARKET"), body.get("product", "MIS")
    try:
        quantity, price, trigger = (
            Decimal(str(body.get(name, default)))
            for name, default in (("quantity", "x"), ("price", "0"), ("trigger_price", "0"))
        )
    except InvalidOperation:
        return Refusal(BAD_PARAMETERS, "{'quantity': ['Not a valid number.']}")
    fits = side in ("BUY", "SELL") and kind in PRICE_TYPES and product in PRODUCTS and bool(body.get("strategy"))
    if not fits or quantity <= 0 or quantity != int(quantity) or price < 0 or trigger < 0:
        return Refusal(BAD_PARAMETERS, "{'_schema': ['Invalid input.']}")
    return Wanted(
        tag=str(body["strategy"]), symbol=symbol_of(body), side=Side(str(side)), type=PRICE_TYPES[kind],
        quantity=int(quantity), limit_price=price, stop_price=trigger, product=PRODUCTS[product],
    )  # fmt: skip


def symbol_of(row: Mapping[str, Any]) -> str:
    """The exchange's own name of a symbol and exchange."""
    symbol, exchange = str(row.get("symbol")), str(row.get("exchange"))
    contract = CONTRACT.fullmatch(symbol) if exchange in SEGMENTS else None
    if contract is not None:
        name, day, month, year, right = contract.group("name", "day", "month", "year", "right")
        place, letter = SEGMENTS[exchange][0], "123456789OND"[MONTHS.index(month)]
        for named in (f"{place}:{name}{year}{month}{right}", f"{place}:{name}{year}{letter}{day}{right}"):
            if _named(named) == {"symbol": symbol, "exchange": exchange}:
                return named
        return f"{exchange}:{symbol}"
    if exchange.endswith("_INDEX"):
        return f"{exchange.removesuffix('_INDEX')}:{INDICES.get(symbol, symbol)}-INDEX"
    return f"{exchange}:{symbol}-EQ"


def _named(symbol: str) -> dict[str, str]:
    """The other way round."""
    exchange, _, name = symbol.partition(":")
    segment = next((segment for segment, (place, _) in SEGMENTS.items() if place == exchange), "")
    month, week = FYERS_MONTHLY.fullmatch(name), FYERS_WEEKLY.fullmatch(name)
    if segment and month is not None:
        when = MONTHS.index(month["month"]) + 1
        day = f"{monthly_expiry(2000 + int(month['year']), when, SEGMENTS[segment][1]):%d}"
        return {"symbol": f"{month['name']}{day}{month['month']}{month['year']}{month['right']}", "exchange": segment}
    if segment and week is not None:
        named = MONTHS["123456789OND".index(week["month"])]
        return {"symbol": f"{week['name']}{week['day']}{named}{week['year']}{week['right']}", "exchange": segment}
    if name.endswith("-INDEX"):
        of = {ours: theirs for theirs, ours in INDICES.items()}
        return {"symbol": of.get(name.removesuffix("-INDEX"), name), "exchange": f"{exchange}_INDEX"}
    return {"symbol": name.removesuffix("-EQ"), "exchange": exchange}


def order_row(order: Order) -> Message:
    """One row of the order book."""
    wanted = order.wanted
    return {
        **_named(wanted.symbol), "action": wanted.side.value, "orderid": order.order_id,
        "product": PRODUCT_NAMES.get(wanted.product, wanted.product), "quantity": str(wanted.quantity),
        "price": wanted.limit_price, "pricetype": PRICE_TYPE_NAMES[wanted.type],
        "order_status": STATUSES[order.status], "trigger_price": wanted.stop_price,
        "timestamp": messages.ist(order.placed_ts),
    }  # fmt: skip


def order_update(order: Order) -> Message:
    """One push of an order."""
    return {
        "type": "order_update", "mode": "analyze", "broker": "sandbox", **order_row(order),
        "filled_quantity": order.filled, "pending_quantity": order.remaining, "average_price": order.average_price,
        "rejection_reason": order.message,
    }  # fmt: skip


def quote_data(quote: Quote) -> Message:
    """What `quotes` tells of a symbol."""
    last = quote.last
    return {
        "open": last, "high": last, "low": last, "ltp": last, "ask": last if quote.ask is None else quote.ask,
        "bid": last if quote.bid is None else quote.bid, "prev_close": last, "volume": quote.volume or 0,
        "oi": quote.open_interest or 0,
    }  # fmt: skip


def _answer(result: Order | Refusal) -> Message:
    if isinstance(result, Refusal):
        return _error(result.message)
    return {"status": "success", "orderid": result.order_id}


def _ok(found: object) -> Message:
    return {"status": "success", "data": found}


def _error(message: str) -> Message:
    return {"status": "error", "message": message}


def _say(status: int, message: Message) -> web.Response:
    return web.Response(status=status, body=messages.encode(message), content_type="application/json")


def _limited() -> web.Response:
    """HTTP 429, without a Retry-After: OpenAlgo's limiter sends none."""
    return _say(429, _error("Rate limit exceeded. Please try again later."))


def _body(content: bytes) -> Mapping[str, Any] | None:
    try:
        document = msgspec.json.Decoder(float_hook=Decimal).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return document if isinstance(document, dict) else None
