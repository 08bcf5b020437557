"""What strangers try at the control port of a whole server: each is refused, none is carried out, and it goes on.

Raw bytes over real sockets, as attackers write them; commands that get through would be on the fake daemon's list.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import structlog

from daemon.control.connections import Limits
from daemon.control.gate import FAILURES_ALLOWED
from daemon.control.routes import ROUTES
from daemon.control.server import MAX_BODY_BYTES, ControlServer
from daemon.control.tokens import Scope, new_token
from daemon.core.clock import wall_ns
from daemon.core.errors import UsageError
from daemon.settings.run import ControlSettings, PublicSettings
from tests.unit.control.fakes import DECISIONS, TOKEN, FakeDaemon, build_server

FAST = Limits(connections=30, idle_s=3.0, body_s=0.5, unread_s=0.5, linger_s=0.1)
"""Whoever is to be answered is on the server's own loop: between connecting and speaking it may stand for a second."""
AUTH = f"Authorization: Bearer {TOKEN}"


class Port:
    """A server, and bytes for it."""

    def __init__(self, server: ControlServer, daemon: FakeDaemon, tokens: Path) -> None:
        self.server, self.daemon, self.tokens = server, daemon, tokens
        self.number = int(server.url.rpartition(":")[2])

    async def say(self, raw: bytes | str) -> tuple[int, bytes]:
        """The status that comes back and all that came with it; 0 where the connection is closed without a word."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(raw.encode() if isinstance(raw, str) else raw)
        try:
            answer = await asyncio.wait_for(_whole(reader), 30)
        except ConnectionError:
            answer = b""
        writer.close()
        return (int(answer.split()[1]) if answer.startswith(b"HTTP/1.") else 0), answer

    async def ask(self, method: str, path: str, *headers: str, body: str = "") -> tuple[int, bytes]:
        """One request, which ends its connection."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body.encode())}")
        return await self.say("\r\n".join([*lines, "", body]))

    async def lives(self) -> None:
        """It answers, and nothing that an attacker wanted was done."""
        assert (await self.ask("GET", "/status", AUTH))[0] == 200
        assert (self.daemon.submitted, self.daemon.tickets, self.daemon.cancelled) == ([], [], [])


async def _whole(reader: asyncio.StreamReader) -> bytes:
    """One answer, or what came before the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        return head + (await reader.readexactly(int(length[1])) if length is not None else await reader.read())
    except asyncio.IncompleteReadError as error:
        return error.partial


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    """A server with short limits."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    daemon = FakeDaemon()
    server = build_server(daemon, limits=FAST, tokens_file=tmp_path / "tokens")
    await server.start()
    yield Port(server, daemon, tmp_path / "tokens")
    await server.stop()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "header",
    ["X: y", "Authorization: Bearer wrong", f"Authorization: Basic {TOKEN}", f"Authorization: Bearer {TOKEN}x",
     f"Authorization: {TOKEN}", "Authorization: Bearer ", f"X-Authorization: Bearer {TOKEN}",
     f"Cookie: hrmd_session={TOKEN}", "Cookie: hrmd_session=a.b.c", f"Cookie: Authorization=Bearer {TOKEN}"],
)  # fmt: skip
async def test_no_route_opens_without_its_token(port: Port, header: str) -> None:
    """401 (then 429) at every route that the table doesn't leave open, by every method."""
    for route in ROUTES:
        if route.scope is not None:
            status, answer = await port.ask(route.method, route.path.replace("{", "").replace("}", ""), header)
            assert status in (401, 429), route.path
            assert b"SBIN" not in answer
    await port.lives()


