"""`hrmd tape info` counts what `hrmd replay` counts, for any tapes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from daemon.core.errors import UsageError
from daemon.feed.survey import TapeSurvey
from daemon.report.summary import ReplaySummary
from daemon.run.surveying import survey_tapes
from daemon.tape.format import TapeWriter
from tests.depth import examples
from tests.samples import DAY, LIVELY, OPEN, RELIANCE, SBIN, play, settings_of, ticks

SECOND = 1_000_000_000
SYMBOLS = (SBIN, RELIANCE, "NSE:NIFTY50-INDEX", "no such thing")
MANGLINGS = ("none", "shuffled", "by symbol", "reversed", "doubled")


@st.composite
def tapes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Columns of one or two tapes: up to four symbols over a day or two, in any order, with faults of every kind."""
    return [draw(columns()) for _ in range(draw(st.integers(1, 2)))]


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    """One tape."""
    n = draw(st.integers(1, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    at = np.sort(random.integers(-60, 23_000 if draw(st.booleans()) else 900, n)) * SECOND
    code = random.integers(0, draw(st.integers(1, 4)), n)
    ts = OPEN + at + (DAY * random.integers(0, 2, n) if draw(st.booleans()) else 0)
    ltp = np.round(100 + random.normal(0, 0.3, n).cumsum(), 2)
    share = draw(st.sampled_from([0.0, 0.05, 0.3]))
    for values, bad in ((ts, (0, OPEN + 40 * DAY * 365, OPEN + 3600 * SECOND, OPEN - DAY)), (ltp, (-1.0, 0.0, 400.0))):
        hit = random.random(n) < share / 2
        values[hit] = random.choice(np.array(bad, dtype=values.dtype), int(hit.sum()))
    order = np.arange(n)
    match draw(st.sampled_from(MANGLINGS)):
        case "shuffled":
            order = random.permutation(n)
        case "by symbol":
            order = np.argsort(code, kind="stable")
        case "reversed":
            order = order[::-1]
        case "doubled":
            order = np.repeat(order, 2)
    lag = random.integers(0, draw(st.sampled_from([1, 3, 400])), n) * SECOND
    return {
        "ts": ts[order], "ltp": ltp[order], "code": code[order], "volume": np.arange(len(order)) * 5,
        "ts_recv": (ts + lag)[order] if draw(st.booleans()) else np.full(len(order), -1),
    }  # fmt: skip


def written(directory: Path, found: list[dict[str, Any]]) -> list[Path]:
    """The tapes as files."""
    paths = [directory / f"{number}.parquet" for number in range(len(found))]
    for path, tape in zip(paths, found, strict=True):
        values = dict(tape)
        with TapeWriter(path) as writer:
            writer.write(ticks(values.pop("ts"), values.pop("ltp"), SYMBOLS, **values))
    return paths


def info(paths: list[Path], *overrides: str) -> TapeSurvey:
    """As `hrmd tape info`."""
    return asyncio.run(survey_tapes(settings_of(*overrides), paths))


@settings(max_examples=examples(120))
@given(tapes(), st.sampled_from([(), LIVELY, ("bars.grace_ms=0",)]))
@example(
    [{"ts": np.tile(OPEN + np.arange(60) * 60 * SECOND, 2), "ltp": np.full(120, 100.0), "code": np.repeat([0, 1], 60),
      "volume": np.arange(120), "ts_recv": np.full(120, -1)}],
    (),
)  # fmt: skip
def test_info_counts_what_a_replay_counts(found: list[dict[str, Any]], overrides: tuple[str, ...]) -> None:
    """Accepted ticks, every reason of rejection, and the repairs."""
    with tempfile.TemporaryDirectory() as directory:
        paths = written(Path(directory), found)
        survey = info(paths, *overrides, "strategy.name=rules")
        try:
            summary: ReplaySummary | None = play(paths, *overrides, "strategy.name=rules")[1]
        except UsageError:  # not one tick could be used
            event("no tick could be used")
            summary = None
    if summary is None:
        assert survey.accepted == 0
        return
    assert summary.ticks_rejected == {reason: count for reason, count in survey.rejected.items() if count}
    assert summary.ticks_accepted == survey.accepted == sum(item.accepted for item in survey.symbols.values())
    assert summary.ticks == survey.rows == sum(item.rows for item in survey.symbols.values())
    assert summary.ticks_repaired == sum(survey.repaired.values())
