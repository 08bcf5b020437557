"""The disk under a simulated recording, and who seals what lies there.

A reel is a real file in memory: what a process that goes on reading it would see. Beside it stands what the disk has of
it for certain. A kill leaves the first, with the last write cut anywhere; a power cut leaves the second and, of what
came since, any sectors, with zeros or what was there before between them. Sealing is one moment; where the disk is full
or broken in it, the file of the tape may not grow beyond its first bytes.
Invariant: all chance is of a stream of its own, so a session is the same whether it is recorded or not but for that.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import random
import resource
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.core.threads import Job
from daemon.tape.reel import ReelReader
from tests.simulation.loop import SimLoop

if TYPE_CHECKING:
    from tests.simulation.computer import Disk

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""
SEALED_S = (0.01, 0.5)
"""How long a job of the sealer takes."""


class TapeDisk:
    """How the disk of the recording is at the moment: its own faults, and those of the machine's disk."""

    def __init__(self, loop: SimLoop, rng: random.Random, disk: Disk) -> None:
        self.loop = loop
        self.rng = rng
        self._disk = disk
        self.full_until = self.broken_until = self.uncut_until = self.slow_until = self.forgets_until = 0.0
        self.files: dict[Path, SimFile] = {}
        """All that were made, in that order."""
        self.dying = False
        """The process is at its last turn: nothing of it is told to anybody."""
        self.forgot = False
        """Whether a power cut took what was said to be on the disk."""
        self.out_of_order: list[str] = []
        """Reels whose names lie before those of earlier ones."""
        self.unwanted: list[str] = []
        """Reels in which somebody could read what had been taken back."""

    def create(self, path: Path) -> SimFile:
        """A file of the recorder."""
        if self.breaks() and self.rng.random() < 0.5:
            raise _error(errno.EIO)
        day = path.name.partition(".")[0]
        if any(it.name.startswith(day) and it.exists() and it.name >= path.name for it in self.files):
            self.out_of_order.append(path.name)
        self.files[path] = file = SimFile(self, path)
        return file

    def fills(self) -> bool:
        """Whether there is no room now."""
        return self.loop.time() < self.full_until or self._disk.fails(errno.ENOSPC)

    def breaks(self) -> bool:
        """Whether writing fails now."""
        now = self.loop.time()
        return now < self.broken_until or self.keeps() or self._disk.fails(errno.EIO)

    def keeps(self) -> bool:
        """Whether what is written can't be taken back now, either."""
        return self.loop.time() < self.uncut_until

    def forgets(self) -> bool:
        """Whether it lies when it says that it has something."""
        return self.loop.time() < max(self.forgets_until, self._disk.forgets_until)

    def write_s(self) -> float:
        """How long a turn of the writer waits for it."""
        if self.loop.time() < max(self.slow_until, self._disk.slow_until):
            return self.rng.uniform(1.0, 15.0)
        return self.rng.uniform(0.0002, 0.004)

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """A tape is made by a library, in a real file: where the disk is full it ends in the middle of it."""
        if not self.fills() and not self.breaks():
            yield
            return
        before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.rng.choice((0, 100, 3_000)), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))

    def heal(self) -> None:
        """All is well."""
        self.full_until = self.broken_until = self.uncut_until = self.slow_until = self.forgets_until = 0.0

    def lose(self, take_one: Callable[[], None], *, torn: bool) -> None:
        """The process dies in the middle of a turn, or between two; `torn`: by the power."""
        before = {path: len(file.cache) for path, file in self.files.items()}
        if self.rng.random() < 0.5:
            self.dying = True
            take_one()
            self.dying = False
        for path, file in self.files.items():
            if not path.exists():
                continue
            if torn:
                self.forgot |= file.lied
                file.lose_power()
            elif len(file.cache) > before.get(path, 0):
                file.put(bytes(file.cache[: self.rng.randrange(before.get(path, 0), len(file.cache) + 1)]))
            file.close()


