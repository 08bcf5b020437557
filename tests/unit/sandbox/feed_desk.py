"""Clients of a desk's data socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from daemon.sandbox.tokens import DEFAULT_HSM_KEY
from tests.unit.sandbox import hsm_client
from tests.unit.sandbox.desk import SBIN, TOKEN, Desk
from tests.unit.sandbox.hsm_client import Reader


class Client:
    """A connection to the data socket, and what it brought; frames that can't be read are kept in `broken`."""

    def __init__(self, desk: Desk, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.desk = desk
        self.socket = socket
        self.reader = Reader()
        self.frames: list[bytes] = []
        self.topics: dict[str, str] = {}

    async def next(self) -> bytes:
        """The next frame, not yet applied."""
        async with asyncio.timeout(10):
            frame = await self.socket.receive_bytes()
        self.frames.append(frame)
        return frame

    async def take(self, count: int = 1) -> None:
        """Apply so many frames."""
        for _ in range(count):
            self.reader.take(await self.next())

    async def ask(self, frame: bytes) -> tuple[int, dict[int, bytes]]:
        """Send a request; its answer, whatever ticks were on their way before it."""
        known = len(self.reader.answers)
        await self.socket.send_bytes(frame)
        while len(self.reader.answers) == known:
            await self.take()
        return self.reader.answers[-1]

    async def subscribe(self, *symbols: str) -> None:
        """Ask for symbols as the SDK does."""
        for symbol in symbols:
            self.topics[symbol] = await topic_of(self.desk, symbol)
        assert (await self.ask(hsm_client.topics(4, [self.topics[symbol] for symbol in symbols])))[1] == {1: b"K"}

    def price(self, symbol: str = SBIN) -> int:
        """The price that the client knows of a symbol."""
        return self.reader.shown[self.topics[symbol]][0]


async def topic_of(desk: Desk, symbol: str) -> str:
    """What the symbol service leads to."""
    url, headers = desk.server.symbol_tokens_url, {"Authorization": TOKEN}
    async with desk.http.post(url, json={"symbols": [symbol]}, headers=headers) as answer:
        return f"sf|nse_cm|{(await answer.json())['validSymbol'][symbol][10:]}"


@asynccontextmanager
async def client_of(desk: Desk, *symbols: str) -> AsyncIterator[Client]:
    """A client that showed its key and subscribed."""
    async with desk.http.ws_connect(desk.server.data_socket_url, autoping=False) as socket:
        client = Client(desk, socket)
        assert (await client.ask(hsm_client.auth(DEFAULT_HSM_KEY)))[1][1] == b"K"
        if symbols:
            await client.subscribe(*symbols)
        yield client
