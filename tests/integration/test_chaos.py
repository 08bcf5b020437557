"""The daemon as a process, killed again and again while it trades on a misbehaving exchange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("speaks", "kills", "more"),
    [
        ("fyers", 10, ["--brackets"]),
        pytest.param("fyers", 20, [], marks=pytest.mark.nightly),
        pytest.param("openalgo", 20, [], marks=pytest.mark.nightly),
        pytest.param("fyers", 50, ["--brackets"], marks=pytest.mark.nightly),
    ],
)
def test_kills_lose_and_double_nothing(speaks: str, kills: int, more: list[str]) -> None:
    """After every restart positions, working orders and cash are the exchange's; some kills hit journal boundaries.

    With brackets no stop or target is left without its position, no position without its stop. What an adapter does of
    its own is held by `tests/conformance` in every run.
    """
    wanted = ["--kills", str(kills), "--seed", "7", "--speaks", speaks, *more]
    done = subprocess.run(
        [sys.executable, "benchmarks/chaos.py", *wanted, "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["differences"] == []
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["kills"] >= kills
    assert found["compared"] >= kills // 2
    assert found["orders"] >= kills
    assert any("on disk" in moment for moment in found["kills_by_moment"])
