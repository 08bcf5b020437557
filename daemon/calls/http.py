"""Requests over HTTP to a venue, each sent at most once, within the account's rate budget and a time-out.

Whether a failed call had left this machine is told by whether it had been given a connection: before that not a byte
can have gone (refused, DNS, TLS, no free connection), from then on it may have.
What a call is kept back for meanwhile is asked when all that it waited for is there, its connection last.
Invariant: a call is sent at most once, and no exception of its making leaves this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from aiohttp.connector import Connection

from daemon.calls.budget import Grant, Purpose, RateBudget
from daemon.calls.hiding import NOTHING, Hiding
from daemon.calls.outcome import KeptBack, NotSent, Outcome, Unknown, may_go
from daemon.core.clock import NS_PER_S, Clock

T = TypeVar("T")

MAX_CONNECTIONS: Final = 10
TOO_MANY_REQUESTS: Final = 429
DEFAULT_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 86_400.0


class CallTimes(msgspec.Struct, frozen=True):
    """How long a call may take, seconds: to connect, for each read, altogether, and waiting for the rate budget."""

    connect_s: float = 3.0
    read_s: float = 7.0
    total_s: float = 10.0
    budget_s: float = 2.0


OnDate = Callable[[int, int], None]
"""Is told the `Date` of an answer (UTC ns, whole seconds), and how long the answer took, ns."""


class _BrokenError(aiohttp.ClientConnectionError):
    """A connection was refused or broke, under a name that aiohttp doesn't answer by sending the request again."""


class _KeptBackError(Exception):
    """A call may not go any more; nothing of it has left."""


_KEPT_BACK: ContextVar[KeptBack] = ContextVar("kept_back", default=may_go)
"""Of the call that is being made."""


class Call(msgspec.Struct, frozen=True):
    """One request. `purpose` decides what it may take of the rate budget; `kept_back` is asked before it leaves."""

    method: str
    url: str
    purpose: Purpose
    body: bytes | None = None
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    hiding: Hiding = NOTHING
    """Of the secrets in it."""
    kept_back: KeptBack = may_go


class Answer(msgspec.Struct, frozen=True):
    """What came back: HTTP status, the `Retry-After` header ("" for none) and the body.

    `hiding` knows the secrets that the call carried, and that the answer may repeat.
    """

    status: int
    retry_after: str
    body: bytes
    hiding: Hiding = NOTHING


class Caller:
    """One account's way out; `close` ends its connections."""

    def __init__(self, budget: RateBudget, clock: Clock, times: CallTimes, on_date: OnDate | None = None) -> None:
        self._budget = budget
        self._clock = clock
        self._times = times
        self._on_date = on_date
        self._session: aiohttp.ClientSession | None = None
        self.skew_s: float | None = None
        """How far this machine's clock is ahead of the venue's, by the `Date` of its last answer (whole seconds)."""

    async def close(self) -> None:
        """Close all connections; closed already, does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """Keep still as long as the venue asks."""
        if isinstance(outcome, NotSent) and outcome.retry_after_s is not None:
            self._budget.hold(outcome.retry_after_s)
        return outcome

    async def send(self, call: Call) -> Answer | NotSent | Unknown:
        """Send it once; what came back, or how far it came."""
        _KEPT_BACK.set(call.kept_back)
        grant = await self._queue(call)
        if isinstance(grant, NotSent):
            return grant
        on_the_way = SimpleNamespace(connected=False, sent=grant.sent)
        asked_ns = self._clock.monotonic_ns()
        try:
            async with self._open().request(
                call.method,
                call.url,
                params=call.query,
                data=call.body,
                headers=call.headers,
                allow_redirects=False,
                trace_request_ctx=on_the_way,
            ) as response:
                body = await response.read()
                headers = response.headers
                self._note_date(headers, self._clock.monotonic_ns() - asked_ns)
                return Answer(response.status, headers.get("Retry-After", ""), body, call.hiding)
        except _KeptBackError as error:
            return NotSent(str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # OSError holds TimeoutError; ValueError is aiohttp's for an answer that is not HTTP
            reason = _reason(error, on_the_way.connected)
            return Unknown(reason) if on_the_way.connected else NotSent(reason)
        finally:
            grant.sent()

    def _note_date(self, headers: Mapping[str, str], took_ns: int) -> None:
        """What time the venue says it is; an answer out of a cache (RFC 9111 §5.1) is of another time."""
        sent = None if "Age" in headers else date_ns(headers.get("Date", ""))
        self.skew_s = None if sent is None else skew_seconds(sent, self._clock.now_ns())
        if sent is not None and self._on_date is not None:
            self._on_date(sent, took_ns)

    async def _queue(self, call: Call) -> Grant | NotSent:
        """Wait for the rate budget, at most `times.budget_s`."""
        deadline = self._clock.monotonic_ns() + int(self._times.budget_s * NS_PER_S)
        while isinstance(wait := self._budget.reserve(call.purpose), int):
            if self._clock.monotonic_ns() + wait > deadline:
                seconds = wait / NS_PER_S
                kind = call.purpose.value
                return NotSent(f"the rate budget is used up for {kind} calls, {seconds:.1f} s to go", seconds)
            await asyncio.sleep(wait / NS_PER_S)
        return wait

    def _open(self) -> aiohttp.ClientSession:
        """The one session, made at the first call, for aiohttp wants a running loop."""
        if self._session is None:
            times = self._times
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(
                    total=times.total_s, connect=times.connect_s, sock_connect=times.connect_s, sock_read=times.read_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[_tracing()],
                middlewares=(_once,),
            )
        return self._session


def turned_away(answer: Answer, now_ns: int) -> NotSent | None:
    """What a 429 says: the limiter stands before the order system."""
    if answer.status != TOO_MANY_REQUESTS:
        return None
    return NotSent("the venue's rate limit (HTTP 429)", retry_seconds(answer.retry_after, now_ns))


def retry_seconds(header: str, now_ns: int) -> float:
    """Seconds that a `Retry-After` header (seconds or a date, RFC 9110 §10.2.3) asks for; 1 where it can't be read."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_S)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return DEFAULT_RETRY_S
    return min(max(moment - now_ns / NS_PER_S, 0.0), LONGEST_RETRY_S)


def date_ns(header: str) -> int | None:
    """A `Date` header (RFC 9110 §6.6.1, whole seconds), UTC ns; None where it can't be read."""
    try:
        return int(parsedate_to_datetime(header).timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        return None


def skew_seconds(date: int, now_ns: int) -> float:
    """How far `now_ns` is ahead of a `Date`, whose second may have been any part of it: its middle is taken."""
    return (now_ns - date) / NS_PER_S - 0.5


class _Connector(aiohttp.TCPConnector):
    """Gives no connection to a call that may not go any more by the time there is one."""

    async def connect(self, *arguments: Any, **named: Any) -> Connection:
        """As aiohttp's own."""
        connection = await super().connect(*arguments, **named)
        why = _KEPT_BACK.get()()
        if why:
            connection.release()
            raise _KeptBackError(why)
        return connection


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
