"""Measures whether a model knows a market that is unlike the one it was trained in.

    python benchmarks/novelty.py [--model models/artifacts/base.safetensors] [--sessions 500] [--bars FILE.parquet …]
    python benchmarks/novelty.py --compare        (other distances beside it, on the same statistics; some minutes)

Fresh sessions of the training market must pass (at most 1 % flagged), sessions of foreign markets must not (at least
90 %). A session is flagged where any of its decisions is over the limit. `--bars`: recorded bars (ts, open, high, low,
close, volume, symbol), read at 5 minutes. Everything else is simulated from fixed seeds. Prints a table; exit 1 where
one of the eleven kinds that are asked for falls short; of the others it says how little or how much is seen.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_model
from models.config import FeatureSettings
from models.features import Features
from models.hrm import HRM
from models.novelty import BAR_COUNTS, STATISTICS, Novelty, groups, window_statistics
from models.training.calibrating import QUANTILE, WINDOW_QUANTILE, windows
from models.training.ingest import read_bars
from models.training.market import BAR_NS, HiddenRegimeMarket
from models.training.markets import HiddenRegime
from models.training.sessions import Sessions, from_table

Floats = NDArray[np.float64]
FIT, LIMIT, FRESH, FOREIGN = 31, 32, 33, 34
"""Seeds; none of them has been trained or calibrated on."""
MARKET = HiddenRegime()
BARS = MARKET.market.bars
DAILY_BARS_1M = 375


class Kind(NamedTuple):
    """A foreign market; `asked`: at least 90 % of its sessions must be flagged."""

    name: str
    sessions: Sessions
    asked: bool = True


def market(volatility: float = 1.0, drift: float = 1.0, slower: float = 1.0) -> HiddenRegime:
    """The training market with other moves; `slower`: its states stay so many times longer."""
    base = MARKET.market
    return HiddenRegime(
        HiddenRegimeMarket(
            drift_bp=base.drift_bp * drift,
            vol_bp=(base.vol_bp[0] * volatility, base.vol_bp[1] * volatility),
            stay_trend=base.stay_trend ** (1 / slower),
            stay_flat=base.stay_flat ** (1 / slower),
            stay_vol=base.stay_vol ** (1 / slower),
        )
    )


def foreign(count: int, seed: int) -> Iterator[Kind]:
    """Every kind, `count` sessions of each."""
    rng = np.random.default_rng(seed)
    base = MARKET.sessions(count, seed)
    bars, starts = _table(base)

    def changed(change: Callable[[Floats], None]) -> Sessions:
        copy = bars.copy()
        change(copy)
        return from_table(copy, starts, "SIM", 300)

    yield Kind("no volume", changed(_no_volume))
    yield Kind("volume always 0", changed(_zero_volume), asked=False)
    yield Kind("tick of 5 rupees (2 bp)", changed(lambda copy: _on_grid(copy, 5.0)))
    yield Kind("tick of 2 rupees (0.8 bp)", changed(lambda copy: _on_grid(copy, 2.0)), asked=False)
    yield Kind("tick of 0.05 rupees (0.02 bp)", changed(lambda copy: _on_grid(copy, 0.05)), asked=False)
    minutes = market(5**-0.5, 0.2, 5.0)
    table = _table(minutes.sessions(5 * count, seed))[0].reshape(count, DAILY_BARS_1M, 5)
    clock = starts[:, :1] + BAR_NS // 5 * np.arange(DAILY_BARS_1M)
    yield Kind("1-minute bars as 5-minute ones", from_table(table, clock, "SIM", 300))
    yield Kind("the same, with a 5-minute clock", minutes.sessions(count, seed), asked=False)
    yield Kind("frozen price", changed(_frozen))
    yield Kind("frozen from noon on", changed(_frozen_at_noon), asked=False)
    yield Kind("volatility × 10", market(10.0, 10.0).sessions(count, seed))
    yield Kind("volatility × 2", market(2.0, 2.0).sessions(count, seed), asked=False)
    order = rng.permuted(np.tile(np.arange(BARS), (count, 1)), axis=1)
    yield Kind("shuffled bars", from_table(np.take_along_axis(bars, order[..., None], 1), starts, "SIM", 300))
    yield Kind("shuffled moves, prices joined again", _rebuilt(base, order=order), asked=False)
    yield Kind("reversed bars", from_table(bars[:, ::-1].copy(), starts, "SIM", 300))
    yield Kind("reversed path", changed(_reverse), asked=False)
    yield Kind("30 % of bars missing", _with_gaps(base, 0.3, rng))
    yield Kind("10 % of bars missing", _with_gaps(base, 0.1, rng), asked=False)
    yield Kind("price / 1000, in ticks of 0.05", changed(lambda copy: _on_grid(copy, 0.05, 1e-3)))
    yield Kind("white noise around one price", _rebuilt(base, noise=rng.standard_normal((count, BARS)) * 7e-4))
    yield Kind("3 spikes of 80 bp a session", _rebuilt(base, spikes=_spikes(count, rng)))
    yield Kind("random walk, never a trend", market(drift=0.0).sessions(count, seed), asked=False)


def _table(sessions: Sessions) -> tuple[Floats, NDArray[np.int64]]:
    """Sessions of equal length as (N, T, 5) and their starts (N, T)."""
    return sessions.bars.reshape(len(sessions), -1, 5), sessions.ts_ns.reshape(len(sessions), -1)


def _no_volume(bars: Floats) -> None:
    bars[..., 4] = np.nan


def _zero_volume(bars: Floats) -> None:
    bars[..., 4] = 0.0


def _on_grid(bars: Floats, tick: float, scale: float = 1.0) -> None:
    bars[..., :4] = np.round(bars[..., :4] * scale / tick) * tick


def _frozen(bars: Floats) -> None:
    bars[..., :4] = bars[:, :1, :1]


def _frozen_at_noon(bars: Floats) -> None:
    bars[:, 40:, :4] = bars[:, 40:41, :1]


def _reverse(bars: Floats) -> None:
    bars[...] = bars[:, ::-1][..., [3, 1, 2, 0, 4]].copy()


def _with_gaps(sessions: Sessions, share: float, rng: np.random.Generator) -> Sessions:
    """Leave bars out, never the first of a session."""
    bars, starts = _table(sessions)
    left = round((1 - share) * BARS) - 1
    kept = np.array(
        [np.append(0, 1 + np.sort(rng.choice(BARS - 1, left, replace=False))) for _ in range(len(sessions))]
    )
    return from_table(
        np.take_along_axis(bars, kept[..., None], 1), np.take_along_axis(starts, kept, 1), "SIM", sessions.interval_s
    )


def _spikes(count: int, rng: np.random.Generator) -> Floats:
    """Moves of 80 bp that come back with the next bar, (N, T)."""
    moves = np.zeros((count, BARS))
    for row in moves:
        for at in rng.choice(np.arange(2, BARS - 2), 3, replace=False):
            size = rng.choice([-80e-4, 80e-4])
            row[at] += size
            row[at + 1] -= size
    return moves


def _rebuilt(
    sessions: Sessions,
    order: NDArray[np.int64] | None = None,
    noise: Floats | None = None,
    spikes: Floats | None = None,
) -> Sessions:
    """The same moves, wicks and volumes in another order, other closes, or other moves on top; opens follow closes."""
    bars, starts = _table(sessions)
    open_, high, low, close = (np.log(bars[..., column]) for column in range(4))
    parts = [close - open_, high - np.maximum(open_, close), np.minimum(open_, close) - low, bars[..., 4]]
    if order is not None:
        parts = [np.take_along_axis(part, order, 1) for part in parts]
    moves, upper, lower, volume = parts
    begin = open_[:, :1]
    closes = begin + np.cumsum(moves if spikes is None else moves + spikes, axis=1)
    if noise is not None:
        closes = begin + noise
    opens = np.concatenate([begin, closes[:, :-1]], axis=1)
    prices = [opens, np.maximum(opens, closes) + upper, np.minimum(opens, closes) - lower, closes]
    return from_table(np.stack([*map(np.exp, prices), volume], axis=-1), starts, "SIM", sessions.interval_s)


class Judge(Protocol):
    """Windows → their distances over the limit, and what is furthest."""

    def of(self, features: Features) -> tuple[Floats, NDArray[np.int64]]:
        """(B,) each."""


class Verdict(NamedTuple):
    """Of one kind: shares of sessions and of decisions over the limit, how often a session goes over or back, why."""

    sessions: float
    decisions: float
    changes: float
    why: str


def judged(judge: Judge, sessions: Sessions, settings: FeatureSettings) -> Verdict:
    """Put sessions before a judge."""
    over: list[NDArray[np.bool_]] = []
    why: Counter[str] = Counter()
    for features, live in windows(sessions, settings):
        distance, furthest = judge.of(features)
        flagged = (distance > 1).reshape(live.shape)
        why.update(STATISTICS[row] for row in furthest[(flagged & live).reshape(-1)])
        over += [row[decided] for row, decided in zip(flagged, live, strict=True)]
    first = why.most_common(1)
    return Verdict(
        float(np.mean([row.any() for row in over])),
        float(np.concatenate(over).mean()),
        float(np.mean([np.abs(np.diff(row.astype(int))).sum() for row in over])),
        first[0][0].replace("_", " ") if first else "",
    )


class Distance:
    """Another distance, with limits of the same kind: fitted on some sessions, held to others."""

    def __init__(self, told: Callable[[Features], Floats], settings: FeatureSettings, sessions: int) -> None:
        self._told = told
        values, group, _ = self._windows(MARKET.sessions(sessions, FIT), settings)
        self._fitted = [self.fit(values[group == index]) for index in range(len(BAR_COUNTS))]
        values, group, session = self._windows(MARKET.sessions(sessions, LIMIT), settings)
        distance = self._distance(values, group)
        limits = [np.quantile(distance[group == index], WINDOW_QUANTILE) for index in range(len(BAR_COUNTS))]
        largest = np.zeros(sessions)
        np.maximum.at(largest, session, distance / np.array(limits)[group])
        self._limits = np.array(limits) * np.quantile(largest, QUANTILE)

    def _windows(self, sessions: Sessions, settings: FeatureSettings) -> tuple[Floats, Floats, Floats]:
        values, group, session, seen = [], [], [], 0
        for features, live in windows(sessions, settings):
            kept = features.take(live.reshape(-1))
            values.append(self._told(kept))
            group.append(groups(window_statistics(kept)[1]))
            session.append(seen + np.nonzero(live)[0])
            seen += len(live)
        return np.concatenate(values), np.concatenate(group), np.concatenate(session)

    def fit(self, values: Floats) -> tuple[Floats, ...]:
        """Centre and whitening, with 5 % shrinkage to the diagonal and a resolution of 0.05."""
        covariance = np.cov(values.T)
        diagonal = np.diag(np.diag(covariance))
        whole = 0.95 * covariance + 0.05 * diagonal + 0.05**2 * np.eye(len(covariance))
        return values.mean(0), np.linalg.inv(np.linalg.cholesky(whole))

    def measure(self, values: Floats, fitted: tuple[Floats, ...]) -> Floats:
        """Mahalanobis."""
        return np.asarray(np.linalg.norm((values - fitted[0]) @ fitted[1].T, axis=1))

    def _distance(self, values: Floats, group: Floats) -> Floats:
        out = np.empty(len(values))
        for index, fitted in enumerate(self._fitted):
            mine = group == index
            out[mine] = self.measure(values[mine], fitted)
        return out

    def of(self, features: Features) -> tuple[Floats, NDArray[np.int64]]:
        """See `Judge`; what is furthest isn't known."""
        group = groups(window_statistics(features)[1])
        distance = self._distance(self._told(features), group) / self._limits[group]
        return distance, np.zeros(len(distance), np.int64)


