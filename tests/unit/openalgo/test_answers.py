"""What OpenAlgo's answers say of an order, and what they don't."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.calls.hiding import Hiding
from daemon.calls.http import Answer
from daemon.calls.outcome import Done, NotSent, Rejected, Unknown
from daemon.openalgo.answers import of_order, of_read

KEY = "a-key-that-nobody-may-see"


def answer(document: Any, status: int = 200) -> Answer:
    """Of these contents."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Answer(status, "", body, Hiding(KEY))


def test_yes() -> None:
    """With an id of the broker's."""
    outcome = of_order(answer({"status": "success", "orderid": "25"}), 0)
    assert isinstance(outcome, Done)
    assert outcome.value.venue_id == "25"


def test_no() -> None:
    """With a reason, under 4xx; a key that is refused says so."""
    assert of_order(answer({"status": "error", "message": "no  money"}, 400), 0) == Rejected(400, "no money")
    refused = of_order(answer({"status": "error", "message": "Invalid openalgo apikey"}, 403), 0)
    assert isinstance(refused, Rejected)
    assert refused.token_refused


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"status": "success", "message": "Order queued for approval in Action Center"}, 200),
        ({"status": "error", "message": "Failed to place order due to internal error"}, 500),
        ({"status": "error", "message": "no money"}, 500), ({"status": "error", "message": "no money"}, 408),
        ({"status": "error", "message": "no money"}, 200),
        ({"status": "error"}, 400), ({"status": "error", "message": "Request timed out"}, 400),
        ({"status": "error", "message": "please try again"}, 400), (b"<html>", 502), (b'{"status":"succ', 200),
        ({"status": "success", "orderid": "25"}, 502), ({"status": "success", "orderid": ""}, 200),
    ],
)  # fmt: skip
def test_what_says_nothing(document: Any, status: int) -> None:
    """The broker may have the order: the book is asked."""
    assert isinstance(of_order(answer(document, status), 0), Unknown)


def test_turned_away() -> None:
    """Nothing was done."""
    assert of_order(answer({"status": "error", "message": "Rate limit exceeded. Please try again later."}, 429), 0) == (
        NotSent("the venue's rate limit (HTTP 429)", 1.0)
    )


def test_the_key_is_hidden() -> None:
    """Wherever the server repeats it, as an order's id too."""
    outcome = of_order(answer({"status": "error", "message": f"bad {KEY}"}, 400), 0)
    assert outcome == Rejected(400, "bad ***")
    assert isinstance(of_order(answer({"status": "success", "orderid": KEY}), 0), Unknown)


def test_reads() -> None:
    """The answer, a no, or ask again."""
    assert of_read(answer({"status": "success", "data": 5}), lambda it: it["data"], 0) == Done(5)
    assert isinstance(of_read(answer({"status": "error", "message": "no"}, 404), dict, 0), Rejected)
    assert isinstance(of_read(answer({"status": "error", "message": "no"}, 500), dict, 0), Unknown)
