"""Decisions go first: while one is owed, whoever only looks waits for it, a moment at most.

All threads of a process share one interpreter. What the thread that answers computes, the ones that trade wait for, and
anew each time that one of them comes back from arithmetic or the disk. Invariant: nothing but looking ever waits here,
for at most `LONGEST_S` at a time, whatever becomes of the decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONGEST_S = 0.1
"""Ten decisions of the model that is delivered take a third of it."""

Call = Callable[[], None]


class Precedence:
    """Lives on the loop that answers; without `owed` nobody ever waits."""

    def __init__(
        self,
        owed: Callable[[], object] = lambda: False,
        when_idle: Callable[[Call], None] = lambda call: None,
        longest_s: float = LONGEST_S,
    ) -> None:
        """`owed`: whether a decision is, asked from this thread; `when_idle`: see `Bus.when_idle`."""
        self._owed = owed
        self._when_idle = when_idle
        self._longest_s = longest_s
        self._asked = False
        self._calls: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def holds(self) -> bool:
        """Whether to wait."""
        return bool(self._owed())

    def afterwards(self, call: Call) -> None:
        """Call it once the trading loop has done what it has to do, orders included, or after `LONGEST_S`."""
        self._calls.append(call)
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._longest_s, self._go_on)
        if not self._asked:
            self._asked = True
            self._when_idle(lambda: self._tell(loop))
        if not self.holds:  # done meanwhile, and perhaps nobody is told
            loop.call_soon(self._go_on)

    async def wait(self) -> None:
        """Until then, where there is something to wait for."""
        if not self.holds:
            return
        over = asyncio.Event()
        self.afterwards(over.set)
        await over.wait()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the trading loop."""
        self._asked = False
        try:
            loop.call_soon_threadsafe(self._go_on)
        except RuntimeError:  # its loop has ended
            return

    def _go_on(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        calls, self._calls = self._calls, []
        for call in calls:
            call()
