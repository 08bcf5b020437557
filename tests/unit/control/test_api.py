"""The routes beside those of the kill switch: pages, words, scopes, sessions, front ends, settings, web sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from daemon.control.openapi import document
from daemon.control.routes import ROUTES, Pace
from daemon.control.server import ControlServer
from daemon.control.sessions import COOKIE
from daemon.control.stream import Code
from daemon.control.tokens import Scope, new_token, revoke_token
from daemon.control.view import NotTradingError
from daemon.core.clock import wall_ns
from daemon.core.events import ControlAction
from tests.unit.control.fakes import BARS, DECISIONS, EQUITY, TOKEN, FakeDaemon, build_server
from tests.unit.control.test_stream import bar


class Caller:
    """A server on a free port, and somebody with a token of each scope."""

    def __init__(self, server: ControlServer, daemon: FakeDaemon, session: aiohttp.ClientSession, path: Path) -> None:
        self.server, self.daemon, self.session, self.path = server, daemon, session, path
        self.tokens = {scope: new_token(path, scope.value, scope, None, wall_ns())[0] for scope in Scope}
        self.headers: Any = None

    async def ask(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        """Status, and JSON or text; the headers of the answer are kept."""
        sent = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        async with self.session.request(method, self.server.url + path, headers=sent, data=raw) as answer:
            self.headers = answer.headers
            return answer.status, await (answer.json() if answer.content_type.endswith("json") else answer.text())

    async def log_in(self, token: str = TOKEN) -> dict[str, str]:
        """The headers of somebody with a session."""
        status, _ = await self.ask("POST", "/api/auth/login", {"token": token}, None)
        assert status == 200
        cookie = self.headers["Set-Cookie"].partition(";")[0]
        self.session.cookie_jar.clear()
        return {"Cookie": cookie}

    @property
    def origin(self) -> str:
        """Of our own page."""
        return self.server.url


@pytest_asyncio.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    """A started server over a fake daemon."""
    daemon = FakeDaemon()
    path = tmp_path / "tokens"
    server = build_server(daemon, tokens_file=path, writes_per_s=1000, heavy_per_minute=1000)
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield Caller(server, daemon, session, path)
    await server.stop()


# -- the document ---------------------------------------------------------------------------------------------------


def test_every_field_and_operation_is_said_in_words() -> None:
    """Each field of each schema, each parameter, each operation under its own id."""
    described = document("1")
    silent = [
        f"{name}.{field}"
        for name, schema in described["components"]["schemas"].items()
        for field, one in schema.get("properties", {}).items()
        if not one.get("description") and "$ref" not in one.get("anyOf", [{}])[0]
    ]
    assert silent == []
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(ROUTES)
    assert all(operation["description"] for operation in operations)
    assert all(one["description"] for operation in operations for one in operation.get("parameters", []))


def test_what_takes_risk_away_is_never_slowed_and_needs_no_admin() -> None:
    """Halt, reduce, flatten and cancel; what changes who decides needs one."""
    routes = {route.name: route for route in ROUTES}
    for name in ("halt", "reduce", "flatten", "cancel"):
        assert (routes[name].pace, routes[name].scope) == (Pace.FREE, Scope.TRADE)
    for name in ("strategy", "model", "rollback", "lock", "unlock", "changeConfig", "reload"):
        assert routes[name].scope is Scope.ADMIN
    assert {route.name for route in ROUTES if route.scope is None} == {"page", "healthOutline", "login", "exchangeCode"}
    assert all(
        route.scope is not Scope.READ
        for route in ROUTES
        if route.method != "GET" and route.name not in ("logout", "pageLink")
    )


def test_whoever_shows_a_secret_may_be_refused_for_it() -> None:
    """The login and the link's code: 401, and 429 where there were too many."""
    paths = document("1")["paths"]
    for path in ("/api/auth/login", "/api/auth/code"):
        assert {"401", "408", "413", "429"} <= set(paths[path]["post"]["responses"])
        assert not {"409", "422"} & set(paths[path]["post"]["responses"])


# -- pages ----------------------------------------------------------------------------------------------------------


