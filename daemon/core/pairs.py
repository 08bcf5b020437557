"""Orders → how much they can trade together: of the stops and the targets of one position only the larger sum.

Whoever counts what orders may lead to counts with `Groups`: risk against its limits, execution for what would open a
position. Invariant: other orders count by themselves.
"""

from __future__ import annotations

from daemon.core.events import PROTECTION, OrderIntent, OrderType, Side

STOPS = (OrderType.SL_MARKET, OrderType.SL_LIMIT)
"""Orders that wait for a price to be reached against us."""

STOP, TARGET = "stop", "target"
"""Reasons of the orders of `PROTECTION`: by them they are told apart, for a stop that is reached may become a limit
order in the venue's book."""


def is_stop(intent: OrderIntent) -> bool:
    """Whether an order of `PROTECTION` is a stop; else it is a target."""
    return intent.reason == STOP


class Group:
    """How much the stops and targets of one position and side can trade: the larger sum of the two."""

    __slots__ = ("_stops", "_targets")

    def __init__(self) -> None:
        self._stops = 0
        self._targets = 0

    def after(self, intent: OrderIntent, quantity: int) -> int:
        """How much more (or less) it is with `quantity` more of a leg."""
        stops, targets = self._stops, self._targets
        if is_stop(intent):
            stops += quantity
        else:
            targets += quantity
        return max(stops, targets) - max(self._stops, self._targets)

    def add(self, intent: OrderIntent, quantity: int) -> int:
        """Count so much more (or less) of a leg; what `after` says."""
        change = self.after(intent, quantity)
        if is_stop(intent):
            self._stops += quantity
        else:
            self._targets += quantity
        return change


class Groups:
    """The groups of all positions, by symbol and side; other orders count by themselves."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, Side], Group] = {}

    def after(self, intent: OrderIntent, quantity: int) -> int:
        """What `quantity` units more of an order add to what can be traded."""
        if intent.strategy != PROTECTION:
            return quantity
        group = self._of.get((intent.symbol, intent.side))
        return (group or Group()).after(intent, quantity)

    def add(self, intent: OrderIntent, quantity: int) -> int:
        """Count so many units more (or less) of an order; what they add to what can be traded."""
        if intent.strategy != PROTECTION:
            return quantity
        return self._of.setdefault((intent.symbol, intent.side), Group()).add(intent, quantity)
