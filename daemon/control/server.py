"""Turns HTTP requests on loopback into views of the daemon and commands on its bus.

Invariant: only `/healthz` and the empty page answer without the token, a request under a foreign `Host` (DNS rebinding)
is never answered, and 202 is said only after the command was put on the bus.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from yarl import URL

from daemon.clock import Clock
from daemon.control.auth import FAILURE_WINDOW_S, Gate, Verdict
from daemon.control.metrics import Metrics
from daemon.control.openapi import COMMANDS, MAX_DECISIONS, MAX_REASON_CHARS, CommandBody, document
from daemon.control.page import content_security_policy, page
from daemon.control.view import (
    Accepted,
    CancelTicket,
    ControlView,
    DecisionRow,
    HandType,
    KeyTakenError,
    NotTradingError,
    OrderDesk,
    OrderTicket,
)
from daemon.documents import DocumentError, parse_json
from daemon.errors import Fault, HrmdError, UsageError
from daemon.events import Event, Flatten, Halt, Reduce, Resume
from daemon.settings import ControlSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

T = TypeVar("T")

MAX_BODY_BYTES = 4096
MAX_PRICE = 10_000_000
SHUTDOWN_S = 2.0
DEFAULT_DECISIONS = 50
_OPEN_PATHS = frozenset({"/", "/healthz"})
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})
_EVENTS: dict[str, type[Halt] | type[Resume] | type[Reduce] | type[Flatten]] = {
    "halt": Halt,
    "resume": Resume,
    "reduce": Reduce,
    "flatten": Flatten,
}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class ControlServer:
    """The local HTTP server.

    `submit` puts a command on the bus, `view` answers questions, `desk` takes orders by hand, `token` opens the door.
    """

    def __init__(
        self,
        settings: ControlSettings,
        view: ControlView,
        submit: Callable[[Event], None],
        clock: Clock,
        metrics: Metrics,
        token: str,
        desk: OrderDesk,
    ) -> None:
        self._settings = settings
        self._view = view
        self._submit = submit
        self._clock = clock
        self._metrics = metrics
        self._gate = Gate(token, clock)
        self._desk = desk
        self._log = structlog.get_logger("control")
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8765`; raises `Fault` before `start`."""
        if self._runner is None:
            raise Fault("the control server is not started")
        host, port = self._runner.addresses[0][:2]
        return str(URL.build(scheme="http", host=host, port=port))

    async def start(self) -> None:
        """Listen; raises `UsageError` where the address can't be had. Once started, does nothing."""
        if self._runner is not None:
            return
        host, port = self._settings.host, self._settings.port
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(
                f"control.port: {host}:{port} can't be listened on ({error.strerror}); stop what listens there, or set "
                "control.port to another one (0 takes any that is free)"
            ) from None
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and close what is open; stopped already, does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The aiohttp application, for `start` and for tests."""
        application = web.Application(
            middlewares=[self._say_errors, self._check_host, self._check_token], client_max_size=MAX_BODY_BYTES
        )
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/healthz", self._healthz),
                web.get("/openapi.json", self._openapi),
                web.get("/status", self._status),
                web.get("/positions", self._positions),
                web.get("/orders", self._orders),
                web.get("/decisions", self._decisions),
                web.get("/metrics", self._prometheus),
                *(web.post(f"/control/{command}", self._command) for command in COMMANDS),
                web.post("/control/order", self._order),
                web.post("/control/cancel", self._cancel),
            ]
        )
        return application

    # -- middlewares: every refusal is JSON, for a known host, with the token ---------------------------------------

    @web.middleware
    async def _say_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            allow = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
            return _refuse(refusal.status, _explain(request, refusal), allow)
        except Exception:  # noqa: BLE001 — the edge of HTTP: who asked is answered in JSON, the log has the trace
            self._log.exception("control_failed", method=request.method, path=request.path)
            return _refuse(500, f"{request.path}: failed inside hrmd; its log says why")

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if _host_name(request.host) not in _LOOPBACK_NAMES:
            return _refuse(403, "Host: expected 127.0.0.1, localhost or [::1]")
        return await handler(request)

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN_PATHS or request.match_info.http_exception is not None:
            return await handler(request)
        match self._gate.check(request.headers.get("Authorization")):
            case Verdict.GRANTED:
                return await handler(request)
            case Verdict.REFUSED:
                self._log.warning("control_refused", path=request.path)
                return _refuse(401, "expected Authorization: Bearer TOKEN, as in the control token file", _CHALLENGE)
            case Verdict.TOO_MANY:
                return _refuse(429, "too many wrong tokens", {"Retry-After": str(FAILURE_WINDOW_S)})

    # -- routes -----------------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        html = page()
        headers = _HEADERS | {"Content-Security-Policy": content_security_policy(html)}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def _healthz(self, request: web.Request) -> web.Response:
        health = self._view.health()
        return _answer(health, 200 if health.healthy else 503)

    async def _openapi(self, request: web.Request) -> web.Response:
        return _answer(document(self._view.status().version))

    async def _status(self, request: web.Request) -> web.Response:
        return _answer(self._view.status())

    async def _positions(self, request: web.Request) -> web.Response:
        return _answer(self._view.positions())

    async def _orders(self, request: web.Request) -> web.Response:
        return _answer(self._view.orders())

    async def _decisions(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(DEFAULT_DECISIONS))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
        if not 1 <= limit <= MAX_DECISIONS:
            return _refuse(400, f"limit: expected a whole number from 1 to {MAX_DECISIONS}, got {text[:20]!r}")
        return _answer([DecisionRow.of(decision) for decision in self._view.decisions(limit)])

    async def _prometheus(self, request: web.Request) -> web.Response:
        body = self._metrics.render(self._view.status())
        return web.Response(body=body, headers=_HEADERS | {"Content-Type": CONTENT_TYPE_LATEST})

    async def _command(self, request: web.Request) -> web.Response:
        command = request.path.rpartition("/")[2]
        try:
            body = _read_body(await request.read())
        except ValueError as error:
            return _refuse(400, str(error))
        event = _EVENTS[command](ts=self._clock.now_ns(), reason=body.reason)
        try:
            self._submit(event)
        except HrmdError as error:
            self._log.error("control_command_failed", command=command, error=str(error))
            return _refuse(503, f"{command} was not taken: {error}")
        self._log.info("control_command", command=command, reason=body.reason)
        return _answer(Accepted(command=command, ts=event.ts), 202)

    async def _order(self, request: web.Request) -> web.Response:
        try:
            ticket = _read_ticket(await request.read())
        except ValueError as error:
            return _refuse(400, str(error))
        again = f"ask again with key {ticket.key}: it places no second order"
        try:
            answer = await self._desk.place(ticket)
        except KeyTakenError as error:
            return _refuse(409, f"{error}; give a new order a new key")
        except NotTradingError as error:
            return _refuse(503, f"the order was not taken: {error}")
        except TimeoutError:
            return _refuse(503, f"no answer yet; {again}")
        except HrmdError as error:
            self._log.error("control_order_failed", key=ticket.key, error=str(error))
            return _refuse(503, f"the order may not have been taken: {error}; {again}")
        self._log.info("control_order", key=ticket.key, order=answer.order_id, approved=answer.approved)
        return _answer(answer)

    async def _cancel(self, request: web.Request) -> web.Response:
        try:
            ticket = _read(await request.read(), CancelTicket, '{"order_id": "…", "reason": "…"}')
            _check_reason(ticket.reason)
        except ValueError as error:
            return _refuse(400, str(error))
        try:
            ts = self._desk.cancel(ticket.order_id, ticket.reason)
        except HrmdError as error:
            return _refuse(503, f"cancel was not taken: {error}")
        if ts is None:
            return _refuse(404, f"order_id {ticket.order_id[:40]}: no such order works; GET /orders lists them")
        self._log.info("control_cancel", order=ticket.order_id, reason=ticket.reason)
        return _answer(Accepted(command="cancel", ts=ts), 202)


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hrmd"'}


def _read_body(raw: bytes) -> CommandBody:
    if not raw.strip():
        return CommandBody()
    body = _read(raw, CommandBody, '{"reason": "…"} or nothing')
    _check_reason(body.reason)
    return body


def _read_ticket(raw: bytes) -> OrderTicket:
    ticket = _read(raw, OrderTicket, '{"key": "…", "symbol": "…", "side": "buy", "quantity": 1, "type": "market"}')
    try:
        parse_json(raw)  # of a quantity that stands twice, which is meant?
    except DocumentError as error:
        raise ValueError(f"body: expected each key once ({error})") from None
    _check_reason(ticket.reason)
    if (ticket.type is HandType.LIMIT) is (ticket.price is None):
        raise ValueError("price: expected with type limit, and only then")
    if ticket.price is not None and not (ticket.price.is_finite() and 0 < ticket.price < MAX_PRICE):
        raise ValueError(f"price: expected rupees above 0 and below {MAX_PRICE}, got {str(ticket.price)[:20]}")
    return ticket


def _read(raw: bytes, kind: type[T], example: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"body: expected {example} ({error})") from None


def _check_reason(reason: str) -> None:
    if not (reason.strip() and reason.isprintable() and len(reason) <= MAX_REASON_CHARS):
        raise ValueError(f"reason: expected 1 to {MAX_REASON_CHARS} printable characters in one line")


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _explain(request: web.Request, refusal: web.HTTPException) -> str:
    texts = {
        404: f"{request.path}: no such route; GET /openapi.json lists them",
        405: f"{request.path}: expected {refusal.headers.get('Allow')}, got {request.method}",
        413: f"body: expected at most {MAX_BODY_BYTES} bytes",
    }
    return texts.get(refusal.status, refusal.reason)


def _answer(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=_HEADERS)


def _refuse(status: int, error: str, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode({"error": error})
    return web.Response(body=body, status=status, content_type="application/json", headers=_HEADERS | (headers or {}))
