"""HTTP requests in Fyers' words → the exchange, and its answers back, or whatever the faults make of them.

Invariant: an order reaches the exchange exactly once or not at all, as the fault of its call says, whether or not its
answer reaches the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import web

from daemon.core.clock import NS_PER_S
from daemon.sandbox import messages
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import Fault, FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TOKEN_CODES, TokenGate
from daemon.sandbox.messages import Message
from daemon.sandbox.order_feed import OrderFeed
from daemon.sandbox.orders import BAD_PARAMETERS, TYPE_OF_CODE, Order, Refusal
from daemon.sandbox.past import View

RATE_LIMITED: Final = -429
MAX_QUOTES: Final = 50
MAX_ORDERS: Final = 10
ROWS: Final = "rows"
"""Under which name a body that is a list reaches its call."""
HTML: Final = "<html><head><title>{status}</title></head><body><center><h1>{status} Error</h1></center></body></html>"
_DONE: Final = {Route.PLACE: (1101, "Order submitted successfully. Your Order Ref. No.{}"),
                Route.MODIFY: (1102, "Successfully modified order"),
                Route.CANCEL: (1103, "Successfully cancelled order")}  # fmt: skip
_NO_FAULT: Final = Fault(kind=FaultKind.DELAY, on=Route.ANY, seconds=0.0)

Act = Callable[[web.Request, Mapping[str, Any], Fault], Message]


class FyersApi:
    """The REST routes."""

    def __init__(self, exchange: Exchange, feed: OrderFeed, plan: FaultPlan, gate: TokenGate, meter: CallMeter) -> None:
        self._exchange = exchange
        self._feed = feed
        self._plan = plan
        self._gate = gate
        self._meter = meter

    def routes(self) -> list[web.RouteDef]:
        """Of `/api/v3` and `/data`."""
        return [
            web.post("/api/v3/orders/sync", self.handler(Route.PLACE, self._place)),
            web.patch("/api/v3/orders/sync", self.handler(Route.MODIFY, self._modify)),
            web.delete("/api/v3/orders/sync", self.handler(Route.CANCEL, self._cancel)),
            web.post("/api/v3/multi-order/sync", self.handler(Route.MULTI, self._place_many)),
            web.delete("/api/v3/multi-order/sync", self.handler(Route.MULTI, self._cancel_many)),
            web.get("/api/v3/orders", self.handler(Route.ORDERS, self._orders)),
            web.get("/api/v3/tradebook", self.handler(Route.TRADES, self._trades)),
            web.get("/api/v3/positions", self.handler(Route.POSITIONS, self._positions)),
            web.get("/api/v3/funds", self.handler(Route.FUNDS, self._funds)),
            web.post("/api/v3/multiorder/margin", self.handler(Route.MARGIN, self._margin)),
            web.get("/api/v3/profile", self.handler(Route.PROFILE, self._profile)),
            web.get("/data/quotes", self.handler(Route.QUOTES, self._quotes)),
        ]

    # -- a call and what befalls it -----------------------------------------------------------------------------------

    def handler(self, route: Route, act: Act) -> Callable[[web.Request], Any]:
        """A call of `route` that does `act`, behind token, limits and faults."""

        async def handle(request: web.Request) -> web.StreamResponse:
            content = await request.read()
            retry_s = self._meter.admit()
            if retry_s is not None:
                return limited(retry_s)
            fault = self._plan.next(route) or _NO_FAULT
            if fault.kind is FaultKind.EXPIRE_TOKEN:
                self._gate.expire(fault.code)
            if not self._gate.admits(request.headers.get("Authorization")):
                return _say(401, _error(self._gate.code, TOKEN_CODES[self._gate.code]))
            body = _body(content)
            if body is None:
                return _say(400, _error(BAD_PARAMETERS, "Invalid input: expected a JSON object"))
            return await self.suffer(route, act, request, body, fault)

        return handle

    async def suffer(
        self, route: Route, act: Act, request: web.Request, body: Mapping[str, Any], fault: Fault
    ) -> web.StreamResponse:
        """Act as `fault` lets it, and answer likewise."""
        match fault.kind:
            case FaultKind.LIMITED:
                return limited(fault.seconds)
            case FaultKind.REJECT:
                return _say(400, _error(fault.code, fault.message))
            case FaultKind.LATE:
                abort(request)
                await asyncio.sleep(fault.seconds)
                self._act(act, request, body, fault)
                return web.Response()
        if not fault.after:
            spoiled = await self.spoil(request, fault, {})
            if spoiled is not None:
                return spoiled
        message = self._act(act, request, body, fault)
        if fault.after:
            spoiled = await self.spoil(request, fault, message)
            if spoiled is not None:
                return spoiled
        return _say(400 if message["s"] == "error" else 200, message)

    async def spoil(self, request: web.Request, fault: Fault, message: Message) -> web.StreamResponse | None:
        """What comes in place of the right answer; None where it only comes later, or not spoiled at all."""
        match fault.kind:
            case FaultKind.DELAY:
                await asyncio.sleep(fault.seconds)
            case FaultKind.DROP:
                abort(request)
                return web.Response()
            case FaultKind.BROKEN:
                text = HTML.format(status=fault.status)
                return web.Response(status=fault.status, text=text, content_type="text/html")
            case FaultKind.GARBLED:
                return web.Response(body=b'{"s":"ok","code":1101,"id"', content_type="application/json")
            case FaultKind.NO_ACK:
                sent = {"s": "ok", "code": 201, "message": "Order sent, no acknowledgement; check the order book"}
                return _say(200, {**sent, "id": message.get("id", "")})
        return None

    def _act(self, act: Act, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        message = act(request, body, fault)
        self._feed.publish()
        return message

    # -- orders -------------------------------------------------------------------------------------------------------

    def _place(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        wanted = messages.parse_order(body)
        if isinstance(wanted, Refusal):
            return _answer(Route.PLACE, wanted)
        at_most = fault.quantity if fault.kind is FaultKind.PARTIAL else None
        rejected = fault.message if fault.kind is FaultKind.REJECT_LATER else ""
        return _answer(Route.PLACE, self._exchange.place(wanted, at_most=at_most, rejected=rejected))

    def _modify(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        code, quantity, limit, stop = (body.get(name) for name in ("type", "qty", "limitPrice", "stopPrice"))
        fits = isinstance(code, int) and code in TYPE_OF_CODE and isinstance(quantity, int | None)
        if not fits or not all(isinstance(price, int | Decimal | None) for price in (limit, stop)):
            return _answer(Route.MODIFY, Refusal(BAD_PARAMETERS, "Invalid input"))
        prices = [None if price is None else Decimal(price) for price in (limit, stop)]
        result = self._exchange.modify(str(body.get("id", "")), TYPE_OF_CODE[code or 0], quantity, *prices)
        return _answer(Route.MODIFY, result)

    def _cancel(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _answer(Route.CANCEL, self._exchange.cancel(str(body.get("id", ""))))

    def _place_many(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _each(body, lambda row: self._place(request, row, fault))

    def _cancel_many(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _each(body, lambda row: self._cancel(request, row, fault))

    # -- the book -----------------------------------------------------------------------------------------------------

    def _orders(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        wanted = request.query.get("id")
        before = self._known_before(fault)
        found = [
            order
            for order in self._seen(fault).orders
            if wanted in (None, order.order_id) and order.placed_ts <= before
        ]
        return _ok("orderBook", [messages.order_row(order) for order in found])

    def _trades(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        before = self._known_before(fault)
        trades = [trade for trade in self._seen(fault).trades if trade.ts <= before]
        return _ok("tradeBook", [messages.trade_row(trade) for trade in trades])

    def _positions(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        held = self._seen(fault).positions
        return _ok(
            "netPositions", [messages.position_row(item, self._exchange.quotes[item.symbol].last) for item in held]
        )

    def _funds(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _ok("fund_limit", messages.fund_rows(self._exchange))

    def _margin(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        rows = body.get("data")
        if (
            not isinstance(rows, list)
            or not 1 <= len(rows) <= MAX_ORDERS
            or not all(isinstance(it, dict) for it in rows)
        ):
            return _error(BAD_PARAMETERS, f"data: expected 1 to {MAX_ORDERS} orders")
        total = Decimal(0)
        for row in rows:
            wanted = messages.parse_order({"validity": "DAY", **row})
            problem = wanted if isinstance(wanted, Refusal) else self._exchange.checks.problem(wanted)
            if problem is not None:
                return _answer(Route.MARGIN, problem)
            assert not isinstance(wanted, Refusal)
            total += self._exchange.checks.margin(wanted)
        available = self._exchange.balance - self._exchange.utilised
        margins = {"margin_avail": available, "margin_total": total, "margin_new_order": total}
        return _ok("data", margins)

    def _profile(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        return _ok("data", {"fy_id": messages.CLIENT_ID, "name": "Sandbox account"})

    def _quotes(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        symbols = [symbol for symbol in request.query.get("symbols", "").split(",") if symbol]
        if not 1 <= len(symbols) <= MAX_QUOTES:
            return _error(BAD_PARAMETERS, f"symbols: expected 1 to {MAX_QUOTES}")
        quotes, now = self._exchange.quotes, self._exchange.now_ns
        return _ok("d", [messages.quote_row(symbol, quotes.get(symbol), now) for symbol in symbols])

    def _seen(self, fault: Fault) -> View:
        """The account as this call shows it: as it is, or as it was."""
        exchange = self._exchange
        if fault.kind is FaultKind.LAG:
            return exchange.past.at(exchange.now_ns - int(fault.seconds * NS_PER_S))
        ledger = exchange.ledger
        return exchange.past.held or View(
            list(exchange.orders.values()), ledger.trades, list(ledger.positions.values())
        )

    def _known_before(self, fault: Fault) -> int:
        """The moment from which on a stale book knows nothing, UTC ns."""
        age_s = fault.seconds if fault.kind is FaultKind.STALE else 0.0
        return self._exchange.now_ns - int(age_s * NS_PER_S)


def _each(body: Mapping[str, Any], act: Callable[[Mapping[str, Any]], Message]) -> Message:
    """What Fyers answers to several orders in one call: an entry each, in their order."""
    rows = body.get(ROWS)
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_ORDERS or not all(isinstance(row, dict) for row in rows):
        return _error(BAD_PARAMETERS, f"Invalid input: expected 1 to {MAX_ORDERS} orders")
    answers = [act(row) for row in rows]
    entries = [{"statusCode": 200 if answer["s"] == "ok" else 400, "body": answer, "statusDescription": "OK"}
               for answer in answers]  # fmt: skip
    return _ok("data", entries)


def _answer(route: Route, result: Order | Refusal) -> Message:
    if isinstance(result, Refusal):
        refusal = _error(result.code, result.message)
        return {**refusal, "id": result.order_id} if result.order_id else refusal
    code, message = _DONE[route]
    return {"s": "ok", "code": code, "message": message.format(result.order_id), "id": result.order_id}


def _ok(key: str, value: object) -> Message:
    return {"s": "ok", "code": 200, "message": "", key: value}


def _error(code: int, message: str) -> Message:
    return {"s": "error", "code": code, "message": message}


def _say(status: int, message: Message) -> web.Response:
    return web.Response(status=status, body=messages.encode(message), content_type="application/json")


def limited(retry_s: float) -> web.Response:
    """HTTP 429."""
    response = _say(429, _error(RATE_LIMITED, "request limit reached"))
    response.headers["Retry-After"] = f"{retry_s:.0f}"
    return response


def _body(content: bytes) -> Mapping[str, Any] | None:
    """The JSON object of a request (a list as its `ROWS`), {} where it has no body, None where it is neither."""
    if not content:
        return {}
    try:
        document = msgspec.json.Decoder(float_hook=Decimal).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(document, list):
        return {ROWS: document}
    return document if isinstance(document, dict) else None


def abort(request: web.Request) -> None:
    """Break the connection off; the answer that follows goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
