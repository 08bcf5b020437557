"""Work that goes on beside the loop: jobs that are done in order, and turns that are taken again and again.

A daemon gets both from the machine it runs on (`daemon.machine`): as threads here, and as moments of a simulated time
in the simulation. Invariant: one `Worker` does one job at a time, one `Hand` takes one turn at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Protocol, TypeAlias

Job: TypeAlias = Callable[[], None]
Turn: TypeAlias = Callable[[], float | None]
"""Does what there is to do; says how long to rest before the next turn, seconds, or None after the last one."""


class Worker(Protocol):
    """Does the jobs that it is given, in order."""

    def give(self, job: Job) -> None:
        """The next job; it raises nothing."""

    def end(self, *, wait: bool) -> None:
        """End after the jobs that it was given; `wait` until then."""


class Flag(Protocol):
    """What a thread waits for, and the loop sets (`threading.Event`)."""

    def set(self) -> None:
        """Who waits goes on."""

    def clear(self) -> None:
        """Who comes waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it was set within so many seconds."""


class Hand(Protocol):
    """Takes turns at one piece of work until a turn says that it was the last."""

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Guards what the turns and the loop both change; reentrant."""

    @property
    def alive(self) -> bool:
        """Whether there will be another turn."""

    def begin(self, turn: Turn) -> None:
        """Take the first turn at once."""

    def wake(self) -> None:
        """The rest is over, or there is none after the present turn."""

    def join(self, wait_s: float | None = None) -> bool:
        """Wait for the last turn's end, for so long at most; whether it has ended."""


class ThreadWorker:
    """Implements `Worker` by a thread; a daemon, so that the process can end without it."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        """The next job."""
        self._jobs.put(job)

    def end(self, *, wait: bool) -> None:
        """End after the jobs that it was given."""
        self._jobs.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class ThreadHand:
    """Implements `Hand` by a thread; a daemon, too."""

    def __init__(self, name: str) -> None:
        self._bell = threading.Condition()
        self._woken = False
        self._name = name
        self._thread: threading.Thread | None = None

    @property
    def lock(self) -> AbstractContextManager[object]:
        """The bell's own."""
        return self._bell

    @property
    def alive(self) -> bool:
        """A turn that raised was the last one, too."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, turn: Turn) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(turn,), name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ring."""
        with self._bell:
            self._woken = True
            self._bell.notify()

    def join(self, wait_s: float | None = None) -> bool:
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join(wait_s)
        return not self.alive

    def _run(self, turn: Turn) -> None:
        while (rest_s := turn()) is not None:
            with self._bell:
                if not self._woken:
                    self._bell.wait(rest_s)
                self._woken = False
