"""The event bus: publishes an event into the inboxes of those who subscribed to its type.

Invariant: publication is synchronous and in one order for everybody; `idle` resolves exactly when every event that was
published has been handled, which is what makes a replay deterministic.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from daemon.core.errors import InboxFull
from daemon.core.events import Event

Filter = Callable[[Any], bool]
"""Says whether an event is wanted; it is asked only about events of the types it was given with."""

Receiver = Callable[[Any], None]
"""Takes events of the types it was given with."""


class Runner(Protocol):
    """Who runs the actors, where that isn't the event loop (`daemon.core.pump`)."""

    async def run(self) -> None:
        """Let everybody do what there is to do now, or wait until there is something."""


class Inbox:
    """One actor's queue."""

    __slots__ = ("_at_work", "_bus", "_capacity", "_items", "_tell", "_waiter", "name", "taken")

    def __init__(self, bus: Bus, name: str, capacity: int) -> None:
        self.name = name
        self.taken = 0
        """Events that its reader took so far."""
        self._bus = bus
        self._capacity = capacity
        self._items: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._tell: Callable[[], object] | None = None
        self._at_work = True

    def __len__(self) -> int:
        return len(self._items)

    def put(self, event: Event) -> None:
        """Queue `event`; raises `InboxFull` when it is at its capacity."""
        if len(self._items) >= self._capacity:
            raise InboxFull(f"inbox {self.name!r} is full at {self._capacity} events: its actor does not keep up")
        self._items.append(event)
        self._bus.pending += 1
        if self._tell is not None:
            if not self._at_work:
                self._at_work = True
                self._tell()
            return
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
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def on_news(self, tell: Callable[[], object]) -> None:
        """Who runs its actor by hand is told when there is an event again after `drain` found no more."""
        self._tell = tell

    def drain(self, handle: Callable[[Event], Awaitable[None] | None]) -> Awaitable[None] | None:
        """Have the events handled, one after the other; what one has to await for is given back, and owes a `done`."""
        items, bus = self._items, self._bus
        self._at_work = True
        while items:
            self.taken += 1
            waiting = None
            try:
                waiting = handle(items.popleft())
            finally:
                if waiting is None:
                    bus.pending -= 1
                    if not bus.pending:
                        bus.settle(0)
            if waiting is not None:
                return waiting
        self._at_work = False
        return None

    def done(self) -> None:
        """The event that `take` gave has been handled."""
        self._bus.settle(1)


class Bus:
    """Routes events by type; a tap sees every event of its types at once, an inbox when its actor comes to it."""

    def __init__(self, capacity: int = 65_536, runner: Runner | None = None) -> None:
        """`runner`: who runs the actors; None for tasks of their own."""
        self.pending = 0
        self._runner = runner
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
        while self.pending and self._runner is not None:
            await self._runner.run()
        while self.pending:
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            await waiter

    def _add(self, table: dict[type[Event], list[Receiver]], types: tuple[type[Event], ...], call: Receiver) -> None:
        for kind in types:
            table.setdefault(kind, []).append(call)
            self._routes[kind] = (*self._taps.get(kind, ()), *self._inboxes.get(kind, ()))


def _filtered(call: Receiver, where: Filter) -> Receiver:
    def receive(event: Any) -> None:
        if where(event):
            call(event)

    return receive
