"""Between the loop that answers HTTP and the loop that trades: looks and commands cross, nothing else does.

Everything of the daemon is read and changed on its own loop, one step each. Invariant: the trading loop never waits for
the other one; a command that was handed over is carried out, however late, whoever still waits for its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from daemon.core.errors import HrmdError

T = TypeVar("T")

LOOK_S = 2.0
"""A loop that gives no look at itself for so long stands still."""
WORK_S = 4.5
"""Longer than the desk waits for the disk, shorter than `hrmd ctl` waits."""


class StandsStillError(HrmdError):
    """The trading loop gives no answer."""


class Bridge(Protocol):
    """The way to the trading loop."""

    async def look(self, look: Callable[[], T]) -> T:
        """What `look` says, there; raises `StandsStillError`."""

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float = WORK_S) -> T:
        """What comes of `work`, there; raises `StandsStillError` where it isn't known in time."""

    def tell(self, call: Callable[[], None]) -> None:
        """Have it called there, soon."""


class Here:
    """Both are one loop."""

    async def look(self, look: Callable[[], T]) -> T:
        """At once."""
        return look()

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float = WORK_S) -> T:
        """At once."""
        return await work()

    def tell(self, call: Callable[[], None]) -> None:
        """At once."""
        call()


class Across:
    """To the loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look_s: float = LOOK_S) -> None:
        self._loop = loop
        self._look_s = look_s

    async def look(self, look: Callable[[], T]) -> T:
        """In a step of that loop."""

        async def there() -> T:
            return look()

        return await self.do(there, self._look_s)

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float = WORK_S) -> T:
        """As a task of that loop."""
        coroutine = work()
        try:
            there = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))
        except RuntimeError:  # it is closed
            coroutine.close()
            raise StandsStillError("hrmd has ended") from None
        done, _ = await asyncio.wait((there,), timeout=patience_s)
        if not done:
            there.add_done_callback(_look_away)
            raise StandsStillError(f"the trading loop gives no answer within {patience_s:g} s")
        return there.result()

    def tell(self, call: Callable[[], None]) -> None:
        """In a step of that loop, where it still runs."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return


def _look_away(late: asyncio.Future[Any]) -> None:
    """Whoever waited was told; what it came to is in the journal."""
    if not late.cancelled():
        late.exception()
