from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from daemon.control.answers import KEEP_S
from daemon.control.gate import FAILURES_ALLOWED
from daemon.control.openapi import COMMANDS, document
from daemon.control.page import content_security_policy, page
from daemon.control.server import MAX_BODY_BYTES, ControlServer
from daemon.control.view import AN_OPERATOR, MAX_REASON_CHARS, KeyTakenError, NotDurableError, NotTradingError
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import Fault, InboxFull, UsageError
from daemon.core.events import Flatten, Halt, LockStrategy, Reduce, Resume, SwapStrategy
from daemon.supervision.health import bad, doubtful
from tests.unit.control.fakes import NOW, ORDERS, POSITIONS, TIME, TOKEN, FakeDaemon, build_server

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


class Running:
    """A server on a free port, with a client."""

    def __init__(self, server: ControlServer, daemon: FakeDaemon, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.daemon = daemon
        self.session = session

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Status, JSON (or text) and the response; with the token unless `headers` say otherwise."""
        sent = AUTHORISED if headers is None else headers
        async with self.session.request(method, self.server.url + path, headers=sent, data=body) as answer:
            is_json = answer.content_type.endswith("json")
            return answer.status, await (answer.json() if is_json else answer.text()), answer


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    """A started server over a fake daemon."""
    daemon = FakeDaemon()
    server = build_server(daemon)
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield Running(server, daemon, session)
    await server.stop()


async def test_health_is_open_and_says_why(running: Running) -> None:
    """200 when healthy or degraded, with the word; 503 and the reasons when not; without a token."""
    said: dict[str, Any] = {"healthy": True, "state": "healthy", "reasons": [], "warnings": []}
    assert (await running.ask("GET", "/healthz", {}))[:2] == (200, said)
    running.daemon.checks.append(doubtful("disk", "3.1 GB free", "make room"))
    said |= {"state": "degraded", "warnings": ["3.1 GB free"]}
    assert (await running.ask("GET", "/healthz", {}))[:2] == (200, said)
    running.daemon.sicken("no tick for 75 s")
    said |= {"healthy": False, "state": "unhealthy", "reasons": ["no tick for 75 s"]}
    assert (await running.ask("GET", "/healthz", {}))[:2] == (503, said)


async def test_without_a_token_no_symbol_is_named(running: Running) -> None:
    """`/healthz` says the outline, whoever asks; `/health` needs the token and has every check."""
    running.daemon.checks.append(
        bad("feed", "stale symbols: 1, such as NSE:SBIN-EQ: quote 900", "", "stale symbols: 1")
    )
    running.daemon.checks.append(doubtful("ladder", "rules decides: lost 5,000", "", "rules decides"))
    for headers in ({}, AUTHORISED):
        _, body, _ = await running.ask("GET", "/healthz", headers)
        assert (body["reasons"], body["warnings"]) == (["stale symbols: 1"], ["rules decides"])
    assert (await running.ask("GET", "/health", {}))[0] == 401
    status, body, _ = await running.ask("GET", "/health")
    assert (status, body["state"], body["reasons"]) == (200, "unhealthy", [running.daemon.checks[2].text])
    by_name = {check["name"]: check for check in body["checks"]}
    assert list(by_name) == ["running", "memory", "feed", "ladder"]
    assert (by_name["memory"]["value"], by_name["memory"]["limit"], by_name["memory"]["status"]) == (0.41, 3, "ok")
    assert by_name["memory"]["age_s"] is None


async def test_views_are_json(running: Running) -> None:
    """Money is exact text, sides and states are words, actions are names."""
    status, body, answer = await running.ask("GET", "/status")
    assert status == 200
    assert (body["net_pnl"], body["trading_state"], body["simulated"]) == ("2138.04", "ACTIVE", True)
    assert answer.headers["Cache-Control"] == "no-store"
    _, positions, _ = await running.ask("GET", "/positions")
    assert [row["quantity"] for row in positions] == [row.quantity for row in POSITIONS]
    _, orders, _ = await running.ask("GET", "/orders")
    assert [row["state"] for row in orders] == [row.state for row in ORDERS]
    _, decisions, _ = await running.ask("GET", "/decisions")
    assert [row["action"] for row in decisions] == ["BUY_LONG", "SELL_SHORT", "CLOSE_LONG", "CLOSE_SHORT", "HOLD"]
    assert running.daemon.asked_for.limit == 50


@pytest.mark.parametrize(("query", "status"), [("2", 200), ("1000", 200), ("0", 400), ("1001", 400), ("-1", 400),
                                               ("x", 400), ("", 400), ("9" * 50, 400), ("²", 400)])  # fmt: skip
async def test_limit_is_checked(running: Running, query: str, status: int) -> None:
    """`/decisions?limit=` takes 1 to 1000."""
    got, body, _ = await running.ask("GET", f"/decisions?limit={query}")
    assert got == status
    assert isinstance(body, list) or "from 1 to 1000" in body["detail"]


async def test_metrics_are_prometheus_text(running: Running) -> None:
    """The content type names the format, and the text parses."""
    status, text, answer = await running.ask("GET", "/metrics")
    assert status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "hrmd_ticks" in {family.name for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize(("command", "kind"), [("halt", Halt), ("resume", Resume), ("reduce", Reduce),
                                               ("flatten", Flatten)])  # fmt: skip
async def test_commands_are_on_the_bus_before_the_answer(running: Running, command: str, kind: type[Halt]) -> None:
    """202 with the event's time; the event carries the reason, or the one that stands for none."""
    status, body, _ = await running.ask(
        "POST", f"/control/{command}", body='{"reason": "lunch – ₹", "who": "asha"}'.encode()
    )
    already = "trading was ACTIVE already" if kind is Resume else ""
    assert (status, body) == (202, {"command": command, "ts": str(NOW), "time": TIME, "already": already})
    assert running.daemon.submitted == [kind(ts=NOW, reason="lunch – ₹", who="asha")]
    await running.ask("POST", f"/control/{command}")
    assert running.daemon.submitted[1:] == [kind(ts=NOW, reason="by the operator", who=AN_OPERATOR)]


@pytest.mark.parametrize(
    "body",
    [b"halt", b"[]", b"null", b'{"reason": 5}', b'{"reason": ""}', b'{"reason": "  "}', b'{"why": "x"}', b"\xff",
     b'{"reason": "two\\nlines"}', b'{"reason": "' + b"x" * (MAX_REASON_CHARS + 1) + b'"}', b'{"reason": "\xff"}'],
)  # fmt: skip
async def test_bodies_that_say_something_else_are_refused(running: Running, body: bytes) -> None:
    """400 that says what was expected, and no command."""
    status, answer, _ = await running.ask("POST", "/control/halt", body=body)
    assert status == 400
    assert "expected" in answer["detail"]
    assert running.daemon.submitted == []


async def test_large_bodies_are_refused(running: Running) -> None:
    """413 in JSON, and no command."""
    status, answer, _ = await running.ask("POST", "/control/halt", body=b" " * (MAX_BODY_BYTES + 1))
    assert (status, running.daemon.submitted) == (413, [])
    assert str(MAX_BODY_BYTES) in answer["detail"]


async def test_a_command_that_could_not_be_taken_is_not_accepted(running: Running) -> None:
    """A full bus is 503 with the reason: the operator must not believe that trading stopped."""
    running.daemon.full = True
    status, answer, _ = await running.ask("POST", "/control/halt")
    assert status == 503
    assert answer["detail"] == "halt was not taken: inbox 'risk' is full"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
async def test_everything_else_needs_the_token(running: Running, headers: dict[str, str]) -> None:
    """401 for every route but the open ones, and no command gets through."""
    for path, operations in document("1")["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            status, body, answer = await running.ask(method.upper(), path.replace("{", "").replace("}", ""), headers)
            assert status in (401, 429), path
            assert "detail" in body
            assert status == 429 or answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert running.daemon.submitted == []


async def test_floods_of_wrong_tokens(running: Running) -> None:
    """429 after ten; the operator still gets in."""
    codes = [(await running.ask("GET", "/status", {}))[0] for _ in range(FAILURES_ALLOWED + 1)]
    assert codes == [401] * FAILURES_ALLOWED + [429]
    said = (await running.ask("GET", "/status", {}))[1]
    assert said["detail"] == "too many wrong tokens; try again in 60 s"
    assert (await running.ask("POST", "/control/halt"))[0] == 202


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "[::2]:80", "10.0.0.1"]
)
async def test_foreign_hosts_are_refused(running: Running, host: str) -> None:
    """DNS rebinding: the browser sends the attacker's name; nothing answers to it, the page included."""
    for path in ("/", "/healthz", "/status"):
        status, body, _ = await running.ask("GET", path, AUTHORISED | {"Host": host})
        assert status == 403
        assert "Host" in body["detail"]


