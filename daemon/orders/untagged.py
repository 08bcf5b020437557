"""Books of a venue that keeps no ids of ours → the same books with our ids on the rows that are ours.

A row is ours where we know its venue id. One that we don't know may be an order whose answer was lost: while that one
is looked for, it is taken for the oldest such order of the same symbol, side, quantity, type and prices that was on its
way when the venue says it was placed (by our time or, where our clock is ahead, by how it dated our newest orders).
While the answer to an order of that shape is still awaited such a row is left out, for it can't be told yet whose it
is. An order by another hand with all of that in common can be mistaken for a lost one; nothing else can. One that looks
like an order that was written off is never taken for it, for that would be taken off the market: it is somebody else's
for all that can be proved, and `look_alikes` says so.
Where a row says by which strategy it was placed (we send our id as that), that decides, for and against.
Invariant: a row is given to one order, an order is given one row, and both stay so; a row that was somebody
else's once stays his, for it was there before any order that is lost later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.events import OrderType
from daemon.core.ids import is_order_of_ours
from daemon.core.pairs import STOPS
from daemon.orders.book import FOREIGN, Order, OrderBook, OrderState
from daemon.orders.protection import AS_LIMITS
from daemon.orders.terms import LIMITS
from daemon.orders.venue import OrderStatus, VenueOrder, VenueTrade

EARLY_NS: Final = 5 * NS_PER_S
"""A venue's clock may be so far behind ours, whole seconds included."""
LATE_NS: Final = 30 * NS_PER_S
"""An order that takes longer on its way isn't looked for: the call is given up before."""
OTHER_DAY_NS: Final = 12 * 3600 * NS_PER_S
"""Times so far apart are of two clocks, as in a rehearsal, and say nothing."""
COMPARED: Final = 5
"""By so many of our newest orders our clock is compared with the venue's."""
NEVER_ARRIVED: Final = "never arrived"
"""How the reason begins of an order that was written off."""
_AWAITED: Final = (OrderState.APPROVED, OrderState.SENT)


