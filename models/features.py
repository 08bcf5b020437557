"""Turns observations of a market into the numbers that the input network reads.

8 tokens by default: 0 the decision token (position, instrument, timeframe), 4 patches of 15 bars, one token for the
coarser timeframe, one for calendar, spread, volatility and trend, one learned memory token. Prices are taken relative
to the window's own volatility, so a price of 24,000 and one of 240 look alike. Invariant: nothing outside the window is
used but what is known of earlier sessions, what is missing is masked and reads as zero, and what can't be decided on
raises `InvalidObservation`. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.belief import BELIEF_FEATURES, MEMBERS, belief_features, followed
from models.config import FeatureSettings
from models.errors import InvalidObservation
from models.india import in_india
from models.vocabulary import Vocabularies

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEATURE_VERSION: Final = 2
BAR_FEATURES: Final = (
    "return", "body", "range", "upper_wick", "lower_wick", "level", "volume_z", "has_volume", "present",
)  # fmt: skip
CALENDAR_FEATURES: Final = (
    "session_share", "session_sin", "session_cos", "log_minutes_done", "log_minutes_left",
    "monday", "tuesday", "wednesday", "thursday", "friday", "weekend",
    "log_volatility", "spread_per_volatility", "log_spread", "complexity",
    "log_recent_volatility", "trend_2", "trend_4", "trend_8", "trend_16", "trend_32",
)  # fmt: skip
TREND_SPANS: Final = (2, 4, 8, 16, 32)
"""Bars after which the weight of a return in a trend has fallen to 1/e."""
RECENT_SPAN: Final = 8
"""The same for the ranges that a bar's own variance is judged by."""
VARIANCE_SHARES: Final = (0.05, 20.0)
"""Bounds of a bar's own variance as a share of the window's."""
VOLUME_CAUTION: Final = 3.0
"""Squares of log-volumes that count as evidence that volume tells nothing of ranges."""
MOST_PER_VOLUME: Final = 1.5
"""The most that a range may grow with the volume: the exponent of a power."""
USUAL_BARS: Final = 4.0
"""Bars of the window's mean range that stand before its first."""
LEAST_RANGE: Final = 0.15
"""A range that is smaller against the window's mean isn't told apart: its logarithm would outweigh all others."""
PAST_FEATURES: Final = (
    "log_cost", "cost_per_volatility", "log_sessions",
    "paid_2", "paid_4", "paid_8", "paid_16", "paid_32",
    "surprise_2", "surprise_4", "surprise_8", "surprise_16", "surprise_32",
)  # fmt: skip
"""What a network with `past_sessions` is told on top: what a trade costs, and `models.past`."""
POSITION_FEATURES: Final = ("size", "unrealised_atr", "log_bars_held")

VOLATILITY_FLOOR: Final = 1e-6
"""Smallest bar volatility, 0.01 bp: a window whose price never moves has returns of zero and not of 0/0."""
VOLATILITY_UNIT_BP: Final = 6.0
"""The mean absolute 5-minute move of NIFTY; `log_volatility` and `log_spread` are measured against it."""
LOG_MINUTES_UNIT: Final = math.log1p(375.0)
"""One NSE session of 375 minutes maps to 1."""
COST_UNIT_BP: Final = 3.0
"""`log_cost` is measured against it."""
USUAL_COST_BP: Final = 3.0
"""What trading one unit once costs where nobody says so."""
LEAST_COST_BP: Final = 0.01
"""A trade that costs less isn't told apart."""
TOLD_OF_PAST: Final = 11
"""Of what is known of earlier sessions, those numbers that the network reads; the others feed the filter."""
NOTHING_KNOWN: Final = (0.0,) * (TOLD_OF_PAST + MEMBERS)
"""What `models.past.known` says before the first session is over."""
BOUNDS: Final = {
    "position_size": (0.0, 1.0), "unrealised_atr": (-math.inf, math.inf), "bars_held": (0.0, math.inf),
    "minute_of_session": (0.0, math.inf), "minutes_to_close": (0.0, math.inf), "weekday": (0, 6),
    "spread_bp": (0.0, math.inf), "complexity": (0.0, 1.0), "cost_bp": (LEAST_COST_BP, math.inf),
}  # fmt: skip
"""Numbers of an observation, and what each may be."""
SIDE_ROWS: Final = {0: 0, 1: 1, -1: 2}
"""Row of the policy head for each position side: flat, long, short."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is known about one symbol when its newest bar has closed.

    `bars` (n, 5) and `coarse` (m, 5): float64 open, high, low, close, volume, oldest first; volume is NaN where there
    is none; `coarse` may be empty. `ts`: close of the newest bar, ns UTC. `position_side` −1, 0, 1; `position_size`
    share of the limit, 0..1; `unrealised_atr` profit of the open position in ATRs; a flat position has size, profit and
    bars 0. `spread_bp` in basis points; `complexity` 0..1. `cost_bp`: what trading one unit once costs, basis points;
    `past`: what is known of earlier sessions (`models.past.known`).
    """

    symbol: str
    interval: str
    ts: int
    bars: Floats
    coarse: Floats
    position_side: int
    position_size: float
    unrealised_atr: float
    bars_held: int
    minute_of_session: float
    minutes_to_close: float
    weekday: int
    spread_bp: float
    complexity: float
    cost_bp: float = USUAL_COST_BP
    past: Sequence[float] | Floats = NOTHING_KNOWN


