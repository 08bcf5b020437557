"""A model and sessions → whether any decision saw what came after it.

The sessions are cut short after some decisions, nothing behind the cut is kept, and what the model reads and decides up
to there is made again. Invariant: what is compared was made from two sets that are equal up to the cut, and from
nothing else; so a difference is something that was taken from behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.act import AdaptiveComputationTime
from models.hrm import HRM
from models.training.batches import BatchSettings, make_batch
from models.training.policy import adaptive_policy, of_model
from models.training.sessions import Floats, Ints, Sessions

READ = ("patches", "coarse", "calendar", "valid", "position", "complexity")
"""What a decision is made from; compared bit for bit."""
CLOSE = 1e-4
"""Values of the same features in another batch differ in their last bits."""

Prepared = Callable[[Sessions], Sessions]
"""What is worked out of sessions before a model reads them: complexity."""


@dataclass(frozen=True)
class Difference:
    """The first decision before a cut that came out otherwise: of which symbol, when (UTC ns), and in what."""

    symbol: str
    ts_ns: int
    what: str


@dataclass(frozen=True)
class LookAhead:
    """So many cuts, the decisions before them that were made again, and the first that differs; None: all are equal."""

    cuts: int
    decisions: int
    difference: Difference | None


def look_ahead(
    model: HRM,
    act: AdaptiveComputationTime,
    sessions: Sessions,
    settings: BatchSettings,
    cost_bp: Floats,
    prepared: Prepared,
    *,
    cuts: int = 5,
    in_time: bool = True,
) -> LookAhead:
    """Cut at ``cuts`` places and make again the decisions of the session that is cut, and of the one before it.

    ``in_time``: at a cut no symbol has anything later; without, sessions were drawn and have no common time: those
    behind the one that is cut are dropped. ``cost_bp`` (N,): what a trade costs.
    """
    own = of_model(settings, model)
    sessions = replace(sessions, chosen_from=None)  # neither set sees more of earlier ones than the other
    whole, compared = prepared(sessions), 0
    for row, bars in _places(sessions, cuts):
        part, kept = _until(sessions, row, bars, in_time=in_time)
        part = prepared(part)
        for before in (row - 1, row):
            if before not in kept:
                continue
            rows = np.array([before]), np.array([int(np.flatnonzero(kept == before)[0])])
            count = int(part.lengths[rows[1][0]]) - 1
            found = _difference(model, act, own, (whole, part), rows, cost_bp[before], count)
            compared += count
            if found is not None:
                step, what = found
                ts = int(sessions.ts_ns[sessions.offsets[before] + step]) + sessions.interval_s * 1_000_000_000
                said = Difference(sessions.symbols[sessions.symbol[before]], ts, what)
                return LookAhead(cuts, compared, said)
    return LookAhead(cuts, compared, None)


def _places(sessions: Sessions, cuts: int) -> Iterator[tuple[int, int]]:
    """Sessions, evenly spread, the last one among them, and how many bars of each are kept: a third, half, most."""
    rows = np.unique(np.linspace(0, len(sessions) - 1, cuts + 1).round().astype(int)[1:])
    for number, row in enumerate(rows.tolist()):
        length = int(sessions.lengths[row])
        if length > 2:
            yield row, max(2, round(length * (1 / 3, 1 / 2, 4 / 5)[number % 3]))


def _until(sessions: Sessions, row: int, bars: int, *, in_time: bool) -> tuple[Sessions, Ints]:
    """What there was after the first ``bars`` of session ``row``: the sessions, and which of the whole they are."""
    number = np.repeat(np.arange(len(sessions)), sessions.lengths)
    last = int(sessions.offsets[row]) + bars - 1
    there = sessions.ts_ns <= sessions.ts_ns[last] if in_time else np.arange(len(number)) <= last
    counts = np.bincount(number[there], minlength=len(sessions))
    there &= counts[number] >= 2  # a single bar is no session yet
    kept = np.flatnonzero(counts >= 2)
    part = replace(
        sessions,
        bars=np.asarray(sessions.bars)[there],
        ts_ns=np.asarray(sessions.ts_ns)[there],
        offsets=np.append(0, np.cumsum(counts[kept])).astype(np.int64),
        symbol=sessions.symbol[kept],
        expected_bp=np.asarray(sessions.expected_bp)[there],
        cost_bp=None if sessions.cost_bp is None else sessions.cost_bp[kept],
        hours_ns=None if sessions.hours_ns is None else sessions.hours_ns[kept],
        complexity=None,
        chosen_from=None,
    )
    return part, kept


def _difference(
    model: HRM,
    act: AdaptiveComputationTime,
    settings: BatchSettings,
    sets: tuple[Sessions, Sessions],
    rows: tuple[Ints, Ints],
    cost_bp: float,
    count: int,
) -> tuple[int, str] | None:
    """The first of ``count`` decisions that isn't the same in both sets, and in what it differs."""
    cost = np.full(1, cost_bp)
    batches = [
        make_batch(each, row, settings, model.vocabularies, cost_bp=cost).features
        for each, row in zip(sets, rows, strict=True)
    ]
    said = [adaptive_policy(model, act, each.select(row), settings, cost) for each, row in zip(sets, rows, strict=True)]
    for step in range(count):
        for name in READ:
            one, other = (getattr(batch, name)[step] for batch in batches)
            if not np.array_equal(one, other, equal_nan=True):
                return step, f"what it read ({name})"
        if not np.array_equal(said[0].actions[0, step], said[1].actions[0, step]):
            return step, "its action"
        if said[0].depth[0, step] != said[1].depth[0, step]:
            return step, "its depth"
        if not np.allclose(said[0].value[0, step], said[1].value[0, step], atol=CLOSE):
            return step, "its value"
    return None
