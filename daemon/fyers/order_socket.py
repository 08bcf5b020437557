"""Fyers' order socket → an endless stream of pushes, and of the moments after which the book must be read.

The socket says nothing of what happened while it was away, acknowledges any subscription, and may repeat, reorder or
lose a push; so pushes are news, not the book. Protocol: `wss://socket.fyers.in/trade/v3`, header `authorization:
appid:token`, `SUB_ORD`, then text frames, with "ping" every 10 s answered by "pong".
Invariant: after every time without a connection, and after every push that can't be read, a `Gap` comes before any
further push.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import aiohttp
import msgspec

from daemon.calls.hiding import Hiding
from daemon.calls.records import WireError, decode
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import HrmdError
from daemon.fyers import wire
from daemon.fyers.answers import in_clear
from daemon.fyers.credentials import Credentials
from daemon.orders.pushes import Disconnected, Gap, OrderPush, PositionPush, SocketEvent, TradePush

SUBSCRIBED: Final = 1605
PING: Final = "ping"
PONG: Final = "pong"
MAX_FRAME_BYTES: Final = 1 << 20
_REFUSED: Final = (401, 403)
_SUBSCRIBE: Final = '{"T":"SUB_ORD","SLIST":["orders","trades","positions"],"SUB_T":1}'


class SocketTimes(msgspec.Struct, frozen=True):
    """Seconds: to connect and be subscribed, between pings, of silence until a link counts as dead, and of back-off."""

    connect_s: float = 5.0
    ping_s: float = 10.0
    silence_s: float = 25.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0


class _LostError(HrmdError):
    """The connection is gone, or was never made; why."""

    def __init__(self, reason: str, *, token_refused: bool = False) -> None:
        super().__init__(reason)
        self.event = Disconnected(reason, token_refused)


class OrderSocket:
    """The pushes of one account; `events()` is to be read by one task, without long pauses."""

    def __init__(self, url: str, credentials: Credentials, clock: Clock, times: SocketTimes | None = None) -> None:
        self._url = url
        self._credentials = credentials
        self._clock = clock
        self._times = times if times is not None else SocketTimes()
        self._renewed = asyncio.Event()

    def authorize(self, credentials: Credentials) -> None:
        """Use the new day's token; a wait for the next attempt ends at once."""
        self._credentials = credentials
        self._renewed.set()

    async def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes, a `Gap` after every (re)connection, a `Disconnected` for every loss; ends only by `aclose`."""
        retry_s = self._times.first_retry_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._times.connect_s)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                self._renewed.clear()
                try:
                    async with aclosing(self._connection(session)) as events:
                        async for event in events:
                            retry_s = self._times.first_retry_s
                            yield event
                except _LostError as lost:
                    yield lost.event
                    if lost.event.token_refused:
                        retry_s = self._times.longest_retry_s
                await self._pause(retry_s)
                retry_s = min(retry_s * 2, self._times.longest_retry_s)

    async def _connection(self, session: aiohttp.ClientSession) -> AsyncGenerator[SocketEvent, None]:
        """The life of one connection; raises `_LostError` at its end."""
        hiding = self._credentials.hiding
        with _translated():
            async with asyncio.timeout(self._times.connect_s):
                socket = await session.ws_connect(
                    self._url,
                    headers={"authorization": self._credentials.authorization},
                    max_msg_size=MAX_FRAME_BYTES,
                )
        try:
            link = _Link(socket, self._clock, self._times)
            early = await link.subscribe()
            yield Gap("connected")
            for frame in early:
                yield _event(frame, hiding)
            while True:
                yield _event(await link.next(), hiding)
        finally:
            await socket.close()

    async def _pause(self, seconds: float) -> None:
        """Wait for the next attempt, or for a new token."""
        try:
            async with asyncio.timeout(seconds):
                await self._renewed.wait()
        except TimeoutError:
            return


class _Link:
    """One open connection: text frames in, pings out."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, clock: Clock, times: SocketTimes) -> None:
        self._socket = socket
        self._clock = clock
        self._times = times
        self._pinged_ns = clock.monotonic_ns()
        self._silent_s = 0.0

    async def subscribe(self) -> list[str]:
        """Subscribe and await the acknowledgement; returns the pushes that came before it."""
        early: list[str] = []
        with _translated():
            async with asyncio.timeout(self._times.connect_s):
                await self._socket.send_str(_SUBSCRIBE)
                while True:
                    frame = _text(await self._socket.receive())
                    document = _document(frame)
                    if document.get("code") == SUBSCRIBED:
                        return early
                    if document.get("s") == "error":
                        raise _LostError(f"the subscription was refused (code {_code(document)})")
                    if frame != PONG:
                        early.append(frame)

    async def next(self) -> str:
        """The next push. Pings every `ping_s`, however many pushes come; gives the link up after `silence_s`."""
        while True:
            frame = await self._receive()
            if frame is None:
                if self._silent_s >= self._times.silence_s:
                    raise _LostError(f"nothing was heard for {self._silent_s:.1f} s")
                continue
            self._silent_s = 0.0
            if frame != PONG:
                return frame

    async def _receive(self) -> str | None:
        """A frame, or None when the next ping is due."""
        with _translated():
            left_s = self._times.ping_s - (self._clock.monotonic_ns() - self._pinged_ns) / NS_PER_S
            if left_s <= 0:
                async with asyncio.timeout(self._times.connect_s):
                    await self._socket.send_str(PING)
                self._pinged_ns, left_s = self._clock.monotonic_ns(), self._times.ping_s
            try:
                async with asyncio.timeout(left_s):
                    return _text(await self._socket.receive())
            except TimeoutError:
                self._silent_s += left_s  # time spent listening: a stall of our own is not the venue's silence
                return None


@contextmanager
def _translated() -> Iterator[None]:
    """Any failure of the connection as `_LostError`, in words that hold no header."""
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        refused = error.status in _REFUSED
        raise _LostError(f"the handshake was refused (HTTP {error.status})", token_refused=refused) from None
    except TimeoutError:
        raise _LostError("no answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _LostError(f"no connection ({type(error).__name__})") from None


def _text(message: aiohttp.WSMessage) -> str:
    if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        content: str | bytes = message.data
        return content if isinstance(content, str) else content.decode("utf-8", "replace")
    raise _LostError(f"the connection was closed ({message.type.name.lower()})")


def _document(frame: str) -> dict[str, Any]:
    """The frame as an object; {} where it is none."""
    try:
        return decode(frame)
    except WireError:
        return {}


def _code(document: dict[str, Any]) -> str:
    """The code of an error; "?" for anything but a number."""
    code = document.get("code")
    return str(code) if isinstance(code, int) else "?"


def _event(frame: str, hiding: Hiding) -> SocketEvent:
    """What a frame tells, without our secrets; a `Gap` where it can't be read."""
    document = _document(frame)
    try:
        if isinstance(row := document.get("orders"), dict):
            return OrderPush(in_clear(wire.read_order(row, wire.SOCKET_ORDER), hiding))
        if isinstance(row := document.get("trades"), dict):
            return TradePush(wire.read_trade(row, wire.SOCKET_TRADE))
        if isinstance(row := document.get("positions"), dict):
            return PositionPush(wire.read_position(row, wire.SOCKET_POSITION))
    except WireError as error:
        return Gap(f"a push that can't be read: {hiding.line(error)}")
    return Gap("a push of an unknown kind")
