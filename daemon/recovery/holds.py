"""A journal and an account → held by one process, until it ends.

Two daemons on one account both believe in a position and both close it; two on one journal both restore it. The journal
is held by a lock on the file `JOURNAL.lock` beside it, which may stand before there is a journal, and by one on itself,
whatever became of the other and however many names it has. The account is held by its name, an abstract Unix socket
(`man 7 unix`) named by app id and API host: it depends on no path, no user and no private /tmp, so that daemons with
other settings find each other, on one machine (in one network namespace). Where there are no abstract sockets it is a
file in /tmp. Invariant: the operating system lets go of either when the process ends, however it ends; neither is ever
stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarl import URL

from daemon.calls.addresses import is_local
from daemon.core.errors import UsageError
from daemon.core.files import resolved
from daemon.core.locks import Held, let_go, take

_NAME: Final = "\0hrmd-account-"
_SHARED: Final = Path("/tmp")
_PEER: Final = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


class Hold:
    """Something that is held; let go of by `release`, or with the process."""

    def __init__(self, release: Callable[[], None], file: os.stat_result | None = None) -> None:
        """`file`: which file is held."""
        self._release: Callable[[], None] | None = release
        self.file = file

    def release(self) -> None:
        """Let others have it; calling it again does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __del__(self) -> None:
        self.release()


def hold_all(journal: Path | None, account: tuple[str, str] | None) -> list[Hold]:
    """Hold what a run writes to and trades on: `account` is its name and its API (None: nothing).

    Raises `UsageError` where it is held already.
    """
    holds = [hold_journal(journal)] if journal is not None else []
    if journal is not None:
        hold_written(journal, holds)
    return [*holds, hold_account(*account)] if account is not None else holds


def hold_journal(path: Path) -> Hold:
    """Hold the journal at `path`, under whatever name it is reached. Raises `UsageError` where another process does."""
    lock = Path(f"{resolved(path)}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return _hold_file(lock, 0o600, f"journal {path}: is held by another process", "one process a journal")
    except OSError as error:
        raise UsageError(f"journal {path}: can't be opened ({lock}: {error.strerror})") from None


def hold_written(path: Path, holds: list[Hold]) -> None:
    """Hold the journal file itself, too, where it is there and not among `holds` yet (another may be put in its place).

    It is to be let go of once the journal is closed: that lets go of SQLite's own locks on the file as well. Raises
    `UsageError` where another process holds it.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or any(hold.file and os.path.samestat(hold.file, found) for hold in holds):
            return
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(f"journal {path}: can't be opened ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UsageError(f"journal {path}: another process writes this file; one process a journal") from None
    holds.append(Hold(lambda: os.close(handle), os.fstat(handle)))


def hold_account(name: str, api_url: str) -> Hold:
    """Hold the account of this name (the app's, at Fyers) at an API. Raises `UsageError` where another daemon does."""
    host = api_host(api_url)
    key = hashlib.sha256(f"{name.strip().upper()}\n{host}".encode()).hexdigest()[:32]
    taken, rule = f"account {name} at {host}: another hrmd trades on it", "one daemon an account"
    if sys.platform != "linux":
        try:
            return _hold_file(_SHARED / f"hrmd-account-{key}.lock", 0o666, taken, rule)
        except OSError as error:
            raise UsageError(f"account {name} at {host}: can't be held ({error.strerror})") from None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.bind(_NAME + key)
        link.listen()
    except OSError:
        link.close()
        raise UsageError(_refusal(taken, _listener(_NAME + key), rule)) from None
    return Hold(link.close)


def api_host(api_url: str) -> str:
    """What tells one API from another: host and port, all names of this machine being one."""
    url = URL(api_url)
    host = "localhost" if is_local(api_url) else (url.host or api_url).lower().rstrip(".")
    return f"{host}:{url.port}"


def _hold_file(path: Path, mode: int, taken: str, rule: str) -> Hold:
    """Hold a file by `flock`, with our number in it."""
    try:
        handle = take(path, mode)
    except Held as held:
        holder = held.said.split(b"\n")[0]
        raise UsageError(_refusal(taken, int(holder) if holder.isdigit() else 0, rule)) from None
    with contextlib.suppress(OSError):  # somebody else's file in a place for all
        os.fchmod(handle, mode)
    with contextlib.suppress(OSError):  # it is held all the same, and whoever comes next learns less of who holds it
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return Hold(lambda: let_go(path, handle))


def _listener(name: str) -> int:
    """The process that listens at a socket of this machine; 0 where it can't be told."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.setblocking(False)
        link.connect(name)
        answer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(answer)[0])
    return 0


def _refusal(taken: str, process: int, rule: str) -> str:
    return f"{taken}{f' (process {process})' if process else ''}; {rule}: stop that one first"
