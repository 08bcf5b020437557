"""The execution stage on a real broker: approved intents out, and whatever the broker says or fails to say in.

Here is what it hears, and what is to be off the market on which command. Sending (`Sender`), cancelling (`Canceller`)
and reading the account (`Reconciler`) are parts of their own; they share the book, the tasks that calls run in and the
wish to look at the broker's book. Pushes are news and the book is the truth: a push that isn't the whole story, a gap
or an unknown order makes the book be read. Invariant: no event waits for the network, and after a silence, or the end
of a life, nothing is sent again until the book has spoken.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import structlog

from daemon.calls.secret import Secret
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import SettingsError
from daemon.core.events import (
    BY_HAND,
    EXTERNAL,
    ITSELF,
    PROTECTION,
    CancelOrder,
    Event,
    Flatten,
    Halt,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderUnknown,
    PriceAdjusted,
    Reduce,
    Resume,
    TimeAdvanced,
)
from daemon.orders.book import Order, OrderState
from daemon.orders.broker import Broker
from daemon.orders.canceller import Canceller
from daemon.orders.durability import Durable
from daemon.orders.live_book import LiveBook
from daemon.orders.paper_execution import rests
from daemon.orders.pushes import Disconnected, OrderPush, TradePush
from daemon.orders.reconciler import RECOVERY_PAUSE_S, SHORTEST_PAUSE_S, Reconciler
from daemon.orders.sender import Sender
from daemon.orders.sight import Sight
from daemon.orders.tasks import Tasks
from daemon.settings.orders import ExecutionSettings, LiveBrokerSettings

log = structlog.get_logger("execution")

LOG_EVERY = 20
UNRECORDED: Final = (
    "orders of hrmd that are in no journal: {0} in the broker's book, the first {1}: what was commanded meanwhile may "
    "be missing, too; compare orders and positions with the broker's, then hrmd ctl resume"
)
"""What a start is halted for whose journal isn't whole."""
SUSPECTED: Final = (
    "the journal lacks its newest records, and the broker keeps no ids of ours: of {0} orders in its book that the "
    "journal doesn't know, the first {1}, some may be hrmd's; compare orders and positions with the broker's, then "
    "hrmd ctl resume"
)
"""The same, at a broker whose book doesn't tell whose orders they are."""
LATE_EXIT_S = 1.0
"""How long an exit that leaves while the process ends may work before it is taken off the market as all else was."""


