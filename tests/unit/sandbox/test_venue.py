"""What a venue does by itself: sessions and auctions, halts, locked circuits, square-off, self-trades, splits."""

from __future__ import annotations

import datetime as dt

import pytest

from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import UsageError
from daemon.core.events import OrderType, Side
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.instruments import InstrumentBook
from daemon.sandbox.exchange import SELF_TRADE, SQUARED_OFF, Exchange, Quote, Refusal, Status
from daemon.sandbox.hours import Hours, Phase
from daemon.settings.market import MarketSettings
from tests.unit.sandbox.desk import SBIN
from tests.unit.sandbox.test_exchange import COSTS, FUTURE, D, fills, make, taken, wanted

CALENDAR = MarketCalendar()
OLD, NEW = dt.date(2026, 7, 30), dt.date(2026, 8, 4)
LIMIT, SL = OrderType.LIMIT, OrderType.SL_MARKET


def by_the_clock(day: dt.date, clock: str, square_off_at: str = "") -> tuple[Exchange, ReplayClock]:
    """An exchange that keeps NSE's hours, and its clock."""
    time = ReplayClock(ist_ns(day, clock))
    exchange = Exchange(
        InstrumentBook(MarketSettings()), COSTS, time, D(1_000_000), hours=Hours(CALENDAR), square_off_at=square_off_at
    )
    for symbol in (SBIN, FUTURE):
        exchange.on_quote(symbol, Quote(last=D(100)))
    return exchange, time


def at(exchange: Exchange, time: ReplayClock, day: dt.date, clock: str) -> None:
    """It is later now."""
    time.advance(ist_ns(day, clock))
    exchange.advance()


@pytest.mark.parametrize(
    ("day", "clock", "share", "future"),
    [
        (OLD, "08:59", Phase.CLOSED, Phase.CLOSED), (OLD, "09:00", Phase.PRE_OPEN, Phase.PRE_OPEN),
        (OLD, "09:08", Phase.PAUSED, Phase.PAUSED), (OLD, "09:15", Phase.OPEN, Phase.OPEN),
        (OLD, "15:29", Phase.OPEN, Phase.OPEN), (OLD, "15:30", Phase.CLOSED, Phase.CLOSED),
        (NEW, "15:14", Phase.OPEN, Phase.OPEN), (NEW, "15:15", Phase.CLOSING, Phase.OPEN),
        (NEW, "15:30", Phase.PAUSED, Phase.OPEN), (NEW, "15:35", Phase.CLOSED, Phase.OPEN),
        (NEW, "15:40", Phase.CLOSED, Phase.CLOSED), (dt.date(2026, 8, 8), "12:00", Phase.CLOSED, Phase.CLOSED),
        (dt.date(2025, 10, 21), "13:31", Phase.PRE_OPEN, Phase.PRE_OPEN),
        (dt.date(2025, 10, 21), "13:45", Phase.OPEN, Phase.OPEN),
        (dt.date(2024, 3, 2), "10:30", Phase.PAUSED, Phase.PAUSED), (dt.date(2001, 1, 1), "12:00", *[Phase.CLOSED] * 2),
    ],
)  # fmt: skip
def test_hours(day: dt.date, clock: str, share: Phase, future: Phase) -> None:
    """Before and after the closing auction came, on a Saturday, at muhurat, between two stretches, before the table."""
    hours, ts = Hours(CALENDAR), ist_ns(day, clock)
    assert (hours.phase(ts, derivative=False), hours.phase(ts, derivative=True)) == (share, future)


