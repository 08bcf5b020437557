"""Fills → what of their costs was brokerage, STT, exchange, SEBI, stamp, IPFT and GST.

A fill holds the sum alone; the kinds are computed again by the same dated schedule, order by order. Invariant: the
kinds add up to the fills' costs: what the schedule doesn't explain is `other`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

from daemon.core.events import Fill
from daemon.market.costs import ZERO, Charges, CostRangeError, CostSchedule
from daemon.market.instruments import DEFAULT_TICK, Instrument, Kind

OTHER = "other"


class CostKinds:
    """Sums over the fills of a run."""

    def __init__(self, kind_of: Callable[[str], Kind | None]) -> None:
        """`kind_of` a symbol, None where nobody knows: its costs are `other`."""
        self._kind_of = kind_of
        self._schedule = CostSchedule()
        self._turnover: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._sums: dict[str, Decimal] = {}

    def add(self, fill: Fill, *, settled: bool = False) -> None:
        """Split the costs of `fill`, which comes after those of its order that were before it.

        `settled`: the exchange ended a contract, which costs STT alone.
        """
        charges = None if settled else self._charges(fill)
        self._turnover[fill.order_id] += fill.price * fill.quantity
        parts = {"stt" if settled else OTHER: fill.costs}
        if charges is not None:
            parts = {name: getattr(charges, name) for name in charges.__struct_fields__}
            parts[OTHER] = fill.costs - charges.total
        for name, amount in parts.items():
            self._sums[name] = self._sums.get(name, ZERO) + amount

    def result(self) -> dict[str, Decimal]:
        """Rupees by kind; `other` only where there is something of it."""
        return {name: amount for name, amount in self._sums.items() if amount or name != OTHER}

    def _charges(self, fill: Fill) -> Charges | None:
        kind = self._kind_of(fill.symbol)
        if kind is None:
            return None
        exchange, told, _ = fill.symbol.partition(":")
        instrument = Instrument(fill.symbol, kind, exchange if told else "", 1, DEFAULT_TICK, True)
        try:
            return self._schedule.charges(
                instrument, fill.side, fill.quantity, fill.price, fill.ts, self._turnover[fill.order_id]
            )
        except CostRangeError:
            return None
