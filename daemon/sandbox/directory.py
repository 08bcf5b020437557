"""Symbols ↔ fytokens ↔ topics of the data socket, as Fyers' symbol service and its clients derive them.

A fytoken is segment (4 digits), expiry (6, zero here) and the exchange's token, which is everything behind the tenth.
The exchange's token is made from the symbol's digest: the same symbol has the same topic in every sandbox.
Invariant: within a segment no two symbols share a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from daemon.market.instruments import Instrument, InstrumentBook, Kind
from daemon.sandbox.hsm import Topic

SEGMENTS: Final = {
    "1010": "nse_cm", "1011": "nse_fo", "1012": "cde_fo", "1020": "nse_com", "1120": "mcx_fo", "1210": "bse_cm",
    "1211": "bse_fo", "1212": "bcs_fo",
}  # fmt: skip
_CODES: Final = {segment: code for code, segment in SEGMENTS.items()}
_EXPIRY: Final = "000000"
_TOKENS: Final = 10**9
_CURRENCIES: Final = ("USDINR", "EURINR", "GBPINR", "JPYINR")
INDEX_NAMES: Final = {
    "NSE:NIFTY50-INDEX": "Nifty 50",
    "NSE:NIFTYBANK-INDEX": "Nifty Bank",
    "NSE:FINNIFTY-INDEX": "Nifty Fin Service",
    "NSE:MIDCPNIFTY-INDEX": "NIFTY MID SELECT",
    "NSE:NIFTYNXT50-INDEX": "Nifty Next 50",
    "NSE:NIFTYIT-INDEX": "Nifty IT",
    "NSE:INDIAVIX-INDEX": "India VIX",
    "BSE:SENSEX-INDEX": "SENSEX",
}
"""What the exchanges call the best-known indices; the others go by the symbol's own name."""


class Listing(msgspec.Struct, frozen=True):
    """Where a symbol is found; `name` is what its topics end with."""

    symbol: str
    segment: str
    token: str
    index: bool
    precision: int
    """Digits behind the point in its prices on the wire."""

    @property
    def fytoken(self) -> str:
        """As the symbol service says it."""
        return f"{_CODES[self.segment]}{_EXPIRY}{self.token}"

    @property
    def names(self) -> tuple[str, ...]:
        """What its topics may end with; the first is the proper one.

        An index goes by its exchange's name or by the symbol's: clients fall back from the published names to a list
        of their own and to the symbol.
        """
        if not self.index:
            return (self.token,)
        return (INDEX_NAMES.get(self.symbol, _body(self.symbol)), _body(self.symbol))


class SymbolDirectory:
    """All symbols that were listed or asked for."""

    def __init__(self, instruments: InstrumentBook, symbols: Iterable[str] = ()) -> None:
        self._instruments = instruments
        self._listings: dict[str, Listing] = {}
        self._tokens: set[tuple[str, str]] = set()
        self._named: dict[tuple[bool, str, str], Listing] = {}
        for symbol in symbols:
            self.find(symbol)

    def find(self, symbol: str) -> Listing | None:
        """Where a symbol is found; None for what is no symbol of Fyers' grammar or isn't listed."""
        if symbol in self._listings:
            return self._listings[symbol]
        instrument = self._instruments.resolve(symbol) if ":" in symbol else None
        if instrument is None:
            return None
        segment, index = _segment(instrument), instrument.kind is Kind.INDEX
        token = self._new_token(segment, symbol)
        listing = Listing(symbol, segment, token, index, 4 if segment == "cde_fo" else 2)
        self._listings[symbol] = listing
        for name in listing.names:
            self._named[index, segment, _squeezed(name)] = listing
        return listing

    def of_topic(self, topic: str) -> tuple[Listing, Topic] | None:
        """The symbol behind a topic, and what kind of topic it is; None for one that isn't known."""
        kind, _, rest = topic.partition("|")
        segment, _, name = rest.partition("|")
        if kind not in set(Topic):
            return None
        listing = self._named.get((kind == Topic.INDEX, segment, _squeezed(name)))
        return (listing, Topic(kind)) if listing is not None else None

    def _new_token(self, segment: str, symbol: str) -> str:
        number = int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest()) % _TOKENS
        while (segment, str(number)) in self._tokens:
            number = (number + 1) % _TOKENS
        self._tokens.add((segment, str(number)))
        return str(number)

    def index_names(self) -> dict[str, str]:
        """What the exchanges call the indices, by symbol."""
        asked = {item.symbol: item.names[0] for item in self._listings.values() if item.index}
        return {**asked, **INDEX_NAMES}


def _squeezed(name: str) -> str:
    """Spaces and capitals differ between the lists of names."""
    return name.replace(" ", "").upper()


def _body(symbol: str) -> str:
    return symbol.partition(":")[2].removesuffix("-INDEX")


def _segment(instrument: Instrument) -> str:
    """NSE and BSE keep shares and derivatives apart; MCX has derivatives only."""
    exchange, _, name = instrument.symbol.partition(":")
    if exchange == "MCX":
        return "mcx_fo"
    derivative = instrument.kind in (Kind.FUTURE, Kind.OPTION)
    if exchange == "BSE":
        return "bse_fo" if derivative else "bse_cm"
    if derivative and name.startswith(_CURRENCIES):
        return "cde_fo"
    return "nse_fo" if derivative else "nse_cm"
