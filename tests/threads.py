"""Threads as a disk that hangs makes them: they begin, and stand until it goes on."""

from __future__ import annotations

import threading

from daemon.core.threads import Job, ThreadWorker


class Hung:
    """`thread` begins workers whose jobs wait until `goes_on` is set."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.ended = threading.Event()
        """A job was done."""
        self.begun = 0

    def thread(self, name: str) -> HungWorker:
        """One more."""
        self.begun += 1
        return HungWorker(name, self)


class HungWorker(ThreadWorker):
    """Of `Hung`."""

    def __init__(self, name: str, disk: Hung) -> None:
        self._disk = disk
        super().__init__(name)

    def give(self, job: Job) -> None:
        """The next job."""

        def wait_and_do() -> None:
            self._disk.goes_on.wait()
            job()
            self._disk.ended.set()

        super().give(wait_and_do)
