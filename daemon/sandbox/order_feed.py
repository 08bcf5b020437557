"""News of the exchange → frames on every open order socket, repeated, reordered, lost or cut off by request.

Invariant: without faults every subscriber gets every push once, in the order in which things happened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from aiohttp import WSMsgType, web

from daemon.sandbox import messages
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.ledger import Trade
from daemon.sandbox.orders import News, Order

KEPT: Final = 100
"""Former pushes that an echo may bring again."""
ACKNOWLEDGED: Final = b'{"code":1605,"message":"Successfully subscribed","s":"ok"}'


class Subscriber:
    """One open socket and what waits to be sent on it; `mute` keeps it open and says nothing any more."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self.transport = transport
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.subscribed = False
        self.mute = False

    async def write(self) -> None:
        """Send what waits, for as long as the socket lives."""
        while True:
            frame = await self.waiting.get()
            if not self.mute and not self.socket.closed:
                await self.socket.send_str(frame)


class OrderFeed:
    """All order sockets."""

    def __init__(self, exchange: Exchange, plan: FaultPlan, gate: TokenGate) -> None:
        self.connections = 0
        self._exchange = exchange
        self._plan = plan
        self._gate = gate
        self._subscribers: list[Subscriber] = []
        self._held: str | None = None
        self._former: deque[str] = deque(maxlen=KEPT)

    def publish(self) -> None:
        """Push what happened since the last call."""
        for news in self._exchange.take_news():
            self._push(messages.encode(self._message(news)).decode())

    def cut(self) -> int:
        """Break every connection off, without a word; returns how many there were."""
        subscribers, self._subscribers = self._subscribers, []
        for subscriber in subscribers:
            if subscriber.transport is not None:
                subscriber.transport.abort()
        return len(subscribers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from handshake to end."""
        if not self._gate.admits(request.headers.get("authorization")):
            return web.Response(status=403, text="Forbidden")
        socket = web.WebSocketResponse(autoclose=True)
        await socket.prepare(request)
        return await self.serve(Subscriber(socket, request.transport))

    async def serve(self, subscriber: Subscriber) -> web.StreamResponse:
        """Write to and listen to an open socket until its end."""
        self._subscribers.append(subscriber)
        self.connections += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(subscriber.write())
                await self._listen(subscriber)
                writer.cancel()
        except* ConnectionError:
            pass  # the other side went away while it was written to
        finally:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
        return subscriber.socket

    async def close(self) -> None:
        """End every connection in order."""
        for subscriber in list(self._subscribers):
            await subscriber.socket.close()

    async def _listen(self, subscriber: Subscriber) -> None:
        async for message in subscriber.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if message.data == "ping":
                subscriber.waiting.put_nowait("pong")
            elif '"SUB_ORD"' in message.data:
                subscriber.subscribed = True
                subscriber.waiting.put_nowait(ACKNOWLEDGED.decode())

    def _message(self, news: News) -> messages.Message:
        if isinstance(news, Order):
            return messages.order_push(news)
        if isinstance(news, Trade):
            return messages.trade_push(news)
        return messages.position_push(news, self._exchange.quotes[news.symbol].last)

    def _push(self, frame: str) -> None:
        fault = self._plan.next(Route.PUSH)
        match fault.kind if fault is not None else None:
            case FaultKind.REORDER if self._held is None:
                self._held = frame
            case FaultKind.LOSE:
                pass
            case FaultKind.CUT:
                self.cut()
            case FaultKind.EXPIRE_TOKEN if fault is not None:
                self._gate.expire(fault.code)
                self.cut()
            case FaultKind.ECHO if fault is not None:
                former = list(self._former)[::-1][: fault.quantity]
                self._deliver([frame, *former])
            case FaultKind.MUTE:
                for subscriber in self._subscribers:
                    subscriber.mute = True
            case FaultKind.DUPLICATE:
                self._deliver([frame, frame])
            case _:
                self._deliver([frame])
        self._former.append(frame)

    def _deliver(self, frames: Sequence[str]) -> None:
        """Send frames, and after them the one that was held back."""
        held, self._held = self._held, None
        for frame in [*frames, *([held] if held is not None else [])]:
            for subscriber in self._subscribers:
                if subscriber.subscribed:
                    subscriber.waiting.put_nowait(frame)
