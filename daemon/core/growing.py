"""A new file that only its writer changes: what is written at which place, and when the disk has it.

A daemon gets it from the machine it runs on (`daemon.machine`): a file here, and one on a simulated disk in the
simulation. Invariant: the file's name is on the disk before anything is written to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Protocol

from daemon.core.files import sync_directory


class GrowingFile(Protocol):
    """Every method but `close` may raise `OSError`."""

    def write(self, content: bytes, at: int) -> int:
        """Write at that place; how many bytes of it were."""

    def sync(self) -> None:
        """Wait until the disk has it as it is, under its name; `FileNotFoundError` where that leads elsewhere now."""

    def cut(self, size: int) -> None:
        """Take away what lies beyond `size` bytes."""

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""


class DiskFile:
    """Implements `GrowingFile` by a file of this computer."""

    def __init__(self, path: Path) -> None:
        """Create it. Raises `OSError` where it can't be, or exists."""
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            sync_directory(path.parent)
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def write(self, content: bytes, at: int) -> int:
        """Write at that place; how many bytes of it were."""
        return os.pwrite(self._descriptor, content, at)

    def sync(self) -> None:
        """Wait until the disk has it as it is, under its name; `FileNotFoundError` where that leads elsewhere now."""
        os.fsync(self._descriptor)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return
        raise FileNotFoundError(
            errno.ENOENT, "the file was deleted, or moved away, while it was written", str(self._path)
        )

    def cut(self, size: int) -> None:
        """Take away what lies beyond `size` bytes."""
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