async def test_pages_lead_to_each_other(caller: Caller) -> None:
    """By the Link header, as it stands; the last one has none."""
    path, shown = "/equity?limit=2", []
    while path:
        status, rows = await caller.ask("GET", path)
        assert status == 200
        shown += rows
        link = caller.headers.get("Link", "")
        assert link == "" or link.endswith('; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
    assert [row["equity"] for row in shown] == [f"{row.equity:f}" for row in EQUITY]
    assert all(row["time"].endswith("+05:30") for row in shown)


async def test_bars_trades_and_logs(caller: Caller) -> None:
    """Prices are exact text, a volume that isn't is null; logs are the newest, oldest first."""
    _, bars = await caller.ask("GET", "/bars?symbol=NSE:SBIN-EQ")
    assert [(row["interval"], row["close"], row["volume"]) for row in bars] == [
        ("5m", "348.5", 1000),
        ("1m", "348.5", None),
    ]
    assert (await caller.ask("GET", "/bars?symbol=NSE:TCS-EQ"))[1] == []
    _, trades = await caller.ask("GET", "/trades")
    assert (trades[0]["net_pnl"], trades[0]["direction"]) == ("3.90", "LONG")
    _, lines = await caller.ask("GET", "/logs?limit=2")
    assert [line["level"] for line in lines] == ["warning", "error"]
    _, lines = await caller.ask("GET", "/logs?level=error")
    assert lines == [{"timestamp": "2021-04-05T03:45:00.000000Z", "level": "error", "event": "bar closed",
                      "fields": {"symbol": "NSE:SBIN-EQ"}}]  # fmt: skip
    assert len(BARS) == 2


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/bars?interval=2m", "interval: expected one of 1m"), ("/bars?before=-1", "before: expected a whole number"),
        ("/orders?limit=0", "limit: expected a whole number from 1 to 1000"),
        ("/bars?limit=1&limit=2", "expected once"),
        ("/orders?who=me", "who: expected limit or before or symbol"), ("/logs?level=loud", "level: expected one of"),
        ("/trades?symbol=", "symbol: expected 1 to 50"), ("/trades?symbol=" + "x" * 51, "symbol: expected 1 to 50"),
    ],
)  # fmt: skip
async def test_parameters_that_can_not_be_meant(caller: Caller, path: str, says: str) -> None:
    """400, what was expected; no parameter is passed over in silence."""
    status, problem = await caller.ask("GET", path)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert says in problem["detail"]


async def test_decisions_carry_what_front_ends_show(caller: Caller) -> None:
    """In both forms."""
    _, rows = await caller.ask("GET", "/decisions?limit=1")
    assert {"h_module_confidence", "l_module_confidence", "adaptive_time_used"} <= rows[0].keys()
    _, rows = await caller.ask("GET", "/api/trading/decisions?limit=1")
    assert (rows[0]["action"], rows[0]["reasoning_depth"], rows[0]["market_complexity"]) == ("BUY_LONG", 3, 0.55)
    _, rows = await caller.ask("GET", "/api/trading/positions")
    assert rows == [
        {"symbol": "NSE:SBIN-EQ", "side": "SHORT", "quantity": 500, "entry_price": "348.20", "last_price": "347.15",
         "unrealised_pnl": "525.00", "realised_pnl": "-1613.04"}
    ]  # fmt: skip
    assert len(DECISIONS) == 5


# -- scopes, sessions and the journal -------------------------------------------------------------------------------


async def test_each_scope_reaches_as_far_as_the_table_says(caller: Caller) -> None:
    """403 and its reason beyond; below, anything but 401 and 403."""
    for route in ROUTES:
        if route.scope is None or route.stream or route.name == "logout":
            continue
        for scope, token in caller.tokens.items():
            status, problem = await caller.ask(route.method, route.path.replace("{job}", "x"), b"", token)
            if scope.includes(route.scope):
                assert status not in (401, 403), (route.path, scope)
            else:
                assert status == 403, (route.path, scope)
                assert f"expected a token with the scope {route.scope}" in problem["detail"]


async def test_who_did_what_is_in_the_journal(caller: Caller) -> None:
    """Each request that is no look, with its answer; looks and strangers aren't."""
    await caller.ask("POST", "/control/halt", None, caller.tokens[Scope.TRADE])
    await caller.ask("POST", "/control/order", b"{}", caller.tokens[Scope.TRADE])
    await caller.ask("GET", "/status", None, caller.tokens[Scope.READ])
    await caller.ask("POST", "/control/halt", None, caller.tokens[Scope.READ])
    await caller.ask("POST", "/control/halt", None, "wrong")
    await caller.ask("POST", "/control/halt")
    assert [(it.who, it.what, it.status) for it in caller.daemon.noted if isinstance(it, ControlAction)] == [
        ("trade", "POST /control/halt", 202), ("trade", "POST /control/order", 400),
        ("operator", "POST /control/halt", 202),
    ]  # fmt: skip


