from __future__ import annotations

import json
from decimal import Decimal

import pytest

from daemon.core.events import Action, OrderRejected, Resume, Side
from daemon.core.json_form import encode
from daemon.report.summary import EquityPoint, Run, TickCounts
from daemon.report.tally import UNKNOWN_REGIME, Tally
from tests.unit.report.samples import Sample, decision, fill, intent

RUN = Run(
    tapes=["a.parquet"], symbols=["A"], strategy="hrm", interval="5m", model="untrained (seed 7)", simulated=True,
    latency="zero", starting_equity=Decimal(1000), max_segments=8, notes=["a note"],
)  # fmt: skip
TICKS = TickCounts(accepted=90, rejected={"duplicate": 10}, repaired=2, first_ts=1, last_ts=99)

CONTRACT = {
    "ticks", "ticks_rejected", "bars", "decisions", "orders", "fills", "trades", "net_pnl", "costs", "total_return",
    "sharpe", "sortino", "calmar", "max_drawdown", "win_rate", "decisions_sha256", "wall_s", "ticks_per_s",
    "hrm_metrics",
}  # fmt: skip


def test_json_holds_the_contract() -> None:
    """Every field that `replay --json` promises, rupees as exact strings, counts by name."""
    sample = Sample(sessions=2)
    document = json.loads(encode(sample.summary()))
    assert set(document) >= CONTRACT
    assert Decimal(document["net_pnl"]) == sample.summary().net_pnl
    metrics = document["hrm_metrics"]
    assert set(metrics) >= {"avg_reasoning_depth", "halt_reasons", "deadline_misses", "inference_ms",
                            "computation_efficiency", "convergence"}  # fmt: skip
    assert set(metrics["inference_ms"]) == {"p50", "p99", "max"}
    assert sum(metrics["depth_histogram"].values()) == document["decisions"]


def test_counts() -> None:
    """What was recorded is what is counted; net P&L is the last equity less the first."""
    sample = Sample(sessions=2)
    sample.record(OrderRejected(ts=1, order_id="x", code=-50, reason="no"))
    sample.record(Resume(ts=1, reason="not counted"))
    summary = sample.summary()
    assert summary.bars == len(sample.bars)
    assert summary.decisions == len(sample.decisions) == sum(summary.actions.values())
    assert summary.fills == summary.orders == len(sample.fills)
    assert summary.trades == len(sample.tally.trades) > 0
    assert summary.costs == sum(one.costs for one in sample.fills)
    assert summary.net_pnl == sample.closes[-1].equity - 1_000_000
    assert summary.net_pnl == sum(trade.net_pnl for trade in sample.tally.trades)
    assert summary.denied == {"max_order_notional": 1}
    assert summary.rejected_orders == 1
    assert (summary.ticks, summary.sessions) == (951_204 + 5450 + 6120 + 41_377, 2)


def test_reasoning_by_hand() -> None:
    """Depths 2, 2 and 5 of 8: mean 3, five eighths saved, one deadline missed; percentiles don't flatter."""
    tally = Tally()
    for segments, reason in ((2, "q_halt"), (2, "q_halt"), (5, "deadline")):
        tally.record(decision(1, "A", segments=segments, halt_reason=reason, convergence=0.3))
    for seconds in (0.010, 0.020, 0.100):
        tally.inference(seconds)
    metrics = tally.summary(RUN, TICKS, [], [], 1.0).hrm_metrics
    assert metrics is not None
    assert metrics.avg_reasoning_depth == 3
    assert metrics.computation_efficiency == pytest.approx(5 / 8)
    assert metrics.depth_histogram == {2: 2, 5: 1}
    assert metrics.halt_reasons == {"q_halt": 2, "deadline": 1}
    assert metrics.deadline_misses == 1
    assert metrics.convergence == pytest.approx(0.3)
    assert metrics.inference_ms is not None
    assert metrics.inference_ms.p50 == pytest.approx(20)
    assert metrics.inference_ms.p99 == pytest.approx(100)


def test_a_strategy_that_does_not_reason_has_no_metrics() -> None:
    """Rules leave `segments` at 0; a model that was never timed has no times."""
    tally = Tally()
    tally.record(decision(1, "A"))
    assert tally.summary(RUN, TICKS, [], [], 1.0).hrm_metrics is None
    tally.record(decision(2, "A", segments=1, halt_reason="q_halt"))
    metrics = tally.summary(RUN, TICKS, [], [], 1.0).hrm_metrics
    assert metrics is not None
    assert metrics.inference_ms is None


def test_a_run_in_which_nothing_was_wanted_says_so() -> None:
    """A result of nothing is the strategy's own; not where one decision wanted something, or none was made."""
    tally = Tally()
    assert tally.wanted_nothing() == ""
    for ts in range(1, 1201):
        tally.record(decision(ts, "A"))
    assert tally.wanted_nothing() == "no decision wanted a trade: 1,200 times HOLD"
    tally.record(decision(1201, "A", Action.SELL_SHORT))
    assert tally.wanted_nothing() == ""


