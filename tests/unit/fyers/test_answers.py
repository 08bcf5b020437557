from __future__ import annotations

import msgspec
import pytest

from daemon.calls.http import Answer, retry_seconds
from daemon.calls.outcome import Done, NotSent, Outcome, Rejected, Unknown
from daemon.fyers.answers import of_order, of_read
from daemon.fyers.wire import orders
from daemon.orders.venue import Acknowledged

NOW = 1_700_000_000 * 1_000_000_000
PLACED = frozenset({1101})


def answered(document: object, status: int = 200, retry_after: str = "") -> Outcome[Acknowledged]:
    """The outcome of placing an order that was answered so."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return of_order(Answer(status, retry_after, body), PLACED, NOW)


def test_yes() -> None:
    """Only the code of success with an id is a yes."""
    assert answered({"s": "ok", "code": 1101, "id": "7", "message": "fine"}) == Done(
        Acknowledged(venue_id="7", message="fine")
    )


@pytest.mark.parametrize(
    "document",
    [
        {"s": "ok", "code": 1101},
        {"s": "ok", "code": 200, "id": "7"},
        {"s": "ok", "code": -99, "message": "no", "id": "7"},
        {"s": "ok", "code": 201, "id": "7"},
        {"s": "error", "code": 201},
        {"s": "error", "code": -99},
        {"s": "error", "code": -99, "message": "Request timed out"},
        {"s": "error", "code": -99, "message": "Please check the order book"},
        {"s": "error", "code": -99, "message": "Could not connect to the exchange"},
        {"s": "error", "code": -98765, "message": "something new"},
        {"s": "error", "code": "-50", "message": "a text for a code"},
        {"code": -50, "message": "no s"},
        {"message": "gateway"},
        [],
        b"<html>",
        b"\xff",
        b"",
    ],
)
def test_doubt(document: object) -> None:
    """What is neither a documented yes nor a documented no leaves the order in doubt."""
    assert isinstance(answered(document), Unknown)


@pytest.mark.parametrize("status", [300, 302, 500, 502, 503, 504, 599])
def test_a_status_that_speaks_for_no_order(status: int) -> None:
    """A redirect or a server error is no answer, even with a refusal in its body."""
    assert isinstance(answered({"s": "error", "code": -50, "message": "no"}, status), Unknown)
    assert isinstance(answered({"s": "ok", "code": 1101, "id": "7"}, status), Unknown)


@pytest.mark.parametrize("code", [-8, -15, -16, -17, -50, -51, -53, -99, -300, -352])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 422])
def test_no(code: int, status: int) -> None:
    """A documented code of refusal is a no."""
    outcome = answered({"s": "error", "code": code, "message": "no  \n money", "id": "7"}, status)
    assert outcome == Rejected(code, "no money", "7", token_refused=code in (-8, -15, -16, -17))


def test_a_yes_under_a_status_of_refusal_is_doubt() -> None:
    """Success in the body and refusal in the status contradict each other."""
    assert isinstance(answered({"s": "ok", "code": 1101, "id": "7"}, 400), Unknown)


def test_turned_away() -> None:
    """HTTP 429, whatever its body, and code −429 are "not sent"."""
    assert answered(b"<html>", 429, "7") == NotSent("the venue's rate limit (HTTP 429)", 7.0)
    assert answered({"s": "error", "code": -429}, 400) == NotSent("the venue's rate limit", 1.0)
    assert of_read(Answer(429, "", b""), orders, NOW) == NotSent("the venue's rate limit (HTTP 429)", 1.0)
    limited = Answer(400, "", b'{"s":"error","code":-429}')
    assert of_read(limited, orders, NOW) == NotSent("the venue's rate limit", 1.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("999999999", 86_400.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2000 22:13:50 GMT", 0.0),
        ("Tue, 14 Nov 2100 22:13:50 GMT", 86_400.0),
        ("-3", 1.0),
        ("soon", 1.0),
        ("", 1.0),
        ("²", 1.0),
    ],
)
def test_retry_after(header: str, seconds: float) -> None:
    """Seconds or a date, bounded to a day; anything else is a second."""
    assert retry_seconds(header, NOW) == seconds


def test_reads() -> None:
    """A read is an answer, a no with any code, or something to ask again."""
    assert of_read(Answer(200, "", b'{"s":"ok","code":200,"orderBook":[]}'), orders, NOW) == Done([])
    assert of_read(Answer(401, "", b'{"s":"error","code":-777,"message":"x"}'), orders, NOW) == Rejected(-777, "x")
    for status, body in (
        (200, b'{"s":"ok","code":200}'),
        (200, b'{"s":"ok","orderBook":[{"id":"1"}]}'),
        (200, b"<html>"),
        (500, b'{"s":"error","code":-777,"message":"x"}'),
        (400, b'{"s":"error","message":"x"}'),
        (302, b'{"s":"ok","orderBook":[]}'),
    ):
        assert isinstance(of_read(Answer(status, "", body), orders, NOW), Unknown)
