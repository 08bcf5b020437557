"""Every route of the control API: who may, how often, what it takes and what it gives.

The server is built from this table and `/openapi.json` is written from it. Invariant: what is not in it is not
answered.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from daemon.control.accepted import Accepted
from daemon.control.backtests import Backtest, BacktestTicket
from daemon.control.front_end import ExecuteTicket, FrontDecision, FrontPosition, ManualTicket, TradeAnswer
from daemon.control.login_codes import CodeTicket, PageLink
from daemon.control.rows import BarRow, EquityRow, LogRow, RiskView, TradeRow
from daemon.control.sessions import LoginTicket, Session
from daemon.control.tokens import Scope
from daemon.control.tuning import ConfigDocument, ConfigTicket
from daemon.control.view import (
    AN_OPERATOR,
    BY_THE_OPERATOR,
    CanaryRow,
    CanaryTicket,
    CancelTicket,
    DecisionRow,
    Health,
    HealthOutline,
    MigrationTicket,
    ModelAnswer,
    ModelTicket,
    OrderAnswer,
    OrderRow,
    OrderTicket,
    PositionRow,
    Reason,
    Status,
)
from daemon.report.migration import MigrationAnswer, MigrationView
from daemon.report.side_by_side import ShadowRow

MAX_ROWS = 1000
DEFAULT_ROWS = 50
COMMANDS = {
    "halt": "Stop trading: nothing is sent (exits by setting)",
    "resume": "Trade again",
    "reduce": "Only close from now on",
    "flatten": "Cancel working orders and close every position",
    "rollback": "Put the strategy in charge that was before, else the next of the ladder; never flat, never who failed",
    "lock": "Nothing is done by itself about the strategy in charge any more",
    "unlock": "It is again",
}
_LESS_RISK = ("halt", "reduce", "flatten")
_FOR_ADMINS = ("rollback", "lock", "unlock")


class Pace(StrEnum):
    """How often a route may be used; what takes risk away is never slowed."""

    FREE = "free"
    READ = "read"
    WRITE = "write"
    HEAVY = "heavy"
    """What a model is loaded for, or a whole tape played."""


class CommandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may accompany a command; the reason, and who gives it, go into the journal."""

    reason: Reason = BY_THE_OPERATOR
    who: Reason = AN_OPERATOR


class StrategyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who shall decide, one of the status' `strategies`; the reason, and who gives it, go into the journal."""

    name: str
    reason: Reason = BY_THE_OPERATOR
    who: Reason = AN_OPERATOR


class Query(msgspec.Struct, frozen=True):
    """One parameter of an address."""

    name: str
    says: str
    schema: dict[str, Any]


