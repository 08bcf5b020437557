"""A file that one process at a time holds, and that is gone when it is let go of in order.

Invariant: whoever holds it holds the file that stands at its path. A process that ends in any other way leaves the
file, not the lock: the operating system lets go of that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class Held(Exception):  # noqa: N818 — an outcome that its callers put into words
    """Another process holds it; `said` is what that one wrote into it."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said


def take(path: Path, mode: int) -> int:
    """Hold the file at `path`, made where it is missing: an open handle. Raises `OSError` and `Held`."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with os.fdopen(handle, "rb") as file:
                raise Held(file.read(32)) from None
        try:
            if _is_at(path, handle):
                return handle
        except OSError:  # the disk doesn't say
            os.close(handle)
            raise
        os.close(handle)  # who held it deleted it meanwhile


def let_go(path: Path, handle: int) -> None:
    """Delete it while it is held, then let go."""
    with contextlib.suppress(OSError):
        if _is_at(path, handle):
            path.unlink()
    os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
