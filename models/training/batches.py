"""Sessions → what a training step needs: features of every decision, and what each decision can earn.

Invariant: the features of the decision at bar t are a function of bars up to and with t, and its return begins one fill
later; changing later bars changes no earlier feature, changing earlier bars no later return.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.config import FeatureSettings, History
from models.features import LEAST_COST_BP, NOTHING_KNOWN, USUAL_COST_BP, Columns, Features, encode_columns
from models.india import days_in_india
from models.training.sessions import Floats, Ints, Sessions
from models.vocabulary import Vocabularies

Flags = NDArray[np.bool_]

MINUTE_NS = 60_000_000_000
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Fill(StrEnum):
    """Where a decision made at a bar's close is filled: at the next bar's open, or one bar late, at its close."""

    NEXT_OPEN = "next_open"
    NEXT_CLOSE = "next_close"


class Target(StrEnum):
    """What a position earns in training: realised returns, or their expectation, fitted on other sessions or exact."""

    REALISED = "realised"
    ESTIMATED = "estimated"
    CONDITIONAL_MEAN = "conditional_mean"


@dataclass(frozen=True)
class BatchSettings:
    """How sessions become decisions."""

    features: FeatureSettings
    fill: Fill = Fill.NEXT_OPEN
    target: Target = Target.REALISED


@dataclass(frozen=True, eq=False)
class Batch:
    """B sessions of at most D decisions; rows of ``features`` run over sessions, then decisions: B·D.

    ``returns_bp`` (B, D): what one unit earns from this decision's fill to the next; ``live`` (B, D): false for padding
    and for bars with too short a history; ``variance_bp2`` (B, D): the window's own estimate of a bar's variance.
    """

    features: Features
    returns_bp: Floats
    live: Flags
    variance_bp2: Floats


def make_batch(
    sessions: Sessions,
    rows: Ints,
    settings: BatchSettings,
    vocabularies: Vocabularies,
    rng: np.random.Generator | None = None,
    mirror: Flags | None = None,
    cost_bp: Floats | None = None,
) -> Batch:
    """Features and returns of the sessions ``rows``.

    ``rng`` draws the inputs that sessions do not know (spread, complexity), so that a model learns to do without them;
    without it the spread is neutral, and so is complexity where the sessions don't tell it. ``mirror`` (B,) turns
    sessions upside down: prices are inverted, so every rise is a fall of the same size. ``cost_bp`` (B,): what trading
    one unit once costs, for a network that asks for it.
    """
    lengths = sessions.lengths[rows]
    decisions = int(lengths.max()) - 1
    step = np.arange(decisions)
    newest = sessions.offsets[rows][:, None] + np.minimum(step, lengths[:, None] - 1)  # (B, D) row of the newest bar
    inside = step < lengths[:, None] - 1
    columns = _columns(sessions, rows, newest, settings, vocabularies, rng, cost_bp)
    if mirror is not None:
        flip = np.repeat(mirror, decisions)
        columns.bars[flip] = _inverted(columns.bars[flip])
        columns.coarse[flip] = _inverted(columns.coarse[flip])
    features = encode_columns(columns, settings.features)
    seen = columns.bars_present.sum(axis=1).reshape(newest.shape)
    returns = returns_between_fills(sessions, rows, settings)
    if mirror is not None:
        returns = np.where(mirror[:, None], -returns, returns)
    return Batch(
        features=features,
        returns_bp=returns,
        live=inside & (seen >= settings.features.min_bars),
        variance_bp2=_variance(columns).reshape(newest.shape),
    )


def returns_between_fills(sessions: Sessions, rows: Ints, settings: BatchSettings) -> Floats:
    """Return what one unit earns from each decision's fill to the next, bp, (B, D); zero behind a session's end.

    Under `Target.CONDITIONAL_MEAN` it is the exact filter's expectation of it instead.
    """
    out = np.zeros((len(rows), int(sessions.lengths[rows].max()) - 1))
    for i, row in enumerate(rows):
        first, last = int(sessions.offsets[row]), int(sessions.offsets[row + 1])
        if settings.target is Target.CONDITIONAL_MEAN:
            out[i, : last - first - 1] = sessions.expected_bp[first + 1 : last]
            continue
        open_, close = sessions.bars[first:last, 0], sessions.bars[first:last, 3]
        fills = open_[1:] if settings.fill is Fill.NEXT_OPEN else close[1:]
        out[i, : last - first - 1] = 1e4 * np.diff(np.log(np.append(fills, close[-1])))
    return out


def _columns(
    sessions: Sessions,
    rows: Ints,
    newest: Ints,
    settings: BatchSettings,
    vocabularies: Vocabularies,
    rng: np.random.Generator | None,
    cost_bp: Floats | None,
) -> Columns:
    """Lay out what `models.features.columns` lays out for live observations."""
    batch, decisions = newest.shape
    flat = newest.reshape(-1)
    first = np.repeat(_earliest(sessions, rows, settings.features.history), decisions)
    window = flat[:, None] + np.arange(1 - settings.features.window, 1)
    present = window >= first[:, None]
    bars = np.where(present[..., None], sessions.bars[np.maximum(window, 0)], np.nan)
    coarse, coarse_present = _coarse(sessions, rows, newest, settings)
    start, end = np.repeat(sessions.hours[rows], decisions, axis=0).T
    now = sessions.ts_ns[flat] + sessions.interval_s * 1_000_000_000
    weekday = (days_in_india(now) + 3) % 7  # 1970-01-01 was a Thursday
    names = [sessions.symbols[i] for i in sessions.symbol[rows]]
    total = batch * decisions
    most = settings.features.past_sessions
    past = sessions.past(rows, most) if most else np.zeros((batch, len(NOTHING_KNOWN)))
    if cost_bp is None:
        cost_bp = np.full(batch, USUAL_COST_BP) if sessions.cost_bp is None else sessions.cost_bp[rows]
    costs = np.maximum(cost_bp, LEAST_COST_BP)
    coarse_row = vocabularies.timeframes.row(settings.features.coarse_interval)
    return Columns(
        bars=bars,
        bars_present=present,
        coarse=coarse,
        coarse_present=coarse_present,
        instrument=np.repeat([vocabularies.instruments.row(name) for name in names], decisions),
        timeframe=np.full(total, vocabularies.timeframes.row(sessions.interval), np.int64),
        coarse_timeframe=np.full(total, coarse_row, np.int64),
        side=np.zeros(total, np.int64),
        position=np.zeros((total, 3)),
        clock=np.stack(
            [np.maximum(now - start, 0) / MINUTE_NS, np.maximum(end - now, 0) / MINUTE_NS, weekday.astype(np.float64)],
            axis=-1,
        ),
        spread_bp=np.zeros(total) if rng is None else rng.uniform(0.0, 3.0, total) * rng.integers(0, 2, total),
        complexity=_complexity(sessions, flat) if rng is None else rng.uniform(0.0, 1.0, total),
        cost_bp=np.repeat(costs, decisions),
        past=np.repeat(past, decisions, axis=0),
    )


def _complexity(sessions: Sessions, newest: Ints) -> Floats:
    """As it was at each newest bar, neutral where nobody has worked it out, (B·D,)."""
    return np.full(len(newest), 0.5) if sessions.complexity is None else sessions.complexity[newest]


def _earliest(sessions: Sessions, rows: Ints, history: History) -> Ints:
    """First bar that a session's windows may reach back to, (B,)."""
    if history is History.SESSION:
        return sessions.offsets[rows]
    starts_symbol = np.flatnonzero(np.append(True, np.diff(sessions.symbol) != 0))
    return sessions.offsets[starts_symbol[np.searchsorted(starts_symbol, rows, side="right") - 1]]


