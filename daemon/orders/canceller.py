"""Orders that are to be off the market → cancellations, each asked for again until its order is gone.

What is to be off is said by `want`, or judged anew at every look: what opens or adds to a position while entries are
forbidden, whoever placed it, and what a lost journal left behind. Invariant: what is to be off the market is asked for
until it is gone, after a restart too, and never more often than its pauses allow.
"""

from __future__ import annotations

import asyncio

from daemon.calls.outcome import Done, NotSent, Rejected, Unknown
from daemon.core.clock import Clock
from daemon.core.events import ITSELF, CancelOrder, OrderCancelFailed, OrderCancelRequested
from daemon.orders.book import CANCELLABLE, Order
from daemon.orders.broker import TakesCancellations
from daemon.orders.cancel_pauses import CancelPauses
from daemon.orders.live_book import LiveBook
from daemon.orders.openers import EntryBar
from daemon.orders.orphans import LEFT_OVER
from daemon.orders.tasks import Tasks


class Canceller:
    """What is owed at one broker: who is to be off the market, and when each may be asked for again."""

    def __init__(
        self, book: LiveBook, broker: TakesCancellations, clock: Clock, tasks: Tasks, look: asyncio.Event
    ) -> None:
        """`look` is set when the broker's book is to be read."""
        self._book = book
        self._orders = book.orders
        self._broker = broker
        self._clock = clock
        self._tasks = tasks
        self._look = look
        self._bar = EntryBar()
        self._pauses = CancelPauses()

    # -- what is to be off --------------------------------------------------------------------------------------------

    def want(self, order: Order, reason: str) -> None:
        """It is to be off the market; `pursue` asks for it."""
        self._book.say(CancelOrder(ts=self._now, order_id=order.intent.order_id, reason=reason, who=ITSELF))

    def forbid_entries(self, reason: str, since: int) -> None:
        """What opens or adds to a position is to go, now and later; a person said so at `since` (UTC ns; 0: nobody).

        An earlier process may have dated it ahead of now, and a person's later orders aren't to go with it.
        """
        self._bar.forbid(reason, min(since, self._now))

    def allow_entries(self) -> None:
        """Positions may be opened again."""
        self._bar.allow()

    def judge(self, *, whole: bool) -> None:
        """Judge what works by what it would do now; `whole`: the book was read, and no fill is known to be missing."""
        bar, orphans, doubted = self._bar, self._book.orphans, self.doubtful
        for order in bar.condemned(self._orders.working.values(), self._book.held, whole=whole):
            self.want(order, bar.reason)
        if orphans.ids:
            for order in orphans.left_over(self._orders.working.values(), self._book.held, whole=whole):
                self.want(order, LEFT_OVER)
        if self.doubtful and not doubted:  # once: the pauses between readings are kept
            self._look.set()

    @property
    def doubtful(self) -> bool:
        """Whether an order seems to be one that is to go, and the venue's book is to be read first."""
        return self._bar.doubtful or self._book.orphans.doubtful

    # -- asking for it ------------------------------------------------------------------------------------------------

    @property
    def owed(self) -> list[str]:
        """Orders that are to be off the market and aren't yet."""
        unwanted = (order_id for order_id, order in self._orders.working.items() if order.unwanted)
        return [*self._book.revenants.values(), *unwanted]

    def left_ns(self, owed: list[str], now: int) -> int:
        """How long until the first of these may be asked for; 0 where one may be now, or there is none."""
        return self._pauses.left_ns(owed, now)

    def hasten(self, order_id: str | None = None) -> None:
        """A person who wants it (None: all of them) off the market doesn't wait for the pauses between questions."""
        self._pauses.hasten(order_id)

    def pursue(self) -> bool:
        """Ask for every cancellation that is wanted and can be asked for; whether any is still owed."""
        if not self._tasks.running:  # `run` begins with a look at the book, and then asks
            return bool(self.owed)
        self.judge(whole=False)
        now, pauses, under_way = self._clock.monotonic_ns(), self._pauses, self._book.cancelling
        for order_id, order in list(self._orders.working.items()):
            free = order.state in CANCELLABLE and order.venue_id and order_id not in under_way
            if order.unwanted and free and pauses.due(order_id, now):
                pauses.ask(order_id, now)
                under_way.add(order_id)
                self._book.say(OrderCancelRequested(ts=self._now, order_id=order_id, reason=order.unwanted))
                self._tasks.spawn(self._cancel(order_id, order.venue_id), f"cancel {order_id}")
        for venue_id, order_id in list(self._book.revenants.items()):
            if order_id not in under_way and pauses.due(order_id, now):
                pauses.ask(order_id, now)
                under_way.add(order_id)
                self._tasks.spawn(self._cancel(order_id, venue_id), f"cancel {order_id}")
        owed = self.owed
        pauses.keep(owed)
        return bool(owed)

    async def _cancel(self, order_id: str, venue_id: str) -> None:
        try:
            outcome = await self._broker.cancel(venue_id)
        finally:
            self._book.cancelling.discard(order_id)
        if isinstance(outcome, NotSent | Unknown) or (isinstance(outcome, Rejected) and outcome.token_refused):
            self._pauses.unheard(order_id)
        if isinstance(outcome, Done):
            self._book.revenants.pop(venue_id, None)
        else:  # where nobody knows it may be asked twice, and need not wait for a book that can't be read either
            reason = outcome.message if isinstance(outcome, Rejected) else outcome.reason
            self._book.say(OrderCancelFailed(ts=self._now, order_id=order_id, reason=reason))
        self._look.set()

    @property
    def _now(self) -> int:
        return self._clock.now_ns()
