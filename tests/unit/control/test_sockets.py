"""What goes out over `/stream`: whole frames of every size, to who reads, and little is kept for who doesn't."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec
import pytest

from daemon.control.connections import LIMITS
from daemon.control.server import ControlServer
from daemon.control.sockets import MOST_UNSENT_BYTES, PACE_S
from daemon.control.stream import MOST_BEHIND, Kind
from tests.unit.control.fakes import TOKEN, FakeDaemon, build_server

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATIENCE_S = 20.0
HELLO = (
    f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeDaemon, ControlServer]]:
    """A server whose unread answers wait for long: what bounds them here is the stream's own."""
    daemon = FakeDaemon()
    server = build_server(daemon, limits=msgspec.structs.replace(LIMITS, unread_s=600.0))
    await server.start()
    yield daemon, server
    await server.stop()


async def until(look: Callable[[], object]) -> None:
    """Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110 — what is waited for is the server's, which tells nobody
            await asyncio.sleep(0.01)


async def test_frames_of_every_size_arrive_whole_and_in_order(served: tuple[FakeDaemon, ControlServer]) -> None:
    """Around each change of the head's form (RFC 6455, 5.2), and several in one piece; then the close has its code."""
    daemon, server = served
    sizes = [1, *range(85, 100), *range(85, 100), *range(65_495, 65_510), 300_000]  # with heads from 32 to 34 bytes
    async with (
        aiohttp.ClientSession(server.url, headers=BEARER) as http,
        http.ws_connect("/stream?kinds=setting") as ws,
    ):
        await until(lambda: len(daemon.stream))
        for size in sizes:
            daemon.stream.say(Kind.SETTING, None, {"pad": "x" * size})
        async with asyncio.timeout(PATIENCE_S):
            heard = [json.loads(await ws.receive_str()) for _ in sizes]
        assert [len(frame["pad"]) for frame in heard] == sizes
        assert [frame["n"] for frame in heard] == list(range(1, len(sizes) + 1))
        daemon.stream.let_everybody_go()
        await ws.receive()
        assert ws.close_code == 1001


async def test_for_one_who_never_reads_little_is_kept(served: tuple[FakeDaemon, ControlServer]) -> None:
    """Beyond what the transport holds nothing is written any more; with too much that waits it is let go."""
    daemon, server = served
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(HELLO.encode())
        await until(lambda: len(daemon.stream))
        (reader,) = daemon.stream._readers
        async with asyncio.timeout(PATIENCE_S):
            while len(reader) < 100:  # ten times as many as come between two pieces
                daemon.stream.say(Kind.DECISION, None, {"pad": "x" * MOST_UNSENT_BYTES})
                await asyncio.sleep(PACE_S / 10)
        for _ in range(MOST_BEHIND):
            daemon.stream.say(Kind.DECISION, None, {"pad": ""})
        await until(lambda: not len(daemon.stream))
        assert daemon.stream.dropped == 1