def test_a_trade_belongs_to_the_regime_it_was_entered_in() -> None:
    """Entered while trending, closed while ranging, reversed into volatile: each trade counts where it began."""
    tally = Tally()
    tally.record(decision(1, "A", Action.BUY_LONG, regime="trending", segments=4, halt_reason="q_halt"))
    tally.record(intent(2, "A", Side.BUY, 10))
    tally.record(fill(3, "A", Side.BUY, 10, "100", "1"))
    tally.record(decision(4, "A", regime="ranging"))
    tally.record(decision(5, "A", Action.SELL_SHORT, regime="volatile"))
    tally.record(intent(6, "A", Side.SELL, 20))
    tally.record(fill(7, "A", Side.SELL, 20, "110", "2"))
    tally.record(decision(8, "A", Action.CLOSE_SHORT, regime="ranging"))
    tally.record(intent(9, "A", Side.BUY, 10, reduces=True))
    tally.record(fill(10, "A", Side.BUY, 10, "111", "1"))
    found = tally.summary(RUN, TICKS, [], [], 1.0).by_regime
    assert (found["trending"].trades, found["trending"].net_pnl) == (1, Decimal(98))
    assert found["trending"].avg_reasoning_depth == 4
    assert (found["volatile"].trades, found["volatile"].net_pnl) == (1, Decimal(-12))
    assert (found["ranging"].trades, found["ranging"].decisions) == (0, 2)
    assert found["ranging"].avg_reasoning_depth is None


def test_what_is_not_known_comes_last() -> None:
    """Bars before the regime is known are told apart from all that it may be."""
    tally = Tally()
    for ts, regime in enumerate(("unknown", "volatile", "ranging"), 1):
        tally.record(decision(ts, "A", regime=regime))
    assert list(tally.summary(RUN, TICKS, [], [], 1.0).by_regime) == ["ranging", "volatile", UNKNOWN_REGIME]


def test_an_exit_that_was_sent_meanwhile_changes_nothing() -> None:
    """An entry waits at the venue, an exit is wanted in another regime, then the entry fills: it was the entry's."""
    tally = Tally()
    tally.record(decision(1, "A", Action.BUY_LONG, regime="trending"))
    tally.record(intent(2, "A", Side.BUY, 10))
    tally.record(decision(3, "A", Action.CLOSE_LONG, regime="ranging"))
    tally.record(intent(4, "A", Side.SELL, 10, reduces=True))
    tally.record(fill(5, "A", Side.BUY, 10, "100"))
    tally.record(fill(6, "A", Side.SELL, 10, "101"))
    assert tally.summary(RUN, TICKS, [], [], 1.0).by_regime["trending"].trades == 1


def test_a_fill_without_a_decision_is_counted_too() -> None:
    """Where nobody knows the regime it's called unknown, and the trade isn't lost."""
    tally = Tally()
    tally.record(fill(1, "A", Side.BUY, 1, "100"))
    tally.record(fill(2, "A", Side.SELL, 1, "101"))
    tally.record(decision(3, "A", failed=True))
    summary = tally.summary(RUN, TICKS, [], [], 0.0)
    assert summary.by_regime[UNKNOWN_REGIME].trades == 1
    assert summary.by_regime[UNKNOWN_REGIME].decisions == 1
    assert (summary.failed_decisions, summary.ticks_per_s) == (1, 0.0)


def test_the_digest_is_of_every_decision_in_order() -> None:
    """Equal runs agree; one quantity or the order changed, and they don't."""

    def digest(*quantities: int) -> str:
        tally = Tally()
        for quantity in quantities:
            tally.record(decision(1, "A", quantity=quantity))
        return tally.summary(RUN, TICKS, [], [], 1.0).decisions_sha256

    assert digest(1, 2) == digest(1, 2)
    assert len({digest(), digest(1), digest(1, 2), digest(2, 1)}) == 4


def test_performance_is_of_the_session_closes() -> None:
    """The starting equity comes first."""
    equity = [EquityPoint(1, Decimal(1100)), EquityPoint(2, Decimal(990))]
    summary = Tally().summary(RUN, TICKS, equity, [(0, 100)], 0.5)
    assert summary.total_return == pytest.approx(-0.01)
    assert summary.max_drawdown == pytest.approx(0.1)
    assert (summary.net_pnl, summary.ticks_per_s) == (Decimal(-10), 200)


def test_what_is_still_held_is_told_at_the_last_price() -> None:
    """Half was sold again at 110, the rest stands at 104: none of the closed trades, and no win."""
    tally = Tally()
    tally.record(fill(50, "A", Side.BUY, 10, "100", "1"))
    tally.record(fill(60, "A", Side.SELL, 5, "110", "1"))
    tally.record(fill(70, "B", Side.SELL, 1, "7"))
    summary = tally.summary(
        RUN, TickCounts(accepted=1, rejected={}, first_ts=10, last_ts=90), [], [(0, 100)], 1.0, {"A": Decimal(104)}
    )
    first, second = summary.open_trades
    assert (first.symbol, first.direction, first.quantity) == ("A", "LONG", 10)
    assert (first.entry_price, first.last_price, first.net_pnl) == (Decimal(100), Decimal(107), Decimal(68))
    assert (second.symbol, second.last_price, second.net_pnl) == ("B", Decimal(7), Decimal(0))
    assert (summary.trades, summary.win_rate, summary.exposure) == (0, None, pytest.approx(0.4))
    assert [trade.open for trade in tally.open_trades] == [True, True]
