"""Values as JSON for other programs: exact money, times as strings beside RFC 3339, and schemas that say so."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.json_form import encode, formed_schemas, rfc3339


class Row(msgspec.Struct):
    """Like those of the API."""

    ts: int
    equity: Decimal
    last_tick_ts: int | None
    counts: dict[str, int] = {}


def test_a_row() -> None:
    """Times in pairs, money as text, in the order of the fields."""
    row = Row(1_767_584_700_250_000_000, Decimal("1E+3"), None, {"bad_time": 3})
    assert json.loads(encode([row])) == [
        {
            "ts": "1767584700250000000", "time": "2026-01-05T09:15:00.25+05:30", "equity": "1000",
            "last_tick_ts": None, "last_tick_time": None, "counts": {"bad_time": 3},
        }
    ]  # fmt: skip
    assert list(json.loads(encode(row))) == ["ts", "time", "equity", "last_tick_ts", "last_tick_time", "counts"]


def test_what_is_no_number_is_null() -> None:
    """JSON has neither NaN nor infinity."""
    assert encode({"a": float("nan"), "b": float("inf")}) == b'{"a":null,"b":null}'


@given(st.integers(min_value=-(2**62), max_value=2**62))
def test_rfc3339_is_the_same_moment(ts: int) -> None:
    """To the nanosecond."""
    text = rfc3339(ts)
    assert text is not None
    seconds, _, fraction = text.removesuffix("+05:30").partition(".")
    moment = dt.datetime.fromisoformat(seconds + "+05:30")
    assert int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0")) == ts


@pytest.mark.parametrize("ts", [10**21, -(10**21)])
def test_a_moment_that_no_calendar_holds(ts: int) -> None:
    """Has no text; the number stays."""
    assert rfc3339(ts) is None
    assert json.loads(encode({"ts": ts})) == {"ts": str(ts), "time": None}


def test_schemas_say_the_same() -> None:
    """Every key that is written is described, as a string."""
    schema = formed_schemas(msgspec.json.schema_components([Row], ref_template="#/{name}")[1])["Row"]
    assert list(schema["properties"]) == list(json.loads(encode(Row(1, Decimal(1), 1))))
    assert schema["properties"]["ts"]["type"] == "string"
    assert schema["properties"]["time"]["anyOf"][0]["format"] == "date-time"
    assert schema["required"] == ["ts", "equity", "last_tick_ts", "time", "last_tick_time"]
