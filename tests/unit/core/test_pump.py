"""Stations run by hand: what they await, what they raise, and what is left when they are closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.events import Event, Halt, Resume, TimeAdvanced
from daemon.core.pump import BREATH, Pump


class Thinker(Actor):
    """Awaits an answer to each `Halt`, then says `Resume`; one `TimeAdvanced` is only noted."""

    name = "thinker"

    def __init__(self, bus: Bus, log: list[str], answer: asyncio.Event) -> None:
        super().__init__(bus)
        self._log = log
        self._answer = answer
        self.inbox = bus.subscribe(self.name, (Halt, TimeAdvanced))

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Think, or note."""
        if isinstance(event, Halt):
            return self._think(event.ts)
        self._log.append("noted")
        return None

    async def _think(self, ts: int) -> None:
        try:
            await self._answer.wait()
        finally:
            self._log.append(f"thought {ts}")
        self.bus.publish(Resume(ts=ts, reason=""))


class Listener(Actor):
    """Notes what it hears; raises where it is told to."""

    name = "listener"

    def __init__(self, bus: Bus, log: list[str], error: Exception | None = None) -> None:
        super().__init__(bus)
        self._log = log
        self._error = error
        self.inbox = bus.subscribe(self.name, (Resume, TimeAdvanced))

    def handle(self, event: Event) -> None:
        """Note it."""
        if self._error is not None:
            raise self._error
        self._log.append(f"heard {type(event).__name__}")


def test_others_go_on_while_one_thinks() -> None:
    """Its own events wait in their order, and nothing is idle before the answer has gone all its way."""
    log: list[str] = []

    async def play() -> None:
        pump, answer = Pump(), asyncio.Event()
        bus = Bus(runner=pump)
        for actor in (Thinker(bus, log, answer), Listener(bus, log)):
            pump.add(actor.inbox, actor.handle)
        bus.publish(Halt(ts=1, reason=""))
        bus.publish(TimeAdvanced(ts=2))
        asyncio.get_running_loop().call_soon(answer.set)
        await bus.idle()
        log.append(f"pending {bus.pending}")

    asyncio.run(play())
    assert log == ["heard TimeAdvanced", "thought 1", "noted", "heard Resume", "pending 0"]


def test_what_a_handler_raises_comes_out_and_its_event_is_settled() -> None:
    """To whoever waits until all is handled."""

    async def play() -> None:
        pump, log = Pump(), list[str]()
        bus = Bus(runner=pump)
        sick = Listener(bus, log, ArithmeticError("as asked"))
        pump.add(sick.inbox, sick.handle)
        bus.publish(TimeAdvanced(ts=1))
        with pytest.raises(ArithmeticError, match="as asked"):
            await bus.idle()
        assert bus.pending == 0

    asyncio.run(play())


def test_closing_ends_a_thought() -> None:
    """What it cleans up it cleans up, nothing goes on behind it, and closing again does nothing."""
    log: list[str] = []

    async def play() -> None:
        pump = Pump()
        bus = Bus(runner=pump)
        thinker = Thinker(bus, log, asyncio.Event())
        pump.add(thinker.inbox, thinker.handle)
        bus.publish(Halt(ts=1, reason=""))
        waiting = asyncio.ensure_future(bus.idle())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert log == []
        pump.close()
        pump.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(play())
    assert log == ["thought 1"]


def test_the_loop_gets_a_turn_now_and_then() -> None:
    """A signal is heard although the stations never wait for anything."""
    called: list[int] = []

    async def play() -> None:
        pump = Pump()
        bus = Bus(runner=pump)
        listener = Listener(bus, [])
        pump.add(listener.inbox, listener.handle)
        asyncio.get_running_loop().call_soon(called.append, 1)
        for ts in range(BREATH):
            bus.publish(TimeAdvanced(ts=ts))
            await bus.idle()

    asyncio.run(play())
    assert called == [1]


class Polite(Actor):
    """Lets all others go first, twice."""

    name = "polite"

    def __init__(self, bus: Bus, log: list[str]) -> None:
        super().__init__(bus)
        self._log = log
        self.inbox = bus.subscribe(self.name, (Halt,))

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Wait, and pass it on."""
        return self._wait()

    async def _wait(self) -> None:
        self._log.append("waits")
        for _ in range(2):
            await asyncio.sleep(0)
        self._log.append("goes on")
        self.bus.publish(Resume(ts=2, reason=""))


async def test_who_lets_all_others_go_first_goes_on_when_they_are_done() -> None:
    """And the loop isn't asked for it: what waits there hasn't had a turn."""
    pump, log = Pump(), []
    bus = Bus(runner=pump)
    polite, listener = Polite(bus, log), Listener(bus, log)
    for actor in (polite, listener):
        pump.add(actor.inbox, actor.handle)
    turns = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    turns.add_done_callback(lambda _: log.append("loop"))
    bus.publish(Halt(ts=1, reason=""))
    bus.publish(Resume(ts=1, reason=""))
    await bus.idle()
    assert log == ["waits", "heard Resume", "goes on", "heard Resume"]
    pump.close()
    await turns
