"""A loop in a thread of its own, for a server that is started and stopped from another loop.

A daemon gets it from the machine it runs on (`daemon.machine`), as its other threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from daemon.core.aside import Aside

T = TypeVar("T")

STOP_S = 5.0
"""A thread that takes longer to end stands still: on a disk that hangs, for one."""


class SideLoop(Protocol):
    """Such a loop."""

    def start(self) -> None:
        """Begin; once."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work`, there, while the loop that asks goes on."""

    async def stop(self) -> None:
        """End the loop and its thread; one that stands still is left to the end of the process."""


class OwnLoop:
    """Implements `SideLoop`."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work`, there, while the loop that asks goes on."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def stop(self) -> None:
        """End the loop and its thread; one that stands still is left to the end of the process."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            with suppress(TimeoutError):
                await Aside("control ends").ask(self._thread.join, STOP_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
