"""The day's access token and the time → how long it holds, in numbers and in words.

Pure. Invariant: nothing but the time of its end is kept of a token, and a token that the venue refused holds no more,
whatever its `exp` says.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from daemon.calls.secret import Secret, expiry_ns
from daemon.core.clock import IST, NS_PER_S


class TokenState(StrEnum):
    """Whether calls can be made. UNKNOWN: the token says nothing of its end (a sandbox's need not)."""

    VALID = "valid"
    UNKNOWN = "unknown"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REFUSED = "refused"

    @property
    def holds(self) -> bool:
        """Whether calls may be made with it."""
        return self not in (TokenState.EXPIRED, TokenState.REFUSED)


class TokenWatch:
    """Knows when the present token ends; `warn_s` before that it is said to be expiring."""

    def __init__(self, token: Secret, warn_s: float) -> None:
        self._warn_ns = int(warn_s * NS_PER_S)
        self.renew(token)

    def renew(self, token: Secret) -> None:
        """Another token holds from now on."""
        self.expires_ts = expiry_ns(token)
        self._refusal = ""

    def refused(self, reason: str) -> None:
        """The venue refuses it, and says so; "": it takes it again."""
        self._refusal = reason

    def state(self, now_ns: int) -> TokenState:
        """What it is at `now_ns` (wall time, UTC ns); one that has ended is refused because of that."""
        if self.expires_ts is not None and now_ns >= self.expires_ts:
            return TokenState.EXPIRED
        if self._refusal:
            return TokenState.REFUSED
        if self.expires_ts is None:
            return TokenState.UNKNOWN
        return TokenState.EXPIRING if self.expires_ts - now_ns <= self._warn_ns else TokenState.VALID

    def left_s(self, now_ns: int) -> float | None:
        """Seconds that it still holds, 0 when it doesn't; None where nobody knows."""
        if not self.state(now_ns).holds:
            return 0.0
        return None if self.expires_ts is None else (self.expires_ts - now_ns) / NS_PER_S

    def text(self, now_ns: int) -> str:
        """One line for people."""
        state = self.state(now_ns)
        if state is TokenState.REFUSED:
            return f"was refused by the venue ({self._refusal})"
        if self.expires_ts is None:
            return "says nothing of its end"
        moment = f"{dt.datetime.fromtimestamp(self.expires_ts / NS_PER_S, IST):%d %b %Y %H:%M} IST"
        if state is TokenState.EXPIRED:
            return f"expired on {moment}"
        return f"expires on {moment}, in {span(self.expires_ts - now_ns)}"


def span(duration_ns: int) -> str:
    """`5 h 12 min`, or `48 s` under a minute."""
    seconds = max(0, duration_ns) // NS_PER_S
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