def test_a_pre_open_auction_trades_at_one_price() -> None:
    """Orders queue, may be changed and cancelled; those that reach the price trade there, the rest goes on."""
    exchange, time = by_the_clock(OLD, "09:01")
    market, high = taken(exchange, wanted()), taken(exchange, wanted(LIMIT, limit_price="105"))
    low, gone = taken(exchange, wanted(LIMIT, limit_price="90")), taken(exchange, wanted(LIMIT, limit_price="105"))
    for asked in (wanted(SL, Side.SELL, stop_price="95"), wanted(validity="IOC")):
        refused = exchange.place(asked)
        assert isinstance(refused, Refusal)
        assert "auction" in refused.message
    assert exchange.cancel(gone.order_id) is gone
    exchange.on_quote(SBIN, Quote(last=D(102)))
    assert fills(exchange) == []
    at(exchange, time, OLD, "09:08")
    assert fills(exchange) == [(10, D(102)), (10, D(102))]
    assert (market.status, high.status, low.status) == (Status.FILLED, Status.FILLED, Status.PENDING)
    refused = exchange.cancel(low.order_id)
    assert isinstance(refused, Refusal)
    assert (refused.code, low.status) == (-99, Status.PENDING)
    assert isinstance(exchange.place(wanted()), Refusal)
    at(exchange, time, OLD, "09:15")
    exchange.on_quote(SBIN, Quote(last=D(89)))
    assert low.average_price == 90


def test_what_an_auction_leaves_of_a_market_order_is_a_limit_at_its_price() -> None:
    """As NSE moves it into continuous trading."""
    exchange, time = by_the_clock(OLD, "09:01")
    order = taken(exchange, wanted())
    exchange.on_quote(SBIN, Quote(last=D(102), ask=D(102), ask_quantity=4))
    at(exchange, time, OLD, "09:08")
    assert (order.filled, order.wanted.type, order.wanted.limit_price) == (4, LIMIT, 102)
    at(exchange, time, OLD, "09:15")
    exchange.on_quote(SBIN, Quote(last=D(103)))
    assert order.filled == 4


def test_the_closing_auction_and_the_end_of_the_day() -> None:
    """Shares trade at the last price, and what is left expires; futures trade on."""
    exchange, time = by_the_clock(NEW, "15:10")
    low, stop = taken(exchange, wanted(LIMIT, limit_price="90")), taken(exchange, wanted(SL, stop_price="120"))
    at(exchange, time, NEW, "15:16")
    share = taken(exchange, wanted())
    assert taken(exchange, wanted(symbol=FUTURE, quantity=65)).status is Status.FILLED
    at(exchange, time, NEW, "15:30")
    assert (share.status, low.status) == (Status.FILLED, Status.PENDING)
    at(exchange, time, NEW, "15:36")
    assert (low.status, stop.status) == (Status.EXPIRED, Status.EXPIRED)
    refused = exchange.place(wanted())
    assert isinstance(refused, Refusal)
    assert (refused.code, exchange.orders[refused.order_id].status) == (-99, Status.REJECTED)
    assert "Market is closed" in refused.message


@pytest.mark.parametrize("clock", ["08:30", "09:05", "09:14", "09:30", "15:45"])
def test_an_order_is_of_its_day_though_nobody_looked_at_the_close(clock: str) -> None:
    """The venue slept from one noon into another day: what worked has expired, at no price of that day."""
    exchange, time = by_the_clock(OLD, "12:00")
    order = taken(exchange, wanted(LIMIT, limit_price="90"))
    time.advance(ist_ns(NEW, clock))
    exchange.on_quote(SBIN, Quote(last=D(80)))
    assert (order.status, fills(exchange)) == (Status.EXPIRED, [])
    if clock == "09:30":
        assert taken(exchange, wanted()).status is Status.FILLED


def test_a_halt_cancels_everything_and_an_auction_opens_again() -> None:
    """NSE/CMTR/24709; an early close by hand expires what works."""
    exchange = make()
    resting = taken(exchange, wanted(LIMIT, limit_price="90"))
    exchange.session(Phase.HALTED)
    assert (resting.status, "circuit breaker" in resting.message) == (Status.CANCELLED, True)
    assert isinstance(exchange.place(wanted()), Refusal)
    exchange.session(Phase.PRE_OPEN)
    early = taken(exchange, wanted())
    exchange.on_quote(SBIN, Quote(last=D(95)))
    assert early.filled == 0
    exchange.session(None)
    assert fills(exchange) == [(10, D(95))]
    late = taken(exchange, wanted(LIMIT, limit_price="90"))
    exchange.session(Phase.CLOSED)
    assert late.status is Status.EXPIRED


