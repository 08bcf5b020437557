"""Sessions → the positions of simple traders that a reasoning model must beat.

Every trader here scores each decision (positive: up), enters where the score passes a threshold and leaves where it
falls back under a lower one; thresholds are chosen on training sessions. Invariant: the score of the decision at bar t
reads bars up to and with t only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.errors import TrainingError
from models.training.loss import costs_of
from models.training.reference import pnl_bp
from models.training.sessions import Floats, Sessions
from models.training.settings import CostStep

SPANS = (1, 2, 3, 6, 12, 24, 48)
HORIZON = 12
RIDGE = 10.0
FAST, SLOW = (2, 3, 5, 8), (12, 20, 40, 60)
"""Spans that the tuned EMA rule is chosen from."""
TUNED_ON = 500
"""Sessions that they are chosen on."""


class Score(Protocol):
    """Rates every decision of every session, (N, D); positive means up, in any unit."""

    def __call__(self, sessions: Sessions) -> Floats:
        """Return the ratings."""


@dataclass(frozen=True)
class Thresholds:
    """Enter where |score| passes ``enter``; leave where it falls under ``leave`` on the side held."""

    enter: float
    leave: float

    def positions(self, score: Floats) -> Floats:
        """Positions −1/0/+1 after each decision, (N, D); never a direct flip."""
        held = np.zeros(len(score))
        out = np.empty_like(score)
        for t in range(score.shape[1]):
            now = score[:, t]
            opened = np.where(now > self.enter, 1.0, np.where(now < -self.enter, -1.0, 0.0))
            held = np.where(held == 0, opened, np.where(held * now < self.leave, 0.0, held))
            out[:, t] = held
        return out


@dataclass(frozen=True)
class Baseline:
    """A score with thresholds fitted to it."""

    name: str
    score: Score
    thresholds: Thresholds

    def positions(self, sessions: Sessions) -> Floats:
        """Positions after each decision, (N, D)."""
        return self.thresholds.positions(self.score(sessions))


def fit_thresholds(
    name: str, score: Score, training: Sessions, settings: BatchSettings, costs: tuple[CostStep, ...]
) -> Baseline:
    """Choose the pair of thresholds that earns most on the training sessions after costs; doing nothing is allowed."""
    ratings = score(training)
    returns = returns_between_fills(training, np.arange(len(training)), settings)
    cost = costs_of(training, costs)
    best, chosen = 0.0, Thresholds(np.inf, 0.0)
    for enter in np.quantile(np.abs(ratings), (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99)):
        for share in (-0.4, -0.2, 0.0, 0.2, 0.5):
            candidate = Thresholds(float(enter), float(share * enter))
            earned = float(pnl_bp(candidate.positions(ratings), returns, cost).mean())
            if earned > best:
                best, chosen = earned, candidate
    return Baseline(name, score, chosen)


def fit_ema(training: Sessions, settings: BatchSettings, costs: tuple[CostStep, ...]) -> Baseline:
    """The EMA rule whose spans earned most on some of the training sessions, with thresholds fitted to all of them."""
    some = training.select(np.unique(np.linspace(0, len(training) - 1, min(TUNED_ON, len(training))).astype(np.int64)))
    returns = returns_between_fills(some, np.arange(len(some)), settings)
    cost = costs_of(some, costs)

    def earned(score: EmaScore) -> float:
        rule = fit_thresholds("ema, tuned", score, some, settings, costs)
        return float(pnl_bp(rule.positions(some), returns, cost).mean())

    best = max((EmaScore(fast, slow) for fast, slow in itertools.product(FAST, SLOW)), key=earned)
    return fit_thresholds("ema, tuned", best, training, settings, costs)


def hold_bp(sessions: Sessions, round_trip_bp: float) -> Floats:
    """What buying at the first open and selling at the last close earns each session, nights included, bp, (N,).

    Each symbol is bought and sold once.
    """
    first, last = sessions.offsets[:-1], sessions.offsets[1:] - 1
    before = np.append(sessions.bars[0, 0], sessions.bars[last[:-1], 3])
    begins = np.append(True, np.diff(sessions.symbol) != 0)
    before = np.where(begins, sessions.bars[first, 0], before)
    earned = 1e4 * np.log(sessions.bars[last, 3] / before)
    ends = np.append(begins[1:], True)
    return np.asarray(earned - round_trip_bp / 2 * (begins.astype(float) + ends))


def fit_model(
    name: str,
    fit: Callable[[Sessions], Score],
    training: Sessions,
    settings: BatchSettings,
    costs: tuple[CostStep, ...],
) -> Baseline:
    """Fit a score on the first 70 % of the sessions and its thresholds on the rest.

    Thresholds chosen on the sessions that a model was fitted on take its hindsight for skill.
    """
    border = max(1, int(0.7 * len(training)))
    rows = np.arange(len(training))
    score = fit(training.select(rows[:border]))
    return fit_thresholds(name, score, training.select(rows[border:]), settings, costs)


@dataclass(frozen=True)
class EmaScore:
    """Fast minus slow exponential average of the log-price, bp, both starting at the session's first open."""

    fast: int = 3
    slow: int = 40

    def __call__(self, sessions: Sessions) -> Floats:
        """Rate every decision."""
        close = np.cumsum(bar_returns_bp(sessions), axis=1)
        return (_ema(close, self.fast) - _ema(close, self.slow))[:, :-1]


