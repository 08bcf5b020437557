"""Turns HTTP requests into views of the daemon and commands on its bus.

Invariant: only the routes that the table says are open answer without a token, each of the others only to a scope that
includes its own; a request under a foreign `Host` (DNS rebinding) or from a foreign page is never answered, and 202 is
said only when the command is on the bus and on disk.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web
from yarl import URL

from daemon.control import bodies
from daemon.control.answers import Cause, Remembered, refuse, refuse_guesses
from daemon.control.backtests import Backtests
from daemon.control.bridge import Bridge, Here, StandsStillError
from daemon.control.commanding import Commanding
from daemon.control.connections import LIMITS, Connections, GuardedSite, GuardedSocket, Limits, http_log
from daemon.control.context import ROUTE, WHO, Context
from daemon.control.door import Door
from daemon.control.edge import EdgeRunner
from daemon.control.front_desk import FrontDesk
from daemon.control.gate import Gate, Verdict, Who
from daemon.control.idempotency import HEADER, Repeats
from daemon.control.login_codes import PageLink
from daemon.control.looking import Looking
from daemon.control.metrics import Metrics
from daemon.control.origin import why_not_by_cookie, why_refused
from daemon.control.pacing import Paces
from daemon.control.precedence import Precedence
from daemon.control.routes import BY_PLACE, ROUTES, Route
from daemon.control.rows import LogRow
from daemon.control.sessions import Sessions, cookie_name
from daemon.control.sockets import Sockets
from daemon.control.stream import Stream
from daemon.control.tokens import Keyring
from daemon.control.tuning import SettingsDesk
from daemon.control.view import ControlView, MigrationDesk, ModelDesk, OrderDesk
from daemon.core.aside import Aside
from daemon.core.clock import Clock
from daemon.core.errors import Fault, UsageError
from daemon.settings.run import ControlSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 4096
SHUTDOWN_S = 2.0
SOCKET_MODE = 0o600


class ControlServer:
    """The HTTP server.

    `view` answers questions, `desk` takes commands and orders by hand, `models` other models, `migration` a
    person's word on it, `tuning` other settings; `token` opens every door. `bridge` leads to the loop that they are on,
    `precedence` says when to leave it alone.
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
        *,
        tuning: SettingsDesk,
        backtests: Backtests,
        stream: Stream | None = None,
        bridge: Bridge | None = None,
        lines: Callable[[], Sequence[LogRow]] = list,
        precedence: Precedence | None = None,
        disk: Aside | None = None,
    ) -> None:
        """`disk`: asks for the file of tokens beside the loop; None: the loop itself looks at it."""
        self._settings = settings
        sessions = Sessions(int(settings.session_hours * 3600))
        self._keyring = Keyring(settings.tokens_file, disk=disk)
        self._gate = Gate(token, clock, self._keyring, sessions)
        self._answers = Remembered(clock)
        self._limits = limits
        self._metrics = metrics
        precedence = precedence if precedence is not None else Precedence()
        self._connections = Connections(metrics.turned_out, limits, metrics.unread, precedence)
        self._paces = Paces(settings, clock)
        self._names = frozenset(settings.public.names) if settings.public is not None else frozenset()
        self._context = context = Context(
            view, desk, models, migration, tuning, clock, bridge or Here(), self._gate, sessions, self._answers, limits
        )
        self._backtests = backtests
        stream = stream if stream is not None else Stream(view.order)
        self._sockets = Sockets(context, stream, self._connections, precedence)
        self._door = Door(context, lambda: self.url)
        looking, front = Looking(context, metrics, lines, stream), FrontDesk(context, backtests)
        parts = (looking, Commanding(context), self._door, front, self._sockets)
        self._handlers: dict[str, Handler] = {name: it for part in parts for name, it in part.handlers().items()}
        self._repeats = Repeats()
        self._log = structlog.get_logger("control")
        self._runner: EdgeRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens on loopback, such as `http://127.0.0.1:8642`; raises `Fault` before `start`."""
        if self._runner is None:
            raise Fault("the control server is not started")
        host, port = self._runner.addresses[0][:2]
        return str(URL.build(scheme="http", host=host, port=port))

    @property
    def addresses(self) -> list[str]:
        """Everywhere it listens, loopback first; empty before `start`."""
        return [str(one) for one in self._runner.addresses] if self._runner is not None else []

    def owners_link(self) -> PageLink:
        """A link that opens the page for whoever started the daemon, once; raises `Fault` before `start`."""
        return self._door.owners_link()

    async def start(self) -> None:
        """Listen; raises `UsageError` where an address can't be had. Once started, does nothing."""
        if self._runner is not None:
            return
        http = http_log(self._metrics.malformed_request, self._on_http_failure)
        runner = EdgeRunner(
            self.application(), access_log=None, logger=http, shutdown_timeout=SHUTDOWN_S,
            keepalive_timeout=self._limits.idle_s, lingering_time=self._limits.linger_s,
        )  # fmt: skip
        await runner.setup()
        try:
            await self._listen(runner)
        except UsageError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def _listen(self, runner: EdgeRunner) -> None:
        settings, connections = self._settings, self._connections
        host, port = settings.host, settings.port
        try:
            await GuardedSite(runner, host, port, connections).start()
        except OSError as error:
            raise UsageError(
                f"control.port: {host}:{port} can't be listened on ({error.strerror}); stop what listens there, or set "
                "control.port to another one (0 takes any that is free)"
            ) from None
        if settings.socket is not None:
            try:
                await GuardedSocket(runner, settings.socket, SOCKET_MODE, connections).start()
            except OSError as error:
                raise UsageError(f"control.socket: {settings.socket} can't be listened on ({error.strerror})") from None
        if settings.public is not None:
            public = settings.public
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(public.tls_cert, public.tls_key)
            except OSError as error:  # ssl.SSLError is one
                raise UsageError(
                    f"control.public: {public.tls_cert} and {public.tls_key}: expected a certificate and its key, PEM "
                    f"({error.strerror or error})"
                ) from None
            try:
                await GuardedSite(runner, public.host, public.port, connections, context).start()
            except OSError as error:
                raise UsageError(
                    f"control.public: {public.host}:{public.port} can't be listened on ({error.strerror})"
                ) from None

    async def stop(self) -> None:
        """Stop listening and close what is open; stopped already, does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The aiohttp application, for `start` and for tests."""
        application = web.Application(
            middlewares=[self._say_errors, self._check_origin, self._check_token, self._repeat],
            client_max_size=MAX_BODY_BYTES,
        )
        for route in ROUTES:
            if route.method == "GET":
                application.router.add_get(route.path, self._handlers[route.name], allow_head=not route.stream)
            else:
                application.router.add_route(route.method, route.path, self._handlers[route.name])
        application.on_startup.append(self._sockets.start)
        application.on_shutdown.append(self._sockets.stop)
        application.on_shutdown.append(self._end_backtests)
        return application

    async def _end_backtests(self, application: web.Application) -> None:
        await self._backtests.close()

    # -- middlewares: every refusal is JSON, for a known host, with a token of the scope -----------------------------

    @web.middleware
    async def _say_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await self._answered(request, handler)
        if response.status >= 400:
            self._metrics.refused(response.status)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            allow = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
            return refuse(refusal.status, _explain(request, refusal), allow)
        except StandsStillError as error:
            return refuse(503, str(error), cause=Cause.NO_ANSWER)
        except Exception:  # noqa: BLE001 — the edge of HTTP: who asked is answered in JSON, the log has the trace
            self._log.exception("control_failed", method=request.method, path=request.path)
            return refuse(500, f"{request.path}: failed inside hrmd; its log says why")

    @web.middleware
    async def _check_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        why = why_refused(request, self._names)
        return refuse(403, why) if why else await handler(request)

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_of(request)
        if route is None or route.scope is None:
            return await handler(request)
        authorization, cookie = request.headers.get("Authorization"), request.cookies.get(cookie_name(request))
        if request.content.is_eof():  # all of it is here: it is kept, for whoever sent it may hang up meanwhile
            await request.read()
        await self._gate.refresh(authorization)
        entry = self._gate.enter(authorization, cookie, request.remote or "")
        if entry.verdict is Verdict.TOO_MANY:
            return refuse_guesses(entry.wait_s)
        if entry.who is None:
            self._log.warning("control_refused", path=request.path, address=request.remote, file=self._keyring.trouble)
            return refuse(401, "expected Authorization: Bearer TOKEN, as in the control token file", _CHALLENGE)
        who = entry.who
        why = self._why_not(request, route, who)
        if why:
            return refuse(403, why)
        self._connections.trust(request.transport)
        wait_s = self._paces.wait_s(who.name, route.pace)
        if wait_s:
            said = f"{route.path}: too many requests of {who.name}; give it again in {wait_s} s"
            return refuse(429, said, {"Retry-After": str(wait_s)})
        request[WHO], request[ROUTE] = who, route
        return await self._carried_out(request, handler, route, who)

    def _why_not(self, request: web.Request, route: Route, who: Who) -> str:
        assert route.scope is not None
        if not who.scope.includes(route.scope):
            return f"{route.path}: expected a token with the scope {route.scope}; {who.name} has {who.scope}"
        return why_not_by_cookie(request) if who.claims is not None else ""

    async def _carried_out(self, request: web.Request, handler: Handler, route: Route, who: Who) -> web.StreamResponse:
        """The answer; what was asked for that is no look is in the journal, however it was answered."""
        if route.method == "GET":
            return await handler(request)
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as refusal:
            status = refusal.status
            raise
        finally:
            self._answers.forget()
            self._context.note(who.name, f"{route.method} {request.path}", status)

    @web.middleware
    async def _repeat(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        keys = request.headers.getall(HEADER, [])
        if not keys or request.method == "GET" or WHO not in request:
            return await handler(request)
        if len(keys) > 1:
            return refuse(400, f"{HEADER}: expected once")
        try:
            body = await bodies.read(request, self._limits.body_s)
        except ValueError as error:
            return refuse(400, str(error))
        place = (request[WHO].name, request.path, keys[0])
        before = self._repeats.begin(place, body)
        if before is not None:
            return before
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
            return response
        finally:
            self._repeats.end(place, response)

    def _on_http_failure(self, record: logging.LogRecord) -> None:
        """What went wrong inside aiohttp and is nobody's malformed request."""
        self._log.error("control_failed", what=record.getMessage(), exc_info=record.exc_info)


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hrmd"'}


def _route_of(request: web.Request) -> Route | None:
    """The route that a request goes to; None where none is (404, 405)."""
    resource = request.match_info.route.resource
    if request.match_info.http_exception is not None or resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return BY_PLACE[method, resource.canonical]


def _explain(request: web.Request, refusal: web.HTTPException) -> str:
    texts = {
        404: f"{request.path}: no such route; GET /openapi.json lists them",
        405: f"{request.path}: expected {refusal.headers.get('Allow')}, got {request.method}",
        408: "body: expected within seconds",
        413: f"body: expected at most {MAX_BODY_BYTES} bytes",
    }
    return texts.get(refusal.status, refusal.reason)