async def test_a_session_is_a_cookie_no_script_reads(caller: Caller) -> None:
    """HttpOnly, SameSite=Strict; it looks, and it commands where our own page asks."""
    status, said = await caller.ask("POST", "/api/auth/login", {"token": caller.tokens[Scope.TRADE]}, None)
    assert (status, said["name"], said["scope"]) == (200, "trade", "trade")
    cookie = caller.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert caller.tokens[Scope.TRADE] not in cookie
    caller.session.cookie_jar.clear()
    headers = {"Cookie": cookie.partition(";")[0]}
    assert (await caller.ask("GET", "/status", None, None, **headers))[0] == 200
    status, problem = await caller.ask("POST", "/control/halt", None, None, **headers)
    assert (status, problem["detail"].partition(":")[0]) == (403, "Origin")
    assert (await caller.ask("POST", "/control/halt", None, None, **headers, Origin="http://evil.example"))[0] == 403
    assert caller.daemon.submitted == []
    assert (await caller.ask("POST", "/control/halt", None, None, **headers, Origin=caller.origin))[0] == 202
    page = {"Sec-Fetch-Site": "same-origin"}
    assert (await caller.ask("POST", "/control/lock", None, None, **headers, **page))[0] == 403  # trade is no admin


async def test_two_daemons_of_one_host_share_a_browser(caller: Caller, tmp_path: Path) -> None:
    """A browser's jar knows hosts and no ports: who is signed in at both stays so, and leaves each by itself."""
    other = build_server(FakeDaemon(), tokens_file=tmp_path / "others")
    await other.start()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        for server in (caller.server, other):
            login = {"token": TOKEN}
            async with browser.post(f"{server.url}/api/auth/login", json=login) as answer:
                assert answer.status == 200

        async def seen() -> list[int]:
            return [(await browser.get(f"{server.url}/status")).status for server in (caller.server, other)]

        assert await seen() == [200, 200]
        async with browser.post(f"{other.url}/api/auth/logout", headers={"Origin": other.url}) as answer:
            assert answer.status == 200
        assert await seen() == [200, 401]
        async with browser.get(f"{caller.server.url}/openapi.json") as answer:
            said = (await answer.json())["components"]["securitySchemes"]["session"]
        assert said["name"] in {cookie.key for cookie in browser.cookie_jar}
    await other.stop()


async def test_a_session_ends_at_logout_and_with_its_token(caller: Caller) -> None:
    """The cookie is taken back, and a kept copy opens nothing."""
    headers = await caller.log_in(caller.tokens[Scope.READ])
    assert (await caller.ask("POST", "/api/auth/logout", None, None, **headers, Origin=caller.origin))[0] == 200
    assert f'{COOKIE}_{caller.origin.rpartition(":")[2]}=""' in caller.headers["Set-Cookie"]
    assert (await caller.ask("GET", "/status", None, None, **headers))[0] == 401
    headers = await caller.log_in(caller.tokens[Scope.TRADE])
    revoke_token(caller.path, "trade")
    assert (await caller.ask("GET", "/status", None, None, **headers))[0] == 401


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": ""}', b'{"token": 5}', b'{"token": "x", "user": "y"}'])
async def test_a_login_that_can_not_be_meant(caller: Caller, body: bytes) -> None:
    """400, and what was sent is not repeated."""
    status, problem = await caller.ask("POST", "/api/auth/login", body, None)
    assert (status, problem["detail"]) == (400, 'body: expected {"token": "…"}')


# -- asking twice ---------------------------------------------------------------------------------------------------


async def test_a_request_that_is_repeated_under_its_key_is_done_once(caller: Caller) -> None:
    """The same answer again, said to be so; under another's name or on another route it is another request."""
    key = {"Idempotency-Key": "one"}
    first = await caller.ask("POST", "/control/halt", {"reason": "lunch"}, **key)
    again = await caller.ask("POST", "/control/halt", {"reason": "lunch"}, **key)
    assert (first, caller.headers["Idempotency-Replayed"], len(caller.daemon.submitted)) == (again, "true", 1)
    status, problem = await caller.ask("POST", "/control/halt", {"reason": "tea"}, **key)
    assert (status, "another request" in problem["detail"]) == (422, True)
    await caller.ask("POST", "/control/resume", {"reason": "lunch"}, **key)
    await caller.ask("POST", "/control/halt", {"reason": "lunch"}, caller.tokens[Scope.TRADE], **key)
    assert len(caller.daemon.submitted) == 3
    assert (await caller.ask("POST", "/control/halt", None, **{"Idempotency-Key": "a b"}))[0] == 400


async def test_what_failed_may_be_asked_again_under_its_key(caller: Caller) -> None:
    """A 503 is nobody's answer."""
    caller.daemon.full = True
    assert (await caller.ask("POST", "/control/halt", None, **{"Idempotency-Key": "one"}))[0] == 503
    caller.daemon.full = False
    assert (await caller.ask("POST", "/control/halt", None, **{"Idempotency-Key": "one"}))[0] == 202


