"""What `hrmd replay` writes for notebooks says the same as its summary and its journal."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from daemon.core.events import Decision, Fill
from tests.samples import LIVELY, journaled, play, wave, write_tape


def test_the_tables_agree_with_the_summary_and_the_journal(tmp_path: Path) -> None:
    """Every fill, round trip, decision and session, to the paisa and the nanosecond."""
    tape = write_tape(tmp_path / "t.parquet", *wave(60, days=2))
    paths = {name: tmp_path / f"{name}.parquet" for name in ("bars", "fills", "trades", "decisions", "equity")}
    replay, summary = play(tape, *LIVELY, journal=tmp_path / "j.sqlite", **paths)
    rows = {name: pq.read_table(path).to_pylist() for name, path in paths.items()}
    fills, decisions = journaled(tmp_path / "j.sqlite", Fill), journaled(tmp_path / "j.sqlite", Decision)
    assert [(row["fill_id"], row["price"], row["costs"]) for row in rows["fills"]] == [
        (fill.fill_id, fill.price, fill.costs) for fill in fills
    ]
    assert [(row["ts"].value, row["action"], row["confidence"]) for row in rows["decisions"]] == [
        (one.ts, one.action.name, one.confidence) for one in decisions
    ]
    assert len(rows["trades"]) == summary.trades > 2
    assert [row["net_pnl"] for row in rows["trades"]] == [trade.net_pnl for trade in replay.tally.trades]
    assert [row["equity"] for row in rows["equity"]] == [point.equity for point in summary.equity]
    assert len(rows["bars"]) == summary.bars


def test_what_nobody_did_is_an_empty_table(tmp_path: Path) -> None:
    """With its columns."""
    tape = write_tape(tmp_path / "t.parquet", *wave(3))
    paths = {name: tmp_path / f"{name}.parquet" for name in ("fills", "trades")}
    play(tape, *LIVELY, **paths)
    assert [(len(table), len(table.columns)) for table in map(pq.read_table, paths.values())] == [(0, 8), (0, 10)]
