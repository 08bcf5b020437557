"""An encoded observation and what was decided → which parts of it spoke for that, and which against.

Each part is replaced by what says nothing of it (no trend, no earlier session known, a cheap trade, the middle of the
day), all else is left as it is, and the network is asked again: what the decision's lead over its best rival loses is
what the part was worth. Effects of parts don't add up to the whole where parts say the same thing. Invariant: the same
features, action and network give the same parts, in the same order; the decision itself is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.belief import BELIEF_FEATURES
from models.config import FeatureSettings
from models.features import (
    BAR_FEATURES,
    COST_UNIT_BP,
    LOG_MINUTES_UNIT,
    Features,
    calendar_names,
)

CHEAP_BP: Final = 0.5
"""What a trade costs where its cost hardly matters."""
SAID: Final = 3
"""Parts that are named in a line."""
LEAST: Final = 0.2
"""An effect smaller than this share of the largest is not worth a word."""
NOTHING: Final = 1e-3
"""Nor is one of fewer logits."""
HALF_A_DAY: Final = math.log1p(187.5) / LOG_MINUTES_UNIT
SHORT_TRENDS: Final = ("trend_2", "trend_4")
LONG_TRENDS: Final = ("trend_8", "trend_16", "trend_32")
MOVES: Final = ("return", "body", "level")
RANGES: Final = ("range", "upper_wick", "lower_wick")
VOLUME: Final = ("volume_z",)

Score = Callable[[Features], NDArray[np.float64]]
"""Lead of the action over the best other that the position allows, in logits, of every row, (B,)."""
Change = Callable[[Features, int], None]
"""Makes a row say nothing of a part."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one part of the observation was worth to a decision."""

    name: str
    effect: float
    """Logits by which it raised the lead of what was decided; negative: it spoke against it."""


def explain(features: Features, settings: FeatureSettings, score: Score, *, briefly: bool = False) -> tuple[Part, ...]:
    """What spoke for and against, the largest effect first; ``features`` of one observation.

    ``briefly`` asks only of trends, moves, costs, earlier sessions, the time and the position: two thirds of the time.
    """
    names, rows = without(features, settings, briefly=briefly)
    leads = score(rows)
    parts = [Part(name, float(leads[0] - lead)) for name, lead in zip(names, leads[1:], strict=True)]
    return tuple(sorted(parts, key=lambda part: (-abs(part.effect), part.name)))


def in_words(parts: tuple[Part, ...], most: int = SAID) -> str:
    """Those that mattered, such as "trend over 8 to 32 bars +, cost −"; "" where none did."""
    largest = max((abs(part.effect) for part in parts), default=0.0)
    said = [part for part in parts if abs(part.effect) >= max(LEAST * largest, NOTHING)][:most]
    return ", ".join(f"{part.name} {'+' if part.effect > 0 else '−'}" for part in said)


def lead(logits: NDArray[np.float32], action: int) -> NDArray[np.float64]:
    """Lead of ``action`` over the best of the others, of logits (B, 5) with −inf where the position forbids."""
    others = np.delete(logits, action, axis=1).max(axis=1)
    return np.asarray(logits[:, action].astype(np.float64) - others)


def without(features: Features, settings: FeatureSettings, *, briefly: bool = False) -> tuple[list[str], Features]:
    """Names of the parts, and the observation (row 0) with each of them missing in turn (the rows after it)."""
    names: list[str] = []
    at = {name: i for i, name in enumerate(calendar_names(settings))}
    unknown = dict.fromkeys((name for name in at if name.startswith(("paid_", "surprise_", "log_sessions"))), 0.0)
    changes: list[tuple[str, Change]] = [
        ("trend over 2 to 4 bars", lambda rows, i: _calendar(rows, i, at, dict.fromkeys(SHORT_TRENDS, 0.0))),
        ("trend over 8 to 32 bars", lambda rows, i: _calendar(rows, i, at, dict.fromkeys(LONG_TRENDS, 0.0))),
        (f"moves of the newest {settings.patch} bars", lambda rows, i: _bars(rows, i, MOVES, slice(-1, None))),
        ("moves of earlier bars", lambda rows, i: _bars(rows, i, MOVES, slice(0, -1))),
        ("time of day", lambda rows, i: _calendar(rows, i, at, _NOON)),
    ]
    if settings.past_sessions:
        changes += [
            ("earlier sessions", lambda rows, i: _calendar(rows, i, at, unknown)),
            ("cost", lambda rows, i: _cheap(rows, i, at)),
        ]
    if "drifting" in at:
        changes.append(("expected drift", lambda rows, i: _calendar(rows, i, at, dict.fromkeys(BELIEF_FEATURES, 0.0))))
    if not briefly:
        changes += [
            ("ranges and wicks", lambda rows, i: _bars(rows, i, RANGES, slice(None))),
            ("volume", lambda rows, i: _bars(rows, i, VOLUME, slice(None))),
            (f"bars of {settings.coarse_interval}", lambda rows, i: rows.coarse.__setitem__(i, 0.0)),
            ("volatility", lambda rows, i: _calendar(rows, i, at, _USUAL_VOLATILITY)),
            ("complexity", lambda rows, i: _calendar(rows, i, at, {"complexity": 0.5})),
        ]
    if features.position.any():
        changes.append(("the open position", lambda rows, i: rows.position.__setitem__(i, 0.0)))
    if features.instrument.any() and not briefly:
        changes.append(("the instrument", lambda rows, i: rows.instrument.__setitem__(i, 0)))
    rows = Features(*(getattr(features, one.name)[np.zeros(1 + len(changes), np.int64)] for one in fields(features)))
    for i, (name, change) in enumerate(changes, 1):
        change(rows, i)
        names.append(name)
    return names, rows


_NOON: Final = {
    "session_share": 0.5, "session_sin": 0.0, "session_cos": -1.0, "log_minutes_done": HALF_A_DAY,
    "log_minutes_left": HALF_A_DAY,
}  # fmt: skip
_USUAL_VOLATILITY: Final = {"log_volatility": 0.0, "log_recent_volatility": 0.0}


def _calendar(rows: Features, i: int, at: dict[str, int], values: dict[str, float]) -> None:
    for name, value in values.items():
        rows.calendar[i, at[name]] = value


def _cheap(rows: Features, i: int, at: dict[str, int]) -> None:
    """The cost alone, and against volatility, as if it were `CHEAP_BP`."""
    cost_bp = COST_UNIT_BP * math.exp(float(rows.calendar[i, at["log_cost"]]))
    rows.calendar[i, at["log_cost"]] = math.log(CHEAP_BP / COST_UNIT_BP)
    rows.calendar[i, at["cost_per_volatility"]] *= CHEAP_BP / cost_bp


def _bars(rows: Features, i: int, names: tuple[str, ...], patches: slice) -> None:
    """What bars say of ``names``: nothing, or for ranges and wicks what they are on average."""
    table = rows.patches[i].reshape(len(rows.patches[i]), -1, len(BAR_FEATURES))  # a view: (P, patch, 9)
    present = table[..., BAR_FEATURES.index("present")] > 0
    for name in names:
        column = table[..., BAR_FEATURES.index(name)]
        usual = float(column[present].mean()) if name in RANGES and present.any() else 0.0
        column[patches] = np.where(present[patches], usual, 0.0)