class Nearest(Distance):
    """Distance to the fifth nearest of 1,500 windows, after whitening."""

    def fit(self, values: Floats) -> tuple[Floats, ...]:
        """Centre, whitening, and some windows."""
        centre, whitening = super().fit(values)
        some = np.random.default_rng(1).choice(len(values), min(1_500, len(values)), replace=False)
        return centre, whitening, (values[some] - centre) @ whitening.T

    def measure(self, values: Floats, fitted: tuple[Floats, ...]) -> Floats:
        """Fifth nearest."""
        out = [np.empty(0)]
        for first in range(0, len(values), 2_000):
            white = (values[first : first + 2_000] - fitted[0]) @ fitted[1].T
            square = np.square(white).sum(1)[:, None] + np.square(fitted[2]).sum(1) - 2 * white @ fitted[2].T
            out.append(np.sqrt(np.maximum(np.partition(square, 4, axis=1)[:, 4], 0.0)))
        return np.concatenate(out)


def pooled(model: HRM) -> Callable[[Features], Floats]:
    """The mean of the tokens that the input network hands to the core."""

    def told(features: Features) -> Floats:
        with torch.inference_mode():
            tokens = model.embed(features)
        valid = torch.ones(tokens.x.shape[:2]) if tokens.valid is None else tokens.valid.float()
        mean = (tokens.x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        return np.asarray(mean.double().numpy())

    return told


def cost_us(novelty: Novelty, settings: FeatureSettings) -> float:
    """What one decision pays, microseconds."""
    features, _ = next(windows(MARKET.sessions(1, FRESH), settings))
    one = features.take(np.array([BARS - 5]))
    began = time.perf_counter()
    for _ in range(2_000):
        novelty.of_one(one)
    return (time.perf_counter() - began) / 2_000 * 1e6


def _compare(model: HRM, novelty: Novelty, settings: FeatureSettings, count: int) -> None:
    """The share of sessions that each distance flags, one column each."""

    def told(features: Features) -> Floats:
        return window_statistics(features)[0]

    judges: dict[str, Judge] = {
        "largest score": novelty,
        "Mahalanobis": Distance(told, settings, 1_500),
        "5th nearest": Nearest(told, settings, 1_500),
        "pooled token": Distance(pooled(model), settings, 1_500),
    }
    print(f"{'sessions flagged, %':36}" + "".join(f"{name:>15}" for name in judges))
    for kind in (Kind("fresh sessions", MARKET.sessions(2_000, FRESH)), *foreign(count, FOREIGN)):
        shares = [judged(judge, kind.sessions, settings).sessions for judge in judges.values()]
        print(f"{kind.name:36}" + "".join(f"{share:15.1%}" for share in shares))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/artifacts/base.safetensors"))
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--bars", type=Path, nargs="*", default=[])
    parser.add_argument("--compare", action="store_true")
    options = parser.parse_args()
    model, manifest = load_model(options.model)
    settings = manifest.config.features
    if manifest.novelty is None:
        print(f"{options.model}: no novelty statistics; hrmd model calibrate gives it some", file=sys.stderr)
        return 2
    novelty = Novelty(manifest.novelty)
    if options.compare:
        _compare(model, novelty, settings, options.sessions)
        return 0
    kinds = [Kind(f"fresh sessions (seed {seed})", MARKET.sessions(2_000, seed)) for seed in (FRESH, FRESH + 100)]
    fresh = len(kinds)
    kinds += foreign(options.sessions, FOREIGN)
    kinds += [Kind(path.stem, read_bars(path, 300)[0], asked=False) for path in options.bars]
    print(f"{'':36}{'sessions':>9}{'flagged':>9}{'decisions':>11}{'changes':>9}  mostly by")
    short = []
    for number, kind in enumerate(kinds):
        found = judged(novelty, kind.sessions, settings)
        missed = kind.asked and (found.sessions > 0.01 if number < fresh else found.sessions < 0.9)
        short += [kind.name] * missed
        print(
            f"{kind.name:36}{len(kind.sessions):9,}{found.sessions:9.1%}{found.decisions:11.1%}{found.changes:9.1f}"
            f"  {found.why}{'  ← falls short' if missed else ''}"
        )
    print(f"one decision pays {cost_us(novelty, settings):.0f} µs for it")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
