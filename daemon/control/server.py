"""Turns HTTP requests on loopback into views of the daemon and commands on its bus.

Invariant: only `/healthz` and the empty page answer without the token, a request under a foreign `Host` (DNS rebinding)
or from a foreign page is never answered, and 202 is said only when the command is on the bus and on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from yarl import URL

from daemon import __version__
from daemon.control import bodies
from daemon.control.answers import HEADERS, Remembered, answer, encoded, refuse
from daemon.control.auth import FAILURE_WINDOW_S, Gate, Verdict
from daemon.control.connections import LIMITS, Connections, GuardedSite, Limits, http_log
from daemon.control.metrics import Metrics
from daemon.control.openapi import COMMANDS, MAX_DECISIONS, CommandBody, document
from daemon.control.origin import why_refused
from daemon.control.page import content_security_policy, page
from daemon.control.view import (
    Accepted,
    CanaryDo,
    ControlView,
    DecisionRow,
    KeyTakenError,
    MigrationDesk,
    ModelDesk,
    NotDurableError,
    NotTradingError,
    OrderDesk,
)
from daemon.core.clock import Clock
from daemon.core.errors import Fault, HrmdError, UsageError
from daemon.core.events import BeginCanary, EndCanary, Event, Flatten, Halt, LockStrategy, Reduce, Resume, SwapStrategy
from daemon.core.json_form import encode
from daemon.settings.run import ControlSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 4096
SHUTDOWN_S = 2.0
DEFAULT_DECISIONS = 50
_OPEN_PATHS = frozenset({"/", "/healthz"})
_EVENTS: dict[str, type[Halt] | type[Resume] | type[Reduce] | type[Flatten]] = {
    "halt": Halt,
    "resume": Resume,
    "reduce": Reduce,
    "flatten": Flatten,
}


class ControlServer:
    """The local HTTP server.

    `view` answers questions, `desk` takes commands and orders by hand, `models` other models, `migration`
    a person's word on it; `token` opens the door.
    """

    def __init__(
        self,
        settings: ControlSettings,
        view: ControlView,
        clock: Clock,
        metrics: Metrics,
        token: str,
        desk: OrderDesk,
        models: ModelDesk,
        migration: MigrationDesk,
        limits: Limits = LIMITS,
    ) -> None:
        self._settings = settings
        self._view = view
        self._clock = clock
        self._metrics = metrics
        self._gate = Gate(token, clock)
        self._desk = desk
        self._models = models
        self._migration_desk = migration
        self._answers = Remembered(clock)
        self._limits = limits
        self._connections = Connections(metrics.turned_out, limits)
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
        http = http_log(self._metrics.malformed_request, self._on_http_failure)
        runner = web.AppRunner(
            self.application(), access_log=None, logger=http, shutdown_timeout=SHUTDOWN_S,
            keepalive_timeout=self._limits.idle_s, lingering_time=self._limits.linger_s,
        )  # fmt: skip
        await runner.setup()
        try:
            await GuardedSite(runner, host, port, self._connections).start()
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
            middlewares=[self._say_errors, self._check_origin, self._check_token], client_max_size=MAX_BODY_BYTES
        )
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/healthz", self._healthz),
                web.get("/openapi.json", self._openapi),
                web.get("/status", self._status),
                web.get("/health", self._health),
                web.get("/positions", self._positions),
                web.get("/orders", self._orders),
                web.get("/decisions", self._decisions),
                web.get("/shadow", self._shadow),
                web.get("/migration", self._migration),
                web.get("/canary", self._canary_row),
                web.get("/metrics", self._prometheus),
                *(web.post(f"/control/{command}", self._command) for command in COMMANDS),
                web.post("/control/order", self._order),
                web.post("/control/cancel", self._cancel),
                web.post("/control/strategy", self._strategy),
                web.post("/control/model", self._model),
                web.post("/control/migration/advance", self._step),
                web.post("/control/migration/rollback", self._step),
                web.post("/control/canary", self._canary),
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
            return refuse(refusal.status, _explain(request, refusal), allow)
        except Exception:  # noqa: BLE001 — the edge of HTTP: who asked is answered in JSON, the log has the trace
            self._log.exception("control_failed", method=request.method, path=request.path)
            return refuse(500, f"{request.path}: failed inside hrmd; its log says why")

    @web.middleware
    async def _check_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        why = why_refused(request)
        return refuse(403, why) if why else await handler(request)

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN_PATHS or request.match_info.http_exception is not None:
            return await handler(request)
        match self._gate.check(request.headers.get("Authorization")):
            case Verdict.GRANTED:
                self._connections.trust(request.transport)
                try:
                    return await handler(request)
                finally:
                    if request.method == "POST":
                        self._answers.forget()
            case Verdict.REFUSED:
                self._log.warning("control_refused", path=request.path)
                return refuse(401, "expected Authorization: Bearer TOKEN, as in the control token file", _CHALLENGE)
            case Verdict.TOO_MANY:
                return refuse(429, "too many wrong tokens", {"Retry-After": str(FAILURE_WINDOW_S)})

    # -- routes -----------------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        html = page()
        headers = HEADERS | {"Content-Security-Policy": content_security_policy(html)}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def _healthz(self, request: web.Request) -> web.Response:
        health = self._view.health()
        return answer(health.outline(), 200 if health.healthy else 503)

    async def _health(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.health)

    async def _openapi(self, request: web.Request) -> web.Response:
        return answer(document(__version__))

    async def _status(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.status)

    async def _positions(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.positions)

    async def _orders(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.orders)

    async def _shadow(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.shadow)

    async def _migration(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.migration)

    async def _canary_row(self, request: web.Request) -> web.Response:
        return self._remembered(request, self._view.canary)

    async def _decisions(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", str(DEFAULT_DECISIONS))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
        if not 1 <= limit <= MAX_DECISIONS:
            return refuse(400, f"limit: expected a whole number from 1 to {MAX_DECISIONS}, got {text[:20]!r}")
        rows = lambda: [DecisionRow.of(decision) for decision in self._view.decisions(limit)]  # noqa: E731
        return self._remembered(request, rows, f"/decisions?limit={limit}")

    def _remembered(self, request: web.Request, look: Callable[[], object], asked: str = "") -> web.Response:
        return encoded(self._answers.get(asked or request.path, lambda: encode(look())))

    async def _prometheus(self, request: web.Request) -> web.Response:
        body = self._answers.get(request.path, self._rendered)
        return web.Response(body=body, headers=HEADERS | {"Content-Type": CONTENT_TYPE_LATEST})

    def _rendered(self) -> bytes:
        view = self._view
        return self._metrics.render(view.status(), view.health().checks, view.shadow())

    async def _command(self, request: web.Request) -> web.Response:
        command = request.path.rpartition("/")[2]
        try:
            body = bodies.command(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        ts = self._clock.now_ns()
        event, said = self._event(command, ts, body)
        if event is None:
            return refuse(409, said)
        try:
            await self._desk.command(event)
        except HrmdError as error:
            return self._not_accepted(command, error)
        self._log.info("control_command", command=said, who=body.who, reason=body.reason)
        return answer(Accepted(command=said, ts=ts), 202)

    def _event(self, command: str, ts: int, body: CommandBody) -> tuple[Event | None, str]:
        """What a command is on the bus, and how it is called; None, and why, where there is nothing to do."""
        reason, who = body.reason, body.who
        if command in ("lock", "unlock"):
            return LockStrategy(ts=ts, locked=command == "lock", reason=reason, who=who), command
        if command != "rollback":
            return _EVENTS[command](ts=ts, reason=reason, who=who), command
        status = self._view.status()
        if not status.rollback_to:
            return None, f"rollback: nobody is there to go back to from {status.strategy}; name one: strategy NAME"
        said = f"rollback to {status.rollback_to}"
        return SwapStrategy(ts=ts, name=status.rollback_to, reason=f"rollback: {reason}", who=who), said

    def _not_accepted(self, command: str, error: HrmdError) -> web.Response:
        """It is in force and may be forgotten, or it was not taken: whoever asked must know which."""
        self._log.error("control_command_failed", command=command, error=str(error))
        if isinstance(error, NotDurableError):
            return refuse(503, f"{command} is in force but not on disk, a restart may not know of it: {error}")
        return refuse(503, f"{command} was not taken: {error}")

    async def _order(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.ticket(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        again = f"ask again with key {ticket.key}: it places no second order"
        try:
            verdict = await self._desk.place(ticket)
        except KeyTakenError as error:
            return refuse(409, f"{error}; give a new order a new key")
        except NotTradingError as error:
            return refuse(503, f"the order was not taken: {error}")
        except TimeoutError:
            return refuse(503, f"no answer yet; {again}")
        except HrmdError as error:
            self._log.error("control_order_failed", key=ticket.key, error=str(error))
            return refuse(503, f"the order may not have been taken: {error}; {again}")
        self._log.info(
            "control_order", key=ticket.key, order=verdict.order_id, approved=verdict.approved, who=ticket.who
        )
        return answer(verdict)

    async def _cancel(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.cancellation(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        try:
            ts = await self._desk.cancel(ticket.order_id, ticket.reason, ticket.who)
        except HrmdError as error:
            return self._not_accepted("cancel", error)
        if ts is None:
            return refuse(404, f"order_id {ticket.order_id[:40]}: no such order works; GET /orders lists them")
        self._log.info("control_cancel", order=ticket.order_id, who=ticket.who, reason=ticket.reason)
        return answer(Accepted(command="cancel", ts=ts), 202)

    async def _model(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.model(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        try:
            became = await self._models.load_model(ticket)
        except TimeoutError:
            return refuse(503, "no answer yet: the model may still be put in charge; GET /status says which decides")
        except HrmdError as error:
            return self._not_accepted("model", error)
        self._log.info("control_model", model=ticket.model, who=ticket.who, loaded=became.loaded, why=became.reason)
        return answer(became)

    async def _step(self, request: web.Request) -> web.Response:
        """Of the migration, forwards or back."""
        try:
            ticket = bodies.migration(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        name, desk = request.path.rpartition("/")[2], self._migration_desk
        try:
            became = await (desk.advance if name == "advance" else desk.roll_back)(ticket)
        except HrmdError as error:
            return self._not_accepted(f"migration {name}", error)
        self._log.info("control_migration", step=name, who=ticket.who, moved=became.moved, stage=became.stage.value)
        return answer(became)

    async def _canary(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.canary(await bodies.read(request, self._limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        said, ts = f"canary {ticket.do}", self._clock.now_ns()
        why = self._view.why_not(ticket)
        if why:
            return refuse(409, f"{said}: {why}")
        event: Event = EndCanary(ts=ts, promote=ticket.do is CanaryDo.PROMOTE, who=ticket.who, reason=ticket.reason)
        if ticket.do is CanaryDo.BEGIN:
            event = BeginCanary(ts=ts, agent=ticket.agent, who=ticket.who, reason=ticket.reason)
        try:
            await self._desk.command(event)
        except HrmdError as error:
            return self._not_accepted(said, error)
        self._log.info("control_canary", do=ticket.do, agent=ticket.agent, who=ticket.who, reason=ticket.reason)
        return answer(Accepted(command=said, ts=ts), 202)

    def _on_http_failure(self, record: logging.LogRecord) -> None:
        """What went wrong inside aiohttp and is nobody's malformed request."""
        self._log.error("control_failed", what=record.getMessage(), exc_info=record.exc_info)

    async def _strategy(self, request: web.Request) -> web.Response:
        known = self._view.status().strategies
        try:
            body = bodies.strategy(await bodies.read(request, self._limits.body_s))
            if body.name not in known:
                raise ValueError(f"name: expected one of {', '.join(known)}, got {body.name[:40]!r}")
        except ValueError as error:
            return refuse(400, str(error))
        event = SwapStrategy(ts=self._clock.now_ns(), name=body.name, reason=body.reason, who=body.who)
        try:
            await self._desk.command(event)
        except HrmdError as error:
            return self._not_accepted("strategy", error)
        self._log.info("control_strategy", name=body.name, who=body.who, reason=body.reason)
        return answer(Accepted(command="strategy", ts=event.ts), 202)


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hrmd"'}


def _explain(request: web.Request, refusal: web.HTTPException) -> str:
    texts = {
        404: f"{request.path}: no such route; GET /openapi.json lists them",
        405: f"{request.path}: expected {refusal.headers.get('Allow')}, got {request.method}",
        408: "body: expected within seconds",
        413: f"body: expected at most {MAX_BODY_BYTES} bytes",
    }
    return texts.get(refusal.status, refusal.reason)
