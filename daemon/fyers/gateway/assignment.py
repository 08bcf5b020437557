"""What the daemon tells a gateway to do: one line of JSON on its standard input, so that no process list shows a token.

Invariant: an assignment shows itself without the token.
"""

from __future__ import annotations

from typing import Final

import msgspec

from daemon.calls.hiding import HIDDEN

SDK_MODULE: Final = "fyers_apiv3"
SDK_MISSING: Final = (
    "feed.source fyers: the Fyers SDK is not installed; make setup installs it, or: "
    "pip install -c constraints.txt -e '.[fyers]' && pip install -c constraints.txt --no-deps fyers-apiv3"
)


class Assignment(msgspec.Struct, frozen=True):
    """Which symbols to stream with which token, and where the venue is."""

    token: str
    symbols: tuple[str, ...]
    socket_url: str
    symbol_token_url: str
    index_map_url: str
    conflate_above: int
    calls_file: str = ""
    """Where the account's calls are on record, as an absolute path; "" counts this gateway's alone."""
    calls: tuple[int, int, int] = (10, 200, 100_000)
    """How many the account may make a second, a minute and a day."""

    def __repr__(self) -> str:
        return f"Assignment({len(self.symbols)} symbols, {self.socket_url}, token {HIDDEN})"


def encode(assignment: Assignment) -> bytes:
    """As one line."""
    return msgspec.json.encode(assignment) + b"\n"


def decode(line: bytes) -> Assignment:
    """Read what `encode` wrote."""
    return msgspec.json.decode(line, type=Assignment)
