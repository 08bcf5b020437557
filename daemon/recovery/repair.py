"""A damaged journal → one that holds every record up to the first that can't be read, with the damaged file kept aside.

SQLite drops an uncommitted tail by itself; this is for a file that was cut off, overwritten or emptied, and for records
that no longer are what their type says. What the lost tail told is asked of the broker afterwards. Invariant: after
`repair` a start can read the journal, of a journal that is whole nothing changes but a note that a killed run was seen
whole, and no damaged byte is deleted. One that can't be read because the disk is full or fails, or another program
holds it, is not called damaged.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daemon.core.errors import IllegalTransition, UsageError
from daemon.core.files import check_regular, is_there, sync_directory
from daemon.core.passing import PRIMARY, passes
from daemon.journal.files import ALL_PARTS, place_beside, wal_of
from daemon.journal.reader import check_journal
from daemon.journal.schema import DAMAGED, ENDS_AT, KINDS, SCHEMA_VERSION, SEEN_WHOLE
from daemon.recovery.account import FOLDED, Account

log = structlog.get_logger("journal")

_TABLES = (
    "CREATE TABLE runs (run INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, key))",
    "CREATE TABLE events (run INTEGER, seq INTEGER, ts INTEGER, type TEXT, body TEXT, PRIMARY KEY (run, seq)) "
    "WITHOUT ROWID",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)
_RECORDS = "SELECT run, seq, ts, type, body FROM events"
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_PAGE_BYTES = 4096
"""A file of one page holds no record of anybody."""
_BLOCK_BYTES = 1 << 20
_NOTHING = (0, 0)
_UNREADABLE = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)
_Row = tuple[Any, Any, Any, Any, Any]


class Repaired(msgspec.Struct, frozen=True):
    """What a start found: `kept` records of a damaged journal, None of one that is whole or isn't there.

    `lacking`: its newest records are missing, or may be.
    """

    kept: int | None = None
    lacking: bool = False


def repair(path: Path) -> Repaired:
    """Make `path` readable.

    Raises `UsageError` for a file that is no journal of ours, and for one that can't be read or copied now.
    """
    try:
        return _repair(path)
    except OSError as error:
        raise UsageError(f"journal {path}: can't be read or mended now ({error.strerror or error})") from error


def _repair(path: Path) -> Repaired:
    if not is_there(path) and not is_there(wal_of(path)):
        return Repaired()
    _check_kind(path)
    with_wal = is_there(wal_of(path))
    problem = _problem(path)
    if not problem:
        check_journal(path)
        run = _cut_short(path)
        lacking = run is not None and not with_wal
        if run is not None and with_wal:
            _note_whole(path, run)
        if lacking:
            log.warning("the last run did not end in order and left no -wal: its newest records may be missing",
                        journal=str(path))  # fmt: skip
        return Repaired(lacking=lacking)
    if not _is_ours(path):
        check_journal(path)  # says what it is
        raise UsageError(f"{path}: not an hrmd journal ({problem}): choose another file")
    fresh = path.with_name(f"{path.name}.repaired")
    fresh.unlink(missing_ok=True)
    copy = _opened_up(path)
    kept = _salvage(copy, fresh)
    for suffix in ALL_PARTS:
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    aside = place_beside(path, "damaged")
    for suffix in ALL_PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    if kept:
        os.replace(fresh, path)
    else:
        fresh.unlink()
    sync_directory(path.parent)
    what = "recovered to its last whole record" if kept else "nothing of it can be read, the account starts afresh"
    log.error(f"the journal was damaged: {what}", journal=str(path), records=kept, damaged=str(aside), problem=problem)
    return Repaired(kept, lacking=True)


def check_whole(path: Path) -> None:
    """Raise `UsageError` for a damaged journal where nothing of it is wanted: a replay writes another run into it."""
    _check_kind(path)
    if not is_there(path) or path.stat().st_size == 0:
        return
    problem = _problem(path)
    if problem and _is_ours(path):  # what a foreign file is, the writer says
        raise UsageError(f"journal {path}: is damaged ({problem}); name another file")


def _check_kind(path: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            check_regular(path)
    except OSError as error:
        raise UsageError(f"journal {path}: {error.strerror}") from None


def _is_ours(path: Path) -> bool:
    """Whether a file that can't be read was a journal: a beginning of SQLite's header, or a header of our schema.

    One of zeros alone, as a power cut may leave it, is nobody's.

    File format, 1.3: the magic string first, the user version at byte 60.
    """
    try:
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
            if not any(header):
                return not any(map(any, iter(lambda: stream.read(_BLOCK_BYTES), b"")))
    except FileNotFoundError:  # its -wal was left
        return True
    if len(header) < _HEADER_BYTES:
        return _MAGIC.startswith(header[: len(_MAGIC)])
    version = int.from_bytes(header[60:64], "big")
    return header.startswith(_MAGIC) and (0 < version <= SCHEMA_VERSION or path.stat().st_size <= _PAGE_BYTES)


def _problem(path: Path) -> str:
    """What is wrong with the file, "" for nothing."""
    there = is_there(path)
    size = path.stat().st_size if there else 0
    if size < _HEADER_BYTES:
        return f"{size} bytes are left of it" if there else "only its -wal is left"
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                return found
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return "it holds no tables"
            if not {"events", "runs"} <= tables:
                return ""  # a foreign file: `check_journal` says so
            broken = db.execute("SELECT run, seq FROM events WHERE json_valid(body) IS NOT 1 LIMIT 1").fetchone()
            if broken:
                return f"run {broken[0]}, event {broken[1]} is no JSON"
            since = _newest_snapshot(db)
            strict = int(db.execute("PRAGMA user_version").fetchone()[0]) == SCHEMA_VERSION
            rows = db.execute(f"{_RECORDS} WHERE (run, seq) >= (?, ?) ORDER BY run, seq", since)
            return next((problem for _, problem in _judged(rows, since, strict=strict) if problem), "")
    except DAMAGED as error:
        if passes(error) or getattr(error, "sqlite_errorcode", 0) & PRIMARY == sqlite3.SQLITE_CANTOPEN:
            raise UsageError(f"journal {path}: can't be read now ({error})") from error
        return str(error)


def _cut_short(path: Path) -> int | None:
    """The newest run with events, where it has no orderly end and no start has seen it whole.

    A process that was killed leaves its -wal as well.
    """
    with contextlib.closing(sqlite3.connect(path)) as db:
        found = db.execute(
            "SELECT MAX(run) FROM events HAVING MAX(run) NOT IN (SELECT run FROM runs WHERE key IN (?, ?))",
            (ENDS_AT, SEEN_WHOLE),
        ).fetchone()
    return found[0] if found is not None else None


def _note_whole(path: Path, run: int) -> None:
    """The -wal goes when the journal is closed, also by a start that comes to nothing; a full disk notes nothing."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, 'true')", (run, SEEN_WHOLE))


