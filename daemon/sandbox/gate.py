"""The sandbox's one access token: who may call, until it expires.

Invariant: after `expire` nothing is let in before `renew`.
"""

from __future__ import annotations

import hmac
from typing import Final

from daemon.sandbox.tokens import hsm_key_of, make_token

DEFAULT_AUTHORIZATION: Final = f"SANDBOX-100:{make_token()}"


class TokenGate:
    """Compares `Authorization` headers, and the key that the data socket is opened with."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization
        self.expired = False

    def admits(self, header: str | None) -> bool:
        """Whether the header carries the token of the day."""
        return not self.expired and _same(header or "", self._authorization)

    def admits_token(self, header: str | None) -> bool:
        """Whether the header carries the token, with or without the app id: the SDK asks for symbols without it."""
        token = self._authorization.partition(":")[2]
        return self.admits(header) or (not self.expired and _same(header or "", token))

    def admits_key(self, hsm_key: str) -> bool:
        """Whether this is the key that the token of the day carries for the data socket."""
        wanted = hsm_key_of(self._authorization.partition(":")[2])
        return not self.expired and wanted is not None and _same(hsm_key, wanted)

    def expire(self) -> None:
        """The token holds no more."""
        self.expired = True

    def renew(self, authorization: str) -> None:
        """From now on `app_id:token` is another one."""
        self._authorization, self.expired = authorization, False


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
