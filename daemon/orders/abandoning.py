"""A run that a fault has ended → its entries off the market, by calls to the broker alone, and what is left in words.

Nothing is published, for the journal may be what failed; the next start reads in the book what was done here.
Invariant: an order that only closes a position is left to work, and so is every order that we didn't place.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from daemon.calls.outcome import Done
from daemon.orders.book import Order, OrderState
from daemon.orders.broker import Broker
from daemon.orders.live_book import LiveBook
from daemon.orders.openers import openers
from daemon.orders.venue import VenueOrder


async def abandon(broker: Broker, book: LiveBook, *, cancel: bool) -> list[str] | None:
    """Cancel what we placed and would open a position, if asked; the orders that still work.

    None where the broker can't be read.
    """
    rows = await _at_the_broker(broker, book)
    if rows is None:
        return None
    if cancel:
        await asyncio.gather(*(broker.cancel(venue_id) for venue_id in _doomed(rows, book)))
        rows = await _at_the_broker(broker, book)
        if rows is None:
            return None
    shown = {order.intent.order_id for _, order in rows}
    working = [(row, order) for row, order in rows if not row.status.final]
    left = [f"{row.side} {_remaining(row)} {row.symbol} ({order.intent.order_id})" for row, order in working]
    return left + [
        f"unknown: {order_id}"
        for order_id, order in book.orders.working.items()
        if order_id not in shown and order.state in (OrderState.SENT, OrderState.UNKNOWN)
    ]


def _doomed(rows: list[tuple[VenueOrder, Order]], book: LiveBook) -> list[str]:
    """Venue ids of our orders that would open; positions are those of the rows, for the last fills may be unbooked."""
    positions = Counter(book.held)
    for row, order in rows:
        positions[row.symbol] += row.side.sign * (row.filled - order.filled)
    working = [(row, order) for row, order in rows if not row.status.final]
    opening = openers(((order.intent, _remaining(row)) for row, order in working), positions)
    return [row.venue_id for row, order in working if order.intent.order_id in opening and not order.foreign]


def _remaining(row: VenueOrder) -> int:
    return row.quantity - row.filled


async def _at_the_broker(broker: Broker, book: LiveBook) -> list[tuple[VenueOrder, Order]] | None:
    outcome = await broker.orders(urgent=True)
    if not isinstance(outcome, Done):
        return None
    found = ((row, book.find(row.tag, row.venue_id)) for row in outcome.value)
    return [(row, order) for row, order in found if order is not None]
