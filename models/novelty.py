"""How unlike a market is to the one that a model was trained in: an encoded window → its distance over a limit.

A window is told in `STATISTICS`. Each is read against the windows of the training market that hold about as many bars,
as a normal score: where it stands among them, in standard deviations of a normal distribution (van der Waerden, 1952),
and beyond the outermost of them on a straight line. The distance is the largest of these scores, so it names what is
unlike. Invariant: finite for every finite window, a function of the encoded observation and of the statistics alone.
numpy only.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.features import BAR_FEATURES, CALENDAR_FEATURES, LOG_MINUTES_UNIT, Features

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STATISTICS: Final = (
    "volatility", "recent_volatility", "spread_of_returns", "range", "upper_wick", "lower_wick", "spread_of_ranges",
    "opening_gap", "still_share", "drift", "memory_of_returns", "memory_of_ranges", "wandering", "variance_ratio",
    "volume_share", "spread_of_volume", "memory_of_volume", "disorder_of_volume", "volume_with_range",
    "minutes_per_bar",
)  # fmt: skip
BAR_COUNTS: Final = (2, 4, 6, 9, 13, 18, 25, 34, 45, 60)
"""Windows are compared with those of about as many bars: each number begins a group, the last has no end."""
SHARES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.997, 0.999)
"""Of the training market's windows, at which a statistic's values are kept."""
SCORES: Final = np.array([NormalDist().inv_cdf(share) for share in SHARES])
RESOLUTION: Final = np.array([0.02 if name == "still_share" else 0.05 for name in STATISTICS])
"""A score rises by 1 over no less than this, also where the training market never varies."""
STILL_BELOW: Final = 0.02
"""A body or wick under this share of a bar's volatility counts as none: a coarse price grid makes many."""
RATIO_BARS: Final = 5
"""Bars of the moves whose variance stands to that of one bar as it does in a random walk, or doesn't."""
GAUSSIAN_SPLIT: Final = 2 / np.pi
"""Share of a normal distribution's variance that its best split in two explains."""

_RETURN, _BODY, _RANGE, _UPPER, _LOWER, _VOLUME, _HAS_VOLUME, _PRESENT = (
    BAR_FEATURES.index(name)
    for name in ("return", "body", "range", "upper_wick", "lower_wick", "volume_z", "has_volume", "present")
)
_VOLATILITY, _RECENT, _MINUTES = (
    CALENDAR_FEATURES.index(name) for name in ("log_volatility", "log_recent_volatility", "log_minutes_done")
)
_TINY: Final = 1e-6
_MIDDLE: Final = SHARES.index(0.5)
_TAIL: Final = 2
"""Steps of `SHARES` from each end whose slope goes on beyond it."""