class SimFile:
    """Implements `GrowingFile`."""

    def __init__(self, disk: TapeDisk, path: Path) -> None:
        self._disk = disk
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self.cache = bytearray()
        """As processes read it."""
        self.wanted = bytearray()
        """As it was to be: what was written last at every place, and nothing behind it."""
        self.lied = disk.forgets()
        """Whether the disk said that it has more than it has."""
        self._named = not self.lied
        self._durable = b""

    def write(self, content: bytes, at: int) -> int:
        """All of it, or a part."""
        disk, part = self._disk, len(content)
        if disk.fills():
            part = disk.rng.randrange(part) // 2
            if not part:
                raise _error(errno.ENOSPC)
        elif disk.breaks() and disk.rng.random() < 0.3:
            raise _error(errno.EIO)
        elif part > 1 and disk.rng.random() < 0.05:
            part = disk.rng.randrange(1, part)  # as a signal cuts it
        del self.wanted[at:]
        self.wanted += content
        self.cache[at : at + part] = content[:part]
        os.pwrite(self._descriptor, content[:part], at)
        return part

    def sync(self) -> None:
        """The disk has it, says so, or fails with some of it."""
        disk = self._disk
        if disk.dying:
            return
        if disk.breaks():
            self._durable = self._mixed()
            raise _error(errno.EIO)
        self.lied = disk.forgets()
        if not self.lied:
            self._durable, self._named = bytes(self.cache), True
        if len(self.cache) > len(self.wanted) and self.read_bytes() > len(self.wanted):
            disk.unwanted.append(self.path.name)

    def cut(self, size: int) -> None:
        """What lies beyond is gone, once that is synced."""
        if self._disk.keeps():
            raise _error(errno.EIO)
        del self.cache[size:]
        os.ftruncate(self._descriptor, size)

    def read_bytes(self) -> int:
        """How much of it a reader takes for whole."""
        reader = ReelReader(self.path)
        for _ in reader:
            pass
        return len(self.cache) - reader.torn_bytes

    def close(self) -> None:
        """Nobody writes it any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def put(self, content: bytes) -> None:
        """That is what is left of it."""
        self.cache[:] = content
        self.path.write_bytes(content)

    def lose_power(self) -> None:
        """What the disk has is left."""
        if not self._named:
            self.path.unlink()
            return
        self._durable = self._mixed()
        self.put(self._durable)
        self.lied = False

    def _mixed(self) -> bytes:
        """What the disk has for certain, and of what came since any sectors."""
        old, new, rng = self._durable, bytes(self.cache), self._disk.rng
        if old == new:
            return old
        size = rng.randrange(min(len(old), len(new)), max(len(old), len(new)) + 1)
        mixed = bytearray(old[:size].ljust(size, b"\0"))
        for at in range(0, size, SECTOR):
            sector = new[at : min(at + SECTOR, size)]
            if mixed[at : at + len(sector)] != sector and rng.random() < 0.7:
                mixed[at : at + len(sector)] = sector
        return bytes(mixed)


class SimSealer:
    """Implements `Worker`: each job is a moment of the loop, of the process that gave it; whoever ends it waits."""

    def __init__(self, disk: TapeDisk) -> None:
        self._disk = disk
        self._jobs: deque[Job] = deque()
        self._context = contextvars.copy_context()
        self._due: Any = None

    def give(self, job: Job) -> None:
        """After the earlier ones."""
        if not self._disk.dying:
            self._jobs.append(job)
            self._schedule()

    def end(self, *, wait: bool) -> None:
        """What it was given is done now."""
        while self._jobs:
            with self._disk.room():
                self._jobs.popleft()()

    def _schedule(self) -> None:
        if self._due is None and self._jobs:
            loop = self._disk.loop
            self._due = loop.call_at(
                loop.time() + self._disk.rng.uniform(*SEALED_S), self._do_one, context=self._context
            )  # fmt: skip

    def _do_one(self) -> None:
        self._due = None
        with contextlib.suppress(IndexError), self._disk.room():  # all was done when it was ended
            self._jobs.popleft()()
        self._schedule()


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
