"""A run's result, seen from several sides: by month, by symbol, beside buying and holding, and how sure it is.

Rupees are exact; ratios are plain numbers (0.01 is 1 %); None means "can't be said". Invariant: months and symbols each
add up to the net P&L of the run.

Bootstrap: D. N. Politis, J. P. Romano, "A Circular Block-Resampling Procedure for Stationary Data", 1992, the interval
by percentiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.amounts import rounded
from daemon.report.performance import sharpe, win_rate
from daemon.report.text import ist
from daemon.report.trades import ZERO, Trade

if TYPE_CHECKING:
    from daemon.report.summary import EquityPoint

FEWEST_SESSIONS = 10
"""Below them an interval would say more of the method than of the run."""
RESAMPLES = 2000
SEED = 20_250_626


class MonthResult(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar month of India; `total_return` is of the equity that it began with, `trades` were closed in it."""

    month: str
    sessions: int
    trades: int
    costs: Decimal
    net_pnl: Decimal
    total_return: float | None


class SymbolResult(msgspec.Struct, frozen=True, kw_only=True):
    """`quantity` is held at the end, valued in `net_pnl`; `price_change` is from the first open to the last close."""

    fills: int
    trades: int
    win_rate: float | None
    quantity: int
    costs: Decimal
    net_pnl: Decimal
    price_change: float | None


class BuyAndHold(msgspec.Struct, frozen=True, kw_only=True):
    """The starting equity in equal parts in all symbols, in fractions of a share, from first open to last close.

    Without costs; corporate actions are counted in.
    """

    symbols: int
    total_return: float
    net_pnl: Decimal


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """95 % intervals from `resamples` draws of blocks of `block` sessions each, drawn from all `sessions` in a circle.

    Of the mean profit a session in rupees, and of the yearly Sharpe ratio (None where it doesn't vary).
    """

    sessions: int
    block: int
    resamples: int
    seed: int
    mean_pnl_low: float
    mean_pnl_high: float
    sharpe_low: float | None
    sharpe_high: float | None


def by_month(
    starting: Decimal, equity: Sequence[EquityPoint], trades: Sequence[Trade], costs: Mapping[str, Decimal]
) -> list[MonthResult]:
    """Months in which there was a session; `costs` by month. A month ends with its last session's close."""
    ends: dict[str, Decimal] = {}
    sessions: Counter[str] = Counter()
    for point in equity:
        ends[month_of(point.ts)] = point.equity
        sessions[month_of(point.ts)] += 1
    closed = Counter(month_of(trade.exit_ts) for trade in trades)
    before = [starting, *ends.values()]
    return [
        MonthResult(
            month=month, sessions=sessions[month], trades=closed[month], costs=costs.get(month, ZERO),
            net_pnl=end - start, total_return=float(end / start) - 1 if start > 0 else None,
        )
        for (month, end), start in zip(ends.items(), before, strict=False)
    ]  # fmt: skip


def month_of(ts: int) -> str:
    """Such as 2026-01."""
    return f"{ist(ts):%Y-%m}"


class PriceSpan(msgspec.Struct):
    """From the first open to the last close of a symbol; a corporate action scales what came before it.

    `jumped`: over a night it went where no trading takes it, and nobody said why: what holding brought can't be said.
    """

    first: float
    last: float
    jumped: bool = False

    @property
    def change(self) -> float | None:
        """As a share of the first."""
        return self.last / self.first - 1 if self.first > 0 and not self.jumped else None


def buy_and_hold(starting: Decimal, spans: Mapping[str, PriceSpan]) -> BuyAndHold | None:
    """Of the symbols whose change can be said; None without one."""
    changes = [change for span in spans.values() if (change := span.change) is not None]
    if not changes:
        return None
    mean = sum(changes) / len(changes)
    won = (starting * Decimal(repr(mean))).quantize(Decimal("0.01"))
    return BuyAndHold(symbols=len(changes), total_return=mean, net_pnl=won)


def circle_of_blocks(chance: np.random.Generator, count: int, draws: int) -> tuple[int, NDArray[np.int64]]:
    """The length of a block of neighbours, ∛`count`, and (draws, count) places that are drawn by blocks in a circle."""
    block = max(1, round(count ** (1 / 3)))
    starts = chance.integers(0, count, size=(draws, -(-count // block)))
    return block, ((starts[:, :, None] + np.arange(block)) % count).reshape(draws, -1)[:, :count]


def bootstrap(equity: Sequence[float], *, ruined: bool = False) -> Bootstrap | None:
    """Of `equity` at the start and at each session's end; None below `FEWEST_SESSIONS`, or once it was ruined."""
    count = len(equity) - 1
    if count < FEWEST_SESSIONS or ruined or min(equity) <= 0:
        return None
    profits = np.diff(np.asarray(equity))
    returns = np.asarray([after / before - 1 for before, after in pairwise(equity)])
    block, rows = circle_of_blocks(np.random.default_rng(SEED), count, RESAMPLES)
    low, high = np.percentile(profits[rows].mean(axis=1), (2.5, 97.5))
    ratios = [ratio for row in returns[rows].tolist() if (ratio := sharpe(row)) is not None]
    ends = np.percentile(ratios, (2.5, 97.5)).tolist() if len(ratios) > RESAMPLES // 2 else [None, None]
    return Bootstrap(
        sessions=count, block=block, resamples=RESAMPLES, seed=SEED, mean_pnl_low=float(low),
        mean_pnl_high=float(high), sharpe_low=ends[0], sharpe_high=ends[1],
    )  # fmt: skip


class SymbolBook:
    """Sums of one symbol: fills, cash and costs."""

    __slots__ = ("cash", "costs", "fills")

    def __init__(self) -> None:
        self.fills = 0
        self.cash = ZERO
        self.costs = ZERO

    def result(self, quantity: int, last: Decimal, trades: Sequence[Trade], span: PriceSpan | None) -> SymbolResult:
        """With `quantity` held at `last` rupees in the end, and its closed `trades`."""
        return SymbolResult(
            fills=self.fills, trades=len(trades), win_rate=win_rate(trades), quantity=quantity, costs=self.costs,
            net_pnl=rounded(self.cash - self.costs + quantity * last),
            price_change=span.change if span is not None else None,
        )  # fmt: skip
