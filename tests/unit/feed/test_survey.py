"""A survey says what a replay would find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.feed.survey import survey_tape
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import Instrument
from daemon.tape.format import TapeReader, TapeWriter
from tests.unit.feed.ticks import OPEN_NS, SECOND, listed, make_batch


class OnlyAaa:
    """Knows AAA."""

    def resolve(self, symbol: str) -> Instrument | None:
        """Return what is known."""
        return listed(symbol) if symbol == "AAA" else None


@pytest.mark.parametrize("chunk_rows", [1_024, 131_072])
def test_a_survey_of_two_days(tmp_path: Path, chunk_rows: int) -> None:
    """Rows and rejections, the sessions, and for each symbol its prices and quantity over the accepted ticks."""
    path = tmp_path / "t.parquet"
    n = 5_000
    ts = np.concatenate([np.arange(n), 86_400 + np.arange(2), [-1]])
    code = np.zeros(n + 3)
    code[7] = 1
    ltp = np.linspace(100, 110, n + 3)
    ltp[[4_900, 20]] = [95.0, -1.0]
    with TapeWriter(path, columns=["volume"], notes={"simulated": "true", "seed": "9"}) as writer:
        writer.write(make_batch(("AAA", "BBB"), code=code, ts_event=ts, ltp=ltp, volume=np.arange(n + 3) * 2))

    survey = survey_tape(TapeReader([path]), TickFilter(OnlyAaa(), MarketCalendar(), 20.0), chunk_rows=chunk_rows)

    assert (survey.rows, survey.accepted) == (n + 3, n)
    assert {reason: count for reason, count in survey.rejected.items() if count} == {
        "unknown_symbol": 1,
        "bad_price": 1,
        "outside_session": 1,
    }
    assert survey.sessions == ["2026-01-05", "2026-01-06"]
    assert (survey.first_ts, survey.last_ts) == (OPEN_NS - SECOND, OPEN_NS + 86_401 * SECOND)
    assert (survey.simulated, survey.notes["seed"]) == (True, "9")
    assert survey.bytes == path.stat().st_size
    found, other = survey.symbols["AAA"], survey.symbols["BBB"]
    assert (found.rows, found.accepted, found.first, found.low) == (n + 2, n, 100.0, 95.0)
    assert found.high == found.last == ltp[-2]
    assert found.traded == 2 * (n - 1) + 2
    assert found.path[-1] == found.last
    assert len(found.path) >= 4
    assert (other.rows, other.accepted, other.first, other.path) == (1, 0, None, [])