def _salvage(path: Path, fresh: Path) -> int:
    """Copy runs and events in order until the first that can't be read; how many events."""
    kept = 0
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(fresh)) as new:
        for statement in _TABLES:
            new.execute(statement)
        with contextlib.suppress(*DAMAGED):
            runs = old.execute(
                "SELECT run, key, value FROM runs WHERE key NOT IN (?, ?)", (ENDS_AT, SEEN_WHOLE)
            ).fetchall()
            new.executemany("INSERT INTO runs VALUES (?, ?, ?)", runs)
            since = _newest_snapshot(old)
            strict = int(old.execute("PRAGMA user_version").fetchone()[0]) == SCHEMA_VERSION
            rows = old.execute(f"{_RECORDS} ORDER BY run, seq")
            for row, problem in _judged(rows, since, strict=strict):
                if not problem:
                    new.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
                    kept += 1
                elif not _is_numbered(row) or row[:2] >= since:
                    break
        new.commit()
    return kept


def _newest_snapshot(db: sqlite3.Connection) -> tuple[int, int]:
    """(run, seq) of the newest snapshot that can be read: what a start reads from."""
    try:
        for row in db.execute(f"{_RECORDS} WHERE type = 'AccountSnapshot' ORDER BY run DESC, seq DESC"):
            if _is_numbered(row) and not _unfit(row, Account(Decimal(0)), strict=False):
                return row[0], row[1]
    except DAMAGED:
        pass
    return _NOTHING


