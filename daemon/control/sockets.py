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
from daemon.control.context import WHO, Context
from daemon.control.gate import Who
from daemon.control.stream import MOST_READERS, Code, Kind, Reader, Stream

log = structlog.get_logger("control")

MAX_MESSAGE_BYTES = 4096
HEARTBEAT_S = 20.0
CLOSE_S = 2.0
PULSE_S = 1.0
TRADING = (Kind.DECISION, Kind.ORDER, Kind.FILL, Kind.POSITION, Kind.STATE, Kind.STRATEGY, Kind.MODEL, Kind.HRM_METRICS)
LIVE_DATA = (Kind.QUOTE, Kind.BAR)


class Subscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader says: kinds that it wants from now on, or doesn't any more."""

    subscribe: list[Kind] = []
    unsubscribe: list[Kind] = []


class Sockets:
    """Handlers by operation, and the pulse behind them."""

    def __init__(self, context: Context, stream: Stream) -> None:
        self._context = context
        self._stream = stream
        self._listeners: dict[int, tuple[Who, Reader]] = {}
        self._pulse: asyncio.Task[None] | None = None

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        return {"stream": self._any, "tradingSocket": self._trading, "liveDataSocket": self._live_data}

    async def start(self, application: web.Application) -> None:
        """Begin to tell of the model, and to look whether everybody may still listen."""
        self._pulse = asyncio.create_task(self._beat(), name="stream pulse")

    async def stop(self, application: web.Application) -> None:
        """Let everybody go."""
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.wait((self._pulse,))
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
            heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=CLOSE_S
        )
        if not socket.can_prepare(request):
            return refuse(400, "expected a web socket (Upgrade: websocket)")
        reader = Reader(kinds)
        if not self._stream.add(reader):
            return refuse(503, f"{MOST_READERS} listen already; close one", {"Retry-After": "10"})
        try:
            self._listeners[id(reader)] = request[WHO], reader
            await socket.prepare(request)
            await self._converse(socket, reader)
        finally:
            self._stream.remove(reader)
            del self._listeners[id(reader)]
        await self._close(socket, reader, request)
        return socket

    async def _converse(self, socket: web.WebSocketResponse, reader: Reader) -> None:
        """Until it leaves, or is let go."""
        tasks = [
            asyncio.ensure_future(part) for part in (_write(socket, reader), _read(socket, reader), reader.gone.wait())
        ]
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

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            for who, reader in list(self._listeners.values()):
                if not self._context.gate.still(who):
                    reader.let_go(Code.NO_LONGER, "the session or the token has ended")
            if self._stream.wants(Kind.HRM_METRICS):
                with suppress(StandsStillError):
                    metrics = await self._context.bridge.look(self._context.view.hrm_metrics)
                    self._stream.say(Kind.HRM_METRICS, Kind.HRM_METRICS, metrics)


async def _write(socket: web.WebSocketResponse, reader: Reader) -> None:
    with suppress(ConnectionError):
        while frames := await reader.frames():
            for frame in frames:
                await socket.send_frame(frame, WSMsgType.TEXT)


async def _read(socket: web.WebSocketResponse, reader: Reader) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return reader.let_go(Code.MISSPOKE, "expected text")
        try:
            wish = msgspec.json.decode(message.data, type=Subscription)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return reader.let_go(Code.MISSPOKE, 'expected {"subscribe": [KIND], "unsubscribe": [KIND]}, of known kinds')
        reader.kinds = (reader.kinds | set(wish.subscribe)) - set(wish.unsubscribe)
    return None