@pytest.mark.parametrize(
    "hosts",
    [[], [""], ["127.0.0.1:1@evil.example"], ["localhost@evil"], ["localhost:1:2"], ["localhost:"], ["[::1"], ["::1"],
     ["localhost:123456"], ["localhost:²"], ["localhost "], ["localhost", "localhost"], ["localhost", "evil.example"]],
)  # fmt: skip
async def test_a_host_that_can_not_be_read_strictly_is_refused(running: Running, hosts: list[str]) -> None:
    """As HTTP/1.0 may leave it out, and as nobody writes it who means loopback: 403, or 400 from the parser."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.server.url.rpartition(":")[2]))
    version = "1.1" if hosts else "1.0"
    lines = [f"GET /status HTTP/{version}", *(f"Host: {host}" for host in hosts), f"Authorization: Bearer {TOKEN}"]
    writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    status = (await reader.readline()).split()[1]
    assert status in (b"400", b"403") if hosts != ["localhost "] else status == b"200"  # HTTP strips the blank
    writer.close()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "https://localhost"}, {"Origin": ""},
     {"Origin": "http://localhost:3000"}, {"Origin": "http://127.0.0.1"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": ""}, {"Sec-Fetch-Site": "same-origin, cross-site"}],
)  # fmt: skip
async def test_another_pages_requests_are_refused(running: Running, headers: dict[str, str]) -> None:
    """With the right token, too: 403 that names the header, and no command."""
    for method, path in (("POST", "/control/halt"), ("GET", "/status"), ("GET", "/healthz")):
        status, body, _ = await running.ask(method, path, AUTHORISED | {"Host": "localhost"} | headers)
        assert status == 403
        assert body["detail"].startswith(next(iter(headers)))
    assert running.daemon.submitted == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost:8642"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"},
     {"Origin": "http://LOCALHOST:8642", "Sec-Fetch-Site": "same-origin"}],
)  # fmt: skip
async def test_our_own_pages_requests_are_answered(running: Running, headers: dict[str, str]) -> None:
    """Of a browser, or of what isn't one."""
    asked = AUTHORISED | {"Host": "localhost:8642"} | headers
    assert (await running.ask("POST", "/control/halt", asked))[0] == 202