LIMIT = Query(
    "limit", "How many rows at most", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_ROWS}
)
ALL = Query("limit", "How many rows at most", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 500})
BEFORE = Query(
    "before", "Only rows with lower numbers, as the Link header of the page before says it",
    {"type": "integer", "minimum": 0, "maximum": 10**15},
)  # fmt: skip
SYMBOL = Query("symbol", "Only of this symbol", {"type": "string", "minLength": 1, "maxLength": 50})
INTERVAL = Query(
    "interval", "Only of this interval", {"type": "string", "enum": ["1m", "3m", "5m", "15m", "30m", "60m", "1d"]}
)
LEVEL = Query("level", "Only of this level or above", {"type": "string", "enum": ["debug", "info", "warning", "error"]})
KINDS = Query(
    "kinds", "Kinds of frames, with commas between them; without it: all", {"type": "string", "pattern": "^[a-z_,]+$"}
)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path; `name` is the operationId, `scope` None where no token is needed."""

    method: str
    path: str
    name: str
    summary: str
    scope: Scope | None
    pace: Pace
    gives: type[msgspec.Struct] | str
    """A struct, or a media type."""
    many: bool = False
    takes: type[msgspec.Struct] | None = None
    body_needed: bool = True
    code: int = 200
    query: tuple[Query, ...] = ()
    refusals: tuple[int, ...] = ()
    """Beside those that every route has."""
    stream: bool = False
    """Whether it goes on as a web socket."""


def _get(path: str, name: str, summary: str, gives: type[msgspec.Struct] | str, **more: Any) -> Route:
    plain = {"scope": Scope.READ, "pace": Pace.READ}
    return Route(method="GET", path=path, name=name, summary=summary, gives=gives, **{**plain, **more})


def _post(path: str, name: str, summary: str, takes: type[msgspec.Struct] | None, gives: Any, **more: Any) -> Route:
    plain = {"scope": Scope.TRADE, "pace": Pace.WRITE, "refusals": (409, 503)}
    return Route(method="POST", path=path, name=name, summary=summary, takes=takes, gives=gives, **{**plain, **more})


def _command(word: str, summary: str) -> Route:
    return _post(
        f"/control/{word}", word, summary, CommandBody, Accepted, code=202, body_needed=False,
        scope=Scope.ADMIN if word in _FOR_ADMINS else Scope.TRADE,
        pace=Pace.FREE if word in _LESS_RISK else Pace.WRITE,
    )  # fmt: skip


OPEN: dict[str, Any] = {"scope": None, "pace": Pace.FREE}
STREAM: dict[str, Any] = {"stream": True, "code": 101, "refusals": (503,)}
ROUTES: tuple[Route, ...] = (
    _get("/", "page", "The live page", "text/html", **OPEN),
    _get("/healthz", "healthOutline", "200 when healthy or degraded, 503 when not, and why", HealthOutline, **OPEN),
    _get("/openapi.json", "openapi", "This document", "application/json"),
    _get("/status", "status", "The daemon at a glance", Status),
    _get("/health", "health", "Every check of the daemon's health", Health),
    _get("/positions", "positions", "Positions", PositionRow, many=True),
    _get("/orders", "orders", "Orders, newest first", OrderRow, many=True, query=(ALL, BEFORE, SYMBOL)),
    _get("/decisions", "decisions", "Decisions, newest first", DecisionRow, many=True, query=(LIMIT, BEFORE, SYMBOL)),
    _get("/bars", "bars", "Bars, newest first", BarRow, many=True, query=(LIMIT, BEFORE, SYMBOL, INTERVAL)),
    _get("/trades", "trades", "Round trips, newest first", TradeRow, many=True, query=(LIMIT, BEFORE, SYMBOL)),
    _get("/equity", "equity", "The account's worth, newest first", EquityRow, many=True, query=(LIMIT, BEFORE)),
    _get("/risk", "risk", "The day's profit, and how much of each limit is used", RiskView),
    _get("/logs", "logs", "The newest lines of the log, oldest first", LogRow, many=True, query=(LIMIT, LEVEL)),
    _get("/shadow", "shadow", "The agent in charge and those beside it, on paper", ShadowRow, many=True),
    _get("/canary", "canary", "The canary run: a candidate that decides on a share", CanaryRow),
    _get("/migration", "migration", "Where the way to a candidate stands", MigrationView),
    _get("/metrics", "metrics", "Prometheus' text format", "text/plain"),
    _get("/stream", "stream", "Frames of all kinds, or of those asked for", "text/plain", query=(KINDS,), **STREAM),
    *(_command(word, summary) for word, summary in COMMANDS.items()),
    _post("/control/order", "order", "Place an order, through risk and journal", OrderTicket, OrderAnswer),
    _post("/control/cancel", "cancel", "Take one order off the market", CancelTicket, Accepted, code=202,
          pace=Pace.FREE, refusals=(404, 409, 503)),
    _post("/control/strategy", "strategy", "Put another strategy of the ladder in charge", StrategyBody, Accepted,
          code=202, scope=Scope.ADMIN),
    _post("/control/model", "model", "Put another model in charge from the next bar on", ModelTicket, ModelAnswer,
          scope=Scope.ADMIN, pace=Pace.HEAVY),
    _post("/control/canary", "commandCanary", "Begin a canary run, or end it", CanaryTicket, Accepted, code=202,
          scope=Scope.ADMIN),
    _post("/control/migration/advance", "advanceMigration", "To the next stage, where every gate is passed",
          MigrationTicket, MigrationAnswer, scope=Scope.ADMIN),
    _post("/control/migration/rollback", "rollBackMigration", "The candidate goes back", MigrationTicket,
          MigrationAnswer, scope=Scope.ADMIN),
    _post("/control/reload", "reload", "Read the settings anew: what may change while running changes", CommandBody,
          ConfigDocument, body_needed=False, scope=Scope.ADMIN, pace=Pace.HEAVY),
    _post("/api/auth/login", "login", "A token for a session cookie", LoginTicket, Session, refusals=(), **OPEN),
    _post("/api/auth/code", "exchangeCode", "A link's code for a session cookie, on loopback", CodeTicket, Session,
          refusals=(), **OPEN),
    _post("/api/auth/link", "pageLink", "A link that opens the page signed in, once", None, PageLink, code=201,
          scope=Scope.READ, refusals=()),
    _post("/api/auth/logout", "logout", "End the session of the cookie", None, Session, scope=Scope.READ, refusals=()),
    _post("/api/trading/manual-trade", "manualTrade", "Place an order by hand", ManualTicket, TradeAnswer),
    _post("/api/trading/execute", "execute", "Place what an action of the five comes to", ExecuteTicket, TradeAnswer),
    _get("/api/trading/positions", "frontPositions", "What is held", FrontPosition, many=True),
    _get("/api/trading/decisions", "frontDecisions", "Decisions as front ends know them, newest first", FrontDecision,
         many=True, query=(LIMIT, BEFORE, SYMBOL)),
    _post("/api/backtest/run", "runBacktest", "Play tapes in a process of its own", BacktestTicket, Backtest, code=202,
          pace=Pace.HEAVY, refusals=(409, 503)),
    _get("/api/backtest/{job}", "backtest", "How far a backtest is, and what came out", Backtest, refusals=(404,)),
    _post("/api/backtest/{job}/cancel", "cancelBacktest", "End a backtest", None, Backtest, refusals=(404, 409)),
    _get("/api/config", "config", "What may change while running, and all the settings", ConfigDocument),
    Route(method="PUT", path="/api/config", name="changeConfig", summary="Change settings while running",
          scope=Scope.ADMIN, pace=Pace.WRITE, takes=ConfigTicket, gives=ConfigDocument, refusals=(409, 503)),
    _get("/ws/trading", "tradingSocket", "Frames of decisions, orders, fills, positions and the model", "text/plain",
         **STREAM),
    _get("/ws/live-data/{user_id}", "liveDataSocket", "Frames of quotes and bars", "text/plain", **STREAM),
)  # fmt: skip
BY_PLACE = {(route.method, route.path): route for route in ROUTES}
