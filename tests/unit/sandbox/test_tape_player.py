"""A recorded tape on the sandbox: its books are read as a replay reads them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon.core.clock import LiveClock
from daemon.core.events import OrderType, Side, TickBatch
from daemon.feed.replay import Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.sandbox.exchange import Exchange, Order, Wanted
from daemon.sandbox.tape_player import TapePlayer
from daemon.settings.market import MarketSettings
from daemon.tape.format import TapeWriter
from tests.samples import OPEN, SBIN, ticks

SECOND = 1_000_000_000
NAN = float("nan")
TURNED = {"bid": "ask", "ask": "bid", "bid_qty": "ask_qty", "ask_qty": "bid_qty"}


def table(*rows: dict[str, float]) -> TickBatch:
    """Ticks at 100, one a second."""
    missing = {"bid": NAN, "ask": NAN, "bid_qty": -1, "ask_qty": -1}
    columns = {name: [row.get(name, none) for row in rows] for name, none in missing.items()}
    times = [OPEN + second * SECOND for second in range(1, len(rows) + 1)]
    return ticks(times, [row.get("ltp", 100.0) for row in rows], **columns)


def played(path: Path, rows: TickBatch) -> tuple[TapePlayer, Exchange]:
    """A tape of these ticks, and the exchange on which it is played."""
    instruments, calendar = InstrumentBook(MarketSettings()), MarketCalendar()
    with TapeWriter(path) as writer:
        writer.write(rows)
    exchange = Exchange(instruments, CostSchedule(), LiveClock(), Decimal(1_000_000))
    return TapePlayer(Tapes([path], (), 100), TickFilter(instruments, calendar, 10.0), exchange, ()), exchange


def placed(exchange: Exchange, side: Side) -> Order:
    """A market order."""
    order = exchange.place(Wanted(tag="A", symbol=SBIN, side=side, type=OrderType.MARKET, quantity=10))
    assert isinstance(order, Order)
    return order


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    "book",
    [
        {"bid": 100, "ask": 0, "bid_qty": 500, "ask_qty": 0},
        {"bid": 100},
        {"bid": 100, "bid_qty": 500},
        {"bid": 100, "ask": 100, "bid_qty": 500, "ask_qty": 0},
        {"bid": 0, "ask": 0, "bid_qty": 0, "ask_qty": 0},
    ],
)
def test_nobody_trades_with_an_empty_side(tmp_path: Path, side: Side, book: dict[str, float]) -> None:
    """However a tape says so, and on ticks of the same price that say nothing of the book."""
    if side is Side.SELL:
        book = {TURNED[name]: value for name, value in book.items()}
    player, exchange = played(tmp_path / "t.parquet", table(book, book, {}, {"bid": 99.95, "ask": 100.05}))
    player.step(1)
    order = placed(exchange, side)
    player.step(2)
    assert order.filled == 0
    player.step(1)
    assert order.filled == 10


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ({}, "100.0"),
        ({"bid": 0, "ask": 0}, "100.0"),
        ({"bid": 99.95, "ask": 100.05, "bid_qty": 0, "ask_qty": 0}, "100.05"),
        ({"bid": 99.95, "ask": 100.05, "bid_qty": 5, "ask_qty": 5}, "100.05"),
    ],
)
def test_what_a_source_does_not_know_empties_no_side(tmp_path: Path, row: dict[str, Any], price: str) -> None:
    """Zeros of a source that knows no book, or no quantities, are as in a replay."""
    player, exchange = played(tmp_path / "t.parquet", table(row))
    player.step(1)
    order = placed(exchange, Side.BUY)
    assert (order.filled > 0, str(exchange.ledger.trades[0].price)) == (True, price)
