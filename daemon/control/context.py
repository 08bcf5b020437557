"""What the handlers of the control API share, and how they read a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiohttp import web

from daemon.control.accepted import Accepted
from daemon.control.answers import Cause, Remembered, encoded, refuse
from daemon.control.bridge import WORK_S, Bridge, StandsStillError
from daemon.control.connections import Limits
from daemon.control.gate import Gate, Who
from daemon.control.routes import MAX_ROWS, Query, Route
from daemon.control.rows import Asked, Listing, Page
from daemon.control.sessions import Sessions
from daemon.control.standing import already
from daemon.control.tuning import SettingsDesk
from daemon.control.view import ControlView, MigrationDesk, ModelDesk, NotDurableError, OrderDesk
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError
from daemon.core.events import ControlAction, Event
from daemon.core.json_form import encode

T = TypeVar("T")

WHO = web.RequestKey("who", Who)
ROUTE = web.RequestKey("route", Route)

log = structlog.get_logger("control")


@dataclass(frozen=True, slots=True)
class Context:
    """Who is asked for what; everything of the daemon's only through `bridge`."""

    view: ControlView
    desk: OrderDesk
    models: ModelDesk
    migration: MigrationDesk
    tuning: SettingsDesk
    clock: Clock
    bridge: Bridge
    gate: Gate
    sessions: Sessions
    answers: Remembered
    limits: Limits

    async def shown(self, asked: str, look: Callable[[], object]) -> web.Response:
        """What `look` says, as JSON; looked at once for all who ask for the same."""

        async def render() -> bytes:
            return encode(await self.bridge.look(look))

        return encoded(await self.answers.get(asked, render))

    async def page(
        self, request: web.Request, listing: Listing, row: Callable[[Any], object] = lambda it: it
    ) -> web.Response:
        """The page of a listing that a request asks for; the next one is in its Link header."""
        try:
            asked = asked_of(request)
        except ValueError as error:
            return refuse(400, str(error))

        async def render() -> tuple[bytes, int | None]:
            page: Page = await self.bridge.look(lambda: self.view.page(listing, asked))
            return encode([row(one) for one in page.rows]), page.before

        body, before = await self.answers.get(f"{request.path}?{asked}", render)
        headers = {}
        if before is not None:
            headers["Link"] = f'<{request.rel_url.update_query({"before": str(before)})}>; rel="next"'
        return encoded(body, headers=headers)

    async def give(self, what: str, ts: int, event: Event) -> Accepted | web.Response:
        """Put a command on the bus and on disk; yes where that was done, else what is to be said."""

        async def work() -> str:
            before = already(event, self.view.standing())
            await self.desk.command(event)
            return before

        try:
            return Accepted(command=what, ts=ts, already=await self.bridge.do(work))
        except HrmdError as error:
            return not_accepted(what, error)

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float = WORK_S) -> T:
        """What comes of `work` on the trading loop."""
        return await self.bridge.do(work, patience_s)

    def note(self, who: str, what: str, status: int) -> None:
        """For the journal: who asked for what, and how it was answered."""
        action = ControlAction(ts=self.clock.now_ns(), who=who, what=what, status=status)
        self.bridge.tell(lambda: self.desk.note(action))


def not_accepted(what: str, error: HrmdError) -> web.Response:
    """It is in force and may be forgotten, or it was not taken, or nobody knows: whoever asked must know which."""
    log.error("control_command_failed", command=what, error=str(error))
    if isinstance(error, NotDurableError):
        said = f"{what} is in force but not on disk yet, a restart may not know of it: {error}"
        return refuse(503, said, cause=Cause.NOT_ON_DISK)
    if isinstance(error, StandsStillError):
        said = f"{error}; {what} may yet be taken: give it again, twice does no harm"
        return refuse(503, said, cause=Cause.NO_ANSWER)
    return refuse(503, f"{what} was not taken: {error}", cause=Cause.NOT_TAKEN)


def asked_of(request: web.Request) -> Asked:
    """Limit, cursor, symbol and interval of an address. Raises `ValueError`."""
    known = {query.name: query for query in request[ROUTE].query}
    unknown = [name for name in request.query if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0][:40]}: expected {' or '.join(known) or 'no parameter'}")
    values: dict[str, Any] = {}
    for name, query in known.items():
        given = request.query.getall(name, [])
        if len(given) > 1:
            raise ValueError(f"{name}: expected once")
        text = given[0] if given else None
        if query.schema["type"] == "integer":
            values[name] = _number(query, text)
        elif text is not None:
            values[name] = _text(query, text)
    values = {name: value for name, value in values.items() if name in Asked.__struct_fields__}
    return Asked(**({"limit": MAX_ROWS} | values))


def _number(query: Query, text: str | None) -> int | None:
    if text is None:
        default: int | None = query.schema.get("default")
        return default
    least, most = query.schema["minimum"], query.schema["maximum"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(most)) else -1
    if not least <= number <= most:
        raise ValueError(f"{query.name}: expected a whole number from {least} to {most}, got {text[:20]!r}")
    return number


def _text(query: Query, text: str) -> str:
    allowed = query.schema.get("enum")
    if allowed is not None and text not in allowed:
        raise ValueError(f"{query.name}: expected one of {', '.join(allowed)}, got {text[:20]!r}")
    if not 1 <= len(text) <= query.schema.get("maxLength", 200):
        raise ValueError(f"{query.name}: expected 1 to {query.schema.get('maxLength', 200)} characters")
    return text