class FeatureSchema(BaseModel):
    """What a model was fed with; travels in its manifest so that it is never fed with anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    bar: tuple[str, ...]
    calendar: tuple[str, ...]
    position: tuple[str, ...]

    @classmethod
    def of(cls, settings: FeatureSettings) -> FeatureSchema:
        """Return the schema that this code computes under `settings`."""
        return cls(
            version=FEATURE_VERSION, bar=BAR_FEATURES, calendar=calendar_names(settings), position=POSITION_FEATURES
        )


def calendar_names(settings: FeatureSettings) -> tuple[str, ...]:
    """Return what the calendar token holds."""
    if not settings.past_sessions:
        return CALENDAR_FEATURES
    return CALENDAR_FEATURES + PAST_FEATURES + (BELIEF_FEATURES if settings.belief else ())


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """B observations as columns, before any arithmetic; a trainer fills it from whole sessions at once.

    Bars are right-aligned: the newest bar is last, missing older bars are NaN rows with `*_present` False.
    """

    bars: Floats  # (B, W, 5)
    bars_present: Flags  # (B, W)
    coarse: Floats  # (B, Wc, 5)
    coarse_present: Flags  # (B, Wc)
    instrument: Rows  # (B,) vocabulary rows
    timeframe: Rows  # (B,)
    coarse_timeframe: Rows  # (B,)
    side: Rows  # (B,) 0 flat, 1 long, 2 short
    position: Floats  # (B, 3) size, unrealised_atr, bars_held
    clock: Floats  # (B, 3) minute_of_session, minutes_to_close, weekday
    spread_bp: Floats  # (B,)
    complexity: Floats  # (B,)
    cost_bp: Floats  # (B,)
    past: Floats  # (B, 41) as `models.past.known` makes it


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """B observations as the network reads them; S tokens, P patches. Floats are float32."""

    patches: NDArray[np.float32]  # (B, P, patch · 9)
    coarse: NDArray[np.float32]  # (B, Wc · 9)
    calendar: NDArray[np.float32]  # (B, 21), (B, 34) with `past_sessions`, (B, 42) with `belief`
    position: NDArray[np.float32]  # (B, 3), zeros where flat
    instrument: Rows  # (B,)
    timeframe: Rows  # (B,)
    coarse_timeframe: Rows  # (B,)
    valid: Flags  # (B, S): tokens that hold something
    side: Rows  # (B,) row of the policy head
    complexity: Floats  # (B,)

    def __len__(self) -> int:
        """Count observations."""
        return len(self.side)

    def take(self, rows: NDArray[Any]) -> Features:
        """Return the observations that `rows` (indices or a mask) names."""
        return Features(*(getattr(self, column.name)[rows] for column in fields(self)))


def encode(observations: Sequence[Observation], vocabularies: Vocabularies, settings: FeatureSettings) -> Features:
    """Return the features of a batch; symbols and intervals may be mixed. Raises InvalidObservation."""
    return encode_columns(columns(observations, vocabularies, settings), settings)


def columns(observations: Sequence[Observation], vocabularies: Vocabularies, settings: FeatureSettings) -> Columns:
    """Check each observation and lay them side by side. Raises InvalidObservation with the symbol and the reason."""
    if len(observations) == 1 or not _all_well(observations, settings):
        for observation in observations:
            _check(observation, settings)
    bars, bars_present = _align([o.bars for o in observations], settings.window)
    coarse, coarse_present = _align([o.coarse for o in observations], settings.coarse_window)
    coarse_row = vocabularies.timeframes.row(settings.coarse_interval)
    return Columns(
        bars=bars,
        bars_present=bars_present,
        coarse=coarse,
        coarse_present=coarse_present,
        instrument=np.array([vocabularies.instruments.row(o.symbol) for o in observations], np.int64),
        timeframe=np.array([vocabularies.timeframes.row(o.interval) for o in observations], np.int64),
        coarse_timeframe=np.full(len(observations), coarse_row, np.int64),
        side=np.array([SIDE_ROWS[o.position_side] for o in observations], np.int64),
        position=np.array([(o.position_size, o.unrealised_atr, o.bars_held) for o in observations], np.float64),
        clock=np.array([(o.minute_of_session, o.minutes_to_close, o.weekday) for o in observations], np.float64),
        spread_bp=np.array([o.spread_bp for o in observations], np.float64),
        complexity=np.array([o.complexity for o in observations], np.float64),
        cost_bp=np.array([o.cost_bp for o in observations], np.float64),
        past=np.array([o.past for o in observations], np.float64).reshape(len(observations), len(NOTHING_KNOWN)),
    )


def encode_columns(columns: Columns, settings: FeatureSettings) -> Features:
    """Return the features of checked columns; plain arithmetic, no row depends on another, to the last bit."""
    batch = len(columns.side)
    bars, volatility = bar_features(columns.bars, columns.bars_present, settings.clip)  # (B, W, 9), (B,)
    coarse, _ = bar_features(columns.coarse, columns.coarse_present, settings.clip)
    patches = settings.window // settings.patch
    patch_valid = columns.bars_present.reshape(batch, patches, settings.patch).any(-1)
    ones = np.ones((batch, 1), np.bool_)
    return Features(
        patches=bars.reshape(batch, patches, -1).astype(np.float32),
        coarse=coarse.reshape(batch, -1).astype(np.float32),
        calendar=np.concatenate(_told(columns, volatility, settings), axis=1).astype(np.float32),
        position=_position(columns, settings.clip).astype(np.float32),
        instrument=columns.instrument,
        timeframe=columns.timeframe,
        coarse_timeframe=columns.coarse_timeframe,
        valid=np.concatenate([ones, patch_valid, columns.coarse_present.any(-1, keepdims=True), ones, ones], axis=1),
        side=columns.side,
        complexity=columns.complexity,
    )


def _told(columns: Columns, volatility: Floats, settings: FeatureSettings) -> list[Floats]:
    """What the calendar token is made of, each (B, n)."""
    returns, share = own_variances(columns.bars, columns.bars_present)
    told = [
        _calendar(columns, volatility, settings.clip),
        trend_features(returns, share, columns.bars_present, volatility, settings.clip),
    ]
    if not settings.past_sessions:
        return told
    past = np.clip(columns.past[:, :TOLD_OF_PAST], -settings.clip, settings.clip)
    told += [_cost(columns, volatility, settings.clip), past]
    if settings.belief:
        returns, share = variances_by_volume(columns.bars, columns.bars_present)
        seen = followed(returns, columns.bars_present, share, volatility, columns.past[:, TOLD_OF_PAST:])
        told.append(belief_features(*seen, columns.cost_bp / (volatility * 1e4), settings.clip))
    return told


def _cost(columns: Columns, volatility: Floats, clip: float) -> Floats:
    """What a trade costs, alone and against a bar's volatility. (B, 2)."""
    table = np.stack([np.log(columns.cost_bp / COST_UNIT_BP), columns.cost_bp / (volatility * 1e4)], axis=-1)
    clipped: Floats = np.clip(table, -clip, clip)
    return clipped


