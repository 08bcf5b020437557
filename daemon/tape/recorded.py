"""The directory of a recording: whose it is, which files belong to which day, and which are old.

Invariant: one process at a time holds it; only files that are named as a recording names them are ever touched.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.core.locks import Held, let_go, take

_REEL_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)\.ticks")
_TAPES = "????-??-??.parquet"


class RecordedElsewhere(UsageError):  # noqa: N818  # a state that a timer lives with
    """Another process records in the directory, and seals what lies there."""


class RecordedDirectory:
    """A directory of tapes, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Make and lock it. Raises `UsageError` where it can't be used, `RecordedElsewhere` where it is held."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = take(path / ".lock", 0o644)
        except OSError as error:
            raise UsageError(f"feed.record.path: {path} can't be written ({error.strerror or error})") from None
        except Held:
            words = f"feed.record.path: another process records in {path}; name another place"
            raise RecordedElsewhere(words) from None

    def release(self) -> None:
        """Let others record here; calling it again does nothing."""
        if self._lock >= 0:
            let_go(self.path / ".lock", self._lock)
            self._lock = -1


def reels_by_day(directory: Path) -> dict[str, list[Path]]:
    """Every reel in `directory`, oldest first, by its day (such as 2026-01-05)."""
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("*.ticks")):
        match = _REEL_NAME.fullmatch(path.name)
        if match is not None:
            found.setdefault(match[1], []).append(path)
    return found


def is_recording(directory: Path) -> bool:
    """Whether `directory` holds a reel, or the tape of a day."""
    return bool(reels_by_day(directory)) or any(directory.glob(_TAPES))


def reel_path(directory: Path, day: str, started_ns: int) -> Path:
    """Name a reel of a day; names of one day sort by the time at which they were begun."""
    return directory / f"{day}.{started_ns:019d}.ticks"


def next_reel(directory: Path, day: str, now_ns: int, earlier: Iterable[str]) -> Path:
    """Name a new reel of a day behind all the `earlier` ones of it by name, whatever the clock says by now."""
    matches = [_REEL_NAME.fullmatch(name) for name in earlier]
    newest = max((int(match[2]) for match in matches if match is not None and match[1] == day), default=0)
    return reel_path(directory, day, max(now_ns, newest + 1))


def tape_path(directory: Path, day: str) -> Path:
    """Name the sealed tape of a day."""
    return directory / f"{day}.parquet"


def prune(directory: Path, today: str, keep_days: int) -> list[str]:
    """Delete sealed tapes more than `keep_days` older than `today`, and return their days; 0 keeps all."""
    if not keep_days:
        return []
    oldest = (dt.date.fromisoformat(today) - dt.timedelta(days=keep_days)).isoformat()
    gone = []
    for path in sorted(directory.glob(_TAPES)):
        if path.stem < oldest:
            path.unlink()
            gone.append(path.stem)
    return gone