async def test_a_token_that_has_ended_opens_nothing(port: Port) -> None:
    """By time, though it is in the file."""
    ended, _ = new_token(port.tokens, "anna", Scope.ADMIN, wall_ns() - 1, wall_ns() - 10)
    holds, _ = new_token(port.tokens, "bela", Scope.READ, wall_ns() + 10**12, wall_ns())
    assert (await port.ask("GET", "/status", f"Authorization: Bearer {ended}"))[0] == 401
    assert (await port.ask("GET", "/status", f"Authorization: Bearer {holds}"))[0] == 200
    assert (await port.ask("POST", "/control/flatten", f"Authorization: Bearer {holds}"))[0] == 403
    await port.lives()


async def test_guessing_is_cut_off_and_the_kill_switch_isnt(port: Port) -> None:
    """At any route and at the login; the lock says for how long, and the right token still halts."""
    codes = [
        (await port.ask("GET", "/status", f"Authorization: Bearer guess{n}"))[0] for n in range(FAILURES_ALLOWED + 3)
    ]
    assert codes == [401] * FAILURES_ALLOWED + [429] * 3
    status, answer = await port.ask("POST", "/api/auth/login", body='{"token": "' + TOKEN + '"}')
    assert (status, b"retry-after: 60" in answer.lower()) == (429, True)
    assert b"set-cookie" not in answer.lower()
    assert (await port.ask("GET", "/status", AUTH))[0] == 200
    assert (await port.ask("POST", "/control/halt", AUTH))[0] == 202


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Host: evil.example"], 403), (["Host: 127.0.0.1.evil.example"], 403), (["Host: localhost@evil.example"], 403),
        (["Host: localhost", "Host: evil.example"], 400), (["Host: 0.0.0.0"], 403), ([], 400),
        (["Host: localhost", "Origin: http://evil.example"], 403), (["Host: localhost", "Origin: null"], 403),
        (["Host: localhost", "Sec-Fetch-Site: cross-site"], 403),
        (["Host: hrmd.example"], 403),
    ],
)  # fmt: skip
async def test_other_hosts_and_pages(port: Port, headers: list[str], status: int) -> None:
    """With the right token, too."""
    lines = ["POST /control/flatten HTTP/1.1", *headers, AUTH, "Connection: close", "Content-Length: 0", "", ""]
    assert (await port.say("\r\n".join(lines)))[0] in (status, 403 if status == 400 else status)
    await port.lives()