async def test_a_link_leads_to_the_page(running: Running) -> None:
    """Which holds nothing: only what it then asks for does."""
    assert (await running.ask("GET", "/", {"Host": "localhost", "Sec-Fetch-Site": "cross-site"}))[0] == 200


async def test_asking_often_is_cheap(running: Running) -> None:
    """The daemon is looked at once, however often it is asked; after a command, and after a moment, again."""
    clock = ReplayClock(NOW)
    server = build_server(running.daemon, clock)
    await server.start()
    here = Running(server, running.daemon, running.session)
    paths = ("/status", "/positions", "/orders", "/decisions", "/decisions?limit=2", "/metrics")

    async def looks() -> Counter[str]:
        running.daemon.asked.clear()
        for _ in range(20):
            for path in paths:
                assert (await here.ask("GET", path))[0] == 200
        return running.daemon.asked

    once = {"status": 2, "positions": 1, "orders": 1, "decisions": 2}
    assert await looks() == once
    clock.advance(NOW + int(KEEP_S * NS_PER_S) - 1)
    assert await looks() == {}
    clock.advance(NOW + int(KEEP_S * NS_PER_S))
    assert await looks() == once
    await here.ask("POST", "/control/halt")
    assert await looks() == once
    await server.stop()


@pytest.mark.parametrize(("path", "body"), [("halt", b""), ("flatten", b""), ("cancel", b'{"order_id": "H0"}')])
async def test_a_command_that_is_not_on_disk_is_not_accepted(running: Running, path: str, body: bytes) -> None:
    """503, and whoever asked knows that it is in force and may be forgotten."""
    running.daemon.trouble = NotDurableError("disk full")
    status, answer, _ = await running.ask("POST", f"/control/{path}", body=body)
    assert status == 503
    assert answer["detail"] == f"{path} is in force but not on disk yet, a restart may not know of it: disk full"


