"""The disk of the small files: what it says to a daemon, and what a power cut leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.computer import SimFlag
from tests.simulation.files import SmallFiles
from tests.simulation.loop import Process, SimLoop


@pytest.fixture
def disk(tmp_path: Path) -> SmallFiles:
    """With one file on it, at the beginning of time."""
    (tmp_path / "token").write_text("a token")
    return SmallFiles(SimLoop(1, shuffled=False), 1, tmp_path, SimFlag)


def says(disk: SmallFiles, do: Callable[[], object], times: int = 40) -> set[int]:
    """What a daemon is told that does it again and again; 0 for nothing wrong."""
    told = set()

    def ask() -> None:
        for _ in range(times):
            try:
                do()
                told.add(0)
            except OSError as error:
                told.add(error.errno or 0)

    with disk.under():
        Process("daemon").context().run(ask)
    return told


def test_it_says_to_a_daemon_alone_what_is_wrong(disk: SmallFiles, tmp_path: Path) -> None:
    """And of files of the session alone."""
    token = tmp_path / "token"
    disk.broken_until = 1.0
    assert says(disk, token.stat) == {0, errno.EIO}
    assert says(disk, Path("/").stat) == {0}
    with disk.under():
        assert [token.stat().st_size for _ in range(40)] == [7] * 40
    assert os.stat.__module__ != SmallFiles.__module__


def test_read_only_it_is_read_and_full_it_takes_what_needs_no_room(disk: SmallFiles, tmp_path: Path) -> None:
    """As a disk does that the system stopped writing to, or that has no block left."""
    token, other = tmp_path / "token", tmp_path / "other"

    def put(content: bytes) -> None:
        file = os.open(token, os.O_RDWR)
        try:
            os.pwrite(file, content, 0)
        finally:
            os.close(file)

    disk.read_only_until = 1.0
    assert says(disk, lambda: os.close(os.open(token, os.O_RDONLY))) == {0}
    assert says(disk, lambda: put(b"another")) == says(disk, other.touch) == says(disk, token.unlink) == {errno.EROFS}
    disk.heal()
    disk.full_until = 1.0
    assert says(disk, lambda: put(b"another")) == {0}
    assert says(disk, lambda: put(b"a longer one")) == says(disk, other.touch) == {errno.ENOSPC}


def test_who_waits_for_it_is_told(disk: SmallFiles, tmp_path: Path) -> None:
    """Each call that changes something while it hangs, and none that looks."""
    waits: list[str] = []
    disk.waited = waits.append
    disk.hangs_until = 1.0
    assert says(disk, (tmp_path / "token").stat, 1) == says(disk, (tmp_path / "other").touch, 1) == {0}
    assert waits == ["open other"]


def test_of_what_it_forgot_a_power_cut_leaves_the_old_the_new_or_an_empty_file(tmp_path: Path) -> None:
    """What was on it before stays."""
    left = set()
    for seed in range(20):
        disk = SmallFiles(SimLoop(1, shuffled=False), seed, tmp_path, SimFlag)
        for name in ("token", "kept"):
            (tmp_path / name).write_text("old")
        disk.forget_from_now_on(5.0)
        (tmp_path / "token").write_text("new")
        disk.lose_power()
        left.add((tmp_path / "token").read_text())
        assert (tmp_path / "kept").read_text() == "old"
    assert left == {"old", "new", ""}
