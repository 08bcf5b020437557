"""The routes that look: nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from daemon import __version__
from daemon.control.answers import HEADERS, answer, encoded, refuse
from daemon.control.bridge import StandsStillError
from daemon.control.context import Context, asked_of
from daemon.control.front_end import FrontDecision, FrontPosition
from daemon.control.metrics import Metrics
from daemon.control.openapi import document, with_cookie
from daemon.control.page import content_security_policy, page
from daemon.control.rows import BarRow, Listing, LogRow
from daemon.control.sessions import cookie_name
from daemon.control.stream import Stream
from daemon.control.view import DecisionRow, HealthOutline
from daemon.core.json_form import encode
from daemon.supervision.health import Overall

LEVELS = ("debug", "info", "warning", "error")


class Looking:
    """Handlers by operation."""

    def __init__(
        self, context: Context, metrics: Metrics, lines: Callable[[], Sequence[LogRow]], stream: Stream
    ) -> None:
        self._context = context
        self._metrics = metrics
        self._lines = lines
        self._stream = stream

    @cached_property
    def _document(self) -> dict[str, Any]:
        """Made when somebody first asks for it: it takes as long as much else of a start."""
        return document(__version__)

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        view = self._context.view
        return {
            "page": self._page,
            "healthOutline": self._healthz,
            "openapi": self._openapi,
            "status": self._shown("/status", view.status),
            "health": self._shown("/health", view.health),
            "positions": self._shown("/positions", view.positions),
            "shadow": self._shown("/shadow", view.shadow),
            "canary": self._shown("/canary", view.canary),
            "migration": self._shown("/migration", view.migration),
            "orders": self._paged(Listing.ORDERS),
            "decisions": self._paged(Listing.DECISIONS, DecisionRow.of),
            "bars": self._paged(Listing.BARS, BarRow.of),
            "trades": self._paged(Listing.TRADES),
            "equity": self._paged(Listing.EQUITY),
            "risk": self._shown("/risk", view.risk),
            "logs": self._logs,
            "metrics": self._prometheus,
            "frontPositions": self._shown("/api/trading/positions", self._front_positions),
            "frontDecisions": self._paged(Listing.DECISIONS, FrontDecision.of),
        }

    def _shown(self, asked: str, look: Callable[[], object]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            return await self._context.shown(asked, look)

        return handle

    def _paged(self, listing: Listing, row: Callable[[Any], object] = lambda it: it) -> Any:
        async def handle(request: web.Request) -> web.Response:
            return await self._context.page(request, listing, row)

        return handle

    async def _page(self, request: web.Request) -> web.Response:
        html = page()
        headers = HEADERS | {"Content-Security-Policy": content_security_policy(html)}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def _healthz(self, request: web.Request) -> web.Response:
        try:
            health = await self._context.bridge.look(self._context.view.health)
        except StandsStillError as error:
            outline = HealthOutline(healthy=False, state=Overall.UNHEALTHY, reasons=[str(error)], warnings=[])
            return answer(outline, 503)
        return answer(health.outline(), 200 if health.healthy else 503)

    async def _openapi(self, request: web.Request) -> web.Response:
        return encoded(encode(with_cookie(self._document, cookie_name(request))))

    async def _logs(self, request: web.Request) -> web.Response:
        try:
            asked = asked_of(request)
        except ValueError as error:
            return refuse(400, str(error))
        least = LEVELS.index(request.query.get("level", "debug"))
        lines = [line for line in self._lines() if line.level not in LEVELS or LEVELS.index(line.level) >= least]
        return answer(lines[-asked.limit :])

    def _front_positions(self) -> list[FrontPosition]:
        return [FrontPosition.of(row) for row in self._context.view.positions() if row.quantity]

    async def _prometheus(self, request: web.Request) -> web.Response:
        view = self._context.view

        async def render() -> bytes:
            seen = await self._context.bridge.look(lambda: (view.status(), view.health().checks, view.shadow()))
            return self._metrics.render(*seen, self._stream.counts())

        body = await self._context.answers.get("/metrics", render)
        return web.Response(body=body, headers=HEADERS | {"Content-Type": CONTENT_TYPE_LATEST})
