"""A login in the browser → the code that it ends with, and what turns the code into a token.

The auth-code flow of Fyers API v3: `generate-authcode` leads to a login page, which sends the browser to the app's
redirect address with `auth_code` and our `state`. Invariant: a code that comes with another state, or with none where
one was due, is never used.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from typing import Final

from aiohttp import web
from yarl import URL

from daemon.calls.secret import Secret
from daemon.core.errors import UsageError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
SHUTDOWN_S: Final = 1.0
_THANKS: Final = "Logged in. This page can be closed; hrmd has what it needs."
_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class LoginRequest:
    """One login: its address, and the state that must come back."""

    def __init__(self, api_url: str, app_id: str, redirect_url: str) -> None:
        self._state = secrets.token_urlsafe(24)
        self.redirect = URL(redirect_url)
        query = {"client_id": app_id, "redirect_uri": redirect_url, "response_type": "code", "state": self._state}
        self.url = str((URL(api_url) / "generate-authcode").with_query(query))

    @property
    def listens_here(self) -> bool:
        """Whether the redirect leads to a port of this machine."""
        return self.redirect.scheme == "http" and self.redirect.host in LOOPBACK

    def code_of(self, address: URL) -> Secret:
        """The code in the address that the browser was sent to; raises `UsageError` that says what is wrong with it."""
        query = address.query
        if not hmac.compare_digest(query.get("state", "").encode(), self._state.encode()):
            raise UsageError("the login's answer carries another state: it belongs to another login; start again")
        code = query.get("auth_code", "")
        if query.get("s", "ok") != "ok" or not code:
            raise UsageError("the login's answer carries no auth_code: the login was refused or broken off")
        return Secret(code)

    def pasted(self, text: str) -> Secret:
        """The code in what a person pasted: the whole address, or the code alone. Raises `UsageError`."""
        text = text.strip()
        if not text:
            raise UsageError("nothing was pasted; expected the address that the browser was sent to, or its auth_code")
        if "auth_code=" not in text:
            if "://" in text or " " in text:
                raise UsageError("the pasted address carries no auth_code; copy the one that the login ends with")
            return Secret(text)
        try:
            return self.code_of(URL(text))
        except ValueError:
            raise UsageError("what was pasted is no address; copy the one that the login ends with") from None


class RedirectListener:
    """A listener on the redirect's port of this machine, for one login; an async context manager.

    Raises `UsageError` where the port can't be had.
    """

    def __init__(self, request: LoginRequest) -> None:
        self._request = request
        self._code: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> RedirectListener:
        redirect = self._request.redirect
        application = web.Application()
        application.router.add_get(redirect.path or "/", self._redirected)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, redirect.host, redirect.port).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(
                f"broker.fyers.redirect_url: {redirect.host}:{redirect.port} can't be listened on ({error.strerror}); "
                "stop what listens there, or paste the address: hrmd login --paste"
            ) from None
        self._runner = runner
        return self

    async def __aexit__(self, *_: object) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def code(self, patience_s: float) -> Secret:
        """Wait for the browser; raises `UsageError` where it doesn't come."""
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.shield(self._code)
        except TimeoutError:
            raise UsageError(f"nobody logged in within {patience_s:g} s; start again, or use --paste") from None

    async def _redirected(self, request: web.Request) -> web.Response:
        """A wrong or foreign answer is told to the browser only: it must not end our waiting."""
        try:
            code = self._request.code_of(request.url)
        except UsageError as error:
            return web.Response(status=400, text=str(error), headers=_HEADERS)
        if not self._code.done():
            self._code.set_result(code)
        return web.Response(text=_THANKS, headers=_HEADERS)


def app_id_hash(app_id: str, secret: Secret) -> str:
    """What Fyers wants to see in place of the app's secret."""
    return hashlib.sha256(f"{app_id}:{secret.reveal()}".encode()).hexdigest()
