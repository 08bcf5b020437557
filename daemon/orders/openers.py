"""Positions and the orders on the market → those orders that would open a position or add to one.

The one place where that is decided. What an order was meant for doesn't count, only what it would do now: a stop that
protects a position opens the opposite one as soon as something else has closed the position. So it is asked anew
whenever a position or an order changes. Invariant: orders that are not named, all filled, leave every position between
what it is and zero; those that trade at once and those that rest are counted apart, for a stop must outlast the exit
beside it until that has traded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from daemon.core.events import OrderIntent, OrderType
from daemon.core.pairs import STOPS, Groups
from daemon.orders.book import Order, OrderState

log = structlog.get_logger("execution")

MAY_FILL = (
    OrderState.APPROVED, OrderState.SENT, OrderState.UNKNOWN, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED,
)  # fmt: skip
"""States of an order that is or may soon be on the market, and isn't being taken off."""


class EntryBar:
    """While trading is halted or reducing: nothing that worked by then may open a position or add to one.

    Of what somebody placed in the broker's app only where a person forbade entries, and not what he places afterwards,
    unless it closed a position once and no longer does: who takes over by hand, or hedges, means it.
    """

    def __init__(self) -> None:
        self._since = 0
        self._closers: set[str] = set()
        self.reason = ""
        """Why not, "" while it may."""
        self.doubtful = False
        """Whether something seems to open, and the venue's book is to be read before that is believed."""

    def forbid(self, reason: str, since: int) -> None:
        """Nothing may open from now on; a person said so at `since` (UTC ns), or nobody did (0)."""
        self._since = self._since or since
        self.reason = reason

    def allow(self) -> None:
        """Positions may be opened again."""
        self.reason, self._since = "", 0
        self._closers.clear()

    def condemned(self, orders: Iterable[Order], positions: Mapping[str, int], *, whole: bool) -> list[Order]:
        """What is to leave the market, of what isn't leaving already.

        Our own entries always are. The rest is only after a `whole` reading of the venue's book: a fill that we don't
        know of yet may be what such an order protects.
        """
        self.doubtful = False
        if not self.reason:
            return []
        judged = [order for order in orders if order.state in MAY_FILL and not order.unwanted]
        opening = openers(((order.intent, order.remaining) for order in judged), positions)
        found = []
        for order in judged:
            intent = order.intent
            if intent.order_id not in opening:
                self._closers.add(intent.order_id)
                continue
            if order.foreign and not self._touches(intent):
                continue
            if not whole and (order.foreign or intent.reduces):
                self.doubtful = True
                continue
            found.append(order)
            log.warning(
                "an order would open a position and is taken off", order=intent.order_id,
                decision=intent.decision, symbol=intent.symbol, side=intent.side,
                quantity=order.remaining, held=positions.get(intent.symbol, 0), reason=self.reason,
            )  # fmt: skip
        return found

    def _touches(self, intent: OrderIntent) -> bool:
        """Whether somebody else's order that opens is to go."""
        return bool(self._since) and (intent.ts <= self._since or intent.order_id in self._closers)


def openers(working: Iterable[tuple[OrderIntent, int]], positions: Mapping[str, int]) -> set[str]:
    """Ids of the orders, given with what remains of each, that a flat or smaller position would not do for.

    Where several orders could close the same position, stops come first, then what was meant as an exit, then the
    older ones. An order that closes a part and would go on beyond zero is an opener for the rest, and so is named. A
    target beside the stop of the same position closes nothing twice.
    """
    groups = Groups()
    left: dict[tuple[str, bool], int] = {}
    found: set[str] = set()
    for intent, remaining in sorted(working, key=lambda item: _rank(item[0])):
        key = (intent.symbol, intent.type is OrderType.MARKET)
        position = left.setdefault(key, positions.get(intent.symbol, 0))
        more = groups.after(intent, remaining)
        if more > max(0, -intent.side.sign * position):
            found.add(intent.order_id)
        else:
            left[key] = position + intent.side.sign * groups.add(intent, remaining)
    return found


def _rank(intent: OrderIntent) -> tuple[bool, bool, int, str]:
    return intent.type not in STOPS, not intent.reduces, intent.ts, intent.order_id
