"""One thing at a time that a venue does to our orders; `tests/property/test_live_book.py` does all of them at once."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from daemon.core.clock import Clock, PacedClock, ReplayClock
from daemon.core.events import (
    Event,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderIntent,
    OrderSent,
    OrderType,
    PositionRestated,
    PriceAdjusted,
    Side,
    SymbolHalted,
    SymbolResumed,
)
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.live_book import LiveBook
from daemon.orders.venue import OrderStatus, VenueOrder, VenueTrade
from daemon.settings.market import MarketSettings
from daemon.settings.orders import LiveBrokerSettings
from tests.samples import DAY, OPEN, RELIANCE, SBIN, intend

INTENT = intend("T1", quantity=10, ts=OPEN)


@pytest.fixture
def said() -> list[Event]:
    """What the book says."""
    return []


@pytest.fixture
def book(said: list[Event]) -> LiveBook:
    """A book whose one order of 10 the venue has accepted."""
    book = LiveBook(
        OrderBook(),
        {},
        InstrumentBook(MarketSettings()),
        CostSchedule(),
        ReplayClock(OPEN),
        LiveBrokerSettings(),
        said.append,
    )
    for event in (
        INTENT, OrderApproved(ts=OPEN, order_id="T1"), OrderSent(ts=OPEN, order_id="T1"),
        OrderAccepted(ts=OPEN, order_id="T1", venue_id="V1"),
    ):  # fmt: skip
        assert book.say(event)
    return book


def trade(number: int, quantity: int) -> VenueTrade:
    """A trade of the order."""
    return VenueTrade(
        trade_id=f"F{number}", venue_id="V1", tag="T1", symbol=SBIN, side=INTENT.side, quantity=quantity,
        price=Decimal(800), ts=OPEN,
    )  # fmt: skip


def row(quantity: int, filled: int, status: OrderStatus) -> VenueOrder:
    """The order as the venue's book shows it."""
    return VenueOrder(
        venue_id="V1", tag="T1", symbol=SBIN, side=INTENT.side, type=OrderType.MARKET, quantity=quantity,
        remaining=quantity - filled, filled=filled, status=status,
    )  # fmt: skip


def test_an_order_made_larger_before_its_fill_is_not_over(book: LiveBook) -> None:
    """Its trade came first: we took it for filled, the book says that a part still works, and that part fills."""
    assert book.trade(trade(1, 10))
    assert book.orders.working == {}
    book.compare([row(14, 10, OrderStatus.PENDING)], [trade(1, 10)])
    order = book.orders.working["T1"]
    assert (order.state, order.remaining) == (OrderState.PARTIALLY_FILLED, 4)
    book.compare([row(14, 14, OrderStatus.FILLED)], [trade(1, 10), trade(2, 4)])
    assert order.state is OrderState.FILLED
    assert book.positions[SBIN] == 14


def test_a_trade_beyond_our_quantity_is_booked_once_the_book_tells_of_the_change(book: LiveBook) -> None:
    """A push of it alone asks for a reading of the book; nothing is lost."""
    assert book.trade(trade(1, 10))
    assert not book.trade(trade(2, 4))
    assert book.incomplete
    assert book.compare([row(14, 14, OrderStatus.FILLED)], [trade(1, 10), trade(2, 4)]) == 1
    assert (book.positions[SBIN], book.incomplete) == (14, False)
    assert book.orders.finished["T1"].fill_ids == ("V1:F1", "V1:F2")


@pytest.mark.parametrize("named", [1, 2])
def test_trades_that_the_venue_merges_into_one_row_are_booked_once(
    book: LiveBook, said: list[Event], named: int
) -> None:
    """The row has the sum and the mean price, and the id of its first or of its last trade."""
    book.compare([row(10, 3, OrderStatus.PENDING)], [trade(1, 3)])
    merged = msgspec.structs.replace(trade(named, 7), price=Decimal("800.4"))
    for _ in range(2):
        book.compare([row(10, 7, OrderStatus.PENDING)], [merged])
        assert (book.positions[SBIN], book.incomplete) == (7, False)
    assert [(fill.quantity, fill.price) for fill in said if isinstance(fill, Fill)] == [(3, 800), (4, Decimal("800.7"))]
    book.compare([row(10, 10, OrderStatus.FILLED)], [merged, trade(3, 3)])
    assert (book.positions[SBIN], book.orders.finished["T1"].state) == (10, OrderState.FILLED)