def bar_features(bars: Floats, present: Flags, clip: float) -> tuple[Floats, Floats]:
    """Nine numbers a bar and the volatility they are measured in. (B, W, 5), (B, W) -> (B, W, 9), (B,).

    Volatility is sqrt(π/2) times the mean absolute log-return, which a single gap moves less than a standard deviation.
    `return` is close on close (on its own open for the first bar), `level` the distance of a close from the newest
    close in units of volatility · sqrt(W). Missing bars are all zero.
    """
    (open_, high, low, close), returns = _logarithms(bars, present)
    count = np.maximum(present.sum(-1), 1)
    volatility = np.maximum(math.sqrt(math.pi / 2) * np.abs(returns).sum(-1) / count, VOLATILITY_FLOOR)  # (B,)
    scale = volatility[:, None]
    volume_z, has_volume = _volume(bars[..., 4], present)
    table = np.stack(
        [
            returns / scale,
            (close - open_) / scale,
            (high - low) / scale,
            (high - np.maximum(open_, close)) / scale,
            (np.minimum(open_, close) - low) / scale,
            (close - close[:, -1:]) / (scale * math.sqrt(bars.shape[1])),
            volume_z,
            has_volume,
            np.ones_like(close),
        ],
        axis=-1,
    )
    return np.where(present[..., None], np.clip(table, -clip, clip), 0.0), volatility


