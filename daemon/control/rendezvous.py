"""A running daemon ⇄ the small file by which `hrmd ctl` finds it, wherever either of them was started.

The file is `daemons/PID.json` in `$STATE_DIRECTORY` (systemd), else in `$XDG_STATE_HOME/hrmd` (`~/.local/state/hrmd`).
Its daemon holds a lock on it (flock) for as long as it lives, so that what a killed one left behind is known as that,
and a process number that was given away again misleads nobody. Invariant: nobody but its user can write a record (mode
0600), records of other users count for root alone, and a token that the record's user could not read is never read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SERVICE_STATE: Final = Path("/var/lib/hrmd")
"""`StateDirectory=` of systemd/hrmd.service."""
CREDENTIALS: Final = Path("/run/credentials")
"""Where systemd keeps what it hands out; nobody but root makes files there."""
FOLDER: Final = "daemons"
SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that listens: where, the file of its token, and the directory that it was started in."""

    pid: int
    url: str
    token_file: str
    directory: str

    def __str__(self) -> str:
        """As one line of a list."""
        return f"{self.url} (process {self.pid}, started in {self.directory})"


class Announcement:
    """A record that stands until `close`."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def close(self) -> None:
        """Take the record away; one that can't be is that of a dead daemon then. Once closed, does nothing."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._handle)
            self._handle = -1


def announce(running: Running, environment: Mapping[str, str]) -> Announcement:
    """Let others find this daemon; records of dead ones go. Raises `OSError` where the state can't be written."""
    folder = state_directory(environment) / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, handle in _records(folder):
        if _is_free(handle):
            path.unlink(missing_ok=True)
    partial, path = folder / f".{running.pid}", folder / f"{running.pid}{SUFFIX}"
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps(asdict(running)).encode())
        os.replace(partial, path)  # under its name it is locked and whole from the first moment
    except OSError:
        os.close(handle)
        raise
    return Announcement(path, handle)


def running_daemons(environment: Mapping[str, str], service_state: Path = SERVICE_STATE) -> list[Running]:
    """Every daemon that lives and may be followed, by process number."""
    folders = dict.fromkeys(directory / FOLDER for directory in (state_directory(environment), service_state))
    found = [_read(handle) for folder in folders for _, handle in _records(folder)]
    return sorted((one for one in found if one is not None), key=lambda one: one.pid)


def state_directory(environment: Mapping[str, str]) -> Path:
    """Systemd's `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/hrmd`, else `~/.local/state/hrmd`."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    home = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME") or "/") / ".local" / "state"
    return Path(home) / "hrmd"


def _records(folder: Path) -> Iterator[tuple[Path, int]]:
    """Each record, open for reading while it is looked at."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError:  # none yet, or another user's
        return
    for name in names:
        try:
            handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            yield folder / name, handle
        finally:
            os.close(handle)


def _is_free(handle: int) -> bool:
    """Whether no daemon holds the record any more."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(handle: int) -> Running | None:
    """The record's daemon where it lives and may be followed."""
    file, me = os.fstat(handle), os.geteuid()
    if _is_free(handle) or file.st_mode & 0o022 or (me != 0 and file.st_uid != me):
        return None
    try:
        said = json.loads(os.read(handle, 65536))
        running = Running(int(said["pid"]), str(said["url"]), str(said["token_file"]), str(said["directory"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return running if file.st_uid == me or _may_be_read_for(file.st_uid, Path(running.token_file)) else None


def _may_be_read_for(user: int, token_file: Path) -> bool:
    """Whether root reads this token on the word of `user`: it is that user's own, or systemd gave it out."""
    try:
        path = token_file.resolve(strict=True)
        return path.stat().st_uid == user or (path.parent.parent == CREDENTIALS and path.name == "control-token")
    except OSError:
        return False
