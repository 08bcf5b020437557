"""The disk under a simulated daemon's small files: past calls, the token, locks, marks, and the journal's name.

The daemon reaches them by the system's calls, so it is these that a bad disk changes (`under`), for what a daemon does
and for files of its session alone; SQLite, the recording and Parquet have disks of their own here. A disk that hangs
holds up what changes a file: what is read lies in memory. A power cut leaves of past calls, which nobody syncs, any
sectors; a disk that forgot leaves of what was written since the old, the new, or an empty file.
Invariant: all chance is of a stream of its own, so a session is the same whether this disk is bad or not but for that.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from daemon.calls.pen import Pen
from daemon.core.threads import Flag, Job
from tests.simulation.loop import PROCESS, SimLoop
from tests.simulation.reels import SECTOR

OTHERS = ("-wal", "-shm", ".ticks", ".parquet", ".partial", ".fresh")
"""Ends of names that lie on other disks here."""
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CALLS = "calls"
NO = 0.25
"""How often a disk that is broken fails."""


BESIDE: contextvars.ContextVar[bool] = contextvars.ContextVar("beside", default=False)
"""Whether the present moment is one of a thread beside the loop."""

T = TypeVar("T")


def beside(work: Callable[[], T]) -> Callable[[], T]:
    """The same, as a thread beside the loop does it."""

    def do() -> T:
        token = BESIDE.set(True)
        try:
            return work()
        finally:
            BESIDE.reset(token)

    return do


class SmallFiles:
    """How that disk is at the moment."""

    def __init__(self, loop: SimLoop, seed: int, directory: Path, flag: Callable[[], Flag]) -> None:
        self.loop = loop
        self.rng = random.Random(f"files:{seed}")
        self.full_until = self.broken_until = self.read_only_until = self.hangs_until = self.forgets_until = 0.0
        self.journal_hangs: Callable[[], float] = lambda: 0.0
        """How long the journal's disk, which is the same one then, gives no answer yet."""
        self.waited: Callable[[str], None] = lambda call: None
        """Told of each call by which the loop waits for a disk that hangs."""
        self._directory = directory
        self._home = ""
        self._names: dict[int, str] = {}
        """Of open files."""
        self._flag = flag
        self._pens: list[PenWorker] = []
        self._calls = b""
        """Of past calls, what the disk has for certain."""
        self._before: dict[str, bytes] = {}
        """What the disk had when it began to forget."""

    # -- how it is ----------------------------------------------------------------------------------------------------

    @property
    def hangs(self) -> float:
        """How long it gives no answer yet, seconds; 0 where it does."""
        return max(0.0, self.hangs_until - self.loop.time(), self.journal_hangs())

    @property
    def bad_until(self) -> float:
        """Until when no file could be made on it, or none that the power leaves there."""
        return max(self.full_until, self.broken_until, self.read_only_until, self.hangs_until, self.forgets_until)

    def forget_from_now_on(self, seconds: float) -> None:
        """What is synced from now on is only said to be."""
        if self.loop.time() >= self.forgets_until:
            self._before = self._contents()
        self.forgets_until = max(self.forgets_until, self.loop.time() + seconds)

    def heal(self) -> None:
        """All is well."""
        self.full_until = self.broken_until = self.read_only_until = self.hangs_until = self.forgets_until = 0.0
        for pen in self._pens:
            pen.go_on()

    def lose_power(self) -> None:
        """What the disk has is left."""
        calls = self._directory / CALLS
        if calls.exists():
            self._calls = self._mixed(self._calls, calls.read_bytes())
            calls.write_bytes(self._calls)
        if self.loop.time() >= self.forgets_until:
            return
        for name, content in self._contents().items():
            before, fate = self._before.get(name), self.rng.randrange(3)
            if name == CALLS or before == content or fate == 0:
                continue
            path = self._directory / name
            if before is None:
                path.unlink()
            else:
                path.write_bytes(before if fate == 1 else b"")
        self.forgets_until = 0.0

    def pen(self, file: int) -> Pen:
        """What writes past calls; it is in order with what the daemon does, as long as the disk lets it."""
        return Pen(file, self.pwrite, self._pen_worker, self._flag)

    def _pen_worker(self, name: str) -> PenWorker:
        worker = PenWorker(self)
        self._pens.append(worker)
        return worker

    def _contents(self) -> dict[str, bytes]:
        paths = [path for path in sorted(self._directory.iterdir()) if path.is_file() and _is_small(path.name)]
        return {path.name: path.read_bytes() for path in paths if "sqlite" not in path.name or not path.stat().st_size}

    def _mixed(self, old: bytes, new: bytes) -> bytes:
        size = self.rng.choice((len(old), len(new)))
        mixed = bytearray(old[:size].ljust(size, b"\0"))
        for at in range(0, min(size, len(new)), SECTOR):
            if self.rng.random() < 0.7:
                mixed[at : at + SECTOR] = new[at : min(at + SECTOR, size)]
        return bytes(mixed)

    # -- the system's calls -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def under(self) -> Iterator[None]:
        """In the block the system's calls go by how this disk is, where a daemon makes them."""
        self._home = f"{self._directory.resolve()}{os.sep}"
        before = {name: getattr(os, name) for name in _PATCHED}
        self._real = before
        for name in _PATCHED:
            setattr(os, name, getattr(self, name))
        try:
            yield
        finally:
            for name, right in before.items():
                setattr(os, name, right)

    def open(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        """Broken, it may say no; full or read-only to who would change something."""
        name = self._name_of(path)
        if name is not None:
            self._check("open", name, changes=bool(flags & CHANGES), makes=bool(flags & os.O_CREAT), path=path)
        file: int = self._real["open"](path, flags, mode, **options)
        self._names.pop(file, None)
        if name is not None:
            self._names[file] = name
        return file

    def stat(self, path: Any, **options: Any) -> os.stat_result:
        """Broken, nobody says what is there."""
        name = self._name_of(path)
        if name is not None:
            self._check("stat", name)
        found: os.stat_result = self._real["stat"](path, **options)
        return found

    def pread(self, file: int, size: int, at: int) -> bytes:
        """Broken, it may say no."""
        if (name := self._open_by_daemon(file)) is not None:
            self._check("pread", name)
        content: bytes = self._real["pread"](file, size, at)
        return content

    def pwrite(self, file: int, content: bytes, at: int) -> int:
        """Broken, it may say no after some of it; full, to who wants more room."""
        if (name := self._open_by_daemon(file)) is not None:
            grows = at + len(content) > os.fstat(file).st_size
            self._check("pwrite", name, changes=True, grows=grows)
        written: int = self._real["pwrite"](file, content, at)
        return written

    def write(self, file: int, content: bytes) -> int:
        """The same at the end."""
        if (name := self._open_by_daemon(file)) is not None:
            self._check("write", name, changes=True, grows=True)
        written: int = self._real["write"](file, content)
        return written

    def ftruncate(self, file: int, size: int) -> None:
        """Cut it."""
        if (name := self._open_by_daemon(file)) is not None:
            self._check("ftruncate", name, changes=True)
        self._real["ftruncate"](file, size)

    def fsync(self, file: int) -> None:
        """It has what was written, says so, or fails."""
        if (name := self._open_by_daemon(file)) is not None:
            self._check("fsync", name, changes=True)
        self._real["fsync"](file)

    def unlink(self, path: Any, **options: Any) -> None:
        """Take a name away."""
        if (name := self._name_of(path)) is not None:
            self._check("unlink", name, changes=True)
        self._real["unlink"](path, **options)

    def replace(self, path: Any, other: Any, **options: Any) -> None:
        """Put one in the place of another."""
        if (name := self._name_of(other)) is not None:
            self._check("replace", name, changes=True)
        self._real["replace"](path, other, **options)

    def _check(
        self, call: str, name: str, *, changes: bool = False, makes: bool = False, grows: bool = False, path: Any = None
    ) -> None:
        """Raise what the disk says now, if it says no."""
        now = self.loop.time()
        if now < self.broken_until and self.rng.random() < NO:
            raise _error(errno.EIO, name)
        if not changes:
            return
        if now < self.read_only_until:
            raise _error(errno.EROFS, name)
        if now < self.full_until and (grows or (makes and not Path(path).exists())):
            raise _error(errno.ENOSPC, name)
        process = PROCESS.get()
        if self.hangs and not BESIDE.get() and process is not None and process.owner is process:
            self.waited(f"{call} {name}")

    def _name_of(self, path: Any) -> str | None:
        """Of a file of the session that a daemon asks for; None of others."""
        if isinstance(path, int) or PROCESS.get() is None:
            return None
        name = os.fspath(path)
        if not isinstance(name, str) or not _is_small(name):
            return None
        if name.startswith(self._home):
            return name[len(self._home) :]
        return None if name.startswith(os.sep) else name

    def _open_by_daemon(self, file: int) -> str | None:
        return None if PROCESS.get() is None else self._names.get(file)


_PATCHED = ("open", "stat", "pread", "pwrite", "write", "ftruncate", "fsync", "unlink", "replace")


class PenWorker:
    """Implements `Worker`: a job is done at once, or when the disk answers again."""

    def __init__(self, disk: SmallFiles) -> None:
        self._disk = disk
        self._jobs: list[Job] = []
        self._context = contextvars.copy_context()

    def give(self, job: Job) -> None:
        """After the earlier ones."""
        self._jobs.append(job)
        self._do()

    def end(self, *, wait: bool) -> None:
        """What it was given is done all the same."""

    def go_on(self) -> None:
        """The disk answers again before it was to."""
        if self._jobs:
            self._disk.loop.call_soon(self._do, context=self._context)

    def _do(self) -> None:
        while self._jobs:
            if (hangs := self._disk.hangs) > 0:
                self._disk.loop.call_later(hangs, self._do, context=self._context)
                return
            beside(self._jobs.pop(0))()


def _is_small(name: str) -> bool:
    return not name.endswith(OTHERS) and ("tapes" not in name or name.endswith(".lock"))


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
