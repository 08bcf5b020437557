"""The files that a journal is made of: whether they are still those that were opened, and a fresh one where not.

SQLite in WAL mode keeps the newest records in `NAME-wal` until it carries them over. Invariant: a file that was
deleted or replaced under a running daemon is noticed: writing into it goes well for ever, and nobody would find it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from daemon.core.files import is_there, resolved, stat_of, sync_directory

ALL_PARTS = ("", "-wal", "-shm")
_WATCHED = ("", "-wal")


def wal_of(path: Path) -> Path:
    """Where SQLite keeps what is not in the file itself yet."""
    return Path(f"{path}-wal")


def place_beside(path: Path, word: str) -> Path:
    """A free name such as `journal.sqlite.damaged-1`."""
    number = 1
    while (place := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    return place


def memory_of(environment: Mapping[str, str]) -> Path | None:
    """A directory that needs no disk, and lasts until the machine is switched off; None where there is none.

    Systemd's `$RUNTIME_DIRECTORY`, else that of the user who is logged in (`$XDG_RUNTIME_DIR`), where it is ours.
    """
    given = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or environment.get("XDG_RUNTIME_DIR", "")
    return Path(given) if given and os.access(given, os.W_OK | os.X_OK) else None


class UnwrittenMark:
    """An empty file that says that a journal couldn't be written: a full disk has room for a name, if for nothing else.

    Whoever starts next learns from it that the record before it isn't whole, and that trading was halted for it.
    """

    def __init__(self, path: Path, memory: Path | None = None) -> None:
        """Beside the journal at `path`, or in `memory`. Raises `OSError` where nobody says whether it stands."""
        named = hashlib.sha256(str(resolved(path)).encode()).hexdigest()[:16] if memory is not None else ""
        self.place = Path(f"{path}.unwritten") if memory is None else memory / f"hrmd-journal-{named}.unwritten"
        self.stands = is_there(self.place)

    def put(self) -> None:
        """The journal can't be written; where the name can't be either, nothing says so after a restart."""
        if not self.stands:
            with contextlib.suppress(OSError):
                self.place.touch()
                self.stands = True
                sync_directory(self.place.parent)

    def lift(self) -> None:
        """All of it was written after all, the halt as well."""
        if self.stands:
            with contextlib.suppress(OSError):
                self.place.unlink(missing_ok=True)
                self.stands = False


class OpenedFiles:
    """The identity of a journal's files when they were opened (or, of the `-wal`, first seen)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[int, int]] = {}
        self.missing()

    def missing(self) -> str:
        """What happened to one of them since, in words; "" for nothing."""
        for suffix in _WATCHED:
            place = f"{self._path}{suffix}"
            try:
                found = stat_of(place)
            except OSError:  # a disk that doesn't say what is there has lost nothing by that
                continue
            if found is None:
                if suffix in self._known:
                    return f"{place} was deleted while hrmd was writing it"
                continue
            if self._known.setdefault(suffix, (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
                return f"{place} was replaced by another file while hrmd was writing it"
        return ""

    def carry_over(self, db: sqlite3.Connection) -> Path:
        """Copy all that `db` holds into a fresh file and return its place.

        The place is the journal's own where nothing stands there or what we opened, else beside it: what somebody put
        there is not touched. Raises `sqlite3.Error` or `OSError`; `db` is as it was then.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.fresh")
        for suffix in ALL_PARTS:
            Path(f"{fresh}{suffix}").unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(fresh)) as copy:
            db.backup(copy)
        place = self._path
        if self._is_foreign():
            place = place_beside(self._path, "rescued")
        else:
            for suffix in ALL_PARTS[1:]:  # of what `db` still has open, and the copy has all of it
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        os.replace(fresh, place)
        sync_directory(place.parent)
        return place

    def _is_foreign(self) -> bool:
        found = stat_of(self._path)
        return found is not None and self._known.get("") != (found.st_dev, found.st_ino)
