"""Calls about the market, the account's shares and the login, in Fyers' words → the sandbox's answers.

Written from the documentation, apart from the client's own tables. History is made of the sandbox's tape. The login
asks nobody anything: opening its address is being logged in. Invariant: an auth code brings one token, once, and only
to who knows the app's secret.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import web
from yarl import URL

from daemon.core.clock import NS_PER_S, wall_ns
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.sandbox import messages
from daemon.sandbox.candles import Candles
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import Fault, Route
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.hours import Hours, Phase
from daemon.sandbox.master import master_csv
from daemon.sandbox.messages import Message
from daemon.sandbox.orders import BAD_PARAMETERS, BAD_SYMBOL, Quote
from daemon.sandbox.rest import FyersApi
from daemon.sandbox.trading_day import TradingDay

SECRET: Final = "sandbox-secret"
"""The secret of the sandbox's app."""

TOKEN_LIFE_S: Final = 12 * 3600
LEVELS: Final = 5
MINUTES: Final = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 120, 180, 240)
MOST_DAYS_MINUTES: Final = 100
MOST_DAYS_DAILY: Final = 366
BAD_CODE: Final = -413
BAD_APP: Final = -352
CASH: Final = 10
_STATUS: Final = {Phase.OPEN: "OPEN", Phase.PRE_OPEN: "PREOPEN"}
_STATUS_ROWS: Final = ((10, 10), (10, 11), (12, 10), (11, 20))