class NoveltyStatistics(BaseModel):
    """What the training market's windows look like; travels in an artifact's manifest.

    `knots`: of each group of `BAR_COUNTS` and each of `SHARES` one row of the statistics' values; `limits`: the largest
    score that a group's windows may have, so that all but 1 − `quantile` of held-in sessions stay under it throughout.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    statistics: tuple[str, ...]
    bar_counts: tuple[int, ...]
    shares: tuple[float, ...]
    market: str
    sessions: Annotated[int, Field(ge=1)]
    quantile: Annotated[float, Field(gt=0.0, lt=1.0)]
    limits: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...]
    knots: tuple[tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], ...], ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.statistics, self.bar_counts, self.shares) != (STATISTICS, BAR_COUNTS, SHARES):
            raise ValueError("statistics of another version of hrmd: expected those of hrmd model calibrate")
        if len(self.limits) != len(BAR_COUNTS) or [len(group) for group in self.knots] != [len(SHARES)] * len(
            BAR_COUNTS
        ):
            raise ValueError("limits or knots missing: expected one limit and one table of knots for each bar count")
        knots = [row for group in self.knots for row in group]
        if any(len(row) != len(STATISTICS) for row in knots):
            raise ValueError(f"knots: expected {len(STATISTICS)} numbers in each row")
        if (np.diff(np.array(self.knots), axis=1) <= 0).any():
            raise ValueError("knots: expected numbers that rise from share to share")
        return self


class Novelty:
    """Distances of windows from a training market, in units of their limits times `scale`."""

    def __init__(self, known: NoveltyStatistics, scale: float = 1.0) -> None:
        self._limits = np.array(known.limits) * scale
        self._knots = np.array(known.knots)  # (G, Q, K)
        self._slopes = slopes(self._knots)  # (G, Q + 1, K)

    def of(self, features: Features) -> tuple[Floats, Rows]:
        """Return the distance over the limit of each window, (B,), and the row of the statistic that is furthest."""
        values, counts = window_statistics(features)
        group = groups(counts)
        scores = np.abs(normal_scores(values, self._knots[group], self._slopes[group]))
        furthest = scores.argmax(-1)
        return scores[np.arange(len(scores)), furthest] / self._limits[group], furthest

    def of_one(self, features: Features) -> tuple[float, str]:
        """Return the distance over the limit of the only window, and what is furthest, in words."""
        return self.of_each(features)[0]

    def of_each(self, features: Features) -> list[tuple[float, str]]:
        """The same of every window."""
        distances, furthest = self.of(features)
        return [
            (distance, STATISTICS[row].replace("_", " "))
            for distance, row in zip(distances.tolist(), furthest.tolist(), strict=True)
        ]


def groups(counts: Rows) -> Rows:
    """Return the group of `BAR_COUNTS` of windows with so many bars."""
    return np.maximum(np.searchsorted(BAR_COUNTS, counts, side="right") - 1, 0)


def spread_knots(values: Floats) -> Floats:
    """Values of one group's windows (N, K) → their knots (Q, K), never closer than `RESOLUTION` allows."""
    knots = np.quantile(values, SHARES, axis=0)
    steps = np.maximum(np.diff(knots, axis=0), RESOLUTION * np.diff(SCORES)[:, None])
    middle = knots[_MIDDLE]
    below = middle - np.cumsum(steps[:_MIDDLE][::-1], axis=0)[::-1]
    return np.concatenate([below, middle[None], middle + np.cumsum(steps[_MIDDLE:], axis=0)])


def slopes(knots: Floats) -> Floats:
    """Return scores over values below, between and above the knots: (…, Q, K) -> (…, Q + 1, K)."""
    between = np.diff(SCORES)[:, None] / np.diff(knots, axis=-2)
    low = (SCORES[_TAIL] - SCORES[0]) / (knots[..., _TAIL, :] - knots[..., 0, :])
    high = (SCORES[-1] - SCORES[-1 - _TAIL]) / (knots[..., -1, :] - knots[..., -1 - _TAIL, :])
    return np.concatenate([low[..., None, :], between, high[..., None, :]], axis=-2)


def normal_scores(values: Floats, knots: Floats, slopes: Floats) -> Floats:
    """Normal scores of values (B, K) among knots (B, Q, K)."""
    above = (knots <= values[:, None, :]).sum(1)  # (B, K) knots below a value
    base = np.maximum(above - 1, 0)[:, None, :]
    knot = np.take_along_axis(knots, base, axis=1)[:, 0]
    slope = np.take_along_axis(slopes, above[:, None, :], axis=1)[:, 0]
    scores: Floats = SCORES[base[:, 0]] + (values - knot) * slope
    return scores