def _coarse(sessions: Sessions, rows: Ints, newest: Ints, settings: BatchSettings) -> tuple[Floats, Flags]:
    """Right-align the complete coarse bars up to each decision: (B·D, Wc, 5) and which are there.

    Coarse bars are anchored at the session's open, and there is none where no bar was; the one that the session's end
    cuts short counts as complete then.
    """
    features = settings.features
    batch, decisions = newest.shape
    length = int(features.coarse_interval[:-1]) * _UNITS_S[features.coarse_interval[-1]] * 1_000_000_000
    out = np.full((batch, decisions, features.coarse_window, 5), np.nan)
    present = np.zeros((batch, decisions, features.coarse_window), np.bool_)
    bar_ns = sessions.interval_s * 1_000_000_000
    if length > bar_ns:
        for i, row in enumerate(rows):
            earlier = _earlier_coarse(sessions, int(row), length, settings)
            bars = np.concatenate([*earlier, _session_coarse(sessions, int(row), length)])
            over = (sessions.ts_ns[newest[i]] + bar_ns - sessions.hours[row, 0]) // length
            there = np.unique(_coarse_of(sessions, int(row), length))
            done = sum(len(part) for part in earlier) + np.searchsorted(there, over)
            slot = done[:, None] + np.arange(-features.coarse_window, 0)  # (D, Wc)
            present[i] = (slot >= 0) & (slot < len(bars))
            out[i] = np.where(present[i][..., None], bars[np.clip(slot, 0, len(bars) - 1)], np.nan)
    return out.reshape(-1, features.coarse_window, 5), present.reshape(-1, features.coarse_window)


