"""The routes that go on as web sockets: who listens to what, for how long, and how it ends.

Invariant: a reader that doesn't read costs one queue of frames, and is let go with a code and a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from aiohttp import WSMsgType, web

from daemon.control.answers import refuse
from daemon.control.bridge import StandsStillError
from daemon.control.connections import Connections
from daemon.control.context import WHO, Context
from daemon.control.gate import Who
from daemon.control.precedence import Precedence
from daemon.control.stream import MOST_READERS, Code, Kind, Lost, Reader, Stream

log = structlog.get_logger("control")

MAX_MESSAGE_BYTES = 4096
CLOSE_S = 1.0
"""A reader that takes no goodbye: before the server's patience is over, for aiohttp fails where both end at once."""
PULSE_S = 1.0
PACE_S = 0.1
"""Between two pieces of what a reader hears: about as long as the decisions take that the frames are of."""
MOST_UNSENT_BYTES = 65_536
TRADING = (Kind.DECISION, Kind.ORDER, Kind.FILL, Kind.POSITION, Kind.STATE, Kind.STRATEGY, Kind.MODEL, Kind.HRM_METRICS)
Said = dict[tuple[int, ...], tuple[list[bytes], bytes]]
"""In one turn: the piece that frames make, by which they are; kept with them, so that no other takes their place."""
LIVE_DATA = (Kind.QUOTE, Kind.BAR)


class Subscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader says: kinds that it wants from now on, or doesn't any more."""

    subscribe: list[Kind] = []
    unsubscribe: list[Kind] = []


class Sockets:
    """Handlers by operation, and the pulse behind them."""

    def __init__(self, context: Context, stream: Stream, connections: Connections, precedence: Precedence) -> None:
        self._context = context
        self._precedence = precedence
        self._connections = connections
        self._stream = stream
        self._listeners: dict[int, tuple[Who, Reader]] = {}
        self._heard = asyncio.Event()
        """While somebody listens, and until what waited for the last one is gone."""
        self._transports: dict[int, asyncio.Transport] = {}
        """Of those who may be written to."""
        self._tasks: list[asyncio.Task[None]] = []

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        return {"stream": self._any, "tradingSocket": self._trading, "liveDataSocket": self._live_data}

    async def start(self, application: web.Application) -> None:
        """Begin to tell of the model, and to look whether everybody may still listen."""
        self._tasks = [
            asyncio.create_task(self._beat(), name="stream pulse"),
            asyncio.create_task(self._deliver(), name="stream delivery"),
        ]

    async def stop(self, application: web.Application) -> None:
        """Let everybody go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stream.let_everybody_go()

    async def _any(self, request: web.Request) -> web.StreamResponse:
        asked = request.query.get("kinds")
        try:
            kinds = list(Kind) if asked is None else [Kind(kind) for kind in asked.split(",")]
        except ValueError:
            return refuse(400, f"kinds: expected some of {', '.join(Kind)}, with commas between them")
        return await self._serve(request, kinds)

    async def _trading(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, TRADING)

    async def _live_data(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, LIVE_DATA)

    async def _serve(self, request: web.Request, kinds: Sequence[Kind]) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            heartbeat=self._context.limits.ping_s, max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=CLOSE_S
        )
        if not socket.can_prepare(request):
            return refuse(400, "expected a web socket (Upgrade: websocket)")
        reader = Reader(kinds)
        if not self._stream.add(reader):
            return refuse(503, f"{MOST_READERS} listen already; close one", {"Retry-After": "10"})
        try:
            self._listeners[id(reader)] = request[WHO], reader
            self._heard.set()
            try:
                await socket.prepare(request)
            except ConnectionError:
                return refuse(400, "it left before it could listen")
            if request.transport is not None:
                self._transports[id(reader)] = request.transport
                self._connections.watch(
                    request.transport, lambda: self._stream.lose(reader, Lost.UNREAD, "too slow: nothing was read")
                )
            await self._converse(socket, reader)
            if isinstance(socket.exception(), TimeoutError):
                self._stream.lose(reader, Lost.SILENT, "no answer to a ping")
        finally:
            self._stream.remove(reader)
            del self._listeners[id(reader)]
            self._transports.pop(id(reader), None)
        await self._close(socket, reader, request)
        return socket

    async def _converse(self, socket: web.WebSocketResponse, reader: Reader) -> None:
        """Until it leaves, or is let go."""
        tasks = [asyncio.ensure_future(part) for part in (_read(socket, reader), reader.gone.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self, socket: web.WebSocketResponse, reader: Reader, request: web.Request) -> None:
        """Say why, as long as somebody takes it."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await socket.close(code=reader.code or 1000, message=reader.reason.encode())
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        if reader.code:
            log.info("stream_closed", code=reader.code, reason=reader.reason, conflated=reader.conflated)

    async def _deliver(self) -> None:
        """To all of them together: 200 readers must cost little more than one, for the interpreter decides, too."""
        while await self._heard.wait():
            await asyncio.sleep(PACE_S)
            await self._precedence.wait()
            self._stream.hand_out()
            if not self._listeners:
                self._heard.clear()
            said: Said = {}
            may_wait = True
            for key, transport in list(self._transports.items()):
                if may_wait and self._precedence.holds:
                    await self._precedence.wait()
                    may_wait = False  # else they hear nothing where decisions take long
                if key in self._listeners:
                    _write(transport, self._listeners[key][1], said)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            await self._context.gate.refresh()
            for who, reader in list(self._listeners.values()):
                if not self._context.gate.still(who):
                    reader.let_go(Code.NO_LONGER, "the session or the token has ended")
            await self._precedence.wait()
            if self._stream.wants(Kind.HRM_METRICS):
                with suppress(StandsStillError):
                    metrics = await self._context.bridge.look(self._context.view.hrm_metrics)
                    self._stream.say(Kind.HRM_METRICS, Kind.HRM_METRICS, metrics)


def _write(transport: asyncio.Transport, reader: Reader, said: Said) -> None:
    """What waits, in one piece; where the other end doesn't take it, it waits on in `reader`."""
    if len(reader) and not transport.is_closing() and transport.get_write_buffer_size() <= MOST_UNSENT_BYTES:
        transport.write(_piece(reader.take(), said))


def _piece(frames: list[bytes], said: Said) -> bytes:
    """With their heads; most readers hear the same, which is put together once."""
    key = tuple(map(id, frames))
    if key not in said:
        said[key] = frames, b"".join(part for frame in frames for part in (_head(len(frame)), frame))
    return said[key][1]


def _head(size: int) -> bytes:
    """Of a text frame in one piece, unmasked as a server's are (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    return b"\x81\x7e" + size.to_bytes(2, "big") if size < 65_536 else b"\x81\x7f" + size.to_bytes(8, "big")


async def _read(socket: web.WebSocketResponse, reader: Reader) -> None:
    async for message in socket:
        if message.type is WSMsgType.ERROR:  # it spoke no web socket, or gave no sign of life: aiohttp closes
            return None
        if message.type is not WSMsgType.TEXT:
            return reader.let_go(Code.MISSPOKE, "expected text")
        try:
            wish = msgspec.json.decode(message.data, type=Subscription)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return reader.let_go(Code.MISSPOKE, 'expected {"subscribe": [KIND], "unsubscribe": [KIND]}, of known kinds')
        reader.kinds = (reader.kinds | set(wish.subscribe)) - set(wish.unsubscribe)
    return None
