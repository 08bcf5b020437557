"""A run that a fault has ended → its entries off the market, by calls to the broker alone, and what is left in words.

Nothing is published, for the journal may be what failed; the next start reads in the book what was done here.
Invariant: an order that only closes a position is left to work.
"""

from __future__ import annotations

import asyncio

from daemon.broker import Broker
from daemon.fyers.outcome import Done
from daemon.fyers.wire import VenueOrder
from daemon.live_book import LiveBook
from daemon.orders import Order, OrderState


async def abandon(broker: Broker, book: LiveBook, *, cancel: bool) -> list[str] | None:
    """Cancel what would open a position, if asked; our orders that still work, None where the broker can't be read."""
    rows = await _at_the_broker(broker, book)
    if rows is None:
        return None
    if cancel:
        doomed = [row.venue_id for row, order in rows if not order.intent.reduces]
        await asyncio.gather(*(broker.cancel(venue_id) for venue_id in doomed))
        rows = await _at_the_broker(broker, book)
        if rows is None:
            return None
    shown = {order.intent.order_id for _, order in rows}
    left = [f"{row.side} {row.remaining} {row.symbol} ({order.intent.order_id})" for row, order in rows]
    return left + [
        f"unknown: {order_id}"
        for order_id, order in book.orders.working.items()
        if order_id not in shown and order.state in (OrderState.SENT, OrderState.UNKNOWN)
    ]


async def _at_the_broker(broker: Broker, book: LiveBook) -> list[tuple[VenueOrder, Order]] | None:
    outcome = await broker.orders(urgent=True)
    if not isinstance(outcome, Done):
        return None
    found = ((row, book.find(row.tag, row.venue_id)) for row in outcome.value if not row.status.final)
    return [(row, order) for row, order in found if order is not None]