@pytest.mark.parametrize(
    "raw",
    [
        # two lengths, two codings, a length and a coding: who counts how, hears another request in the body
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nContent-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\n"
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nContent-Length: +5\r\n\r\nhello",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nContent-Length: -1\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n{auth}\r\nContent-Length: 0\r\n\r\n",
        "POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{auth}\r\nX\x00: y\r\nContent-Length: 0\r\n\r\n",
        "POST /control/halt HTTP/9.9\r\nHost: localhost\r\n{auth}\r\n\r\n",
        "POST  /control/halt\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_smuggled_requests_are_not_carried_out(port: Port, raw: str) -> None:
    """What two readers could read in two ways is read in none."""
    status, _ = await port.say(raw.replace("{auth}", AUTH) + "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status in (0, 400, 505)
    await port.lives()


@pytest.mark.parametrize("nonsense", [b"\x01", b"\r", b"\x7f\x00"])
async def test_what_is_no_http_is_refused_as_all_else_is_and_not_repeated(port: Port, nonsense: bytes) -> None:
    """As a problem; a header that can't be read may hold a token, so nothing of it comes back."""
    raw = b"GET /status HTTP/1.1\r\nHost: localhost\r\n" + AUTH.encode() + nonsense + b"\r\n\r\n"
    status, answer = await port.say(raw)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status == 400
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body) == {
        "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "it can't be read as HTTP",
    }  # fmt: skip
    assert TOKEN.encode() not in answer


async def test_what_is_refused_is_counted(port: Port) -> None:
    """By status, whoever asked and whatever for; what is answered isn't."""
    for ask, header in (("/status", "X: y"), ("/status", AUTH), ("/nothing", AUTH), ("/orders?limit=x", AUTH)):
        await port.ask("GET", ask, header)
    await port.ask("GET", "/status", "X: y", "Origin: http://evil.example")
    _, text = await port.ask("GET", "/metrics", AUTH)
    counts = dict(re.findall(rb'hrmd_control_refused_total\{status="(\d+)"\} ([0-9.]+)', text))
    assert counts == {b"401": b"1.0", b"404": b"1.0", b"400": b"1.0", b"403": b"1.0"}


async def test_a_second_request_in_a_body_is_a_body(port: Port) -> None:
    """Nothing of it is carried out: it is 400, as a body that isn't JSON."""
    inner = f"POST /control/flatten HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\nContent-Length: 0\r\n\r\n"
    assert (await port.ask("POST", "/control/halt", AUTH, body=inner))[0] == 400
    await port.lives()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (
            f"POST /control/halt HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
            + "x" * (MAX_BODY_BYTES + 1),
            413,
        ),
        (f"PUT /api/config HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\nContent-Length: 999999999999\r\n\r\n", 408),
        (f"GET /{'x' * 100_000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'y' * 100_000}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: y\r\n" * 50_000 + "\r\n", 400),
    ],
)
async def test_too_much_is_too_much(port: Port, head: str, status: int) -> None:
    """Body, address, header, number of headers."""
    assert (await port.say(head))[0] in (status, 0)
    await port.lives()


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /status HTTP/1.1\r\nHost: loc", b"POST /control/halt HTTP/1.1\r\nHost: localhost\r\n" + AUTH.encode()
     + b"\r\nContent-Length: 30\r\n\r\n{",
     b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{"],
)  # fmt: skip
async def test_slow_loris_is_not_waited_for(port: Port, beginning: bytes) -> None:
    """More of them than there are places: each is ended by the server, and the right token gets in meanwhile."""
    links = [await asyncio.open_connection("127.0.0.1", port.number) for _ in range(2 * FAST.connections)]
    for _, writer in links:
        writer.write(beginning)
    await port.lives()
    for reader, writer in links:
        with pytest.raises((ConnectionError, EOFError)):
            async with asyncio.timeout(30):
                await reader.readexactly(100_000)
        writer.close()
    await port.lives()


async def test_sockets_that_stand_still_hold_nobody_up(tmp_path: Path) -> None:
    """Twenty that never read and fifty that do: every frame is written once, the readers get each of them."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    daemon = FakeDaemon()
    server = build_server(daemon, tokens_file=tmp_path / "tokens")
    await server.start()
    number, frames = int(server.url.rpartition(":")[2]), 2000
    stalled = []
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", number, limit=1024)
        writer.write(
            f"GET /stream?kinds=decision HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b"101" in await reader.readline()
        stalled.append(writer)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        sockets = [await session.ws_connect(f"{server.url}/stream?kinds=decision") for _ in range(50)]
        assert len(daemon.stream) == 70

        async def listen(socket: aiohttp.ClientWebSocketResponse) -> int:
            count = 0
            while count < frames:
                assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
                count += 1
            return count

        listeners = [asyncio.ensure_future(listen(socket)) for socket in sockets]
        for place in range(frames):
            daemon.stream.put(DECISIONS[place % 5])
            if place % 50 == 49:
                await asyncio.sleep(0.01)  # a publisher on the same loop has to let the others have a turn
        assert await asyncio.gather(*listeners) == [frames] * 50
        assert daemon.stream.published == frames
        assert (await session.get(f"{server.url}/status")).status == 200
    for writer in stalled:
        writer.close()
    await server.stop()
    structlog.reset_defaults()


# -- beyond loopback ------------------------------------------------------------------------------------------------


def certificate(directory: Path) -> dict[str, Any]:
    """A self-signed one, as PublicSettings take it."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=hrmd.example", "-addext",
         "subjectAltName=DNS:hrmd.example"], check=True, capture_output=True,
    )  # fmt: skip
    return {"tls_cert": cert, "tls_key": key}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "hrmd.example", ""])
