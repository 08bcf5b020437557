"""Everybody who looks at a daemon in `control_load.py`: readers of its stream, stalled ones, and visitors who ask."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle
from typing import cast

from benchmarks.stand_in import Piece
from daemon.core.clock import NS_PER_S, stopwatch_ns

ASKED = ("/status", "/positions", "/orders?limit=50", "/decisions?limit=50", "/health", "/trades", "/metrics")
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PONG = b"\x8a\x80\0\0\0\0"
"""Unasked for, it says that somebody is there (RFC 6455, 5.5.3)."""


class Kind(StrEnum):
    """Of a phase: whom everybody asks and hears."""

    IDLE = "idle"
    """Nobody."""
    ELSEWHERE = "elsewhere"
    """A stand-in that says what the daemon once said: what the machine is left with for decisions."""
    LOADED = "loaded"
    """The daemon."""


ORDER = (Kind.IDLE, Kind.ELSEWHERE, Kind.LOADED)


@dataclass
class Phase:
    """A stretch of the run in the market's time, and what was asked and heard in it."""

    kind: Kind
    begin_ts: int = 0
    end_ts: int = 0
    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    bytes: int = 0
    dropped: int = 0
    rss_mb: float = 0.0
    cpu_s: float = 0.0
    """Of the daemon, all threads."""
    own_s: float = 0.0
    """Of the process that plays everybody."""
    lost: int = 0
    """Readers that the daemon let go, by its own count."""
    took_ms: list[float] = field(default_factory=list)


class Recorder(asyncio.Protocol):
    """Hears a stream and keeps all of it, by when it came."""

    def __init__(self, hello: bytes) -> None:
        self._hello = hello
        self._begun_ns = 0
        self.pieces: list[Piece] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast(asyncio.Transport, transport).write(self._hello)

    def data_received(self, data: bytes) -> None:
        """Keep it, but for the answer to the handshake."""
        if not self._begun_ns:
            self._begun_ns = stopwatch_ns()
            data = data.partition(b"\r\n\r\n")[2]
        if data:
            self.pieces.append(Piece((stopwatch_ns() - self._begun_ns) / NS_PER_S, data))


class Reader(asyncio.Protocol):
    """Hears a stream and keeps nothing of it; a stalled one never reads."""

    def __init__(self, phase: Phase, hello: bytes, stalled: bool) -> None:
        self._phase, self._hello, self._stalled = phase, hello, stalled
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = link = cast(asyncio.Transport, transport)  # uvloop's is none by class
        link.write(self._hello)
        if self._stalled:
            link.pause_reading()
        else:
            self._alive()

    def data_received(self, data: bytes) -> None:
        """Count it."""
        self._phase.bytes += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go by the daemon, or the phase is over."""
        if self._transport is not None:
            self._phase.dropped += 1
        self.close()

    def close(self) -> None:
        """Leave."""
        transport, self._transport = self._transport, None
        if self._beat is not None:
            self._beat.cancel()
        if transport is not None:
            transport.abort()

    def _alive(self) -> None:
        if self._transport is not None:
            self._transport.write(PONG)
            self._beat = asyncio.get_running_loop().call_later(8.0, self._alive)


class Visitor:
    """One connection that asks, waits for the answer, and asks again at its pace."""

    def __init__(self, where: tuple[str, int], token: str) -> None:
        self._where = where
        self._head = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"

    async def ask(self, path: str) -> tuple[int, bytes, bytes]:
        """Status, head and body, over a connection of its own."""
        reader, writer = await asyncio.open_connection(*self._where)
        try:
            return await self._exchange(reader, writer, path)
        finally:
            writer.close()

    async def visit(self, phase: Phase, every_s: float, until_ns: int) -> None:
        """Ask until then."""
        reader, writer = await asyncio.open_connection(*self._where, limit=1 << 20)
        next_ns = stopwatch_ns()
        for path in cycle(ASKED):
            if next_ns >= until_ns:
                break
            await asyncio.sleep(max(0.0, (next_ns - stopwatch_ns()) / NS_PER_S))
            next_ns += int(every_s * NS_PER_S)
            begun = stopwatch_ns()
            phase.sent += 1
            status, _, _ = await self._exchange(reader, writer, path)
            phase.answered += status == 200
            phase.took_ms.append((stopwatch_ns() - begun) / 1e6)
            next_ns = max(next_ns, stopwatch_ns() - NS_PER_S)  # what the daemon is slow to answer isn't asked in a heap
        writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> tuple[int, bytes, bytes]:
        writer.write(f"GET {path} {self._head}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), head, await reader.readexactly(length)