class MarketApi:
    """The routes of the market, of holdings and of the login, and the symbol master files."""

    def __init__(
        self,
        api: FyersApi,
        exchange: Exchange,
        gate: TokenGate,
        instruments: InstrumentBook,
        candles: Candles,
        calendar: MarketCalendar,
        authorization: str,
    ) -> None:
        self._api = api
        self._exchange = exchange
        self._gate = gate
        self._instruments = instruments
        self._candles = candles
        self._app_id = authorization.partition(":")[0]
        self._calendar = calendar
        self._codes: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        """Of `/api/v3` and `/data`."""
        handler = self._api.handler
        return [
            web.get("/api/v3/holdings", handler(Route.HOLDINGS, self._holdings)),
            web.get("/data/depth", handler(Route.DEPTH, self._depth)),
            web.get("/data/history", handler(Route.HISTORY, self._history)),
            web.get("/data/marketStatus", handler(Route.STATUS, self._market_status)),
            web.get("/api/v3/generate-authcode", self._generate_authcode),
            web.post("/api/v3/validate-authcode", self._validate_authcode),
        ]

    def masters(self) -> list[web.RouteDef]:
        """Of `/sym_details`, which are there whoever's words the rest is in."""
        return [web.get("/sym_details/{name}.csv", self._symbol_master)]

    # -- account and market -------------------------------------------------------------------------------------------

    def _holdings(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        held = [item for item in self._exchange.ledger.positions.values() if item.product == "CNC" and item.net > 0]
        rows = [
            {
                "holdingType": "T1", "symbol": item.symbol, "quantity": item.net, "remainingQuantity": item.net,
                "costPrice": item.net_average, "ltp": self._exchange.quotes[item.symbol].last, "exchange": 10,
                "segment": 10, "fyToken": "", "isin": "", "id": number, "qty_t1": item.net,
            }
            for number, item in enumerate(held)
        ]  # fmt: skip
        return {"s": "ok", "code": 200, "message": "", "holdings": rows, "overall": {"count_total": len(rows)}}

    def _depth(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        symbol = request.query.get("symbol", "")
        quote, instrument = self._exchange.quotes.get(symbol), self._instruments.resolve(symbol)
        if quote is None or instrument is None:
            return _error(BAD_SYMBOL, "Invalid symbol provided")
        tick = instrument.tick_size
        best_bid = quote.last if quote.bid is None else quote.bid
        best_ask = quote.last if quote.ask is None else quote.ask
        row = {
            "totalbuyqty": 0, "totalsellqty": 0, "ltp": quote.last, "tick_Size": tick,
            "bids": _levels(best_bid, -tick, quote.bid_quantity), "ask": _levels(best_ask, tick, quote.ask_quantity),
            "lower_ckt": quote.lower_band or _rounded(quote, "0.9", tick),
            "upper_ckt": quote.upper_band or _rounded(quote, "1.1", tick),
        }  # fmt: skip
        return {"s": "ok", "message": "", "d": {symbol: row}}

    def _history(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        query, resolution = request.query, request.query.get("resolution", "")
        daily = resolution in ("D", "1D")
        minutes = int(resolution) if resolution.isascii() and resolution.isdigit() else 0
        try:
            first, last = (dt.date.fromisoformat(query.get(name, "")) for name in ("range_from", "range_to"))
        except ValueError:
            return _error(BAD_PARAMETERS, "range_from, range_to: expected yyyy-mm-dd")
        if query.get("date_format") != "1" or not (daily or minutes in MINUTES):
            return _error(BAD_PARAMETERS, "Invalid input: resolution or date_format")
        most = MOST_DAYS_DAILY if daily else MOST_DAYS_MINUTES
        if not 1 <= (last - first).days + 1 <= most:
            return _error(BAD_PARAMETERS, f"Invalid range: at most {most} days")
        if self._instruments.resolve(query.get("symbol", "")) is None:
            return _error(BAD_SYMBOL, "Invalid symbol provided")
        rows = self._candles.of(query.get("symbol", ""), None if daily else minutes, first, last)
        return {"s": "ok", "candles": rows} if rows else {"s": "no_data", "candles": []}

    def _market_status(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        now_ns, day = self._exchange.now_ns, self._exchange.day
        hours = day if day.known else TradingDay(Hours(self._calendar), "")
        rows = []
        for exchange, segment in _STATUS_ROWS:
            phase = hours.phase(now_ns, derivative=segment != CASH)
            status = _STATUS.get(phase, "CLOSED")
            rows.append({"exchange": exchange, "segment": segment, "market_type": "NORMAL", "status": status})
        return {"s": "ok", "code": 200, "message": "", "marketStatus": rows}

    async def _symbol_master(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        symbols = list(dict.fromkeys((*self._candles.symbols, *self._exchange.quotes)))
        text = master_csv(name, symbols, self._instruments, ist_date(self._exchange.now_ns))
        if text is None:
            raise web.HTTPNotFound
        return web.Response(text=text, content_type="text/csv")

    # -- login --------------------------------------------------------------------------------------------------------

    async def _generate_authcode(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("client_id") != self._app_id or query.get("response_type") != "code":
            return _say(400, _error(BAD_APP, "Invalid app id, or response_type is not code"))
        code = f"sandbox-code-{secrets.token_urlsafe(24)}"
        self._codes.add(code)
        back = URL(query.get("redirect_uri", "")).update_query(
            {"s": "ok", "code": "200", "auth_code": code, "state": query.get("state", "")}
        )
        raise web.HTTPFound(back)

    async def _validate_authcode(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _say(400, _error(BAD_PARAMETERS, "Invalid input"))
        right = hashlib.sha256(f"{self._app_id}:{SECRET}".encode()).hexdigest()
        if not hmac.compare_digest(str(body.get("appIdHash", "")).encode(), right.encode()):
            return _say(400, _error(BAD_APP, "Invalid app id hash"))
        code = str(body.get("code", ""))
        if code not in self._codes or body.get("grant_type") != "authorization_code":
            return _say(400, _error(BAD_CODE, f"Invalid auth code {code}"))
        self._codes.remove(code)
        token = make_token(wall_ns() // NS_PER_S + TOKEN_LIFE_S)
        self._gate.renew(f"{self._app_id}:{token}")
        return _say(200, {"s": "ok", "code": 200, "message": "", "access_token": token, "refresh_token": ""})


def make_token(exp_s: int) -> str:
    """A token like Fyers', a JWT that ends at `exp_s` (UTC seconds); its signature is not one."""
    parts = ({"typ": "JWT", "alg": "HS256"}, {"exp": exp_s, "hsm_key": secrets.token_hex(16), "sub": "access_token"})
    texts = [base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode() for part in parts]
    return ".".join((*texts, secrets.token_urlsafe(16)))


def _levels(best: Decimal, step: Decimal, quantity: int | None) -> list[Message]:
    return [
        {"price": best and best + step * number, "volume": quantity or 0, "ord": 1 if quantity else 0}
        for number in range(LEVELS)
    ]


def _rounded(quote: Quote, factor: str, tick: Decimal) -> Decimal:
    return (quote.last * Decimal(factor) // tick) * tick


def _error(code: int, message: str) -> Message:
    return {"s": "error", "code": code, "message": message}


def _say(status: int, message: Message) -> web.Response:
    return web.Response(status=status, body=messages.encode(message), content_type="application/json")
