"""First prices → a line for every instrument of which not one lot fits into the limits.

Invariant: a symbol is told of once, before the first decision on it, and nothing is denied here: the gate does that.
"""

from __future__ import annotations

from decimal import Decimal

from daemon.risk.book import PAISA, RiskBook
from daemon.risk.intents import Instruments, limits_of
from daemon.settings.risk import RiskSettings


class LotWatch:
    """Looks at each symbol until it has a price."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._looked: set[str] = set()

    def look(self, symbols: tuple[str, ...], book: RiskBook, limits: RiskSettings) -> list[str]:
        """What to say of symbols that have their first price."""
        said = []
        for symbol in symbols:
            if symbol in self._looked or not (price := book.of(symbol).last_price) > 0:
                continue
            self._looked.add(symbol)
            instrument = self._instruments.resolve(symbol)
            if instrument is not None and self._instruments.traded_as(symbol) == symbol:
                own = limits_of(limits, self._instruments, symbol)
                said += lot_words(symbol, instrument.lot_size, Decimal(str(price)), own, instrument.family())
        return said


def lot_words(symbol: str, lot: int, price: Decimal, limits: RiskSettings, family: str = "") -> list[str]:
    """The line about a lot that no limit on size lets through, if it is so; `family`: for whose own limits to ask."""
    value = (lot * price).quantize(PAISA)
    beyond = [
        f"risk.{name} is {limit:,}"
        for name, limit, wanted in (
            ("max_order_quantity", Decimal(limits.max_order_quantity), Decimal(lot)),
            ("max_position_quantity", Decimal(limits.max_position_quantity), Decimal(lot)),
            ("max_order_notional", limits.max_order_notional, value),
            ("max_gross_notional", limits.max_gross_notional, value),
        )
        if wanted > limit
    ]
    if not beyond:
        return []
    advice = f"; risk.limits can give {family} its own" if family and "_order_" in beyond[0] else ""
    return [f"{symbol}: every entry will be denied: a lot of {lot} is worth {value:,}, {' and '.join(beyond)}{advice}"]
