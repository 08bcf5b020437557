"""The routes by which a browser gets a session: a token, or a link that holds a code and opens the page once.

Invariant: a code is made for somebody who showed a token, and exchanged on loopback only; no token is in an address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from daemon.control import bodies
from daemon.control.answers import answer, refuse, refuse_guesses
from daemon.control.context import WHO, Context
from daemon.control.gate import Entry, Verdict, Who
from daemon.control.login_codes import LoginCodes, PageLink
from daemon.control.sessions import Session, cookie_name
from daemon.control.tokens import OWNER, Scope
from daemon.core.clock import NS_PER_S, wall_ns

log = structlog.get_logger("control")


class Door:
    """Handlers by operation; `url` is where the page is on loopback."""

    def __init__(self, context: Context, url: Callable[[], str]) -> None:
        self._context = context
        self._codes = LoginCodes()
        self._url = url

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        return {"login": self._login, "logout": self._logout, "pageLink": self._link, "exchangeCode": self._exchange}

    def owners_link(self) -> PageLink:
        """A link for whoever started the daemon."""
        return self._link_for(Who(name=OWNER, scope=Scope.ADMIN, sha256=""))

    def _link_for(self, who: Who) -> PageLink:
        code, until = self._codes.make(who)
        return PageLink(link=f"{self._url()}/#code={code}", expires_ts=until)

    async def _login(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.login(await bodies.read(request, self._context.limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        await self._context.gate.refresh()
        entry = self._context.gate.login(ticket.token.strip(), request.remote or "")
        return self._begun(request, entry, "login", "token: not one of hrmd's; hrmd token new makes one")

    async def _link(self, request: web.Request) -> web.Response:
        who = request[WHO]
        if who.claims is not None:  # else a session could follow itself for ever
            return refuse(403, "expected a token: a session makes no other session")
        return answer(self._link_for(who), 201)

    async def _exchange(self, request: web.Request) -> web.Response:
        if request.secure or not _is_loopback(request.remote):
            return refuse(403, "a link opens the page on the machine of hrmd only; log in with a token")
        try:
            ticket = bodies.code(await bodies.read(request, self._context.limits.body_s))
        except ValueError as error:
            return refuse(400, str(error))
        await self._context.gate.refresh()
        entry = self._context.gate.by_code(ticket.code, self._codes, request.remote or "")
        return self._begun(request, entry, "login by link", "the link was used or is too old; hrmd ctl page shows one")

    def _begun(self, request: web.Request, entry: Entry, what: str, why: str) -> web.Response:
        """A session for whoever was let in, in a cookie; or why there is none."""
        if entry.verdict is Verdict.TOO_MANY:
            return refuse_guesses(entry.wait_s)
        if entry.who is None:
            log.warning("login_refused", address=request.remote or "")
            return refuse(401, why)
        who = entry.who
        cookie, claims = self._context.sessions.begin(who.name, who.scope, who.sha256, who.until_ts)
        self._context.note(who.name, what, 200)
        response = answer(Session(name=who.name, scope=who.scope, expires_ts=claims.exp * NS_PER_S))
        response.set_cookie(
            cookie_name(request), cookie, max_age=max(0, claims.exp - claims.iat), path="/", httponly=True,
            samesite="Strict", secure=request.secure,
        )  # fmt: skip
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        who = request[WHO]
        if who.claims is not None:
            self._context.sessions.end(who.claims)
        response = answer(Session(name=who.name, scope=who.scope, expires_ts=wall_ns()))
        response.del_cookie(cookie_name(request), path="/", httponly=True, samesite="Strict", secure=request.secure)
        return response


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
