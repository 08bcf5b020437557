from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.clock import ReplayClock
from daemon.core.events import OrderType, Side
from daemon.market.calendar import ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.sandbox.exchange import Exchange, Order, Quote, Refusal, Status, Wanted
from daemon.sandbox.ledger import Position, Trade
from daemon.settings.market import MarketSettings
from tests.unit.sandbox.desk import SBIN

D = Decimal
NOON = ist_ns(dt.date(2026, 1, 5), "12:00")
COSTS = CostSchedule()


def make(price: str | None = "100", cash: int = 1_000_000) -> Exchange:
    """Make an exchange at noon on which the share has a price."""
    exchange = Exchange(InstrumentBook(MarketSettings()), COSTS, ReplayClock(NOON), D(cash))
    if price is not None:
        exchange.on_quote(SBIN, Quote(last=D(price)))
    return exchange


def wanted(kind: OrderType = OrderType.MARKET, side: Side = Side.BUY, quantity: int = 10, **fields: Any) -> Wanted:
    """Ask for an order."""
    prices = {name: D(value) for name, value in fields.items() if name.endswith("_price")}
    known = {"tag": "t", "symbol": SBIN, "side": side, "type": kind, "quantity": quantity}
    return Wanted(**{**known, **fields, **prices})


def taken(exchange: Exchange, asked: Wanted, **fields: Any) -> Order:
    """Place an order and insist that it is taken."""
    order = exchange.place(asked, **fields)
    assert isinstance(order, Order), order
    return order


def fills(exchange: Exchange) -> list[tuple[int, Decimal]]:
    """Quantity and price of every trade so far."""
    return [(trade.quantity, trade.price) for trade in exchange.ledger.trades]


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.5"), (Side.SELL, "99.5")])
def test_a_market_order_takes_the_other_side(side: Side, price: str) -> None:
    """Buyers pay the ask, sellers get the bid."""
    exchange = make()
    exchange.on_quote(SBIN, Quote(last=D(100), bid=D("99.5"), ask=D("100.5")))
    assert taken(exchange, wanted(side=side)).status is Status.FILLED
    assert fills(exchange) == [(10, D(price))]


def test_limits() -> None:
    """A limit that reaches the market fills at the market, one that rests fills at its limit, never worse."""
    exchange = make()
    assert taken(exchange, wanted(OrderType.LIMIT, limit_price="101")).average_price == 100
    resting = taken(exchange, wanted(OrderType.LIMIT, limit_price="99"))
    assert resting.status is Status.PENDING
    exchange.on_quote(SBIN, Quote(last=D("99.05")))
    assert resting.filled == 0
    exchange.on_quote(SBIN, Quote(last=D("98")))
    assert (resting.status, resting.average_price) == (Status.FILLED, D(99))


def test_stops() -> None:
    """A stop sleeps until its price is touched; SL-M then takes the market, SL-L keeps to its limit."""
    exchange = make()
    market = taken(exchange, wanted(OrderType.SL_MARKET, Side.SELL, stop_price="95"))
    limit = taken(exchange, wanted(OrderType.SL_LIMIT, stop_price="105", limit_price="106"))
    exchange.on_quote(SBIN, Quote(last=D("95.05")))
    assert (market.filled, limit.filled) == (0, 0)
    exchange.on_quote(SBIN, Quote(last=D(94)))
    assert market.average_price == 94
    exchange.on_quote(SBIN, Quote(last=D(107)))
    assert (limit.armed, limit.filled) == (True, 0)
    exchange.on_quote(SBIN, Quote(last=D(103)))
    assert limit.average_price == 106


def test_displayed_quantity_is_shared() -> None:
    """A quote gives what it shows, once, first come first served; the next one gives anew."""
    exchange = make()
    exchange.on_quote(SBIN, Quote(last=D(100), ask=D(100), ask_quantity=12))
    first, second = taken(exchange, wanted()), taken(exchange, wanted())
    assert (first.filled, second.filled, second.status) == (10, 2, Status.PENDING)
    exchange.refresh(SBIN)
    assert second.status is Status.FILLED


def test_partial_and_ioc() -> None:
    """A capped arrival leaves the rest to the next quote; an IOC order's rest is cancelled."""
    exchange = make()
    order = taken(exchange, wanted(), at_most=4)
    assert (order.filled, order.status) == (4, Status.PENDING)
    exchange.on_quote(SBIN, Quote(last=D(101)))
    assert fills(exchange) == [(4, D(100)), (6, D(101))]
    ioc = taken(exchange, wanted(validity="IOC"), at_most=0)
    assert (ioc.filled, ioc.status) == (0, Status.CANCELLED)


