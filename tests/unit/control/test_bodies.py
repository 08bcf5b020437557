"""What a request may say: the document of the API and what is taken are the same."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.control import bodies
from daemon.control.openapi import document
from daemon.control.view import MAX_PRICE, HandType

SCHEMAS: dict[str, Any] = document("1")["components"]["schemas"]
TICKET = SCHEMAS["OrderTicket"]["properties"]
REASON = TICKET["reason"]
PRICE_TEXT, PRICE_NUMBER, NO_PRICE = TICKET["price"]["anyOf"]
BASE = {"key": "k1", "symbol": "NSE:SBIN-EQ", "side": "buy", "quantity": 10}


def strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """What the schema of a text allows. A lookahead would make a generator of it, and is left to the filter."""
    pattern = schema["pattern"]
    drawn = st.from_regex(re.sub(r"\(\?[=!][^)]*\)", "", pattern), fullmatch=True)
    longest = schema.get("maxLength", 1000)
    return drawn.filter(lambda text: len(text) <= longest and re.search(pattern, text) is not None)


def allowed(schema: dict[str, Any], text: str) -> bool:
    """Whether the schema of a text allows `text`."""
    fits = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1000)
    return fits and re.search(schema["pattern"], text) is not None


def taken(change: dict[str, Any]) -> bool:
    """Whether an order is taken."""
    try:
        bodies.ticket(msgspec.json.encode(BASE | change))
    except ValueError:
        return False
    return True


TICKETS = st.fixed_dictionaries(
    {
        "key": strings(TICKET["key"]),
        "symbol": strings(TICKET["symbol"]),
        "side": st.sampled_from(SCHEMAS["HandSide"]["enum"]),
        "quantity": st.integers(TICKET["quantity"]["minimum"], TICKET["quantity"]["maximum"]),
    },
    optional={"reason": strings(REASON)},
)
PRICES = strings(PRICE_TEXT) | st.floats(
    PRICE_NUMBER["minimum"], PRICE_NUMBER["exclusiveMaximum"], exclude_max=True
)  # fmt: skip


@given(ticket=TICKETS, price=PRICES)
def test_every_order_that_the_document_allows_is_taken(ticket: dict[str, Any], price: str | float) -> None:
    """At the market without a price, at a limit with one; the command holds just that price."""
    assert bodies.ticket(msgspec.json.encode(ticket)).price is None
    asked = bodies.ticket(msgspec.json.encode(ticket | {"type": "limit", "price": price}))
    assert asked.type is HandType.LIMIT
    order = asked.order(1)
    assert order.limit_price == Decimal(str(price))
    assert 0 < order.limit_price < MAX_PRICE


@given(reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=210) | strings(REASON))
def test_a_reason_is_taken_where_the_document_allows_it(reason: str) -> None:
    """And one that is taken can be seen, in one line."""
    assert taken({"reason": reason}) is allowed(REASON, reason)
    for kind in ("CommandBody", "CancelTicket"):
        assert SCHEMAS[kind]["properties"]["reason"] == REASON
    if allowed(REASON, reason):
        assert reason.strip()
        assert len(reason.splitlines()) == 1
        assert not {unicodedata.category(char) for char in reason} & {"Cc", "Zl", "Zp"}


@given(price=st.text(st.sampled_from("0123456789.-+e_ \n٣"), max_size=12))
def test_a_price_is_taken_where_the_document_allows_it(price: str) -> None:
    """Digits, and nothing else that Python would read as a number."""
    assert taken({"type": "limit", "price": price}) is allowed(PRICE_TEXT, price)


@pytest.mark.parametrize(
    ("price", "fits"),
    [("0", False), ("0.0", False), ("0.0001", True), ("9999999.9999", True), ("10000000", False), ("1_0", False),
     (" 12 ", False), ("820.05\n", False), ("٣", False), (".5", False), ("1.", False), ("1e3", False), (820, True),
     (820.05, True), (0, False), (-1, False), (1e7, False), (True, False), (0.00001, False)],
)  # fmt: skip
def test_prices_at_the_edges(price: object, fits: bool) -> None:
    """Above nothing, below the highest, as text or as a number."""
    assert taken({"type": "limit", "price": price}) is fits


def test_a_key_ends_where_it_ends() -> None:
    """Python's `$` lets a line end follow; the document's doesn't."""
    assert not taken({"key": "k1\n"})


@pytest.mark.parametrize(
    ("body", "says"),
    [({"reason": "\n"}, "reason: expected 1 to 200 printable"), ({"price": "x"}, "price: expected rupees such as"),
     ({"key": ""}, "key: expected 1 to 64"), ({"price": "1"}, "price: expected with type limit, and only then"),
     ({"type": "limit"}, "price: expected with type limit, and only then"), ({"side": "hold"}, "body: expected {")],
)  # fmt: skip
def test_a_refusal_names_what_is_wrong(body: dict[str, Any], says: str) -> None:
    """In one line, in words rather than as a pattern."""
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        bodies.ticket(msgspec.json.encode(BASE | body))
    assert "\n" not in str(caught.value)


def test_the_document_says_when_there_is_a_price() -> None:
    """With a limit, and only then: what the struct alone doesn't say."""
    schema = SCHEMAS["OrderTicket"]
    assert schema["if"] == {"properties": {"type": {"const": "limit"}}, "required": ["type"]}
    assert schema["then"]["required"] == ["price"]
    assert schema["else"] == {"properties": {"price": NO_PRICE}}