async def test_a_resume_that_was_not_taken(running: Running) -> None:
    """503, in other words."""
    running.daemon.trouble = NotTradingError("disk full")
    status, answer, _ = await running.ask("POST", "/control/resume")
    assert (status, answer["detail"]) == (503, "resume was not taken: disk full")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8642", "[::1]"])
async def test_loopback_names_are_answered(running: Running, host: str) -> None:
    """With or without a port."""
    assert (await running.ask("GET", "/status", AUTHORISED | {"Host": host}))[0] == 200


async def test_a_strategy_is_put_in_charge(running: Running) -> None:
    """By its name on the ladder; the reason goes along, or says that it was the operator."""
    status, answer, _ = await running.ask("POST", "/control/strategy", body=b'{"name": "hrm", "reason": "mended"}')
    assert (status, answer) == (
        202,
        {"command": "strategy", "ts": str(NOW), "time": TIME, "already": "hrm decided already"},
    )
    await running.ask("POST", "/control/strategy", body=b'{"name": "flat"}')
    assert running.daemon.submitted == [
        SwapStrategy(ts=NOW, name="hrm", reason="mended", who=AN_OPERATOR),
        SwapStrategy(ts=NOW, name="flat", reason="by the operator", who=AN_OPERATOR),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"name": "ppo"}', "name: expected one of hrm, rules, flat, got 'ppo'"),
        (b'{"name": "hrm", "reason": " "}', "reason: expected 1 to 200 printable characters in one line"),
        (b"", 'body: expected {"name": "…", "reason": "…"}'),
        (b'{"name": "hrm", "when": "now"}', 'body: expected {"name": "…", "reason": "…"}'),
    ],
)
async def test_no_other_strategy_is(running: Running, body: bytes, error: str) -> None:
    """What is wrong and what would be right; nothing is put on the bus."""
    status, answer, _ = await running.ask("POST", "/control/strategy", body=body)
    assert status == 400
    assert answer["detail"].startswith(error)
    assert running.daemon.submitted == []


async def test_rollback_lock_and_unlock(running: Running) -> None:
    """A rollback is a swap to whom the status names; locks go out as they are, each with its reason."""
    status, answer, _ = await running.ask("POST", "/control/rollback", body=b'{"reason": "odd"}')
    assert (status, answer["command"]) == (202, "rollback to rules")
    assert (await running.ask("POST", "/control/lock"))[0] == 202
    assert (await running.ask("POST", "/control/unlock", body=b'{"reason": "seen"}'))[1]["command"] == "unlock"
    assert running.daemon.submitted == [
        SwapStrategy(ts=NOW, name="rules", reason="rollback: odd", who=AN_OPERATOR),
        LockStrategy(ts=NOW, locked=True, reason="by the operator", who=AN_OPERATOR),
        LockStrategy(ts=NOW, locked=False, reason="seen", who=AN_OPERATOR),
    ]


async def test_a_rollback_to_nobody_is_refused(running: Running) -> None:
    """409, and what would be right; nothing is put on the bus."""
    running.daemon.shown = msgspec.structs.replace(running.daemon.shown, rollback_to="")
    status, answer, _ = await running.ask("POST", "/control/rollback")
    assert status == 409
    assert answer["detail"] == "rollback: nobody is there to go back to from hrm; name one: strategy NAME"
    assert running.daemon.submitted == []


async def test_a_rollback_to_who_was_left_by_itself_is_refused(running: Running) -> None:
    """409: who, why, and the command that tries it all the same."""
    running.daemon.shown = msgspec.structs.replace(
        running.daemon.shown,
        strategy="rules",
        rollback_to="",
        strategy_left="hrm",
        strategy_reason="hung 3 times",
    )
    status, answer, _ = await running.ask("POST", "/control/rollback")
    assert (status, answer["detail"]) == (
        409, "rollback: hrm was left by itself (hung 3 times); once that is mended: hrmd ctl strategy hrm",
    )  # fmt: skip
    assert running.daemon.submitted == []


async def test_a_strategy_that_was_not_taken_says_so(running: Running) -> None:
    """The bus is full."""
    running.daemon.full = True
    status, answer, _ = await running.ask("POST", "/control/strategy", body=b'{"name": "hrm"}')
    assert (status, answer["detail"]) == (503, "strategy was not taken: inbox 'risk' is full")