def test_modify() -> None:
    """A change of price may fill at once; below what is traded, or of what is done, it is refused."""
    exchange = make()
    order = taken(exchange, wanted(OrderType.LIMIT, limit_price="90"))
    assert exchange.modify(order.order_id, OrderType.LIMIT, 20, D(95), None) is order
    assert isinstance(exchange.modify(order.order_id, OrderType.LIMIT, None, D("95.01"), None), Refusal)
    assert order.wanted.limit_price == 95
    exchange.on_quote(SBIN, Quote(last=D(95), ask=D(95), ask_quantity=5))
    assert isinstance(exchange.modify(order.order_id, OrderType.LIMIT, 5, None, None), Refusal)
    exchange.on_quote(SBIN, Quote(last=D(100)))
    exchange.modify(order.order_id, OrderType.MARKET, None, None, None)
    assert order.status is Status.FILLED
    late = exchange.modify(order.order_id, OrderType.LIMIT, None, D(1), None)
    assert late == Refusal(-99, "Order is already filled", order.order_id)


def test_a_stop_becomes_a_limit() -> None:
    """A sleeping stop that is changed into a limit order is awake; changed into a stop it keeps what it was."""
    exchange = make()
    order = taken(exchange, wanted(OrderType.SL_LIMIT, stop_price="110", limit_price="111"))
    exchange.modify(order.order_id, OrderType.SL_LIMIT, None, None, D(112))
    assert not order.armed
    exchange.modify(order.order_id, OrderType.LIMIT, None, None, None)
    assert order.average_price == 100


def test_cancel_and_expire() -> None:
    """What works can be cancelled once, and what still works at the end of the day expires."""
    exchange = make()
    first = taken(exchange, wanted(OrderType.LIMIT, limit_price="90"))
    second = taken(exchange, wanted(OrderType.LIMIT, limit_price="90"))
    assert exchange.cancel(first.order_id) is first
    assert isinstance(exchange.cancel(first.order_id), Refusal)
    assert exchange.cancel("none") == Refusal(-51, "Invalid order ID provided")
    assert exchange.expire() == 1
    assert (first.status, second.status) == (Status.CANCELLED, Status.EXPIRED)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (wanted(quantity=0), -50),
        (wanted(OrderType.LIMIT, limit_price="100.01"), -50),
        (wanted(OrderType.LIMIT), -50),
        (wanted(OrderType.SL_MARKET), -50),
        (Wanted(tag="t", symbol="NSE:TCS-EQ", side=Side.BUY, type=OrderType.MARKET, quantity=1), -300),
        (Wanted(tag="t", symbol="??", side=Side.BUY, type=OrderType.MARKET, quantity=1), -300),
        (Wanted(tag="t", symbol="MCX:GOLD26FEBFUT", side=Side.BUY, type=OrderType.MARKET, quantity=1), -300),
    ],
)
def test_refusals(asked: Wanted, code: int) -> None:
    """Wrong quantities, prices and symbols are refused and leave no trace."""
    exchange = make()
    refusal = exchange.place(asked)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert exchange.orders == {}


def test_margin() -> None:
    """An order beyond the margin stands in the book as rejected; reducing a position needs none."""
    exchange = make(cash=1000)
    taken(exchange, wanted(quantity=49))
    refusal = exchange.place(wanted(quantity=2))
    assert isinstance(refusal, Refusal)
    assert exchange.orders[refusal.order_id].status is Status.REJECTED
    exchange.on_quote(SBIN, Quote(last=D(1)))
    assert taken(exchange, wanted(side=Side.SELL, quantity=49)).status is Status.FILLED
    assert isinstance(exchange.place(wanted(OrderType.LIMIT, quantity=10**6, limit_price="1")), Refusal)


def test_rejected_by_the_exchange() -> None:
    """An order may be accepted and thrown out at once; it never trades."""
    exchange = make()
    order = taken(exchange, wanted(), rejected="circuit limit")
    assert (order.status, order.message) == (Status.REJECTED, "circuit limit")
    exchange.on_quote(SBIN, Quote(last=D(100)))
    assert fills(exchange) == []


