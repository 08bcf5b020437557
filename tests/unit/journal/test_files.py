"""A journal whose file is deleted or replaced while it is written: said at once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from daemon.core.errors import JournalError, UsageError
from daemon.core.events import Event, Halt
from daemon.journal.files import OpenedFiles, memory_of, place_beside
from daemon.journal.reader import JournalReader, is_blank
from daemon.journal.writer import Journal
from daemon.recovery.holds import hold_written
from daemon.recovery.repair import repair
from tests.samples import journaled


def halts(first: int, count: int) -> list[Event]:
    """Numbered events."""
    return [Halt(ts=number, reason=f"r{number}") for number in range(first, first + count)]


async def written(journal: Journal, events: list[Event]) -> None:
    """Append, and wait until they are on disk."""
    for event in events:
        journal.append(event)
    async with asyncio.timeout(30):
        while (waiting := journal.durable()) is not None:
            await waiting


def delete_all(path: Path) -> None:
    """As `rm journal*` does."""
    for file in path.parent.iterdir():
        file.unlink()


def delete_it(path: Path) -> None:
    """The file alone."""
    path.unlink()


def delete_wal(path: Path) -> None:
    """The newest records only."""
    Path(f"{path}-wal").unlink()


def delete_directory(path: Path) -> None:
    """With all that is in it."""
    delete_all(path)
    path.parent.rmdir()


def move_away(path: Path) -> None:
    """As a rotation of logs does."""
    path.rename(path.with_name("journal.1"))


async def test_a_disk_that_does_not_say_what_is_there_has_lost_nothing(tmp_path: Path) -> None:
    """Neither is that said, nor is a fresh file put in the place of one that is there."""
    path, away = tmp_path / "deep" / "j.sqlite", tmp_path / "away"
    journal = Journal(path, safe=True)
    await written(journal, halts(0, 50))
    path.parent.rename(away)
    path.parent.symlink_to(path.parent)  # whoever looks there is told of an error, not that nothing is there
    await written(journal, halts(50, 1))
    await written(journal, halts(51, 10))
    assert journal.trouble == ""
    path.parent.unlink()
    away.rename(path.parent)
    await written(journal, halts(61, 10))
    journal.close()
    assert journaled(path) == halts(0, 71)


@pytest.mark.parametrize(
    "look", [is_blank, JournalReader, partial(Journal, safe=True), lambda path: hold_written(path, []), repair]
)
def test_what_can_not_be_looked_at_is_not_taken_for_a_new_journal(
    tmp_path: Path, look: Callable[[Path], object]
) -> None:
    """Or a start would begin with a blank account, and delete the journal where it is refused."""
    path = tmp_path / "deep" / "j.sqlite"
    path.parent.symlink_to(path.parent)
    with pytest.raises(UsageError, match=r"j\.sqlite: .*symbolic links"):
        look(path)


@pytest.mark.parametrize("accident", [delete_all, delete_directory, delete_it, delete_wal, move_away])
async def test_a_file_that_is_gone_is_said_and_made_anew(tmp_path: Path, accident: Callable[[Path], None]) -> None:
    """The trouble is there when the next record is durable, stays, and the place holds every record again."""
    path = tmp_path / "deep" / "j.sqlite"
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    await written(journal, halts(0, 50))
    assert journal.trouble == ""
    accident(path)
    await written(journal, halts(50, 1))  # in a turn that may have looked at the files just before
    await written(journal, halts(51, 10))
    assert "j.sqlite" in journal.trouble
    assert "was deleted while hrmd was writing it; all of it is in" in journal.trouble
    journal.close()
    assert journaled(path) == halts(0, 61)


async def test_a_file_that_was_replaced_is_left_alone(tmp_path: Path) -> None:
    """What somebody put there stays as it is; ours goes beside it, and the trouble names both."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    await written(journal, halts(0, 5))
    other = tmp_path / "other"
    other.write_bytes(b"somebody's file")
    other.replace(path)
    await written(journal, halts(5, 1))  # in a turn that may have looked at the files just before
    await written(journal, halts(6, 1))
    beside = tmp_path / "j.sqlite.rescued-1"
    assert "was replaced by another file" in journal.trouble
    assert f"all of it is in {beside} now: stop hrmd, put that file in the place of {path}" in journal.trouble
    journal.close()
    assert path.read_bytes() == b"somebody's file"
    assert journaled(beside) == halts(0, 7)


@pytest.mark.parametrize("make_room", [True, False])
async def test_without_a_fresh_file_nothing_is_durable(tmp_path: Path, make_room: bool) -> None:
    """The directory is a file by now: who waits is told, what happened waits in memory, and closing says so."""
    path = tmp_path / "deep" / "j.sqlite"
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    await written(journal, halts(0, 5))
    delete_all(path)
    path.parent.rmdir()
    path.parent.touch()
    for number in (5, 6):
        with pytest.raises(JournalError, match=r"was deleted.*a fresh file can't be written"):
            await written(journal, halts(number, 1))
    if make_room:
        path.parent.unlink()
        async with asyncio.timeout(30):
            while "can't be written" in journal.trouble:  # noqa: ASYNC110 — the writer tells nobody when it can again
                await asyncio.sleep(0.01)
        journal.close()
        assert journaled(path) == halts(0, 7)
    else:
        with pytest.raises(JournalError, match="was deleted"):
            journal.close()


def test_a_replay_does_not_watch(tmp_path: Path) -> None:
    """Its journal is an output: who deletes it, wants it gone."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=False)
    path.unlink()
    for event in halts(0, 3):
        journal.append(event)
    journal.close()
    assert journal.trouble == ""


def test_a_wal_that_comes_later_is_no_loss(tmp_path: Path) -> None:
    """It is known from when it is first seen."""
    path = tmp_path / "j"
    path.touch()
    files = OpenedFiles(path)
    assert files.missing() == ""
    wal = tmp_path / "j-wal"
    wal.touch()
    assert files.missing() == ""
    wal.unlink()
    assert files.missing() == f"{wal} was deleted while hrmd was writing it"


def test_names_beside_are_free(tmp_path: Path) -> None:
    """Counted up."""
    (tmp_path / "j.damaged-1").touch()
    assert place_beside(tmp_path / "j", "damaged") == tmp_path / "j.damaged-2"


def test_a_directory_in_memory_is_one_that_can_be_written(tmp_path: Path) -> None:
    """Systemd's first; another user's, left in the environment by `su`, keeps nobody from starting."""
    both = {"RUNTIME_DIRECTORY": f"{tmp_path}:/else", "XDG_RUNTIME_DIR": "/nowhere"}
    assert memory_of(both) == tmp_path
    assert memory_of({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path
    assert memory_of({"XDG_RUNTIME_DIR": str(tmp_path / "gone")}) is None
    assert memory_of({}) is None
