"""Reels become a tape: every tick of them, once, whatever interrupted it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.errors import TapeError
from daemon.core.events import FeedState, FeedStatus, TickBatch
from daemon.tape.format import TapeReader
from daemon.tape.marks import Mark, marks_of
from daemon.tape.recorded import reel_path, reels_by_day, tape_path
from daemon.tape.reel import ReelWriter
from daemon.tape.sealing import seal
from tests.samples import OPEN, SBIN, tick, ticks, write_tape

DAY = "2026-01-05"
SILENT = Mark(
    status=FeedStatus(ts=OPEN + 4 * NS_PER_S + 1, state=FeedState.STALE, symbol=SBIN, reason="silent"),
    told=OPEN, after=OPEN + 4 * NS_PER_S,
)  # fmt: skip


def reel(directory: Path, number: int, *items: TickBatch | Mark, ended: bool = True) -> Path:
    """A reel of the day."""
    path = reel_path(directory, DAY, number)
    writer = ReelWriter(path)
    writer.append(items)
    writer.finish() if ended else writer.abandon()
    return path


def some(first: int, n: int = 5) -> TickBatch:
    """Ticks a second apart."""
    seconds = range(first, first + n)
    return ticks([OPEN + s * NS_PER_S for s in seconds], [800.0 + s for s in seconds])


def seconds_of(directory: Path) -> list[int]:
    """Which seconds after the open the sealed tape has ticks of."""
    reader = TapeReader([tape_path(directory, DAY)])
    return [int(ts - OPEN) // NS_PER_S for batch in reader.batches(2048) for ts in batch.ts_event]


def told(directory: Path) -> list[tuple[int, str]]:
    """(place, reason) of what the sealed tape's notes say of the feed."""
    return [(mark.place, mark.status.reason) for mark in marks_of(TapeReader([tape_path(directory, DAY)]).notes)]


def test_a_day_becomes_a_tape(tmp_path: Path) -> None:
    """Ticks and statuses of a reel that ended in order; the reel is gone, nothing else is there."""
    path = reel(tmp_path, 1, some(0), SILENT, some(5))
    said = seal(tmp_path, DAY, [path])
    assert (said.ticks, said.added, said.torn, said.cut_off) == (10, 10, {}, [])
    assert seconds_of(tmp_path) == list(range(10))
    assert told(tmp_path) == [(SILENT.place, "silent")]
    assert [file.name for file in tmp_path.iterdir()] == [f"{DAY}.parquet"]


def test_a_hole_is_on_the_tape(tmp_path: Path) -> None:
    """Cut off, then gone on in order, then paused: every whole tick, and a status where some may be missing."""
    first = reel(tmp_path, 1, some(0), ended=False)
    with first.open("ab") as stream:
        stream.write(b"T torn")
    paths = [first, reel(tmp_path, 2, some(20)), reel(tmp_path, 3, some(40), ended=False)]
    said = seal(tmp_path, DAY, reels_by_day(tmp_path)[DAY])
    assert said.torn == {first.name: 6}
    assert said.cut_off == [paths[0].name, paths[2].name]
    assert seconds_of(tmp_path) == [*range(5), *range(20, 25), *range(40, 45)]
    assert told(tmp_path) == [
        (OPEN + 4 * NS_PER_S, "the recording was cut off here"),
        (OPEN + 24 * NS_PER_S, "the recording was paused here"),
        (OPEN + 44 * NS_PER_S, "the recording was cut off here"),
    ]


def test_ticks_that_come_after_the_sealing_are_added(tmp_path: Path) -> None:
    """A second sealing takes the first one's tape over, and knows where the recording paused."""
    seal(tmp_path, DAY, [reel(tmp_path, 1, some(0), SILENT)])
    said = seal(tmp_path, DAY, [reel(tmp_path, 2, some(9))])
    assert (said.ticks, said.added) == (10, 5)
    assert seconds_of(tmp_path) == [*range(5), *range(9, 14)]
    assert [reason for _, reason in told(tmp_path)] == ["silent", "the recording was paused here"]


def test_a_crash_before_the_reels_were_deleted_doubles_nothing(tmp_path: Path) -> None:
    """The tape knows what is in it."""
    path = reel(tmp_path, 1, some(0))
    kept = shutil.copy(path, tmp_path / "kept")
    seal(tmp_path, DAY, [path])
    shutil.move(kept, path)
    said = seal(tmp_path, DAY, [path, reel(tmp_path, 2, some(5))])
    assert (said.ticks, said.added) == (10, 5)
    assert seconds_of(tmp_path) == list(range(10))
    assert reels_by_day(tmp_path) == {}


def test_a_crash_while_the_tape_was_written_loses_nothing(tmp_path: Path) -> None:
    """A half-written file beside the tape is written over."""
    path = reel(tmp_path, 1, some(0))
    (tmp_path / f".{DAY}.parquet.new").write_bytes(b"PAR1 half")
    seal(tmp_path, DAY, [path])
    assert seconds_of(tmp_path) == list(range(5))


def test_a_clock_that_was_set_back_is_straightened(tmp_path: Path) -> None:
    """`ts_recv` never falls on a tape, within a reel or from one to the next."""
    seal(tmp_path, DAY, [reel(tmp_path, 1, some(10)), reel(tmp_path, 2, some(5, 2), some(20, 1), some(3, 1))])
    batches = list(TapeReader([tape_path(tmp_path, DAY)]).batches(2048))
    received = [int(ts - OPEN) // NS_PER_S for batch in batches for ts in batch.ts_recv]
    assert received == [10, 11, 12, 13, 14, 14, 14, 20, 20]


def test_a_recording_without_ticks_leaves_no_tape(tmp_path: Path) -> None:
    """Only statuses, or nothing whole: no file is made, and nothing is left."""
    paths = [reel(tmp_path, 1, SILENT), reel(tmp_path, 2)]
    assert seal(tmp_path, DAY, paths).tape is None
    assert list(tmp_path.iterdir()) == []


def test_someone_elses_tape_is_not_touched(tmp_path: Path) -> None:
    """A tape of the day's name that was not recorded stays as it is, and the reels stay too."""
    foreign = write_tape(tape_path(tmp_path, DAY), [OPEN], [800.0])
    before = foreign.read_bytes()
    path = reel(tmp_path, 1, tick(OPEN, 800.0))
    with pytest.raises(TapeError, match="was not recorded here"):
        seal(tmp_path, DAY, [path])
    assert foreign.read_bytes() == before
    assert path.exists()


def test_only_names_of_a_recording_are_reels(tmp_path: Path) -> None:
    """Anything else in the directory is left alone."""
    (tmp_path / "mine.ticks").write_text("x")
    (tmp_path / f"{DAY}.backup.ticks").write_text("x")
    assert reels_by_day(tmp_path) == {}