class Owners:
    """Who owns which row of the venue's book."""

    def __init__(self, orders: OrderBook, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock
        self._given: dict[str, str] = {}
        self._strange: set[str] = set()
        """Rows that are somebody else's."""
        self._ahead_ns = 0
        """By how much our clock is ahead, by when the venue says that our newest orders were placed."""
        self.look_alikes: dict[str, str] = {}
        """Of those, the ones that look like an order of ours that was written off: venue id → client id."""

    def orders(self, rows: Sequence[VenueOrder]) -> list[VenueOrder]:
        """The rows that can be told, ours with our ids."""
        known, left_out = self._known(), set()
        self._compare_clocks(rows, known)
        for row in sorted(rows, key=lambda row: (row.ts, row.venue_id)):
            if row.venue_id in known or self._is_strange(row.venue_id):
                continue
            owner = self._by_name(row)
            if owner is None and not row.tag and self._may_be_any(row, self._awaited()):
                left_out.add(row.venue_id)
                continue
            owner = owner or self._lost_owner(row)
            if owner is None:
                self._strange.add(row.venue_id)
                self._compare_with_written_off(row)
            else:
                self._given[row.venue_id] = known[row.venue_id] = owner
        return [
            msgspec.structs.replace(row, tag=known.get(row.venue_id) or self._unrecorded(row))
            for row in rows
            if row.venue_id not in left_out
        ]

    def order(self, row: VenueOrder) -> VenueOrder | None:
        """A pushed row; None where it can't be told whose it is before the book is read."""
        owner = self._known().get(row.venue_id)
        return msgspec.structs.replace(row, tag=owner) if owner is not None else None

    def trades(self, rows: Iterable[VenueTrade]) -> list[VenueTrade]:
        """The trades, ours with our ids: an order's rows come first, so its owner is known by then."""
        known = self._known()
        return [msgspec.structs.replace(row, tag=known.get(row.venue_id, "")) for row in rows]

    def _compare_clocks(self, rows: Sequence[VenueOrder], known: Mapping[str, str]) -> None:
        """By our newest orders whose rows are known; one that was changed or filled may be dated later than it came."""
        pairs = ((self._orders.find(known[row.venue_id]), row.ts) for row in rows if row.ts and row.venue_id in known)
        dated = sorted((it.intent.ts, ts - it.intent.ts) for it, ts in pairs if it is not None)[-COMPARED:]
        self._ahead_ns = max((-late for _, late in dated if 0 <= -late < OTHER_DAY_NS), default=self._ahead_ns)

    def _alike(self, row: VenueOrder, order: Order) -> bool:
        """Whether the row could be this order.

        When it was placed says nothing where we dated it after now: by an earlier process's clock, which was wrong.
        """
        late = row.ts - order.intent.ts
        if not _of_one_shape(row, order):
            return False
        if not row.ts or abs(late) > OTHER_DAY_NS or order.intent.ts > self._clock.now_ns():
            return True
        return any(-EARLY_NS <= late + ahead <= LATE_NS for ahead in (0, self._ahead_ns))

    def _all(self) -> Iterable[Order]:
        return (it for it in (*self._orders.working.values(), *self._orders.finished.values()) if not it.foreign)

    def _known(self) -> dict[str, str]:
        known = {venue_id: it.intent.order_id for it in self._all() if (venue_id := _venue_id(it))}
        return {**self._given, **known}

    def _is_strange(self, venue_id: str) -> bool:
        """Whether it is known as somebody else's, from an earlier life too where it was adopted then."""
        return venue_id in self._strange or self._orders.find(f"{FOREIGN}{venue_id}") is not None

    def _by_name(self, row: VenueOrder) -> str | None:
        """Our order whose id the row says, where it has no other row."""
        order = self._orders.find(row.tag) if row.tag else None
        if order is None or order.foreign or _venue_id(order) or row.tag in self._given.values():
            return None
        return row.tag

    def _unrecorded(self, row: VenueOrder) -> str:
        """The id of ours that the row says, where this journal doesn't know it; "" for any other."""
        return row.tag if is_order_of_ours(row.tag) and self._orders.find(row.tag) is None else ""

    def _awaited(self) -> list[Order]:
        return [it for it in self._orders.working.values() if it.state in _AWAITED and not _venue_id(it)]

    def _may_be_any(self, row: VenueOrder, orders: Iterable[Order]) -> bool:
        return any(self._alike(row, it) for it in orders)

    def _lost_owner(self, row: VenueOrder) -> str | None:
        """The oldest order of this shape that nobody knows the fate of; None for a row that names another strategy."""
        return None if row.tag else self._oldest(row, _is_lost)

    def _compare_with_written_off(self, row: VenueOrder) -> None:
        """It may be that order, arrived late: nobody can tell."""
        written_off = None if row.tag else self._oldest(row, _is_written_off)
        if written_off is not None:
            self.look_alikes[row.venue_id] = written_off

    def _oldest(self, row: VenueOrder, fits: Callable[[Order, VenueOrder], bool]) -> str | None:
        """The oldest order of this shape that has no row yet."""
        taken = {*self._given.values(), *self.look_alikes.values()}
        found = [
            it
            for it in self._all()
            if not _venue_id(it) and it.intent.order_id not in taken and fits(it, row) and self._alike(row, it)
        ]
        return min(found, key=lambda it: it.intent.ts).intent.order_id if found else None


def _venue_id(order: Order) -> str:
    """What the venue calls it; after a restart an order that was never acknowledged is known by its fills alone."""
    return order.venue_id or (order.fill_ids[0].partition(":")[0] if order.fill_ids else "")


def _is_lost(order: Order, row: VenueOrder) -> bool:
    """Whether the venue may have it without our knowing: unanswered, or refused as the row is."""
    if order.state is OrderState.REJECTED:
        return row.status is OrderStatus.REJECTED
    return not order.state.done and order.state not in (OrderState.INTENT, *_AWAITED)


def _is_written_off(order: Order, _: VenueOrder) -> bool:
    return order.state is OrderState.REJECTED and order.reason.startswith(NEVER_ARRIVED)


def _stands_for(row: VenueOrder, order: Order) -> bool:
    """Whether it is what brokers make of an order at market: with a limit, at a price no better than the market's.

    One that traded may show what at instead.
    """
    intent = order.intent
    if row.type is not AS_LIMITS.get(intent.type):
        return False
    if row.type is not OrderType.LIMIT or row.filled:
        return True
    return row.side.sign * (row.limit_price - intent.reference_price) >= 0


def _of_one_shape(row: VenueOrder, order: Order) -> bool:
    """Whether they want the same; a market order may stand there as a limit order that trades at once."""
    intent = order.intent
    if (row.symbol, row.side, row.quantity) != (intent.symbol, intent.side, intent.quantity):
        return False
    if row.type is not intent.type and not _stands_for(row, order):
        return False
    if row.type is intent.type and row.type in LIMITS and row.limit_price and intent.limit_price is not None:
        worse = row.side.sign * (row.limit_price - intent.limit_price)
        if worse > 0 or (worse and not row.filled):  # one that traded may show what at
            return False
    triggered = row.type in STOPS and row.stop_price
    return not (triggered and row.stop_price != intent.stop_price)
