"""aiohttp's own protocol, but whatever it refuses before there is a route is answered as every other refusal is.

Invariant: nothing of what was sent is repeated: a header that can't be read may hold a token.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from daemon.control.answers import refuse


class Edge(web.RequestHandler):
    """One connection that speaks HTTP."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what can't be read, or, after a fault of ours, that it was one."""
        super().handle_error(request, status, exc, message)  # counts or logs it; raises where an answer has begun
        fault = status >= 500
        response = refuse(status, "failed inside hrmd; its log says why" if fault else "it can't be read as HTTP")
        response.force_close()
        return response


class EdgeRunner(web.AppRunner):
    """Runs an application behind it; `how` as `web.AppRunner` takes it."""

    def __init__(self, application: web.Application, *, shutdown_timeout: float, **how: Any) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout, **how)
        self._how = how

    def protocol(self) -> web.RequestHandler:
        """For another connection, once it is set up."""
        assert self.server is not None
        return Edge(self.server, loop=asyncio.get_running_loop(), **self._how)
