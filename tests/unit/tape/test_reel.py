"""Reels: what is written is read, up to wherever a crash or a full disk cut it off."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.errors import TapeError
from daemon.core.events import TICK_COLUMNS, FeedState, FeedStatus, TickBatch
from daemon.core.growing import DiskFile
from daemon.tape.marks import Mark
from daemon.tape.reel import ReelReader, ReelWriter
from tests.samples import OPEN, RELIANCE, SBIN, ticks


class BadDisk(DiskFile):
    """A file on a disk that fails at what it is told to."""

    fails: frozenset[str] = frozenset()

    def sync(self) -> None:
        """Wait for the disk."""
        self._try("sync")
        super().sync()

    def cut(self, size: int) -> None:
        """Take away what lies beyond."""
        self._try("cut")
        super().cut(size)

    def _try(self, what: str) -> None:
        if what in self.fails:
            raise OSError(errno.EIO, "Input/output error")


STALE = Mark(
    status=FeedStatus(ts=OPEN + 90, state=FeedState.STALE, symbol=SBIN, reason="silent"),
    told=OPEN + 80,
    after=OPEN + 85,
)


def batch(first: int, n: int = 5, symbols: tuple[str, ...] = (SBIN,)) -> TickBatch:
    """Ticks of some seconds, with every column set somewhere."""
    ts = [OPEN + (first + i) * NS_PER_S for i in range(n)]
    columns = {"volume": range(first, first + n), "bid": [799.5] * n, "oi": [7] * n, "last_qty": [3] * n}
    return ticks(ts, [800.0 + i for i in range(n)], symbols, [i % len(symbols) for i in range(n)], **columns)


def rows(items: list[TickBatch | Mark]) -> list[tuple[object, ...]]:
    """Every tick by name and value, and every status, in order."""
    found: list[tuple[object, ...]] = []
    for item in items:
        if isinstance(item, Mark):
            found.append((item,))
            continue
        columns = [np.nan_to_num(getattr(item, name), nan=-5.0).tolist() for name in TICK_COLUMNS[1:]]
        names = [item.symbols[code] for code in item.code]
        found += zip(names, *columns, strict=True)
    return found


@contextmanager
def a_disk_of(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Ticks of symbols that come one after the other, and a status in its place between them."""
    writer = ReelWriter(tmp_path / "s.ticks")
    given: list[TickBatch | Mark] = [batch(0), batch(5, 3, (RELIANCE, SBIN)), STALE, batch(9, 2, ("NSE:TCS-EQ",))]
    writer.append(given[:2])
    writer.append(given[2:])
    writer.finish()
    reader = ReelReader(tmp_path / "s.ticks")
    assert rows(list(reader)) == rows(given)
    assert (reader.ended, reader.torn_bytes, reader.ticks) == (True, 0, 10)
    assert reader.last_ts == OPEN + 10 * NS_PER_S


def test_empty_sides_and_bands_are_kept(tmp_path: Path) -> None:
    """0 comes back as 0, null as null, and a band among ticks that have one."""
    quotes = msgspec.structs.replace(batch(0, 3), bid=np.array([0.0, np.nan, 799.5]))
    banded = msgspec.structs.replace(batch(3, 2), upper_band=np.array([880.0, np.nan]))
    writer = ReelWriter(tmp_path / "s.ticks")
    writer.append([quotes])
    writer.append([banded, batch(5, 1)])
    writer.finish()
    first, second = ReelReader(tmp_path / "s.ticks")
    assert isinstance(first, TickBatch)
    assert isinstance(second, TickBatch)
    np.testing.assert_array_equal(first.bid, [0.0, np.nan, 799.5])
    assert first.upper_band is None
    np.testing.assert_array_equal(second.upper_band, [880.0, np.nan, np.nan])


def test_cut_off_anywhere_it_is_read_to_the_last_whole_frame(tmp_path: Path) -> None:
    """For every length that a crash could have left: a beginning of what was written, and the rest is said."""
    path = tmp_path / "s.ticks"
    writer = ReelWriter(path)
    given = [batch(0, 2), STALE, batch(3, 4, (RELIANCE,))]
    for item in given:
        writer.append([item])
    writer.abandon()
    whole, content = rows(given), path.read_bytes()
    lengths = set()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        reader = ReelReader(path)
        found = rows(list(reader))
        assert found == whole[: len(found)]
        assert not reader.ended
        assert 0 <= reader.torn_bytes <= size
        lengths.add(len(found))
    assert lengths == {0, 2, 3}


