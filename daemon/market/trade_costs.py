"""A symbol and its price → what trading one unit once costs, in basis points: what a model weighs an edge against.

Charges of the dated schedule for an order of the usual size, the mean of buying and selling, and half a tick for the
spread that a fill crosses. Invariant: a function of symbol, price and day alone, so that a restart is told the same.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Final

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, india_day
from daemon.core.events import Side
from daemon.market.costs import CostRangeError, CostSchedule
from daemon.market.instruments import Instrument

UNKNOWN_BP: Final = 3.0
"""Where no schedule says, or the symbol is none that is known."""
REMEMBERED: Final = 4_096
"""Newest answers that are kept: a replay that looks ahead asks for each twice."""
_BP: Final = 10_000


class TradeCosts:
    """See the module; implements `strategies.base.Costs`."""

    def __init__(self, schedule: CostSchedule, resolve: Callable[[str], Instrument | None], notional: float) -> None:
        """`notional`: rupees in an order, of which its share of brokerage depends."""
        self._schedule = schedule
        self._resolve = resolve
        self._notional = notional
        self._charged = lru_cache(REMEMBERED)(self._charge)

    def bp(self, symbol: str, price: float, ts: int) -> float:
        """Basis points of the turnover of one side; `ts` in UTC nanoseconds."""
        instrument = self._resolve(symbol)
        return UNKNOWN_BP if instrument is None else self._charged(instrument, price, india_day(ts))

    def _charge(self, instrument: Instrument, price: float, day: int) -> float:
        ts = day * DAY_NS - IST_OFFSET_NS
        paid, quantity = Decimal(repr(price)), max(1, int(self._notional / price))
        try:
            both = sum(self._schedule.charges(instrument, side, quantity, paid, ts).total for side in Side)
        except CostRangeError:
            return UNKNOWN_BP
        charged = float(both) / 2 / (price * quantity)
        return (charged + float(instrument.tick_size) / 2 / price) * _BP
