"""Links that open the page signed in: what they open, once, and what tries them from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from daemon.control.gate import FAILURES_ALLOWED
from daemon.control.server import ControlServer
from daemon.control.tokens import Scope, new_token, revoke_token
from daemon.core.clock import wall_ns
from tests.unit.control.fakes import TOKEN, FakeDaemon, build_server


class Visitor:
    """Somebody with a browser, whose cookies are not kept."""

    def __init__(self, server: ControlServer, daemon: FakeDaemon, session: aiohttp.ClientSession, tokens: Path) -> None:
        self.server, self.daemon, self._session, self.tokens = server, daemon, session, tokens
        self.cookie = ""

    async def post(self, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str]]:
        """(status, answer); the cookie that came with it is in `cookie`."""
        async with self._session.post(self.server.url + path, json=body, headers=headers) as answer:
            self._session.cookie_jar.clear()
            self.cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
            return answer.status, await answer.json()

    async def status(self, **headers: str) -> int:
        """Of a look."""
        async with self._session.get(self.server.url + "/status", headers=headers) as answer:
            return answer.status

    async def link(self, token: str = TOKEN) -> str:
        """A fresh one's code, for the holder of a token."""
        status, said = await self.post("/api/auth/link", {}, Authorization=f"Bearer {token}")
        assert status == 201
        address, _, code = said["link"].partition("/#code=")
        assert address == self.server.url
        return code


@pytest_asyncio.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    """At a started server over a fake daemon."""
    daemon = FakeDaemon()
    server = build_server(daemon, tokens_file=tmp_path / "tokens")
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield Visitor(server, daemon, session, tmp_path / "tokens")
    await server.stop()


async def test_a_link_opens_a_session_once(visitor: Visitor) -> None:
    """The cookie looks and commands; the code opens nothing more, and the token was nowhere."""
    code = await visitor.link()
    assert TOKEN not in code
    status, said = await visitor.post("/api/auth/code", {"code": code})
    assert (status, said["name"], said["scope"]) == (200, "operator", "admin")
    cookie = visitor.cookie
    assert await visitor.status(Cookie=cookie) == 200
    assert (await visitor.post("/control/halt", {}, Cookie=cookie, Origin=visitor.server.url))[0] == 202
    assert (await visitor.post("/api/auth/code", {"code": code}))[0] == 401
    assert visitor.cookie == ""
    assert ("operator", "POST /api/auth/link") in [(it.who, it.what) for it in visitor.daemon.noted]
    assert ("operator", "login by link") in [(it.who, it.what) for it in visitor.daemon.noted]


async def test_the_link_that_run_prints_is_the_operators(visitor: Visitor) -> None:
    """It needs no request."""
    code = visitor.server.owners_link().link.partition("#code=")[2]
    assert (await visitor.post("/api/auth/code", {"code": code}))[1]["name"] == "operator"


async def test_a_link_gives_no_more_than_its_token(visitor: Visitor) -> None:
    """A reader's session reads, and ends with the token; a link outlives no token either."""
    token, _ = new_token(visitor.tokens, "anna", Scope.READ, None, wall_ns())
    first, second = await visitor.link(token), await visitor.link(token)
    await visitor.post("/api/auth/code", {"code": first})
    cookie = visitor.cookie
    assert await visitor.status(Cookie=cookie) == 200
    assert (await visitor.post("/control/halt", {}, Cookie=cookie, Origin=visitor.server.url))[0] == 403
    revoke_token(visitor.tokens, "anna")
    assert await visitor.status(Cookie=cookie) == 401
    assert (await visitor.post("/api/auth/code", {"code": second}))[0] == 401


async def test_a_session_makes_no_other_session(visitor: Visitor) -> None:
    """Else it would never have to end."""
    await visitor.post("/api/auth/code", {"code": await visitor.link()})
    cookie = visitor.cookie
    status, said = await visitor.post("/api/auth/link", {}, Cookie=cookie, Origin=visitor.server.url)
    assert (status, "link" in said) == (403, False)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}],
)
async def test_another_page_spends_no_code(visitor: Visitor, headers: dict[str, str]) -> None:
    """It is refused before the code is looked at, which opens the page afterwards."""
    code = await visitor.link()
    status, _ = await visitor.post("/api/auth/code", {"code": code}, **headers)
    assert (status, visitor.cookie) == (403, "")
    assert (await visitor.post("/api/auth/code", {"code": code}, Origin=visitor.server.url))[0] == 200


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": 5}, {"code": "x" * 101}, {"code": "x", "token": "y"}, []])
async def test_a_code_that_can_not_be_meant(visitor: Visitor, body: object) -> None:
    """400, and what was sent is not repeated."""
    status, said = await visitor.post("/api/auth/code", body)
    assert (status, said["detail"]) == (400, 'body: expected {"code": "…"}')


async def test_guessing_codes_locks_the_address(visitor: Visitor) -> None:
    """As guessing tokens does; meanwhile a right one opens nothing, and the token still does."""
    code = await visitor.link()
    codes = [(await visitor.post("/api/auth/code", {"code": f"guess{n}"}))[0] for n in range(FAILURES_ALLOWED + 1)]
    assert codes == [401] * FAILURES_ALLOWED + [429]
    assert (await visitor.post("/api/auth/code", {"code": code}))[0] == 429
    assert await visitor.status(Authorization=f"Bearer {TOKEN}") == 200


async def test_nobody_gets_a_link_without_a_token(visitor: Visitor) -> None:
    """401."""
    assert (await visitor.post("/api/auth/link", {}))[0] == 401


async def test_a_link_is_for_the_machine_of_the_daemon(tmp_path: Path) -> None:
    """What doesn't come over loopback, such as a socket that is led elsewhere, spends no code."""
    path = tmp_path / "hrmd.sock"
    server = build_server(FakeDaemon(), tokens_file=tmp_path / "tokens", socket=path)
    await server.start()
    code = server.owners_link().link.partition("#code=")[2]
    far = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))
    async with far, far.post("http://localhost/api/auth/code", json={"code": code}) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)
    async with aiohttp.ClientSession() as near, near.post(f"{server.url}/api/auth/code", json={"code": code}) as answer:
        assert answer.status == 200
    await server.stop()
