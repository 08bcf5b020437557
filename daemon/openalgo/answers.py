"""An HTTP answer of OpenAlgo → an outcome: yes, no, turned away at the door, or no answer that can be believed.

Which is which, for a call that changes orders:
- yes: HTTP 200, `"status": "success"` and an order id. A success without one waits for a person's approval, or for
  nobody knows what: it may come to the broker yet.
- no: JSON with `"status": "error"` and a message under HTTP 4xx, for then OpenAlgo, or the broker behind it, refused.
  Not where the message itself speaks of time or of looking again.
- turned away: HTTP 429. (HTTP 408 is a time-out and no answer.)
- all else (5xx is also what OpenAlgo says where it failed after the broker took the order) says nothing about the
  order. Invariant: what isn't listed here is `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from daemon.calls.http import Answer, turned_away
from daemon.calls.outcome import Done, NotSent, Outcome, Rejected, Unknown
from daemon.calls.records import WireError, decode
from daemon.orders.venue import Acknowledged

T = TypeVar("T")

REFUSED_KEY: Final = (401, 403)
_NO_ANSWER: Final = 408
ANALYZE: Final = "analyze"
"""How the mode is called in which the server pretends."""
_DOUBTFUL: Final = re.compile(
    r"time[d\s-]*out|try again|order\s?book|no response|could ?n[o']t (connect|reach)|unable to (connect|process)|"
    r"internal error|connection",
    re.IGNORECASE,
)


class Placed(Acknowledged, frozen=True, kw_only=True):
    """`pretended`: the server said with it that it only pretended to (`"mode": "analyze"`); else it costs money."""

    pretended: bool


def of_order(answer: Answer, now_ns: int) -> Outcome[Acknowledged]:
    """The outcome of a call that changes orders."""
    document = _heard(answer, now_ns)
    if not isinstance(document, dict):
        return document
    message, venue_id = _message(document, answer), str(document.get("orderid") or "")
    if answer.hiding.finds(venue_id):
        venue_id = ""
    status = document.get("status")
    if answer.status == 200 and status == "success":
        if venue_id:
            return Done(Placed(venue_id=venue_id, message=message, pretended=document.get("mode") == ANALYZE))
        return Unknown(f"taken without an order id: {message or 'no message'}")
    refused = status == "error" and 400 <= answer.status < 500 and answer.status != _NO_ANSWER and message
    if refused and _DOUBTFUL.search(message) is None:
        return Rejected(answer.status, message, venue_id, answer.status in REFUSED_KEY)
    return Unknown(f"HTTP {answer.status}: {message or 'no message'}", venue_id)


def of_read(answer: Answer, read: Callable[[Mapping[str, Any]], T], now_ns: int) -> Outcome[T]:
    """The outcome of a call that only reads."""
    document = _heard(answer, now_ns)
    if not isinstance(document, dict):
        return document
    if answer.status == 200 and document.get("status") == "success":
        try:
            return Done(read(document))
        except WireError as error:
            return Unknown(f"HTTP 200: {answer.hiding.line(error)}")
    message = _message(document, answer)
    if document.get("status") == "error" and 400 <= answer.status < 500:
        return Rejected(answer.status, message, token_refused=answer.status in REFUSED_KEY)
    return Unknown(f"HTTP {answer.status}: {message or 'no message'}")


def _heard(answer: Answer, now_ns: int) -> dict[str, Any] | NotSent | Unknown:
    """The document that came, or the outcome where there is none to look into."""
    try:
        return turned_away(answer, now_ns) or decode(answer.body)
    except WireError as error:
        return Unknown(f"HTTP {answer.status}: {answer.hiding.line(error)}")


def _message(document: Mapping[str, Any], answer: Answer) -> str:
    return answer.hiding.line(document.get("message"))
