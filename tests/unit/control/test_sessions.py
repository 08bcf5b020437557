"""Sessions: JSON Web Tokens that only this process can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from daemon.control.sessions import MAX_COOKIE_CHARS, Sessions
from daemon.control.tokens import Scope
from daemon.core.clock import NS_PER_S, ReplayClock

CLOCK = ReplayClock(1000 * NS_PER_S)


def sessions() -> Sessions:
    """For a minute each."""
    return Sessions(60, CLOCK.now_ns)


def encoded(value: object) -> str:
    """A part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


CLAIMS = {"sub": "anna", "scope": "admin", "sha": "", "iat": 0, "exp": 10**10, "jti": "x"}


def test_a_session_says_whose_it_is() -> None:
    """Name, scope and the token's hash come back; it is a JWT of three parts, HS256."""
    made = sessions()
    cookie, claims = made.begin("anna", Scope.TRADE, "abc", None)
    assert made.read(cookie) == claims
    assert (claims.sub, claims.scope, claims.sha, claims.exp - claims.iat) == ("anna", Scope.TRADE, "abc", 60)
    head = cookie.split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}


def test_it_ends_with_its_token() -> None:
    """Where that is sooner."""
    assert sessions().begin("anna", Scope.READ, "", 1010 * NS_PER_S)[1].exp == 1010


@pytest.mark.parametrize(
    "forged",
    [
        "", ".", "..", "...", "x.y.z", "é.é.é",
        f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(CLAIMS)}.",
        f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(CLAIMS)}.",
        f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(CLAIMS)}.{encoded(b'x' * 32)}",
        "a" * (MAX_COOKIE_CHARS + 1),
    ],
)  # fmt: skip
def test_what_we_did_not_sign_is_nothing(forged: str) -> None:
    """No algorithm, no signature, another one, or none of it."""
    assert sessions().read(forged) is None


def test_another_key_or_another_word_is_nothing() -> None:
    """Of an earlier process, signed with a guessed key, or with one letter changed."""
    made = sessions()
    cookie, _ = made.begin("anna", Scope.READ, "", None)
    assert sessions().read(cookie) is None
    signed, _, _ = cookie.rpartition(".")
    guess = encoded(hmac.digest(b"secret", signed.encode(), hashlib.sha256))
    assert made.read(f"{signed}.{guess}") is None
    head, body, signature = cookie.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert made.read(f"{head}.{encoded(claims | {'scope': 'admin'})}.{signature}") is None
    assert made.read(cookie + "=") is None