def test_a_locked_circuit_has_one_side() -> None:
    """Buyers wait at the upper end until somebody sells; sellers are served."""
    exchange = make()
    exchange.on_quote(SBIN, Quote(last=D(100), upper_band=D(110), lower_band=D(90)))
    taken(exchange, wanted())
    exchange.lock(SBIN, Side.BUY)
    exchange.on_quote(SBIN, Quote(last=D(109), upper_band=D(110), lower_band=D(90)))
    quote = exchange.quotes[SBIN]
    assert (quote.last, quote.bid, quote.ask, quote.ask_quantity) == (D(110), D(110), 0, 0)
    waiting = taken(exchange, wanted(LIMIT, limit_price="110"))
    assert waiting.filled == 0
    exchange.cancel(waiting.order_id)
    assert taken(exchange, wanted(side=Side.SELL)).average_price == 110
    exchange.lock(SBIN, Side.SELL)
    assert taken(exchange, wanted(side=Side.SELL)).filled == 0
    exchange.lock(SBIN, None)
    exchange.on_quote(SBIN, Quote(last=D(95), upper_band=D(110), lower_band=D(90)))
    assert exchange.ledger.net(SBIN) == -10
    with pytest.raises(UsageError, match="expected a symbol with a price"):
        exchange.lock("NSE:NOBODY-EQ", Side.BUY)


def test_the_broker_squares_off() -> None:
    """INTRADAY orders are cancelled, positions closed by orders without a tag; other products stay; no new entries."""
    exchange, time = by_the_clock(OLD, "15:10", "15:20")
    taken(exchange, wanted())
    taken(exchange, wanted(quantity=3, product="CNC"))
    resting = taken(exchange, wanted(LIMIT, Side.SELL, limit_price="110"))
    at(exchange, time, OLD, "15:19")
    assert exchange.ledger.net(SBIN) == 13
    at(exchange, time, OLD, "15:20")
    assert (exchange.ledger.net(SBIN), resting.status) == (3, Status.CANCELLED)
    placed = list(exchange.orders.values())[-1]
    assert (placed.wanted.tag, placed.wanted.side, placed.wanted.type) == ("", Side.SELL, OrderType.MARKET)
    at(exchange, time, OLD, "15:21")
    assert len(exchange.orders) == 4
    refused = exchange.place(wanted())
    assert isinstance(refused, Refusal)
    assert refused.message == SQUARED_OFF
    time.advance(ist_ns(OLD, "15:21") + 86_400 * NS_PER_S - 3600 * NS_PER_S)
    exchange.session(Phase.OPEN)
    taken(exchange, wanted())


def test_what_is_not_held_is_not_sold_under_cnc() -> None:
    """Nobody lends it; what was bought for the day alone is no holding."""
    exchange = make(None)
    exchange.on_quote(SBIN, Quote(last=D(100)))
    taken(exchange, wanted())
    refused = exchange.place(wanted(side=Side.SELL, quantity=3, product="CNC"))
    assert isinstance(refused, Refusal)
    assert refused.message == "RMS: no holdings to sell"
    taken(exchange, wanted(quantity=3, product="CNC"))
    taken(exchange, wanted(side=Side.SELL, quantity=3, product="CNC"))
    assert isinstance(exchange.place(wanted(side=Side.SELL, quantity=3, product="CNC")), Refusal)