def _logarithms(bars: Floats, present: Flags) -> tuple[tuple[Floats, Floats, Floats, Floats], Floats]:
    """Logarithms of open, high, low, close, and returns: close on close, the first bar's on its own open. (B, W)."""
    seen = np.where(present[..., None], bars, 1.0)
    open_, high, low, close = (np.log(seen[..., column]) for column in range(4))
    first = present & ~np.concatenate([np.zeros_like(present[:, :1]), present[:, :-1]], axis=1)
    before = np.where(first, open_, np.concatenate([open_[:, :1], close[:, :-1]], axis=1))
    return (open_, high, low, close), np.where(present, close - before, 0.0)


def _volume(volume: Floats, present: Flags) -> tuple[Floats, Floats]:
    """z-score of log(1 + volume) inside the window, 0 where there is none; and whether there is one. 2 × (B, W)."""
    known = present & ~np.isnan(volume)
    centred = _centred(np.log1p(np.where(known, volume, 0.0)), known)
    deviation = np.sqrt(np.square(centred).sum(-1, keepdims=True) / np.maximum(known.sum(-1, keepdims=True), 1))
    return centred / np.maximum(deviation, 1e-3), known.astype(np.float64)


def _centred(numbers: Floats, present: Flags) -> Floats:
    """Numbers less their mean over what is there, 0 where nothing is. (B, W)."""
    there = np.where(present, numbers, 0.0)
    mean = there.sum(-1, keepdims=True) / np.maximum(present.sum(-1, keepdims=True), 1)
    return np.where(present, there - mean, 0.0)


def _calendar(columns: Columns, volatility: Floats, clip: float) -> Floats:
    """Return the calendar token. (B, 15), in the order of CALENDAR_FEATURES."""
    done, left, weekday = columns.clock.T
    share = done / np.maximum(done + left, 1.0)
    volatility_bp = volatility * 1e4
    table = np.stack(
        [
            share,
            np.sin(2 * math.pi * share),
            np.cos(2 * math.pi * share),
            np.log1p(done) / LOG_MINUTES_UNIT,
            np.log1p(left) / LOG_MINUTES_UNIT,
            *(weekday == day for day in range(5)),
            weekday >= 5,
            np.log(volatility_bp / VOLATILITY_UNIT_BP),
            columns.spread_bp / volatility_bp,
            np.log1p(columns.spread_bp / VOLATILITY_UNIT_BP),
            columns.complexity,
        ],
        axis=-1,
    )
    clipped: Floats = np.clip(table, -clip, clip)
    return clipped


def trend_features(returns: Floats, share: Floats, present: Flags, volatility: Floats, clip: float) -> Floats:
    """How far the recent past drifted, in standard errors of no drift at all. (B, 6): CALENDAR_FEATURES from the 16th.

    Returns are averaged with exponentially falling weights, each divided by its bar's own variance, as the best linear
    estimate of a drift under changing volatility is; a bar's variance is the window's, times how the squared ranges up
    to that bar stand to the window's; `own_variances` gives ``returns`` and ``share``. The first number is the newest
    bar's share of this, as a log-volatility.
    """
    age = np.arange(present.shape[1] - 1, -1, -1.0)
    precision = np.where(present, 1.0 / (share * np.square(volatility)[:, None]), 0.0)
    fade = np.exp(-age[:, None] / np.array(TREND_SPANS))  # (W, 5)
    errors = np.sqrt(np.maximum(_each_row(precision, np.square(fade)), VOLATILITY_FLOOR))
    trends = _each_row(precision * returns, fade) / errors
    table: Floats = np.clip(np.concatenate([0.5 * np.log(share[:, -1:]), trends], axis=1), -clip, clip)
    return table


