"""Turns a request's credentials into who it is and what it may do, or into how long to wait.

Bearer tokens are RFC 6750. Invariant: comparison takes the same time for every wrong token, and the right token is
always let in: a flood of wrong ones can't lock the operator out of halting. What a flood does lock, for longer each
time, is the address that it comes from: its other wrong tokens, and its logins.
"""

from __future__ import annotations

import hmac
from collections import deque
from enum import StrEnum
from typing import Protocol

import msgspec

from daemon.control.sessions import Claims, Sessions
from daemon.control.tokens import OWNER, Keyring, Scope
from daemon.core.clock import NS_PER_S, Clock

FAILURES_ALLOWED = 10
FAILURE_WINDOW_S = 60
MOST_WAIT_S = 960
MAX_ADDRESSES = 1024
FORGIVEN_S = 3600
"""So long after the last lock an address begins anew."""


class Verdict(StrEnum):
    """On a request's credentials."""

    GRANTED = "granted"
    REFUSED = "refused"
    TOO_MANY = "too_many"


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was let in."""

    name: str
    scope: Scope
    sha256: str
    """Of the token, "" of the daemon's own."""
    until_ts: int | None = None
    """When the token ends, wall time; None where it doesn't."""
    claims: Claims | None = None
    """Of the session, where a cookie showed it."""


class Entry(msgspec.Struct, frozen=True):
    """What became of a request at the gate."""

    verdict: Verdict
    who: Who | None = None
    wait_s: int = 0


class Codes(Protocol):
    """Where codes of links are kept (`daemon.control.login_codes`)."""

    def spend(self, code: str) -> Who | None:
        """Whom it lets in, this once."""


class _Failures:
    """Of one address."""

    __slots__ = ("at_ns", "locked", "until_ns")

    def __init__(self) -> None:
        self.at_ns: deque[int] = deque(maxlen=FAILURES_ALLOWED)
        self.locked = 0
        self.until_ns = 0


class Gate:
    """Compares tokens and counts failures by address: more than 10 in 60 s, and it is locked for a while."""

    def __init__(
        self, token: str, clock: Clock, keyring: Keyring | None = None, sessions: Sessions | None = None
    ) -> None:
        """`token`: the daemon's own, which may do everything; `keyring`: everybody else's."""
        self._token = token.encode()
        self._clock = clock
        self._keyring = keyring
        self._sessions = sessions
        self._addresses: dict[str, _Failures] = {}

    async def refresh(self, authorization: str | None = None) -> None:
        """Know who holds a token by now, before anybody is let in, or let stay.

        Whoever shows the daemon's own waits for no disk: it is the kill switch's.
        """
        if self._keyring is not None and not self._is_own(_bearer(authorization)):
            await self._keyring.refresh()

    def enter(self, authorization: str | None, cookie: str | None = None, address: str = "") -> Entry:
        """Whoever shows these: the value of an `Authorization` header, else of the session's cookie."""
        token = _bearer(authorization)
        who = self.holder(token) if token is not None else None
        if who is None and authorization is None and cookie is not None:
            who = self._of_session(cookie)
        return Entry(Verdict.GRANTED, who) if who is not None else self._failed(address)

    def login(self, token: str, address: str) -> Entry:
        """Whoever wants a session for `token`; refused, right or wrong, while the address is locked."""
        wait_s = self.locked_s(address)
        if wait_s:
            return Entry(Verdict.TOO_MANY, None, wait_s)
        who = self.holder(token)
        return Entry(Verdict.GRANTED, who) if who is not None else self._failed(address)

    def by_code(self, code: str, codes: Codes, address: str) -> Entry:
        """Whoever wants a session for a link's code; a wrong one counts as a wrong token does."""
        wait_s = self.locked_s(address)
        if wait_s:
            return Entry(Verdict.TOO_MANY, None, wait_s)
        who = codes.spend(code)
        return Entry(Verdict.GRANTED, who) if who is not None and self.still(who) else self._failed(address)

    def holder(self, token: str) -> Who | None:
        """Whose token this is."""
        if self._is_own(token):
            return Who(name=OWNER, scope=Scope.ADMIN, sha256="")
        record = self._keyring.find(token) if self._keyring is not None else None
        if record is None:
            return None
        return Who(name=record.name, scope=record.scope, sha256=record.sha256, until_ts=record.expires_ts)

    def _is_own(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)

    def still(self, who: Who) -> bool:
        """Whether somebody who was let in would be let in again: their token and their session hold."""
        if who.sha256 and (self._keyring is None or not self._keyring.still(who.name, who.sha256)):
            return False
        if who.claims is None:
            return True
        return self._sessions is not None and self._sessions.holds(who.claims)

    def locked_s(self, address: str) -> int:
        """For how many more seconds an address is locked."""
        failures = self._addresses.get(address)
        if failures is None:
            return 0
        return max(0, -((self._clock.monotonic_ns() - failures.until_ns) // NS_PER_S))

    def _of_session(self, cookie: str) -> Who | None:
        claims = self._sessions.read(cookie) if self._sessions is not None else None
        if claims is None:
            return None
        who = Who(name=claims.sub, scope=claims.scope, sha256=claims.sha, claims=claims)
        return who if self.still(who) else None

    def _failed(self, address: str) -> Entry:
        now = self._clock.monotonic_ns()
        wait_s = self.locked_s(address)
        if wait_s:
            return Entry(Verdict.TOO_MANY, None, wait_s)
        failures = self._addresses.pop(address, None) or _Failures()
        self._addresses[address] = failures
        while len(self._addresses) > MAX_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        if failures.locked and now - failures.until_ns >= FORGIVEN_S * NS_PER_S:
            failures.locked = 0
        failures.at_ns.append(now)
        if len(failures.at_ns) == FAILURES_ALLOWED and now - failures.at_ns[0] < FAILURE_WINDOW_S * NS_PER_S:
            failures.until_ns = now + min(MOST_WAIT_S, FAILURE_WINDOW_S << min(failures.locked, 8)) * NS_PER_S
            failures.locked += 1
            failures.at_ns.clear()
        return Entry(Verdict.REFUSED)


def _bearer(authorization: str | None) -> str | None:
    """The token in an `Authorization` header; None where there is none of this scheme."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
