"""`hrmd budget`: daemons' reports over HTTP → leases, each on disk before it is given.

The doors are those of the control API: a token, loopback, no foreign `Host`, no foreign page. Invariant: one change at
a time, and what was answered is what a restart reads.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog
from aiohttp import web

from daemon.budget.keeping import BooksFile
from daemon.budget.ledger import Ledger, Refused
from daemon.budget.messages import Join, Release, Report
from daemon.control import bodies
from daemon.control.answers import answer, refuse, refuse_guesses
from daemon.control.connections import LIMITS, Connections, GuardedSite, http_log
from daemon.control.edge import EdgeRunner
from daemon.control.gate import Gate, Verdict
from daemon.control.origin import why_refused
from daemon.control.tokens import Scope
from daemon.core.aside import Aside
from daemon.core.errors import Fault, UsageError
from daemon.settings.budget import BudgetSettings

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JOIN: Final = "/budget/join"
REPORT: Final = "/budget/report"
RELEASE: Final = "/budget/release"
SHOW: Final = "/budget"
SCOPES: Final = {JOIN: Scope.TRADE, REPORT: Scope.TRADE, RELEASE: Scope.ADMIN, SHOW: Scope.READ}
MAX_BODY_BYTES: Final = 4096
SHUTDOWN_S: Final = 1.0
WRITE_S: Final = 1.0
"""Who asks waits no longer for the disk: a daemon asks again, and is lent nothing meanwhile."""
REJOIN: Final = 410
"""The turn is over: join again."""

log = structlog.get_logger("budget")


class BudgetServer:
    """The service; `steady_ns` is the machine's clock that never jumps."""

    def __init__(self, settings: BudgetSettings, books: BooksFile, steady_ns: Callable[[], int], gate: Gate) -> None:
        """Raises `UsageError` for books that can't be relied on."""
        self._settings, self._file, self._steady_ns, self._gate = settings, books, steady_ns, gate
        found = books.read()
        self.ledger = Ledger(settings.max_gross_notional, settings.max_daily_loss, settings.lease_s, steady_ns(), found)
        self._one, self._disk = asyncio.Lock(), Aside("books")
        self._halted = dict(self.ledger.books.halted)
        self._trouble = ""
        self._connections = Connections(lambda: None, LIMITS)
        self._runner: EdgeRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens; raises `Fault` before `start`."""
        if self._runner is None:
            raise Fault("the budget service is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen; raises `UsageError` where the address can't be had."""
        application = web.Application(middlewares=[self._doors], client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.post(JOIN, self._join), web.post(REPORT, self._report), web.post(RELEASE, self._release),
                web.get(SHOW, self._show),
            ]
        )  # fmt: skip
        runner = EdgeRunner(
            application, access_log=None, logger=http_log(lambda: None, lambda record: log.error(record.getMessage())),
            shutdown_timeout=SHUTDOWN_S, keepalive_timeout=LIMITS.idle_s, lingering_time=LIMITS.linger_s,
        )  # fmt: skip
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await GuardedSite(runner, host, port, self._connections).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(f"budget.port: {host}:{port} can't be listened on ({error.strerror})") from None
        self._runner = runner

    async def stop(self) -> None:
        """Listen no more; stopped already, does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _doors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        why = why_refused(request)
        if why:
            return refuse(403, why)
        entry = self._gate.enter(request.headers.get("Authorization"), None, request.remote or "")
        if entry.verdict is Verdict.TOO_MANY:
            return refuse_guesses(entry.wait_s)
        if entry.who is None:
            log.warning("budget_refused", path=request.path, address=request.remote)
            return refuse(401, "expected Authorization: Bearer TOKEN, as in budget.token_file")
        scope = SCOPES.get(request.path, Scope.ADMIN)
        if not entry.who.scope.includes(scope):
            return refuse(403, f"{request.path}: expected a token with the scope {scope}; it has {entry.who.scope}")
        self._connections.trust(request.transport)
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            return refuse(refusal.status, f"{request.path}: {refusal.reason}")
        except Refused as refused:
            return refuse(REJOIN if refused.rejoin else 409, str(refused))
        except OSError as error:
            return refuse(503, f"budget.books_file can't be written ({error.strerror}): nothing is lent")
        except ValueError as error:
            return refuse(400, str(error))
        except Exception:  # the edge of HTTP: who asked is answered in JSON, the log has the trace
            log.exception("budget_failed", path=request.path)
            return refuse(500, f"{request.path}: failed inside hrmd; its log says why")

    async def _join(self, request: web.Request) -> web.Response:
        wanted = await _read(request, Join)
        joined = await self._kept(lambda: self.ledger.join(wanted, self._steady_ns()))
        log.info("a daemon joined", name=wanted.name, of=wanted.of, turn=joined.session)
        return answer(joined)

    async def _report(self, request: web.Request) -> web.Response:
        wanted = await _read(request, Report)
        granted = await self._kept(lambda: self.ledger.report(wanted, self._steady_ns()))
        if self.ledger.books.halted != self._halted:
            self._halted = dict(self.ledger.books.halted)
            log.error("every daemon halts", reason=granted.halted)
        return answer(granted)

    async def _release(self, request: web.Request) -> web.Response:
        wanted = await _read(request, Release)
        await self._kept(lambda: self.ledger.release(wanted, self._steady_ns()))
        log.warning(
            "a daemon was released", name=wanted.name, holding=str(wanted.holding), who=wanted.who, reason=wanted.reason
        )
        return await self._show(request)

    async def _show(self, request: web.Request) -> web.Response:
        return answer(self.ledger.standing(self._steady_ns()))

    async def _kept(self, change: Callable[[], T]) -> T:
        """Change the books, and give what came of it once they are on the disk. Raises `OSError` where they aren't."""
        async with self._one:
            try:
                if self._disk.owes_s:
                    raise TimeoutError(errno.ETIMEDOUT, "its disk gives no answer")
                outcome = change()
                await self._disk.ask(partial(self._file.write, msgspec.json.encode(self.ledger.books)), WRITE_S)
            except OSError as error:
                self._say(error.strerror or str(error))
                raise
            self._say("")
            return outcome

    def _say(self, trouble: str) -> None:
        """Daemons ask every second: once that the disk fails, and once that it works again."""
        failed, self._trouble = bool(self._trouble), trouble
        if trouble and not failed:
            log.error("the books can't be written: nothing is lent", reason=trouble)
        elif failed and not trouble:
            log.info("the books are written again")


async def _read(request: web.Request, kind: type[T]) -> T:
    """The body; raises `ValueError` that says what was expected."""
    raw = await bodies.read(request, LIMITS.body_s)
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"body: {error}") from None
