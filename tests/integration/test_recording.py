"""A daemon that records is killed in the session: its tape has what came before and after, and names the hole."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.core.events import Bar, FeedState
from daemon.tape.format import TapeReader
from daemon.tape.marks import marks_of
from tests.integration.daemons import PATIENCE_S, hrmd, running
from tests.samples import LIVELY, NS_PER_S, OPEN, journaled, play, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=240", "control.enabled=true")
MIDDLE = 200
"""The minute at which the second daemon takes over."""


def stamps(tape: Path) -> list[int]:
    """`ts_event` of every tick."""
    return [int(ts) for batch in TapeReader([tape]).batches(65_536) for ts in batch.ts_event]


def bars_of(tape: Path, directory: Path) -> list[tuple[object, ...]]:
    """The bars of a replay, (interval, close, …) each."""
    play(tape, *LIVELY, bars=directory / "bars.parquet")
    table = pq.read_table(directory / "bars.parquet")
    closes = table["ts_close"].cast(pa.int64()).to_pylist()
    others = [table[name].to_pylist() for name in ("open", "high", "low", "close", "ticks", "gap")]
    return list(zip(table["interval"].to_pylist(), closes, *others, strict=True))


def live_bars(journal: Path) -> list[tuple[object, ...]]:
    """The bars that a daemon made: those that its decisions saw."""
    return [
        (bar.interval, bar.ts_close, bar.open, bar.high, bar.low, bar.close, bar.ticks, bar.gap)
        for bar in journaled(journal, Bar)
    ]


@pytest.fixture(scope="module")
def day() -> tuple[list[int], list[float]]:
    """A session with a tick each second."""
    return wave(375, every_s=1)


def test_killed_in_the_session(day: tuple[list[int], list[float]], tmp_path: Path) -> None:
    """What came before the kill, to the last flush, then the rest; the bars of both parts are those made live."""
    ts, prices = day
    places = (f"feed.record.path={tmp_path}/tapes", "feed.record.when=always", "feed.record.flush_s=0.1")
    whole = write_tape(tmp_path / "whole.parquet", ts, prices)
    with running(tmp_path, whole, *CALM, *places) as first:
        first.until("ten minutes on the disk", lambda: first.status()["recorder"]["recorded"] > 600)
        kept = first.status()["recorder"]["recorded"]
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(PATIENCE_S)
    rest = int(np.searchsorted(ts, OPEN + MIDDLE * 60 * NS_PER_S))
    second_part = write_tape(tmp_path / "rest.parquet", ts[rest:], prices[rest:])
    (tmp_path / "again").mkdir()
    with running(tmp_path / "again", second_part, *CALM, *places, "feed.speed=6000") as second:
        assert second.process.wait(PATIENCE_S) == 0
        cut = [line for line in second.log if line["event"] == "a recording was cut off: up to its last flush is kept"]
    assert len(cut) == 1

    tape = tmp_path / "tapes" / "2026-01-05.parquet"
    found = stamps(tape)
    before = len(found) - (len(ts) - rest)
    assert before >= kept
    assert found == ts[:before] + ts[rest:]
    holes = [mark for mark in marks_of(TapeReader([tape]).notes) if mark.status.state is FeedState.STALE]
    assert [(mark.place, mark.status.reason) for mark in holes] == [(ts[before - 1], "the recording was cut off here")]

    replayed = bars_of(tape, tmp_path)
    seen = {"1m", "30m"}
    again = [bar for bar in replayed if bar[0] in seen]
    once = [bar for bar in live_bars(first.journal) if bar[1] <= ts[before - 1]]
    assert len(once) >= 9
    assert again[: len(once)] == once
    after = [bar for bar in live_bars(second.journal) if bar[1] > OPEN + (MIDDLE // 30 * 30 + 30) * 60 * NS_PER_S]
    assert len(after) > 100
    assert [bar for bar in again if bar[1] > OPEN + (MIDDLE // 30 * 30 + 30) * 60 * NS_PER_S] == after
    flagged = [bar for bar in again if bar[-1]]
    assert {bar[1] for bar in flagged if bar[0] == "1m"} >= {OPEN + (before // 60 + 1) * 60 * NS_PER_S}


def test_a_recording_by_itself_survives_a_kill(day: tuple[list[int], list[float]], tmp_path: Path) -> None:
    """`hrmd tape seal` makes a tape of what the killed one left: a beginning of the day, nothing else."""
    ts, prices = day
    whole = write_tape(tmp_path / "whole.parquet", ts, prices)
    with running(
        tmp_path,
        whole,
        *CALM,
        f"feed.record.path={tmp_path}/tapes",
        "feed.record.when=always",
        "feed.record.flush_s=0.1",
    ) as daemon:
        daemon.until("ticks", lambda: daemon.status()["recorder"]["recorded"] > 60)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(PATIENCE_S)
    done = hrmd("tape", "seal", str(tmp_path / "tapes"))
    assert done.returncode == 0, done.stderr
    found = stamps(tmp_path / "tapes" / "2026-01-05.parquet")
    assert len(found) > 60
    assert found == ts[: len(found)]
