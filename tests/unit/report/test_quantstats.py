"""Our ratios beside QuantStats': its formulas on pandas, as they stand in its source, to 1e-12.

QuantStats (Ran Aroussi, Apache-2.0) 0.0.86, `quantstats/stats.py`: `comp`, `sharpe`, `sortino`, `cagr`, `calmar`,
`max_drawdown`, with their defaults (no risk-free rate, 252 periods). It isn't a dependency: it brings yfinance,
matplotlib and seaborn with it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.report.performance import measure

PERIODS = 252


def comp(returns: pd.Series[float]) -> float:
    """`returns.add(1).prod(axis=0) - 1`."""
    return float(returns.add(1).prod(axis=0) - 1)


def sharpe(returns: pd.Series[float]) -> float:
    """`returns.mean() / returns.std(ddof=1) * sqrt(periods)`."""
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(PERIODS))


def sortino(returns: pd.Series[float]) -> float:
    """The downside counts every period, and sums the negative ones alone."""
    downside = np.sqrt((returns[returns < 0] ** 2).sum() / returns.count())
    return float(returns.mean() / downside * np.sqrt(PERIODS))


def max_drawdown(returns: pd.Series[float]) -> float:
    """Of the compounded returns from a baseline on; negative."""
    prices = pd.concat([pd.Series([1.0]), returns.add(1).cumprod()], ignore_index=True)
    return float((prices / prices.expanding(min_periods=0).max()).min() - 1)


def calmar(returns: pd.Series[float]) -> float:
    """`cagr / abs(max_drawdown)`, a year being 252 periods."""
    wealth, years = comp(returns) + 1.0, returns.count() / PERIODS
    return float((abs(wealth) ** (1.0 / years) - 1) / abs(max_drawdown(returns)))


@given(st.lists(st.integers(-400, 400), min_size=3, max_size=300).filter(lambda bp: min(bp) < 0 and len(set(bp)) > 1))
def test_our_ratios_are_those_of_quantstats(basis_points: list[int]) -> None:
    """Whatever the sessions returned, down to -4 % and up to +4 % each."""
    equity = [500_000.0]
    for one in basis_points:
        equity.append(equity[-1] * (1 + one / 10_000))
    returns = pd.Series(equity).pct_change().dropna()
    ours = measure(equity, [], [])
    near = {"rel": 1e-12, "abs": 1e-12}
    assert ours.total_return == pytest.approx(comp(returns), **near)
    assert ours.sharpe == pytest.approx(sharpe(returns), **near)
    assert ours.sortino == pytest.approx(sortino(returns), **near)
    assert ours.max_drawdown == pytest.approx(-max_drawdown(returns), **near)
    assert ours.calmar == pytest.approx(calmar(returns), **near)
