"""What the SDK says, sorted into ticks, steps, complaints and the end."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.feed.live.frames import AnyNews, Authenticated, Refused, Subscribed, Trouble
from daemon.fyers.credentials import hiding_of
from daemon.fyers.gateway.__main__ import Gateway
from daemon.fyers.gateway.assignment import Assignment, decode, encode
from tests.unit.fyers.gateway.samples import index, update


class Out:
    """Stands where the outbox stands."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.news: list[AnyNews] = []

    def put_message(self, message: object) -> None:
        """Keep it."""
        self.messages.append(message)

    def put_news(self, news: AnyNews) -> None:
        """Keep it."""
        self.news.append(news)


@pytest.fixture
def out() -> Out:
    """Empty."""
    return Out()


@pytest.fixture
def gateway(out: Out) -> Gateway:
    """Of two symbols."""
    return Gateway(out, 2)


def test_the_handshake(gateway: Gateway, out: Out) -> None:
    """Authentication is what the venue says, not what `on_connect` does; a change of mode is no news."""
    assert not gateway.authenticated.is_set()
    gateway.on_message({"type": "cn", "code": 200, "message": "Authentication done", "s": "ok"})
    gateway.on_message({"type": "ful", "code": 200, "message": "Full Mode On", "s": "ok"})
    gateway.on_message({"type": "sub", "code": 200, "message": "Subscribed", "s": "ok"})
    assert gateway.authenticated.is_set()
    assert out.news == [Authenticated(), Subscribed(2)]
    assert out.messages == []


def test_ticks_and_whatever_looks_like_none_of_it_are_read_as_ticks(gateway: Gateway, out: Out) -> None:
    """The reader counts what it can't use: nothing disappears here."""
    odd: list[Any] = [update(), index(), None, "text", {}, {"symbol": "NSE:SBIN-EQ", "type": "dp"}]
    for message in odd:
        gateway.on_message(message)
    assert out.messages == odd
    assert out.news == []


@pytest.mark.parametrize(
    ("error", "news"),
    [
        ({"type": "cn", "code": -99, "message": "Token is expired"}, Refused("Token is expired", token=True)),
        ({"type": "cn", "code": 11001, "message": "Authentication failed"},
         Refused("Authentication failed", token=True)),
        ({"type": "sub", "code": -300, "message": "Could not authenticate the user"},
         Refused("the subscription failed: Could not authenticate the user", token=True)),
        ({"type": "sub", "code": 11011, "message": "subscription failed"},
         Refused("the subscription failed: subscription failed", token=False)),
        ({"type": "sub", "code": -300, "message": "Please provide a valid symbol", "invalid_symbols": ["A", "B"]},
         Trouble(-300, "Please provide a valid symbol: A, B")),
        ({"type": "msg", "code": 51001, "message": "limit"}, Trouble(51001, "limit")),
        ({"code": "odd"}, Trouble(0, "")),
        (ConnectionResetError("reset"), Trouble(0, "ConnectionResetError: reset")),
    ],
)  # fmt: skip
def test_complaints(gateway: Gateway, out: Out, error: Any, news: AnyNews) -> None:
    """Only those about the token or the subscription end the link."""
    gateway.on_error(error)
    assert out.news == [news]


def test_a_complaint_about_a_later_subscription_ends_nothing(gateway: Gateway, out: Out) -> None:
    """Ticks flow: the venue may say what it likes."""
    gateway.on_message({"type": "sub", "code": 200, "message": "Subscribed", "s": "ok"})
    gateway.on_error({"type": "sub", "code": 51001, "message": "limit"})
    assert out.news[-1] == Trouble(51001, "limit")


def test_the_end_names_the_last_complaint(gateway: Gateway, out: Out) -> None:
    """By itself it was the venue's doing."""
    gateway.on_close({})
    gateway.on_error(ConnectionResetError("reset"))
    gateway.on_close({})
    assert [news.reason for news in out.news if isinstance(news, Refused)] == [
        "the connection was closed (by the venue)", "the connection was closed (ConnectionResetError: reset)",
    ]  # fmt: skip


def test_an_assignment_travels_whole_and_shows_no_token() -> None:
    """Over standard input, as one line."""
    task = Assignment("aaa.bbb.ccc", ("NSE:SBIN-EQ",), "ws://x", "http://y", "http://z", 10)
    line = encode(task)
    assert line.count(b"\n") == 1
    assert decode(line) == task
    assert "aaa.bbb.ccc" not in f"{task!r} {task}"


def test_no_complaint_holds_a_piece_of_the_token(out: Out) -> None:
    """Neither an error of the venue that quotes it, nor an exception, nor the end that names the last one."""
    token = "".join(f"t{number:03d}" for number in range(200))
    gateway = Gateway(out, 1, hiding_of(token))
    quoted = "x" * 200 + token
    gateway.on_error({"type": "cn", "code": -99, "message": quoted})
    gateway.on_error({"type": "sub", "code": -300, "message": "", "invalid_symbols": [quoted]})
    gateway.on_error(ConnectionError(f"Handshake status 403 {token[:50]}"))
    gateway.on_close({})
    said = repr(out.news)
    assert len(out.news) == 4
    assert not [token[at : at + 8] for at in range(len(token) - 7) if token[at : at + 8] in said]