async def test_a_model_is_loaded_or_refused(running: Running) -> None:
    """200 in both cases: the body says which; who and why go along."""
    body = b'{"model": "/models/new.safetensors", "who": "asha", "reason": "retrained"}'
    status, answer, _ = await running.ask("POST", "/control/model", body=body)
    assert (status, answer["loaded"], answer["model"], answer["before"]) == (200, True, "new (abc)", "def")
    status, answer, _ = await running.ask("POST", "/control/model", body=b'{"model": "bad"}')
    assert (status, answer["loaded"], answer["reason"]) == (200, False, "bad: no such version")
    assert [(one.model, one.who, one.reason) for one in running.daemon.models] == [
        ("/models/new.safetensors", "asha", "retrained"), ("bad", "an operator", "by the operator"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"model": "here/new.safetensors"}', "model: expected an absolute path, or a version of the store, got"),
        (b'{"model": ""}', "model: expected an absolute path, or a version of the store"),
        (b'{"model": "a\\nb"}', "model: expected an absolute path, or a version of the store"),
        (b'{"model": "a", "who": ""}', "who: expected 1 to 200 printable characters in one line"),
        (b'{"model": "a", "reason": " "}', "reason: expected 1 to 200 printable characters in one line"),
        (b"", 'body: expected {"model": "…", "reason": "…"}'),
    ],
)
async def test_a_model_that_cannot_be_meant(running: Running, body: bytes, error: str) -> None:
    """What is wrong and what would be right; nobody is asked."""
    status, answer, _ = await running.ask("POST", "/control/model", body=body)
    assert status == 400
    assert answer["detail"].startswith(error)
    assert running.daemon.models == []


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (NotTradingError("hrmd is ending"), "model was not taken: hrmd is ending"),
        (TimeoutError(), "no answer yet: the model may still be put in charge"),
    ],
)
async def test_a_model_that_was_not_taken_says_so(running: Running, trouble: Exception, error: str) -> None:
    """503, and which of the two."""
    running.daemon.trouble = trouble
    status, answer, _ = await running.ask("POST", "/control/model", body=b'{"model": "a"}')
    assert status == 503
    assert answer["detail"].startswith(error)


async def test_the_migration_is_seen_and_signed_for(running: Running) -> None:
    """Both ways; 200 whether it moved or not, the body says which."""
    status, view, _ = await running.ask("GET", "/migration")
    assert (status, view["stage"], view["next"], view["since_time"]) == (200, "parallel", "gradual", TIME)
    assert view["gates"][0] == {
        "name": "sessions", "passed": False, "text": "3 whole sessions on paper, at least 20", "value": 3, "limit": 20,
    }  # fmt: skip
    for name, to in (("advance", "gradual"), ("rollback", "baseline")):
        status, answer, _ = await running.ask("POST", f"/control/migration/{name}", body=b'{"who": "asha"}')
        assert (status, answer["moved"], answer["stage"], answer["who"]) == (200, True, to, "asha")
    status, answer, _ = await running.ask("POST", "/control/migration/advance", body=b'{"who": "nobody"}')
    assert (status, answer["moved"], answer["reason"]) == (200, False, "advance: sessions: 3, at least 20")
    assert [(name, one.who, one.reason) for name, one in running.daemon.signed] == [
        ("advance", "asha", "by the operator"), ("rollback", "asha", "by the operator"),
        ("advance", "nobody", "by the operator"),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"{}", b'{"who": ""}', b'{"who": "a\\nb"}', b'{"who": "a", "force": true}'])
@pytest.mark.parametrize("name", ["advance", "rollback"])
async def test_a_step_without_a_name_is_refused(running: Running, name: str, body: bytes) -> None:
    """400 that says what was expected; a gate can't be forced, and nobody is asked."""
    status, answer, _ = await running.ask("POST", f"/control/migration/{name}", body=body)
    assert status == 400
    assert "expected" in answer["detail"]
    assert running.daemon.signed == []


async def test_a_step_that_was_not_taken_says_so(running: Running) -> None:
    """503, and why."""
    running.daemon.trouble = NotTradingError("hrmd is ending")
    status, answer, _ = await running.ask("POST", "/control/migration/advance", body=b'{"who": "asha"}')
    assert (status, answer["detail"]) == (503, "migration advance was not taken: hrmd is ending")


