"""The sandbox's one access token: who may call, until it expires.

Invariant: after `expire` nothing is let in before `renew`.
"""

from __future__ import annotations

import hmac
from typing import Final

from daemon.sandbox.tokens import hsm_key_of, make_token

TOKEN_CODES: Final = {
    -8: "Your token has expired", -15: "Please provide a valid token", -16: "Could not authenticate the user",
    -17: "Your token is either invalid or expired",
}  # fmt: skip
"""What Fyers says to a token that it doesn't take; which of them when isn't documented."""

TOKEN_REFUSED: Final = -16
DEFAULT_AUTHORIZATION: Final = f"SANDBOX-100:{make_token()}"


class TokenGate:
    """Compares `Authorization` headers, and the key that the data socket is opened with."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization
        self.expired = False
        self.code = TOKEN_REFUSED
        """What is said to whoever isn't let in."""

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

    def expire(self, code: int = TOKEN_REFUSED) -> None:
        """The token holds no more; calls are answered with `code` (any but Fyers' four: −16)."""
        self.expired, self.code = True, code if code in TOKEN_CODES else TOKEN_REFUSED

    def renew(self, authorization: str) -> None:
        """From now on `app_id:token` is another one."""
        self._authorization, self.expired, self.code = authorization, False, TOKEN_REFUSED


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
