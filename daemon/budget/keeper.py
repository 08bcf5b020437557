"""Asks the budget service for this daemon's lease, every second, beside the path.

Nothing waits for it: what it brings lies in `Lease`, and where it brings nothing the lease ends by itself. Invariant:
one request at a time; an answer that comes too late is never looked at.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import structlog

from daemon.budget.messages import Granted, Joined, Report
from daemon.budget.server import JOIN, REJOIN, REPORT
from daemon.budget.share import Share
from daemon.control.auth import kept_token
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import UsageError
from daemon.core.events import ITSELF, BudgetChanged, Halt
from daemon.risk.book import PAISA, RiskBook
from daemon.risk.lease import Lease
from daemon.settings.budget import BudgetShare

T = TypeVar("T")

EVERY_S: Final = 1.0
ANSWER_S: Final = 1.5
"""Less than the shortest lease, so that there is a second try within it."""
TOKEN_S: Final = 0.5
"""How long the disk of the token's file may take."""
TOKEN_KEY: Final = "risk.budget.token_file"
CAUSE: Final = "budget: "
"""How its halts begin."""

log = structlog.get_logger("budget")


class BudgetKeeper:
    """Of one daemon; `run` it while it trades."""

    every_s = EVERY_S

    def __init__(
        self, bus: Bus, clock: Clock, lease: Lease, book: RiskBook, settings: BudgetShare, journal: Path
    ) -> None:
        """Raises `UsageError` where the token can't be read."""
        assert settings.url is not None
        self._bus, self._clock, self._book = bus, clock, book
        self._url, self._token_file = settings.url, settings.token_file
        self._token()
        self._disk = Aside("budget token")
        self._lease = lease
        self.share = Share(lease, f"{socket.gethostname()}:{journal.resolve()}")
        self._halted = ""

    def _token(self) -> str:
        try:
            return kept_token(self._token_file, TOKEN_KEY)
        except FileNotFoundError:
            raise UsageError(f"{TOKEN_KEY}: {self._token_file}: no such file; hrmd budget run makes it") from None
        except OSError as error:
            raise UsageError(f"{TOKEN_KEY}: {self._token_file} can't be read ({error.strerror})") from None

    async def run(self) -> None:
        """Renew until cancelled."""
        self._tell(self.share.leave(self._clock.now_ns(), "it is asked for anew"))
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            try:
                while True:
                    trouble = await self._renew(session)
                    if trouble and trouble != self._lease.unanswered:
                        log.warning("the budget service lends nothing", reason=trouble)
                    self._lease.unanswered = trouble
                    self._tell(self._lease.look(self._clock.now_ns()))
                    await asyncio.sleep(self.every_s)
            finally:
                await self._part(session)

    async def _part(self, session: aiohttp.ClientSession) -> None:
        """It stops: what it still has is all that it is charged with from here on."""
        self._tell(self._lease.drop(self._clock.now_ns(), "the daemon stops"))
        if self.share.joined:
            answer = await self._ask(session, REPORT, self._report(ends=True), Granted)
            if isinstance(answer, str):
                log.warning("the budget service doesn't know that this daemon stops", reason=answer)

    async def _renew(self, session: aiohttp.ClientSession) -> str:
        """Ask once; what was wrong."""
        share = self.share
        if not share.joined:
            answer = await self._ask(session, JOIN, share.ask_for_turn(), Joined)
            if isinstance(answer, str):
                return answer
            share.join(answer)
        granted = await self._ask(session, REPORT, self._report(), Granted)
        if isinstance(granted, str):
            return granted
        self._tell(share.take(granted, self._clock.now_ns()))
        self._on_halted(granted.halted)
        return ""

    def _report(self, *, ends: bool = False) -> Report:
        book = self._book
        pnl = book.day_pnl().quantize(PAISA) if book.day and book.priced else None
        return self.share.report(book.gross_notional(without=""), book.day, pnl, ends=ends)

    def _on_halted(self, why: str) -> None:
        """Halted once for a cause: a person may resume, and has no lease for the rest of the day."""
        if why and why != self._halted:
            reason = f"{CAUSE}{why}"
            self._bus.publish(Halt(ts=self._clock.now_ns(), reason=reason, automatic=True, who=ITSELF))
        self._halted = why

    async def _ask(self, session: aiohttp.ClientSession, path: str, asked: Any, kind: type[T]) -> T | str:
        """The answer, or why there is none."""
        try:
            token = await self._disk.ask(self._token, TOKEN_S)
        except UsageError as error:
            return str(error)
        except TimeoutError as error:
            return f"{TOKEN_KEY}: {self._token_file} can't be read ({error.strerror})"
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            async with session.post(
                self._url + path, data=msgspec.json.encode(asked), headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
        except TimeoutError:
            return f"{self._url} doesn't answer within {ANSWER_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{self._url} can't be reached ({type(error).__name__})"
        if response.status == REJOIN:
            self._tell(self.share.leave(self._clock.now_ns(), "the service began another turn"))
        try:
            if response.status == 200:
                return msgspec.json.decode(body, type=kind)
            return str(msgspec.json.decode(body)["detail"])
        except (msgspec.DecodeError, KeyError, TypeError):
            return f"{self._url} answers as no hrmd budget does (HTTP {response.status})"

    def _tell(self, event: BudgetChanged | None) -> None:
        if event is not None:
            self._bus.publish(event)


def keeper_of(bus: Bus, clock: Clock, book: RiskBook, settings: BudgetShare, journal: Path) -> BudgetKeeper | None:
    """Who renews the lease of a daemon; None where it shares no budget. Raises `UsageError` for a token file."""
    return None if book.lease is None else BudgetKeeper(bus, clock, book.lease, book, settings, journal)
