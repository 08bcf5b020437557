"""Bytes → an open file, by a thread: whoever writes waits a moment for the disk, and no longer.

A write into a file is a matter of microseconds, until the file system is frozen (a snapshot, a backup) or the disk
under it doesn't answer: then it may last for ever. Invariant: one write at a time, and the file is closed by whoever is
done with it last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Final

from daemon.core.threads import Flag, ThreadWorker, Worker

PATIENCE_S: Final = 0.1
Parts = Sequence[tuple[int, bytes]]
"""What goes where, in this order."""
Write = Callable[[int, bytes, int], object]


class Pen:
    """Writes into `file`, which is its own from now on."""

    def __init__(
        self, file: int, write: Write = os.pwrite, thread: Callable[[str], Worker] = ThreadWorker,
        flag: Callable[[], Flag] = Event,
    ) -> None:  # fmt: skip
        """`thread` makes what writes, `flag` what tells that it is done."""
        self._file = file
        self._write = write
        self._thread, self._flag = thread, flag
        self._worker: Worker | None = None
        self._done: Flag | None = None
        """Of the write that was begun and isn't known to be done."""
        self._failed: OSError | None = None

    def put(self, parts: Parts) -> bool:
        """Write; whether all of it was, False where it is still under way. Raises `OSError`."""
        if self._worker is None:
            self._worker = self._thread("calls")
        self._done = done = self._flag()
        self._worker.give(partial(self._do, parts, done))
        done.wait(PATIENCE_S)
        return self.is_free()

    def is_free(self) -> bool:
        """Whether nothing is under way. Raises the `OSError` of what has come to an end meanwhile."""
        if self._done is not None and not self._done.wait(0):
            return False
        self._done, failed, self._failed = None, self._failed, None
        if failed is not None:
            raise failed
        return True

    def close(self) -> None:
        """Close the file, once the write that is under way is done."""
        close = partial(_close, self._file)
        if self._worker is None:
            close()
            return
        self._worker.give(close)
        self._worker.end(wait=self._done is None or self._done.wait(0))

    def _do(self, parts: Parts, done: Flag) -> None:
        try:
            for at, content in parts:
                self._write(self._file, content, at)
        except OSError as error:
            self._failed = error
        done.set()


def _close(file: int) -> None:
    with suppress(OSError):
        os.close(file)
