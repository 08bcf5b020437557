"""A share that was held over a night, because its ticks ended before the square-off: what that costs isn't counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples import LIVELY, OPEN, play, write_tape

SECOND = 1_000_000_000
DAY_S = 86_400
RULES = ("strategy.rules.slow=8", "strategy.rules.fast=3", "strategy.rules.min_bars=5", "risk.stale_after_s=100000")


@pytest.mark.parametrize("over_night", [True, False])
def test_the_run_says_that_it_pays_as_for_a_day(tmp_path: Path, *, over_night: bool) -> None:
    """On the 5th at 09:47 the ticks end with a long position; they go on on the 6th, or not at all."""
    minutes, prices = list(range(32)), [800.0] * 10 + [800.0 + minute for minute in range(22)]
    if over_night:
        minutes += [DAY_S // 60 + minute for minute in range(10)]
        prices += [822.0 + minute / 10 for minute in range(10)]
    times = [OPEN + 60 * SECOND * minute + 10 * SECOND for minute in minutes]
    _, summary = play(write_tape(tmp_path / "t.parquet", times, prices), *LIVELY, *RULES)
    assert summary.fills, summary
    told = [note for note in summary.notes if "over a night" in note]
    if not over_night:
        assert told == []
        return
    assert len(told) == 1, summary.notes
    assert "1 trade in shares" in told[0]
    assert "LONG" in told[0]
    assert "NSE:SBIN-EQ, 2026-01-05 to 2026-01-06)" in told[0]