def test_news_tell_the_story_in_order() -> None:
    """News are copies of what was, oldest first, and are told once."""
    exchange = make()
    taken(exchange, wanted(), at_most=4)
    exchange.on_quote(SBIN, Quote(last=D(101)))
    news = exchange.take_news()
    story = [(type(item).__name__, getattr(item, "filled", None)) for item in news]
    assert story == [
        ("Order", 0), ("Order", 0), ("Trade", None), ("Order", 4), ("Position", None),
        ("Trade", None), ("Order", 10), ("Position", None),
    ]  # fmt: skip
    assert [item.net for item in news if isinstance(item, Position)] == [4, 10]
    assert exchange.take_news() == []


def test_time_and_ids() -> None:
    """The tape's time counts once there is one, and ids are never given twice."""
    exchange = make()
    assert exchange.now_ns == NOON
    exchange.on_quote(SBIN, Quote(last=D(100)), NOON + 5)
    exchange.on_quote(SBIN, Quote(last=D(100)), NOON + 3)
    assert exchange.now_ns == NOON + 5
    orders = [taken(exchange, wanted()) for _ in range(3)]
    assert [order.order_id for order in orders] == ["26010500000001", "26010500000002", "26010500000003"]
    assert orders[0].placed_ts == NOON + 5


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("price"), st.integers(1990, 2010), st.integers(1, 30)),
        st.tuples(st.just("place"), st.sampled_from(list(OrderType)), st.sampled_from(list(Side)), st.integers(1, 40)),
        st.tuples(st.just("cancel"), st.integers(1, 12)),
        st.tuples(st.just("modify"), st.integers(1, 12), st.integers(1, 40)),
    ),
    max_size=40,
)


@given(STEPS)
def test_books_agree(steps: list[tuple[Any, ...]]) -> None:
    """Whatever happens: fills are the sum of trades, positions too, and cash adds up to the paisa."""
    exchange = make()
    for name, *values in steps:
        last = exchange.quotes[SBIN].last
        ids = list(exchange.orders)
        if name == "price":
            price = D(values[0]) / 20
            quote = Quote(last=price, bid=price, ask=price, bid_quantity=values[1], ask_quantity=values[1])
            exchange.on_quote(SBIN, quote)
        elif name == "place":
            kind, side, quantity = values
            exchange.place(wanted(kind, side, quantity, limit_price=last, stop_price=last))
        elif name == "cancel":
            exchange.cancel(ids[values[0] % len(ids)] if ids else "none")
        elif ids:
            exchange.modify(ids[values[0] % len(ids)], OrderType.LIMIT, values[1], last, None)
    ledger = exchange.ledger
    for order in exchange.orders.values():
        own = [trade for trade in ledger.trades if trade.order_id == order.order_id]
        assert order.filled == sum(trade.quantity for trade in own) <= order.wanted.quantity
        assert (order.status is Status.FILLED) is (order.remaining == 0)
    assert ledger.net(SBIN) == sum(trade.side.sign * trade.quantity for trade in ledger.trades)
    assert ledger.cash == 1_000_000 - sum(
        (trade.side.sign * trade.quantity * trade.price + trade.charges for trade in ledger.trades), D(0)
    )
    news = exchange.take_news()
    assert [item for item in news if isinstance(item, Trade)] == ledger.trades


def test_profit_of_a_round_trip() -> None:
    """What is bought and sold is realised by averages; what is open is valued at the last price."""
    exchange = make()
    taken(exchange, wanted(quantity=10))
    exchange.on_quote(SBIN, Quote(last=D(110)))
    taken(exchange, wanted(side=Side.SELL, quantity=4))
    position = exchange.ledger.positions[SBIN, "INTRADAY"]
    assert (position.net, position.realised, position.unrealised(D(110)), position.net_average) == (
        6,
        D(40),
        D(60),
        D(100),
    )
    taken(exchange, wanted(side=Side.SELL, quantity=16))
    assert (position.net, position.net_average, exchange.utilised) == (-10, D(110), D(220))
    taken(exchange, wanted(quantity=10))
    assert (position.net, position.net_average) == (0, D(0))
    assert exchange.balance == exchange.ledger.cash


FUTURE = "NSE:NIFTY26JANFUT"


def test_derivatives_trade_in_whole_lots() -> None:
    """Of an order of four lots so many, and what is left can be ordered still; less than a lot is no trade."""
    exchange = make(None)
    exchange.on_quote(FUTURE, Quote(last=D(100)))
    order = taken(exchange, wanted(symbol=FUTURE, quantity=4 * 65), at_most=150)
    assert (order.filled, order.status) == (2 * 65, Status.PENDING)
    assert taken(exchange, wanted(symbol=FUTURE, quantity=65), at_most=64).filled == 0


