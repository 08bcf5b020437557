"""The description of the control API, as OpenAPI 3.1; the schemas come from the very structs that the routes send.

Invariant: it lists exactly the routes of `daemon.control.routes`, and says what every field is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from daemon.control.answers import PROBLEM_JSON, Problem
from daemon.control.field_words import words_of
from daemon.control.idempotency import HEADER
from daemon.control.routes import COMMANDS as COMMANDS
from daemon.control.routes import ROUTES, Pace, Route
from daemon.control.sessions import COOKIE
from daemon.core.json_form import formed_schemas

_LIMIT_HAS_A_PRICE = {
    "if": {"properties": {"type": {"const": "limit"}}, "required": ["type"]},
    "then": {"properties": {"price": {"type": ["string", "number"]}}, "required": ["price"]},
    "else": {"properties": {"price": {"type": "null"}}},
}
"""What the struct alone can't say (JSON Schema 2020-12)."""

_REFUSALS = {
    400: "What was asked for can't be meant, and what would be right",
    401: "No token, a wrong one, or one that has ended",
    403: "The token's scope doesn't reach so far, or another host or page asks",
    404: "There is no such thing",
    408: "The body didn't come in time",
    409: "It can't be done now, or the key stands for something else",
    413: "The body is too large",
    422: "The Idempotency-Key stands for another request",
    429: "Too many requests, or too many wrong tokens; Retry-After says how long to wait",
    503: "It was not taken, is not on disk, or nobody knows yet: `type` says which",
}


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document of the API of hrmd `version`."""
    structs = [kind for route in ROUTES for kind in (route.gives, route.takes) if isinstance(kind, type)]
    kinds = list(dict.fromkeys([*structs, Problem]))
    schemas = formed_schemas(msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")[1])
    schemas["OrderTicket"] |= _LIMIT_HAS_A_PRICE
    described = {kind.__name__: words_of(kind) for kind in _with_parts(kinds)}
    for name, schema in schemas.items():
        _describe(schema, described.get(name, {}))
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hrmd control",
            "version": version,
            "description": "What hrmd shows and the commands it takes. docs/api.md has examples and the frames of the "
            "web sockets.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "As `hrmd token new` showed it"},
                "session": {
                    "type": "apiKey", "in": "cookie", "name": COOKIE, "description": "As POST /api/auth/login set it",
                },
            },
        },
    }  # fmt: skip


def with_cookie(said: dict[str, Any], name: str) -> dict[str, Any]:
    """The document for a visitor whose session's cookie has this name."""
    schemes = said["components"]["securitySchemes"]
    schemes = schemes | {"session": schemes["session"] | {"name": name}}
    return said | {"components": said["components"] | {"securitySchemes": schemes}}


def _with_parts(kinds: list[Any]) -> list[type]:
    """The structs, and those that they are made of."""
    found: dict[type, None] = {}

    def walk(kind: Any) -> None:
        if isinstance(kind, msgspec.inspect.StructType):
            if kind.cls in found:
                return
            found[kind.cls] = None
            for field in kind.fields:
                walk(field.type)
        for name in ("item_type", "value_type", "key_type"):
            if hasattr(kind, name):
                walk(getattr(kind, name))
        for part in getattr(kind, "types", ()):
            walk(part)

    for kind in kinds:
        walk(msgspec.inspect.type_info(kind))
    return list(found)


def _describe(schema: dict[str, Any], words: dict[str, str]) -> None:
    for name, one in schema.get("properties", {}).items():
        if name == "time" or name.endswith("_time"):
            schema["properties"][name] = {**one, "description": "The same, by RFC 3339, in India's time"}
        elif name in words and "description" not in one:
            schema["properties"][name] = {**one, "description": words[name]}


def _operation(route: Route) -> dict[str, Any]:
    said: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "description": _description(route)}
    parameters: list[dict[str, Any]] = [
        {"name": one.name, "in": "query", "description": one.says, "schema": one.schema} for one in route.query
    ]
    parameters += [
        {"name": part[1:-1], "in": "path", "required": True, "description": "As it was given",
         "schema": {"type": "string", "pattern": "^[^/{}]+$"}}
        for part in route.path.split("/") if part.startswith("{")
    ]  # fmt: skip
    if route.method != "GET" and route.scope is not None:
        parameters.append(
            {"name": HEADER, "in": "header", "description": "Asking again with it does nothing twice",
             "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}}
        )  # fmt: skip
    if parameters:
        said["parameters"] = parameters
    if route.takes is not None:
        said["requestBody"] = {"required": route.body_needed, "content": _content(route.takes, many=False)}
    said["responses"] = _responses(route)
    if route.scope is None:
        said["security"] = []
    return said


def _description(route: Route) -> str:
    scope = "No token is needed." if route.scope is None else f"Scope {route.scope.value}."
    pace = {Pace.FREE: "Never slowed.", Pace.HEAVY: "A few times a minute."}.get(route.pace, "")
    return " ".join(part for part in (f"{route.summary}.", scope, pace) if part)


def _responses(route: Route) -> dict[str, Any]:
    done: dict[str, Any] = {"description": route.summary}
    if not route.stream:
        done["content"] = _content(route.gives, many=route.many)
    if any(one.name == "before" for one in route.query):
        done["headers"] = {"Link": {"description": "The next page", "schema": {"type": "string"}}}
    answers: dict[str, Any] = {str(route.code): done}
    if route.name == "healthOutline":
        answers["503"] = {"description": "Not healthy", "content": _content(route.gives, many=False)}
    codes = {400, 403, *route.refusals}
    if route.scope is not None:
        codes |= {401, 429, 503}
    if route.takes is not None and route.scope is None:  # whoever asks isn't known yet
        codes |= {401, 408, 413, 429}
    elif route.method != "GET":
        codes |= {408, 409, 413, 422}
    for code in sorted(codes):
        problem = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers.setdefault(str(code), {"description": _REFUSALS[code], "content": problem})
    return answers


def _content(gives: type[msgspec.Struct] | str, *, many: bool) -> dict[str, Any]:
    if isinstance(gives, str):
        return {gives: {} if gives == "application/json" else {"schema": {"type": "string"}}}
    reference = {"$ref": f"#/components/schemas/{gives.__name__}"}
    return {"application/json": {"schema": {"type": "array", "items": reference} if many else reference}}