def test_an_order_that_would_meet_an_own_one_is_cancelled() -> None:
    """On arrival, when changed and when triggered; not where the market is better, and never the one that rests."""
    exchange = make()
    spread = Quote(last=D(100), bid=D(99), ask=D(101))
    exchange.on_quote(SBIN, spread)
    offer = taken(exchange, wanted(LIMIT, Side.SELL, limit_price="100"))
    active = taken(exchange, wanted())
    assert (active.status, active.filled, active.message) == (Status.CANCELLED, 0, SELF_TRADE)
    bid = taken(exchange, wanted(LIMIT, limit_price="99.5"))
    exchange.modify(bid.order_id, LIMIT, None, D(100), None)
    assert (bid.status, offer.status) == (Status.CANCELLED, Status.PENDING)
    stop = taken(exchange, wanted(SL, stop_price="100.5"))
    exchange.modify(offer.order_id, LIMIT, None, D("100.8"), None)
    exchange.on_quote(SBIN, Quote(last=D("100.6"), bid=D(99), ask=D(101)))
    assert stop.status is Status.CANCELLED
    exchange.modify(offer.order_id, LIMIT, None, D(102), None)
    assert taken(exchange, wanted()).average_price == 101
    exchange.on_quote(SBIN, Quote(last=D(100), bid=D(99), ask=D(0)))
    assert taken(exchange, wanted()).status is Status.CANCELLED


def test_a_split_counts_holdings_anew() -> None:
    """The value stays, the average follows; a part of a share is paid for; what works is cancelled."""
    exchange = make()
    taken(exchange, wanted(quantity=10))
    taken(exchange, wanted(side=Side.SELL, quantity=3))
    resting = taken(exchange, wanted(LIMIT, limit_price="90"))
    cash = exchange.ledger.cash
    exchange.corporate_action(SBIN, 1, 5)
    assert (exchange.ledger.net(SBIN), exchange.quotes[SBIN].last, resting.status) == (35, 20, Status.CANCELLED)
    (position,) = exchange.ledger.positions.values()
    assert (position.net_average, exchange.ledger.cash, exchange.balance) == (20, cash, cash + 700)
    exchange.corporate_action(SBIN, 10, 1)
    assert (exchange.ledger.net(SBIN), exchange.ledger.cash) == (3, cash + 100)
    taken(exchange, wanted(side=Side.SELL, quantity=3))
    assert exchange.balance == exchange.ledger.cash
    with pytest.raises(UsageError, match="numbers from 1 on"):
        exchange.corporate_action(SBIN, 0, 1)


def test_a_short_is_counted_anew_too() -> None:
    """What is owed has the same value."""
    exchange = make()
    taken(exchange, wanted(side=Side.SELL, quantity=10))
    cash = exchange.ledger.cash
    exchange.corporate_action(SBIN, 1, 2)
    assert (exchange.ledger.net(SBIN), exchange.ledger.cash) == (-20, cash)
    taken(exchange, wanted(quantity=20))
    assert exchange.balance == exchange.ledger.cash


def test_the_past_is_shown_whole() -> None:
    """At a moment, and held from a moment on for as long as is asked."""
    time = ReplayClock(ist_ns(OLD, "12:00"))
    exchange = Exchange(InstrumentBook(MarketSettings()), COSTS, time, D(1_000_000))
    exchange.on_quote(SBIN, Quote(last=D(100)))
    order = taken(exchange, wanted(LIMIT, limit_price="90"))
    before = exchange.now_ns
    exchange.past.hold(2.0)
    time.advance(before + NS_PER_S)
    exchange.on_quote(SBIN, Quote(last=D(89)))
    assert order.status is Status.FILLED
    for view in (exchange.past.at(before), exchange.past.held):
        assert view is not None
        assert ([it.status for it in view.orders], view.trades, view.positions) == ([Status.PENDING], [], [])
    now = exchange.past.at(exchange.now_ns)
    assert ([it.filled for it in now.orders], len(now.trades), now.positions[0].net) == ([10], 1, 10)
    time.advance(before + 3 * NS_PER_S)
    assert exchange.past.held is None
