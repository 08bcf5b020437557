"""Stations of a replay, run by hand: each goes on when its turn comes, without a wake-up of the event loop.

Between two moments of a tape the stations hand each other a dozen events, and a wake-up of the loop for each of them
costs more than the handling. A `Pump` keeps the coroutines itself and resumes them in the order in which their inboxes
got something to do, which is the loop's own order, until nobody has anything left. Whoever waits for something else (a
thread that thinks) is left to the loop meanwhile. Invariant: the stations handle the same events in the same order as
they do as tasks; a thread's answer is taken when nobody else has anything to do, so how fast it came decides nothing.

What a station awaits may be anything but what asks for the present task (`asyncio.timeout`): that is its caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any, TypeAlias

Station: TypeAlias = Coroutine[Any, Any, None]

BREATH = 256
"""After so many rounds the loop gets a turn for what isn't a station: signals, services."""


class Rest:
    """What a station waits on while its inbox is empty, as it would on a future."""

    __slots__ = ("_over", "_pump", "station")

    def __init__(self, pump: Pump) -> None:
        self.station: Station | None = None
        self._over = False
        self._pump = pump

    def done(self) -> bool:
        """Whether there is something to do again."""
        return self._over

    def set_result(self, _: None) -> None:
        """There is something to do: the station goes on when those before it have."""
        self._over = True
        if self.station is not None:
            self._pump.line_up(self.station)

    def __await__(self) -> Generator[Rest, None, None]:
        if not self._over:
            yield self


class Pump:
    """See the module."""

    def __init__(self) -> None:
        self._stations: list[Station] = []
        self._ready: deque[Station] = deque()
        self._outside: dict[asyncio.Task[None], Station] = {}
        """Those that wait for something of the loop's, by who tells when it is there."""
        self._rounds = 0

    def add(self, station: Station) -> None:
        """Start a station: it runs until it has nothing to do. What it raises is raised here, and by `run`."""
        self._stations.append(station)
        self._go_on(station)

    def line_up(self, station: Station) -> None:
        """It has something to do."""
        self._ready.append(station)

    async def run(self) -> None:
        """One round: all that can be done now, or, where that is nothing, whatever the loop has next."""
        self._rounds += 1
        if not self._ready:
            await self._wait_outside()
        elif self._rounds % BREATH == 0:
            await asyncio.sleep(0)
        ready = self._ready
        while ready:
            self._go_on(ready.popleft())

    def close(self) -> None:
        """End all stations where they are; calling it again does nothing."""
        for task in self._outside:
            task.cancel()
        for station in self._stations:
            station.close()
        self._stations.clear()
        self._ready.clear()
        self._outside.clear()

    def _go_on(self, station: Station) -> None:
        try:
            awaited = station.send(None)
        except StopIteration:
            self._stations.remove(station)
            return
        if type(awaited) is Rest:
            awaited.station = station
        else:
            self._outside[asyncio.ensure_future(_awaiting(awaited))] = station

    async def _wait_outside(self) -> None:
        """Until one of those that wait for the loop can go on; nobody waits, and the loop gets a turn."""
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
    """End when what a station awaits is there, well or not: the station itself is told by what it awaits."""
    await _PassedOn(awaited)
