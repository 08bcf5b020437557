"""What may become of a share's price and number between two sessions.

Inside a session a price moves as far as it likes, from one to the next not: a share opens at most 20 % away from where
it closed (NSE's widest price band; shares with futures have none that is fixed, but an operating range that begins at
10 % and is widened by 5 % only while they trade: nseindia.com, FAQs on price band and operating range flex). Beyond
that lies a split, a bonus, a demerger, or a stretch that nobody watched; a future on a share goes with it. An index,
another future and an option have no such limit here: an option may well open at ten times its price. Pure. Invariant:
exact, whatever the ratio.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

import msgspec

from daemon.market.instruments import Instrument, Kind


class Instruments(Protocol):
    """Which symbols are known."""

    def resolve(self, symbol: str) -> Instrument | None:
        """The instrument of a symbol; None where it is unknown."""


class OvernightLimit:
    """How far a share's price may be from that of the session before; `percent` of it, and one tick of its grid."""

    def __init__(self, instruments: Instruments, percent: float) -> None:
        self._instruments = instruments
        self._share = percent / 100.0

    def broken(self, symbol: str, before: float, after: float) -> bool:
        """Whether no trading can have taken `symbol` from `before` to `after` (rupees) between two sessions."""
        if abs(after - before) <= before * self._share or before <= 0.0:
            return False
        instrument = self._instruments.resolve(symbol)
        if instrument is None or not (instrument.kind is Kind.EQUITY or _is_on_share(instrument)):
            return False
        return abs(after - before) > before * self._share + float(instrument.tick_size)

    def is_share(self, symbol: str) -> bool:
        """Whether a company may make another number of `symbol` over a night."""
        instrument = self._instruments.resolve(symbol)
        return instrument is not None and instrument.kind is Kind.EQUITY

    def stands_for(self, contract: str, share: str) -> bool:
        """Whether `contract` is a future or an option on `share`: an action on that makes another contract of it."""
        of, on = self._instruments.resolve(contract), self._instruments.resolve(share)
        return of is not None and on is not None and on.kind is Kind.EQUITY and of.stands_for(on)


def _is_on_share(instrument: Instrument) -> bool:
    """Whether it is a future on a share: a split changes its price, and its lot, with the share's."""
    return instrument.kind is Kind.FUTURE and instrument.exchange in ("NSE", "BSE") and not instrument.on_index


def shares_after(quantity: int, numerator: int, denominator: int) -> tuple[int, Fraction]:
    """What a holding (signed) becomes when a price counts `numerator` / `denominator`: whole shares, and the rest.

    Nobody holds a part of a share: the company pays the rest in cash.
    """
    exact = Fraction(abs(quantity) * denominator, numerator)
    whole = int(exact)
    return (whole if quantity >= 0 else -whole), exact - whole


def counted_anew(held: int, carried: int | None, numerator: int, denominator: int) -> tuple[int, Fraction]:
    """What a holding becomes of which `carried` (both signed; None: all) is from before; and the rest of a share.

    What was traded since then was traded in new shares: it counts as it is.
    """
    carried = held if carried is None else carried
    whole, rest = shares_after(carried, numerator, denominator)
    return held - carried + whole, rest


class Opening(msgspec.Struct, frozen=True):
    """What was held (signed) as the newest day began on which a symbol was traded; `day` counts from 1970."""

    day: int = 0
    quantity: int = 0

    def traded(self, held: int, day: int, change: int) -> Opening:
        """After a trade of `change` on `day`; `held` before it. It may be told late, after those of a later day."""
        if day > self.day:
            return Opening(day, held)
        return Opening(self.day, self.quantity + change) if day < self.day else self


def action_key(symbol: str, date: str, kind: str) -> str:
    """How an account remembers that it was counted anew for a corporate action."""
    return f"{symbol} {date} {kind}"
