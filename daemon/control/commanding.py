"""The routes that command: 202 and 200 are said only when the command is on the bus and on disk."""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from daemon.control import bodies
from daemon.control.answers import Cause, answer, refuse
from daemon.control.bridge import StandsStillError
from daemon.control.context import WHO, Context, not_accepted
from daemon.control.routes import COMMANDS
from daemon.control.tuning import ConfigTicket
from daemon.control.view import Accepted, CanaryDo, KeyTakenError, NotTradingError, OrderAnswer, OrderTicket
from daemon.core.errors import HrmdError, SettingsError
from daemon.core.events import BeginCanary, EndCanary, Event, Flatten, Halt, LockStrategy, Reduce, Resume, SwapStrategy

log = structlog.get_logger("control")

MODEL_S = 120.0
"""Longer than the model's desk waits."""
_EVENTS: dict[str, type[Event]] = {"halt": Halt, "resume": Resume, "reduce": Reduce, "flatten": Flatten}


class Commanding:
    """Handlers by operation."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def handlers(self) -> dict[str, Any]:
        """What answers which operation."""
        return {
            **dict.fromkeys(COMMANDS, self._command),
            "order": self._order,
            "cancel": self._cancel,
            "strategy": self._strategy,
            "model": self._model,
            "config": self._config,
            "changeConfig": self._change,
            "reload": self._reload,
            "commandCanary": self._canary,
            "advanceMigration": self._migrate,
            "rollBackMigration": self._migrate,
        }

    async def _read(self, request: web.Request) -> bytes:
        return await bodies.read(request, self._context.limits.body_s)

    async def _command(self, request: web.Request) -> web.Response:
        word = request.path.rpartition("/")[2]
        try:
            body = bodies.signed(bodies.command(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        ts = self._context.clock.now_ns()
        event, said = await self._event(word, ts, body.reason, body.who)
        if event is None:
            return refuse(409, said)
        given = await self._context.give(said, ts, event)
        if isinstance(given, web.Response):
            return given
        log.info("control_command", command=said, reason=body.reason, who=body.who)
        return answer(given, 202)

    async def _event(self, word: str, ts: int, reason: str, who: str) -> tuple[Event | None, str]:
        """What a command is on the bus, and how it is called; None, and why, where there is nothing to do."""
        if word in ("lock", "unlock"):
            return LockStrategy(ts=ts, locked=word == "lock", reason=reason, who=who), word
        if word != "rollback":
            return _EVENTS[word](ts=ts, reason=reason, who=who), word
        status = await self._context.bridge.look(self._context.view.status)
        left = status.strategy_left
        if not status.rollback_to and left:
            mended = f"once that is mended: hrmd ctl strategy {left}"
            return None, f"rollback: {left} was left by itself ({status.strategy_reason}); {mended}"
        if not status.rollback_to:
            return None, f"rollback: nobody is there to go back to from {status.strategy}; name one: strategy NAME"
        said = f"rollback to {status.rollback_to}"
        return SwapStrategy(ts=ts, name=status.rollback_to, reason=f"rollback: {reason}", who=who), said

    async def _order(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.signed(bodies.ticket(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        verdict = await place(self._context, ticket)
        return verdict if isinstance(verdict, web.Response) else answer(verdict)

    async def _cancel(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.signed(bodies.cancellation(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        desk = self._context.desk
        try:
            ts = await self._context.do(lambda: desk.cancel(ticket.order_id, ticket.reason, ticket.who))
        except HrmdError as error:
            return not_accepted("cancel", error)
        if ts is None:
            return refuse(404, f"order_id {ticket.order_id[:40]}: no such order works; GET /orders lists them")
        log.info("control_cancel", order=ticket.order_id, reason=ticket.reason, who=ticket.who)
        return answer(Accepted(command="cancel", ts=ts), 202)

    async def _model(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.signed(bodies.model(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        models = self._context.models
        try:
            became = await self._context.do(lambda: models.load_model(ticket), MODEL_S)
        except (TimeoutError, StandsStillError):
            said = "no answer yet: the model may still be put in charge; GET /status says which decides"
            return refuse(503, said, cause=Cause.NO_ANSWER)
        except HrmdError as error:
            return not_accepted("model", error)
        log.info("control_model", model=ticket.model, who=ticket.who, loaded=became.loaded, why=became.reason)
        return answer(became)

    async def _strategy(self, request: web.Request) -> web.Response:
        known = (await self._context.bridge.look(self._context.view.status)).strategies
        try:
            body = bodies.signed(bodies.strategy(await self._read(request)), request[WHO].name)
            if body.name not in known:
                raise ValueError(f"name: expected one of {', '.join(known)}, got {body.name[:40]!r}")
        except ValueError as error:
            return refuse(400, str(error))
        ts = self._context.clock.now_ns()
        event = SwapStrategy(ts=ts, name=body.name, reason=body.reason, who=body.who)
        given = await self._context.give("strategy", ts, event)
        if isinstance(given, web.Response):
            return given
        log.info("control_strategy", name=body.name, reason=body.reason, who=body.who)
        return answer(given, 202)

    async def _canary(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.signed(bodies.canary(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        said, ts = f"canary {ticket.do}", self._context.clock.now_ns()
        why = await self._context.bridge.look(lambda: self._context.view.why_not(ticket))
        if why:
            return refuse(409, f"{said}: {why}")
        event: Event = EndCanary(ts=ts, promote=ticket.do is CanaryDo.PROMOTE, who=ticket.who, reason=ticket.reason)
        if ticket.do is CanaryDo.BEGIN:
            event = BeginCanary(ts=ts, agent=ticket.agent, who=ticket.who, reason=ticket.reason)
        given = await self._context.give(said, ts, event)
        if isinstance(given, web.Response):
            return given
        log.info("control_canary", do=ticket.do, agent=ticket.agent, who=ticket.who, reason=ticket.reason)
        return answer(given, 202)

    async def _migrate(self, request: web.Request) -> web.Response:
        """A step of the migration, forwards or back."""
        try:
            ticket = bodies.signed(bodies.migration(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        name, desk = request.path.rpartition("/")[2], self._context.migration
        try:
            became = await self._context.do(lambda: (desk.advance if name == "advance" else desk.roll_back)(ticket))
        except HrmdError as error:
            return not_accepted(f"migration {name}", error)
        log.info("control_migration", step=name, who=ticket.who, moved=became.moved, stage=became.stage.value)
        return answer(became)

    async def _config(self, request: web.Request) -> web.Response:
        return answer(await self._context.bridge.look(self._context.tuning.config))

    async def _change(self, request: web.Request) -> web.Response:
        try:
            ticket = bodies.config(await self._read(request))
        except ValueError as error:
            return refuse(400, str(error))
        return await self._tuned("the change of settings", request[WHO].name, ticket)

    async def _reload(self, request: web.Request) -> web.Response:
        try:
            body = bodies.signed(bodies.command(await self._read(request)), request[WHO].name)
        except ValueError as error:
            return refuse(400, str(error))
        return await self._tuned("reload", body.who, body.reason)

    async def _tuned(self, what: str, who: str, wish: ConfigTicket | str) -> web.Response:
        tuning = self._context.tuning
        try:
            document = await self._context.do(
                lambda: tuning.reload(wish, who) if isinstance(wish, str) else tuning.change(wish, who)
            )
        except SettingsError as error:
            return refuse(400, str(error))
        except HrmdError as error:
            return not_accepted(what, error)
        log.info("control_settings", changed=document.changed, who=who)
        return answer(document)


async def place(context: Context, ticket: OrderTicket) -> OrderAnswer | web.Response:
    """Risk's answer to an order by hand, or why there is none."""
    again = f"ask again with key {ticket.key}: it places no second order"
    try:
        verdict = await context.do(lambda: context.desk.place(ticket))
    except KeyTakenError as error:
        return refuse(409, f"{error}; give a new order a new key")
    except NotTradingError as error:
        return refuse(503, f"the order was not taken: {error}", cause=Cause.NOT_TAKEN)
    except TimeoutError:
        return refuse(503, f"no answer yet; {again}", cause=Cause.NO_ANSWER)
    except HrmdError as error:
        log.error("control_order_failed", key=ticket.key, error=str(error))
        return refuse(503, f"the order may not have been taken: {error}; {again}", cause=Cause.NO_ANSWER)
    log.info("control_order", key=ticket.key, order=verdict.order_id, approved=verdict.approved, who=ticket.who)
    return verdict
