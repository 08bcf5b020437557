"""News and quotes of the exchange → JSON messages on OpenAlgo's WebSocket, with the faults that pushes can suffer.

One socket serves both: `subscribe_orders` brings order updates, `subscribe` the quotes of named symbols. OpenAlgo
pushes no trades and no positions. Invariant: nobody who didn't show the key gets anything but errors.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from daemon.sandbox import messages
from daemon.sandbox.openalgo import order_update, quote_data, symbol_of
from daemon.sandbox.order_feed import OrderFeed, Subscriber
from daemon.sandbox.orders import Order

SOCKET_PATH: Final = "/ws"
BROKER: Final = "sandbox"


class _Listener(Subscriber):
    """One client: whether it was let in, and what it follows."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        super().__init__(socket, transport)
        self.admitted = False
        self.follows: dict[str, dict[str, Any]] = {}

    def say(self, message: messages.Message) -> None:
        """Queue a message."""
        self.waiting.put_nowait(messages.encode(message).decode())


class OpenAlgoSocket(OrderFeed):
    """All connections."""

    def publish(self) -> None:
        """Push what happened to orders since the last call; an ended key ends every connection."""
        for news in self._exchange.take_news():
            if isinstance(news, Order):
                self._push(messages.encode(order_update(news)).decode())
        if self._gate.expired:
            self.cut()

    def tell(self, symbol: str) -> None:
        """A quote changed."""
        quote = self._exchange.quotes[symbol]
        stamp = (quote.stamp_ns or self._exchange.now_ns) // 1_000_000
        for listener in self._subscribers:
            named = listener.follows.get(symbol) if isinstance(listener, _Listener) else None
            if named is not None and isinstance(listener, _Listener):
                data = {**quote_data(quote), "timestamp": stamp, "last_quantity": quote.last_quantity or 0}
                listener.say({"type": "market_data", **named, "mode": 2, "data": data})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from handshake to end."""
        socket = web.WebSocketResponse(autoclose=True)
        await socket.prepare(request)
        return await self.serve(_Listener(socket, request.transport))

    async def _listen(self, subscriber: Subscriber) -> None:
        assert isinstance(subscriber, _Listener)
        async for message in subscriber.socket:
            if message.type is WSMsgType.TEXT:
                self._hear(subscriber, message.data)

    def _hear(self, listener: _Listener, text: str) -> None:
        try:
            asked = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            return listener.say(_error("INVALID_JSON", "Invalid JSON message"))
        action = asked.get("action")
        if action == "authenticate":
            listener.admitted = self._gate.admits_token(str(asked.get("api_key", "")))
            if not listener.admitted:
                return listener.say(_error("AUTHENTICATION_ERROR", "Invalid API key"))
            return listener.say({"type": "auth", "status": "success", "message": "Authentication successful",
                                 "broker": BROKER, "user_id": "sandbox"})  # fmt: skip
        if not listener.admitted:
            return listener.say(_error("NOT_AUTHENTICATED", "You must authenticate first"))
        if action == "subscribe_orders":
            listener.subscribed = True
            return listener.say({"type": "subscribe_orders", "status": "success", "message": "Subscribed"})
        if action == "subscribe":
            return self._follow(listener, asked)
        return listener.say(_error("INVALID_ACTION", f"Invalid action: {action}"))

    def _follow(self, listener: _Listener, asked: dict[str, Any]) -> None:
        """Known symbols are followed; every one that has a quote is told at once."""
        wanted, told = asked.get("symbols"), []
        for row in wanted if isinstance(wanted, list) else []:
            symbol, named = symbol_of(row), {"symbol": row.get("symbol"), "exchange": row.get("exchange")}
            listener.follows[symbol] = named
            told.append({**named, "status": "success", "mode": "Quote", "broker": BROKER})
        listener.say({"type": "subscribe", "status": "success", "subscriptions": told, "broker": BROKER})
        for symbol in listener.follows:
            if symbol in self._exchange.quotes:
                self.tell(symbol)


def _error(code: str, message: str) -> messages.Message:
    return {"status": "error", "code": code, "message": message}