def _ema(values: Floats, span: int) -> Floats:
    out, last = np.empty_like(values), np.zeros(len(values))
    for t in range(values.shape[1]):
        last = last + 2.0 / (span + 1) * (values[:, t] - last)
        out[:, t] = last
    return out


@dataclass(frozen=True)
class ModelScore:
    """A regression on lagged returns: predicts the return over the next `HORIZON` bars from `lagged_features`."""

    predict: Callable[[Floats], Floats]

    def __call__(self, sessions: Sessions) -> Floats:
        """Rate every decision."""
        features = lagged_features(sessions)
        return self.predict(features.reshape(-1, features.shape[-1])).reshape(features.shape[:2])


def fit_linear(training: Sessions) -> ModelScore:
    """Ridge regression on lagged returns."""
    x, y = _regression(training)
    design = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ y)
    return ModelScore(lambda rows: np.asarray(np.column_stack([rows, np.ones(len(rows))]) @ weights))


def fit_lightgbm(training: Sessions, seed: int = 0) -> ModelScore:
    """Gradient-boosted trees on lagged returns (the optional extra ``baselines``)."""
    try:
        import lightgbm
    except ImportError as error:
        raise TrainingError("LightGBM is not installed; install hrmd[baselines]") from error
    x, y = _regression(training)
    booster: Any = lightgbm.LGBMRegressor(
        n_estimators=200, learning_rate=0.03, num_leaves=15, min_child_samples=200, subsample=0.7, subsample_freq=1,
        random_state=seed, n_jobs=1, deterministic=True, force_col_wise=True, verbose=-1,
    )  # fmt: skip
    booster.fit(x, y)
    return ModelScore(lambda rows: np.asarray(booster.booster_.predict(rows)))


def _regression(training: Sessions) -> tuple[Floats, Floats]:
    """Rows of features and the volatility-scaled return over the bars after them."""
    features = lagged_features(training)
    settings_returns = bar_returns_bp(training)[:, 1:]
    total = np.cumsum(np.pad(settings_returns, ((0, 0), (1, HORIZON))), axis=1)
    ahead = total[:, HORIZON:][:, : settings_returns.shape[1]] - total[:, : settings_returns.shape[1]]
    scale = np.maximum(features[..., -2:-1].squeeze(-1), 1.0)
    return features.reshape(-1, features.shape[-1]), (ahead / scale).reshape(-1)


def lagged_features(sessions: Sessions) -> Floats:
    """Return sums of past returns over `SPANS` bars, an EMA spread, volatility and time left: (N, D, 10)."""
    returns = bar_returns_bp(sessions)
    steps = returns.shape[1] - 1
    total = np.cumsum(np.pad(returns, ((0, 0), (1, 0))), axis=1)
    square = np.cumsum(np.pad(returns**2, ((0, 0), (1, 0))), axis=1)
    now = np.arange(1, steps + 1)
    vol = np.sqrt((square[:, now] - square[:, np.maximum(now - 12, 0)]) / np.minimum(now, 12))
    vol = np.maximum(vol, 0.5)
    columns = [(total[:, now] - total[:, np.maximum(now - span, 0)]) / vol for span in SPANS]
    columns.append(EmaScore()(sessions) / vol)
    columns.append(vol)
    columns.append(np.broadcast_to(1 - now / steps, vol.shape))
    return np.stack(columns, axis=-1)


def bar_returns_bp(sessions: Sessions) -> Floats:
    """Return log-returns of each bar, bp, (N, T): the first on its own open, zero behind a session's end."""
    lengths = sessions.lengths
    out = np.zeros((len(sessions), int(lengths.max())))
    for i, (first, length) in enumerate(zip(sessions.offsets[:-1], lengths, strict=True)):
        bars = sessions.bars[first : first + length]
        out[i, :length] = 1e4 * np.diff(np.log(np.append(bars[0, 0], bars[:, 3])))
    return out


def expected_settings(settings: BatchSettings, sessions: Sessions) -> BatchSettings:
    """Score by the exact filter's expectation where the sessions carry one, else by realised returns."""
    known = not np.isnan(sessions.expected_bp[sessions.offsets[:-1] + 1]).any()
    target = Target.CONDITIONAL_MEAN if known else Target.REALISED
    return BatchSettings(settings.features, settings.fill, target)