def _judged(rows: Iterator[_Row], since: tuple[int, int], *, strict: bool) -> Iterator[tuple[_Row, str]]:
    """Each row and what is wrong with it; before `since`, where no start reads, it need only be JSON."""
    before, account = _NOTHING, Account(Decimal(0))
    for row in rows:
        run, seq = row[:2]
        if not _is_numbered(row):
            problem = "no number"
        elif (run, seq) < since:
            problem = "" if _is_json(row[4]) else "no JSON"
        elif run == before[0] and seq != before[1] + 1:
            problem = f"event {before[1] + 1} is missing"
        else:
            problem = _unfit(row, account, strict=strict)
        before = run, seq
        yield row, f"run {run}, event {seq}: {problem}" if problem else ""


def _is_numbered(row: _Row) -> bool:
    return isinstance(row[0], int) and isinstance(row[1], int)


def _unfit(row: _Row, account: Account, *, strict: bool) -> str:
    """Why a start can't read a record and go on from it; `strict`: also a field that its type doesn't know."""
    _, _, _, name, body = row
    kind = KINDS.get(name)
    if kind is None:
        return f"{name} is no type of record"
    try:
        event = msgspec.json.decode(body, type=kind)
        if kind in FOLDED:
            with contextlib.suppress(IllegalTransition):  # a start passes over it, and says so
                account.apply(event)
        if not strict or msgspec.json.encode(event) == body.encode():
            return ""
        unknown = _unknown_field(msgspec.json.decode(body), msgspec.to_builtins(event))
    except (*_UNREADABLE, ArithmeticError, LookupError, AttributeError) as error:
        return f"{name} can't be read ({error})"
    return f"{name} has no field {unknown}" if unknown else ""


def _unknown_field(written: Any, understood: Any) -> str:
    """A key of `written` that is not in what was made of it: its value would silently be the default."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            if key not in understood:
                return str(key)
            if inner := _unknown_field(value, understood[key]):
                return f"{key}.{inner}"
    elif isinstance(written, list) and isinstance(understood, list | tuple):
        return next(filter(None, map(_unknown_field, written, understood)), "")
    return ""


def _is_json(body: Any) -> bool:
    try:
        msgspec.json.decode(body)
    except _UNREADABLE:
        return False
    return True


def _opened_up(path: Path) -> Path:
    """A copy that SQLite opens though pages are missing at its end (file format, 1.3.7: in-header database size)."""
    copy = path.with_name(f"{path.name}.salvage")
    for suffix in ALL_PARTS:
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    if is_there(path):
        shutil.copyfile(path, copy)
    if wal_of(path).is_file():
        shutil.copyfile(wal_of(path), wal_of(copy))
    with copy.open("ab") as stream:  # of a file of no pages SQLite would delete the -wal, where all may stand
        stream.write(bytes(max(0, _PAGE_BYTES - stream.tell())))
    with copy.open("r+b") as stream:
        header = stream.read(_HEADER_BYTES)
        if header.startswith(_MAGIC):
            page_size = int.from_bytes(header[16:18], "big")
            pages = copy.stat().st_size // (65_536 if page_size == 1 else max(page_size, 512))
            stream.seek(28)
            stream.write(min(pages, int.from_bytes(header[28:32], "big")).to_bytes(4, "big"))
    return copy
