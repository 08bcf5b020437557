"""A replay whose decisions are thought of in batches ahead of the tape is the replay that thinks of them one by one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.core.clock import NS_PER_S
from daemon.core.json_form import plain
from daemon.run.replaying import Replay
from tests.samples import CLOSE, DAY, HRM, MINUTE, OPEN, RELIANCE, SBIN, play, wave, write_tape

TRADING = (
    *HRM, "hierarchical_reasoning_model.novelty.enabled=false", "strategy.interval=5m", "bars.intervals=[5m, 30m]",
    "hierarchical_reasoning_model.act.max_segments=4", "performance.runtime=native", "performance.precision=fp32",
)  # fmt: skip
"""A small untrained network on 5-minute bars that trades a dozen times a day."""


def rows_of(journal: Path) -> list[tuple[Any, ...]]:
    """The events of a journal, byte for byte."""
    db = sqlite3.connect(journal)
    rows = db.execute("SELECT seq, ts, type, body FROM events ORDER BY seq").fetchall()
    db.close()
    return rows


def lived(tape: Path | list[Path], place: Path, ahead: int, *overrides: str, latency: str = "zero") -> Any:
    """What a replay journals and comes to, and how many of its decisions were known ahead."""
    journal = place / f"{ahead}.sqlite"
    made, summary = play(
        tape, *TRADING, f"performance.decisions_ahead={ahead}", *overrides, latency=latency, journal=journal
    )
    figures = plain(summary)
    figures.update(wall_s=0.0, ticks_per_s=0.0)
    figures["hrm_metrics"]["inference_ms"] = None
    return (figures, rows_of(journal)), known_ahead(made)


def known_ahead(replay: Replay) -> int:
    """Decisions of a replay that were thought of in batches."""
    foreseer = replay.app.strategy.foreseer
    return foreseer.known_ahead if foreseer is not None else 0


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of two days that swing, and their last minutes, in which all is squared off."""
    return swinging(tmp_path_factory.mktemp("ahead") / "t.parquet", 2)


def swinging(path: Path, days: int, symbol: str = SBIN, after: float = 1.0, every_s: int = 20) -> Path:
    """So many days; from the second on prices are multiplied by `after`."""
    times, prices = wave(120, days=days, every_s=every_s)
    ends = [(CLOSE + day * DAY - left * NS_PER_S, 800.0) for day in range(days) for left in range(1500, 0, -60)]
    both = sorted([*zip(times, prices, strict=True), *ends])
    levels = [round(price * (after if ts > OPEN + DAY - MINUTE else 1.0), 1) for ts, price in both]
    return write_tape(path, [ts for ts, _ in both], levels, symbol)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("latency", ["zero", "fixed:700"])
def test_whatever_the_batch_it_is_the_one_by_one_run(tape: Path, tmp_path: Path, latency: str) -> None:
    """Journal, figures and money of batches of 3 and of 512."""
    alone, none = lived(tape, tmp_path, 0, latency=latency)
    assert alone[0]["trades"] > 5
    assert none == 0
    for size in (3, 512):
        together, known = lived(tape, tmp_path, size, latency=latency)
        assert together == alone
        assert known == alone[0]["decisions"] - 8  # the first four bars of a day are too few to be read


@pytest.mark.usefixtures("kernels")
def test_two_symbols_a_split_and_a_jump(tmp_path: Path) -> None:
    """Bars that close together, windows that reach over the night, a named split of one and a jump of the other."""
    tapes = [
        swinging(tmp_path / "a.parquet", 2, SBIN, 0.5), swinging(tmp_path / "b.parquet", 2, RELIANCE, 1.3, 60),
    ]  # fmt: skip
    named = f"market.adjustments=[{{symbol: '{SBIN}', date: 2026-01-06, kind: split, ratio: 1/2}}]"
    rolling = "hierarchical_reasoning_model.features.history=rolling"
    alone, _ = lived(tapes, tmp_path, 0, rolling, named)
    together, known = lived(tapes, tmp_path, 64, rolling, named)
    assert {"PriceAdjusted", "PriceJumped"} <= {kind for _, _, kind, _ in alone[1]}
    assert together == alone
    assert known == alone[0]["decisions"] - 12


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("performance.runtime=torch",), "the runtime answers a row with other last bits"),
        (("hierarchical_reasoning_model.carry_state=session",), "carried from bar to bar"),
        (("performance.decision_cache_size=9",), "decisions are kept"),
        (("shadow.agents=[{name: quick, strategy: rules}]",), "shadow agents think beside: quick"),
    ],
)
def test_where_it_is_not_allowed_one_line_says_why(tape: Path, overrides: tuple[str, ...], reason: str) -> None:
    """And the decisions are made one by one."""
    with capture_logs() as logs:
        made, _ = play(tape, *TRADING, *overrides)
    said = [line["reason"] for line in logs if line["event"] == "decisions are thought of one by one"]
    assert len(said) == 1
    assert reason in said[0]
    assert known_ahead(made) == 0


@pytest.mark.usefixtures("kernels")
def test_recorded_latency_is_replayed_one_by_one(tape: Path, tmp_path: Path) -> None:
    """It bounds the depth of single decisions."""
    journal = tmp_path / "j.sqlite"
    _, first = play(tape, *TRADING, journal=journal)
    with capture_logs() as logs:
        made, again = play(tape, *TRADING, latency=f"recorded:{journal}")
    assert any("recorded latency" in str(line.get("reason")) for line in logs)
    assert known_ahead(made) == 0
    assert again.decisions_sha256 == first.decisions_sha256
