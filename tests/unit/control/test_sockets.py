"""What goes out over `/stream`: whole frames of every size, to who reads, and little is kept for who doesn't."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import pytest
import structlog

from daemon.control.connections import LIMITS
from daemon.control.precedence import Precedence
from daemon.control.server import ControlServer
from daemon.control.sockets import MOST_UNSENT_BYTES, PACE_S
from daemon.control.stream import MOST_BEHIND, Kind, Lost
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


async def test_readers_hear_of_decisions_that_take_for_ever() -> None:
    """They wait a moment for what is being decided, and no longer."""
    daemon = FakeDaemon()
    server = build_server(daemon, precedence=Precedence(lambda: True, lambda call: None))
    await server.start()
    async with (
        aiohttp.ClientSession(server.url, headers=BEARER) as http,
        http.ws_connect("/stream?kinds=setting") as ws,
        asyncio.timeout(PATIENCE_S),
    ):
        await until(lambda: len(daemon.stream))
        for number in range(3):
            daemon.stream.say(Kind.SETTING, None, {"number": number})
            assert json.loads(await ws.receive_str())["number"] == number
    await server.stop()


@asynccontextmanager
async def deaf(daemon: FakeDaemon, server: ControlServer) -> AsyncIterator[None]:
    """One who listens to the stream and never reads."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((host, int(port)))
        one.sendall(HELLO.encode())
        await until(lambda: len(daemon.stream))
        yield


async def test_for_one_who_never_reads_little_is_kept(served: tuple[FakeDaemon, ControlServer]) -> None:
    """Beyond what the transport holds nothing is written any more; with too much that waits it is let go."""
    daemon, server = served
    async with deaf(daemon, server):
        (reader,) = daemon.stream._readers
        async with asyncio.timeout(PATIENCE_S):
            while len(reader) < 100:  # ten times as many as come between two pieces
                daemon.stream.say(Kind.DECISION, None, {"pad": "x" * MOST_UNSENT_BYTES})
                await asyncio.sleep(PACE_S / 10)
        for _ in range(MOST_BEHIND):
            daemon.stream.say(Kind.DECISION, None, {"pad": ""})
        await until(lambda: not len(daemon.stream))
        assert daemon.stream.counts().lost[Lost.BEHIND] == daemon.stream.dropped == 1


@pytest.mark.parametrize(("limit", "why"), [("unread_s", Lost.UNREAD), ("ping_s", Lost.SILENT)])
async def test_one_who_never_reads_is_counted_by_why_it_was_let_go(limit: str, why: Lost) -> None:
    """Nothing is taken of what is written, or, where little is, no ping is answered; both are in the metrics."""
    daemon = FakeDaemon()
    server = build_server(daemon, limits=msgspec.structs.replace(LIMITS, **{limit: 0.2}))
    await server.start()
    async with deaf(daemon, server):
        async with asyncio.timeout(PATIENCE_S):
            while len(daemon.stream):
                pad = "x" * MOST_UNSENT_BYTES if why is Lost.UNREAD else ""
                for _ in range(10):
                    daemon.stream.say(Kind.QUOTE, "S", {"pad": pad})
                    await asyncio.sleep(PACE_S / 5)
    counts = daemon.stream.counts()
    assert (counts.lost[why], daemon.stream.dropped, counts.readers) == (1, 1, 0)
    assert counts.conflated > 0
    async with aiohttp.ClientSession(server.url, headers=BEARER) as http:
        text = await (await http.get("/metrics")).text()
    assert f'hrmd_stream_dropped_total{{reason="{why.value}"}} 1.0' in text
    assert "hrmd_stream_readers 0.0" in text
    assert f"hrmd_stream_conflated_total {float(counts.conflated)}" in text
    assert f"hrmd_control_unread_total {float(why is Lost.UNREAD)}" in text
    await server.stop()


def masked(head: bytes, payload: bytes) -> bytes:
    """A client's frame: its first byte, then a short length, a mask of zeros, and what it masks."""
    assert len(payload) < 126
    return head + bytes((0x80 | len(payload),)) + b"\0\0\0\0" + payload


