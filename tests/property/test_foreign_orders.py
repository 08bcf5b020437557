"""Orders that we didn't place come, change, trade and go between ours and commands: no crash, no stop is lost.

The execution stage runs on a broker in memory and is moved by hand, so that every interleaving is one that can be
played again. What may be taken off is said here in other words than in `openers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.calls.outcome import Done, KeptBack, NotSent, Outcome, may_go
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    MANUAL,
    Event,
    Flatten,
    Halt,
    OrderApproved,
    OrderIntent,
    OrderSent,
    OrderType,
    Reduce,
    Resume,
    Side,
)
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.live_book import LiveBook
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.pushes import SocketEvent
from daemon.orders.venue import Acknowledged, Funds, OrderStatus, VenueOrder, VenuePosition, VenueTrade
from daemon.recovery.account import FOLDED, Account
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings, LiveBrokerSettings
from tests.depth import examples
from tests.samples import OPEN, SBIN, intend

COSTS, INSTRUMENTS, SETTINGS = CostSchedule(), InstrumentBook(MarketSettings()), LiveBrokerSettings()
AT_ONCE, RESTING = OrderType.MARKET, (OrderType.LIMIT, OrderType.SL_MARKET)


class Exchange:
    """Implements `daemon.orders.broker.Broker`: market orders trade at once, others when they are told to."""

    def __init__(self) -> None:
        self.rows: dict[str, VenueOrder] = {}
        self.done: list[VenueTrade] = []
        self.asked: list[str] = []
        """Venue ids, as cancellations came in."""
        self.known = False
        """Whether the orders were read since something last happened by hand."""
        self.late = 0
        """How many of the newest trades the next reading doesn't show yet."""

    @property
    def refusal(self) -> str:
        """The token always holds."""
        return ""

    @property
    def net(self) -> int:
        """What is held."""
        return sum(trade.side.sign * trade.quantity for trade in self.done)

    @property
    def working(self) -> list[VenueOrder]:
        """What rests."""
        return [row for row in self.rows.values() if not row.status.final]

    def place(self, tag: str, side: Side, quantity: int, kind: OrderType) -> str:
        """An order arrives."""
        venue_id = f"V{len(self.rows)}"
        self.rows[venue_id] = VenueOrder(
            venue_id=venue_id, tag=tag, symbol=SBIN, side=side, type=kind, quantity=quantity, remaining=quantity,
            limit_price=Decimal(800), status=OrderStatus.PENDING,
        )  # fmt: skip
        if kind is AT_ONCE:
            self.trade(venue_id, quantity)
        return venue_id

    def change(self, venue_id: str, **changes: Any) -> None:
        """A row moves on."""
        self.rows[venue_id] = msgspec.structs.replace(self.rows[venue_id], **changes)

    def trade(self, venue_id: str, quantity: int) -> None:
        """Some of an order, or all that is left, trades."""
        row = self.rows[venue_id]
        quantity = min(quantity, row.quantity - row.filled)
        self.done.append(
            VenueTrade(
                trade_id=f"F{len(self.done)}", venue_id=venue_id, tag=row.tag, symbol=SBIN, side=row.side,
                quantity=quantity, price=Decimal(800), ts=OPEN,
            )
        )  # fmt: skip
        filled = row.filled + quantity
        over = OrderStatus.FILLED if filled == row.quantity else OrderStatus.PENDING
        self.change(venue_id, filled=filled, remaining=row.quantity - filled, status=over)

    async def submit(self, intent: OrderIntent, kept_back: KeptBack = may_go) -> Outcome[Acknowledged]:
        """Ours arrive under their client ids."""
        return Done(Acknowledged(venue_id=self.place(intent.order_id, intent.side, intent.quantity, intent.type)))

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Off the market, if it still rests."""
        self.asked.append(venue_id)
        if not self.rows[venue_id].status.final:
            self.change(venue_id, status=OrderStatus.CANCELLED)
        return Done(Acknowledged(venue_id=venue_id))

    async def orders(self, *, urgent: bool) -> Outcome[list[VenueOrder]]:
        """All of the day."""
        self.known = True
        return Done(list(self.rows.values()))

    async def trades(self, *, urgent: bool) -> Outcome[list[VenueTrade]]:
        """Those of the day, but for the late ones."""
        shown, self.late = self.done[: len(self.done) - self.late], 0
        return Done(shown)

    async def positions(self) -> Outcome[list[VenuePosition]]:
        """The one share."""
        return Done([VenuePosition(symbol=SBIN, product="INTRADAY", quantity=self.net)])

    async def funds(self) -> Outcome[Funds]:
        """Not told."""
        return NotSent("not asked about here")

    async def close(self) -> None:
        """Nothing to let go of."""

    async def events(self) -> AsyncGenerator[SocketEvent, None]:
        """No pushes: the book is the truth."""
        return
        yield


class Stage:
    """The execution stage over several lives."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.exchange = Exchange()
        self.told: list[Event] = []
        self.barred = ""
        self.barred_ts = 0
        self.there: set[str] = set()
        """Venue ids that worked, as far as we knew, when entries were forbidden."""
        self.clock = ReplayClock(OPEN)
        self.flattened: set[str] = set()
        """Venue ids that rested when everything was to be flat."""
        self.sent = 0
        self._group = group

    async def live(self) -> None:
        """A process starts: what the journal tells, then what the book says."""
        account = Account(Decimal(1_000_000))
        account.fold(self.told)
        self.bus, clock = Bus(), self.clock
        self.bus.tap(FOLDED, self.told.append)
        held = {item.symbol: item.quantity for item in account.portfolio.positions()}
        self.book = LiveBook(account.orders, held, INSTRUMENTS, COSTS, clock, SETTINGS, self.bus.publish)
        self.actor = LiveExecutionActor(
            self.bus, self.book, self.exchange, None, clock, ExecutionSettings(), SETTINGS
        )  # fmt: skip
        if self.barred:
            self.actor.cancel_entries(self.barred, self.barred_ts)
        await self.actor.recover()
        self.actor._tasks.group = self._group
        await self.settle()

    async def settle(self) -> None:
        """Handle what was published, and let every call have its answer."""
        for _ in range(4):
            while (event := self.actor.inbox.take()) is not None:
                self.actor.handle(event)
                self.actor.inbox.done()
            await asyncio.sleep(0)
        self.judge()

    async def read(self) -> None:
        """The book is read, and what follows from it is done."""
        await self.actor._reconciler.read_book(urgent=True)
        self.actor._canceller.pursue()
        await self.settle()

    def judge(self) -> None:
        """What was cancelled since the last look was ours, flattened, or barred and no protection."""
        for venue_id in self.exchange.asked:
            row = self.exchange.rows[venue_id]
            if row.tag or venue_id in self.flattened:
                continue
            assert self.barred, f"{row} was taken off for nothing"
            lately = [self.exchange.rows[one] for one in self.exchange.asked if one != venue_id]
            beside = [it for it in (*self.exchange.working, *lately) if it.side is row.side and it.type is not AT_ONCE]
            room = -row.side.sign * self.exchange.net
            if self.exchange.known and not beside and row.status is OrderStatus.CANCELLED:
                assert row.quantity - row.filled > room, f"{row} protected {self.exchange.net}"
        self.exchange.asked.clear()

    async def step(self, what: str, side: Side, number: int, kind: OrderType, seen: bool) -> None:
        """One thing happens; `seen`: the book is read right after it."""
        self.clock.advance(self.clock.now_ns() + 1)
        resting = self.exchange.working
        chosen = resting[number % len(resting)].venue_id if resting else None
        match what:
            case "by hand":
                self.exchange.known = False
                self.exchange.place("", side, number, kind)
            case "trade" | "amend" | "withdraw" if chosen is not None:
                self.exchange.known = False
                self.by_hand(what, chosen, number)
            case "late trades":
                self.exchange.late = min(number, len(self.exchange.done))
            case "ours":
                self.send(side, number, kind)
            case "halt" | "reduce" | "flatten" | "resume":
                self.command(what)
            case "restart":
                await self.live()
        await self.settle()
        if seen:
            await self.read()

    def by_hand(self, what: str, venue_id: str, number: int) -> None:
        """Something happens to an order that rests, ours or not."""
        row = self.exchange.rows[venue_id]
        if what == "trade":
            self.exchange.trade(venue_id, number)
        elif what == "amend":
            self.exchange.change(venue_id, quantity=row.filled + number, remaining=number)
        else:
            self.exchange.change(venue_id, status=OrderStatus.CANCELLED)

    def send(self, side: Side, quantity: int, kind: OrderType) -> None:
        """Risk approves an order of ours: any while it trades, else what closes."""
        mine = self.actor.orders.working.values()
        taken = sum(order.remaining for order in mine if order.intent.side is side)
        reduces = quantity <= -side.sign * self.book.positions[SBIN] - taken
        if self.barred and not reduces:
            return
        self.sent += 1
        intent = intend(f"T{self.sent}", side, quantity, type=kind, reduces=reduces, strategy=MANUAL, ts=OPEN)
        self.bus.publish(intent)
        self.bus.publish(OrderApproved(ts=OPEN, order_id=intent.order_id))

    def command(self, what: str) -> None:
        """From the user."""
        if not self.barred:
            self.barred_ts = self.clock.now_ns()
            self.there = {order.venue_id for order in self.actor.orders.working.values()}
        kinds = {"halt": Halt, "reduce": Reduce, "flatten": Flatten, "resume": Resume}
        self.barred = "" if what == "resume" else what
        if what == "flatten":
            self.flattened |= {row.venue_id for row in self.exchange.working}
        self.bus.publish(kinds[what](ts=self.clock.now_ns(), reason=what))

    def agrees(self) -> None:
        """Every order and the position are the exchange's; nothing was sent twice, and what is barred is gone."""
        ours = {order.venue_id: order.remaining for order in self.actor.orders.working.values()}
        assert ours == {row.venue_id: row.quantity - row.filled for row in self.exchange.working}
        assert self.book.positions[SBIN] == self.exchange.net
        assert len([event for event in self.told if isinstance(event, OrderSent)]) <= self.sent
        tags = [row.tag for row in self.exchange.rows.values() if row.tag]
        assert len(set(tags)) == len(tags)
        if self.barred:
            for side in Side:
                judged = [row for row in self.exchange.working if row.tag or row.venue_id in self.there]
                rests = sum(row.quantity - row.filled for row in judged if row.side is side)
                assert rests <= max(0, -side.sign * self.exchange.net)


