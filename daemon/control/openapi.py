"""The description of the control API, as OpenAPI 3.1; the schemas come from the very structs that the routes send.

Invariant: it lists exactly the routes that the server has (a test compares them).
"""

from __future__ import annotations

from typing import Any

import msgspec

from daemon.control.view import (
    BY_THE_OPERATOR,
    SOMEBODY,
    Accepted,
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
from daemon.core.json_form import formed_schemas
from daemon.report.migration import MigrationAnswer, MigrationView
from daemon.report.side_by_side import ShadowRow

MAX_DECISIONS = 1000
COMMANDS = {
    "halt": "Stop trading: nothing is sent (exits by setting)",
    "resume": "Trade again",
    "reduce": "Only close from now on",
    "flatten": "Cancel working orders and close every position",
    "rollback": "Put the strategy in charge that was before, else the next of the ladder; never flat",
    "lock": "Nothing is done by itself about the strategy in charge any more",
    "unlock": "It is again",
}


_LIMIT_HAS_A_PRICE = {
    "if": {"properties": {"type": {"const": "limit"}}, "required": ["type"]},
    "then": {"properties": {"price": {"type": ["string", "number"]}}, "required": ["price"]},
    "else": {"properties": {"price": {"type": "null"}}},
}
"""What the struct alone can't say (JSON Schema 2020-12)."""


class CommandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may accompany a command; the reason, and who gives it, go into the journal."""

    reason: Reason = BY_THE_OPERATOR
    who: Reason = SOMEBODY


class StrategyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who shall decide, one of the status' `strategies`; the reason, and who gives it, go into the journal."""

    name: str
    reason: Reason = BY_THE_OPERATOR
    who: Reason = SOMEBODY


class ErrorBody(msgspec.Struct, frozen=True):
    """What every refusal says."""

    error: str


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document of the API of hrmd `version`."""
    schemas = msgspec.json.schema_components(
        [
            Status,
            PositionRow,
            OrderRow,
            DecisionRow,
            ShadowRow,
            Health,
            HealthOutline,
            Accepted,
            CommandBody,
            StrategyBody,
            OrderTicket,
            OrderAnswer,
            CancelTicket,
            ModelTicket,
            ModelAnswer,
            MigrationView,
            MigrationTicket,
            MigrationAnswer,
            CanaryTicket,
            CanaryRow,
            ErrorBody,
        ],
        ref_template="#/components/schemas/{name}",
    )[1]
    schemas = formed_schemas(schemas)
    schemas["OrderTicket"] |= _LIMIT_HAS_A_PRICE
    return {
        "openapi": "3.1.0",
        "info": {"title": "hrmd control", "version": version, "description": "Loopback only; bearer token."},
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _paths() -> dict[str, Any]:
    health = _json("HealthOutline")
    limit = {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DECISIONS, "default": 50},
    }
    unlocked: dict[str, Any] = {"security": []}
    paths: dict[str, Any] = {
        "/": {"get": _operation("The status page", _text("text/html")) | unlocked},
        "/healthz": {
            "get": _operation("200 when healthy or degraded, 503 when not, and why", health) | unlocked,
        },
        "/openapi.json": {"get": _operation("This document", {"application/json": {}})},
        "/status": {"get": _operation("The daemon at a glance", _json("Status"))},
        "/health": {"get": _operation("Every check of the daemon's health", _json("Health"))},
        "/positions": {"get": _operation("Positions", _list("PositionRow"))},
        "/orders": {"get": _operation("Orders, newest first", _list("OrderRow"))},
        "/decisions": {"get": _operation("Decisions, newest first", _list("DecisionRow")) | {"parameters": [limit]}},
        "/shadow": {"get": _operation("The agent in charge and those beside it, on paper", _list("ShadowRow"))},
        "/migration": {"get": _operation("Where the way to a candidate stands", _json("MigrationView"))},
        "/canary": {"get": _operation("The canary run: a candidate that decides on a share", _json("CanaryRow"))},
        "/metrics": {"get": _operation("Prometheus' text format", _text("text/plain"))},
    }
    paths["/healthz"]["get"]["responses"]["503"] = {"description": "Not healthy", "content": health}
    for command, summary in COMMANDS.items():
        operation = _operation(summary, _json("Accepted"), "202")
        operation["requestBody"] = {"required": False, "content": _json("CommandBody")}
        paths[f"/control/{command}"] = {"post": operation}
    for path, summary, asked, answered, code in (
        (
            "order",
            "Place an order, through risk and journal",
            "OrderTicket",
            "OrderAnswer",
            "200",
        ),
        ("model", "Put another model in charge from the next bar on", "ModelTicket", "ModelAnswer", "200"),
        (
            "migration/advance",
            "To the next stage, where every gate is passed",
            "MigrationTicket",
            "MigrationAnswer",
            "200",
        ),
        ("migration/rollback", "The candidate goes back", "MigrationTicket", "MigrationAnswer", "200"),
        ("canary", "Begin a canary run, or end it", "CanaryTicket", "Accepted", "202"),
        ("cancel", "Take one order off the market", "CancelTicket", "Accepted", "202"),
        ("strategy", "Put another strategy of the ladder in charge", "StrategyBody", "Accepted", "202"),
    ):
        operation = _operation(summary, _json(answered), code)
        operation["requestBody"] = {"required": True, "content": _json(asked)}
        paths[f"/control/{path}"] = {"post": operation}
    return paths


def _operation(summary: str, content: dict[str, Any], code: str = "200") -> dict[str, Any]:
    error = {"description": "Refused, and why", "content": _json("ErrorBody")}
    return {"summary": summary, "responses": {code: {"description": summary, "content": content}, "default": error}}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _list(schema: str) -> dict[str, Any]:
    items = {"$ref": f"#/components/schemas/{schema}"}
    return {"application/json": {"schema": {"type": "array", "items": items}}}


def _text(kind: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string"}}}