def test_a_filled_order_whose_rest_was_cancelled_stays_filled(book: LiveBook) -> None:
    """Made larger, filled as before, then cancelled: nothing is left to follow."""
    assert book.trade(trade(1, 10))
    book.compare([row(14, 10, OrderStatus.CANCELLED)], [trade(1, 10)])
    assert (book.orders.working, book.incomplete) == ({}, False)
    assert book.orders.finished["T1"].state is OrderState.FILLED


def test_an_order_that_came_alive_by_a_late_push_alone_is_over_when_the_book_says_so(book: LiveBook) -> None:
    """The push is older than the rejection that it follows: nobody asks for its cancellation for ever."""
    assert book.report(row(10, 0, OrderStatus.REJECTED))
    assert book.report(row(10, 0, OrderStatus.PENDING))
    assert book.revenants == {"V1": "T1"}
    book.compare([row(10, 0, OrderStatus.REJECTED)], [])
    assert book.revenants == {}


def split(numerator: int = 1, denominator: int = 5, kind: str = "split", *, shares: bool = True) -> PriceAdjusted:
    """A corporate action of SBIN."""
    return PriceAdjusted(
        ts=OPEN, symbol=SBIN, date="2026-01-06", kind=kind, numerator=numerator, denominator=denominator,
        shares=shares, by_broker=True,
    )  # fmt: skip


def holding(quantity: int, clock: Clock | None = None) -> tuple[LiveBook, list[Event]]:
    """A book that holds so much, and what it says."""
    said: list[Event] = []
    instruments, costs = InstrumentBook(MarketSettings()), CostSchedule()
    book = LiveBook(
        OrderBook(), {SBIN: quantity}, instruments, costs, clock or ReplayClock(OPEN), LiveBrokerSettings(),
        said.append,
    )  # fmt: skip
    return book, said


def test_when_the_broker_shows_what_a_split_makes_ours_follows() -> None:
    """Not before, and never to another quantity: that is a difference as any other."""
    book, said = holding(10)
    book.expect(split())
    assert book.compare_positions({SBIN: 10})
    assert not book.compare_positions({SBIN: 49})
    assert not book.compare_positions({SBIN: 49})
    assert [type(event) for event in said] == [SymbolHalted]
    assert book.compare_positions({SBIN: 50})
    assert [type(event) for event in said[1:]] == [PositionRestated, SymbolResumed]
    assert book.positions[SBIN] == 50
    assert not book.compare_positions({SBIN: 250})


def test_who_trades_on_is_told_that_the_positions_differ() -> None:
    """By as much at three readings, whatever was traded between them: two may each have crossed a fill."""
    book, said = holding(10, ReplayClock(OPEN + DAY))
    assert not book.compare_positions({SBIN: 15})
    for number, theirs in enumerate((13, 11), start=1):
        assert [event for event in said if isinstance(event, SymbolHalted)] == []
        sell(book, 2, OPEN + DAY + number, f"T{number}")
        assert book.trade(msgspec.structs.replace(sold(2, number), tag=f"T{number}", venue_id=f"V{number}"))
        assert not book.compare_positions({SBIN: theirs})
    (halted,) = [event for event in said if isinstance(event, SymbolHalted)]
    assert halted.reason == "position: the broker holds 11, the journal 6"
    book, said = holding(10)
    assert not book.compare_positions({SBIN: 15})
    assert not book.compare_positions({SBIN: 14})
    assert said == []


def sell(book: LiveBook, quantity: int, ts: int, name: str = "T1") -> None:
    """An order that is sent at `ts`."""
    for event in (
        intend(name, side=Side.SELL, quantity=quantity, ts=ts), OrderApproved(ts=ts, order_id=name),
        OrderSent(ts=ts, order_id=name),
    ):  # fmt: skip
        assert book.say(event)


def sold(quantity: int, number: int, ts: int = OPEN + DAY) -> VenueTrade:
    """A trade of it."""
    return msgspec.structs.replace(trade(number, quantity), side=Side.SELL, price=Decimal(160), ts=ts)


