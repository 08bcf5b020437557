"""Connections that are silent, slow, broken or too many, against a server on a free port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from daemon.control.connections import BACKLOG, LIMITS, Connections, Guarded, Limits, http_log, limits_within
from daemon.control.precedence import Precedence
from daemon.core.aside import Aside
from daemon.core.events import Halt
from tests.threads import Hung
from tests.unit.control.fakes import TOKEN, FakeDaemon, build_server

CAP = 4
FEW = Limits(connections=CAP)
HEAD = f"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
POST = (
    f"POST /control/halt HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Length: 20\r\n\r\n{{}}"
).encode()


async def until(look: Callable[[], object]) -> None:
    """Raises `TimeoutError`."""
    async with asyncio.timeout(20):
        while not look():  # noqa: ASYNC110 — what is waited for is the server's, which tells nobody
            await asyncio.sleep(0.001)


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, text: bytes) -> str:
        """Send; the status line and what came with it, "" where the connection is closed."""
        self.writer.write(text)
        try:
            await self.writer.drain()
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (ConnectionError, asyncio.IncompleteReadError):
            return ""

    async def closed(self) -> bool:
        """Wait for the other side to close."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass
        return True


class Port:
    """A server, its daemon, and everybody who calls."""

    def __init__(self, daemon: FakeDaemon, port: int) -> None:
        self.daemon = daemon
        self.callers: list[Caller] = []
        self._port = port

    async def call(self) -> Caller:
        """Another connection."""
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self._port))
        self.callers.append(caller)
        return caller

    def count(self, name: str) -> float:
        """A counter of the metrics."""
        text = self.daemon.metrics.render(self.daemon.shown).decode()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


@asynccontextmanager
async def serving(
    limits: Limits = FEW, precedence: Precedence | None = None, disk: Aside | None = None
) -> AsyncIterator[Port]:
    """A server within `limits`."""
    daemon = FakeDaemon()
    server = build_server(daemon, limits=limits, precedence=precedence, disk=disk)
    await server.start()
    port = Port(daemon, int(server.url.rpartition(":")[2]))
    async with asyncio.timeout(30):
        yield port
    for caller in port.callers:
        caller.writer.close()
    await server.stop()


async def test_silent_connections_do_not_keep_the_operator_out() -> None:
    """Three times as many as there is room for: the oldest of them go, and the right token is answered."""
    async with serving() as port:
        silent = [await port.call() for _ in range(3 * CAP)]
        assert (await (await port.call()).say(HEAD)).startswith("HTTP/1.1 200")
        for caller in silent[: 2 * CAP]:
            assert await caller.closed()
        assert port.count("hrmd_control_turned_out_total") == 2 * CAP + 1


async def test_who_showed_the_token_stays_while_strangers_come() -> None:
    """The oldest of all connections, and still there after the flood."""
    async with serving() as port:
        operator = await port.call()
        assert (await operator.say(HEAD)).startswith("HTTP/1.1 200")
        for _ in range(3 * CAP):
            stranger = await port.call()
            await stranger.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await operator.reader.read(65_536)  # the body of the first answer
        assert (await operator.say(HEAD)).startswith("HTTP/1.1 200")


async def test_where_everybody_showed_the_token_the_stillest_goes() -> None:
    """A forgotten dashboard doesn't keep the operator out, either."""
    async with serving() as port:
        known = [await port.call() for _ in range(CAP)]
        for caller in (known[1], known[2], known[3], known[0]):
            assert (await caller.say(HEAD)).startswith("HTTP/1.1 200")
        assert (await (await port.call()).say(HEAD)).startswith("HTTP/1.1 200")
        assert await known[1].closed()
        await known[0].reader.read(65_536)
        assert (await known[0].say(HEAD)).startswith("HTTP/1.1 200")


async def test_a_head_that_never_ends_is_not_waited_for() -> None:
    """Silence, half a head and an idle connection are closed after the same time."""
    async with serving(Limits(idle_s=0.05)) as port:
        silent, half, idle = [await port.call() for _ in range(3)]
        half.writer.write(HEAD[:20])
        assert (await idle.say(HEAD)).startswith("HTTP/1.1 200")
        for caller in (silent, half, idle):
            assert await caller.closed()


async def test_a_body_that_never_comes_is_no_command() -> None:
    """408, and nothing is halted."""
    async with serving(Limits(body_s=0.05)) as port:
        assert (await (await port.call()).say(POST)).startswith("HTTP/1.1 408")
        assert port.daemon.submitted == []


async def test_a_command_is_carried_out_though_whoever_gave_it_hung_up() -> None:
    """By the session of a page that was closed while the tokens were looked at, on a disk that takes its time."""
    disk = Hung()
    body = f'{{"token": "{TOKEN}"}}'
    login = f"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    async with serving(disk=Aside("control tokens", disk.thread)) as port:
        said = await (await port.call()).say(login.encode())
        cookie = said.partition("Set-Cookie: ")[2].partition(";")[0]
        signed = f"Cookie: {cookie}\r\nOrigin: http://localhost\r\nContent-Length: 2\r\n\r\n{{}}"
        page = await port.call()
        page.writer.write(f"POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{signed}".encode())
        page.writer.transport.abort()
        await until(lambda: any("halt" in one.what for one in port.daemon.noted))
        disk.goes_on.set()
        assert [type(one) for one in port.daemon.submitted] == [Halt]
        assert port.daemon.noted[-1].status == 202


async def test_who_hangs_up_within_a_body_gave_no_command() -> None:
    """And is no fault inside: no trace in the log."""
    with structlog.testing.capture_logs() as logs:
        async with serving() as port:
            caller = await port.call()
            caller.writer.write(POST)
            await caller.writer.drain()
            caller.writer.transport.abort()
            await until(lambda: any("halt" in one.what for one in port.daemon.noted))
            assert (port.daemon.submitted, port.daemon.noted[-1].status) == ([], 400)
    assert logs == []


