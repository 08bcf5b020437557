"""What a network says each position will earn, beside what it earned: reliability by position, and CRPS.

A prediction is turned into a distribution by what the network was wrong by on other sessions, against volatility and
the bars that are left (split conformal quantiles): no assumption on its shape. Invariant: the sessions that give the
quantiles are never those that are judged; the same sessions give the same figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from models.training import objective as ob
from models.training.sessions import Floats, Ints
from models.training.stats import by_day
from models.values import ValueCalibration

LEVELS = np.linspace(0.05, 0.95, 19)
"""Quantiles that stand for a distribution; the CRPS is twice their mean pinball loss."""
GROUPS = 5
"""Rows of a position's table, of equally many decisions each."""
ASKED = 0.8
"""Of outcomes that are to lie between the quantiles of 10 and 90 %."""
NAMES = ("flat", "long", "short")


@dataclass(frozen=True)
class ReliabilityRow:
    """Decisions whose predictions are alike: how many, the mean prediction, what was earned, and its error, bp."""

    position: str
    decisions: int
    predicted_bp: float
    earned_bp: float
    error_bp: float


@dataclass(frozen=True)
class PositionFigures:
    """One position's predictions as distributions, bp.

    ``slope``: by how much more is earned where 1 bp more is predicted (1: calibrated; under it, predictions are too
    bold). ``crps_bp`` beside that of a distribution that knows volatility and the time left but not the prediction.
    ``covered``: of outcomes inside the 80 % interval.
    """

    position: str
    slope: float
    crps_bp: float
    crps_without_bp: float
    covered: float


@dataclass(frozen=True)
class Reliability:
    """All positions: rows of predictions against earnings, and each one's distribution."""

    rows: tuple[ReliabilityRow, ...]
    positions: tuple[PositionFigures, ...]


def remaining_bp(actions: Ints, returns_bp: Floats, cost_bp: Floats) -> Floats:
    """What following ``actions`` (N, D, 3) earns from each position and decision on, after costs, bp, (N, D, 3)."""
    certain = torch.nn.functional.one_hot(torch.as_tensor(actions), 5).double()
    found = ob.remaining_pnl(certain, torch.as_tensor(returns_bp), torch.as_tensor(cost_bp))
    return np.asarray(found.values[:, :-1].numpy())


def reliability(
    predicted_bp: Floats,
    actions: Ints,
    live: np.ndarray,
    returns_bp: Floats,
    cost_bp: Floats,
    days: Ints | None = None,
) -> Reliability | None:
    """Judge predictions (N, D, 3) of every second day by the quantiles of the others; None for fewer than four.

    ``returns_bp`` (N, D) as they came, ``live`` (N, D): decisions that were made; no ``days`` (N,): each is its own.
    """
    steps = live.shape[1]
    number = np.unique(np.arange(len(live)) if days is None else days, return_inverse=True)[1]
    even = number % 2 == 0
    if number.max(initial=0) < 3 or not live[even].any() or not live[~even].any():
        return None
    earned = remaining_bp(actions, returns_bp, cost_bp)
    fitted, judged = live & even[:, None], live & ~even[:, None]
    usual = math.sqrt(float((returns_bp[even] ** 2).mean()))
    volatility = np.sqrt(np.cumsum(returns_bp**2, axis=1) / np.arange(1, steps + 1))
    known = np.pad(volatility, ((0, 0), (2, 0)), constant_values=usual)[:, :steps]  # of fills before a decision's bar
    scale = np.maximum(known * np.sqrt(np.arange(steps, 0, -1.0)), 1e-6)
    rows, figures = list[ReliabilityRow](), list[PositionFigures]()
    for position, name in enumerate(NAMES):
        told, came = predicted_bp[..., position], earned[..., position]
        rows += _rows(name, told, came, judged, number)
        figures.append(_figures(name, told, came, scale, fitted, judged))
    return Reliability(tuple(rows), tuple(figures))


def fit_values(
    predicted: Floats, actions: Ints, live: np.ndarray, returns_bp: Floats, cost_bp: Floats, scale_bp: float
) -> ValueCalibration:
    """Regress what each position earned on what the head said of it (N, D, 3), in its units of ``scale_bp``.

    Where what is said and what comes don't rise together, the prediction is worth nothing and the mean takes its place.
    """
    earned = remaining_bp(actions, returns_bp, cost_bp) / scale_bp
    factors, offsets = [], []
    for position in range(len(NAMES)):
        told, came = predicted[..., position][live], earned[..., position][live]
        spread = float(told.var())
        slope = float(np.cov(told, came, bias=True)[0, 1]) / spread if spread > 0 else 0.0
        factors.append(max(slope, 0.0))
        offsets.append(float(came.mean()) - factors[-1] * float(told.mean()))
    (flat, long, short), (base_flat, base_long, base_short) = factors, offsets
    return ValueCalibration(factor=(flat, long, short), offset=(base_flat, base_long, base_short), sessions=len(live))


def _rows(name: str, told: Floats, came: Floats, judged: np.ndarray, days: Ints) -> list[ReliabilityRow]:
    """Groups of equally many decisions by their prediction; the error is that of days, whose decisions go along."""
    edges = np.quantile(told[judged], np.linspace(0, 1, GROUPS + 1)[1:-1])
    group = np.searchsorted(edges, told, side="right")
    rows = []
    for index in range(GROUPS):
        own = judged & (group == index)
        if not own.any():
            continue
        mean = float(came[own].mean())
        off = by_day(np.where(own, came - mean, 0.0).sum(axis=1), days)
        error = math.sqrt(float((off**2).sum())) / int(own.sum())
        rows.append(ReliabilityRow(name, int(own.sum()), float(told[own].mean()), mean, error))
    return rows


def _figures(
    name: str, told: Floats, came: Floats, scale: Floats, fitted: np.ndarray, judged: np.ndarray
) -> PositionFigures:
    wrong = np.quantile(((came - told) / scale)[fitted], LEVELS)
    alone = np.quantile((came / scale)[fitted], LEVELS)
    outcome, span = came[judged], scale[judged][:, None]
    with_it = told[judged][:, None] + span * wrong
    low, high = (int(np.abs(LEVELS - level).argmin()) for level in ((1 - ASKED) / 2, (1 + ASKED) / 2))
    inside = (outcome >= with_it[:, low]) & (outcome <= with_it[:, high])
    spread = float(told[judged].var())
    slope = float(np.cov(told[judged], outcome, bias=True)[0, 1]) / spread if spread > 0 else math.nan
    return PositionFigures(name, slope, crps_bp(with_it, outcome), crps_bp(span * alone, outcome), float(inside.mean()))


def crps_bp(quantiles: Floats, outcome: Floats) -> float:
    """Continuous ranked probability score of distributions by their quantiles at `LEVELS`, (R, 19), bp."""
    miss = outcome[:, None] - quantiles
    return float(2 * np.maximum(LEVELS * miss, (LEVELS - 1) * miss).mean())
