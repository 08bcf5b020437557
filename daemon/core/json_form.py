"""Values → the JSON that hrmd gives to other programs (docs/json.md): `--json` of every command, and the control API.

Invariant: money is a decimal string without exponent, and a time (`ts` or `…_ts`, UTC nanoseconds) is a string of that
integer, beside it (`time` or `…_time`) the same by RFC 3339 in India's offset: a reader whose numbers are doubles loses
nothing.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Final

import msgspec

from daemon.core.clock import IST, NS_PER_S

_TS: Final = "ts"
_TIME: Final = "time"
_TS_SCHEMA: Final = {"type": "string", "pattern": "^-?[0-9]+$", "description": "UTC nanoseconds"}
_TIME_SCHEMA: Final = {"type": "string", "format": "date-time", "description": "The same, by RFC 3339"}


def encode(value: Any) -> bytes:
    """One compact document of `value`: structs, dataclasses, mappings, sequences and plain values."""
    return msgspec.json.encode(plain(value))


def plain(value: Any) -> Any:
    """`value` as mappings, lists, strings and numbers in the form above."""
    return _formed(msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True))


def rfc3339(ts: int) -> str | None:
    """Such as 2026-01-05T09:15:00.25+05:30; None for what no calendar holds (years 1 to 9999)."""
    seconds, ns = divmod(ts, NS_PER_S)
    try:
        moment = dt.datetime.fromtimestamp(seconds, IST)
    except (ValueError, OverflowError, OSError):
        return None
    fraction = f".{ns:09}".rstrip("0") if ns else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}+05:30"


def formed_schemas(schemas: dict[str, Any]) -> dict[str, Any]:
    """JSON Schemas of structs, by name, as schemas of what `encode` makes of them."""
    return {name: _formed_schema(schema) for name, schema in schemas.items()}


def _formed(value: Any) -> Any:
    if isinstance(value, dict):
        answer: dict[str, Any] = {}
        for key, item in value.items():
            if _is_time(key) and (item is None or type(item) is int):
                answer[key] = None if item is None else str(item)
                answer[_beside(key)] = None if item is None else rfc3339(item)
            else:
                answer[key] = _formed(item)
        return answer
    if isinstance(value, list):
        return [_formed(item) for item in value]
    return f"{value:f}" if isinstance(value, Decimal) else value


def _formed_schema(schema: dict[str, Any]) -> dict[str, Any]:
    properties, required = {}, list(schema.get("required", []))
    for key, one in schema.get("properties", {}).items():
        if not _is_time(key):
            properties[key] = one
            continue
        optional = "anyOf" in one or "default" in one
        properties[key] = _or_null(_TS_SCHEMA) if optional else _TS_SCHEMA
        properties[_beside(key)] = _or_null(_TIME_SCHEMA)
        if key in required:
            required.append(_beside(key))
    return {**schema, **({"properties": properties, "required": required} if properties else {})}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _is_time(key: str) -> bool:
    return key == _TS or key.endswith(f"_{_TS}")


def _beside(key: str) -> str:
    return key[: -len(_TS)] + _TIME
