"""Calls over HTTPS to Fyers' REST API v3, each with one of four outcomes and none without a time-out.

Whether a failed call had left this machine is told by whether it had been given a connection: before that not a byte
can have gone (refused, DNS, TLS, no free connection), from then on it may have.
Invariant: a call is sent at most once, no exception of its making leaves this module, and no text holds the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from daemon.clock import NS_PER_S, Clock
from daemon.errors import UsageError
from daemon.fyers import answers, requests, wire
from daemon.fyers.answers import Answer
from daemon.fyers.budget import Purpose, RateBudget
from daemon.fyers.credentials import Credentials
from daemon.fyers.outcome import NotSent, Outcome, Rejected, Unknown

T = TypeVar("T")

API_VERSION: Final = "3"
MAX_QUOTES: Final = 50
MAX_CONNECTIONS: Final = 10
PLACED: Final = frozenset({1101})
MODIFIED: Final = frozenset({1101, 1102})
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


class FyersRest:
    """The REST API as one account sees it; use it as an async context manager, or call `close`.

    Every method returns an outcome (see `daemon.fyers.outcome`) and raises nothing but `asyncio.CancelledError`; a call
    that is cancelled may have been done.
    """

    def __init__(
        self,
        credentials: Credentials,
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

    async def modify(self, change: requests.ModifyOrder, purpose: Purpose) -> Outcome[wire.Acknowledged]:
        """Change a working order; `Done` says that the venue took the wish."""
        return await self._change("PATCH", change.body(), purpose, MODIFIED)

    async def cancel(self, venue_id: str) -> Outcome[wire.Acknowledged]:
        """Ask for an order to be cancelled. `Done` is no proof that it is: it may still fill; the book tells."""
        return await self._change("DELETE", requests.encode({"id": venue_id}), Purpose.EXIT, CANCELLED)

    # -- the book -----------------------------------------------------------------------------------------------------

    async def orders(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenueOrder]]:
        """All orders of the day."""
        return await self._read(self._api("orders", purpose), wire.orders)

    async def order(self, venue_id: str, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenueOrder]]:
        """The order of that id; an empty list where the book has none."""
        return await self._read(self._api("orders", purpose, {"id": venue_id}), wire.orders)

    async def orders_tagged(self, tag: str, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[wire.VenueOrder]]:
        """All orders that carry `tag`: none, one, or, had something been sent twice, more."""

        def tagged(document: Mapping[str, Any]) -> list[wire.VenueOrder]:
            return [order for order in wire.orders(document) if order.tag == tag]

        return await self._read(self._api("orders", purpose), tagged)

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
        if not 1 <= len(symbols) <= MAX_QUOTES:
            raise UsageError(f"quotes: expected 1 to {MAX_QUOTES} symbols, got {len(symbols)}")
        call = _Call("GET", f"{self._endpoints.data}/quotes", purpose, query={"symbols": ",".join(symbols)})
        return await self._read(call, wire.quotes)

    # -- one way out --------------------------------------------------------------------------------------------------

    def _api(self, path: str, purpose: Purpose, query: dict[str, str] | None = None) -> _Call:
        return _Call("GET", f"{self._endpoints.api}/{path}", purpose, query=query or {})

    async def _change(
        self, method: str, body: bytes, purpose: Purpose, done_codes: frozenset[int]
    ) -> Outcome[wire.Acknowledged]:
        answer = await self._send(_Call(method, f"{self._endpoints.api}/orders/sync", purpose, body))
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._heed(answers.of_order(answer, done_codes, self._clock.now_ns()))

    async def _read(self, call: _Call, read: Callable[[Mapping[str, Any]], T]) -> Outcome[T]:
        answer = await self._send(call)
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._heed(answers.of_read(answer, read, self._clock.now_ns()))

    def _heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """Keep still as long as the venue asks, and the token out of what it wrote."""
        if isinstance(outcome, NotSent) and outcome.retry_after_s is not None:
            self._budget.hold(outcome.retry_after_s)
        if isinstance(outcome, Rejected):
            return msgspec.structs.replace(outcome, message=self._credentials.hide(outcome.message))
        if isinstance(outcome, Unknown):
            return msgspec.structs.replace(outcome, reason=self._credentials.hide(outcome.reason))
        return outcome

    async def _send(self, call: _Call) -> Answer | NotSent | Unknown:
        held = await self._queue(call.purpose)
        if held is not None:
            return held
        on_the_way = SimpleNamespace(connected=False)
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
                return Answer(response.status, response.headers.get("Retry-After", ""), body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # OSError holds TimeoutError; ValueError is aiohttp's for an answer that is not HTTP
            reason = _reason(error, on_the_way.connected)
            return Unknown(reason) if on_the_way.connected else NotSent(reason)

    async def _queue(self, purpose: Purpose) -> NotSent | None:
        """Wait for the rate budget, at most `times.budget_s`; None when the call may go."""
        deadline = self._clock.monotonic_ns() + int(self._times.budget_s * NS_PER_S)
        while (wait := self._budget.take(purpose)) > 0:
            if self._clock.monotonic_ns() + wait > deadline:
                seconds = wait / NS_PER_S
                return NotSent(f"the rate budget is used up for {purpose.value} calls, {seconds:.1f} s to go", seconds)
            await asyncio.sleep(wait / NS_PER_S)
        return None

    def _headers(self, call: _Call) -> dict[str, str]:
        headers = {"Authorization": self._credentials.authorization, "version": API_VERSION}
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


async def _note_connection(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    """From here on bytes of the request may be on the wire."""
    context.trace_request_ctx.connected = True


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating GET and DELETE whose connection broke: that is ours to decide, and to budget."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise _BrokenError(detail) from None


def _tracing() -> aiohttp.TraceConfig:
    """Tell each call when it was given a connection, new or kept alive."""
    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(_note_connection)
    config.on_connection_reuseconn.append(_note_connection)
    return config


def _reason(error: Exception, connected: bool) -> str:
    """What went wrong, by the kind of the error: aiohttp's own texts may hold request headers."""
    if isinstance(error, TimeoutError):
        return "no answer in time" if connected else "no connection in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    detail = str(error) if isinstance(error, _BrokenError) else type(error).__name__
    return f"the connection was lost ({detail})" if connected else f"no connection ({detail})"
