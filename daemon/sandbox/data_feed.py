"""Quotes of the exchange → frames of ticks on every open data socket, for as long as each client keeps up.

Invariant: without faults a client gets every change of its topics once and in order; one that lets more than
`MAX_WAITING_BYTES` wait is cut off, never sent a stream with holes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from aiohttp import WSMsgType, web

from daemon.sandbox import hsm, messages
from daemon.sandbox.boards import Board
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.hsm import Fields, Topic
from daemon.sandbox.session import Session

PATH: Final = "/hsm/v1-5/prod"
DEFAULT_ACK_COUNT: Final = 50
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
MAX_FRAME_RECORDS: Final = 500


class FeedCounts(msgspec.Struct):
    """What all connections together saw since the start."""

    connections: int = 0
    frames: int = 0
    records: int = 0
    unreadable: int = 0
    overrun: int = 0


class Client:
    """One open socket, its session, and the frames that wait to be sent; `mute` keeps it open and says nothing more."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, session: Session) -> None:
        self.socket = socket
        self.session = session
        self.mute = False
        self.number = 0
        self._transport = transport
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self.sent_all = asyncio.Event()
        self.sent_all.set()

    def send(self, frame: bytes) -> bool:
        """Let a frame wait to be sent; False where too much waits already."""
        if self.mute:
            return True
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        self.sent_all.clear()
        self._wake.set()
        return self._waiting_bytes <= MAX_WAITING_BYTES

    def cut(self) -> None:
        """Break the connection off, without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Send what waits, for as long as the socket lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self.socket.closed:
                frame = self._waiting.popleft()
                self._waiting_bytes -= len(frame)
                if not self.mute:
                    await self.socket.send_bytes(frame)
            self.sent_all.set()


class DataFeed:
    """All data sockets."""

    def __init__(
        self, exchange: Exchange, directory: SymbolDirectory, gate: TokenGate, ack_count: int = DEFAULT_ACK_COUNT
    ) -> None:
        self.counts = FeedCounts()
        self._exchange = exchange
        self._directory = directory
        self._gate = gate
        self._ack_count = ack_count
        self._boards: dict[str, Board] = {}
        self._clients: list[Client] = []

    def publish(self) -> None:
        """Send what changed since the last call."""
        records: list[list[bytes]] = [[] for _ in self._clients]
        for item in self._exchange.take_prints():
            board = self._board(item.symbol)
            if board is None:
                continue
            board.on_quote(item.quote, item.ts)
            for client, waiting in zip(self._clients, records, strict=True):
                waiting += client.session.records(item.symbol)
        for client, waiting in zip(list(self._clients), records, strict=True):
            self._send(client, waiting)

    def cut(self) -> int:
        """Break every connection off, without a word; returns how many there were."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.cut()
        return len(clients)

    def expire(self) -> None:
        """The token ended: every client is told so and gets nothing more."""
        for client in self._clients:
            client.send(client.session.expire())

    def state(self) -> messages.Message:
        """What was sent, and what the connections that are open asked for."""
        sessions = [client.session for client in self._clients]
        topics = [{"topics": len(session.topics), "unknown": session.unknown, "acked": session.acked,
                   "pings": session.pings} for session in sessions]  # fmt: skip
        return {**msgspec.structs.asdict(self.counts), "open": topics}

    async def close(self) -> None:
        """End every connection in order."""
        for client in list(self._clients):
            await client.socket.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from handshake to end."""
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        session = Session(self._directory, self._show, self._gate.admits_key, self._ack_count)
        client = Client(socket, request.transport, session)
        self._clients.append(client)
        self.counts.connections += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(client.write())
                await self._listen(client)
                writer.cancel()
        except* ConnectionError:
            pass  # the other side went away while it was written to
        finally:
            if client in self._clients:
                self._clients.remove(client)
        return socket

    async def _listen(self, client: Client) -> None:
        async for message in client.socket:
            if client.mute:
                continue
            if message.type is WSMsgType.PING:
                await client.socket.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                self._answer(client, message.data)

    def _answer(self, client: Client, frame: bytes) -> None:
        self.publish()  # what is still on its way comes before the answer
        try:
            request = hsm.read(frame)
        except hsm.UnreadableError:
            self.counts.unreadable += 1
            return
        frames, records = client.session.answer(request)
        for answer in frames:
            client.send(answer)
        self._send(client, records)

    def _send(self, client: Client, records: Sequence[bytes]) -> None:
        for group in _frames(records):
            client.number += 1
            self.counts.frames += 1
            self.counts.records += len(group)
            if not client.send(hsm.ticks(client.number, group)):
                self.counts.overrun += 1
                client.cut()
                return

    def _board(self, symbol: str) -> Board | None:
        """The board of a symbol; None for a symbol that Fyers couldn't name."""
        board = self._boards.get(symbol)
        if board is None:
            listing = self._directory.find(symbol)
            if listing is None:
                return None
            board = self._boards[symbol] = Board(listing.precision)
        return board

    def _show(self, symbol: str, topic: Topic) -> Fields | None:
        board = self._boards.get(symbol)
        return board.fields(topic) if board is not None else None


def _frames(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Groups of records that fit into a frame each."""
    group: list[bytes] = []
    size = 0
    for record in records:
        if group and (size + len(record) > hsm.MAX_RECORD_BYTES or len(group) == MAX_FRAME_RECORDS):
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record)
    if group:
        yield group
