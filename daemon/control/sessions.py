"""A token → a session: a JSON Web Token (RFC 7519, HS256) in a cookie that no script can read.

The key is made at the start and never leaves the process, so a restart ends every session. Invariant: a session ends
with its token, with its time, or at logout, whichever comes first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web

from daemon.control.tokens import Scope
from daemon.core.clock import NS_PER_S, wall_ns

COOKIE = "hrmd_session"
"""Followed by the port: a browser keeps one jar for all ports of a host, and several daemons may run there."""
MAX_COOKIE_CHARS = 1024
_PORT = re.compile(r":([0-9]{1,5})\Z", re.ASCII)
_HEADER = b'{"alg":"HS256","typ":"JWT"}'


class LoginTicket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token, for a session."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """As `hrmd token new` showed it, or the daemon's own."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in, and until when; the cookie is in `Set-Cookie`."""

    name: str
    scope: Scope
    expires_ts: int
    """Wall time; at a logout, now."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a session says of itself; seconds since 1970."""

    sub: str
    """The token's name."""
    scope: Scope
    sha: str
    """The token's hash: with another one of the same name the session is over."""
    iat: int
    exp: int
    jti: str


class Sessions:
    """Makes and reads sessions."""

    def __init__(self, lifetime_s: int, now_ns: Callable[[], int] = wall_ns) -> None:
        self.lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)
        self._now_ns = now_ns
        self._ended: dict[str, int] = {}

    def begin(self, name: str, scope: Scope, sha256: str, until_ts: int | None) -> tuple[str, Claims]:
        """A session's cookie and claims; it outlives neither its time nor its token's (`until_ts`)."""
        now = self._now_ns() // NS_PER_S
        ends = now + self.lifetime_s if until_ts is None else min(now + self.lifetime_s, until_ts // NS_PER_S)
        claims = Claims(sub=name, scope=scope, sha=sha256, iat=now, exp=ends, jti=secrets.token_hex(8))
        signed = _encoded(_HEADER) + b"." + _encoded(msgspec.json.encode(claims))
        return (signed + b"." + _encoded(self._signature(signed))).decode(), claims

    def read(self, cookie: str) -> Claims | None:
        """The claims of a session that holds; None for anything else."""
        if len(cookie) > MAX_COOKIE_CHARS or not cookie.isascii():
            return None
        signed, _, signature = cookie.encode().rpartition(b".")
        head, _, body = signed.partition(b".")
        if not hmac.compare_digest(signature, _encoded(self._signature(signed))) or head != _encoded(_HEADER):
            return None
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)), type=Claims)
        return claims if self.holds(claims) else None

    def holds(self, claims: Claims) -> bool:
        """Whether a session is neither over nor ended."""
        return claims.jti not in self._ended and self._now_ns() < claims.exp * NS_PER_S

    def end(self, claims: Claims) -> None:
        """Log out."""
        now = self._now_ns() // NS_PER_S
        self._ended = {jti: exp for jti, exp in self._ended.items() if exp > now}
        self._ended[claims.jti] = claims.exp

    def _signature(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, hashlib.sha256)


def cookie_name(request: web.Request) -> str:
    """Of the cookie that holds a session at the address by which a browser knows us: its port, not ours, counts."""
    port = _PORT.search(request.host)
    return f"{COOKIE}_{port[1]}" if port is not None else COOKIE


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
