"""Which addresses are this machine's own, and so hold no real money; and which a token may be shown to.

Invariant: an address whose host can't be told is not local, and what isn't local is spoken to encrypted or not at all.
"""

from __future__ import annotations

from typing import Final

from yarl import URL

from daemon.core.errors import SettingsError

LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
ENCRYPTED: Final = ("https", "wss")


def is_local(address: str) -> bool:
    """Whether whatever answers at `address` runs on this machine."""
    try:
        return URL(address).host in LOCAL_HOSTS
    except ValueError:
        return False


def check_encrypted(key: str, address: str) -> None:
    """Raise `SettingsError` for an address beyond this machine that a token would travel to in the clear."""
    if is_local(address):
        return
    try:
        encrypted = URL(address).scheme in ENCRYPTED
    except ValueError:
        encrypted = False
    if not encrypted:
        raise SettingsError(
            f"{key}: expected https:// or wss:// for an address beyond this machine, got {address!r}: the token would "
            "travel in the clear"
        )