# -- front ends -----------------------------------------------------------------------------------------------------


async def test_a_manual_trade_is_an_order_by_hand(caller: Caller) -> None:
    """At the market or at a price; the request's key is the order's, so a repetition is safe over restarts, too."""
    body = {"symbol": "NSE:SBIN-EQ", "side": "BUY", "quantity": 10}
    status, said = await caller.ask("POST", "/api/trading/manual-trade", body, **{"Idempotency-Key": "k7"})
    assert (status, said["status"], said["order_id"], said["key"]) == (200, "approved", "H7", "k7")
    await caller.ask("POST", "/api/trading/manual-trade", body | {"side": "sell", "price": "820.05", "key": "k8"})
    _, said = await caller.ask("POST", "/api/trading/manual-trade", body | {"quantity": 1001})
    assert (said["status"], said["message"]) == ("denied", "denied by lot_size: 1001, limit a multiple of 75")
    tickets = caller.daemon.tickets
    assert [(it.key, it.side, it.type, it.price) for it in tickets[:2]] == [
        ("k7", "buy", "market", None), ("k8", "sell", "limit", "820.05"),
    ]  # fmt: skip
    assert len(tickets[2].key) == 16
    assert [it.reduce_only for it in tickets] == [False] * 3


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ({"action": "BUY_LONG", "quantity": 5}, ("buy", 5, False)),
        ({"action": "SELL_SHORT", "quantity": 5}, ("sell", 5, False)),
        ({"action": "CLOSE_SHORT"}, ("buy", 500, True)),
        ({"action": "CLOSE_SHORT", "quantity": 20}, ("buy", 20, True)),
        ({"action": "CLOSE_SHORT", "quantity": 900}, ("buy", 500, True)),
        ({"action": "CLOSE_LONG"}, None),
        ({"action": "HOLD", "quantity": 5}, None),
    ],
)
async def test_an_action_is_the_order_that_it_comes_to(
    caller: Caller, body: dict[str, Any], order: tuple[str, int, bool] | None
) -> None:
    """500 are held short; what closes closes no more than that, and risk is told so."""
    status, said = await caller.ask("POST", "/api/trading/execute", {"symbol": "NSE:SBIN-EQ", **body})
    assert status == 200
    placed = [(it.side.value, it.quantity, it.reduce_only) for it in caller.daemon.tickets]
    assert placed == ([order] if order else [])
    assert said["status"] == ("approved" if order else "nothing")


async def test_an_entry_needs_a_quantity(caller: Caller) -> None:
    """400; nothing is placed, and a quantity that stands twice is none."""
    status, problem = await caller.ask("POST", "/api/trading/execute", {"symbol": "X", "action": "BUY_LONG"})
    assert (status, problem["detail"]) == (400, "quantity: expected with BUY_LONG")
    raw = b'{"symbol": "X", "action": "BUY_LONG", "quantity": 1, "quantity": 100}'
    assert (await caller.ask("POST", "/api/trading/execute", raw))[0] == 400
    assert caller.daemon.tickets == []


async def test_settings_are_shown_and_changed(caller: Caller) -> None:
    """What may change, from what to what; what may not is 400, what is not taken 503."""
    _, said = await caller.ask("GET", "/api/config")
    assert said["changeable"][0]["file"] == "20000"
    change = {"changes": {"risk.max_daily_loss": "5000"}, "reason": "a bad day"}
    status, said = await caller.ask("PUT", "/api/config", change)
    assert (status, said["changeable"][0]["value"]) == (200, "5000")
    assert (await caller.ask("PUT", "/api/config", {"changes": {"feed.speed": 2}}))[0] == 400
    assert (await caller.ask("PUT", "/api/config", {"changes": {}}))[0] == 400
    assert (await caller.ask("POST", "/control/reload"))[1]["changeable"][0]["value"] == "20000"
    caller.daemon.trouble = NotTradingError("disk full")
    status, problem = await caller.ask("PUT", "/api/config", change)
    assert (status, problem["type"]) == (503, "urn:hrmd:not-taken")


