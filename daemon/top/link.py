"""A daemon's control API → `Seen`, for as long as it is looked at, and commands to it.

Looks come at least every `PERIOD_S`, and at once when the stream tells that something happened; without a stream only
by the clock. Invariant: the token goes to the address that `daemon.control.finding` gave, over no proxy and no
redirection; a command waits for no look, and is said to be taken only when the daemon said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec

from daemon.control.accepted import Accepted
from daemon.control.auth import read_token
from daemon.control.finding import Target, followed
from daemon.control.rows import EquityRow, LogRow, RiskView
from daemon.control.stream import Kind
from daemon.control.view import DecisionRow, Health, OrderRow, PositionRow, Status
from daemon.core.clock import stopwatch_ns
from daemon.core.errors import HrmdError
from daemon.top.seen import Look, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

PERIOD_S = 1.0
LOOK_S = 2.5
"""For a whole look; with `PERIOD_S` before it less than what makes a daemon lost."""
NO_SOONER_S = 0.25
"""Between two looks, however much happens."""
COMMAND_S = 6.0
"""Longer than the daemon waits for its disk."""
STREAM_AGAIN_S = 5.0
MAX_ANSWER_BYTES = 8 << 20
TELLING = (Kind.DECISION, Kind.ORDER, Kind.FILL, Kind.POSITION, Kind.STATE, Kind.STRATEGY, Kind.MODEL, Kind.SETTING,
           Kind.HEALTH)  # fmt: skip
"""Frames after which something that is shown is different."""
ROUTES: dict[str, tuple[str, Any]] = {
    "status": ("/status", Status),
    "health": ("/health", Health),
    "risk": ("/risk", RiskView),
    "positions": ("/positions", list[PositionRow]),
    "orders": ("/orders?limit=100", list[OrderRow]),
    "decisions": ("/decisions?limit=60", list[DecisionRow]),
    "equity": ("/equity?limit=300", list[EquityRow]),
    "logs": ("/logs?limit=60", list[LogRow]),
}


class Link:
    """To the one daemon that is meant; found anew whenever it was lost."""

    def __init__(self, find: Callable[[], Target], seen: Seen, changed: Callable[[], None]) -> None:
        """`changed` is called whenever `seen` is another one. What `find` raises is shown as why it is lost."""
        self._find = find
        self._seen = seen
        self._changed = changed
        self._target: Target | None = None
        self._first: Target | None = None
        self._session: aiohttp.ClientSession | None = None
        self._open = AsyncExitStack()
        self._wake = asyncio.Event()
        self._reached = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_on(), name="look")
                group.create_task(self._listen_on(), name="listen")
        finally:
            await self._open.aclose()

    async def command(self, path: str, body: Mapping[str, Any]) -> Accepted:
        """The daemon's yes; raises `HrmdError` with what is to be said otherwise."""
        target = self._target or self._found()
        word = path.rpartition("/")[2]
        try:
            async with (
                asyncio.timeout(COMMAND_S),
                _session(target) as session,
                session.post(path, json=dict(body), allow_redirects=False) as answer,
            ):
                return _decoded(await _body(answer), Accepted)
        except aiohttp.ClientConnectorError as error:
            raise HrmdError(f"{word} was NOT given: no hrmd answers at {target.address} ({error.strerror})") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise HrmdError(f"{word} may have been taken or not ({why}): give it again, twice does no harm") from None
        finally:
            self._wake.set()

    async def _look_on(self) -> None:
        while True:
            await self._look()
            self._changed()
            await asyncio.sleep(NO_SOONER_S)
            await _within(PERIOD_S - NO_SOONER_S, self._wake)
            self._wake.clear()

    async def _look(self) -> None:
        seen, since_ns = self._seen, stopwatch_ns()
        try:
            session = self._session or await self._reach()
            async with asyncio.timeout(LOOK_S):
                answers = await asyncio.gather(*(_get(session, *route) for route in ROUTES.values()))
            seen.heard(Look(**dict(zip(ROUTES, answers, strict=True))), since_ns)
            self._reached.set()
        except (TimeoutError, HrmdError, aiohttp.ClientError, OSError) as error:
            await self._lose(error)

    def _found(self) -> Target:
        found = self._find()
        self._first = first = self._first or found
        return followed(first, found)

    async def _reach(self) -> aiohttp.ClientSession:
        self._target = target = self._found()
        self._seen.where, self._seen.remark = str(target.address), target.remark
        self._session = await self._open.enter_async_context(_session(target))
        return self._session

    async def _lose(self, error: Exception) -> None:
        where = "" if self._target is None else str(self._target.address)
        if isinstance(error, HrmdError):
            self._seen.trouble = str(error)
        elif isinstance(error, aiohttp.ClientConnectorError):
            self._seen.trouble = f"no hrmd answers at {where} ({error.strerror})"
        elif isinstance(error, TimeoutError):
            self._seen.trouble = f"{where} gives no answer within {LOOK_S:g} s"
        else:
            self._seen.trouble = f"{where} broke off ({error or type(error).__name__})"
        self._target = self._session = None
        self._reached.clear()
        await self._open.aclose()

    async def _listen_on(self) -> None:
        while True:
            await self._reached.wait()
            with suppress(TimeoutError, HrmdError, aiohttp.ClientError, OSError):  # looked at by the clock meanwhile
                await self._listen()
            self._seen.streams = False
            self._changed()
            await asyncio.sleep(STREAM_AGAIN_S)

    async def _listen(self) -> None:
        target = self._target
        if target is None:
            return
        async with _session(target) as session:
            kinds = ",".join(TELLING)
            async with session.ws_connect(f"/stream?kinds={kinds}", heartbeat=10.0) as socket:
                self._seen.streams = True
                self._changed()
                async for _ in socket:
                    self._wake.set()


async def _get(session: aiohttp.ClientSession, path: str, kind: type[T]) -> T:
    async with session.get(path, allow_redirects=False) as answer:
        return _decoded(await _body(answer), kind)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """Of an answer that is none, raises `HrmdError`: what it says."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise HrmdError(f"what answers is not hrmd: {answer.url.path} never ends")
    if answer.status < 300:
        return body
    try:
        said = str(msgspec.json.decode(body)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        said = "no reason given"
    raise HrmdError(f"refused ({answer.status}): {said}")


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise HrmdError(f"what answers is not this version's hrmd ({error})") from None


@asynccontextmanager
async def _session(target: Target) -> AsyncIterator[aiohttp.ClientSession]:
    """Raises `UsageError` where there is no token."""
    headers = {"Authorization": f"Bearer {read_token(target.token_file)}"}
    address = target.address
    connector = aiohttp.UnixConnector(address.path) if address.path else aiohttp.TCPConnector()
    base = "http://localhost" if address.path else str(address)
    async with aiohttp.ClientSession(base, headers=headers, connector=connector, trust_env=False) as session:
        yield session


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Until it is set, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def said(accepted: Accepted) -> str:
    """A daemon's yes in words."""
    return f"{accepted.command} accepted {accepted.when}"