class LiveExecutionActor(Actor):
    """See the module."""

    name = "execution"

    def __init__(
        self,
        bus: Bus,
        book: LiveBook,
        broker: Broker,
        journal: Durable | None,
        clock: Clock,
        execution: ExecutionSettings,
        settings: LiveBrokerSettings,
        *,
        ask_margin: bool = False,
        suspects_all: bool = False,
    ) -> None:
        """`ask_margin`: whether the venue is asked for the margin of an order that opens a contract.

        `suspects_all`: any order that the journal doesn't know may be one of ours that it lost.
        """
        super().__init__(bus)
        self.book = book
        self.orders = book.orders
        self._broker = broker
        self._timeout_ns = int(execution.working_timeout_s * NS_PER_S)
        self._clock = clock
        self._tasks = Tasks()
        self._suspects_all = suspects_all
        self._ends = ""
        """Why all that is ours goes off the market; "" while the process doesn't end."""
        self._late: dict[str, int] = {}
        """Exits that have left since, and when each was seen first, monotonic ns."""
        self._look = asyncio.Event()
        """Set when the broker's book is to be read."""
        self._sender = Sender(book, broker, journal, clock, bus.publish, ask_margin=ask_margin)
        self._canceller = Canceller(book, broker, clock, self._tasks, self._look)
        self._reconciler = Reconciler(
            book, broker, self._canceller, clock, bus.publish, settings, self._tasks, self._look
        )
        self.inbox = bus.subscribe(
            self.name,
            (TimeAdvanced, OrderApproved, OrderDenied, CancelOrder, Flatten, Halt, Reduce, Resume, PriceAdjusted),
        )  # of intents those of risk: what the book took in by itself it has applied by itself
        bus.subscribe(self.name, (OrderIntent,), where=lambda it: it.strategy != EXTERNAL, inbox=self.inbox)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Bring what the journal left in line with the broker; returns when both agree or differences are named.

        A token that the broker refuses is no reason to end: systemd would not start a process again that can't be
        mended by a start, and what is held would be left alone. Somebody logs in, and it goes on.
        """
        refused: Secret | None = None
        self._distrust("the daemon stopped before the venue's answer was known")
        tries, pause_s = 0, SHORTEST_PAUSE_S
        while (agree := await self._reconciler.look_around()) is None:
            refusal = self._broker.refusal
            if refusal and (token := self._another_token(refused)) is not None:
                refused = token
                self._broker.authorize(token)
                continue
            tries += 1
            if tries % LOG_EVERY == 1:
                why = (
                    f"the token was refused ({refusal}); {self._broker.access.renew}" if refusal else self.sight.trouble
                )
                log.error("the broker can't be read: trading waits for it", tries=tries, why=why)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RECOVERY_PAUSE_S)
        if not agree:
            await self._reconciler.look_around()
        self._halt_if_unrecorded()

    def _halt_if_unrecorded(self) -> None:
        """Orders that no journal has prove that commands may be missing in it, too, a halt above all."""
        orders, text = self.book.unrecorded, UNRECORDED
        if self._suspects_all and not orders:
            orders, text = self.book.taken_in, SUSPECTED
        if orders:
            self.bus.publish(
                Halt(ts=self._clock.now_ns(), reason=text.format(len(orders), orders[0]), automatic=True, who=ITSELF)
            )

    def _another_token(self, refused: Secret | None) -> Secret | None:
        """The one of the file, where it isn't the one that was refused; somebody may have logged in meanwhile."""
        try:
            token = self._broker.access.read()
        except SettingsError:
            return None
        return token if token.reveal() and token != refused else None

    @property
    def sight(self) -> Sight:
        """When book and positions of the account were last read."""
        return self._reconciler.sight

    async def run(self) -> None:
        """Handle events, listen to pushes and read the book until cancelled."""
        self._distrust("the execution stage was restarted")
        self._look.set()
        try:
            async with asyncio.TaskGroup() as self._tasks.group:
                self._tasks.spawn(self._listen(), "order socket")
                self._tasks.spawn(self._reconciler.keep_in_line(), "reconciliation")
                self._tasks.spawn(self._reconciler.keep_in_sight(), "sight of the broker")
                await super().run()
        finally:
            self._tasks.group = None

    def _distrust(self, reason: str) -> None:
        """Whatever was on its way when the last life ended is unknown; what can't have left is cancelled."""
        self.book.sending.clear()
        self.book.cancelling.clear()
        for order in list(self.orders.working.values()):
            order_id = order.intent.order_id
            if order.state in (OrderState.APPROVED, OrderState.SENT):
                self.book.say(OrderUnknown(ts=self._clock.now_ns(), order_id=order_id, reason=reason))
            elif order.state is OrderState.INTENT and not self._queued():
                self.book.say(
                    OrderCancelled(ts=self._clock.now_ns(), order_id=order_id, filled=0, reason="it was never sent")
                )

    def _queued(self) -> bool:
        """Whether the inbox may still hold the answer to an intent: only before the first run it can't."""
        return len(self.inbox) > 0

    # -- what it hears ------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """One event, without waiting."""
        match event:
            case OrderApproved():
                order = self.orders.apply(event)
                if order is not None:
                    self._canceller.judge(whole=False)
                    self.book.sending.add(event.order_id)
                    self._tasks.spawn(self._send(order), event.order_id)
            case OrderIntent() | OrderDenied():
                self.orders.apply(event)
            case TimeAdvanced():
                self._cancel_overdue(event.ts)
            case CancelOrder():
                self.orders.apply(event)
                if event.who != ITSELF:
                    self._canceller.hasten(event.order_id)
                self._canceller.pursue()
            case Flatten(automatic=True):  # what else is to be off the market risk says: it may withhold exits
                self.cancel_entries(event.reason, event.ts)
            case Flatten():
                self._hasten(event)
                self.cancel_resting(event.reason, event.ts)
            case Halt(shutdown=True):
                self._sender.end(event.reason)
            case Halt(automatic=True):
                self.cancel_entries(event.reason, 0)
            case Reduce() | Halt():
                self._hasten(event)
                self.cancel_entries(event.reason, event.ts)
            case Resume():
                self._canceller.allow_entries()
            case PriceAdjusted():
                self.book.expect(event)

    async def _send(self, order: Order) -> None:
        if await self._sender.send(order):
            self._canceller.pursue()
            self._look.set()

    def _hasten(self, command: Flatten | Reduce | Halt) -> None:
        """A person who wants orders off the market doesn't wait for the pauses between questions."""
        if command.who != ITSELF:
            self._canceller.hasten()

    def admitted(self, _: Secret) -> None:
        """Another token is there: what was asked for in vain is asked for again, without a pause."""
        self._canceller.hasten()
        self._look.set()
        self._canceller.pursue()

    async def _listen(self) -> None:
        async with aclosing(self._broker.events()) as pushes:
            async for push in pushes:
                match push:
                    case TradePush(trade=trade):
                        order = self.book.find(trade.tag, trade.venue_id)
                        if order is None or order.filled or trade.quantity != order.intent.quantity:
                            self._look.set()  # parts are booked in the tradebook's order: charges depend on it
                        else:
                            self.book.trade(trade)
                        self._canceller.pursue()
                    case OrderPush(order=report):
                        if not self.book.report(report) or self.book.incomplete or self.book.changed:
                            self._look.set()
                        self._canceller.pursue()
                    case Disconnected(reason=reason, token_refused=refused):
                        log.warning("order socket lost", reason=reason, token_refused=refused)
                    case _:
                        self._look.set()

    # -- what is to be off the market ---------------------------------------------------------------------------------

    def cancel_resting(self, reason: str, since: int) -> None:
        """Take every order off the market but exits that trade at once, whoever placed it, and keep at it."""
        self._canceller.forbid_entries(reason, since)
        for order in list(self.orders.working.values()):
            if rests(order.intent):
                self._canceller.want(order, reason)
        self._canceller.pursue()

    def cancel_entries(self, reason: str, since: int) -> None:
        """Take off what opens or adds to a position, now and later; a person said so at `since` (UTC ns; 0: nobody)."""
        self._canceller.forbid_entries(reason, since)
        self._canceller.pursue()

    def cancel_ours(self, reason: str) -> None:
        """Take every order off the market that we placed, and keep at it; a position's stop and target stay.

        An exit that is on its way or leaves after it, for nothing withholds exits, has `LATE_EXIT_S` to trade.
        """
        self._ends = reason
        for order in list(self.orders.working.values()):
            if order.intent.strategy == PROTECTION:
                log.info("left at the broker, for the position is", order=order.intent.order_id,
                         symbol=order.intent.symbol, what=order.intent.reason)  # fmt: skip
            elif not order.foreign and not self._is_exit_on_its_way(order):
                self._canceller.want(order, reason)
        self._canceller.pursue()

    def _is_exit_on_its_way(self, order: Order) -> bool:
        intent = order.intent
        return intent.order_id in self.book.sending and intent.reduces and not rests(intent)

    def _cancel_overdue(self, ts: int) -> None:
        for order in list(self.orders.working.values()):
            intent = order.intent
            mine = not intent.reduces and intent.strategy not in BY_HAND
            if mine and abs(ts - intent.ts) >= self._timeout_ns:  # ahead of now: by an earlier process's wrong clock
                self._canceller.want(order, "working time-out")
        self._canceller.pursue()

    async def settled(self) -> bool:
        """Wait until nothing is on its way and nothing that is to be cancelled works; whether something was or did."""
        waited = False
        while self.book.sending or self.book.cancelling or self._canceller.pursue() or self._late_exits():
            self._end_late_exits()
            self._look.set()
            waited = True
            await asyncio.sleep(SHORTEST_PAUSE_S / 5)
        return waited

    def _late_exits(self) -> list[Order]:
        """What left after `cancel_ours` and may still work."""
        if not self._ends:
            return []
        return [
            order
            for order in self.orders.working.values()
            if not order.unwanted
            and not order.foreign
            and order.intent.strategy != PROTECTION
            and order.state is not OrderState.INTENT
        ]

    def _end_late_exits(self) -> None:
        now = self._clock.monotonic_ns()
        for order in self._late_exits():
            if now - self._late.setdefault(order.intent.order_id, now) >= LATE_EXIT_S * NS_PER_S:
                self._canceller.want(order, self._ends)

    def left(self) -> list[str]:
        """What is to be off the market or on its way and, for all we know, may still work, in words."""
        orders = [it for it in self.orders.working.values() if it.unwanted or it.intent.order_id in self.book.sending]
        orders += [it for it in self._late_exits() if it.intent.order_id not in self.book.sending]
        revenants = (self.orders.find(order_id) for order_id in self.book.revenants.values())
        orders += [order for order in revenants if order is not None]
        return [
            ("unknown: " if it.state in (OrderState.SENT, OrderState.UNKNOWN) else "")
            + f"{it.intent.side} {it.remaining} {it.intent.symbol} ({it.intent.order_id})"
            for it in orders
        ]
