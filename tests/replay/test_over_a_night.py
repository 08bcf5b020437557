"""What was held over a night, because its ticks ended before the square-off: of a share the costs aren't counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples import LIVELY, OPEN, SBIN, play, write_tape

SECOND = 1_000_000_000
DAY_S = 86_400
RULES = ("strategy.rules.slow=8", "strategy.rules.fast=3", "strategy.rules.min_bars=5", "risk.stale_after_s=100000")


@pytest.mark.parametrize("over_night", [True, False])
@pytest.mark.parametrize(
    ("symbol", "said"),
    [(SBIN, "in shares"), ("NSE:NIFTY26JANFUT", "in contracts"), ("NSE:NIFTY50-INDEX", "in contracts")],
)
def test_the_run_says_what_went_over_a_night(tmp_path: Path, symbol: str, said: str, *, over_night: bool) -> None:
    """On the 5th at 09:47 the ticks end with a long position; they go on on the 6th, or not at all."""
    minutes, prices = list(range(32)), [800.0] * 10 + [800.0 + minute for minute in range(22)]
    if over_night:
        minutes += [DAY_S // 60 + minute for minute in range(10)]
        prices += [822.0 + minute / 10 for minute in range(10)]
    times = [OPEN + 60 * SECOND * minute + 10 * SECOND for minute in minutes]
    _, summary = play(write_tape(tmp_path / "t.parquet", times, prices, symbol), *LIVELY, *RULES)
    assert summary.fills, summary
    told = [note for note in summary.notes if "over a night" in note]
    if not over_night:
        assert told == []
        return
    assert len(told) == 1, summary.notes
    assert f"1 trade {said}" in told[0]
    assert "LONG" in told[0]
    assert f"{symbol}, 2026-01-05 to 2026-01-06)" in told[0]
    assert ("STT" in told[0]) == (said == "in shares")
