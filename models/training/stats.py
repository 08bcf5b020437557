"""Session profits → Sharpe ratios that say how sure one can be of them.

Invariant: every ratio here is per session until `annualised`; intervals and null distributions come from seeded draws,
so the same profits and seed give the same figures. Too few or constant profits give NaN, never a division by zero.
Sessions of several instruments on one day are one draw of luck, not several: where ``days`` (N,) are given, profits
count by day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Order = Callable[[np.random.Generator], Ints]
"""A draw → for each session the row of the one whose returns it gets."""

SESSIONS_A_YEAR = 252
EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


def annualised(sharpe: float) -> float:
    """Return a per-session ratio as a yearly one."""
    return sharpe * math.sqrt(SESSIONS_A_YEAR)


def by_day(pnl: Floats, days: Ints | None) -> Floats:
    """Profits (N,) summed by day, in time order; as they are where no days (N,) are given."""
    if days is None:
        return pnl
    return np.asarray(np.bincount(np.unique(days, return_inverse=True)[1], weights=pnl), np.float64)


def sharpe_ratio(pnl: Floats) -> float:
    """Mean over standard deviation of session profits (N,); NaN for fewer than two sessions or constant profits."""
    if len(pnl) < 2:
        return math.nan
    deviation = float(pnl.std(ddof=1))
    return float(pnl.mean()) / deviation if deviation > 0 else math.nan


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds that hold ``level`` of its bootstrap distribution."""

    value: float
    low: float
    high: float
    level: float