def own_variances(bars: Floats, present: Flags) -> tuple[Floats, Floats]:
    """Log-returns of bars, and each bar's own variance as a share of the window's. (B, W) each.

    By how the squared ranges up to that bar stand to the window's.
    """
    (_, high, low, _), returns = _logarithms(bars, present)
    squares = np.where(present, np.square(high - low), 0.0)
    recent = _recent(present.shape[1])
    usual = squares.sum(-1, keepdims=True) / np.maximum(present.sum(-1, keepdims=True), 1)
    local = _each_row(squares, recent) / np.maximum(_each_row(present, recent), VOLATILITY_FLOOR)  # (B, W)
    return returns, np.where(usual > 0, np.clip(local / np.where(usual > 0, usual, 1.0), *VARIANCE_SHARES), 1.0)


def variances_by_volume(bars: Floats, present: Flags) -> tuple[Floats, Floats]:
    """As `own_variances`, told by ranges and, where there is any, by volume. (B, W) each.

    How ranges grow with volume is a ridge regression of their logarithms within the window; what volume doesn't tell
    fades as in `own_variances`, from `USUAL_BARS` of the window's mean on.
    """
    (_, high, low, _), returns = _logarithms(bars, present)
    count = np.maximum(present.sum(-1, keepdims=True), 1)
    ranges = np.where(present, high - low, 0.0)
    least = LEAST_RANGE * ranges.sum(-1, keepdims=True) / count
    ranges = _centred(np.log(np.maximum(ranges, np.maximum(least, VOLATILITY_FLOOR))), present)
    known = present & ~np.isnan(bars[..., 4])
    volume = _centred(np.log1p(np.where(known, bars[..., 4], 0.0)), known)
    slope = (volume * ranges).sum(-1, keepdims=True) / (np.square(volume).sum(-1, keepdims=True) + VOLUME_CAUTION)
    told = np.clip(slope, 0.0, MOST_PER_VOLUME) * volume
    untold = np.where(present, np.exp(2.0 * (ranges - told)), 0.0)
    before = USUAL_BARS * np.exp(-present.cumsum(-1) / RECENT_SPAN)
    recent = _recent(present.shape[1])
    usual = untold.sum(-1, keepdims=True) / count
    local = (_each_row(untold, recent) + before * usual) / (_each_row(present, recent) + before)
    own = np.where(present, np.exp(2.0 * told) * local, 1.0)
    mean = np.where(present, own, 0.0).sum(-1, keepdims=True) / count
    return returns, np.where(present, np.clip(own / np.where(mean > 0, mean, 1.0), *VARIANCE_SHARES), 1.0)


def _recent(bars: int) -> Floats:
    """Weight of a bar (row) in what is recent at another (column), (W, W): 1 at its own, nothing before it."""
    age = np.arange(bars - 1, -1, -1.0)
    return np.exp(np.minimum(age[None, :] - age[:, None], 0.0) / RECENT_SPAN) * (age[:, None] >= age[None, :])


def _position(columns: Columns, clip: float) -> Floats:
    """Return what the decision token says about an open position. (B, 3); zeros where flat."""
    size, unrealised_atr, bars_held = columns.position.T
    table = np.stack([size, unrealised_atr, np.log1p(bars_held) / LOG_MINUTES_UNIT], axis=-1)
    return np.where((columns.side != 0)[:, None], np.clip(table, -clip, clip), 0.0)


def _each_row(rows: NDArray[Any], matrix: Floats) -> Floats:
    """`rows @ matrix`, each row by itself: in a product of matrices its last bits depend on how many there are."""
    product: Floats = (rows[:, None] @ matrix)[:, 0]
    return product


