"""Whatever a venue makes of our token in its answers, no piece of it reaches what we keep."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from daemon.calls.hiding import HIDDEN, PIECE, Hiding
from daemon.calls.http import Answer
from daemon.calls.outcome import Done
from daemon.core.texts import one_line
from daemon.fyers.answers import of_order, of_read
from daemon.fyers.credentials import Credentials
from daemon.fyers.wire import orders
from daemon.sandbox.tokens import make_token

TOKEN = make_token("a-key-to-the-data-socket", 1_900_000_000) + "Zq3_x-9" * 40
HIDING = Credentials("APP-100", TOKEN).hiding
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=320)
SPANS = st.tuples(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN))).map(sorted)


def pieces(text: str, secret: str = TOKEN) -> list[str]:
    """The pieces of the secret that a text holds."""
    return [secret[at : at + PIECE] for at in range(len(secret) - PIECE + 1) if secret[at : at + PIECE] in text]


@given(before=PLAIN, span=SPANS, after=PLAIN, status=st.sampled_from([200, 400, 401, 500]),
       code=st.sampled_from([-99, -16, -50, 201, 1101, -123]), verdict=st.sampled_from(["ok", "error"]))  # fmt: skip
def test_no_piece_of_the_token_is_kept(
    before: str, span: list[int], after: str, status: int, code: int, verdict: str
) -> None:
    """Any part of it, anywhere in the message or in place of an id, whatever is cut off."""
    echo = before + TOKEN[span[0] : span[1]] + after
    body = {"s": verdict, "code": code, "message": echo, "id": echo}
    single = Answer(status, "", msgspec.json.encode(body), HIDING)
    for outcome in (of_order(single, frozenset({1101}), 0), of_read(single, orders, 0)):
        assert not isinstance(outcome, Done) or not pieces(outcome.value.venue_id)  # type: ignore[attr-defined]
        assert not pieces(repr(outcome)), outcome


@given(before=PLAIN, span=SPANS, after=PLAIN, most=st.integers(0, 400))
def test_a_text_is_hidden_before_it_is_cut(before: str, span: list[int], after: str, most: int) -> None:
    """No piece is left, and a text without one is only made a line and cut."""
    text = before + TOKEN[span[0] : span[1]] + after
    line = HIDING.line(text, most)
    assert not pieces(line)
    assert len(line) <= most
    if not pieces(text):
        assert line == one_line(text, most) or HIDING.finds(text)


@given(st.binary(min_size=1, max_size=6).map(bytes.hex), PLAIN)
def test_short_secrets_are_hidden_whole(secret: str, text: str) -> None:
    """Under the length of a piece a secret is looked for as it is."""
    assert secret not in Hiding(secret).hide(f"{text} {secret} {text}").replace(HIDDEN, "")
