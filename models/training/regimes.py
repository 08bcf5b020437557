"""Sessions → bull, bear, sideways or volatile, and how a trader does in each.

Invariant: every session has one label, whatever its trader did, and a ratio that sessions don't tell is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training import stats
from models.training.baselines import hold_bp
from models.training.sessions import Floats, Ints, Sessions

LOOK_BACK = 20
"""Sessions over which recorded markets rise or fall; simulated ones don't follow on each other and have their own."""
MOVE = 0.5
"""Standard deviations of such a move beyond which a market rises or falls."""
WILD = 0.75
"""Quantile of a session's volatility from which it is volatile, whatever the direction."""


@dataclass(frozen=True)
class RegimeRow:
    """One trader in one regime at one cost of a round trip; ratios are yearly.

    ``information``: of its profit over that of holding one unit all day.
    """

    regime: str
    cost_bp: float
    sessions: int
    mean_bp: float
    sharpe: float
    sortino: float
    calmar: float
    information: float


def market_regimes(sessions: Sessions, returns_bp: Floats, *, connected: bool) -> NDArray[np.str_]:
    """Label sessions by their market, (N,); ``connected``: one follows on the other."""
    volatility = np.sqrt((returns_bp**2).mean(axis=1))
    moves = hold_bp(sessions, 0.0) if connected else returns_bp.sum(axis=1)
    scale = float(np.sqrt((moves**2).mean())) or 1.0
    standing = moves / scale
    if connected:
        begins = np.flatnonzero(np.append(True, np.diff(sessions.symbol) != 0))
        start = begins[np.searchsorted(begins, np.arange(len(moves)), side="right") - 1]
        first = np.maximum(start, np.arange(len(moves)) - LOOK_BACK + 1)
        total = np.append(0.0, np.cumsum(moves))
        count = np.arange(1, len(moves) + 1) - first
        standing = (total[1:] - total[first]) / (scale * np.sqrt(count))
    calm = np.where(standing > MOVE, "bull", np.where(standing < -MOVE, "bear", "sideways"))
    return np.where(volatility >= np.quantile(volatility, WILD), "volatile", calm)


def by_regime(
    pnl: Floats, held: Floats, labels: NDArray[np.str_], cost_bp: float, days: Ints | None = None
) -> list[RegimeRow]:
    """Profits (N,) of a trader and of holding all day at one cost, by label (N,); ratios are of days (N,)."""
    rows = []
    for name in np.unique(labels):
        mine = labels == name
        own, beside = (stats.by_day(one[mine], None if days is None else days[mine]) for one in (pnl, held))
        over = stats.annualised(stats.sharpe_ratio(own - beside))
        sharpe = stats.annualised(stats.sharpe_ratio(own))
        ratios = sharpe, stats.sortino_ratio(own), stats.calmar_ratio(own), over
        rows.append(RegimeRow(str(name), cost_bp, int(mine.sum()), float(pnl[mine].mean()), *ratios))
    return rows
