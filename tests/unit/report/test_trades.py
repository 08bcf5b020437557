from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.events import Fill, PositionRestated, Side
from daemon.report.trades import Direction, TradeBook
from tests.unit.report.samples import fill


def test_a_long_round_trip() -> None:
    """Bought at 100, sold at 103: three rupees a share less both fills' costs."""
    book = TradeBook()
    assert book.add(fill(1, "A", Side.BUY, 10, "100", "1.25")) is None
    assert book.open_quantity("A") == 10
    trade = book.add(fill(2, "A", Side.SELL, 10, "103", "1.30"))
    assert trade is not None
    assert (trade.direction, trade.quantity, trade.entry_ts, trade.exit_ts) == (Direction.LONG, 10, 1, 2)
    assert (trade.gross_pnl, trade.costs, trade.net_pnl) == (Decimal(30), Decimal("2.55"), Decimal("27.45"))
    assert book.open_quantity("A") == 0


def test_a_short_that_is_built_and_closed_in_parts() -> None:
    """Prices are averages over the whole quantity; a trade that isn't flat isn't over."""
    book = TradeBook()
    book.add(fill(1, "A", Side.SELL, 10, "100"))
    book.add(fill(2, "A", Side.SELL, 30, "104"))
    assert book.add(fill(3, "A", Side.BUY, 20, "100")) is None
    assert book.open_quantity("A") == -20
    trade = book.add(fill(4, "A", Side.BUY, 20, "98"))
    assert trade is not None
    assert (trade.direction, trade.quantity) == (Direction.SHORT, 40)
    assert (trade.entry_price, trade.exit_price, trade.gross_pnl) == (Decimal(103), Decimal(99), Decimal(160))


def test_a_reversal_is_split_at_flat() -> None:
    """One fill closes ten and opens five: a third of its costs belongs to the new trade, not a paisa is lost."""
    book = TradeBook()
    book.add(fill(1, "A", Side.BUY, 10, "100", "1.00"))
    first = book.add(fill(2, "A", Side.SELL, 15, "101", "1.00"))
    assert first is not None
    assert (first.gross_pnl, first.costs) == (Decimal(10), Decimal("1.67"))
    assert book.open_quantity("A") == -5
    second = book.add(fill(3, "A", Side.BUY, 5, "102", "0.50"))
    assert second is not None
    assert (second.direction, second.entry_ts) == (Direction.SHORT, 2)
    assert (second.gross_pnl, second.costs) == (Decimal(-5), Decimal("0.83"))


def test_an_average_without_an_end_costs_what_it_cost() -> None:
    """Three for 2,401.10 from before: 800.36666… each, and a profit of exactly 0.55."""
    book = TradeBook()
    book.carry("A", 3, Decimal("2401.10") / 3, 1)
    trade = book.add(fill(2, "A", Side.SELL, 3, "800.55"))
    assert trade is not None
    assert str(trade.gross_pnl) == "0.5500"


def test_symbols_do_not_mix() -> None:
    """A sale of one symbol closes nothing of another."""
    book = TradeBook()
    book.add(fill(1, "A", Side.BUY, 10, "100"))
    assert book.add(fill(2, "B", Side.SELL, 10, "100")) is None
    assert (book.open_quantity("A"), book.open_quantity("B")) == (10, -10)


FILLS = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(1, 100_000), st.integers(0, 10_000)), max_size=40
)


def cash(fills: list[Fill]) -> Decimal:
    """What the fills brought in, after costs."""
    return sum((-one.side.sign * one.quantity * one.price - one.costs for one in fills), Decimal(0))


@given(rows=FILLS)
def test_trades_add_up_to_the_cash_that_moved(rows: list[tuple[Side, int, int, int]]) -> None:
    """Closed at flat, the net P&L of all trades is the cash of all fills, to the paisa."""
    fills = [
        fill(ts, "A", side, quantity, str(Decimal(price) / 100), str(Decimal(costs) / 100))
        for ts, (side, quantity, price, costs) in enumerate(rows)
    ]
    position = sum(one.side.sign * one.quantity for one in fills)
    if position:
        side = Side.SELL if position > 0 else Side.BUY
        fills.append(fill(len(fills), "A", side, abs(position), "77.77", "0.03"))
    book = TradeBook()
    trades = [trade for trade in map(book.add, fills) if trade is not None]
    assert book.open_quantity("A") == 0
    assert sum((trade.net_pnl for trade in trades), Decimal(0)) == cash(fills)
    assert all(trade.entry_ts <= trade.exit_ts and trade.quantity > 0 for trade in trades)


def test_a_trade_over_a_split_is_one_trade() -> None:
    """Ten at 500, four of them sold; then 30 at a fifth are sold: 50 shares in all."""
    book = TradeBook()
    book.add(fill(1, "A", Side.BUY, 10, "500"))
    book.add(fill(2, "A", Side.SELL, 4, "510"))
    book.restate(PositionRestated(ts=3, symbol="A", date="2026-01-06", kind="split", numerator=1, denominator=5))
    assert book.open_quantity("A") == 30
    trade = book.add(fill(4, "A", Side.SELL, 30, "103"))
    assert trade is not None
    assert (trade.quantity, trade.entry_price, trade.gross_pnl) == (50, Decimal(100), Decimal(4 * 10 + 30 * 3))


@pytest.mark.parametrize("sold", [4, 10, 12])
def test_a_split_that_is_known_after_a_trade(sold: int) -> None:
    """Ten at 500, split 1:5; some are sold at 103 before it is named: trades make what the cash makes, all the same."""
    book = TradeBook()
    book.add(fill(1, "A", Side.BUY, 10, "500"))
    closed = [book.add(fill(2, "A", Side.SELL, sold, "103"))]
    book.restate(
        PositionRestated(ts=3, symbol="A", date="2026-01-06", kind="split", numerator=1, denominator=5, carried=10)
    )
    assert book.open_quantity("A") == 50 - sold
    closed.append(book.add(fill(4, "A", Side.SELL, 50 - sold, "103")))
    assert sum(trade.gross_pnl for trade in closed if trade is not None) == 50 * 3
    assert closed[-1] is not None


def test_less_than_a_share_is_no_trade() -> None:
    """Ten for one of five shares: nothing is under way any more, and other symbols don't care."""
    book = TradeBook()
    book.add(fill(1, "A", Side.BUY, 5, "10"))
    for symbol in ("A", "B"):
        book.restate(
            PositionRestated(ts=3, symbol=symbol, date="2026-01-06", kind="split", numerator=10, denominator=1)
        )
    assert book.open_quantity("A") == 0