WHAT = (
    *("by hand",) * 4, "trade", "amend", "withdraw", "late trades", "ours", "halt", "reduce", "flatten",
    "resume", "restart",
)  # fmt: skip
STEPS = st.tuples(
    st.sampled_from(WHAT),
    st.sampled_from(Side), st.integers(1, 5), st.sampled_from((AT_ONCE, *RESTING)), st.booleans(),
)  # fmt: skip


LATE = [
    ("halt", Side.BUY, 1, AT_ONCE, False),
    ("by hand", Side.BUY, 5, AT_ONCE, False),
    ("by hand", Side.SELL, 5, OrderType.SL_MARKET, False),
    ("late trades", Side.BUY, 1, AT_ONCE, True),
]
"""A stop whose position isn't known yet when the stop is."""


@example(LATE)
@settings(max_examples=examples(300))
@given(st.lists(STEPS, max_size=25))
def test_orders_of_somebody_else_between_ours(steps: list[tuple[str, Side, int, OrderType, bool]]) -> None:
    """After every sequence both agree, and on the way nothing was taken off but by the rules."""

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            stage = Stage(group)
            await stage.live()
            for step in steps:
                await stage.step(*step)
            for _ in range(3):
                await stage.read()
            stage.agrees()

    asyncio.run(play())
