from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.calls.records import WireError, decode
from daemon.core.errors import UsageError
from daemon.core.events import OrderType, Side
from daemon.fyers import wire
from daemon.fyers.credentials import Credentials
from daemon.fyers.requests import PlaceOrder, Product, Validity
from daemon.orders.venue import OrderStatus, VenueOrder

ROW = b"""{"clientId":"X","id":"23030900015105","exchOrdId":"1100000001089341","qty":5,"remainingQuantity":2,
"filledQty":3,"disclosedQty":0,"limitPrice":6.95,"stopPrice":0,"tradedPrice":6.9533333333,"type":1,"symbol":"NSE:IDEA-EQ",
"message":"","offlineOrder":false,"orderDateTime":"09-Mar-2023 09:34:38","orderValidity":"DAY","productType":"CNC",
"side":-1,"status":6,"orderTag":"1:Ordertag","dqQtyRem":null,"limitprice":1}"""
SOCKET = b"""{"orders":{"client_id":"X","exchange":10,"id":"23121800292158","ord_status":20,"ord_type":2,
"ordertag":"2:Untagged","org_ord_status":4,"product_type":"CNC","qty":1,"qty_remaining":1,"report_type":"New Ack",
"symbol":"NSE:BECTORFOOD-EQ","time_oms":"18-Dec-2023 13:51:30","tran_side":1,"validity":"DAY"},"s":"ok"}"""


def test_an_order_of_the_book() -> None:
    """A row of the order book, as Fyers documents it, becomes a record with exact prices."""
    assert wire.read_order(decode(ROW), wire.REST_ORDER) == VenueOrder(
        venue_id="23030900015105", tag="Ordertag", symbol="NSE:IDEA-EQ", side=Side.SELL, type=OrderType.LIMIT,
        quantity=5, filled=3, remaining=2, limit_price=Decimal("6.95"), average_price=Decimal("6.9533333333"),
        status=OrderStatus.PENDING, product="CNC", ts=1_678_334_678_000_000_000,
    )  # fmt: skip


def test_an_order_of_the_socket() -> None:
    """The socket's first word on an order, as Fyers documents it, lacks what is not yet known."""
    order = wire.read_order(decode(SOCKET)["orders"], wire.SOCKET_ORDER)
    assert (order.tag, order.status, order.filled, order.remaining) == ("", OrderStatus.TRANSIT, 0, 1)
    assert order.ts == 1_702_887_690_000_000_000


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("type", 9, None), ("type", None, None), ("status", 3, OrderStatus.OTHER), ("orderTag", "x1", "x1")],
)
def test_what_others_placed(field: str, value: object, expected: object) -> None:
    """An unlisted type or status, or a bare tag, doesn't blind us to the book."""
    order = wire.read_order({**decode(ROW), field: value}, wire.REST_ORDER)
    assert expected in (order.type, order.status, order.tag)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("id", 5),
        ("side", 0),
        ("side", []),
        ("qty", "5"),
        ("qty", Decimal("5.5")),
        ("limitPrice", "cheap"),
        ("status", "ok"),
        ("orderDateTime", "yesterday"),
        ("orderDateTime", "09-Mrz-2023 09:34:38"),
        ("orderDateTime", "31-Feb-2023 09:34:38"),
    ],
)
def test_a_row_that_cannot_be_read(field: str, value: object) -> None:
    """A row that is not whole is an error, not a guess."""
    with pytest.raises(WireError):
        wire.read_order({**decode(ROW), field: value}, wire.REST_ORDER)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"<html>", b'{"a":', b"\xff\xfe"])
def test_what_is_no_object(body: bytes) -> None:
    """Only a JSON object is a message."""
    with pytest.raises(WireError, match="expected"):
        decode(body)


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (wire.orders, {}),
        (wire.orders, {"orderBook": None}),
        (wire.trades, {"tradeBook": [1]}),
        (wire.positions, {"netPositions": {}}),
        (wire.positions, {"netPositions": [{"symbol": "X"}]}),
        (wire.funds, {"fund_limit": [{"title": "Total Balance", "equityAmount": 1}]}),
        (wire.profile, {"data": []}),
        (wire.profile, {"data": {"fy_id": "X"}}),
        (wire.quotes, {"d": [{"n": "X", "s": "ok"}]}),
        (wire.quotes, {"d": [{"n": 5, "s": "ok", "v": {"lp": 1}}]}),
    ],
)
def test_a_document_that_cannot_be_read(read: Any, document: dict[str, Any]) -> None:
    """A book without its list, or with a broken row, is an error: an empty book would be a lie."""
    with pytest.raises(WireError):
        read(document)


def test_final_states() -> None:
    """Cancelled, filled, rejected and expired are final, all else isn't."""
    final = {status for status in OrderStatus if status.final}
    assert {code for code, status in wire.STATUSES.items() if status in final} == {1, 2, 5, 7}


@given(st.decimals("0.01", "999999.95", places=2))
def test_a_price_keeps_its_digits(price: Decimal) -> None:
    """A price comes out of JSON as the decimal that was written, and goes in without an exponent."""
    assert decode(f'{{"p":{price}}}')["p"] == price
    wanted = PlaceOrder(
        tag="t", symbol="X", side=Side.BUY, quantity=1, type=OrderType.LIMIT, limit_price=price.normalize()
    )
    body = wanted.body()
    assert b"E" not in body.split(b'"limitPrice":')[1].split(b",")[0]
    assert Decimal(str(decode(body)["limitPrice"])) == price


def test_the_body_of_an_order() -> None:
    """All thirteen fields of Fyers' place-order request."""
    wanted = PlaceOrder(
        tag="abc", symbol="NSE:SBIN-EQ", side=Side.SELL, quantity=3, type=OrderType.SL_LIMIT,
        limit_price=Decimal("1E+2"), stop_price=Decimal("100.50"), product=Product.CNC, validity=Validity.IOC,
    )  # fmt: skip
    assert msgspec.json.decode(wanted.body()) == {
        "symbol": "NSE:SBIN-EQ", "qty": 3, "type": 4, "side": -1, "productType": "CNC", "limitPrice": 100,
        "stopPrice": 100.5, "validity": "IOC", "disclosedQty": 0, "offlineOrder": False, "stopLoss": 0,
        "takeProfit": 0, "orderTag": "abc",
    }  # fmt: skip


def test_credentials_keep_their_token() -> None:
    """No picture of the credentials shows the token, and none that breaks a header is taken."""
    credentials = Credentials("APP-100", "s3cret")
    assert credentials.authorization == "APP-100:s3cret"
    assert "s3cret" not in f"{credentials} {credentials!r} {credentials.hiding.hide('a s3cret b')}"
    for app_id, token in (("APP", "new\nline"), ("", "x"), ("APP", ""), ("APP", "a b")):
        with pytest.raises(UsageError, match="Fyers") as caught:
            Credentials(app_id, token)
        assert "line" not in str(caught.value)


def test_a_margin() -> None:
    """The total counts; without it that of the new order, and a figure that can't be one is no answer."""
    said = {"margin_avail": 5, "margin_total": Decimal("1.5"), "margin_new_order": 9}
    assert wire.margin({"data": said}).required == Decimal("1.5")
    assert wire.margin({"data": {**said, "margin_total": None}}).required == 9
    for broken in ({**said, "margin_total": 0}, {**said, "margin_avail": None}, []):
        with pytest.raises(WireError, match="data"):
            wire.margin({"data": broken})
