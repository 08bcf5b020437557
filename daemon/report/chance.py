"""Closed trades → what another order of them would have done, and how sure their mean is.

The profits are what they are; in which order they came is luck. Shuffled, they end at the same sum and fall from their
peaks differently. Invariant: draws are seeded, so that the same trades give the same figures.

Bootstrap: D. N. Politis, J. P. Romano, 1992, as in `daemon.report.results`, in blocks of trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.report.results import circle_of_blocks
from daemon.report.trades import Trade

FEWEST_TRADES = 10
DRAWS = 1000
SEED = 20_250_627
_MOST_NUMBERS = 4_000_000
"""Drawn in all: of very many trades there are fewer draws."""


class TradeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Rupees after costs. Drawdowns are of the sum of trades; `…_high` is exceeded by 5 % of the orders."""

    trades: int
    draws: int
    seed: int
    drawdown: float
    drawdown_median: float
    drawdown_high: float
    deeper: float
    """The share of orders that fall at least as deep as what happened: near 0 or 1, the order was no luck."""
    block: int
    mean_low: float
    mean_high: float
    """95 % interval of the mean trade, from blocks of `block` trades drawn from a circle."""


class SensitivityRow(msgspec.Struct, frozen=True, kw_only=True):
    """The same replay with spread and slippage times `market_costs`, and another latency."""

    market_costs: float
    latency: str
    trades: int
    net_pnl: Decimal
    costs: Decimal
    total_return: float | None
    sharpe: float | None
    max_drawdown: float
    ruined: bool = False
    """Whether the account was worth nothing at the close of a bar: what it ended with is no result."""


def trade_order(trades: Sequence[Trade]) -> TradeOrder | None:
    """None below `FEWEST_TRADES`."""
    count = len(trades)
    if count < FEWEST_TRADES:
        return None
    profits = np.array([float(trade.net_pnl) for trade in trades])
    draws = min(DRAWS, max(100, _MOST_NUMBERS // count))
    chance = np.random.default_rng(SEED)
    falls = _falls(np.array([chance.permutation(profits) for _ in range(draws)]))
    own = float(_falls(profits[None])[0])
    block, rows = circle_of_blocks(chance, count, draws)
    low, high = np.percentile(profits[rows].mean(axis=1), (2.5, 97.5))
    return TradeOrder(
        trades=count, draws=draws, seed=SEED, drawdown=own, drawdown_median=float(np.median(falls)),
        drawdown_high=float(np.percentile(falls, 95)), deeper=float((falls >= own - 1e-9).mean()), block=block,
        mean_low=float(low), mean_high=float(high),
    )  # fmt: skip


def _falls(profits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): of each row the deepest fall of the running sum from its peak so far, the start being one; ≥ 0."""
    curve = np.concatenate((np.zeros((len(profits), 1)), np.cumsum(profits, axis=1)), axis=1)
    falls: NDArray[np.float64] = (np.maximum.accumulate(curve, axis=1) - curve).max(axis=1)
    return falls
