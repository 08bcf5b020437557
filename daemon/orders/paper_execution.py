"""Approved intents → orders at the venue, and the venue's answers → the bus.

An intent is durable in the journal before its order leaves. In a replay, whose batches are minutes long, the ticks
after a fill that a stop or a target hangs on wait until both have been placed. Invariant: an order is sent once, and
everything the venue says about it passes the order book's table before anybody else hears of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
import numpy as np

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, OWN_TIME, Clock, ReplayClock, VenueTime
from daemon.core.events import (
    BY_HAND,
    PROTECTION,
    SETTLEMENT,
    CancelOrder,
    ContractClosing,
    Event,
    Fill,
    Flatten,
    Halt,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderType,
    PositionRestated,
    Reduce,
    Resume,
    SymbolHalted,
    SymbolResumed,
    TickBatch,
    TimeAdvanced,
)
from daemon.market.overnight import counted_anew
from daemon.orders.book import CANCELLABLE, Order, OrderBook
from daemon.orders.durability import UNWRITTEN, Durable, may_leave
from daemon.orders.openers import EntryBar
from daemon.orders.settlement import Settlement

NEVER = 2**63 - 1
"""Later than any time."""


def hangs_together(intent: OrderIntent) -> bool:
    """Whether what an order fills changes which stop or target is to be on the market."""
    return intent.strategy == PROTECTION or intent.stop_loss is not None or intent.take_profit is not None


def rests(intent: OrderIntent) -> bool:
    """Whether an order may stay on the market: all but market orders that only close a position."""
    return not intent.reduces or intent.type is not OrderType.MARKET


class Venue(Protocol):
    """Where orders go; every call answers with what happened, as events."""

    def submit(self, intent: OrderIntent, active_from: int) -> Event:
        """Put an order on the market from `active_from` (UTC ns) on; accepted or rejected."""

    def cancel(self, order_id: str, ts: int) -> OrderCancelled | None:
        """Take an order off the market; None when it is not there."""

    def on_ticks(self, batch: TickBatch) -> Sequence[Event]:
        """What the ticks did to working orders."""

    def quiet_rows(self, batch: TickBatch, which: Callable[[OrderIntent], bool]) -> int:
        """How many ticks can be taken at once: up to the first that may do something to an order of `which`."""

    def on_time(self, ts: int) -> Sequence[Event]:
        """What the passing of time did to working orders."""


class ExecutionActor(Actor):
    """See the module."""

    name = "execution"

    def __init__(
        self,
        bus: Bus,
        orders: OrderBook,
        venue: Venue,
        journal: Durable | None,
        clock: Clock,
        working_timeout_s: float,
        order_latency_ns: int,
        positions: Mapping[str, int] | None = None,
        settlement: Settlement | None = None,
        venue_time: VenueTime = OWN_TIME,
    ) -> None:
        """`positions`: what is held by symbol as it begins; `settlement`: of contracts that end, None: they stay.

        `venue_time`: before it knows the day no contract ends.
        """
        super().__init__(bus)
        self.orders = orders
        self._positions: Counter[str] = Counter(positions or {})
        self._bar = EntryBar()
        self._venue = venue
        self._settlement = settlement
        self._venue_time = venue_time
        self._journal = journal
        self._clock = clock
        self._order_latency_ns = order_latency_ns
        self._timeout_ns = int(working_timeout_s * NS_PER_S)
        self._tick_ns = 0
        """The time of the tick that others wait behind, UTC ns; 0 where none do."""
        self.inbox = bus.subscribe(
            self.name,
            (
                TickBatch, TimeAdvanced, OrderApproved, OrderDenied, CancelOrder, Flatten, Halt, Reduce, Resume,
                PositionRestated, SymbolHalted, SymbolResumed,
            ),
        )  # fmt: skip
        bus.subscribe(self.name, (OrderIntent,), where=lambda it: it.strategy != SETTLEMENT, inbox=self.inbox)

    def handle(self, event: Event) -> Awaitable[None] | None:
        """One event; only sending an order waits (for the journal)."""
        if isinstance(event, TickBatch):
            self._on_ticks(event)
        elif isinstance(event, TimeAdvanced):
            self._publish(self._venue.on_time(event.ts))
            if self.orders.working:
                self._cancel_overdue(event.ts)
            if self._settlement is not None and not self._venue_time.undated():
                self._settle(self._settlement.on_time(self._venue_time.at(event.ts), self._positions))
        elif isinstance(event, OrderIntent | OrderDenied):
            self.orders.apply(event)
        elif isinstance(event, OrderApproved):
            order = self.orders.apply(event)
            if order is not None:
                return self._send(order)
        elif isinstance(event, CancelOrder):
            order = self.orders.working.get(event.order_id)
            if order is not None:
                self._cancel(order, event.reason)
        elif isinstance(event, Flatten) and not event.automatic:
            self.cancel_resting(event.reason, event.ts)
        elif isinstance(event, Flatten | Reduce) or (isinstance(event, Halt) and not event.shutdown):
            self.cancel_entries(event.reason, event.ts)
        elif isinstance(event, Resume):
            self._bar.allow()
        elif isinstance(event, SymbolHalted | SymbolResumed):
            if self._settlement is not None:
                self._settlement.over_a_night(event)
        elif isinstance(event, PositionRestated):
            self._positions[event.symbol], _ = counted_anew(
                self._positions[event.symbol], event.carried, event.numerator, event.denominator
            )
        return None

    def cancel_resting(self, reason: str, since: int) -> None:
        """Take every order off the market but exits that trade at once."""
        self._bar.forbid(reason, since)
        for order in list(self.orders.working.values()):
            if rests(order.intent):
                self._cancel(order, reason)

    def cancel_entries(self, reason: str, since: int) -> None:
        """Take off what opens or adds to a position, now and later; a person said so at `since` (UTC ns; 0: nobody)."""
        self._bar.forbid(reason, since)
        self._bar_entries()

    def cancel_ours(self, reason: str) -> None:
        """Take every order off the market, but stops and targets: they stay, as at a broker, while the venue does."""
        for order in list(self.orders.working.values()):
            if order.intent.strategy != PROTECTION:
                self._cancel(order, reason)

    def _settle(self, events: Sequence[Event]) -> None:
        """What the exchange makes of contracts that ended."""
        for event in events:
            if isinstance(event, ContractClosing):
                self.bus.publish(event)
            else:
                self._publish((event,))

    def _on_ticks(self, batch: TickBatch) -> None:
        """Match a batch, cut where an entry's time is up: a replay's long slices must not lend orders a longer life."""
        self._tick_ns = 0
        working = self.orders.working
        for due in sorted({self._due(order) for order in working.values()}) if working else ():
            if due > int(batch.ts_recv[-1]):
                break
            cut = int(np.searchsorted(batch.ts_recv, due, side="left"))
            if self._match(batch.slice(0, cut), batch):
                return
            self._cancel_overdue(due)
            batch = batch.slice(cut, len(batch))
        self._match(batch, batch)

    def _match(self, part: TickBatch, whole: TickBatch) -> bool:
        """Match a part of a batch, the first of it; True where the rest of the batch comes again, later."""
        waits = isinstance(self._clock, ReplayClock)
        while len(part):
            quiet = self._venue.quiet_rows(part, hangs_together) if waits else len(part)
            now = part if quiet == len(part) else part.slice(0, quiet)
            if self._settlement is not None:
                self._settlement.on_ticks(now)
            filled = self._publish(self._venue.on_ticks(now))
            if quiet < len(whole):  # nearly always nothing is left, and slicing nothing off costs as much as a match
                whole = whole.slice(quiet, len(whole))
                if waits and any(hangs_together(intent) for intent in filled):
                    self._tick_ns = int(part.ts_recv[quiet - 1])
                    self.bus.when_idle(partial(self.inbox.put, whole))
                    return True
            if now is part:
                return False
            part = part.slice(quiet, len(part))
        return False

    @property
    def _now(self) -> int:
        """The time of what is being handled: of a tick in the midst of a batch, where that is it."""
        return self._tick_ns or self._clock.now_ns()

    def _due(self, order: Order) -> int:
        """When the order is taken off the market, UTC ns; exits, orders by hand, what the venue doesn't hold: never."""
        if order.intent.reduces or order.intent.strategy in BY_HAND or order.state not in CANCELLABLE:
            return NEVER
        return order.intent.ts + self._timeout_ns

    async def _send(self, order: Order) -> None:
        if not await self._on_disk(order):
            return
        if order in self._opening():  # approved before risk heard of the halt
            now, order_id = self._now, order.intent.order_id
            self._publish((OrderCancelled(ts=now, order_id=order_id, filled=0, reason=self._bar.reason),))
            return
        active_from = max(order.intent.ts, self._now + self._order_latency_ns)
        self._publish((self._venue.submit(order.intent, active_from),))

    async def _on_disk(self, order: Order) -> bool:
        """Wait for the journal; without it only exits are sent, and trading halts."""
        if await may_leave(order.intent, self._journal, self._clock, self.bus.publish):
            return True
        now, order_id = self._clock.now_ns(), order.intent.order_id
        self._publish((OrderCancelled(ts=now, order_id=order_id, filled=0, reason=UNWRITTEN),))
        return False

    def _opening(self) -> list[Order]:
        """While nothing may open: the orders that would, by what they would do now."""
        return self._bar.condemned(self.orders.working.values(), self._positions, whole=True)

    def _bar_entries(self) -> None:
        for order in self._opening():
            self._cancel(order, self._bar.reason)

    def _cancel_overdue(self, ts: int) -> None:
        for order in list(self.orders.working.values()):
            if self._due(order) <= ts:
                self._cancel(order, "working time-out", ts)

    def _cancel(self, order: Order, reason: str, ts: int | None = None) -> None:
        if order.state in CANCELLABLE:
            cancelled = self._venue.cancel(order.intent.order_id, self._now if ts is None else ts)
            if cancelled is not None:
                self._publish((msgspec.structs.replace(cancelled, reason=reason),))

    def _publish(self, events: Sequence[Event]) -> list[OrderIntent]:
        """Tell what happened; the orders that something of was filled."""
        filled = []
        for event in events:
            order = self.orders.apply(event)
            if order is not None:
                if isinstance(event, Fill):
                    self._positions[event.symbol] += event.side.sign * event.quantity
                    filled.append(order.intent)
                self.bus.publish(event)
        if filled:
            self._bar_entries()
        return filled
