"""Training sessions → the statistics by which a model knows a market that is unlike them.

Invariant: the limits come from other sessions than the statistics, so that they hold for fresh ones; the same sessions
give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from models.config import FeatureSettings
from models.features import Features
from models.novelty import (
    BAR_COUNTS,
    SHARES,
    STATISTICS,
    Novelty,
    NoveltyStatistics,
    groups,
    spread_knots,
    window_statistics,
)
from models.training.batches import BatchSettings, Flags, make_batch
from models.training.errors import DataError
from models.training.sessions import Floats, Ints, Sessions
from models.training.settings import FEWEST
from models.vocabulary import Vocabularies

QUANTILE: Final = 0.995
"""Of held-in sessions that stay under the limits throughout."""
WINDOW_QUANTILE: Final = 0.999
"""Of a group's windows, by which the groups' limits stand to each other."""
_DIGITS: Final = 6
_AT_ONCE: Final = 100


def calibrate(
    parts: Sequence[Sessions], settings: FeatureSettings, market: str, most: int = 8_000
) -> NoveltyStatistics:
    """Return the statistics of at most `most` sessions, one set an interval, and of `FEWEST` of each at least.

    Raises DataError where there are fewer of them.
    """
    parts = [part.select(_evenly(len(part), max(most // len(parts), FEWEST))) for part in parts]
    count = sum(map(len, parts))
    if min(map(len, parts)) < FEWEST:
        raise DataError(f"{count} sessions to calibrate on, at least {FEWEST} of each interval are needed")
    values, group = _told(_every_other(parts, 0), settings)
    knots = np.stack([spread_knots(_of_group(values, group, index)) for index in range(len(BAR_COUNTS))])
    known = _statistics(knots, np.ones(len(BAR_COUNTS)), market, count)
    scores, group, session = _judged(Novelty(known), _every_other(parts, 1), settings)
    limits = np.array([np.quantile(_of_group(scores, group, i), WINDOW_QUANTILE) for i in range(len(BAR_COUNTS))])
    largest = np.zeros(session.max() + 1)
    np.maximum.at(largest, session, scores / limits[group])
    return _statistics(knots, limits * np.quantile(largest, QUANTILE), market, count)


def windows(sessions: Sessions, settings: FeatureSettings) -> Iterator[tuple[Features, Flags]]:
    """Features of every window of some sessions at a time, (B·D,), and which of them are decided on, (B, D)."""
    for first in range(0, len(sessions), _AT_ONCE):
        rows = np.arange(first, min(first + _AT_ONCE, len(sessions)))
        batch = make_batch(sessions, rows, BatchSettings(settings), Vocabularies())
        yield batch.features, batch.live


def _told(parts: Sequence[Sessions], settings: FeatureSettings) -> tuple[Floats, Ints]:
    """Statistics and group of every window that is decided on, (R, K) and (R,)."""
    values, group = [], []
    for part in parts:
        for features, live in windows(part, settings):
            told, counts = window_statistics(features.take(live.reshape(-1)))
            values.append(told)
            group.append(groups(counts))
    return np.concatenate(values), np.concatenate(group)


def _judged(novelty: Novelty, parts: Sequence[Sessions], settings: FeatureSettings) -> tuple[Floats, Ints, Ints]:
    """Distance, group and session of every window that is decided on, each (R,)."""
    scores, group, session, sessions = [], [], [], 0
    for part in parts:
        for features, live in windows(part, settings):
            kept = features.take(live.reshape(-1))
            scores.append(novelty.of(kept)[0])
            group.append(groups(window_statistics(kept)[1]))
            session.append(sessions + np.nonzero(live)[0])
            sessions += len(live)
    return np.concatenate(scores), np.concatenate(group), np.concatenate(session)


def _statistics(knots: Floats, limits: Floats, market: str, sessions: int) -> NoveltyStatistics:
    return NoveltyStatistics(
        statistics=STATISTICS,
        bar_counts=BAR_COUNTS,
        shares=SHARES,
        market=market,
        sessions=sessions,
        quantile=QUANTILE,
        limits=tuple(round(float(limit), _DIGITS) for limit in limits),
        knots=tuple(tuple(tuple(round(float(x), _DIGITS) for x in row) for row in group) for group in knots),
    )


def _evenly(count: int, most: int) -> Ints:
    """At most `most` of `count` rows, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.empty(0, np.int64)


def _every_other(parts: Sequence[Sessions], first: int) -> list[Sessions]:
    return [part.select(np.arange(first, len(part), 2)) for part in parts]


def _of_group(values: Floats, group: Ints, index: int) -> Floats:
    """Values of one group's windows; of the nearest group that has windows where it has none."""
    present = np.unique(group)
    found: Floats = values[group == present[np.abs(present - index).argmin()]]
    return found
