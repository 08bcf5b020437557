"""An approved order → on its way to the broker, and the broker's answer or silence → an event of the order.

Without a disk only exits leave; what isn't wanted any more by then doesn't, nor what would open a position while the
process ends, however long disk, rate budget and connection are waited for. Invariant: an order leaves only after its
intent is on disk, and leaves once, whatever comes back or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from daemon.calls.outcome import Done, NotSent, Rejected, Unknown
from daemon.core.clock import Clock
from daemon.core.events import (
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderSent,
    OrderUnknown,
)
from daemon.orders.book import Order, OrderState
from daemon.orders.broker import SaysMargin, TakesOrders
from daemon.orders.durability import UNWRITTEN, Durable, may_leave
from daemon.orders.live_book import LiveBook

log = structlog.get_logger("execution")

MARGIN_S = 2.0
"""How long an order waits for what the venue says of its margin."""


class Sender:
    """To one broker; nothing is repeated here, whatever comes back."""

    def __init__(
        self,
        book: LiveBook,
        broker: TakesOrders,
        journal: Durable | None,
        clock: Clock,
        publish: Callable[[Event], None],
        *,
        ask_margin: bool,
    ) -> None:
        """`ask_margin`: whether the venue is asked for the margin of an order that opens a contract."""
        self._book = book
        self._broker = broker
        self._margins = broker if ask_margin and isinstance(broker, SaysMargin) else None
        self._journal = journal
        self._clock = clock
        self._publish = publish
        self._ending = ""

    def end(self, reason: str) -> None:
        """The process ends, and why: what would open a position leaves no more."""
        self._ending = reason

    async def send(self, order: Order) -> bool:
        """Send what `book.sending` says is on its way, and say what came of it; False where it never left."""
        order_id = order.intent.order_id
        try:
            short = await self._margin_missing(order)
            if not await self._on_disk(order):
                return False
            if short:
                self._never_left(order, short)
                return False
            self._book.say(OrderSent(ts=self._now, order_id=order_id))
            outcome = await self._broker.submit(order.intent, partial(self._kept_back, order))
        finally:
            self._book.sending.discard(order_id)
        match outcome:
            case Done(value=ack):
                self._book.say(OrderAccepted(ts=self._now, order_id=order_id, venue_id=ack.venue_id))
            case Unknown(reason=reason):
                if order.state == OrderState.SENT:
                    order.venue_id = order.venue_id or outcome.venue_id
                    log.error(
                        "no answer about an order: the book is asked", order=order_id, decision=order.intent.decision,
                        symbol=order.intent.symbol, reason=reason,
                    )  # fmt: skip
                    self._book.say(OrderUnknown(ts=self._now, order_id=order_id, reason=reason))
            case NotSent() if order.state == OrderState.SENT and self._kept_back(order):
                self._never_left(order, self._kept_back(order))
                return False
            case Rejected() | NotSent() if order.state == OrderState.SENT:
                code, reason = (outcome.code, outcome.message) if isinstance(outcome, Rejected) else (0, "")
                if isinstance(outcome, NotSent):
                    reason = f"not sent: {outcome.reason}"
                self._book.say(OrderRejected(ts=self._now, order_id=order_id, code=code, reason=reason))
        return True

    async def _margin_missing(self, order: Order) -> str:
        """Why an order's margin isn't there, by the venue; "" where it is, or where only our own figure tells."""
        if self._margins is None or order.intent.reduces:
            return ""
        try:
            async with asyncio.timeout(MARGIN_S):
                outcome = await self._margins.margin(order.intent)
        except TimeoutError:
            outcome = NotSent(f"no answer within {MARGIN_S:g} s")
        if outcome is None:
            return ""
        if isinstance(outcome, Done):
            asked = outcome.value
            if asked.required <= asked.available:
                return ""
            return f"not sent: the venue wants a margin of {asked.required:.2f}, {asked.available:.2f} are available"
        reason = outcome.message if isinstance(outcome, Rejected) else outcome.reason
        log.warning("the venue doesn't tell the margin: our own figure counts", order=order.intent.order_id,
                    symbol=order.intent.symbol, reason=reason)  # fmt: skip
        return ""

    async def _on_disk(self, order: Order) -> bool:
        """Wait for the journal; without it only exits leave the machine, and trading halts."""
        if not await may_leave(order.intent, self._journal, self._clock, self._publish):
            self._never_left(order, UNWRITTEN)
            return False
        kept = self._kept_back(order)
        if kept:  # while the disk was waited for
            self._never_left(order, kept)
            return False
        return True

    def _kept_back(self, order: Order) -> str:
        """Why it isn't to leave any more: somebody wants it off the market, or it would open something at the end."""
        return order.unwanted or ("" if order.intent.reduces else self._ending)

    def _never_left(self, order: Order, reason: str) -> None:
        self._book.say(OrderCancelled(ts=self._now, order_id=order.intent.order_id, filled=0, reason=reason))

    @property
    def _now(self) -> int:
        return self._clock.now_ns()
