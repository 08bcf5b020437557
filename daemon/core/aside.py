"""A question to a disk, which may never answer → its answer, or word that there is none yet.

A call into a disk that froze (a server of files that is away, a device that dies) doesn't come back and can't be
ended. Invariant: whoever asks waits for as long as it says and no longer; each `Aside` has one thread that stands at
most, for nothing new is asked while a question stands; and no such thread holds up the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from daemon.core.threads import ThreadWorker, Worker

T = TypeVar("T")


class _Question(Generic[T]):
    """What is asked, and the future on its loop that has the answer, or what was raised in place of one."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self.answer: asyncio.Future[tuple[T | None, BaseException | None]]
        self.answer = (loop := asyncio.get_running_loop()).create_future()
        self.asked_s = loop.time()
        self._ask = ask

    def do(self) -> None:
        """On the thread: ask, and tell the loop unless it is gone meanwhile."""
        answer: T | None = None
        raised: BaseException | None = None
        try:
            answer = self._ask()
        except BaseException as error:  # noqa: BLE001 — it is raised where somebody waits
            raised = error
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody wants to know
            self.answer.get_loop().call_soon_threadsafe(self._settle, answer, raised)

    def _settle(self, answer: T | None, raised: BaseException | None) -> None:
        if not self.answer.done():
            self.answer.set_result((answer, raised))


class Aside:
    """One disk, or one file, that is asked beside the loop; `name` is what its thread is called."""

    def __init__(self, name: str, thread: Callable[[str], Worker] = ThreadWorker) -> None:
        self._name = name
        self._thread = thread
        self._standing: _Question[Any] | None = None

    @property
    def owes_s(self) -> float:
        """For how long the newest question has had no answer; 0 where it has."""
        standing = self._standing
        if standing is None or standing.answer.done():
            return 0.0
        return standing.answer.get_loop().time() - standing.asked_s

    async def ask(self, question: Callable[[], T], patience_s: float) -> T:
        """The answer, or what `question` raises. Raises `TimeoutError` where there is none after `patience_s`.

        An earlier question that still stands is waited for first, within the same patience.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while (earlier := self._standing) is not None and not earlier.answer.done():
            await self._wait(earlier, until - loop.time(), patience_s)
        asked = self._standing = _Question(question)
        worker = self._thread(self._name)
        worker.give(asked.do)
        worker.end(wait=False)
        await self._wait(asked, until - loop.time(), patience_s)
        answer, raised = asked.answer.result()
        if raised is not None:
            raise raised
        return cast(T, answer)

    async def _wait(self, question: _Question[Any], left_s: float, patience_s: float) -> None:
        await asyncio.wait((question.answer,), timeout=None if left_s == math.inf else max(0.0, left_s))
        if not question.answer.done():
            raise TimeoutError(errno.ETIMEDOUT, f"no answer for {patience_s:g} s")
