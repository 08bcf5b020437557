"""Sessions → what each decision can expect to earn, as far as its own features tell: a target with far less noise.

Expected profit is linear in returns, and positions are functions of what was seen, so a return may be replaced by its
expectation given what was seen: the objective stays the same and its noise, which is thirty times the signal, goes. The
expectation comes from a weighted ridge regression of realised returns on trends, solved exactly. Invariant: an estimate
for a session is made from other sessions only (cross-fitting by folds), and turning prices upside down turns its sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.features import CALENDAR_FEATURES, TREND_SPANS, VOLATILITY_UNIT_BP
from models.india import days_in_india
from models.training.batches import Batch, BatchSettings, Target, make_batch
from models.training.errors import DataError
from models.training.sessions import Floats, Ints, Sessions
from models.vocabulary import Vocabularies

FOLDS: Final = 5
RIDGE: Final = 1_000.0
SESSIONS_AT_ONCE: Final = 200

_TREND: Final = CALENDAR_FEATURES.index(f"trend_{TREND_SPANS[0]}")
_LEVELS: Final = [CALENDAR_FEATURES.index(name) for name in ("log_volatility", "log_recent_volatility")]
_SHARE: Final = CALENDAR_FEATURES.index("session_share")


@dataclass(frozen=True, eq=False)
class ReturnEstimate:
    """A fitted regression: ``weights`` (FOLDS + 1, F), the last row from all of ``sessions`` sessions."""

    weights: Floats
    sessions: int

    def returns_bp(self, batch: Batch, start_ns: Ints | None) -> Floats:
        """Return what each decision's unit can expect, bp, (B, D); zero where a decision is not live.

        ``start_ns`` (B,): starts of the sessions where they are among the fitted ones, so that no day is judged by
        itself; None for sessions that are not.
        """
        fold = np.full(len(batch.live), FOLDS) if start_ns is None else _folds(start_ns)
        per_row = np.repeat(self.weights[fold], batch.live.shape[1], axis=0)  # (B·D, F)
        out = (basis(batch.features.calendar) * per_row).sum(axis=1).reshape(batch.live.shape)
        return np.where(batch.live, out, 0.0)


def fit_estimate(sessions: Sessions, settings: BatchSettings, vocabularies: Vocabularies) -> ReturnEstimate:
    """Fit on realised returns, each weighted by its window's precision. Raises DataError for too few sessions."""
    if len(sessions) < 2 * FOLDS:
        raise DataError(f"{len(sessions)} sessions: target estimated needs at least {2 * FOLDS}")
    moments, products = None, None
    for rows, batch in _realised(sessions, settings, vocabularies):
        decisions = batch.live.shape[1]
        inputs = basis(batch.features.calendar)
        weight = (batch.live * VOLATILITY_UNIT_BP**2 / np.maximum(batch.variance_bp2, 1.0)).reshape(-1, 1)
        if moments is None or products is None:
            moments = np.zeros((FOLDS, inputs.shape[1], inputs.shape[1]))
            products = np.zeros((FOLDS, inputs.shape[1]))
        for fold in range(FOLDS):
            mine = np.repeat(_folds(sessions.start_ns()[rows]) == fold, decisions)
            weighted = inputs[mine] * weight[mine]
            moments[fold] += weighted.T @ inputs[mine]
            products[fold] += weighted.T @ batch.returns_bp.reshape(-1)[mine]
    assert moments is not None
    assert products is not None
    penalty = RIDGE * np.eye(moments.shape[1])
    others = [np.arange(FOLDS) != left_out for left_out in range(FOLDS + 1)]  # the last leaves none out
    solved = [np.linalg.solve(moments[used].sum(axis=0) + penalty, products[used].sum(axis=0)) for used in others]
    return ReturnEstimate(np.stack(solved), len(sessions))


def basis(calendar: np.ndarray) -> Floats:
    """Odd functions of the trends, plain and saturating, times volatility and time. (n, 21) → (n, 75)."""
    trends = calendar[:, _TREND : _TREND + len(TREND_SPANS)].astype(np.float64)
    share = calendar[:, _SHARE, None].astype(np.float64)
    odd = np.concatenate([trends, np.tanh(trends / 2), np.tanh(trends)], axis=1)
    even = [np.ones_like(share), *(calendar[:, level, None] for level in _LEVELS), share, 1.0 - np.exp(-10.0 * share)]
    return np.concatenate([odd * factor for factor in even], axis=1)


def _folds(start_ns: Ints) -> Ints:
    """Fold of each session: all instruments of a day share one."""
    return days_in_india(start_ns) % FOLDS


def _realised(sessions: Sessions, settings: BatchSettings, vocabularies: Vocabularies) -> Iterator[tuple[Ints, Batch]]:
    """Batches of all sessions with realised returns, some at a time."""
    plain = BatchSettings(settings.features, settings.fill, Target.REALISED)
    rows = np.arange(len(sessions))
    for first in range(0, len(rows), SESSIONS_AT_ONCE):
        piece = rows[first : first + SESSIONS_AT_ONCE]
        yield piece, make_batch(sessions, piece, plain, vocabularies)