async def test_too_many_requests_of_one_are_told_to_wait(tmp_path: Path) -> None:
    """429 with Retry-After; another's go, and a halt goes always."""
    daemon = FakeDaemon()
    server = build_server(daemon, tokens_file=tmp_path / "tokens", writes_per_s=0.2, heavy_per_minute=1)
    await server.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(server, daemon, session, tmp_path / "tokens")
        answers = [await caller.ask("POST", "/control/resume") for _ in range(3)]
        codes = [status for status, _ in answers]
        assert (codes, caller.headers["Retry-After"]) == ([202, 202, 429], "5")
        assert answers[-1][1]["detail"].endswith("; give it again in 5 s")
        assert (await caller.ask("POST", "/control/halt"))[0] == 202
        assert (await caller.ask("POST", "/control/resume", None, caller.tokens[Scope.TRADE]))[0] == 202
        codes = [(await caller.ask("POST", "/control/model", {"model": "a"}))[0] for _ in range(2)]
        assert codes == [200, 429]
    await server.stop()


# -- web sockets ----------------------------------------------------------------------------------------------------


async def test_a_socket_hears_what_it_asked_for(caller: Caller) -> None:
    """By address or by a word; what it doesn't want any more doesn't come."""
    headers = {"Authorization": f"Bearer {caller.tokens[Scope.READ]}"}
    async with caller.session.ws_connect(f"{caller.server.url}/stream?kinds=decision", headers=headers) as socket:
        await asyncio.sleep(0)
        caller.daemon.stream.put(bar(1))
        caller.daemon.stream.put(DECISIONS[0])
        assert (await socket.receive_json())["type"] == "decision"
        await socket.send_json({"subscribe": ["bar"], "unsubscribe": ["decision"]})
        frame: dict[str, Any] = {}
        for number in range(10_000):  # until the word has arrived
            caller.daemon.stream.put(bar(number))
            try:
                frame = await asyncio.wait_for(socket.receive_json(), 0.01)
                break
            except TimeoutError:
                continue
        assert frame["type"] == "bar"


async def test_front_ends_sockets(caller: Caller) -> None:
    """Trading: decisions and the model's figures, without asking; live data: quotes and bars."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with caller.session.ws_connect(f"{caller.server.url}/ws/trading", headers=headers) as socket:
        caller.daemon.stream.put(bar(1))
        caller.daemon.stream.put(DECISIONS[0])
        frames = [await socket.receive_json(), await socket.receive_json()]
    assert [frame["type"] for frame in frames] == ["decision", "hrm_metrics"]
    assert frames[1]["reasoning_depth"] == 3.0
    assert {"efficiency", "convergence_stability", "latency_ms", "memory_mb", "complexity"} <= frames[1].keys()
    async with caller.session.ws_connect(f"{caller.server.url}/ws/live-data/anna", headers=headers) as socket:
        caller.daemon.stream.put(DECISIONS[0])
        caller.daemon.stream.put(bar(1))
        assert (await socket.receive_json())["type"] == "bar"


@pytest.mark.parametrize("said", ["[]", "{", '{"subscribe": ["secrets"]}', '{"x": 1}', b"bytes"])
async def test_what_a_socket_may_not_say(caller: Caller, said: str | bytes) -> None:
    """It is closed with 1008 and what was expected."""
    async with caller.session.ws_connect(
        f"{caller.server.url}/stream", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as socket:
        await (socket.send_str(said) if isinstance(said, str) else socket.send_bytes(said))
        message = await socket.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, Code.MISSPOKE)
    assert "expected" in message.extra


async def test_a_socket_ends_with_its_token(caller: Caller) -> None:
    """4401, within the next look."""
    async with caller.session.ws_connect(
        f"{caller.server.url}/stream?kinds=bar", headers={"Authorization": f"Bearer {caller.tokens[Scope.READ]}"}
    ) as socket:
        revoke_token(caller.path, "read")
        message = await socket.receive()
    assert (message.data, message.extra) == (Code.NO_LONGER, "the session or the token has ended")


async def test_sockets_are_refused_as_requests_are(caller: Caller) -> None:
    """No token, a foreign page, no socket at all, kinds that there aren't."""
    for headers, code in (
        ({}, 401), ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}, 403),
        (await caller.log_in(), 403),
    ):  # fmt: skip
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await caller.session.ws_connect(f"{caller.server.url}/stream", headers=headers)
        assert refused.value.status == code
    assert (await caller.ask("GET", "/stream"))[0] == 400
    assert (await caller.ask("GET", "/stream?kinds=bar,secrets"))[0] == 400


async def test_a_session_listens_from_our_own_page(caller: Caller) -> None:
    """The cookie, and the origin that browsers send with a socket."""
    headers = await caller.log_in(caller.tokens[Scope.READ]) | {"Origin": caller.origin}
    async with caller.session.ws_connect(f"{caller.server.url}/stream?kinds=bar", headers=headers) as socket:
        caller.daemon.stream.put(bar(1))
        assert (await socket.receive_json())["type"] == "bar"
