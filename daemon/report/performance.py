"""Turns an equity curve sampled once a session, and the closed trades, into the usual performance numbers.

Invariant: a number that the sample can't support (no variance, no losing trade, nothing traded) is None, never a
flattering infinity.

Formulas: W. F. Sharpe, "The Sharpe Ratio", 1994, with a risk-free rate of 0; F. Sortino, L. Price, "Performance
Measurement in a Downside Risk Framework", 1994, with a target of 0; T. W. Young, "Calmar Ratio", 1991. A year has 252
sessions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, pairwise

import msgspec

from daemon.report.text import PAISA
from daemon.report.trades import Trade

SESSIONS_PER_YEAR = 252


Span = tuple[int, int]
"""(start, end), UTC nanoseconds."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Ratios are plain numbers (0.01 is 1 %); `average_trade` is rupees after costs."""

    total_return: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    win_rate: float | None
    profit_factor: float | None
    average_trade: Decimal | None
    exposure: float | None


def measure(
    equity: Sequence[float],
    trades: Sequence[Trade],
    sessions: Sequence[Span],
    open_trades: Sequence[Trade] = (),
    *,
    ruined: bool = False,
) -> Performance:
    """Performance of `equity` (the starting value first, > 0, then each session's close) and of the closed `trades`.

    `sessions` are the (open, close) times of the run, UTC nanoseconds, for `exposure`, in which `open_trades` count as
    well. Of an account that was `ruined` once, inside a session too, no ratio of returns can be said: no broker would
    have let it go on, and of nothing there is no return. It has fallen by all there was, whatever came back.
    """
    ruined = ruined or min(equity) <= 0
    returns = [] if ruined else [after / before - 1 for before, after in pairwise(equity)]
    drawdown = max(max_drawdown(equity), 1.0 if ruined else 0.0)
    return Performance(
        total_return=equity[-1] / equity[0] - 1 if len(equity) > 1 else None,
        sharpe=sharpe(returns),
        sortino=sortino(returns),
        calmar=None if ruined else calmar(equity, drawdown),
        max_drawdown=drawdown,
        win_rate=win_rate(trades),
        profit_factor=profit_factor(trades),
        average_trade=_mean([trade.net_pnl for trade in trades]),
        exposure=exposure([*trades, *open_trades], sessions),
    )


def sharpe(returns: Sequence[float]) -> float | None:
    """Mean over sample standard deviation (n − 1) of per-session returns, times √252.

    None below two returns or where they don't vary.
    """
    if len(returns) < 2:
        return None
    mean = math.fsum(returns) / len(returns)
    variance = math.fsum((value - mean) ** 2 for value in returns) / (len(returns) - 1)
    deviation = math.sqrt(variance)
    if deviation <= 1e-12 * max(1e-9, abs(mean)) or deviation < 1e-15:  # equal returns, up to rounding
        return None
    return mean / deviation * math.sqrt(SESSIONS_PER_YEAR)


def sortino(returns: Sequence[float]) -> float | None:
    """Mean over the root mean square of the negative returns (all sessions counted), times √252.

    None below two returns or where no session lost.
    """
    if len(returns) < 2:
        return None
    downside = math.sqrt(math.fsum(min(0.0, value) ** 2 for value in returns) / len(returns))
    if downside < 1e-15:
        return None
    return math.fsum(returns) / len(returns) / downside * math.sqrt(SESSIONS_PER_YEAR)


def max_drawdown(equity: Sequence[float]) -> float:
    """The largest fall from a peak, as a share of that peak, ≥ 0; session closes only, so intraday falls don't show."""
    peaks = accumulate(equity, max)
    return max((1 - value / peak for value, peak in zip(equity, peaks, strict=True)), default=0.0)


def calmar(equity: Sequence[float], drawdown: float) -> float | None:
    """Compound annual growth over `drawdown`; None without a drawdown, or below two sessions: one is no growth."""
    sessions = len(equity) - 1
    if sessions < 2 or drawdown <= 0:
        return None
    growth = math.log(equity[-1] / equity[0]) * SESSIONS_PER_YEAR / sessions
    return math.expm1(min(growth, 700.0)) / drawdown  # 700: a day's doubling compounded must not overflow a float


def win_rate(trades: Sequence[Trade]) -> float | None:
    """The share of trades that made money after costs; None without trades."""
    return sum(trade.net_pnl > 0 for trade in trades) / len(trades) if trades else None


def profit_factor(trades: Sequence[Trade]) -> float | None:
    """Rupees won over rupees lost, after costs; None where no trade lost."""
    won = sum(trade.net_pnl for trade in trades if trade.net_pnl > 0)
    lost = -sum(trade.net_pnl for trade in trades if trade.net_pnl < 0)
    return float(won) / float(lost) if lost else None


def exposure(trades: Sequence[Trade], sessions: Sequence[Span]) -> float | None:
    """The share of the market's open time with at least one position on; None without open time.

    A position that is held overnight counts while the market is open.
    """
    starts = [start for start, _ in sessions]
    before = list(accumulate((close - start for start, close in sessions), initial=0))
    if before[-1] <= 0:
        return None

    def open_until(ts: int) -> int:
        """Nanoseconds of open market before `ts`."""
        index = bisect_right(starts, ts) - 1
        return before[index] + min(ts, sessions[index][1]) - starts[index] if index >= 0 else 0

    held_ns = reach = 0
    for start, end in sorted((trade.entry_ts, trade.exit_ts) for trade in trades):
        held_ns += max(0, open_until(end) - open_until(max(start, reach)))
        reach = max(reach, end)
    return held_ns / before[-1]


def _mean(amounts: Sequence[Decimal]) -> Decimal | None:
    """To the paisa."""
    return (sum(amounts, Decimal()) / len(amounts)).quantize(PAISA) if amounts else None
