from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.report.performance import calmar, exposure, max_drawdown, measure, profit_factor, sharpe, sortino, win_rate
from daemon.report.trades import Direction, Trade


def trade(net: str, entry_ts: int = 0, exit_ts: int = 10) -> Trade:
    """A closed trade that made `net` rupees after one rupee of costs."""
    return Trade(symbol="A", direction=Direction.LONG, quantity=1, entry_ts=entry_ts, exit_ts=exit_ts,
                 entry_price=Decimal(100), exit_price=Decimal(101), gross_pnl=Decimal(net) + 1,
                 costs=Decimal(1))  # fmt: skip


def test_sharpe_by_hand() -> None:
    """Returns +1 %, −1 %, +3 %: mean 1 %, sample deviation 2 %, ratio 0.5·√252."""
    assert sharpe([0.01, -0.01, 0.03]) == pytest.approx(0.5 * math.sqrt(252))


def test_sortino_by_hand() -> None:
    """The same returns: downside √(0.0001 / 3), mean 1 %, so √3·√252."""
    assert sortino([0.01, -0.01, 0.03]) == pytest.approx(math.sqrt(3) * math.sqrt(252))


@pytest.mark.parametrize("returns", [[], [0.01], [0.0, 0.0, 0.0], [0.01, 0.01, 0.01], [0.1, 0.1, 0.1, 0.1]])
def test_what_does_not_vary_has_no_ratio(returns: list[float]) -> None:
    """Too few returns, equal returns, none below zero: None, not infinity."""
    assert sharpe(returns) is None
    assert sortino(returns) is None


def test_drawdown_by_hand() -> None:
    """From 120 to 90 is a quarter, though the low of 80 came first."""
    assert max_drawdown([100, 80, 120, 90, 110]) == pytest.approx(0.25)
    assert max_drawdown([100, 101, 102]) == 0
    assert max_drawdown([]) == 0


def test_calmar_by_hand() -> None:
    """Doubled over 252 sessions is 100 % a year; over a drawdown of a quarter that's 4."""
    equity = [100.0] + [100.0] * 251 + [200.0]
    assert calmar(equity, 0.25) == pytest.approx(4)
    assert calmar(equity, 0) is None
    assert calmar([100.0], 0.1) is None


def test_one_session_is_no_growth() -> None:
    """A year of such a day says nothing."""
    assert calmar([100.0, 90.0], 0.1) is None


def test_calmar_of_an_absurd_session_is_finite() -> None:
    """A hundredfold day, compounded over a year, would overflow a float."""
    assert math.isfinite(calmar([1.0, 50.0, 100.0], 0.1) or math.inf)


def test_trades_by_hand() -> None:
    """Two of three won, 30 rupees against 10; nothing traded or nothing lost has no number."""
    trades = [trade("10"), trade("20"), trade("-10")]
    assert win_rate(trades) == pytest.approx(2 / 3)
    assert profit_factor(trades) == pytest.approx(3)
    assert win_rate([]) is None
    assert profit_factor([]) is None
    assert profit_factor([trade("10")]) is None
    assert win_rate([trade("0")]) == 0


def test_exposure_counts_overlaps_once() -> None:
    """0–10 and 5–20 and 30–40 of 100: 30 %; never above 1; None without a session."""
    trades = [trade("1", 30, 40), trade("1", 0, 10), trade("1", 5, 20), trade("1", 6, 9)]
    assert exposure(trades, [(0, 100)]) == pytest.approx(0.3)
    assert exposure([trade("1", 5, 105)], [(0, 10), (100, 110)]) == pytest.approx(0.5)  # the night doesn't count
    assert exposure([], [(0, 100)]) == 0
    assert exposure(trades, []) is None


def test_measure_puts_it_together() -> None:
    """Every field from one curve and its trades."""
    found = measure([100.0, 101.0, 99.99, 102.9897], [trade("2"), trade("-1"), trade("2")], [(0, 100)])
    assert found.total_return == pytest.approx(0.029897)
    assert found.sharpe == pytest.approx(0.5 * math.sqrt(252))
    assert found.max_drawdown == pytest.approx(0.01)
    assert found.average_trade == pytest.approx(1)
    assert found.profit_factor == pytest.approx(4)
    assert found.exposure == pytest.approx(0.1)


def test_measure_of_nothing() -> None:
    """A run without a session has a drawdown of nothing and no other number."""
    found = measure([100.0], [], [])
    assert found.max_drawdown == 0
    assert (found.total_return, found.sharpe, found.calmar, found.average_trade, found.exposure) == (None,) * 5


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=60))
def test_numbers_are_finite_and_in_range(equity: list[float]) -> None:
    """Whatever the curve: no NaN, no infinity, a drawdown in [0, 1)."""
    found = measure(equity, [], [(0, 1)])
    assert 0 <= found.max_drawdown < 1
    for value in (found.total_return, found.sharpe, found.sortino, found.calmar):
        assert value is None or math.isfinite(value)


def test_of_a_ruined_account_no_ratio_can_be_said() -> None:
    """A return on nothing, or on less, is no return; what was lost is still said."""
    for curve in ([100.0, 0.0, 5.0], [100.0, -20.0], [100.0, -20.0, -10.0, 50.0]):
        ruin = measure(curve, [], [])
        assert (ruin.sharpe, ruin.sortino, ruin.calmar) == (None, None, None)
        assert ruin.total_return == pytest.approx(curve[-1] / 100 - 1)
        assert ruin.max_drawdown >= 1


def test_what_is_still_held_is_time_in_the_market_and_no_win() -> None:
    """A position over half of the only session, never closed."""
    held = measure([100.0, 110.0], [], [(0, 100)], [trade("10", 50, 100)])
    assert (held.exposure, held.win_rate, held.average_trade) == (0.5, None, None)