def window_statistics(features: Features) -> tuple[Floats, Rows]:
    """Tell each window in `STATISTICS`, (B, K), and how many bars it holds, (B,).

    Volatilities, spreads, ratios and times are logarithms; ranges and wicks are in the window's own volatility.
    """
    table = features.patches.reshape(len(features), -1, len(BAR_FEATURES)).astype(np.float64)  # (B, W, 9)
    present = table[..., _PRESENT]
    count = present.sum(-1)  # (B,)
    bars, pairs = np.maximum(count, 1.0), np.maximum(count - 1.0, 1.0)
    returns, body, volume = table[..., _RETURN], table[..., _BODY], table[..., _VOLUME]
    means = table.sum(1) / bars[:, None]  # (B, 9)
    centred = (table[..., _RANGE] - means[:, _RANGE, None]) * present
    variance = np.maximum(np.square(centred).sum(-1) / bars, _TINY)
    square = np.maximum(np.square(returns).sum(-1) / bars, _TINY)
    still = (table[..., _UPPER] < STILL_BELOW) * 1.0 + (table[..., _LOWER] < STILL_BELOW) + (np.abs(body) < STILL_BELOW)
    path = np.cumsum(returns, axis=-1)
    memory = (volume[:, 1:] * volume[:, :-1]).sum(-1) / pairs
    calendar = features.calendar.astype(np.float64)
    columns = (
        calendar[:, _VOLATILITY],
        calendar[:, _RECENT],
        np.log(square),
        means[:, _RANGE],
        means[:, _UPPER],
        means[:, _LOWER],
        np.log(variance) / 2,
        np.abs(returns - body).sum(-1) / pairs,
        (still * present).sum(-1) / (3.0 * bars),
        path[:, -1] / np.sqrt(bars),
        (returns[:, 1:] * returns[:, :-1]).sum(-1) / pairs,
        (centred[:, 1:] * centred[:, :-1]).sum(-1) / (pairs * variance),
        np.log(np.maximum(_wandering(path, present, bars), _TINY)) / 2,
        np.log(np.maximum(_variance_ratio(path, present, square), STILL_BELOW)),
        means[:, _HAS_VOLUME],
        np.abs(volume).sum(-1) / bars,
        memory,
        (1.0 - memory) * np.maximum(_split(volume, present, bars) - GAUSSIAN_SPLIT, 0.0),
        (volume * centred).sum(-1) / (bars * np.sqrt(variance)),
        np.log((np.expm1(calendar[:, _MINUTES] * LOG_MINUTES_UNIT) + 1.0) / bars),
    )
    return np.stack(columns, axis=-1), count.astype(np.int64)


def _wandering(path: Floats, present: Floats, bars: Floats) -> Floats:
    """Variance of the closes over that of so many independent returns; next to none of white noise (B,).

    Inverse of the von Neumann ratio by which Sargan and Bhargava (1983) tell a random walk.
    """
    centred = (path - ((path * present).sum(-1) / bars)[:, None]) * present
    variance: Floats = np.square(centred).sum(-1) / np.square(bars)
    return variance


def _variance_ratio(path: Floats, present: Floats, square: Floats) -> Floats:
    """Mean square of moves over `RATIO_BARS` bars, over as many times that of one bar; 1 in a random walk. (B,)."""
    if path.shape[1] <= RATIO_BARS:
        return np.ones(len(path))
    whole = present[:, :-RATIO_BARS]
    moves = np.square((path[:, RATIO_BARS:] - path[:, :-RATIO_BARS]) * whole).sum(-1)
    known = whole.sum(-1)
    ratio: Floats = np.where(known > 0, moves / (np.maximum(known, 1.0) * RATIO_BARS * square), 1.0)
    return ratio


def _split(volume: Floats, present: Floats, bars: Floats) -> Floats:
    """How well one threshold splits the volumes in two: the share of their variance it explains (Otsu, 1979). (B,)."""
    ordered = np.sort(np.where(present > 0, volume, np.inf), axis=-1)
    known = np.isfinite(ordered)
    below = np.cumsum(np.where(known, ordered, 0.0), axis=-1)
    share = np.minimum(np.arange(1, volume.shape[-1] + 1) / bars[:, None], 1.0)
    between = np.square(below - share * below[:, -1:]) / np.maximum(share * (1.0 - share), _TINY)
    best: Floats = np.where(known, between, 0.0).max(-1) / np.square(bars)
    return best
