"""An HTTP answer of the venue → an outcome: yes, no, turned away at the door, or no answer that can be believed.

Which is which, for a call that changes orders:
- yes: HTTP 200, `"s": "ok"`, the code of that call (1101, 1102, 1103) and an id; 201 is "sent, not acknowledged".
- no: JSON with `"s": "error"` and a code that Fyers documents as a refusal, under an HTTP status below 500. The
  catch-all −99 counts only with a message, and not where the message itself speaks of time or of looking again.
- turned away: HTTP 429, or code −429: the limiter stands before the order system.
- all else (5xx whatever its body, HTML, redirects, broken JSON, codes that nobody documented) says nothing about the
  order. Invariant: what isn't listed here is `Unknown`.

A call that only reads has nothing to lose: every error in JSON is a no, everything else can be asked again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from daemon.calls.hiding import Hiding
from daemon.calls.http import DEFAULT_RETRY_S, Answer, turned_away
from daemon.calls.outcome import Done, NotSent, Outcome, Rejected, Unknown
from daemon.calls.records import WireError, decode
from daemon.orders.venue import Acknowledged, VenueOrder

T = TypeVar("T")

TOKEN_CODES: Final = frozenset({-8, -15, -16, -17})
"""For a token that is expired, malformed or refused."""
REFUSALS: Final = TOKEN_CODES | {-50, -51, -53, -99, -300, -352}
"""Codes that mean "no, and nothing was done"."""

CATCH_ALL: Final = -99
RATE_LIMITED: Final = -429
NO_ACKNOWLEDGEMENT: Final = 201
_DOUBTFUL: Final = re.compile(
    r"time[d\s-]*out|try again|order\s?book|no response|acknowledg|"
    r"could ?n[o']t (connect|reach)|unable to (connect|process)",
    re.IGNORECASE,
)


def of_order(answer: Answer, done_codes: frozenset[int], now_ns: int) -> Outcome[Acknowledged]:
    """The outcome of a call that changes orders; `done_codes` are the call's own codes of success."""
    away = turned_away(answer, now_ns)
    if away is not None:
        return away
    if answer.status >= 300 and not 400 <= answer.status < 500:
        return Unknown(f"HTTP {answer.status}")
    try:
        document = decode(answer.body)
    except WireError as error:
        return Unknown(f"HTTP {answer.status}: {answer.hiding.line(error)}")
    return _of_one_order(document, answer.status, done_codes, answer.hiding)


def _of_one_order(
    document: Mapping[str, Any], status: int, done_codes: frozenset[int], hiding: Hiding
) -> Outcome[Acknowledged]:
    code, message, venue_id = _code(document), _message(document, hiding), str(document.get("id") or "")
    if hiding.finds(venue_id):
        venue_id = ""  # whatever it is, it is no id: the book is asked by tag
    if code == RATE_LIMITED:
        return NotSent("the venue's rate limit", DEFAULT_RETRY_S)
    if document.get("s") == "ok" and status == 200 and code in done_codes and venue_id:
        return Done(Acknowledged(venue_id=venue_id, message=message))
    doubtful = code == CATCH_ALL and (not message or _DOUBTFUL.search(message) is not None)
    if document.get("s") == "error" and code in REFUSALS and not doubtful:
        return Rejected(code, message, venue_id, code in TOKEN_CODES)
    if code == NO_ACKNOWLEDGEMENT:
        return Unknown("sent, but the exchange did not acknowledge it (code 201)", venue_id)
    return Unknown(f"HTTP {status}, code {code}: {message or 'no message'}", venue_id)


def of_read(
    answer: Answer, read: Callable[[Mapping[str, Any]], T], now_ns: int, said: frozenset[str] = frozenset({"ok"})
) -> Outcome[T]:
    """The outcome of a call that only reads; `read` makes the value of a document whose `s` is among `said`."""
    away = turned_away(answer, now_ns)
    if away is not None:
        return away
    try:
        document = decode(answer.body)
        if document.get("s") in said and answer.status == 200:
            return Done(read(document))
    except WireError as error:
        return Unknown(f"HTTP {answer.status}: {answer.hiding.line(error)}")
    code, message = _code(document), _message(document, answer.hiding)
    if code == RATE_LIMITED:
        return NotSent("the venue's rate limit", DEFAULT_RETRY_S)
    if document.get("s") == "error" and answer.status < 500 and code:
        return Rejected(code, message, token_refused=code in TOKEN_CODES)
    return Unknown(f"HTTP {answer.status}, code {code}: {message or 'no message'}")


def in_clear(order: VenueOrder, hiding: Hiding) -> VenueOrder:
    """The order with its message as it may be journaled."""
    return msgspec.structs.replace(order, message=hiding.line(order.message)) if order.message else order


def _code(document: Mapping[str, Any]) -> int:
    code = document.get("code")
    return code if isinstance(code, int) else 0


def _message(document: Mapping[str, Any], hiding: Hiding) -> str:
    return hiding.line(document.get("message") or "")
