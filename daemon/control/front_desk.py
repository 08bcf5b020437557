"""The routes under `/api` beside sessions: orders in the words of front ends, and backtests."""

from __future__ import annotations

import secrets
from typing import Any

import structlog
from aiohttp import web

from daemon.control import bodies
from daemon.control.answers import Cause, answer, refuse
from daemon.control.backtests import Backtest, Backtests, BusyError
from daemon.control.commanding import place
from daemon.control.context import WHO, Context
from daemon.control.front_end import ExecuteTicket, ManualTicket, TradeAnswer
from daemon.control.idempotency import HEADER
from daemon.control.view import OrderTicket
from daemon.core.errors import HrmdError, UsageError

log = structlog.get_logger("control")


class FrontDesk:
    """Handlers by operation."""

    def __init__(self, context: Context, backtests: Backtests) -> None:
        self._context = context
        self._backtests = backtests

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        return {
            "manualTrade": self._manual,
            "execute": self._execute,
            "runBacktest": self._run_backtest,
            "backtest": self._backtest,
            "cancelBacktest": self._cancel_backtest,
        }

    async def _read(self, request: web.Request) -> bytes:
        return await bodies.read(request, self._context.limits.body_s)

    async def _manual(self, request: web.Request) -> web.Response:
        try:
            asked = bodies.trade(await self._read(request), ManualTicket)
        except ValueError as error:
            return refuse(400, str(error))
        return await self._place(bodies.signed(asked.ticket(_key(request)), request[WHO].name))

    async def _execute(self, request: web.Request) -> web.Response:
        try:
            asked = bodies.trade(await self._read(request), ExecuteTicket)
            positions = await self._context.bridge.look(self._context.view.positions)
            ticket = asked.ticket(_key(request), positions)
        except ValueError as error:
            return refuse(400, str(error))
        if ticket is None:
            return answer(TradeAnswer.nothing(asked.symbol, self._context.clock.now_ns()))
        return await self._place(bodies.signed(ticket, request[WHO].name))

    async def _place(self, ticket: OrderTicket) -> web.Response:
        verdict = await place(self._context, ticket)
        return verdict if isinstance(verdict, web.Response) else answer(TradeAnswer.of(ticket, verdict))

    async def _run_backtest(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.backtest(await self._read(request))
        except ValueError as error:
            return refuse(400, str(error))
        settings = await self._context.bridge.look(self._context.tuning.settings_json)
        try:
            job = await self._backtests.start(ticket, request[WHO].name, settings)
        except BusyError as error:
            return refuse(409, str(error))
        except UsageError as error:
            return refuse(400, str(error))
        except HrmdError as error:
            return refuse(503, str(error), cause=Cause.NOT_TAKEN)
        log.info("control_backtest", job=job.job, who=job.who, tapes=job.tapes)
        return answer(job, 202, {"Location": f"/api/backtest/{job.job}"})

    async def _backtest(self, request: web.Request) -> web.Response:
        return _found(self._backtests.get(request.match_info["job"]))

    async def _cancel_backtest(self, request: web.Request) -> web.Response:
        try:
            return _found(await self._backtests.cancel(request.match_info["job"]))
        except BusyError as error:
            return refuse(409, str(error))


def _found(job: Backtest | None) -> web.Response:
    return answer(job) if job is not None else refuse(404, "no such backtest; of those that are over 20 are kept")


def _key(request: web.Request) -> str:
    """The request's own key, which makes it safe to repeat, else one that nobody knows."""
    return request.headers.get(HEADER) or secrets.token_hex(8)
