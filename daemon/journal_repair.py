"""A damaged journal → one that holds every record up to the first that can't be read, with the damaged file kept aside.

SQLite drops an uncommitted tail by itself; this is for a file that was cut off or overwritten. What the lost tail told
is asked of the broker afterwards. Invariant: a journal that is whole is not touched, and no damaged byte is deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import msgspec
import structlog

from daemon.journal import ENDS_AT, SCHEMA_VERSION, check_journal

log = structlog.get_logger("journal")

_TABLES = (
    "CREATE TABLE runs (run INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, key))",
    "CREATE TABLE events (run INTEGER, seq INTEGER, ts INTEGER, type TEXT, body TEXT, PRIMARY KEY (run, seq)) "
    "WITHOUT ROWID",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)


def repair(path: Path) -> int | None:
    """Make `path` readable; None where it is whole or isn't there, else the number of records that were kept.

    Raises `UsageError` for a file that is no journal of ours.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    problem = _problem(path)
    if not problem:
        check_journal(path)
        return None
    fresh = path.with_name(f"{path.name}.repaired")
    fresh.unlink(missing_ok=True)
    copy = _opened_up(path)
    kept = _salvage(copy, fresh)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    if kept is None:
        fresh.unlink()
        check_journal(path)  # not even the runs can be read: say what it is, and leave it alone
        return None
    aside = _aside(path)
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    os.replace(fresh, path)
    log.error("the journal was damaged: recovered to its last whole record", journal=str(path), records=kept,
              damaged=str(aside), problem=problem)  # fmt: skip
    return kept


def _problem(path: Path) -> str:
    """What is wrong with the file, "" for nothing."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                return found
            if not db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'events'").fetchone()[0]:
                return ""
            broken = db.execute("SELECT run, seq FROM events WHERE NOT json_valid(body) LIMIT 1").fetchone()
            return f"run {broken[0]}, event {broken[1]} is no JSON" if broken else ""
    except sqlite3.DatabaseError as error:
        return str(error)


def _salvage(path: Path, fresh: Path) -> int | None:
    """Copy runs and events in order until the first that can't be read; None where the file tells nothing at all."""
    kept = 0
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(fresh)) as new:
        for statement in _TABLES:
            new.execute(statement)
        try:
            runs = old.execute("SELECT run, key, value FROM runs WHERE key != ?", (ENDS_AT,)).fetchall()
        except sqlite3.DatabaseError:
            return None
        new.executemany("INSERT INTO runs VALUES (?, ?, ?)", runs)
        with contextlib.suppress(sqlite3.DatabaseError, msgspec.DecodeError):
            for row in old.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq"):
                msgspec.json.decode(row[4])
                new.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
                kept += 1
        new.commit()
    return kept


def _opened_up(path: Path) -> Path:
    """A copy that SQLite opens though pages are missing at its end (file format, 1.3.7: in-header database size)."""
    copy = path.with_name(f"{path.name}.salvage")
    shutil.copyfile(path, copy)
    if Path(f"{path}-wal").is_file():
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    with copy.open("r+b") as stream:
        header = stream.read(100)
        if len(header) == 100 and header.startswith(b"SQLite format 3"):
            page_size = int.from_bytes(header[16:18], "big")
            pages = copy.stat().st_size // (65_536 if page_size == 1 else page_size)
            stream.seek(28)
            stream.write(min(pages, int.from_bytes(header[28:32], "big")).to_bytes(4, "big"))
    return copy


def _aside(path: Path) -> Path:
    number = 1
    while (place := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return place