@pytest.mark.parametrize(
    "text",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10_000 + b"\r\n\r\n"],
)  # fmt: skip
async def test_what_is_not_http_is_counted_and_not_logged(text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """400 and a metric: a log line each, with a trace, would fill the disk."""
    with structlog.testing.capture_logs() as logs:
        async with serving() as port:
            assert (await (await port.call()).say(text)).split()[1] == "400"
            assert port.count("hrmd_control_malformed_requests_total") == 1
    assert (logs, caplog.records) == ([], [])


async def test_a_body_that_is_not_what_was_announced() -> None:
    """Chunks that aren't any: 400 without a trace, and no command."""
    chunked = POST.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"
    with structlog.testing.capture_logs() as logs:
        async with serving() as port:
            assert (await (await port.call()).say(chunked)).split()[1] == "400"
            assert port.daemon.submitted == []
    assert [line for line in logs if line["log_level"] == "error"] == []


def test_what_fails_inside_is_not_taken_for_malformed() -> None:
    """A crash in aiohttp's own machinery reaches the log."""
    seen: list[str] = []
    log = http_log(lambda: seen.append("malformed"), lambda record: seen.append(record.getMessage()))
    log.error("Unhandled %s", "exception", exc_info=(ValueError, ValueError("x"), None))
    log.log(logging.DEBUG, "chatter")
    assert seen == ["Unhandled exception"]


class Line(asyncio.Transport):
    """A transport that remembers being aborted."""

    aborted = False

    def abort(self) -> None:
        """Remember."""
        self.aborted = True


class Heard(asyncio.Protocol):
    """What was handed on."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.heard.append(data)


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    """Only while it isn't read: one that is, in the end, keeps its connection."""
    slow, taken = Line(), Line()
    guard = Connections(lambda: None, Limits(unread_s=0))
    for line in (slow, taken):
        guarded = Guarded(guard, asyncio.Protocol())
        guarded.connection_made(line)
        guarded.pause_writing()
        if line is taken:
            guarded.resume_writing()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (slow.aborted, taken.aborted) == (True, False)


async def test_who_looks_lets_decisions_go_first_and_who_halts_does_not_wait() -> None:
    """Nor does a command behind a look, on the same connection: it takes the look along."""
    told: list[Callable[[], None]] = []
    owed = [True]
    halt = POST.replace(b"Length: 20", b"Length: 2").replace(b"{{}}", b"{}")
    async with serving(precedence=Precedence(lambda: owed[0], told.append, 600.0)) as port:
        looks, halts, both = [await port.call() for _ in range(3)]
        looking = asyncio.ensure_future(looks.say(HEAD))
        assert (await halts.say(halt)).startswith("HTTP/1.1 202")
        both.writer.write(HEAD)
        await both.writer.drain()
        await until(lambda: len(told))
        assert (await both.say(halt)).startswith("HTTP/1.1 200")
        together = await port.call()
        assert (await together.say(HEAD + halt)).startswith("HTTP/1.1 200")
        await until(lambda: len(port.daemon.submitted) == 3)
        assert not looking.done()
        owed[0] = False
        told[0]()
        assert (await looking).startswith("HTTP/1.1 200")


async def test_what_a_reader_says_lets_decisions_go_first() -> None:
    """Two hundred of them answer pings; of a connection that isn't a reader's, bytes that are no look go on."""
    told: list[Callable[[], None]] = []
    guard = Connections(lambda: None, precedence=Precedence(lambda: True, told.append, 600.0))
    reader, other = Heard(), Heard()
    for inner in (reader, other):
        guarded, line = Guarded(guard, inner), Line()
        guarded.connection_made(line)
        if inner is reader:
            guard.watch(line, lambda: None)
        guarded.data_received(b"\x8a\x80\0\0\0\0")
    assert (len(reader.heard), len(other.heard)) == (0, 1)
    told[0]()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (len(reader.heard), len(other.heard)) == (1, 1)


async def test_a_look_that_waits_is_forgotten_with_its_connection() -> None:
    """It left before the decisions were made; one that has said its last word is answered at once."""
    told: list[Callable[[], None]] = []
    guard = Connections(lambda: None, precedence=Precedence(lambda: True, told.append, 600.0))
    gone, last = Heard(), Heard()
    for inner in (gone, last):
        guarded = Guarded(guard, inner)
        guarded.connection_made(Line())
        guarded.data_received(HEAD)
        if inner is last:
            guarded.eof_received()
        else:
            guarded.connection_lost(None)
    told[0]()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (gone.heard, last.heard) == ([], [HEAD])


async def test_places_are_given_back() -> None:
    """By who hangs up, known or not; one who is gone can't be trusted afterwards."""
    guard = Connections(lambda: None)
    for known in (True, False):
        line = Line()
        guarded = Guarded(guard, asyncio.Protocol())
        guarded.connection_made(line)
        if known:
            guard.trust(line)
        assert len(guard) == 1
        guarded.connection_lost(None)
        guard.trust(line)
        guard.trust(None)
        assert len(guard) == 0


def test_one_batch_of_the_kernel_does_not_push_itself_out() -> None:
    """Whoever is accepted in one go gets to speak before the next batch needs its place."""
    assert LIMITS.connections > BACKLOG


@pytest.mark.parametrize(("files", "room"), [(8192, 256), (1024, 256), (256, 64), (2, 1)])
def test_connections_leave_files_for_the_market(files: int, room: int) -> None:
    """Where few files may be open, fewer connections are."""
    assert limits_within(files).connections == room
