"""Our symbols ↔ OpenAlgo's symbol and exchange: NSE:SBIN-EQ is SBIN at NSE, NSE:NIFTY50-INDEX NIFTY at NSE_INDEX.

OpenAlgo names a contract by its day of expiry, which our names don't tell; so futures and options have no name here.
Invariant: a symbol is translated one to one or not at all.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = "-EQ"
INDEX: Final = "-INDEX"
AT_INDEX: Final = "_INDEX"
_INDICES: Final = {
    "NIFTY50": "NIFTY", "NIFTYBANK": "BANKNIFTY", "FINNIFTY": "FINNIFTY", "MIDCPNIFTY": "MIDCPNIFTY",
    "NIFTYNXT50": "NIFTYNXT50", "INDIAVIX": "INDIAVIX",
}  # fmt: skip
_OURS: Final = {theirs: ours for ours, theirs in _INDICES.items()}


def theirs(symbol: str) -> tuple[str, str] | None:
    """Symbol and exchange; None for what has no name there that we can tell."""
    exchange, _, name = symbol.partition(":")
    if exchange != "NSE":
        return None
    if name.endswith(SHARE):
        return name.removesuffix(SHARE), exchange
    if name.endswith(INDEX):
        known = _INDICES.get(name.removesuffix(INDEX))
        return (known, exchange + AT_INDEX) if known is not None else None
    return None


def ours(symbol: str, exchange: str) -> str:
    """The symbol as we write it; what we have no name for keeps theirs, behind its exchange."""
    if exchange == "NSE":
        return f"NSE:{symbol}{SHARE}"
    if exchange == "NSE_INDEX" and symbol in _OURS:
        return f"NSE:{_OURS[symbol]}{INDEX}"
    return f"{exchange}:{symbol}"