async def test_unknown_routes_and_methods_are_json(running: Running) -> None:
    """404 names the path, 405 the method that would be right."""
    status, body, _ = await running.ask("GET", "/nothing")
    assert (status, body["detail"].split(":")[0]) == (404, "/nothing")
    status, body, answer = await running.ask("GET", "/control/halt")
    assert (status, answer.headers["Allow"]) == (405, "POST")
    assert body["detail"] == "/control/halt: expected POST, got GET"
    assert running.daemon.submitted == []


async def test_openapi_lists_exactly_the_routes(running: Running) -> None:
    """Every route is described and every description has a route; every reference resolves."""
    _, served, _ = await running.ask("GET", "/openapi.json")
    described = {(method.upper(), path) for path, operations in served["paths"].items() for method in operations}
    router = build_server(FakeDaemon()).application().router
    routes = {(route.method, route.resource.canonical) for route in router.routes() if route.resource}
    assert described == {(method, path) for method, path in routes if method != "HEAD"}
    references = re.findall(r"#/components/schemas/(\w+)", str(served))
    assert set(references) <= set(served["components"]["schemas"])
    assert {f"/control/{command}" for command in COMMANDS} <= set(served["paths"])


async def test_the_page_is_self_contained_and_fenced(running: Running) -> None:
    """It holds no token; the policy names its scripts and style by hash and nothing else (more in test_page.py)."""
    status, html, answer = await running.ask("GET", "/", {})
    assert status == 200
    assert answer.content_type == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert policy == content_security_policy(page())
    assert html == page()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert TOKEN not in html


async def test_start_and_stop_may_come_twice() -> None:
    """The second call of either does nothing; after stop the address is free again."""
    server = build_server(FakeDaemon())
    with pytest.raises(Fault):
        _ = server.url
    await server.stop()
    await server.start()
    url = server.url
    await server.start()
    assert server.url == url
    await server.stop()
    await server.stop()
    again = build_server(FakeDaemon(), port=int(url.rpartition(":")[2]))
    await again.start()
    assert again.url == url
    await again.stop()


async def test_a_taken_port_is_the_users_to_mend() -> None:
    """One line that names the key, the address and the remedies."""
    first = build_server(FakeDaemon())
    await first.start()
    port = int(first.url.rpartition(":")[2])
    second = build_server(FakeDaemon(), port=port)
    with pytest.raises(UsageError, match=rf"control\.port: 127\.0\.0\.1:{port} can't be listened on") as caught:
        await second.start()
    assert "\n" not in str(caught.value)
    await second.stop()
    await first.stop()


async def test_time_of_a_command_is_the_runs() -> None:
    """The event's time is the clock's now, not the wall's."""
    daemon, clock = FakeDaemon(), ReplayClock(5)
    server = build_server(daemon, clock)
    await server.start()
    clock.advance(77)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/control/halt", headers=AUTHORISED) as answer,
    ):
        assert (await answer.json())["ts"] == "77"
    assert isinstance(server.application(), web.Application)
    await server.stop()


async def test_a_crash_in_a_view_is_json_and_logged_once(running: Running) -> None:
    """500 with the documented body, one line with the trace; nothing of the crash reaches whoever asked."""
    running.daemon.broken = True
    with structlog.testing.capture_logs() as logs:
        server = build_server(running.daemon)
        await server.start()
        async with running.session.get(f"{server.url}/positions", headers=AUTHORISED) as answer:
            assert (answer.status, answer.content_type) == (500, "application/problem+json")
            assert await answer.json() == {
                "type": "about:blank", "title": "Internal Server Error", "status": 500,
                "detail": "/positions: failed inside hrmd; its log says why",
            }  # fmt: skip
        await server.stop()
    assert [(line["event"], line["path"], line["exc_info"]) for line in logs] == [
        ("control_failed", "/positions", True)
    ]


TICKET = {"key": "k1", "symbol": "NSE:SBIN-EQ", "side": "buy", "quantity": 10, "type": "limit", "price": "820.05"}


