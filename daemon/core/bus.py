"""The event bus: publishes an event into the inboxes of those who subscribed to its type.

Invariant: publication is synchronous and in one order for everybody; `idle` resolves exactly when every event that was
published has been handled, which is what makes a replay deterministic.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from daemon.core.errors import InboxFull
from daemon.core.events import Event
from daemon.core.pump import Pump, Rest

Filter = Callable[[Any], bool]
"""Says whether an event is wanted; it is asked only about events of the types it was given with."""

Receiver = Callable[[Any], None]
"""Takes events of the types it was given with."""


class Inbox:
    """One actor's queue."""

    __slots__ = ("_bus", "_capacity", "_items", "_waiter", "name", "taken")

    def __init__(self, bus: Bus, name: str, capacity: int) -> None:
        self.name = name
        self.taken = 0
        """Events that its reader took so far."""
        self._bus = bus
        self._capacity = capacity
        self._items: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | Rest | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, event: Event) -> None:
        """Queue `event`; raises `InboxFull` when it is at its capacity."""
        if len(self._items) >= self._capacity:
            raise InboxFull(f"inbox {self.name!r} is full at {self._capacity} events: its actor does not keep up")
        self._items.append(event)
        self._bus.pending += 1
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self) -> Event | None:
        """The oldest event, None when there is none; the reader owes one `done` for it."""
        if not self._items:
            return None
        self.taken += 1
        return self._items.popleft()

    async def wait(self) -> None:
        """Wait until there is an event."""
        while not self._items:
            self._waiter = self._bus.waiter()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def done(self) -> None:
        """The event that `take` gave has been handled."""
        self._bus.settle(1)


class Bus:
    """Routes events by type; a tap sees every event of its types at once, an inbox when its actor comes to it."""

    def __init__(self, capacity: int = 65_536, pump: Pump | None = None) -> None:
        """`pump`: who runs the stations, where that isn't the event loop."""
        self.pending = 0
        self._pump = pump
        self._capacity = capacity
        self._taps: dict[type[Event], list[Receiver]] = {}
        self._inboxes: dict[type[Event], list[Receiver]] = {}
        self._routes: dict[type[Event], tuple[Receiver, ...]] = {}
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._idle_calls: list[Callable[[], None]] = []

    def subscribe(
        self,
        name: str,
        types: tuple[type[Event], ...],
        *,
        where: Filter | None = None,
        inbox: Inbox | None = None,
    ) -> Inbox:
        """Return an inbox (a new one unless given) that receives `types`; `where` filters at publication."""
        inbox = Inbox(self, name, self._capacity) if inbox is None else inbox
        receive = inbox.put if where is None else _filtered(inbox.put, where)
        self._add(self._inboxes, types, receive)
        return inbox

    def tap(self, types: tuple[type[Event], ...], call: Receiver, *, where: Filter | None = None) -> None:
        """Call `call(event)` synchronously at publication: for the journal and for counters, which never wait."""
        self._add(self._taps, types, call if where is None else _filtered(call, where))

    def publish(self, event: Event) -> None:
        """Hand `event` to every tap and then to every inbox of its type, in the order in which they came."""
        for receive in self._routes.get(type(event), ()):
            receive(event)

    def settle(self, count: int) -> None:
        """`count` queued events are done with."""
        self.pending -= count
        while self.pending == 0 and self._idle_calls:
            self._idle_calls.pop(0)()
        if self.pending == 0 and self._idle_waiters:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once, when next an actor is done and nothing published is unhandled, before anybody can publish more.

        Never at once: whoever asks may stand in the middle of a publication.
        """
        self._idle_calls.append(call)

    async def idle(self) -> None:
        """Wait until nothing published is unhandled."""
        while self.pending:
            if self._pump is not None:
                await self._pump.run()
                continue
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            await waiter

    def waiter(self) -> asyncio.Future[None] | Rest:
        """What an actor waits on while its inbox is empty."""
        return asyncio.get_running_loop().create_future() if self._pump is None else Rest(self._pump)

    def _add(self, table: dict[type[Event], list[Receiver]], types: tuple[type[Event], ...], call: Receiver) -> None:
        for kind in types:
            table.setdefault(kind, []).append(call)
            self._routes[kind] = (*self._taps.get(kind, ()), *self._inboxes.get(kind, ()))


def _filtered(call: Receiver, where: Filter) -> Receiver:
    def receive(event: Any) -> None:
        if where(event):
            call(event)

    return receive