def bootstrap_sharpe(pnl: Floats, block: int = 5, draws: int = 2_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Circular block bootstrap of the yearly Sharpe ratio (Politis & Romano 1992); ``block`` sessions stay together."""
    value = annualised(sharpe_ratio(pnl))
    if math.isnan(value):
        return Interval(value, math.nan, math.nan, level)
    rng = np.random.default_rng(seed)
    blocks = -(-len(pnl) // block)
    starts = rng.integers(0, len(pnl), (draws, blocks, 1))
    drawn = pnl[((starts + np.arange(block)) % len(pnl)).reshape(draws, -1)[:, : len(pnl)]]
    deviation = drawn.std(axis=1, ddof=1)
    ratios = np.where(deviation > 0, drawn.mean(axis=1) / np.maximum(deviation, 1e-300), 0.0)
    tail = (1 - level) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return Interval(value, annualised(float(low)), annualised(float(high)), level)


def probabilistic_sharpe(pnl: Floats, benchmark: float = 0.0) -> float:
    """P(true Sharpe > ``benchmark``), both per session, corrected for skew and fat tails.

    Source: Bailey & López de Prado, "The Sharpe ratio efficient frontier" (2012), equation 11.
    """
    ratio = sharpe_ratio(pnl)
    if math.isnan(ratio):
        return math.nan
    standard = (pnl - pnl.mean()) / pnl.std()
    skew, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    return _NORMAL.cdf((ratio - benchmark) * math.sqrt(len(pnl) - 1) / math.sqrt(max(spread, 1e-12)))


def expected_best_sharpe(trials: Floats) -> float:
    """Return the best per-session Sharpe that luck alone brings out of ``trials`` (K,) tried ratios.

    One without a ratio (NaN: it never traded, or was ruined) was tried all the same. NaN where fewer than two have one:
    nobody knows how far they spread. Source: Bailey & López de Prado, "The deflated Sharpe ratio" (2014), equation 1.
    """
    count, known = len(trials), trials[~np.isnan(trials)]
    if count < 2:
        return 0.0
    if len(known) < 2:
        return math.nan
    first = _NORMAL.inv_cdf(1 - 1 / count)
    second = _NORMAL.inv_cdf(1 - 1 / (count * math.e))
    return float(known.std(ddof=1)) * ((1 - EULER_GAMMA) * first + EULER_GAMMA * second)


def deflated_sharpe(pnl: Floats, trials: Floats) -> float:
    """P(true Sharpe > what luck brings out of all ``trials``); the ratios tried, this one included, per session."""
    return probabilistic_sharpe(pnl, expected_best_sharpe(trials))


@dataclass(frozen=True)
class Control:
    """A figure against its null: the null's mean and 95 % quantile, and the share of null draws at or above it."""

    value: float
    null_mean: float
    null_high: float
    p_value: float


def whole_days(days: Ints, names: Sequence[str]) -> Order:
    """Days (N,) in any other order, each whole: sessions of a day stay together, and each with its instrument's own.

    A day changes places with those that have sessions of the same instruments.
    """
    alike: dict[tuple[str, ...], list[list[int]]] = {}
    for day in np.unique(days):
        rows = sorted(np.flatnonzero(days == day).tolist(), key=lambda row: names[row])
        alike.setdefault(tuple(names[row] for row in rows), []).append(rows)
    groups = [np.array(rows) for rows in alike.values()]

    def order(rng: np.random.Generator) -> Ints:
        found = np.empty(len(days), np.int64)
        for rows in groups:
            found[rows] = rows[rng.permutation(len(rows))]
        return found

    return order


def day_permuted(
    positions: Floats,
    returns_bp: Floats,
    score: Callable[[Floats, Floats], float],
    draws: int = 200,
    seed: int = 0,
    order: Order | None = None,
) -> Control:
    """Score positions (N, D) on their own days' returns (N, D) and on whole days drawn in other orders.

    Days are permuted whole: shuffling inside a day is no null, since the day's drift survives it. ``order``: of
    `whole_days`, where there are several instruments; none: every session is a day.
    """
    rng = np.random.default_rng(seed)
    value = score(positions, returns_bp)
    draw = order or (lambda rng: rng.permutation(len(returns_bp)))
    null = np.array([score(positions, returns_bp[draw(rng)]) for _ in range(draws)])
    ties = 1e-9 * max(abs(value), 1.0)  # sums in another order differ in their last bits
    beaten = (1 + int((null >= value - ties).sum())) / (1 + draws)
    return Control(value, float(null.mean()), float(np.quantile(null, 0.95)), beaten)


@dataclass(frozen=True)
class GroupRow:
    """One line of a table by regime: sessions, mean profit with its standard error, yearly Sharpe."""

    group: str
    sessions: int
    mean_bp: float
    error_bp: float
    sharpe: float


def by_group(pnl: Floats, groups: NDArray[np.str_], days: Ints | None = None) -> list[GroupRow]:
    """Profits (N,) by label (N,), in the order of the labels' names; the error is that of days."""
    rows = []
    for name in np.unique(groups):
        mine = groups == name
        own, own_days = pnl[mine], None if days is None else days[mine]
        off = by_day(own - own.mean(), own_days)
        few = len(off) < 2
        error = math.nan if few else math.sqrt(float((off**2).sum()) * len(off) / (len(off) - 1)) / len(own)
        sharpe = annualised(sharpe_ratio(by_day(own, own_days)))
        rows.append(GroupRow(str(name), len(own), float(own.mean()), error, sharpe))
    return rows


def sortino_ratio(pnl: Floats) -> float:
    """Mean over the root mean square of losses, yearly; NaN for fewer than two sessions or none that lost."""
    losses = float(np.sqrt((np.minimum(pnl, 0.0) ** 2).mean())) if len(pnl) > 1 else 0.0
    return annualised(float(pnl.mean()) / losses) if losses > 0 else math.nan


def calmar_ratio(pnl: Floats) -> float:
    """A year's mean profit over the largest fall from a high of the sum; NaN where it never fell."""
    if len(pnl) < 2:
        return math.nan
    total = np.cumsum(pnl)
    fall = float((np.maximum.accumulate(np.append(0.0, total))[1:] - total).max())
    return SESSIONS_A_YEAR * float(pnl.mean()) / fall if fall > 0 else math.nan


def terciles(values: Floats, names: tuple[str, str, str] = ("low", "middle", "high")) -> NDArray[np.str_]:
    """Label each value (N,) by the third of the distribution that it lies in."""
    edges = np.quantile(values, [1 / 3, 2 / 3])
    return np.asarray(names)[np.searchsorted(edges, values, side="right")]


def summary(pnl: Floats, trials: Floats | None = None, seed: int = 0, days: Ints | None = None) -> Mapping[str, float]:
    """All ratios of one trader: mean, yearly Sharpe with its interval, probabilistic and deflated Sharpe."""
    daily = by_day(pnl, days)
    interval = bootstrap_sharpe(daily, seed=seed)
    return {
        "sessions": float(len(pnl)),
        "mean_bp": float(pnl.mean()) if len(pnl) else math.nan,
        "sharpe": interval.value,
        "sharpe_low": interval.low,
        "sharpe_high": interval.high,
        "psr": probabilistic_sharpe(daily),
        "dsr": deflated_sharpe(daily, trials if trials is not None else np.empty(0)),
    }