def test_a_frame_that_is_not_what_was_written_ends_the_reading(tmp_path: Path) -> None:
    """Blocks that the disk never got read as zeros, a flipped bit as something else: neither becomes ticks."""
    path = tmp_path / "s.ticks"
    writer = ReelWriter(path)
    writer.append([batch(0)])
    size = path.stat().st_size
    writer.append([batch(5)])
    writer.finish()
    content = path.read_bytes()
    for damaged in (content[: size + 20] + bytes(len(content) - size - 20), bytes([*content[:-30], 1]) + content[-29:]):
        path.write_bytes(damaged)
        reader = ReelReader(path)
        assert rows(list(reader)) == rows([batch(0)])
        assert reader.torn_bytes > 0


def test_a_frame_of_which_one_byte_is_there_ends_the_reading(tmp_path: Path) -> None:
    """Where a block ends behind the first byte of a frame and the next one never came, the rest is zeros."""
    path = tmp_path / "s.ticks"
    writer = ReelWriter(path)
    writer.append([batch(0)])
    writer.abandon()
    content = path.read_bytes()
    for kind in (b"S", b"T", b"B", b"M"):
        path.write_bytes(content + kind + bytes(100))
        reader = ReelReader(path)
        assert rows(list(reader)) == rows([batch(0)])
        assert (reader.ended, reader.torn_bytes) == (False, 101)


@pytest.mark.parametrize("left", [b"", b"hrmd", bytes(3), bytes(8), b"hrmd" + bytes(4), bytes(4096)])
def test_a_reel_whose_beginning_never_reached_the_disk_is_an_empty_one(tmp_path: Path, left: bytes) -> None:
    """The power went as it was begun: its blocks read as zeros, and what else was recorded that day is sealed."""
    path = tmp_path / "s.ticks"
    path.write_bytes(left)
    reader = ReelReader(path)
    assert list(reader) == []
    assert (reader.ended, reader.torn_bytes) == (False, len(left))


def test_a_full_disk_leaves_what_was_whole(tmp_path: Path) -> None:
    """The write that does not fit is an error and leaves nothing; with room again it goes on, new symbols included."""
    path = tmp_path / "s.ticks"
    writer = ReelWriter(path)
    writer.append([batch(0)])
    size = path.stat().st_size
    with a_disk_of(size + 40), pytest.raises(OSError, match="too large"):
        writer.append([batch(5, 5, (RELIANCE,))])
    assert path.stat().st_size == size
    writer.append([batch(10, 5, (RELIANCE,))])
    writer.finish()
    assert rows(list(ReelReader(path))) == rows([batch(0), batch(10, 5, (RELIANCE,))])


def test_what_could_not_be_taken_back_is_not_read_behind_what_comes_next(tmp_path: Path) -> None:
    """Frames of a write that failed stay in a file that can't be cut; a shorter one of the same beginning comes."""
    path, files = tmp_path / "s.ticks", list[BadDisk]()

    def create(path: Path) -> BadDisk:
        files.append(BadDisk(path))
        return files[0]

    writer = ReelWriter(path, create)
    writer.append([batch(0)])
    files[0].fails = frozenset({"sync", "cut"})
    with pytest.raises(OSError, match="Input/output"):
        writer.append([STALE, batch(5)])
    with pytest.raises(OSError, match="Input/output"):  # nothing is written over it before the disk has taken it back
        writer.append([STALE])
    files[0].fails = frozenset()
    writer.append([STALE])
    assert rows(list(ReelReader(path))) == rows([batch(0), STALE])
    writer.append([batch(5)])
    writer.finish()
    assert rows(list(ReelReader(path))) == rows([batch(0), STALE, batch(5)])


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Something else, or nothing at all, is one line; a reel is never written over."""
    (tmp_path / "other").write_text("something else")
    with pytest.raises(TapeError, match="other: not a reel"):
        ReelReader(tmp_path / "other")
    with pytest.raises(TapeError, match="missing: can't be read"):
        ReelReader(tmp_path / "missing")
    with pytest.raises(FileExistsError):
        ReelWriter(tmp_path / "other")
