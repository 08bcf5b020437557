"""A result by month and symbol, beside holding, and how sure it is."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest

from daemon.core.events import Bar, PriceAdjusted, PriceJumped, Side
from daemon.market.instruments import Kind
from daemon.report.results import FEWEST_SESSIONS, PriceSpan, bootstrap, buy_and_hold, by_month
from daemon.report.summary import EquityPoint, Run, TickCounts
from daemon.report.tally import Tally
from tests.unit.report.samples import DAY_NS, START, Sample, fill

TICKS = TickCounts(accepted=1, rejected={}, first_ts=START, last_ts=START)


def run_of(cash: int = 1000) -> Run:
    """Of one symbol."""
    return Run(tapes=[], symbols=["A"], strategy="rules", interval="5m", model="", simulated=False, latency="zero",
               starting_equity=Decimal(cash))  # fmt: skip


def bar(ts: int, open_: float, close: float, interval: str = "5m") -> Bar:
    """Of A."""
    return Bar(symbol="A", interval=interval, ts_open=ts, ts_close=ts + 1, open=open_, high=open_, low=open_,
               close=close, volume=1, ticks=1)  # fmt: skip


def test_months_and_symbols_add_up() -> None:
    """Each to the net P&L and the costs of the whole, to the paisa."""
    sample = Sample(sessions=40, symbols=("A", "B"))
    found = sample.summary()
    assert [row.month for row in found.by_month] == ["2021-04", "2021-05"]
    held = sum((trade.net_pnl for trade in sample.tally.open_trades), Decimal())
    symbols = sum((row.net_pnl for row in found.by_symbol.values()), Decimal())
    assert symbols == sum((trade.net_pnl for trade in sample.tally.trades), Decimal()) + held
    assert sum((row.net_pnl for row in found.by_month), Decimal()) == found.net_pnl
    for rows in (found.by_month, found.by_symbol.values()):
        assert sum((row.costs for row in rows), Decimal()) == found.costs
        assert sum(row.trades for row in rows) == found.trades
    assert sum(row.sessions for row in found.by_month) == 40


def test_a_month_begins_where_the_last_one_ended() -> None:
    """Its return is of that."""
    points = [EquityPoint(START, Decimal(1100)), EquityPoint(START + 30 * DAY_NS, Decimal(990))]
    first, second = by_month(Decimal(1000), points, [], {})
    assert (first.net_pnl, second.net_pnl) == (Decimal(100), Decimal(-110))
    assert (first.total_return, second.total_return) == pytest.approx((0.1, -0.1))
    (ruined,) = by_month(Decimal(0), points[:1], [], {})
    assert ruined.total_return is None


def test_what_was_carried_in_counts_from_its_last_price() -> None:
    """A symbol's profit is of this run; the trade's own is from its entry."""
    tally = Tally()
    tally.carry("A", 10, Decimal(50), Decimal(60), START)
    tally.record(fill(START + 5, "A", Side.SELL, 10, "65", "1"))
    found = tally.summary(run_of(), TICKS, [EquityPoint(START + 5, Decimal(1049))], [], 0.0)
    assert found.by_symbol["A"].net_pnl == Decimal(49)
    (trade,) = tally.trades
    assert (trade.net_pnl, trade.entry_ts, trade.quantity) == (Decimal(149), START, 10)


def test_a_short_position_is_carried_in() -> None:
    """And still held at the end."""
    tally = Tally()
    tally.carry("A", -10, Decimal(50), Decimal(60), START)
    found = tally.summary(run_of(), TICKS, [], [], 0.0, {"A": Decimal(58)})
    assert (found.by_symbol["A"].quantity, found.by_symbol["A"].net_pnl) == (-10, Decimal(20))
    assert found.open_trades[0].net_pnl == Decimal(-80)


def test_costs_by_kind_add_up_and_say_what_is_not_explained() -> None:
    """By the dated schedule: 100 shares at 800 bought within a day; 9 paise that no rate explains are `other`."""
    day = 1_767_584_700_000_000_000  # 2026-01-05
    tally = Tally(lambda symbol: Kind.EQUITY if symbol == "A" else None)
    tally.record(fill(day, "A", Side.BUY, 100, "805.20", "29.10"))
    tally.record(fill(day + 1, "B", Side.BUY, 100, "805.20", "5"))
    found = tally.summary(run_of(), TICKS, [], [], 0.0).costs_by_kind
    assert found["brokerage"] == Decimal(20)
    assert found["gst"] == Decimal("4.04")
    assert found["other"] == Decimal("5.09")
    assert sum(found.values()) == Decimal("34.10")


def test_costs_of_another_exchange_are_split_by_its_own_rates() -> None:
    """BSE charges nothing for futures, and no IPFT."""
    day = 1_767_584_700_000_000_000
    tally = Tally(lambda _: Kind.FUTURE)
    tally.record(fill(day, "BSE:SENSEX26JANFUT", Side.BUY, 20, "85000", "59.61"))
    found = tally.summary(run_of(), TICKS, [], [], 0.0).costs_by_kind
    paid = {"brokerage": "20.00", "stamp": "34.00", "sebi": "1.70", "gst": "3.91"}
    assert {name: amount for name, amount in found.items() if amount} == {
        name: Decimal(it) for name, it in paid.items()
    }


def test_the_fills_of_one_order_are_charged_together() -> None:
    """Brokerage is capped by order: two halves pay what one fill pays."""
    day = 1_767_584_700_000_000_000
    whole, halves = Tally(lambda _: Kind.EQUITY), Tally(lambda _: Kind.EQUITY)
    whole.record(fill(day, "A", Side.BUY, 200, "800", "0"))
    for _ in range(2):
        halves.record(fill(day, "A", Side.BUY, 100, "800", "0"))
    split = [tally.summary(run_of(), TICKS, [], [], 0.0).costs_by_kind for tally in (whole, halves)]
    assert split[0] == split[1]


def test_holding_counts_a_split_in() -> None:
    """From the first open to the last close of the decision interval; 100 → 60 after one for two is a fifth won."""
    tally = Tally()
    split = PriceAdjusted(ts=START, symbol="A", date="2021-04-06", kind="split", numerator=1, denominator=2,
                          shares=True, by_broker=False)  # fmt: skip
    for event in (bar(START, 100, 101), bar(START, 7, 7, "1m"), split, bar(START + DAY_NS, 51, 60)):
        tally.record(event)
    found = tally.summary(run_of(), TICKS, [], [], 0.0)
    assert found.buy_and_hold is not None
    assert found.buy_and_hold.total_return == pytest.approx(0.2)
    assert found.buy_and_hold.net_pnl == Decimal(200)
    assert found.by_symbol["A"].price_change == pytest.approx(0.2)


def test_what_holding_brought_over_a_jump_that_nobody_explained() -> None:
    """Nobody knows: a split that no setting names is no loss. The other symbol is held alone."""
    tally, alone = Tally(), Tally()
    jump = PriceJumped(ts=START + DAY_NS, symbol="A", before=100, after=20)
    before, after = bar(START, 100, 101), bar(START + DAY_NS, 20, 21)
    others = [msgspec.structs.replace(one, symbol="B", close=close) for one, close in ((before, 100), (after, 110))]
    for event in (before, others[0], jump, after, others[1]):
        tally.record(event)
    for event in (before, jump, after):
        alone.record(event)
    found = tally.summary(run_of(), TICKS, [], [], 0.0)
    assert found.buy_and_hold is not None
    assert (found.buy_and_hold.symbols, found.buy_and_hold.total_return) == (1, pytest.approx(0.1))
    assert (found.by_symbol["A"].price_change, found.by_symbol["B"].price_change) == (None, pytest.approx(0.1))
    assert alone.summary(run_of(), TICKS, [], [], 0.0).buy_and_hold is None


def test_without_a_price_nothing_is_held() -> None:
    """None, not nothing won."""
    assert buy_and_hold(Decimal(1000), {}) is None
    assert buy_and_hold(Decimal(1000), {"A": PriceSpan(0.0, 5.0)}) is None


def test_the_interval_is_that_of_the_mean_profit() -> None:
    """It is seeded, holds the mean, and is about as wide as the error says: ± 1.96 × 10 / √400 for noise of 10."""
    chance = np.random.default_rng(3)
    equity = [1e6, *(1e6 + chance.normal(1, 10, 400).cumsum())]
    found, again = bootstrap(equity), bootstrap(equity)
    assert found is not None
    assert found == again
    assert (found.sessions, found.block, found.resamples) == (400, 7, 2000)
    mean = (equity[-1] - equity[0]) / 400
    assert found.mean_pnl_low < mean < found.mean_pnl_high
    assert 1.4 < found.mean_pnl_high - found.mean_pnl_low < 2.5
    assert found.sharpe_low is not None
    assert found.sharpe_high is not None
    assert found.sharpe_low < found.sharpe_high


def test_few_sessions_a_ruin_and_a_still_line_have_no_interval() -> None:
    """Of a line that doesn't move the mean is sure and the ratio can't be said."""
    assert bootstrap([1000.0] * FEWEST_SESSIONS) is None
    assert bootstrap([1000.0] * FEWEST_SESSIONS + [-1.0]) is None
    still = bootstrap([1000.0] * (FEWEST_SESSIONS + 1))
    assert still is not None
    assert (still.mean_pnl_low, still.mean_pnl_high, still.sharpe_low, still.sharpe_high) == (0, 0, None, None)
