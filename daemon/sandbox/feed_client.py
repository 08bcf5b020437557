"""Frames for one client of the data socket → its connection, as fast as it takes them.

Invariant: what waits is sent in order, and bounded: `send` says when more than `MAX_WAITING_BYTES` wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import msgspec
from aiohttp import web

from daemon.sandbox.session import Session

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024


class FeedCounts(msgspec.Struct):
    """What all connections together saw since the start."""

    connections: int = 0
    frames: int = 0
    written: int = 0
    records: int = 0
    unreadable: int = 0
    overrun: int = 0


class Client:
    """One open socket, its session, and what waits to be sent; `mute` keeps it open and says nothing more."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, session: Session, counts: FeedCounts
    ) -> None:
        self.socket = socket
        self.session = session
        self.mute = False
        self.number = 0
        self.pending: list[bytes] = []
        self.held: list[bytes] = []
        self.idle = asyncio.Event()
        self.idle.set()
        self._transport = transport
        self._counts = counts
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()

    def send(self, frame: bytes) -> bool:
        """Let a frame wait to be sent; False where too much waits already."""
        if self.mute:
            return True
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        self.idle.clear()
        self._wake.set()
        return self._waiting_bytes <= MAX_WAITING_BYTES

    def forget(self) -> None:
        """What waits is not sent."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.idle.set()

    def cut(self) -> None:
        """Break the connection off, without a word."""
        self.forget()
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Send what waits, for as long as the socket lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self.mute:
                frame = self._waiting.popleft()
                self._waiting_bytes -= len(frame)
                await self.socket.send_bytes(frame)
                self._counts.written += 1
            self.idle.set()
