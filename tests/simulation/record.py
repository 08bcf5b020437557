"""A journal on the simulated disk, read from outside while a daemon may still write it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec


def journaled(path: Path, kind: str, field: str) -> set[str]:
    """That field of every event of a kind, read in a copy: to close a database is to change it.

    Nothing where there is no journal yet.
    """
    if not path.exists():
        return set()
    peeked = path.with_name("peeked.sqlite")
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{peeked}{suffix}")
    db = sqlite3.connect(peeked)
    try:
        rows = db.execute("SELECT body FROM events WHERE type = ?", (kind,)).fetchall()
    finally:
        db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{peeked}{suffix}").unlink(missing_ok=True)
    return {msgspec.json.decode(body)[field] for (body,) in rows}


def journal_rows(path: Path) -> bytes:
    """Every event of a journal as it is on disk."""
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    finally:
        db.close()
    return repr(rows).encode()
