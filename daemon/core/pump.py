"""Stations of a replay, run by hand: each handles its events when its turn comes, without wake-ups of the event loop.

Between two moments of a tape the stations hand each other a dozen events, and waking a task for each of them costs more
than the handling. A `Pump` lets them have their turns itself, in the order in which their inboxes got something to do,
which is the loop's own order, until nobody has anything left. Whoever has to await something else (a thread that
thinks) is left to the loop meanwhile. Invariant: the stations handle the same events in the same order as they do as
tasks; a thread's answer is taken when nobody else has anything to do, so how fast it came decides nothing.

A handler that awaits `asyncio.sleep(0)` lets all others go first and then goes on, without a turn of the loop. What a
handler awaits may be anything but what asks for the present task (`asyncio.timeout`): that is the feed's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeAlias

from daemon.core.bus import Inbox
from daemon.core.events import Event

Handler: TypeAlias = Callable[[Event], Awaitable[None] | None]

BREATH = 256
"""After so many rounds the loop gets a turn for what isn't a station: signals, services."""


class _Station:
    """One actor: what it has to do, how it does it, and what is left of an event that it has to await for."""

    __slots__ = ("handle", "inbox", "rest")

    def __init__(self, inbox: Inbox, handle: Handler) -> None:
        self.inbox = inbox
        self.handle = handle
        self.rest: Generator[Any, Any, None] | None = None


class Pump:
    """See the module."""

    def __init__(self) -> None:
        self._stations: list[_Station] = []
        self._ready: deque[_Station] = deque()
        self._last: deque[_Station] = deque()
        """Those that let all others go first."""
        self._outside: dict[asyncio.Task[None], _Station] = {}
        """Those that wait for something of the loop's, by who tells when it is there."""
        self._rounds = 0
        self._breath = BREATH

    def add(self, inbox: Inbox, handle: Handler) -> None:
        """One more station, whose turn is now. What its handler raises is raised here, and by `run`."""
        station = _Station(inbox, handle)
        self._stations.append(station)
        inbox.on_news(partial(self._ready.append, station))
        self._go_on(station)

    def give_way(self) -> None:
        """From here on the loop gets its turn after every round: something there wants to happen now."""
        self._breath = 1

    async def run(self) -> None:
        """One round: all that can be done now, or, where that is nothing, whatever the loop has next."""
        self._rounds += 1
        ready = self._ready
        if not ready and self._last:
            ready.append(self._last.popleft())
        if not ready:
            await self._wait_outside()
        elif self._rounds % self._breath == 0:
            await asyncio.sleep(0)
        while ready:
            self._go_on(ready.popleft())

    def close(self) -> None:
        """End what is still awaited; calling it again does nothing."""
        for task in self._outside:
            task.cancel()
        for station in self._stations:
            if station.rest is not None:
                station.rest.close()
        self._stations.clear()
        self._ready.clear()
        self._last.clear()
        self._outside.clear()

    def _go_on(self, station: _Station) -> None:
        """Its turn: all it has to do, unless it has to wait on the way."""
        if station.rest is not None and not self._finishes(station):
            return
        while (waiting := station.inbox.drain(station.handle)) is not None:
            station.rest = waiting.__await__()
            if not self._finishes(station):
                return

    def _finishes(self, station: _Station) -> bool:
        """Whether the event that it awaits for is done with now; if not, the loop has what it waits for."""
        assert station.rest is not None
        over = True
        try:
            awaited = station.rest.send(None)
            over = False
        except StopIteration:
            pass
        finally:
            if over:
                station.rest = None
                station.inbox.done()
        if not over and awaited is None:
            self._last.append(station)
        elif not over:
            self._outside[asyncio.ensure_future(_awaiting(awaited))] = station
        return over

    async def _wait_outside(self) -> None:
        """Until one of those that wait for the loop can go on; where nobody waits the loop gets a turn."""
        if not self._outside:
            await asyncio.sleep(0)
            return
        done, _ = await asyncio.wait(self._outside, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self._outside if task in done]:
            self._ready.append(self._outside.pop(task))


class _PassedOn:
    """What a coroutine yielded, awaited once more: by a task, which knows what to do with it."""

    def __init__(self, awaited: Any) -> None:
        self._awaited = awaited

    def __await__(self) -> Generator[Any, None, None]:
        yield self._awaited


async def _awaiting(awaited: Any) -> None:
    """End when what a handler awaits is there, well or not: the handler itself is told by what it awaits."""
    await _PassedOn(awaited)