def _align(windows: Sequence[Floats], length: int) -> tuple[Floats, Flags]:
    """Right-align windows of any length into (B, length, 5) and say which rows are there (B, length)."""
    aligned = np.full((len(windows), length, 5), np.nan)
    present = np.zeros((len(windows), length), np.bool_)
    for row, window in enumerate(windows):
        kept = min(len(window), length)
        if kept:
            aligned[row, length - kept :] = window[-kept:]
            present[row, length - kept :] = True
    return aligned, present


def _check(observation: Observation, settings: FeatureSettings) -> None:
    """Raise InvalidObservation for anything that a decision must not be based on."""

    def refuse(reason: str) -> InvalidObservation:
        where = f"{observation.symbol} {observation.interval} at {in_india(observation.ts):%Y-%m-%d %H:%M:%S}"
        return InvalidObservation(reason, where)

    for name, bars in (("bars", observation.bars), ("coarse", observation.coarse)):
        if bars.ndim != 2 or bars.shape[1] != 5:
            raise refuse(f"{name} has shape {bars.shape}, expected (n, 5) open high low close volume")
        prices, volume = bars[:, :4], bars[:, 4]
        if not np.isfinite(prices).all() or (prices <= 0).any():
            raise refuse(f"{name} holds a price that is not finite and positive")
        if (prices[:, 1] < prices.max(1, initial=0.0)).any() or (prices[:, 2] > prices.min(1, initial=np.inf)).any():
            raise refuse(f"{name} holds a bar whose high or low does not enclose its open and close")
        if np.isinf(volume).any() or (volume < 0).any():
            raise refuse(f"{name} holds a volume that is infinite or negative")
    if len(observation.bars) < settings.min_bars:
        count = len(observation.bars)
        raise refuse(f"{count} bar{'s' * (count != 1)}, at least {settings.min_bars} are needed")
    for (name, (low, high)), value in zip(BOUNDS.items(), _bounded(observation), strict=True):
        if not (math.isfinite(value) and low <= value <= high):
            raise refuse(f"{name} is {value}, expected a finite number from {low} to {high}")
    if len(observation.past) != len(NOTHING_KNOWN) or not np.isfinite(observation.past).all():
        raise refuse(f"past is {observation.past}, expected {len(NOTHING_KNOWN)} finite numbers")
    if observation.position_side not in SIDE_ROWS:
        raise refuse(f"position_side is {observation.position_side}, expected -1, 0 or 1")


def _all_well(observations: Sequence[Observation], settings: FeatureSettings) -> bool:
    """Whether `_check` has nothing to say against any of them: all at once, where it asks one after the other."""
    windows = [window for one in observations for window in (one.bars, one.coarse)]
    if any(window.ndim != 2 or window.shape[1] != 5 for window in windows):
        return False
    if any(len(one.bars) < settings.min_bars or len(one.past) != len(NOTHING_KNOWN) for one in observations):
        return False
    bars = np.concatenate(windows)
    prices, volume = bars[:, :4], bars[:, 4]
    numbers = np.array([_bounded(one) for one in observations], np.float64)
    low, high = np.array(list(BOUNDS.values()), np.float64).T
    return bool(
        np.isfinite(prices).all()
        and (prices > 0).all()
        and (prices[:, 1] >= prices.max(1, initial=0.0)).all()
        and (prices[:, 2] <= prices.min(1, initial=np.inf)).all()
        and not (np.isinf(volume) | (volume < 0)).any()
        and (np.isfinite(numbers) & (low <= numbers) & (numbers <= high)).all()
        and np.isfinite(np.array([one.past for one in observations], np.float64)).all()
        and all(one.position_side in SIDE_ROWS for one in observations)
    )


def _bounded(observation: Observation) -> tuple[float, ...]:
    """The numbers of `BOUNDS`."""
    return (
        observation.position_size, observation.unrealised_atr, observation.bars_held, observation.minute_of_session,
        observation.minutes_to_close, observation.weekday, observation.spread_bp, observation.complexity,
        observation.cost_bp,
    )  # fmt: skip


def forget_identities(features: Features, share: float, rng: np.random.Generator) -> Features:
    """Show a random share of rows as unknown instrument and, independently, unknown timeframe, so row 0 is trained."""
    values = {column.name: getattr(features, column.name) for column in fields(features)}
    for name in ("instrument", "timeframe", "coarse_timeframe"):
        values[name] = np.where(rng.random(len(features)) < share, 0, values[name])
    return Features(**values)
