"""Orders at the broker that carry ids of ours and are in no journal → those that nobody needs any more.

A disk that forgot, or a journal that was put back, leaves them there: followed like somebody else's, and looked after
by nobody. The stop and the target of a position outlive it then, and would open the opposite one; an entry would, too,
with no decision, no stop and no time-out to it. So what closes nothing is taken off, whatever it was. Pure.
Invariant: an order for which there is anything left to close stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from daemon.orders.book import Order
from daemon.orders.openers import MAY_FILL

log = structlog.get_logger("execution")

LEFT_OVER: Final = "of ours, in no journal, and it closes nothing"


class Orphans:
    """By the ids under which they are followed."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.doubtful = False
        """Whether one seems left over, and the venue's book is to be read before that is believed."""

    def left_over(self, orders: Iterable[Order], positions: Mapping[str, int], *, whole: bool) -> list[Order]:
        """What is to leave the market, of what isn't leaving already; only after a `whole` reading of the book."""
        self.doubtful = False
        found = [it for it in orders if it.intent.order_id in self.ids and _is_left_over(it, positions)]
        if not whole:
            self.doubtful = bool(found)
            return []
        for order in found:
            log.warning("an order that no journal knows is left over and is taken off", order=order.intent.order_id,
                        symbol=order.intent.symbol, side=order.intent.side, quantity=order.remaining)  # fmt: skip
        return found


def _is_left_over(order: Order, positions: Mapping[str, int]) -> bool:
    intent = order.intent
    works = order.state in MAY_FILL and not order.unwanted
    return works and -intent.side.sign * positions.get(intent.symbol, 0) <= 0
