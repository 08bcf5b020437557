"""The sandbox's one access token: who may call, until it expires.

Invariant: after `expire` nothing is let in before `renew`.
"""

from __future__ import annotations

import hmac
from typing import Final

DEFAULT_AUTHORIZATION: Final = "SANDBOX-100:sandbox-token"


class TokenGate:
    """Compares `Authorization` headers."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization
        self.expired = False

    def admits(self, header: str | None) -> bool:
        """Whether the header carries the token of the day."""
        given = (header or "").encode()
        return not self.expired and hmac.compare_digest(given, self._authorization.encode())

    def expire(self) -> None:
        """The token holds no more."""
        self.expired = True

    def renew(self, authorization: str) -> None:
        """From now on `app_id:token` is another one."""
        self._authorization, self.expired = authorization, False
