"""A server that answers as a daemon once did, and nothing else: what the load's own clients cost, without the daemon.

    python benchmarks/stand_in.py RECORDING.json

`RECORDING.json` is a `Recording`. Prints its port. Frames go to everybody who asked for `/stream`, at the pace at which
they were heard, again and again; who doesn't read is let go after `UNREAD_S`, as the daemon does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import msgspec
import uvloop

UNREAD_S = 5.0
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""The answer to the key of RFC 6455, 1.3."""


class Piece(msgspec.Struct, frozen=True):
    """Frames that came together, so long after the recording began."""

    at_s: float
    frames: bytes


class Recording(msgspec.Struct, frozen=True):
    """What a daemon said: its answers, head and body, by path, and what a reader of its stream heard."""

    answers: dict[str, bytes]
    seconds: float
    pieces: list[Piece]


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, recording: Recording, readers: set[Answering]) -> None:
        self._recording, self._readers = recording, readers
        self._transport: asyncio.Transport | None = None
        self._asked = b""
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        """Answer each request; what a reader says is passed over."""
        if self in self._readers or self._transport is None:
            return
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path == "/stream":
                self._readers.add(self)
            self._transport.write(self._recording.answers.get(path, SWITCHED))

    def say(self, frames: bytes) -> None:
        """Unless it doesn't read."""
        if self._transport is not None and self._unread is None:
            self._transport.write(frames)

    def pause_writing(self) -> None:
        """It doesn't read."""
        if self._transport is not None:
            self._unread = asyncio.get_running_loop().call_later(UNREAD_S, self._transport.abort)

    def resume_writing(self) -> None:
        """It does, after all."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self.resume_writing()
        self._readers.discard(self)


async def serve(recording: Recording) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()
    readers: set[Answering] = set()
    server = await loop.create_server(lambda: Answering(recording, readers), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    begun = loop.time()
    while True:
        for piece in recording.pieces:
            await asyncio.sleep(max(0.0, begun + piece.at_s - loop.time()))
            for reader in list(readers):
                reader.say(piece.frames)
        begun += recording.seconds
        await asyncio.sleep(max(0.0, begun - loop.time()))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Recording)))
