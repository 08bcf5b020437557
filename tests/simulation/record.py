"""A journal on the simulated disk, read from outside while a daemon may still write it."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def journaled(path: Path, kind: str, field: str) -> Counter[str]:
    """That field of every event of a kind, and how often it is there; nothing where there is no journal yet."""
    return Counter(msgspec.json.decode(body)[field] for body in _bodies(path, kind))


def newest(path: Path, kind: type[T]) -> T | None:
    """The last event of a kind, None where there is none."""
    bodies = _bodies(path, kind.__name__)
    return msgspec.json.decode(bodies[-1], type=kind) if bodies else None


def _bodies(path: Path, kind: str) -> list[bytes]:
    """Read in a copy: to close a database is to change it."""
    if not path.exists():
        return []
    peeked = path.with_name("peeked.sqlite")
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{peeked}{suffix}")
    db = sqlite3.connect(peeked)
    try:
        rows = db.execute("SELECT body FROM events WHERE type = ? ORDER BY run, seq", (kind,)).fetchall()
    finally:
        db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{peeked}{suffix}").unlink(missing_ok=True)
    return [body for (body,) in rows]


def journal_rows(path: Path) -> bytes:
    """Every event of a journal as it is on disk; nothing where no daemon ever came to write one."""
    if not path.exists():
        return b""
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    finally:
        db.close()
    return repr(rows).encode()