async def test_an_order_by_hand_is_answered(running: Running) -> None:
    """Approved with its id, or denied with check, limit and value; a repetition says so."""
    status, body, _ = await running.ask("POST", "/control/order", body=msgspec.json.encode(TICKET))
    assert (status, body["approved"], body["order_id"], body["repeated"]) == (200, True, "H7", False)
    assert running.daemon.tickets[0].order(0).limit_price == Decimal("820.05")
    assert running.daemon.tickets[0].reason == "by the operator"
    status, body, _ = await running.ask("POST", "/control/order", body=msgspec.json.encode(TICKET))
    assert body["repeated"] is True
    status, body, _ = await running.ask(
        "POST", "/control/order", body=msgspec.json.encode(TICKET | {"key": "k2", "quantity": 1001})
    )
    assert (status, body["approved"]) == (200, False)
    assert (body["check"], body["limit"], body["value"]) == ("lot_size", "a multiple of 75", "1001")


@pytest.mark.parametrize(
    "change",
    [{"key": ""}, {"key": "a b"}, {"key": "x" * 65}, {"side": "hold"}, {"quantity": 0}, {"quantity": "1"},
     {"quantity": 1.5}, {"type": "stop"}, {"price": None}, {"type": "market"}, {"price": "-1"}, {"price": "NaN"},
     {"price": "Infinity"}, {"price": "1e9"}, {"symbol": ""}, {"symbol": "NSE:SBIN-EQ\n"},
     {"symbol": "\x1b[31mSBIN"}, {"symbol": "S" * 51}, {"reason": ""}, {"stop": 1}],
)  # fmt: skip
async def test_an_order_that_can_not_be_meant(running: Running, change: dict[str, Any]) -> None:
    """400 in one line that says what was expected; nothing reaches the desk."""
    status, body, _ = await running.ask("POST", "/control/order", body=msgspec.json.encode(TICKET | change))
    assert status == 400
    assert "expected" in body["detail"].lower()
    assert running.daemon.tickets == []


async def test_an_order_with_two_quantities_is_refused(running: Running) -> None:
    """Neither the first nor the last of them counts."""
    raw = msgspec.json.encode(TICKET).replace(b'"quantity":10', b'"quantity":10,"quantity":1000')
    status, body, _ = await running.ask("POST", "/control/order", body=raw)
    assert (status, body["detail"]) == (400, "body: expected each key once (quantity is set twice: write it once)")
    assert running.daemon.tickets == []


@pytest.mark.parametrize("missing", ["key", "symbol", "side", "quantity"])
async def test_an_order_without_a_field_it_needs(running: Running, missing: str) -> None:
    """No key, no order: a repeated request could not be told from a second one."""
    body = {name: value for name, value in TICKET.items() if name != missing}
    status, answer, _ = await running.ask("POST", "/control/order", body=msgspec.json.encode(body))
    assert status == 400
    assert missing in answer["detail"]


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [(KeyTakenError("key k1: was used for another order"), 409, "give a new order a new key"),
     (NotTradingError("hrmd has not begun to trade"), 503, "the order was not taken"),
     (TimeoutError(), 503, "ask again with key k1: it places no second order"),
     (InboxFull("inbox 'risk' is full"), 503, "ask again with key k1")],
)  # fmt: skip
async def test_an_order_that_got_no_verdict(running: Running, trouble: Exception, status: int, words: str) -> None:
    """Whoever asked knows whether asking again is safe."""
    running.daemon.trouble = trouble
    code, body, _ = await running.ask("POST", "/control/order", body=msgspec.json.encode(TICKET))
    assert code == status
    assert words in body["detail"]


async def test_one_order_is_cancelled(running: Running) -> None:
    """202 for one that works, 404 for any other, 400 for no id, 503 where it wasn't taken."""
    status, body, _ = await running.ask("POST", "/control/cancel", body=b'{"order_id": "H0", "reason": "mistake"}')
    assert (status, body) == (202, {"command": "cancel", "ts": str(NOW), "time": TIME, "already": ""})
    assert running.daemon.cancelled == [("H0", "mistake", AN_OPERATOR)]
    assert (await running.ask("POST", "/control/cancel", body=b'{"order_id": "H9"}'))[0] == 404
    assert (await running.ask("POST", "/control/cancel", body=b"{}"))[0] == 400
    running.daemon.full = True
    assert (await running.ask("POST", "/control/cancel", body=b'{"order_id": "H0"}'))[0] == 503
