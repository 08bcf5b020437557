"""A survey says what a replay would find."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from daemon.feed.survey import TapeSurvey
from daemon.run.surveying import survey_tapes
from daemon.tape.format import TapeWriter
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, settings_of, write_tape
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch


def survey(*tapes: Path, chunk_rows: int = 131_072) -> TapeSurvey:
    """As `hrmd tape info` does."""
    return asyncio.run(survey_tapes(settings_of(f"feed.chunk_rows={chunk_rows}"), list(tapes)))


@pytest.mark.parametrize("chunk_rows", [1_024, 131_072])
def test_a_survey_of_two_days(tmp_path: Path, chunk_rows: int) -> None:
    """Rows and rejections, the sessions, and for each symbol its prices and quantity over the accepted ticks."""
    path = tmp_path / "t.parquet"
    n = 5_000
    ts = np.concatenate([np.arange(n), 86_400 + np.arange(4), [-1]])
    code = np.zeros(n + 5)
    code[7] = 1
    ltp = np.linspace(100, 110, n + 5)
    ltp[[4_900, 20]] = [95.0, -1.0]
    with TapeWriter(path, columns=["volume"], notes={"simulated": "true", "seed": "9"}) as writer:
        writer.write(make_batch((SBIN, "no such thing"), code=code, ts_event=ts, ltp=ltp, volume=np.arange(n + 5) * 2))

    found = survey(path, chunk_rows=chunk_rows)

    assert (found.rows, found.accepted) == (n + 5, n + 2)
    assert {reason: count for reason, count in found.rejected.items() if count} == {
        "unknown_symbol": 1,
        "bad_price": 1,
        "outside_session": 1,
    }
    assert found.sessions == ["2026-01-05", "2026-01-06"]
    assert (found.first_ts, found.last_ts) == (OPEN_NS - SECOND, OPEN_NS + 86_403 * SECOND)
    assert (found.simulated, found.notes["seed"]) == (True, "9")
    assert found.bytes == path.stat().st_size
    known, other = found.symbols[SBIN], found.symbols["no such thing"]
    assert (known.rows, known.accepted, known.first, known.low) == (n + 4, n + 2, 100.0, 95.0)
    assert known.high == known.last == ltp[-2]
    assert known.traded == 2 * (n - 1) + 6
    assert 4 <= len(known.path) <= 64
    assert (other.rows, other.accepted, other.first, other.path) == (1, 0, None, [])


def test_late_ticks_are_counted(tmp_path: Path) -> None:
    """One symbol after the other: the second comes after its bars were closed, but for its last one."""
    minutes = [OPEN + minute * MINUTE for minute in range(60)]
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=()) as writer:
        for name in (SBIN, RELIANCE):
            writer.write(make_batch((name,), ts_event=[(ts - OPEN) / SECOND for ts in minutes], ltp=[100.0] * 60))

    found = survey(path)

    assert found.rejected["late"] == 55
    assert (found.symbols[SBIN].accepted, found.symbols[RELIANCE].accepted, found.accepted) == (60, 5, 65)


def test_several_tapes_are_merged_as_in_a_replay(tmp_path: Path) -> None:
    """A tape a symbol: nothing of the second is late, for a replay merges them by time of receipt."""
    minutes = [OPEN + minute * MINUTE for minute in range(60)]
    tapes = [write_tape(tmp_path / f"{name[4:8]}.parquet", minutes, [100.0] * 60, name) for name in (SBIN, RELIANCE)]

    found = survey(*tapes)

    assert (found.rejected["late"], found.accepted) == (0, 120)


def test_a_tape_beyond_the_calendar_can_be_looked_at(tmp_path: Path) -> None:
    """A replay refuses it; a survey says that all of it is outside."""
    found = survey(write_tape(tmp_path / "t.parquet", [4_000_000_000 * SECOND], [1.0]))
    assert (found.accepted, found.rejected["outside_session"]) == (0, 1)
