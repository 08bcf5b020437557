"""Whatever the venue does, shows late, shows twice or hides: in the end our fills, orders and positions are its own."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from daemon.core.clock import ReplayClock
from daemon.core.events import (
    Event,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderIntent,
    OrderSent,
    OrderType,
    OrderUnknown,
    Side,
    SymbolHalted,
)
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.live_book import READS_TO_WRITE_OFF, LiveBook
from daemon.orders.venue import OrderStatus, VenueOrder, VenueTrade
from daemon.settings.market import MarketSettings
from daemon.settings.orders import LiveBrokerSettings
from tests.depth import examples
from tests.samples import OPEN, SBIN, intend

COSTS, INSTRUMENTS = CostSchedule(), InstrumentBook(MarketSettings())
SETTINGS = LiveBrokerSettings(unknown_settle_s=10.0)


class Venue:
    """The simplest exchange: orders by tag, and their trades."""

    def __init__(self) -> None:
        self.orders: dict[str, VenueOrder] = {}
        self.trades: list[VenueTrade] = []
        self.count = 0

    def take(self, intent: OrderIntent) -> VenueOrder:
        """An order arrives."""
        order = self.orders[intent.order_id] = VenueOrder(
            venue_id=f"V{len(self.orders)}", tag=intent.order_id, symbol=intent.symbol, side=intent.side,
            type=OrderType.MARKET, quantity=intent.quantity, remaining=intent.quantity, status=OrderStatus.PENDING,
        )  # fmt: skip
        return order

    def change(self, tag: str, **changes: object) -> None:
        """An order moves on."""
        fields = {name: getattr(self.orders[tag], name) for name in VenueOrder.__struct_fields__}
        self.orders[tag] = VenueOrder(**(fields | changes))

    def trade(self, tag: str, quantity: int) -> None:
        """A part of an order, or all of it, is done."""
        order = self.orders[tag]
        quantity, self.count = min(quantity, order.quantity - order.filled), self.count + 1
        self.trades.append(
            VenueTrade(
                trade_id=f"F{self.count}", venue_id=order.venue_id, tag=tag, symbol=SBIN, side=order.side,
                quantity=quantity, price=Decimal(800), ts=OPEN,
            )
        )  # fmt: skip
        filled = order.filled + quantity
        status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PENDING
        self.change(tag, filled=filled, remaining=order.quantity - filled, status=status)


class Live(RuleBasedStateMachine):
    """A live book beside a venue whose answers and pushes get lost, come late and come twice."""

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ReplayClock(OPEN)
        self.venue = Venue()
        self.said: list[Event] = []
        self.count = 0
        self.dead: set[str] = set()
        self.merged: set[str] = set()
        self.book = LiveBook(OrderBook(), {}, INSTRUMENTS, COSTS, self.clock, SETTINGS, self.said.append)

    @rule(target=sent, quantity=st.integers(1, 9), side=st.sampled_from(Side), fate=st.sampled_from("arnl"))
    def send(self, quantity: int, side: Side, fate: str) -> str:
        """An order leaves: it arrives and is answered, arrives in silence, or is lost in silence."""
        self.count += 1
        intent = intend(f"T{self.count}", side, quantity, ts=OPEN)
        tag = intent.order_id
        for event in (intent, OrderApproved(ts=OPEN, order_id=tag), OrderSent(ts=OPEN, order_id=tag)):
            assert self.book.say(event)
        if fate == "a":
            accepted = OrderAccepted(ts=OPEN, order_id=tag, venue_id=self.venue.take(intent).venue_id)
            self.book.say(accepted)
        else:
            self.book.say(OrderUnknown(ts=OPEN, order_id=tag, reason="silence"))
            if fate == "l":
                self.dead.add(tag)
            else:
                self.venue.take(intent)
        return tag

    @rule(tag=sent, quantity=st.integers(1, 9), tell=st.integers(0, 2))
    def trade(self, tag: str, quantity: int, tell: int) -> None:
        """A trade, told never, once or twice."""
        order = self.venue.orders.get(tag)
        if order is None or order.status.final:
            return
        self.venue.trade(tag, quantity)
        for _ in range(tell):
            self.book.trade(self.venue.trades[-1])

    @rule(tag=sent, status=st.sampled_from((OrderStatus.CANCELLED, OrderStatus.EXPIRED)), tell=st.integers(0, 2))
    def end(self, tag: str, status: OrderStatus, tell: int) -> None:
        """The venue ends an order, and says so or doesn't."""
        order = self.venue.orders.get(tag)
        if order is None or order.status.final:
            return
        self.venue.change(tag, status=status)
        for _ in range(tell):
            self.book.report(self.venue.orders[tag])

    @rule(tag=sent, quantity=st.integers(1, 15))
    def change(self, tag: str, quantity: int) -> None:
        """Somebody changes the order at the venue; only the book tells."""
        order = self.venue.orders.get(tag)
        if order is not None and not order.status.final and quantity > order.filled:
            self.venue.change(tag, quantity=quantity, remaining=quantity - order.filled)

    @rule(tag=sent, first=st.booleans())
    def merge(self, tag: str, first: bool) -> None:
        """From now on the venue shows the trades of an order as one, under the id of the first or of the last."""
        of_order = [trade for trade in self.venue.trades if trade.tag == tag]
        if len(of_order) > 1:
            self.merged.add(tag)
            fields = {name: getattr(of_order[0 if first else -1], name) for name in VenueTrade.__struct_fields__}
            whole = VenueTrade(**(fields | {"quantity": sum(trade.quantity for trade in of_order)}))
            self.venue.trades = [trade for trade in self.venue.trades if trade.tag != tag] + [whole]

    @rule()
    def restart(self) -> None:
        """The process dies; the next one knows what was said, and trusts nothing that was on its way."""
        before, orders = self.book, OrderBook()
        for event in self.said:
            orders.apply(event)
        assert set(orders.working) == set(before.orders.working)
        held: Counter[str] = Counter()
        for event in self.said:
            if isinstance(event, Fill):
                held[event.symbol] += event.side.sign * event.quantity
        self.book = LiveBook(orders, held, INSTRUMENTS, COSTS, self.clock, SETTINGS, self.said.append)
        for order in list(orders.working.values()):
            if order.state in (OrderState.APPROVED, OrderState.SENT):
                self.book.say(OrderUnknown(ts=OPEN, order_id=order.intent.order_id, reason="restart"))

    @rule(tag=sent)
    def repeat(self, tag: str) -> None:
        """Old news: how the order stood when it came, and all of its trades again."""
        order = self.venue.orders.get(tag)
        if order is None:
            return
        fields = {name: getattr(order, name) for name in VenueOrder.__struct_fields__}
        self.book.report(VenueOrder(**(fields | {"status": OrderStatus.PENDING, "filled": 0})))
        for trade in self.venue.trades:
            if trade.tag == tag and tag not in self.merged:  # of pushes only a whole order's one trade is booked
                self.book.trade(trade)

    @rule(hidden=st.integers(0, 2))
    @precondition(lambda self: self.venue.orders)
    def read_a_stale_book(self, hidden: int) -> None:
        """The book doesn't show the youngest orders or trades yet."""
        orders, trades = list(self.venue.orders.values()), self.venue.trades
        self.book.compare(orders[: len(orders) - hidden], trades[: len(trades) - hidden])

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        """Time passes; never as long as it takes to write off what did arrive, between two true readings."""
        self.clock.advance(self.clock.now_ns() + seconds * 10**9)
        self.read()

    def read(self) -> None:
        """The true book."""
        self.book.compare(list(self.venue.orders.values()), self.venue.trades)

    @invariant()
    def counts_nothing_twice(self) -> None:
        """No fill id twice, no order over its quantity, positions are the sum of the fills."""
        fills = [event for event in self.said if isinstance(event, Fill)]
        assert len({fill.fill_id for fill in fills}) == len(fills)
        assert self.book.positions[SBIN] == sum(fill.side.sign * fill.quantity for fill in fills)
        assert len({event.order_id for event in self.said if isinstance(event, OrderSent)}) == self.count

    @invariant()
    def charges_an_order_as_one(self) -> None:
        """However many parts, told in whatever order and by whichever process: what one fill of it all would cost."""
        paid: Counter[str] = Counter()
        traded: Counter[str] = Counter()
        for fill in (event for event in self.said if isinstance(event, Fill)):
            paid[fill.order_id] += fill.costs  # type: ignore[assignment]
            traded[fill.order_id] += fill.quantity
        for tag, quantity in traded.items():
            instrument, side = INSTRUMENTS.resolve(SBIN), self.venue.orders[tag].side
            assert instrument is not None
            assert paid[tag] == COSTS.charges(instrument, side, quantity, Decimal(800), OPEN).total

    @invariant()
    def dead_orders_stay_dead(self) -> None:
        """What never arrived is unknown until it is written off; what arrived is never written off."""
        for tag in self.dead:
            order = self.book.orders.find(tag)
            assert order is not None
            assert order.state in (OrderState.UNKNOWN, OrderState.REJECTED)
        for tag in self.venue.orders:
            order = self.book.orders.find(tag)
            assert order is not None
            assert order.state is not OrderState.REJECTED

    def teardown(self) -> None:
        """With a quiet venue: after a few readings both agree on every order, fill and position."""
        for _ in range(READS_TO_WRITE_OFF + 1):
            self.read()
            self.clock.advance(self.clock.now_ns() + 11 * 10**9)
        self.read()
        for tag, theirs in self.venue.orders.items():
            ours = self.book.orders.find(tag)
            assert ours is not None
            assert (ours.filled, ours.state.done) == (theirs.filled, theirs.status.final)
        assert all(tag not in self.book.orders.working for tag in self.dead)
        net = sum(trade.side.sign * trade.quantity for trade in self.venue.trades)
        assert self.book.positions[SBIN] == net
        assert self.book.compare_positions({SBIN: net} if net else {})
        assert not any(isinstance(event, SymbolHalted) for event in self.said)


TestLive = Live.TestCase
TestLive.settings = settings(max_examples=examples(120), stateful_step_count=40)
TestLive.__doc__ = "The state machine."
