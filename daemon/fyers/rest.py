"""Calls over HTTPS to Fyers' REST API v3, each with one of four outcomes and none without a time-out.

Whether a failed call had left this machine is told by whether it had been given a connection: before that not a byte
can have gone (refused, DNS, TLS, no free connection), from then on it may have.
Invariant: a call is sent at most once, no exception of its making leaves this module, and no text holds the token.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import UsageError
from daemon.fyers import answers, market_wire, requests, wire
from daemon.fyers.answers import Answer
from daemon.fyers.budget import Grant, Purpose, RateBudget
from daemon.fyers.credentials import Credentials, Secret
from daemon.fyers.hiding import NOTHING, Hiding
from daemon.fyers.outcome import NotSent, Outcome, Unknown

T = TypeVar("T")

API_VERSION: Final = "3"
MAX_QUOTES: Final = 50
NO_CANDLES: Final = "no_data"
MAX_CONNECTIONS: Final = 10
PLACED: Final = frozenset({1101})
CANCELLED: Final = frozenset({1101, 1103})


class Endpoints(msgspec.Struct, frozen=True):
    """Where the venue listens."""

    api: str = "https://api-t1.fyers.in/api/v3"
    data: str = "https://api-t1.fyers.in/data"
    orders: str = "wss://socket.fyers.in/trade/v3"

    @classmethod
    def at(cls, base: str) -> Self:
        """All three at one server, such as the sandbox's `http://127.0.0.1:8790`."""
        url = URL(base)
        socket = url.with_scheme("wss" if url.scheme == "https" else "ws")
        return cls(str(url / "api/v3"), str(url / "data"), str(socket / "trade/v3"))


class CallTimes(msgspec.Struct, frozen=True):
    """How long a call may take, seconds: to connect, for each read, altogether, and waiting for the rate budget."""

    connect_s: float = 3.0
    read_s: float = 7.0
    total_s: float = 10.0
    budget_s: float = 2.0


class _BrokenError(aiohttp.ClientConnectionError):
    """A connection was refused or broke, under a name that aiohttp doesn't answer by sending the request again."""


class _Call(msgspec.Struct, frozen=True):
    """One request. `purpose` decides what it may take of the rate budget."""

    method: str
    url: str
    purpose: Purpose
    body: bytes | None = None
    query: dict[str, str] = {}
    hiding: Hiding | None = None
    """Of the secrets in it, where these aren't the token."""


