"""Who somebody is → a code that opens one session for them, once and soon: what stands in a link instead of a token.

A link is seen by shells, histories and shoulders. Invariant: a code opens at most one session, for at most
`LIFETIME_S` after it was made, and for nobody who wouldn't be let in without it any more; only hashes are kept.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec

from daemon.control.gate import Who
from daemon.control.tokens import digest
from daemon.core.clock import NS_PER_S, wall_ns

LIFETIME_S = 300
MOST_CODES = 16
"""That can be open at once; the oldest goes where there is no room."""


class CodeTicket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of a link, for a session."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    """What stands behind `#code=` in the link."""


class PageLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that opens the page signed in, once."""

    link: str
    """On loopback, with the code behind `#`, which a browser sends to nobody."""
    expires_ts: int
    """Wall time; after it, or once it was opened, the link opens nothing."""


class LoginCodes:
    """Codes that were given out and not yet used."""

    def __init__(self, now_ns: Callable[[], int] = wall_ns) -> None:
        self._now_ns = now_ns
        self._open: dict[str, tuple[Who, int]] = {}

    def make(self, who: Who) -> tuple[str, int]:
        """A code for `who`, and until when it holds (wall time, UTC ns)."""
        code, until = secrets.token_urlsafe(32), self._now_ns() + LIFETIME_S * NS_PER_S
        self._open[digest(code)] = (who, until)
        while len(self._open) > MOST_CODES:
            del self._open[next(iter(self._open))]
        return code, until

    def spend(self, code: str) -> Who | None:
        """Whom it lets in, this once; None for a code that is unknown, was used, or came too late."""
        wanted, found = digest(code), None
        for known in self._open:
            if hmac.compare_digest(known, wanted):
                found = known
        if found is None:
            return None
        who, until = self._open.pop(found)
        return who if self._now_ns() < until else None