def test_another_host_without_tls_is_no_setting(host: str) -> None:
    """The refusal names what would be right; a public one without its files isn't one, either."""
    with pytest.raises(ValueError, match=r"control\.public has a certificate"):
        ControlSettings(host=host)
    with pytest.raises(ValueError, match="tls_cert"):
        PublicSettings(host=host, port=1, names=["x"])  # type: ignore[call-arg]


async def test_the_public_door_speaks_tls_and_knows_its_names(tmp_path: Path) -> None:
    """Plain HTTP gets nothing; the token is needed as on loopback, and another's name is not answered."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    daemon = FakeDaemon()
    public = PublicSettings(host="127.0.0.1", port=0, names=["hrmd.example"], **certificate(tmp_path))
    server = build_server(daemon, tokens_file=tmp_path / "tokens", public=public)
    await server.start()
    assert len(server.addresses) == 2
    runner = server._runner
    assert runner is not None
    number = runner.addresses[1][1]
    trusted = ssl.create_default_context(cafile=str(public.tls_cert))

    async def ask(*headers: str, tls: bool = True) -> int:
        more = {"ssl": trusted, "server_hostname": "hrmd.example"} if tls else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", number, **more)
        writer.write("\r\n".join(["GET /status HTTP/1.1", *headers, "Connection: close", "", ""]).encode())
        try:
            line = await reader.readline()
        except ConnectionError:
            line = b""
        writer.close()
        return int(line.split()[1]) if line.startswith(b"HTTP") else 0

    assert await ask("Host: hrmd.example", AUTH) == 200
    assert await ask(f"Host: hrmd.example:{number}", AUTH, f"Origin: https://hrmd.example:{number}") == 200
    assert await ask("Host: hrmd.example", AUTH, "Origin: http://hrmd.example") == 403
    assert await ask("Host: evil.example", AUTH) == 403
    assert await ask("Host: hrmd.example") == 401
    assert await ask("Host: hrmd.example", AUTH, tls=False) == 0
    assert (await Port(server, daemon, tmp_path).ask("GET", "/status", AUTH))[0] == 200
    await server.stop()
    structlog.reset_defaults()


async def test_a_certificate_that_is_none_is_the_users_to_mend(tmp_path: Path) -> None:
    """One line; nothing listens."""
    (tmp_path / "x.pem").write_text("no certificate")
    public = PublicSettings(
        host="127.0.0.1", port=0, names=["x"], tls_cert=tmp_path / "x.pem", tls_key=tmp_path / "none.pem"
    )
    server = build_server(FakeDaemon(), public=public)
    with pytest.raises(UsageError, match=r"control\.public: .*expected a certificate and its key") as caught:
        await server.start()
    assert "\n" not in str(caught.value)
    await server.stop()


async def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    """Mode 0600, the token still needed; what a killed process left is no hindrance, a living one is."""
    path = tmp_path / "run" / "control.sock"
    daemon = FakeDaemon()
    server = build_server(daemon, socket=path)
    await server.start()
    assert path.stat().st_mode & 0o777 == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        assert (await session.get("http://localhost/status")).status == 401
        answer = await session.post("http://localhost/control/halt", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status == 202
    second = build_server(FakeDaemon(), socket=path)
    with pytest.raises(UsageError, match=r"control\.socket: .*somebody listens there"):
        await second.start()
    assert path.is_socket()
    await server.stop()
    assert not path.exists()
    left = await asyncio.start_unix_server(lambda *_: None, path)
    left.close()
    await left.wait_closed()
    third = build_server(FakeDaemon(), socket=path)
    await third.start()
    await third.stop()
    path.write_text("precious")
    with pytest.raises(UsageError, match="is there and is no socket"):
        await build_server(FakeDaemon(), socket=path).start()
    assert path.read_text() == "precious"  # a start that was refused takes nothing away
