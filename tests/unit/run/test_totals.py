"""The line that sums a process up."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from structlog.testing import capture_logs

from daemon.core.events import Action, Event, Halt, PositionRestated, Side, TradingState, TradingStateChanged
from daemon.portfolio.book import Portfolio
from daemon.report.text import rupees, signed_rupees
from daemon.run.reporting import report_journal
from daemon.run.totals import RunTotals
from tests.samples import OPEN, SBIN, decide, fill_of, intend, wave, write_tape
from tests.unit.run.test_service import run, service


def changed(state: TradingState) -> TradingStateChanged:
    """To `state`."""
    return TradingStateChanged(ts=OPEN, state=state, reason="a test")


def totals_of(portfolio: Portfolio, *events: Event, state: TradingState = TradingState.ACTIVE) -> RunTotals:
    """After `events`, whose fills the portfolio books."""
    totals = RunTotals(portfolio, state)
    for event in events:
        if hasattr(event, "fill_id"):
            portfolio.apply(event)
        totals.record(event)
    return totals


def test_a_trade_is_two_fills_and_its_costs() -> None:
    """Bought at 800, sold at 810: a thousand less what both cost."""
    bought, sold = intend(quantity=100), intend("T2", Side.SELL, 100, reference_price=Decimal(810))
    fills = (fill_of(bought, costs=Decimal("10.5")), fill_of(sold, costs=Decimal("20")))
    found = totals_of(Portfolio(Decimal(100_000)), decide(Action.BUY_LONG), *fills).words()
    assert found == {"net_pnl": "+₹969.50", "costs": "₹30.50", "trades": 1, "fills": 2, "decisions": 1, "halts": 0}


def test_what_was_held_before_counts_from_its_last_price() -> None:
    """Bought at 800 by an earlier process, last at 805, sold at 810: five a share, and its end is a trade."""
    portfolio = Portfolio(Decimal(100_000))
    portfolio.apply(fill_of(intend(quantity=100), costs=Decimal(0)))
    portfolio.mark(SBIN, Decimal(805))
    sold = fill_of(intend("T2", Side.SELL, 100, reference_price=Decimal(810)), costs=Decimal(0))
    found = totals_of(portfolio, sold)
    assert (found.words()["net_pnl"], found.trades) == ("+₹500.00", 1)


def test_a_split_between_does_not_lose_the_trade() -> None:
    """100 shares are 200 after one for two; selling 200 is its end."""
    portfolio = Portfolio(Decimal(100_000))
    portfolio.apply(fill_of(intend(quantity=100), costs=Decimal(0)))
    split = PositionRestated(ts=OPEN, symbol=SBIN, date="2026-01-05", kind="split", numerator=1, denominator=2)
    sold = fill_of(intend("T2", Side.SELL, 200, reference_price=Decimal(400)), costs=Decimal(0))
    assert totals_of(portfolio, split, sold).trades == 1


def test_halts_are_those_of_trading() -> None:
    """Each time anew; neither the one that was there at the start nor the one that ends the process."""
    active, halted = changed(TradingState.ACTIVE), changed(TradingState.HALTED)
    ending = Halt(ts=OPEN, reason="SIGTERM received", shutdown=True)
    said = Halt(ts=OPEN, reason="a person")
    found = totals_of(Portfolio(Decimal(1)), said, halted, halted, active, said, halted, active, ending, halted)
    assert found.halts == 2
    assert totals_of(Portfolio(Decimal(1)), halted, active, state=TradingState.HALTED).halts == 0


def test_a_run_says_at_its_end_what_its_journal_says(tmp_path: Path) -> None:
    """One line, with who was in charge."""
    tape = write_tape(tmp_path / "t.parquet", *wave(40))
    with capture_logs() as logs:
        asyncio.run(run(service(tape, tmp_path, "feed.speed=3000")))
    (line,) = [line for line in logs if line["event"] == "summary"]
    told = report_journal(tmp_path / "j.sqlite").summary
    assert told.fills > 0
    assert {name: line[name] for name in ("net_pnl", "costs", "trades", "fills", "decisions", "halts", "rung")} == {
        "net_pnl": signed_rupees(told.net_pnl), "costs": rupees(told.costs), "trades": told.trades,
        "fills": told.fills, "decisions": told.decisions, "halts": 0, "rung": "rules",
    }  # fmt: skip