class FyersRest:
    """The REST API as one account sees it; use it as an async context manager, or call `close`.

    Every method returns an outcome (see `daemon.fyers.outcome`) and raises nothing but `asyncio.CancelledError` (and
    `UsageError` for too many at once); a call that is cancelled may have been done. Without credentials only
    `validate_authcode` is of use.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        budget: RateBudget,
        clock: Clock,
        endpoints: Endpoints | None = None,
        times: CallTimes | None = None,
    ) -> None:
        self._credentials = credentials
        self._budget = budget
        self._clock = clock
        self._endpoints = endpoints if endpoints is not None else Endpoints()
        self._times = times if times is not None else CallTimes()
        self._session: aiohttp.ClientSession | None = None
        self.skew_s: float | None = None
        """How far this machine's clock is ahead of the venue's, by the `Date` of its last answer (whole seconds)."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; closed already, does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def authorize(self, credentials: Credentials) -> None:
        """Use the new day's token from the next call on."""
        self._credentials = credentials

    # -- orders -------------------------------------------------------------------------------------------------------

    async def place(self, order: requests.PlaceOrder, purpose: Purpose) -> Outcome[wire.Acknowledged]:
        """Place one order; `Done` says that the venue has it under `venue_id`."""
        return await self._change("POST", order.body(), purpose, PLACED)

    async def cancel(self, venue_id: str) -> Outcome[wire.Acknowledged]:
        """Ask for an order to be cancelled. `Done` is no proof that it is: it may still fill; the book tells."""
        return await self._change("DELETE", requests.encode({"id": venue_id}), Purpose.EXIT, CANCELLED)

    # -- the book -----------------------------------------------------------------------------------------------------

    async def orders(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenueOrder]]:
        """All orders of the day."""
        return await self._read_orders(self._api("orders", purpose))

    async def trades(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenueTrade]]:
        """All trades of the day."""
        return await self._read(self._api("tradebook", purpose), wire.trades)

    async def positions(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenuePosition]]:
        """Net positions, flat ones of the day too."""
        return await self._read(self._api("positions", purpose), wire.positions)

    async def funds(self) -> Outcome[wire.Funds]:
        """The account's money."""
        return await self._read(self._api("funds", Purpose.ORDINARY), wire.funds)

    async def profile(self) -> Outcome[wire.Profile]:
        """Whose account it is: the cheapest way to learn whether the token holds."""
        return await self._read(self._api("profile", Purpose.ORDINARY), wire.profile)

    async def quotes(self, symbols: Sequence[str], purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.Quote]]:
        """Last prices of 1 to 50 symbols; raises `UsageError` for another number."""
        _check_count("quotes", symbols, MAX_QUOTES)
        return await self._read(self._data("quotes", purpose, {"symbols": ",".join(symbols)}), wire.quotes)

    async def holdings(self) -> Outcome[list[market_wire.Holding]]:
        """Shares in the demat account."""
        return await self._read(self._api("holdings", Purpose.ORDINARY), market_wire.holdings)

    # -- the market ---------------------------------------------------------------------------------------------------

    async def depth(self, symbol: str, purpose: Purpose = Purpose.ORDINARY) -> Outcome[market_wire.Depth]:
        """The five best prices of each side, and the day's price band."""
        query = {"symbol": symbol, "ohlcv_flag": "1"}
        return await self._read(self._data("depth", purpose, query), market_wire.depth)

    async def history(
        self, symbol: str, resolution: str, first: dt.date, last: dt.date
    ) -> Outcome[list[market_wire.Candle]]:
        """Candles of the days from `first` to `last`, both included; no candle at all is an empty list.

        `resolution`: minutes such as "5", or "D". At most 100 days for minutes and 366 for days, as Fyers documents.
        """
        query = {
            "symbol": symbol, "resolution": resolution, "date_format": "1", "range_from": first.isoformat(),
            "range_to": last.isoformat(), "cont_flag": "0",
        }  # fmt: skip
        call = self._data("history", Purpose.ORDINARY, query)
        return await self._read(call, market_wire.candles, frozenset({"ok", NO_CANDLES}))

    async def market_status(self) -> Outcome[list[market_wire.MarketState]]:
        """What every segment is doing."""
        return await self._read(self._data("marketStatus", Purpose.ORDINARY), market_wire.market_states)

    # -- login --------------------------------------------------------------------------------------------------------

    async def validate_authcode(self, app_id_hash: str, code: Secret) -> Outcome[Secret]:
        """The day's access token for the code that a login brought; `app_id_hash` is SHA-256 of "app id:secret"."""
        fields = {"grant_type": "authorization_code", "appIdHash": app_id_hash, "code": code.reveal()}
        url = f"{self._endpoints.api}/validate-authcode"
        body, hiding = requests.encode(fields), Hiding(code.reveal(), app_id_hash)
        return await self._read(_Call("POST", url, Purpose.ORDINARY, body, hiding=hiding), market_wire.access_token)

    # -- one way out --------------------------------------------------------------------------------------------------

    def _api(self, path: str, purpose: Purpose, query: dict[str, str] | None = None) -> _Call:
        return _Call("GET", f"{self._endpoints.api}/{path}", purpose, query=query or {})

    def _data(self, path: str, purpose: Purpose, query: dict[str, str] | None = None) -> _Call:
        return _Call("GET", f"{self._endpoints.data}/{path}", purpose, query=query or {})

    async def _change(
        self, method: str, body: bytes, purpose: Purpose, done_codes: frozenset[int]
    ) -> Outcome[wire.Acknowledged]:
        answer = await self._send(_Call(method, f"{self._endpoints.api}/orders/sync", purpose, body))
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._heed(answers.of_order(answer, done_codes, self._clock.now_ns()))

    async def _read(
        self, call: _Call, read: Callable[[Mapping[str, Any]], T], said: frozenset[str] = frozenset({"ok"})
    ) -> Outcome[T]:
        answer = await self._send(call)
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._heed(answers.of_read(answer, read, self._clock.now_ns(), said))

    async def _read_orders(self, call: _Call) -> Outcome[list[wire.VenueOrder]]:
        """Rows of the book, their messages without our secrets."""
        hiding = self._hiding(call)
        return await self._read(call, lambda page: [answers.in_clear(order, hiding) for order in wire.orders(page)])

    def _heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """Keep still as long as the venue asks."""
        if isinstance(outcome, NotSent) and outcome.retry_after_s is not None:
            self._budget.hold(outcome.retry_after_s)
        return outcome

    def _hiding(self, call: _Call) -> Hiding:
        """Of what this call carries."""
        if call.hiding is not None:
            return call.hiding
        return self._credentials.hiding if self._credentials is not None else NOTHING

    async def _send(self, call: _Call) -> Answer | NotSent | Unknown:
        grant = await self._queue(call)
        if isinstance(grant, NotSent):
            return grant
        on_the_way, hiding = SimpleNamespace(connected=False, sent=grant.sent), self._hiding(call)
        try:
            async with self._open().request(
                call.method,
                call.url,
                params=call.query,
                data=call.body,
                headers=self._headers(call),
                allow_redirects=False,
                trace_request_ctx=on_the_way,
            ) as response:
                body = await response.read()
                headers = response.headers
                self.skew_s = answers.skew_seconds(headers.get("Date", ""), self._clock.now_ns())
                return Answer(response.status, headers.get("Retry-After", ""), body, hiding)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # OSError holds TimeoutError; ValueError is aiohttp's for an answer that is not HTTP
            reason = _reason(error, on_the_way.connected)
            return Unknown(reason) if on_the_way.connected else NotSent(reason)
        finally:
            grant.sent()

    async def _queue(self, call: _Call) -> Grant | NotSent:
        """Wait for the rate budget, at most `times.budget_s`."""
        deadline = self._clock.monotonic_ns() + int(self._times.budget_s * NS_PER_S)
        while isinstance(wait := self._budget.reserve(call.purpose), int):
            if self._clock.monotonic_ns() + wait > deadline:
                seconds = wait / NS_PER_S
                kind = call.purpose.value
                return NotSent(f"the rate budget is used up for {kind} calls, {seconds:.1f} s to go", seconds)
            await asyncio.sleep(wait / NS_PER_S)
        return wait

    def _headers(self, call: _Call) -> dict[str, str]:
        headers = {"version": API_VERSION}
        if self._credentials is not None:
            headers["Authorization"] = self._credentials.authorization
        return headers if call.body is None else {**headers, "Content-Type": "application/json"}

    def _open(self) -> aiohttp.ClientSession:
        """The one session, made at the first call, for aiohttp wants a running loop."""
        if self._session is None:
            times = self._times
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(
                    total=times.total_s, connect=times.connect_s, sock_connect=times.connect_s, sock_read=times.read_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[_tracing()],
                middlewares=(_once,),
            )
        return self._session


def _check_count(what: str, items: Sequence[object], most: int) -> None:
    if not 1 <= len(items) <= most:
        raise UsageError(f"{what}: expected 1 to {most}, got {len(items)}")


async def _note_connection(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    """From here on bytes of the request may be on the wire."""
    context.trace_request_ctx.connected = True


async def _note_sent(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    """From here on the call is the network's."""
    context.trace_request_ctx.sent()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating GET and DELETE whose connection broke: that is ours to decide, and to budget."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise _BrokenError(detail) from None


def _tracing() -> aiohttp.TraceConfig:
    """Tell each call when it was given a connection, new or kept alive, and when it left."""
    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(_note_connection)
    config.on_connection_reuseconn.append(_note_connection)
    config.on_request_headers_sent.append(_note_sent)
    return config


def _reason(error: Exception, connected: bool) -> str:
    """What went wrong, by the kind of the error: aiohttp's own texts may hold request headers."""
    if isinstance(error, TimeoutError):
        return "no answer in time" if connected else "no connection in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    detail = str(error) if isinstance(error, _BrokenError) else type(error).__name__
    return f"the connection was lost ({detail})" if connected else f"no connection ({detail})"