RNG = random.Random(7)
NONSENSE = {
    "bad UTF-8": (masked(b"\x81", b"\xff\xfe{"), 1007),
    "half a character": (masked(b"\x81", b'{"subscribe": ["\xe2\x82'), 1007),
    "too long": (b"\x81\xfe\x10\x01\0\0\0\0" + b" " * 4097, 1009),
    "too long to be meant": (b"\x81\xff\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009),
    "too long in parts": (masked(b"\x01", b" " * 100) + masked(b"\x00", b" " * 100) * 41, 1009),
    "a part of nothing": (masked(b"\x80", b"x"), 1002),
    "a reserved bit": (masked(b"\xc1", b"{}"), 1002),
    "a reserved kind": (masked(b"\x83", b"{}"), 1002),
    "a long ping": (b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128, 1002),
    "a ping in parts": (masked(b"\x09", b"x"), 1002),
    "a close of one byte": (masked(b"\x88", b"\x03"), 1002),
    "a close without a code": (masked(b"\x88", b"\x00\x01"), 1002),
    "binary": (masked(b"\x82", b"{}"), 1008),
    "no JSON": (masked(b"\x81", b"{"), 1008),
    "no object": (masked(b"\x81", b"[[]]"), 1008),
    "another field": (masked(b"\x81", b'{"subscribed": []}'), 1008),
    "an unknown kind": (masked(b"\x81", b'{"subscribe": ["secrets"]}'), 1008),
    "a number": (masked(b"\x81", b'{"subscribe": [1e400]}'), 1008),
    "a lone surrogate": (masked(b"\x81", b'{"subscribe": ["\\ud800"]}'), 1008),
    "deep": (masked(b"\x81", b"[" * 125), 1008),
}
"""Bytes after the handshake, and the code that they are let go with (RFC 6455, 7.4.1)."""


async def ended_with(url: str, raw: bytes, *, leave: bool = False) -> int | None:
    """The code of the close that comes for `raw`, None where the connection just ends; `leave`: nothing more comes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HELLO.encode())
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101"), answer
            writer.write(raw)
            if leave:
                writer.write_eof()
            while True:
                head, size = await reader.readexactly(2)
                payload = await reader.readexactly(size)
                if head == 0x88:
                    return int.from_bytes(payload[:2], "big")
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.close()


async def test_nonsense_on_a_web_socket_hurts_nobody(served: tuple[FakeDaemon, ControlServer]) -> None:
    """Each is let go with the code for it, none of random bytes does more, and who listens hears every frame."""
    daemon, server = served
    async with (
        aiohttp.ClientSession(server.url, headers=BEARER) as http,
        http.ws_connect("/stream?kinds=setting") as ws,
    ):
        codes = {name: await ended_with(server.url, raw) for name, (raw, _) in NONSENSE.items()}
        assert codes == {name: code for name, (_, code) in NONSENSE.items()}
        for _ in range(150):
            await ended_with(server.url, RNG.randbytes(RNG.randrange(1, 200)), leave=True)
        for raw, _ in NONSENSE.values():
            await ended_with(server.url, raw[: len(raw) // 2], leave=True)
        await until(lambda: len(daemon.stream) == 1)
        daemon.stream.say(Kind.SETTING, None, {"pad": "still"})
        async with asyncio.timeout(PATIENCE_S):
            assert json.loads(await ws.receive_str())["pad"] == "still"
        assert daemon.stream.dropped == 0
        assert (await http.get("/status")).status == 200
    assert daemon.submitted == []


async def test_one_who_leaves_before_it_listens_is_no_fault(served: tuple[FakeDaemon, ControlServer]) -> None:
    """Nobody is left to be answered, and nothing is logged as a failure of ours."""
    daemon, server = served
    host, port = server.url.removeprefix("http://").split(":")
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(HELLO.encode())
            writer.write_eof()
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
        await until(lambda: not len(daemon.stream))
    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_one_who_says_half_a_frame_and_no_more_is_not_waited_for() -> None:
    """Half-open: it sends no end and answers no ping, and its place is free again."""
    daemon = FakeDaemon()
    server = build_server(daemon, limits=msgspec.structs.replace(LIMITS, ping_s=0.2))
    await server.start()
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HELLO.encode() + masked(b"\x81", b'{"subscribe": []}')[:9])
    await reader.readuntil(b"\r\n\r\n")
    await until(lambda: daemon.stream.counts().lost[Lost.SILENT])
    await until(lambda: not len(daemon.stream))
    writer.close()
    await server.stop()
