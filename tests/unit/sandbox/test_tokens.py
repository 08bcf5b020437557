from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sandbox.gate import DEFAULT_AUTHORIZATION, TokenGate
from daemon.sandbox.tokens import hsm_key_of, make_token


@given(st.text(max_size=60), st.integers(0, 2**40))
def test_what_a_token_says(key: str, expires_s: int) -> None:
    """A token's payload holds its end and its key, in three parts as the SDK splits them."""
    token = make_token(key, expires_s)
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))
    assert (payload["exp"], payload["hsm_key"], token.count(".")) == (expires_s, key, 2)
    assert hsm_key_of(token) == key


@pytest.mark.parametrize(
    "token", ["", "plain", "a.b.c", "a.é.c", "a.bm9uZQ.c", f"a.{base64.b64encode(b'{}').decode()}.c"]
)
def test_what_is_no_token(token: str) -> None:
    """A text without a readable payload carries no key."""
    assert hsm_key_of(token) is None


def test_the_gate() -> None:
    """Headers carry app id and token, the symbol service takes the token alone, the data socket the key."""
    gate = TokenGate(f"APP-100:{make_token('key')}")
    assert gate.admits(f"APP-100:{make_token('key')}")
    assert not gate.admits(make_token("key"))
    assert gate.admits_token(make_token("key"))
    assert gate.admits_token(f"APP-100:{make_token('key')}")
    assert not gate.admits_token(None)
    assert gate.admits_key("key")
    assert not gate.admits_key("other")


def test_an_expired_gate() -> None:
    """After the token's end nothing is let in, until another one holds."""
    gate = TokenGate(f"APP-100:{make_token('key')}")
    gate.expire()
    assert not gate.admits(f"APP-100:{make_token('key')}")
    assert not gate.admits_token(make_token("key"))
    assert not gate.admits_key("key")
    gate.renew(f"APP-100:{make_token('new')}")
    assert gate.admits_key("new")
    assert not gate.admits_key("key")


def test_a_plain_token_opens_no_data_socket() -> None:
    """A token that is no JWT carries no key: not even an empty one is let in."""
    gate = TokenGate("APP-100:plain")
    assert gate.admits("APP-100:plain")
    assert not gate.admits_key("")


def test_the_default_is_one() -> None:
    """The sandbox's own token opens the data socket, and its header is Fyers'."""
    token = DEFAULT_AUTHORIZATION.partition(":")[2]
    assert hsm_key_of(token)
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0])) == {"typ": "JWT", "alg": "HS256"}


@pytest.mark.parametrize(("app_id", "fits"), [("", True), ("SANDBOX-100", True), ("ABCDEFGHI-100", False)])
def test_what_the_sdk_reads(app_id: str, fits: bool, tmp_path: Path) -> None:
    """The SDK takes the token alone, and with most app ids; not 13 characters: it decodes both as one."""
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    from fyers_apiv3.FyersWebsocket.data_ws import FyersDataSocket

    errors: list[object] = []
    shown = f"{app_id}:{make_token()}" if app_id else make_token()
    assert FyersDataSocket(shown, log_path=str(tmp_path), on_error=errors.append).access_token_to_hsmtoken() is fits
    assert bool(errors) is not fits
