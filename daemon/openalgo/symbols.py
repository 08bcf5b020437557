"""Our symbols ↔ OpenAlgo's symbol and exchange: NSE:SBIN-EQ is SBIN at NSE, NSE:NIFTY50-INDEX NIFTY at NSE_INDEX.

OpenAlgo names a contract by its day of expiry (NIFTY24NOV26FUT, NIFTY24NOV2624000CE at NFO), ours tell the month or a
week. So futures and options have a name here where it is known when they expire (`Instrument.expiry`).
Invariant: a symbol is translated one to one or not at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Final

from daemon.market.contracts import CURRENCIES
from daemon.market.instruments import Instrument

SHARE: Final = "-EQ"
INDEX: Final = "-INDEX"
AT_INDEX: Final = "_INDEX"
DERIVATIVES: Final = {"NSE": "NFO", "BSE": "BFO"}
_INDICES: Final = {
    "NSE:NIFTY50": "NIFTY", "NSE:NIFTYBANK": "BANKNIFTY", "NSE:FINNIFTY": "FINNIFTY", "NSE:MIDCPNIFTY": "MIDCPNIFTY",
    "NSE:NIFTYNXT50": "NIFTYNXT50", "NSE:INDIAVIX": "INDIAVIX", "BSE:SENSEX": "SENSEX", "BSE:BANKEX": "BANKEX",
}  # fmt: skip
_OURS: Final = {(theirs, ours.partition(":")[0] + AT_INDEX): ours + INDEX for ours, theirs in _INDICES.items()}
_EXCHANGES: Final = {theirs: ours for ours, theirs in DERIVATIVES.items()}
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH: Final = "|".join(_MONTHS)
_RIGHT: Final = r"(?P<right>FUT|\d+(?:\.\d+)?(?:CE|PE))"
"""FUT, or strike and kind of an option."""
_MONTHLY: Final = re.compile(rf"(?P<name>[A-Z0-9&-]+?)\d\d(?:{_MONTH}){_RIGHT}")
_WEEKLY: Final = re.compile(rf"(?P<name>[A-Z0-9&-]+?)\d\d[1-9OND][0-3]\d{_RIGHT}")
_THEIRS: Final = re.compile(rf"(?P<name>[A-Z0-9&-]+?)(?P<day>\d\d)(?P<month>{_MONTH})(?P<year>\d\d){_RIGHT}")


class Names:
    """Both ways; `resolve` says which instrument a symbol of ours is, None where it is none that is known."""

    def __init__(self, resolve: Callable[[str], Instrument | None] = lambda _: None) -> None:
        self._resolve = resolve

    def theirs(self, symbol: str) -> tuple[str, str] | None:
        """Symbol and exchange; None for what has no name there that we can tell."""
        exchange, _, name = symbol.partition(":")
        if exchange == "NSE" and name.endswith(SHARE):
            return name.removesuffix(SHARE), exchange
        if name.endswith(INDEX):
            known = _INDICES.get(symbol.removesuffix(INDEX))
            return (known, exchange + AT_INDEX) if known is not None else None
        expiry = self._expiry_of(symbol) if exchange in DERIVATIVES else None
        found = self._contract(name, expiry) if expiry is not None else None
        if expiry is None or found is None or found["name"] in CURRENCIES:
            return None
        named = f"{found['name']}{_dated(expiry)}{found['right']}", DERIVATIVES[exchange]
        return named if self.ours(*named) == symbol else None

    def ours(self, symbol: str, exchange: str) -> str:
        """The symbol as we write it; what we have no name for keeps theirs, behind its exchange."""
        if exchange == "NSE":
            return f"NSE:{symbol}{SHARE}"
        if (symbol, exchange) in _OURS:
            return _OURS[symbol, exchange]
        found = _THEIRS.fullmatch(symbol) if exchange in _EXCHANGES else None
        expiry = _date(found) if found is not None else None
        if found is None or expiry is None:
            return f"{exchange}:{symbol}"
        monthly, weekly = f"{expiry:%y}{_MONTHS[expiry.month - 1]}", f"{expiry:%y}{_week(expiry)}"
        for part in (monthly, weekly):
            name = f"{_EXCHANGES[exchange]}:{found['name']}{part}{found['right']}"
            if self._expiry_of(name) == expiry:
                return name
        return f"{exchange}:{symbol}"

    def _expiry_of(self, symbol: str) -> dt.date | None:
        found = self._resolve(symbol)
        return found.expiry if found is not None else None

    @staticmethod
    def _contract(name: str, expiry: dt.date) -> re.Match[str] | None:
        """Name and right of one of ours, written for that expiry."""
        week = _WEEKLY.fullmatch(name)
        if week is not None and name == f"{week['name']}{expiry:%y}{_week(expiry)}{week['right']}":
            return week
        return _MONTHLY.fullmatch(name)


SHARES: Final = Names()
"""Of shares and indices alone."""


def _dated(expiry: dt.date) -> str:
    return f"{expiry:%d}{_MONTHS[expiry.month - 1]}{expiry:%y}"


def _week(expiry: dt.date) -> str:
    """Month and day of an option of a week: 1 to 9, O, N or D, and two digits."""
    return f"{'123456789OND'[expiry.month - 1]}{expiry:%d}"


def _date(found: re.Match[str]) -> dt.date | None:
    try:
        return dt.date(2000 + int(found["year"]), _MONTHS.index(found["month"]) + 1, int(found["day"]))
    except ValueError:
        return None