def test_an_order_above_the_freeze_quantity_stands_in_the_book_as_rejected() -> None:
    """As NSE does it: thrown out whole, whatever it would have closed; nor can an order be made so large."""
    exchange = make(None)
    exchange.on_quote(FUTURE, Quote(last=D(100)))
    refused = exchange.place(wanted(symbol=FUTURE, quantity=28 * 65))
    assert isinstance(refused, Refusal)
    assert refused.message == "Order quantity 1820 exceeds the freeze quantity of 1800"
    assert exchange.orders[refused.order_id].status is Status.REJECTED
    taken_ = taken(exchange, wanted(OrderType.LIMIT, symbol=FUTURE, quantity=27 * 65, limit_price="90"))
    assert isinstance(exchange.modify(taken_.order_id, OrderType.LIMIT, 28 * 65, None, None), Refusal)
    assert taken_.wanted.quantity == 27 * 65


def test_a_stop_at_market_in_an_option_stands_in_the_book_as_rejected() -> None:
    """NSE takes none there, nor can an order be made one; in a future it does."""
    exchange, option = make(None), "NSE:NIFTY2611326000CE"
    for symbol in (FUTURE, option):
        exchange.on_quote(symbol, Quote(last=D(100)))
    assert isinstance(exchange.place(wanted(OrderType.SL_MARKET, symbol=FUTURE, quantity=65, stop_price="110")), Order)
    refused = exchange.place(wanted(OrderType.SL_MARKET, symbol=option, quantity=65, stop_price="110"))
    assert isinstance(refused, Refusal)
    assert refused.message == "SL-M orders are not allowed in this segment of NSE"
    stop = taken(exchange, wanted(OrderType.SL_LIMIT, symbol=option, quantity=65, stop_price="110", limit_price="111"))
    assert isinstance(exchange.modify(stop.order_id, OrderType.SL_MARKET, None, None, None), Refusal)
    assert stop.wanted.type is OrderType.SL_LIMIT


def test_a_contract_without_a_lot_is_no_symbol_here() -> None:
    """Nobody said what one order of it would be."""
    exchange = make(None)
    exchange.on_quote("NSE:RELIANCE26JANFUT", Quote(last=D(1450)))
    assert isinstance(exchange.place(wanted(symbol="NSE:RELIANCE26JANFUT", quantity=1)), Refusal)


@pytest.mark.parametrize(("side", "empty"), [(Side.BUY, "ask"), (Side.SELL, "bid")])
def test_where_nobody_is_an_order_waits(side: Side, empty: str) -> None:
    """A price of 0 is an empty side; None is one that isn't known, where the last price counts."""
    exchange = make()
    exchange.on_quote(SBIN, Quote(**{"last": D(100), empty: D(0)}))
    market = taken(exchange, wanted(side=side))
    limit = taken(exchange, wanted(OrderType.LIMIT, side, limit_price="100"))
    assert (market.status, limit.status, fills(exchange)) == (Status.PENDING, Status.PENDING, [])
    exchange.on_quote(SBIN, Quote(last=D(100)))
    assert fills(exchange) == [(10, D(100)), (10, D(100))]


def test_the_days_price_band() -> None:
    """At its end an unknown book gives nothing, and a price outside it is thrown out."""
    exchange = make()
    exchange.on_quote(SBIN, Quote(last=D(110), lower_band=D(90), upper_band=D(110)))
    locked = taken(exchange, wanted())
    assert locked.status is Status.PENDING
    for asked in (
        wanted(OrderType.LIMIT, limit_price="110.05"), wanted(OrderType.LIMIT, Side.SELL, limit_price="89.95"),
        wanted(OrderType.SL_MARKET, Side.SELL, stop_price="89.95"),
    ):  # fmt: skip
        refused = exchange.place(asked)
        assert isinstance(refused, Refusal)
        assert "circuit limits of 90 to 110" in refused.message
        assert exchange.orders[refused.order_id].status is Status.REJECTED
    resting = taken(exchange, wanted(OrderType.LIMIT, limit_price="100"))
    assert isinstance(exchange.modify(resting.order_id, OrderType.LIMIT, None, D("110.05"), None), Refusal)