def _earlier_coarse(sessions: Sessions, row: int, length: int, settings: BatchSettings) -> list[Floats]:
    """Coarse bars of earlier sessions of the symbol, oldest first, as many as a window may show."""
    parts: list[Floats] = []
    while settings.features.history is History.ROLLING and sum(map(len, parts)) < settings.features.coarse_window:
        row -= 1
        if row < 0 or sessions.symbol[row] != sessions.symbol[row + 1]:
            break
        parts.insert(0, _session_coarse(sessions, row, length))
    return parts


def _coarse_of(sessions: Sessions, row: int, length: int) -> Ints:
    """Of each bar of a session the number of its coarse bar from the open on."""
    ts = sessions.ts_ns[sessions.offsets[row] : sessions.offsets[row + 1]]
    return np.asarray((ts - sessions.hours[row, 0]) // length)


def _session_coarse(sessions: Sessions, row: int, length: int) -> Floats:
    """All coarse bars of one session, (n, 5)."""
    first, last = int(sessions.offsets[row]), int(sessions.offsets[row + 1])
    bars = sessions.bars[first:last]
    starts = np.flatnonzero(np.append(True, np.diff(_coarse_of(sessions, row, length)) != 0))
    ends = np.append(starts[1:], len(bars)) - 1
    return np.stack(
        [
            bars[starts, 0],
            np.maximum.reduceat(bars[:, 1], starts),
            np.minimum.reduceat(bars[:, 2], starts),
            bars[ends, 3],
            np.add.reduceat(bars[:, 4], starts),
        ],
        axis=-1,
    )


def _inverted(bars: Floats) -> Floats:
    """Prices turned upside down in logarithms: the old low becomes the new high."""
    anchor = 1e4
    return np.stack(
        [anchor / bars[..., 0], anchor / bars[..., 2], anchor / bars[..., 1], anchor / bars[..., 3], bars[..., 4]],
        axis=-1,
    )


def _variance(columns: Columns) -> Floats:
    """Mean squared log-return over each window, bp², (B·D,)."""
    close = np.log(np.where(columns.bars_present, columns.bars[..., 3], 1.0))
    both = columns.bars_present[:, 1:] & columns.bars_present[:, :-1]
    squares = np.where(both, np.square(1e4 * np.diff(close, axis=1)), 0.0)
    return np.asarray(squares.sum(axis=1) / np.maximum(both.sum(axis=1), 1))
