"""What a Fyers access token says of itself ↔ the token: a JWT that holds `exp` and `hsm_key`, unsigned here.

The data socket never sees the token, only its `hsm_key`, which clients read out of it without a look at the signature.
Invariant: what `hsm_key_of` reads is what `make_token` was given.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

FAR_S: Final = 4_070_908_800  # 2099-01-01: by default the token holds until it is told to expire
DEFAULT_HSM_KEY: Final = "sandbox-hsm-key"


class _Payload(msgspec.Struct, frozen=True):
    """What is read of a token's payload."""

    hsm_key: str


def make_token(hsm_key: str = DEFAULT_HSM_KEY, expires_s: int = FAR_S) -> str:
    """Make a token that ends at `expires_s` (seconds since 1970, UTC)."""
    header = _part({"typ": "JWT", "alg": "HS256"})  # as Fyers': the SDK decodes app id and header as one text
    return f"{header}.{_part({'sub': 'access_token', 'exp': expires_s, 'hsm_key': hsm_key})}.unsigned"


def hsm_key_of(token: str) -> str | None:
    """The key that a token carries for the data socket; None where it is no such token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=_Payload).hsm_key
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(content)).rstrip(b"=").decode()
