"""What `benchmarks/rules.py` says of the rules is what the whole daemon does with them on the same ticks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.core.events import Fill
from tests.samples import journaled, play

ROOT = Path(__file__).resolve().parents[2]
OFTEN = (
    "strategy.rules.fast=3", "strategy.rules.slow=8", "strategy.rules.min_bars=10",
    "strategy.rules.not_before_minutes=60", "strategy.rules.min_trend=0.5", "strategy.rules.pays=1",
    "strategy.rules.once=false", "strategy.rules.quantity=10",
)  # fmt: skip


def test_the_table_is_what_a_replay_does(tmp_path: Path) -> None:
    """As many round trips, and the same profit but for the second between a bar's close and a fill."""
    tape = tmp_path / "tapes" / "t.parquet"
    tape.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    make = [sys.executable, "-m", "daemon", "tape", "simulate", "--out", str(tape), "--sessions", "6", "--seed", "3"]
    make += ["--symbol", "NSE:SBIN-EQ=800", "--start", "2021-01-04", "--ticks", "10000"]
    subprocess.run(make, check=True, capture_output=True, cwd=ROOT, env=environment)
    free = ("broker.paper.spread_bp=0", "broker.paper.slippage_bp=0")
    play(tape, "strategy.name=rules", *OFTEN, *free, journal=tmp_path / "j.sqlite")
    fills = journaled(tmp_path / "j.sqlite", Fill)
    flow = -sum(float(fill.side.sign * fill.quantity * fill.price) for fill in fills)

    command = [sys.executable, "benchmarks/rules.py", str(tape.parent), "--json"]
    command += [word for setting in OFTEN for word in ("--set", setting)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    year, total = json.loads(done.stdout)
    assert "sessions left" in done.stderr
    assert total == {**year, "year": "all"}
    assert len({fill.order_id for fill in fills}) == 2 * total["trades"] >= 10
    assert flow / 8000 * 1e4 == pytest.approx(total["gross_bp"], abs=3.0 * total["trades"])
