"""Journals that were cut off, emptied, parted from their -wal or altered: one start reads what is left, and says so."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from daemon.core.errors import Unavailable, UsageError
from daemon.core.events import Event, Halt, OrderApproved
from daemon.core.passing import telling_what_passes
from daemon.journal.writer import Journal
from daemon.recovery.account import recover
from daemon.recovery.repair import Repaired, repair
from tests.samples import OPEN, SBIN, fill_of, intend, journaled

ROOT = Path(__file__).parents[3]
CASH = Decimal(1_000_000)
KILLED = """
import asyncio, os, sys
from pathlib import Path
from daemon.core.events import Halt
from daemon.journal.writer import Journal

async def main():
    journal = Journal(Path(sys.argv[1]), safe=True)
    journal.describe({"version": "t"})
    for number in range(2000):
        journal.append(Halt(ts=number, reason=f"r{number}"))
    while (waiting := journal.durable()) is not None:
        await waiting
    os._exit(9)

asyncio.run(main())
"""


def trade(number: int) -> list[Event]:
    """Bought and filled."""
    intent = intend(f"T{number}", ts=OPEN)
    return [intent, OrderApproved(ts=OPEN, order_id=intent.order_id), fill_of(intent)]


def write(path: Path, *events: Event) -> None:
    """One run that ended in order."""
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "1"})
    for event in events:
        journal.append(event)
    journal.close()


def alter(path: Path, change: str) -> None:
    """Change the file by hand."""
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()


def start(path: Path) -> tuple[int | None, int]:
    """One start: (records that a repair kept, records that the account is made of); then another run goes on."""
    kept = repair(path).kept
    account = recover(path, CASH)
    write(path, Halt(ts=9, reason="the next run"))
    assert journaled(path) == [Halt(ts=9, reason="the next run")]
    return kept, account.records if account is not None else 0


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a process that was killed: most of it is in its -wal."""
    path = tmp_path_factory.mktemp("killed") / "j.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, check=False, timeout=120)
    assert Path(f"{path}-wal").stat().st_size > 100_000
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal goes."""
    return tmp_path / "j.sqlite"


@pytest.mark.parametrize("left", [0, 1, 99, 512, 4096])
def test_one_start_reads_what_a_cut_file_and_its_wal_hold(killed: Path, tmp_path: Path, left: int) -> None:
    """All of it is in the -wal: nothing is lost, though SQLite would delete the -wal of an empty file."""
    path = Path(shutil.copytree(killed.parent, tmp_path / "copy")) / "j.sqlite"
    os.truncate(path, left)
    assert start(path)[1] == 2000


def test_one_start_goes_on_where_only_the_wal_is_left(killed: Path, tmp_path: Path) -> None:
    """The same without the file."""
    path = Path(shutil.copytree(killed.parent, tmp_path / "copy")) / "j.sqlite"
    path.unlink()
    assert start(path)[1] == 2000


def test_one_start_goes_on_without_the_wal(killed: Path, tmp_path: Path) -> None:
    """Nothing is left to read; it is said, and what is there is kept."""
    path = Path(shutil.copytree(killed.parent, tmp_path / "copy")) / "j.sqlite"
    Path(f"{path}-wal").unlink()
    with structlog.testing.capture_logs() as logs:
        assert start(path)[1] == 0
    assert [line["log_level"] for line in logs][:1] == ["error"]
    assert path.with_name("j.sqlite.damaged-1").exists()


@pytest.mark.parametrize("share", [1, 2, 3, 5, 7])
def test_one_start_reads_a_part_of_a_journal(path: Path, share: int) -> None:
    """Some records (none where the first page of them is gone), and the next run."""
    write(path, *(event for number in range(800) for event in trade(number)))
    os.truncate(path, path.stat().st_size * share // 8)
    kept, records = start(path)
    assert kept is not None
    assert kept == records < 2400
    assert kept > 0 or share < 3


@pytest.mark.parametrize("left", [0, 1, 100, 4096])
def test_a_journal_cut_to_nothing_is_said(path: Path, left: int) -> None:
    """An error in the log that names the file; what is left of it is kept."""
    write(path, *trade(1))
    os.truncate(path, left)
    with structlog.testing.capture_logs() as logs:
        assert start(path) == (0, 0)
    assert logs[0]["log_level"] == "error"
    assert "nothing of it can be read, the account starts afresh" in logs[0]["event"]
    assert logs[0]["journal"] == str(path)
    assert path.with_name("j.sqlite.damaged-1").stat().st_size == left


def test_a_journal_of_zeros_is_put_aside(path: Path) -> None:
    """A power cut may leave the length of a file and none of its bytes; with anything behind them it is foreign."""
    path.write_bytes(bytes(3 << 20) + b"1")
    with pytest.raises(UsageError, match="not a database"):
        repair(path)
    path.write_bytes(bytes(8192))
    assert start(path) == (0, 0)
    assert path.with_name("j.sqlite.damaged-1").stat().st_size == 8192


def test_a_file_whose_maker_ended_before_its_first_run_is_a_first_start(path: Path) -> None:
    """Tables and nothing in them."""
    Journal(path, safe=True).close()
    assert start(path) == (None, 0)


def test_a_run_without_its_end_and_wal_is_said(path: Path) -> None:
    """A killed process leaves its -wal: without it the newest records may be missing."""
    write(path, *trade(1))
    with structlog.testing.capture_logs() as logs:
        assert repair(path) == Repaired()
        assert logs == []
        alter(path, "DELETE FROM runs WHERE key = 'ends_at'")
        assert repair(path) == Repaired(lacking=True)
    assert [line["event"] for line in logs] == [
        "the last run did not end in order and left no -wal: its newest records may be missing"
    ]


def test_a_start_that_came_to_nothing_after_a_kill_takes_nothing_away(path: Path) -> None:
    """It read the -wal, which went as its journal was closed: the next start misses nothing."""
    write(path, *trade(1))
    killed = path.with_name("killed.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("DELETE FROM runs WHERE key = 'ends_at'")
        db.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    assert Path(f"{killed}-wal").stat().st_size
    assert repair(killed) == Repaired()
    Journal(killed, safe=True).close(begun=False)
    assert not Path(f"{killed}-wal").exists()
    with structlog.testing.capture_logs() as logs:
        assert repair(killed) == Repaired()
    assert logs == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE events SET body = replace(body, 'order_id', 'order_iD') WHERE seq = 6", "Fill can't be read"),
        ("UPDATE events SET body = replace(body, 'order_id', 'order_iD') WHERE seq = 5", "missing required field"),
        ("UPDATE events SET body = replace(body, 'shutdown', 'shutdowm') WHERE seq = 7", "Halt has no field shutdowm"),
        ("UPDATE events SET type = 'Fjll' WHERE seq = 6", "Fjll is no type of record"),
        ("UPDATE events SET body = '[]' WHERE seq = 6", "Fill can't be read"),
        ("UPDATE events SET body = NULL WHERE seq = 6", "event 6 is no JSON"),
        ("UPDATE events SET body = x'7b7d' WHERE seq = 6", "Fill can't be read"),
        ("DELETE FROM events WHERE seq = 5", "event 5 is missing"),
    ],
)
def test_a_record_that_is_not_what_its_type_says_ends_what_is_recovered(path: Path, change: str, problem: str) -> None:
    """JSON under a changed name, of another type, or gone: everything before it is kept, the rest is put aside."""
    write(path, *trade(1), *trade(2), Halt(ts=1, reason="SIGTERM", shutdown=True), *trade(3))
    alter(path, change)
    with structlog.testing.capture_logs() as logs:
        kept, records = start(path)
    assert kept is not None
    assert 3 <= kept == records < 10
    assert "run 1, event" in logs[0]["problem"]
    assert problem in logs[0]["problem"]
    assert path.with_name("j.sqlite.damaged-1").is_file()


def test_what_lies_before_the_newest_snapshot_costs_nothing_after_it(path: Path) -> None:
    """A restart reads from the snapshot on: an older record that is broken is left out, and only that."""
    write(path, *trade(1))
    account = recover(path, CASH)
    assert account is not None
    write(path, account.snapshot(OPEN), *trade(2))
    alter(path, "UPDATE events SET body = '{\"ts' WHERE run = 1 AND seq = 2")
    assert repair(path).kept == 6
    after = recover(path, CASH)
    assert after is not None
    assert after.portfolio.quantity(SBIN) == 200


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET body = '{}' WHERE type = 'AccountSnapshot'",
        "UPDATE events SET body = replace(body, 'FILLED', 'FIlLED') WHERE type = 'AccountSnapshot'",
        "UPDATE events SET body = replace(body, 'filled', 'fIlled') WHERE type = 'AccountSnapshot'",
    ],
)
def test_a_snapshot_that_can_not_be_read_is_no_snapshot(path: Path, change: str) -> None:
    """The account is folded from what was before it."""
    write(path, *trade(1))
    account = recover(path, CASH)
    assert account is not None
    write(path, account.snapshot(OPEN), *trade(2))
    alter(path, change)
    assert repair(path).kept == 3
    after = recover(path, CASH)
    assert after is not None
    assert after.portfolio.quantity(SBIN) == 100


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_journal(path: Path, make: Callable[[Path], None]) -> None:
    """Refused in one line, and not waited for."""
    make(path)
    with pytest.raises(UsageError, match=r"j\.sqlite: is a (named pipe|directory), expected a regular file"):
        repair(path)


def test_a_foreign_database_is_left_alone(path: Path) -> None:
    """Whole or damaged: it is named and stays as it is."""
    alter(path, "CREATE TABLE theirs (a)")
    with sqlite3.connect(path) as db:
        db.executemany("INSERT INTO theirs VALUES (?)", [("x" * 500,)] * 100)
    db.close()
    for size in (path.stat().st_size, path.stat().st_size - 8192):
        os.truncate(path, size)
        content = path.read_bytes()
        with pytest.raises(UsageError, match=r"j\.sqlite"):
            repair(path)
        assert path.read_bytes() == content
        assert [file.name for file in path.parent.iterdir()] == ["j.sqlite"]


def test_a_journal_that_another_program_holds_is_not_damaged(killed: Path, tmp_path: Path) -> None:
    """A backup, or somebody's `sqlite3`: the start is refused, to be tried again, and the file is left alone."""
    path = Path(shutil.copytree(killed.parent, tmp_path / "copy")) / "j.sqlite"
    before = sorted(file.name for file in path.parent.iterdir())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        refused = pytest.raises(Unavailable, match=r"j\.sqlite: can't be read now \(database is locked\)")
        with refused, telling_what_passes():
            repair(path)
        assert sorted(file.name for file in path.parent.iterdir()) == before
    assert start(path)[1] == 2000
