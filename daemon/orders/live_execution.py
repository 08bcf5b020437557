"""The execution stage on a real broker: approved intents out, and whatever the broker says or fails to say in.

Every call runs in a task of its own, so the inbox never waits for the network. Pushes are news and the book is the
truth: a push that isn't the whole story, a gap or an unknown order makes the book be read. Invariant: an order leaves
only after its intent is on disk, leaves once, and after a silence nothing is sent again until the book has spoken.
What is to be taken off the market is asked for until it is gone, after a restart too; while trading is halted or
reducing, so is whatever would open or add to a position by then, whoever placed it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import structlog

from daemon.calls.outcome import Done, NotSent, Rejected, Unknown
from daemon.calls.records import ZERO
from daemon.calls.secret import Secret
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import JournalError, SettingsError
from daemon.core.events import (
    EXTERNAL,
    ITSELF,
    PROTECTION,
    BrokerStatus,
    CancelOrder,
    Event,
    Flatten,
    FundsReported,
    Halt,
    OrderAccepted,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    PriceAdjusted,
    Reconciled,
    Reduce,
    Resume,
    TimeAdvanced,
)
from daemon.orders.book import Order, OrderState
from daemon.orders.broker import Broker, SaysMargin
from daemon.orders.cancel_pauses import CancelPauses
from daemon.orders.live_book import LiveBook
from daemon.orders.openers import EntryBar
from daemon.orders.orphans import LEFT_OVER
from daemon.orders.paper_execution import BY_HAND, UNWRITTEN, Durable, rests
from daemon.orders.pushes import Disconnected, OrderPush, TradePush
from daemon.orders.sight import BOOK, POSITIONS, Sight
from daemon.settings.orders import ExecutionSettings, LiveBrokerSettings

log = structlog.get_logger("execution")

CANCELLABLE = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
SHORTEST_PAUSE_S = 0.25
"""Between two readings of the book."""
RECOVERY_PAUSE_S = 3.0
"""Between two tries to read a broker that can't be read: often enough, and all its calls leave room for one another."""
LOG_EVERY = 20
MARGIN_S = 2.0
"""How long an order waits for what the venue says of its margin."""


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
    ) -> None:
        """`ask_margin`: whether the venue is asked for the margin of an order that opens a contract."""
        super().__init__(bus)
        self._margins = broker if ask_margin and isinstance(broker, SaysMargin) else None
        self.book = book
        self.orders = book.orders
        self._broker = broker
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._timeout_ns = int(execution.working_timeout_s * NS_PER_S)
        self._bar = EntryBar()
        self._pauses = CancelPauses()
        self._ending = ""
        """Why the process ends, "" while it goes on."""
        self._sight = Sight(clock, settings.reconcile_s)
        self._blind = False
        self._sending: set[str] = set()
        self._look = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
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
        while (agree := await self._look_around()) is None:
            refusal = self._broker.refusal
            if refusal and (token := self._another_token(refused)) is not None:
                refused = token
                self._broker.authorize(token)
                continue
            tries += 1
            if tries % LOG_EVERY == 1:
                why = f"the token was refused ({refusal}); {self._broker.access.renew}" if refusal else self.trouble
                log.error("the broker can't be read: trading waits for it", tries=tries, why=why)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RECOVERY_PAUSE_S)
        if not agree:
            await self._look_around()

    def _another_token(self, refused: Secret | None) -> Secret | None:
        """The one of the file, where it isn't the one that was refused; somebody may have logged in meanwhile."""
        try:
            token = self._broker.access.read()
        except SettingsError:
            return None
        return token if token.reveal() and token != refused else None

    async def _look_around(self) -> bool | None:
        """Read book and positions: whether the positions agree, None where one of them couldn't be read."""
        agree = await self._read_book(urgent=True) and await self._check_account()
        return None if self._sight.missing else agree

    @property
    def trouble(self) -> str:
        """Why nobody knows how the account stands: what of it wasn't read for too long; "" where all was."""
        return self._sight.trouble

    @property
    def sight(self) -> Sight:
        """When book and positions of the account were last read."""
        return self._sight

    async def run(self) -> None:
        """Handle events, listen to pushes and read the book until cancelled."""
        self._distrust("the execution stage was restarted")
        self._look.set()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._listen(), name="order socket")
                self._group.create_task(self._keep_in_line(), name="reconciliation")
                self._group.create_task(self._keep_in_sight(), name="sight of the broker")
                await super().run()
        finally:
            self._group = None

    def handle(self, event: Event) -> None:
        """One event, without waiting."""
        match event:
            case OrderApproved():
                order = self.orders.apply(event)
                if order is not None:
                    self._bar_entries(whole=False)
                    self._sending.add(event.order_id)
                    self._spawn(self._send(order), event.order_id)
            case OrderIntent() | OrderDenied():
                self.orders.apply(event)
            case TimeAdvanced():
                self._cancel_overdue(event.ts)
            case CancelOrder():
                self.orders.apply(event)
                if event.who != ITSELF:
                    self._pauses.hasten(event.order_id)
                self._pursue()
            case Flatten():
                self._hasten(event)
                self.cancel_resting(event.reason, event.ts)
            case Halt(shutdown=True):
                self._ending = event.reason
            case Halt(automatic=True):
                self.cancel_entries(event.reason, 0)
            case Reduce() | Halt():
                self._hasten(event)
                self.cancel_entries(event.reason, event.ts)
            case Resume():
                self._bar.allow()
            case PriceAdjusted():
                self.book.expect(event)

    def cancel_resting(self, reason: str, since: int) -> None:
        """Take every order off the market but exits that trade at once, whoever placed it, and keep at it."""
        self._bar.forbid(reason, since)
        for order in list(self.orders.working.values()):
            if rests(order.intent):
                self._want_cancelled(order, reason)
        self._pursue()

    def cancel_entries(self, reason: str, since: int) -> None:
        """Take off what opens or adds to a position, now and later; a person said so at `since` (UTC ns; 0: nobody)."""
        self._bar.forbid(reason, since)
        self._pursue()

    def cancel_ours(self, reason: str) -> None:
        """Take every order off the market that we placed, and keep at it; a position's stop and target stay."""
        for order in list(self.orders.working.values()):
            if order.intent.strategy == PROTECTION:
                log.info("left at the broker, for the position is", order=order.intent.order_id,
                         symbol=order.intent.symbol, what=order.intent.reason)  # fmt: skip
            elif not order.foreign:
                self._want_cancelled(order, reason)
        self._pursue()

    async def settled(self) -> None:
        """Wait until nothing is on its way and nothing that is to be cancelled works."""
        while self._sending or self.book.cancelling or self._pursue():
            self._look.set()
            await asyncio.sleep(SHORTEST_PAUSE_S / 5)

    def left(self) -> list[str]:
        """What is to be off the market or on its way and, for all we know, may still work, in words."""
        orders = [it for it in self.orders.working.values() if it.unwanted or it.intent.order_id in self._sending]
        revenants = (self.orders.find(order_id) for order_id in self.book.revenants.values())
        orders += [order for order in revenants if order is not None]
        return [
            ("unknown: " if it.state in (OrderState.SENT, OrderState.UNKNOWN) else "")
            + f"{it.intent.side} {it.remaining} {it.intent.symbol} ({it.intent.order_id})"
            for it in orders
        ]

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, order: Order) -> None:
        order_id = order.intent.order_id
        try:
            short = await self._margin_missing(order)
            if not await self._on_disk(order):
                return
            if short:
                self._never_left(order, short)
                return
            self.book.say(OrderSent(ts=self._now, order_id=order_id))
            outcome = await self._broker.submit(order.intent)
        finally:
            self._sending.discard(order_id)
        match outcome:
            case Done(value=ack):
                self.book.say(OrderAccepted(ts=self._now, order_id=order_id, venue_id=ack.venue_id))
            case Unknown(reason=reason):
                if order.state == OrderState.SENT:
                    order.venue_id = order.venue_id or outcome.venue_id
                    log.error(
                        "no answer about an order: the book is asked", order=order_id, decision=order.intent.decision,
                        symbol=order.intent.symbol, reason=reason,
                    )  # fmt: skip
                    self.book.say(OrderUnknown(ts=self._now, order_id=order_id, reason=reason))
            case Rejected() | NotSent() if order.state == OrderState.SENT:
                code, reason = (outcome.code, outcome.message) if isinstance(outcome, Rejected) else (0, "")
                if isinstance(outcome, NotSent):
                    reason = f"not sent: {outcome.reason}"
                self.book.say(OrderRejected(ts=self._now, order_id=order_id, code=code, reason=reason))
        self._pursue()
        self._look.set()

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
        try:
            waiting = self._journal.durable() if self._journal is not None else None
            if waiting is not None:
                await waiting
        except JournalError as error:
            self.bus.publish(
                Halt(ts=self._now, reason=f"the journal can't be written: {error}", automatic=True, who=ITSELF)
            )
            if not order.intent.reduces:
                self._never_left(order, UNWRITTEN)
                return False
        kept = order.unwanted or ("" if order.intent.reduces else self._ending)
        if kept:  # while the disk was waited for
            self._never_left(order, kept)
            return False
        return True

    def _never_left(self, order: Order, reason: str) -> None:
        self.book.say(OrderCancelled(ts=self._now, order_id=order.intent.order_id, filled=0, reason=reason))

    # -- cancelling ---------------------------------------------------------------------------------------------------

    def _want_cancelled(self, order: Order, reason: str) -> None:
        self.book.say(CancelOrder(ts=self._now, order_id=order.intent.order_id, reason=reason, who=ITSELF))

    def _bar_entries(self, *, whole: bool) -> None:
        """Judge what works by what it would do now; `whole`: the book was read, and no fill is known to be missing."""
        bar, orphans, doubted = self._bar, self.book.orphans, self._doubtful
        for order in bar.condemned(self.orders.working.values(), self.book.held, whole=whole):
            self._want_cancelled(order, bar.reason)
        if orphans.ids:
            for order in orphans.left_over(self.orders.working.values(), self.book.held, whole=whole):
                self._want_cancelled(order, LEFT_OVER)
        if self._doubtful and not doubted:  # once: the pauses between readings are kept
            self._look.set()

    @property
    def _doubtful(self) -> bool:
        """Whether an order seems to be one that is to go, and the venue's book is to be read first."""
        return self._bar.doubtful or self.book.orphans.doubtful

    def _hasten(self, command: Flatten | Reduce | Halt) -> None:
        """A person who wants orders off the market doesn't wait for the pauses between questions."""
        if command.who != ITSELF:
            self._pauses.hasten()

    def admitted(self, _: Secret) -> None:
        """Another token is there: what was asked for in vain is asked for again, without a pause."""
        self._pauses.hasten()
        self._look.set()
        self._pursue()

    @property
    def _owed(self) -> list[str]:
        """Orders that are to be off the market and aren't yet."""
        unwanted = (order_id for order_id, order in self.orders.working.items() if order.unwanted)
        return [*self.book.revenants.values(), *unwanted]

    def _pursue(self) -> bool:
        """Ask for every cancellation that is wanted and can be asked for; whether any is still owed."""
        if self._group is None:  # not running yet: `run` begins with a look at the book, and then asks
            return bool(self._owed)
        self._bar_entries(whole=False)
        now, pauses = self._clock.monotonic_ns(), self._pauses
        for order_id, order in list(self.orders.working.items()):
            free = order.state in CANCELLABLE and order.venue_id and order_id not in self.book.cancelling
            if order.unwanted and free and pauses.due(order_id, now):
                pauses.ask(order_id, now)
                self.book.cancelling.add(order_id)
                self.book.say(OrderCancelRequested(ts=self._now, order_id=order_id, reason=order.unwanted))
                self._spawn(self._cancel(order_id, order.venue_id), f"cancel {order_id}")
        for venue_id, order_id in list(self.book.revenants.items()):
            if order_id not in self.book.cancelling and pauses.due(order_id, now):
                pauses.ask(order_id, now)
                self.book.cancelling.add(order_id)
                self._spawn(self._cancel(order_id, venue_id), f"cancel {order_id}")
        owed = self._owed
        pauses.keep(owed)
        return bool(owed)

    async def _cancel(self, order_id: str, venue_id: str) -> None:
        try:
            outcome = await self._broker.cancel(venue_id)
        finally:
            self.book.cancelling.discard(order_id)
        if isinstance(outcome, NotSent | Unknown) or (isinstance(outcome, Rejected) and outcome.token_refused):
            self._pauses.unheard(order_id)
        if isinstance(outcome, Done):
            self.book.revenants.pop(venue_id, None)
        else:  # where nobody knows it may be asked twice, and need not wait for a book that can't be read either
            reason = outcome.message if isinstance(outcome, Rejected) else outcome.reason
            self.book.say(OrderCancelFailed(ts=self._now, order_id=order_id, reason=reason))
        self._look.set()

    def _cancel_overdue(self, ts: int) -> None:
        for order in list(self.orders.working.values()):
            intent = order.intent
            mine = not intent.reduces and intent.strategy not in BY_HAND
            if mine and ts - intent.ts >= self._timeout_ns:
                self._want_cancelled(order, "working time-out")
        self._pursue()

    # -- listening and reading ----------------------------------------------------------------------------------------

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
                        self._pursue()
                    case OrderPush(order=report):
                        if not self.book.report(report) or self.book.incomplete or self.book.changed:
                            self._look.set()
                        self._pursue()
                    case Disconnected(reason=reason, token_refused=refused):
                        log.warning("order socket lost", reason=reason, token_refused=refused)
                    case _:
                        self._look.set()

    async def _keep_in_line(self) -> None:
        """Read the book when something calls for it, and compare the whole account every `reconcile_s` in any case."""
        settings, due_ns = self._settings, self._clock.monotonic_ns() + int(self._settings.reconcile_s * NS_PER_S)
        rest_s = SHORTEST_PAUSE_S
        while True:
            doubt = self.book.unresolved or self.book.incomplete or self._doubtful
            owed, now = self._owed, self._clock.monotonic_ns()
            owing = doubt or owed
            pause_s = max(0.0, (due_ns - now) / NS_PER_S)
            if doubt:
                pause_s = min(pause_s, settings.unknown_poll_s)
            elif owed:  # to read more often than one may ask brings nothing
                pause_s = min(pause_s, max(settings.unknown_poll_s, self._pauses.left_ns(owed, now) / NS_PER_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            self._look.clear()
            read = await self._read_book(urgent=bool(owing))
            now = self._clock.monotonic_ns()
            if now >= due_ns or self.book.halted:
                await self._check_account()
                pause_s = (
                    settings.reconcile_s
                    if read and not self._sight.missing
                    else min(settings.unknown_poll_s, settings.reconcile_s)
                )
                due_ns = now + int(pause_s * NS_PER_S)
            self._pursue()
            rest_s = SHORTEST_PAUSE_S if read else min(2 * rest_s, RECOVERY_PAUSE_S)
            await asyncio.sleep(rest_s)  # who asks in vain again and again has no calls left for exits

    async def _keep_in_sight(self) -> None:
        """Say when the broker has not been read for too long; that it is again is said by the reading."""
        while True:
            self._tell_sight()
            await asyncio.sleep(max(self._sight.left_s, SHORTEST_PAUSE_S))

    def _saw(self, what: str) -> None:
        self._sight.saw(what)
        if self._group is not None:  # before, nothing trades: `recover` returns when all was read
            self._tell_sight()

    def _tell_sight(self) -> None:
        """Risk opens nothing while the broker is out of sight."""
        trouble = self.trouble
        if bool(trouble) is not self._blind:
            self._blind = bool(trouble)
            level = log.error if trouble else log.info
            level("the broker is out of sight: nothing is opened" if trouble else "the broker is in sight", why=trouble)
            self.bus.publish(BrokerStatus(ts=self._now, readable=not trouble, reason=trouble))

    async def _read_book(self, *, urgent: bool) -> bool:
        """Compare with the broker's orders and trades; False where they couldn't be read."""
        orders = await self._broker.orders(urgent=urgent)
        if not isinstance(orders, Done):
            self._sight.missed(BOOK, orders)
            return False
        trades = await self._broker.trades(urgent=urgent)
        if not isinstance(trades, Done):
            self._sight.missed(BOOK, trades)
            return False
        missed = self.book.compare(orders.value, trades.value)
        self._saw(BOOK)
        if self._group is not None:  # while it recovers, it isn't known yet where the positions differ
            self._bar_entries(whole=not self.book.incomplete)
        self.bus.publish(
            Reconciled(
                ts=self._now, orders=len(orders.value), trades=len(trades.value), missed_fills=missed,
                unknown=self.book.unresolved,
            )
        )  # fmt: skip
        return True

    async def _check_account(self) -> bool:
        """Compare positions, and report the money; whether the positions agree."""
        booked, settled = self.book.booked, not self.orders.working
        held = await self._broker.positions()
        if not isinstance(held, Done):
            self._sight.missed(POSITIONS, held)
            return False
        self._saw(POSITIONS)
        agree = self.book.compare_positions({row.symbol: row.quantity for row in held.value})
        funds = await self._broker.funds()
        if isinstance(funds, Done):
            value = funds.value
            still = agree and booked == self.book.booked and not self._sending and not self.book.incomplete
            flows = sum((row.sold * row.sell_average - row.bought * row.buy_average for row in held.value), ZERO)
            cash = value.total - value.realised + flows if still else None
            settled = settled and not self.orders.working
            self.bus.publish(
                FundsReported(
                    ts=self._now, total=value.total, available=value.available, cash=cash, settled=settled
                )
            )  # fmt: skip
        return agree

    # -- small things -------------------------------------------------------------------------------------------------

    def _distrust(self, reason: str) -> None:
        """Whatever was on its way when the last life ended is unknown; what can't have left is cancelled."""
        self._sending.clear()
        self.book.cancelling.clear()
        for order in list(self.orders.working.values()):
            order_id = order.intent.order_id
            if order.state in (OrderState.APPROVED, OrderState.SENT):
                self.book.say(OrderUnknown(ts=self._now, order_id=order_id, reason=reason))
            elif order.state is OrderState.INTENT and not self._queued(order_id):
                self.book.say(OrderCancelled(ts=self._now, order_id=order_id, filled=0, reason="it was never sent"))

    def _queued(self, order_id: str) -> bool:
        """Whether the inbox still holds the answer to an intent: only before the first run it can't."""
        return len(self.inbox) > 0

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        assert self._group is not None  # only `run` handles events, and it opens the group first
        self._group.create_task(work, name=name)

    @property
    def _now(self) -> int:
        return self._clock.now_ns()
