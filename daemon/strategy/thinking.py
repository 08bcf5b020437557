"""Work that may never come back → its answer, or none within the limit.

Strategies that think for long do so on one thread beside the loop. A running call can't be ended, so a thread that
gives no answer in time is left behind: nothing waits for it any more, what it answers later is dropped, and the next
work gets a fresh one. Invariant: nobody waits for a thread beyond the limit, the end of the process included.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import structlog

from daemon.core.ids import decision_id
from daemon.core.threads import ThreadWorker, Worker

log = structlog.get_logger("thinking")

T = TypeVar("T")
About: TypeAlias = tuple[str, int] | None
"""Symbol and bar that a decision is about, for the log; None for work that is about none."""


class Broken(msgspec.Struct, frozen=True):
    """The work raised instead of answering."""

    why: str


def attempt(work: Callable[[], T], about: About = None) -> T | Broken:
    """Do a strategy's work. What it raises is its own failure, and ends neither the stage nor what waits behind it."""
    try:
        return work()
    except Exception as error:  # the edge of strategies: whatever one raises is a decision of its own that failed
        log.exception("strategy raised", **({"decision": decision_id(*about)} if about is not None else {}))
        return Broken(f"{type(error).__name__}: {error}")


class _Job(Generic[T]):
    """Work, and the future on its loop that waits for the answer."""

    def __init__(self, work: Callable[[], T], about: About = None) -> None:
        self.future: asyncio.Future[T | Broken] = asyncio.get_running_loop().create_future()
        self._work = work
        self._about = about

    def do(self) -> None:
        """On the thread: answer, unless the loop is gone meanwhile."""
        answer = attempt(self._work, self._about)
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody wants to know
            self.future.get_loop().call_soon_threadsafe(self._settle, answer)

    def _settle(self, answer: T | Broken) -> None:
        """On the loop: an answer that nobody waits for any more is dropped."""
        if not self.future.done():
            self.future.set_result(answer)


class Thinker:
    """The one thread that strategies think on, made when it is first needed and again when it was left."""

    def __init__(self, thread: Callable[[str], Worker] = ThreadWorker) -> None:
        self._begin = thread
        self._thread: Worker | None = None
        self._job: _Job[Any] | None = None

    async def think(self, work: Callable[[], T], limit_s: float, about: About = None) -> T | Broken | None:
        """The answer; None where there is none after `limit_s` seconds of the machine's time, and the thread is left.

        It is left, too, where the caller is cancelled.
        """
        thread = self._thread = self._thread or self._begin("inference")
        job = self._job = _Job(work, about)
        thread.give(job.do)
        try:
            await asyncio.wait((job.future,), timeout=limit_s)
        finally:
            if not job.future.done():
                job.future.cancel()
                thread.end(wait=False)
                self._thread = None
        return None if job.future.cancelled() else job.future.result()

    def aside(self, work: Callable[[], T]) -> asyncio.Future[T | Broken]:
        """Begin work on a thread of its own, which ends with it; the future has the answer when there is one."""
        job, thread = _Job(work), self._begin("renewal")
        thread.give(job.do)
        thread.end(wait=False)
        return job.future

    def close(self) -> None:
        """End the thread; one that still works isn't waited for. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end(wait=self._job is None or self._job.future.done())


class HangBudget:
    """How often each strategy has hung today, against how often it may; loop-free."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._hangs: dict[str, tuple[int, int]] = {}  # (day, count)

    def note(self, strategy: str, day: int) -> None:
        """It has hung again."""
        self._hangs[strategy] = (day, self.count(strategy, day) + 1)

    def count(self, strategy: str, day: int) -> int:
        """How often it has hung on `day`."""
        when, count = self._hangs.get(strategy, (day, 0))
        return count if when == day else 0

    def spent(self, strategy: str, day: int) -> bool:
        """Whether it has hung more often than it may."""
        return self.count(strategy, day) > self._allowed

    def forgive(self, strategy: str) -> None:
        """Begin to count anew: it was put in charge again."""
        self._hangs.pop(strategy, None)
