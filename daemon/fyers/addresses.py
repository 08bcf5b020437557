"""Which addresses are this machine's own, and so hold no real money.

Invariant: an address whose host can't be told is not local.
"""

from __future__ import annotations

from typing import Final

from yarl import URL

LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "::1")


def is_local(address: str) -> bool:
    """Whether whatever answers at `address` runs on this machine."""
    try:
        return URL(address).host in LOCAL_HOSTS
    except ValueError:
        return False
