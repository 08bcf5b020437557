"""What the control API shows of what was: bars, round trips, equity, and how the model reasons."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.control.rows import Asked, BarRow, EquityRow, Listing, Page, TradeRow
from daemon.core.events import Bar, Event, Fill, Side
from daemon.run.past import KEPT_BARS, LOOKED_AT, reasoning
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, fill_of, hill, intend, tick, write_tape
from tests.unit.control.fakes import DECISIONS
from tests.unit.run.test_view import Desk

MANY = Asked(limit=1000)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An app that is fed by hand."""
    return Desk(write_tape(tmp_path / "t.parquet", *hill()))


def bar(minute: int, symbol: str = SBIN, interval: str = "1m", close: float = 800.0) -> Bar:
    """One that closes `minute` minutes after the open."""
    return Bar(
        symbol=symbol, interval=interval, ts_open=OPEN + (minute - 1) * MINUTE, ts_close=OPEN + minute * MINUTE,
        open=800.0, high=810.0, low=790.0, close=close, volume=5, ticks=3,
    )  # fmt: skip


def page(desk: Desk, listing: Listing, asked: Asked = MANY) -> Page:
    """What the view gives."""
    return desk.view.page(listing, asked)


def test_bars_by_symbol_and_interval(desk: Desk) -> None:
    """Newest first; of one symbol and interval as many as are kept, however many others came."""
    for minute in range(1, KEPT_BARS + 20):
        desk.tell(bar(minute), bar(minute, RELIANCE))
    desk.tell(bar(5, interval="5m", close=801.5))
    mine = page(desk, Listing.BARS, Asked(limit=3, symbol=SBIN, interval="1m"))
    assert [row.ts_close for row in mine.rows] == [OPEN + minute * MINUTE for minute in (1019, 1018, 1017)]
    whole = page(desk, Listing.BARS, Asked(limit=2000, symbol=SBIN, interval="1m"))
    assert len(whole.rows) == KEPT_BARS
    (other,) = page(desk, Listing.BARS, Asked(limit=9, interval="5m")).rows
    assert (BarRow.of(other).close, BarRow.of(other).volume) == (Decimal("801.5"), 5)
    assert page(desk, Listing.BARS, Asked(limit=9, symbol="NSE:TCS-EQ", interval="1m")).rows == []


def test_a_round_trip_when_it_is_closed(desk: Desk) -> None:
    """Averages, costs and what is left; an open one isn't shown."""
    buy, sell = intend("a", Side.BUY, 10), intend("b", Side.SELL, 10)
    desk.tell(buy, fill_of(buy))
    assert page(desk, Listing.TRADES).rows == []
    desk.tell(sell, msgspec.structs.replace(fill_of(sell), price=Decimal(805)))
    (row,) = page(desk, Listing.TRADES).rows
    assert isinstance(row, TradeRow)
    assert (row.direction, row.quantity, row.gross_pnl) == ("LONG", 10, (Decimal(805) - row.entry_price) * 10)
    assert row.net_pnl == row.gross_pnl - row.costs
    assert page(desk, Listing.TRADES, Asked(limit=9, symbol=RELIANCE)).rows == []


def test_equity_is_told_once_a_close(desk: Desk) -> None:
    """However many symbols' bars close together; other intervals don't count."""
    desk.tell(tick(OPEN, 800.0), bar(1), bar(1, RELIANCE), bar(2, interval="5m"), bar(2))
    rows = page(desk, Listing.EQUITY).rows
    assert [(row.ts, row.equity) for row in rows] == [
        (OPEN + minute * MINUTE, Decimal("1000000.00")) for minute in (2, 1)
    ]  # fmt: skip
    assert isinstance(rows[0], EquityRow)


def test_orders_and_decisions_page_by_page(desk: Desk) -> None:
    """By number, not by place: an order that changes keeps its own."""
    intents: list[Event] = [intend(f"o{n}", Side.BUY, 1) for n in range(5)]
    desk.tell(*intents)
    first = page(desk, Listing.ORDERS, Asked(limit=2))
    assert [row.order_id for row in first.rows] == ["o4", "o3"]
    desk.tell(intend("o5", Side.BUY, 1), fill_of(intend("o4", Side.BUY, 1)))
    second = page(desk, Listing.ORDERS, Asked(limit=2, before=first.before))
    assert [row.order_id for row in second.rows] == ["o2", "o1"]
    assert page(desk, Listing.ORDERS, Asked(limit=1)).rows[0].order_id == "o5"
    found = desk.view.order("o4")
    assert found is not None
    assert found.state == "FILLED"
    assert desk.view.order("none") is None
    assert page(desk, Listing.ORDERS, Asked(limit=9, symbol=RELIANCE)).rows == []


def test_how_a_model_reasons() -> None:
    """Over its newest decisions; those without a model don't count, and without any nothing can be said."""
    thought = [
        msgspec.structs.replace(DECISIONS[0], segments=segments, convergence=0.2, latency_ns=10_000_000, complexity=0.5)
        for segments in (2, 4)
    ]
    said = reasoning([*thought, msgspec.structs.replace(DECISIONS[0], segments=0)], 8, 7)
    assert (said.decisions, said.reasoning_depth, said.efficiency) == (2, 3.0, 0.625)
    assert (said.convergence, said.convergence_stability, said.latency_ms) == (0.2, 1.0, 10.0)
    spread = [msgspec.structs.replace(one, convergence=value) for one, value in zip(thought, (0.1, 0.3), strict=True)]
    assert reasoning(spread, 8, 7).convergence_stability == pytest.approx(2 / 3)
    many = [msgspec.structs.replace(DECISIONS[0], segments=1)] * 500
    assert reasoning(many, 8, 7).decisions == LOOKED_AT
    nothing = reasoning([], 8, 7)
    assert (nothing.decisions, nothing.efficiency, nothing.reasoning_depth) == (0, None, None)
    assert nothing.memory_mb > 1


def test_fills_are_of_this_process(desk: Desk) -> None:
    """A fill without a past is an opening."""
    sell = intend("b", Side.SELL, 10)
    assert isinstance(fill_of(sell), Fill)
    desk.tell(sell, fill_of(sell))
    assert page(desk, Listing.TRADES).rows == []
