"""Risk's own picture: what ticks, fills and order events make of it."""

from __future__ import annotations

from decimal import Decimal

from daemon.core.events import Side
from daemon.risk.book import RiskBook, worst_position
from tests.samples import OPEN, RELIANCE, SBIN, fill_of, intend, position_of, tick, ticks


def test_newest_tick_of_each_symbol() -> None:
    """A batch of several symbols leaves each with its own last price and time."""
    book = RiskBook()
    book.on_ticks(ticks([OPEN, OPEN + 1, OPEN + 2], [1.0, 2.0, 3.0], (SBIN, RELIANCE), code=[0, 1, 0]))
    assert (book.of(SBIN).last_price, book.of(SBIN).last_ts) == (3.0, OPEN + 2)
    assert (book.of(RELIANCE).last_price, book.of(RELIANCE).last_ts) == (2.0, OPEN + 1)
    book.on_ticks(ticks([OPEN + 5, OPEN + 6], [4.0, 5.0]))
    assert (book.of(SBIN).last_price, book.of(SBIN).last_ts) == (5.0, OPEN + 6)


def test_partial_fills_move_from_working_to_held() -> None:
    """Held plus working stays the same until the order is done or gone."""
    book, order = RiskBook(), intend(side=Side.SELL, quantity=100)
    book.order_opened(order)
    book.on_fill(fill_of(order, 30))
    entry = book.of(SBIN)
    assert (entry.position, entry.working_sells, worst_position(entry)) == (-30, 70, 100)
    book.on_fill(fill_of(order, 70, 2))
    assert (entry.position, entry.working_sells) == (-100, 0)
    book.order_gone(order.order_id)
    assert (entry.position, entry.working_sells) == (-100, 0)


def test_a_cancelled_rest_no_longer_counts() -> None:
    """Only what was open of the order is taken back, once."""
    book, order = RiskBook(), intend(quantity=100)
    book.order_opened(order)
    book.on_fill(fill_of(order, 30))
    for _ in range(2):
        book.order_gone(order.order_id)
        assert (book.of(SBIN).position, book.of(SBIN).working_buys) == (30, 0)


def test_a_late_fill_still_moves_the_position() -> None:
    """A fill of an order that is gone is real all the same."""
    book, order = RiskBook(), intend(quantity=100)
    book.order_opened(order)
    book.order_gone(order.order_id)
    book.on_fill(fill_of(order, 100))
    assert (book.of(SBIN).position, book.of(SBIN).working_buys) == (100, 0)


def test_profit_counts_open_positions_at_last_prices() -> None:
    """Realised less costs plus open profit, over symbols; the day from its start."""
    book = RiskBook()
    book.on_ticks(tick(OPEN, 810.0))
    book.on_position(position_of(10, "800", realised_pnl=Decimal("50"), costs=Decimal("7.5")))
    book.on_position(position_of(0, "0", RELIANCE, realised_pnl=Decimal("-20")))
    assert book.net() == Decimal("122.5")
    book.start_day()
    assert book.day_pnl() == 0
    book.on_ticks(tick(OPEN, 805.0))
    assert book.day_pnl() == -50


def test_gross_leaves_one_symbol_out() -> None:
    """Of the other symbols the worst that can come counts, to the paisa."""
    book = RiskBook()
    book.on_ticks(tick(OPEN, 10.1))
    book.on_ticks(tick(OPEN, 20.0, RELIANCE))
    book.on_fill(fill_of(intend("a", Side.SELL, 3)))
    book.order_opened(intend("b", Side.BUY, 9))
    assert book.gross_notional(without=RELIANCE) == Decimal("60.60")
    assert book.gross_notional(without=SBIN) == 0


def test_a_day_that_begins_before_the_first_tick_makes_no_profit() -> None:
    """What is held is worth what was paid until it is seen to trade: nothing was lost, and nothing is won by a tick."""
    book = RiskBook()
    book.restore([position_of(100, "800")], [], [], 0, Decimal(0))
    assert book.net() == 0
    book.start_day(1)
    book.on_ticks(tick(OPEN, 790.0))
    assert book.day_pnl() == -1000
