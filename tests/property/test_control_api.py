"""The control API against its own document: what it allows is taken, what it forbids is refused.

And no request whatever is answered with anything that the document doesn't say.
"""

from __future__ import annotations

import http.client
import json
import re
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.control.openapi import document
from tests.unit.control.fakes import TOKEN, FakeDaemon, build_server, running_in_thread

DOCUMENT = json.loads(json.dumps(document("1")))
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "101" not in operation["responses"]
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6,
)  # fmt: skip
MEANT_ALREADY = {"strategy", "model", "changeConfig", "execute", "runBacktest", "cancel", "login", "commandCanary"}
"""Whose bodies can be as the schema says and yet name what there isn't."""


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Without its reference."""
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    return schema


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema allows."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return st.one_of([values(one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"]).filter(lambda text: allows(schema, text))
        case "string":
            low, high = schema.get("minLength", 0), min(schema.get("maxLength", 20), 60)
            return st.text(min_size=low, max_size=high)
        case "integer":
            return st.integers(schema.get("minimum", -(10**6)), schema.get("maximum", 10**6))
        case "number":
            low, high = schema.get("minimum", -1e6), schema.get("exclusiveMaximum", schema.get("maximum", 1e6))
            return st.floats(low, high, exclude_max="exclusiveMaximum" in schema)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
            return st.lists(values(schema["items"]), min_size=low, max_size=max(low, high))
        case "object" if "properties" in schema:
            return objects(schema)
        case "object":
            inner = values(schema.get("additionalProperties", {}))
            return st.dictionaries(st.text(max_size=20), inner, min_size=schema.get("minProperties", 0), max_size=3)
    return JSON


def objects(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Structs: what is required, and some of the rest."""
    needed = {name: values(schema["properties"][name]) for name in schema.get("required", [])}
    more = {name: values(one) for name, one in schema["properties"].items() if name not in needed}
    return st.fixed_dictionaries(needed, optional=more).filter(lambda value: allows(schema, value))


def allows(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is as a schema says: so much of JSON Schema as the document uses."""
    schema = resolved(schema)
    if "anyOf" in schema and not any(allows(one, value) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "if" in schema and not allows(schema["then" if allows(schema["if"], value) else "else"], value):
        return False
    kinds = schema.get("type", [])
    if kinds and not any(_is(kind, value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if isinstance(value, str):
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        return least <= len(value) <= most and re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return all(allows(schema.get("items", {}), one) for one in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return set(schema.get("required", [])) <= set(value) and all(
            allows(known[name], one)
            if name in known
            else others is not False and (others is True or allows(others, one))
            for name, one in value.items()
        )
    return True


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict, "null": type(None)}
    return isinstance(value, kinds.get(kind, ()))


class Client:
    """Asks one server; the connection is kept."""

    def __init__(self, url: str) -> None:
        self._place = url.removeprefix("http://")

    def ask(self, name: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
        """The status; whatever comes has to be documented, with a body of its schema."""
        method, _, operation = OPERATIONS[name]
        connection = http.client.HTTPConnection(self._place, timeout=60)
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
        answer = connection.getresponse()
        raw, kind = answer.read(), answer.headers.get_content_type()
        connection.close()
        said = operation["responses"].get(str(answer.status))
        assert said is not None, (name, path, body, answer.status, raw)
        assert answer.status < 500 or name == "healthOutline", raw
        assert kind in said["content"], (name, kind)
        if kind.endswith("json"):
            assert allows(said["content"][kind].get("schema", {}), json.loads(raw)), (name, raw)
        return answer.status


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A server that is never too slow for a test."""
    most = {"reads_per_s": 100_000, "writes_per_s": 100_000, "heavy_per_minute": 100_000}
    with tempfile.TemporaryDirectory() as place:
        server = build_server(FakeDaemon(), tokens_file=Path(place) / "tokens", tapes=Path(place), **most)
        with running_in_thread(server) as url:
            yield Client(url)


def addresses(name: str) -> st.SearchStrategy[str]:
    """The path of an operation with some of its parameters, as the document allows them."""
    _, path, operation = OPERATIONS[name]
    queries = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    asked = st.fixed_dictionaries({}, optional={one["name"]: values(one["schema"]) for one in queries})
    parts = st.text(st.characters(codec="utf-8", exclude_characters="/{}"), min_size=1, max_size=20)
    return st.builds(
        lambda query, part: re.sub(r"\{\w+\}", urllib.parse.quote(part, safe=""), path)
        + (f"?{urllib.parse.urlencode(query)}" if query else ""),
        asked, parts.filter(lambda part: part not in (".", "..")),
    )  # fmt: skip


def body_of(name: str) -> dict[str, Any] | None:
    """The schema of an operation's body."""
    operation = OPERATIONS[name][2]
    if "requestBody" not in operation:
        return None
    schema: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


LIVELY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


@LIVELY
@given(data=st.data())
def test_what_the_document_allows_is_taken(client: Client, data: st.DataObject) -> None:
    """Every operation, with parameters and a body as their schemas say."""
    name = data.draw(st.sampled_from(sorted(OPERATIONS)))
    schema = body_of(name)
    body = None if schema is None else json.dumps(data.draw(values(schema))).encode()
    status = client.ask(name, data.draw(addresses(name)), body, {})
    if name not in MEANT_ALREADY:
        assert status != 400, (name, body)


@LIVELY
@given(data=st.data())
def test_what_the_document_forbids_is_refused(client: Client, data: st.DataObject) -> None:
    """A body that its schema doesn't allow is 400, whatever it is."""
    name = data.draw(st.sampled_from(sorted(name for name in OPERATIONS if body_of(name) is not None)))
    schema = body_of(name)
    assert schema is not None
    valid = data.draw(values(schema))
    broken = data.draw(
        JSON
        | st.builds(lambda key, value: {**valid, key: value}, st.sampled_from([*valid, "surplus"]), JSON)
        | st.sampled_from([{k: v for k, v in valid.items() if k != gone} for gone in valid] or [None])
    )
    if allows(schema, broken):
        return
    assert client.ask(name, OPERATIONS[name][1], json.dumps(broken).encode(), {}) == 400, broken


@LIVELY
@given(data=st.data())
def test_no_request_at_all_is_answered_otherwise_than_documented(client: Client, data: st.DataObject) -> None:
    """Bytes for a body, texts for parameters and keys."""
    name = data.draw(st.sampled_from(sorted(OPERATIONS)))
    query = data.draw(st.dictionaries(st.sampled_from(["limit", "before", "symbol", "x", ""]), st.text(max_size=9)))
    path = f"{OPERATIONS[name][1].replace('{job}', 'x')}?{urllib.parse.urlencode(query)}"
    key = data.draw(st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=70))
    headers = {} if key is None else {"Idempotency-Key": key}
    body = data.draw(st.binary(max_size=60)) if OPERATIONS[name][0] != "GET" else None
    client.ask(name, path, body, headers)
