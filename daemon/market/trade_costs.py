"""A symbol, its price and a share of what the limits allow → what trading one unit once costs, in basis points.

It is what a model weighs an edge against: charges of the dated schedule for the order that such a share comes to, the
mean of buying and selling, and what a fill crosses: half a tick, or half the spread that the venue assumes where ticks
have no quotes, and slippage. Brokerage is capped by order, so a small one costs more. Invariant: a function of symbol,
price, share and day alone, so that a restart is told the same.
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
Units = Callable[[str, float, float], int]
"""Symbol, price and share of what the limits allow → units in an order."""


class TradeCosts:
    """See the module; implements `strategies.base.Costs`."""

    def __init__(
        self, schedule: CostSchedule, resolve: Callable[[str], Instrument | None], units: Units, half_spread_bp: float,
        slippage_bp: float,
    ) -> None:  # fmt: skip
        """`half_spread_bp`: assumed where it is more than half a tick; `slippage_bp`: on top of both."""
        self._schedule = schedule
        self._resolve = resolve
        self._units = units
        self._half_spread_bp = half_spread_bp
        self._slippage_bp = slippage_bp
        self._charged = lru_cache(REMEMBERED)(self._charge)

    def bp(self, symbol: str, price: float, ts: int, share: float = 1.0) -> float:
        """Basis points of the turnover of one side of an order for `share`; `ts` in UTC nanoseconds."""
        instrument = self._resolve(symbol)
        if instrument is None:
            return UNKNOWN_BP
        return self._charged(instrument, price, max(1, self._units(symbol, price, share)), india_day(ts))

    def _charge(self, instrument: Instrument, price: float, quantity: int, day: int) -> float:
        ts, paid = day * DAY_NS - IST_OFFSET_NS, Decimal(repr(price))
        try:
            both = sum(self._schedule.charges(instrument, side, quantity, paid, ts).total for side in Side)
        except CostRangeError:
            return UNKNOWN_BP
        charged = float(both) / 2 / (price * quantity) * _BP
        crossed = max(float(instrument.tick_size) / 2 / price * _BP, self._half_spread_bp)
        return charged + crossed + self._slippage_bp
