"""Quotes of the exchange → frames of ticks on every open data socket, for as long as each client keeps up.

Invariant: without faults a client gets every change of its topics once and in order; one that lets too
much wait is cut off, never sent a stream with holes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from aiohttp import WSMsgType, web

from daemon.core.clock import NS_PER_S, Clock
from daemon.sandbox import hsm
from daemon.sandbox.boards import Boards
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import FaultKind, FaultPlan, Route
from daemon.sandbox.feed_client import Client, FeedCounts
from daemon.sandbox.frame_faults import spoil
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.hsm import Topic
from daemon.sandbox.messages import Message
from daemon.sandbox.session import Session

PATH: Final = "/hsm/v1-5/prod"
DEFAULT_ACK_COUNT: Final = 50
MAX_FRAME_RECORDS: Final = 500


class DataFeed:
    """All data sockets."""

    def __init__(
        self, exchange: Exchange, directory: SymbolDirectory, boards: Boards, plan: FaultPlan, gate: TokenGate,
        clock: Clock, ack_count: int = DEFAULT_ACK_COUNT,
    ) -> None:  # fmt: skip
        self.counts = FeedCounts()
        self.followers: list[Callable[[str], None]] = []
        """Are told of each symbol whose quote changed."""
        self._exchange = exchange
        self._directory = directory
        self._boards = boards
        self._plan = plan
        self._gate = gate
        self._clock = clock
        self._ack_count = ack_count
        self._clients: list[Client] = []
        self._sent: Counter[tuple[str, Topic]] = Counter()
        self._frozen: dict[str, int] = {}

    # -- what is told -------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Send what changed since the last call; after the token ended, that alone."""
        for item in self._exchange.take_prints():
            self._boards.on_print(item)
            self.tell(item.symbol)
            for follower in self.followers:
                follower(item.symbol)
        self.flush()
        if self._gate.expired:
            self._expire()

    def tell(self, symbol: str) -> None:
        """A symbol's board changed: let whoever follows it know, with the next `flush`."""
        followers = [client for client in self._clients if client.session.follows(symbol)]
        if not followers:
            return
        fault = self._plan.next(Route.TICK, (symbol,))
        if fault is not None and fault.kind is FaultKind.FREEZE:
            self._frozen[symbol] = self._clock.monotonic_ns() + int(fault.seconds * NS_PER_S)
        if self._is_frozen(symbol):
            return
        if fault is not None and fault.kind is FaultKind.WRONG_PRICE:
            self._boards.misread(symbol, fault.factor)
        for client in followers:
            client.pending += client.session.records(symbol)
        self._boards.misread(symbol, None)

    def flush(self, batch: int = MAX_FRAME_RECORDS) -> None:
        """Send what waits, at most `batch` records in a frame."""
        for client in list(self._clients):
            pending, client.pending = client.pending, []
            for records in _frames(pending, batch):
                self._send(client, records)

    async def drained(self) -> None:
        """Wait until everything is handed to the sockets."""
        for client in list(self._clients):
            await client.idle.wait()

    def thaw(self) -> None:
        """No symbol is frozen any more."""
        self._frozen.clear()

    def cut(self) -> int:
        """Break every connection off, without a word; returns how many there were."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.cut()
        return len(clients)

    def state(self) -> Message:
        """What was sent, and what the connections that are open asked for."""
        opened = [
            {"admitted": session.admitted, "topics": len(session.topics), "unknown": session.unknown,
             "acked": session.acked, "pings": session.pings}
            for session in (client.session for client in self._clients)
        ]  # fmt: skip
        return {**msgspec.structs.asdict(self.counts), "open": opened}

    def sent(self) -> Message:
        """How many records were sent so far, by symbol and kind of topic."""
        total = sum((client.session.sent for client in self._clients), self._sent)
        sent: dict[str, dict[str, int]] = {}
        for (symbol, kind), count in sorted(total.items()):
            sent.setdefault(symbol, {})[kind] = count
        return sent

    # -- one connection -----------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from handshake to end."""
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        session = Session(self._directory, self._boards, self._gate, self._plan, self._ack_count)
        client = Client(socket, request.transport, session, self.counts)
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
            client.forget()
            self._sent += session.sent
            if client in self._clients:
                self._clients.remove(client)
        return socket

    async def close(self) -> None:
        """End every connection in order."""
        for client in list(self._clients):
            await client.socket.close()

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
        if isinstance(request, hsm.Auth) and self._refuse(client):
            return
        answers, records = client.session.answer(request)
        for answer in answers:
            client.send(answer)
        client.pending += records
        self.flush()

    def _refuse(self, client: Client) -> bool:
        """Whether a fault befalls a key that was shown."""
        fault = self._plan.next(Route.AUTH)
        match fault.kind if fault is not None else None:
            case FaultKind.REJECT:
                client.send(hsm.answer_auth(granted=False))
            case FaultKind.MUTE:
                client.mute = True
            case FaultKind.CUT:
                client.cut()
        return fault is not None

    def _send(self, client: Client, records: Sequence[bytes]) -> None:
        """Send one frame, or what a fault makes of it."""
        client.number += 1
        self.counts.frames += 1
        self.counts.records += len(records)
        fault = self._plan.next(Route.FRAME)
        kind = fault.kind if fault is not None else None
        frame = spoil(kind, client.number, records)
        held, client.held = client.held, []
        match kind:
            case FaultKind.CUT:
                client.cut()
                return
            case FaultKind.MUTE:
                client.mute = True
                return
            case FaultKind.EXPIRE_TOKEN:
                self._gate.expire()
                self._expire()
                return
            case FaultKind.LOSE:
                frames = held
            case FaultKind.REORDER if not held:
                client.held, frames = [frame], []
            case FaultKind.DUPLICATE:
                frames = [frame, frame, *held]
            case _:
                frames = [frame, *held]
        for item in frames:
            if not client.send(item):
                self.counts.overrun += 1
                client.cut()
                return

    def _expire(self) -> None:
        for client in self._clients:
            if client.session.admitted:
                client.send(client.session.expire())

    def _is_frozen(self, symbol: str) -> bool:
        until_ns = self._frozen.get(symbol)
        if until_ns is not None and self._clock.monotonic_ns() >= until_ns:
            del self._frozen[symbol]
            return False
        return until_ns is not None


def _frames(records: Sequence[bytes], batch: int) -> Iterator[Sequence[bytes]]:
    """Groups of records that fit into a frame each."""
    start = size = 0
    for place, record in enumerate(records):
        if place > start and (size + len(record) > hsm.MAX_RECORD_BYTES or place - start == batch):
            yield records[start:place]
            start, size = place, 0
        size += len(record)
    if start < len(records):
        yield records[start:]