def test_what_was_closed_by_the_old_count_is_no_part_of_what_a_split_makes() -> None:
    """Four of ten are sold after the split 1:5 and before it is named: 46 are left, and the books had all or less."""
    for quantity, left in ((4, 46), (10, 40), (12, 38)):
        book, said = holding(10, ReplayClock(OPEN + DAY))
        sell(book, quantity, OPEN + DAY)
        assert book.trade(sold(quantity, 1))
        book.expect(msgspec.structs.replace(split(), carried=10))
        assert book.compare_positions({SBIN: left})
        (restated,) = [event for event in said if isinstance(event, PositionRestated)]
        assert (restated.carried, book.positions[SBIN]) == (10, left)


def test_a_trade_of_the_day_before_that_is_told_late_counts_anew() -> None:
    """It says when it was; one of the day itself needs no such word, and counts as it is."""
    book, said = holding(10, ReplayClock(OPEN + DAY))
    sell(book, 7, OPEN)
    book.expect(msgspec.structs.replace(split(), carried=10))
    assert book.trade(sold(4, 1, OPEN))
    assert book.trade(sold(3, 2))
    assert book.compare_positions({SBIN: 6 * 5 - 3})
    fills = [event for event in said if isinstance(event, Fill)]
    assert [(fill.ts, fill.traded_ts, fill.of_ts) for fill in fills] == [
        (OPEN + DAY, OPEN, OPEN), (OPEN + DAY, 0, OPEN + DAY)
    ]  # fmt: skip


def test_two_actions_of_one_day_and_one_that_changes_no_shares() -> None:
    """A split 1:5 and a bonus 1:1 make a hundred of ten; a dividend makes nothing, nor does anything of nothing."""
    book, said = holding(10)
    book.expect(split())
    book.expect(split(1, 2, "bonus"))
    assert book.compare_positions({SBIN: 100})
    assert [type(event) for event in said] == [PositionRestated, PositionRestated]
    book, said = holding(10)
    book.expect(split(97, 100, "dividend", shares=False))
    assert not book.compare_positions({SBIN: 11})
    assert said == []


def test_an_order_that_is_adopted_before_the_clock_has_begun_has_the_venues_time() -> None:
    """A tape's clock stands at 0 until its first tick: an order of no time would pass for one of another day."""
    said: list[Event] = []
    book = LiveBook(
        OrderBook(), {}, InstrumentBook(MarketSettings()), CostSchedule(), PacedClock(1.0), LiveBrokerSettings(),
        said.append,
    )  # fmt: skip
    book.compare([msgspec.structs.replace(row(10, 0, OrderStatus.PENDING), tag="", ts=OPEN)], [])
    (adopted,) = (event for event in said if isinstance(event, OrderIntent))
    assert adopted.ts == OPEN


@pytest.mark.parametrize("symbol", ["MCX:CRUDEOIL26JANFUT", "NSE:USDINR26JANFUT", "BSE:955RECL26-F"])
def test_what_can_not_be_traded_here_is_left_to_who_placed_it(book: LiveBook, symbol: str) -> None:
    """Its fills can't be priced, no exit of it would pass: it is nobody's business here, and nothing waits for it."""
    filled = msgspec.structs.replace(row(1, 1, OrderStatus.FILLED), venue_id="V9", tag="", symbol=symbol)
    working = msgspec.structs.replace(row(1, 0, OrderStatus.PENDING), venue_id="V8", tag="", symbol=symbol)
    ours = row(10, 0, OrderStatus.PENDING)
    done = msgspec.structs.replace(trade(9, 1), venue_id="V9", tag="", symbol=symbol)
    for _ in range(2):
        assert book.compare([ours, filled, working], [done]) == 0
        assert book.compare_positions({symbol: 1})
    assert list(book.orders.working) == ["T1"]
    assert (book.incomplete, book.halted, book.positions[symbol]) == (False, {}, 0)
    book.compare([ours, filled, msgspec.structs.replace(working, filled=1, status=OrderStatus.FILLED)], [done])
    assert (list(book.orders.working), book.incomplete) == (["T1"], False)


def test_each_of_several_positions_that_differ_is_told_with_what_the_broker_holds(
    book: LiveBook, said: list[Event]
) -> None:  # fmt: skip
    """In a second reading, all of them."""
    differing = {SBIN: -5, RELIANCE: 7, "NSE:TCS-EQ": 1}
    for _ in range(2):
        assert not book.compare_positions(differing)
    assert {it.symbol: it.held for it in said if isinstance(it, SymbolHalted)} == differing
