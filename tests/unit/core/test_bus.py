"""The bus: order, delivery, back-pressure, and when everything is handled."""

from __future__ import annotations

import asyncio

import pytest

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.errors import InboxFull
from daemon.core.events import Event, Halt, Resume, TimeAdvanced


def halt(ts: int) -> Halt:
    """Make a command that carries a number."""
    return Halt(ts=ts, reason="")


class Recorder(Actor):
    """Keeps what it is given; raises at the times in `bad`, and passes each `Halt` on as a `Resume`."""

    name = "recorder"

    def __init__(self, bus: Bus, bad: tuple[int, ...] = ()) -> None:
        super().__init__(bus)
        self.seen: list[Event] = []
        self._bad = bad
        self.inbox = bus.subscribe(self.name, (Halt, Resume))

    def handle(self, event: Event) -> None:
        """Keep the event."""
        self.seen.append(event)
        if isinstance(event, Halt):
            if event.ts in self._bad:
                raise ValueError("as asked")
            self.bus.publish(Resume(ts=event.ts, reason=""))


def test_inbox_is_first_in_first_out() -> None:
    """Events of several types come out of one inbox in the order of publication."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt, TimeAdvanced))
    events = [halt(1), TimeAdvanced(ts=2), halt(3), TimeAdvanced(ts=4)]
    for event in events:
        bus.publish(event)
    assert (len(inbox), inbox.taken) == (4, 0)
    assert [inbox.take() for _ in range(5)] == [*events, None]
    assert inbox.taken == 4


def test_only_the_subscribed_types_arrive() -> None:
    """An event without a subscriber goes nowhere and is not pending."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,))
    bus.publish(TimeAdvanced(ts=1))
    assert inbox.take() is None
    assert bus.pending == 0


def test_filter_keeps_events_out() -> None:
    """`where` decides at publication, for inboxes and for taps."""
    bus = Bus()
    tapped: list[Event] = []
    inbox = bus.subscribe("a", (Halt,), where=lambda event: event.ts > 1)
    bus.tap((Halt,), tapped.append, where=lambda event: event.ts < 2)
    for ts in (1, 2):
        bus.publish(halt(ts))
    assert inbox.take() == halt(2)
    assert inbox.take() is None
    assert tapped == [halt(1)]
    assert bus.pending == 1


def test_a_second_subscription_can_share_an_inbox() -> None:
    """Types with different filters may meet in one inbox and keep their order."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,), where=lambda event: event.ts == 2)
    assert bus.subscribe("a", (Resume,), inbox=inbox) is inbox
    for event in (halt(1), Resume(ts=1, reason=""), halt(2)):
        bus.publish(event)
    assert [inbox.take(), inbox.take(), inbox.take()] == [Resume(ts=1, reason=""), halt(2), None]


def test_taps_hear_before_inboxes() -> None:
    """A tap that came last still sees an event before the inboxes hold it."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,))
    held: list[int] = []
    bus.tap((Halt,), lambda _: held.append(len(inbox)))
    bus.publish(halt(1))
    assert held == [0]
    assert len(inbox) == 1


def test_lossless_inbox_faults_when_full() -> None:
    """The event that does not fit raises, names the inbox, and nothing that was queued is lost."""
    bus = Bus(capacity=2)
    inbox = bus.subscribe("slow", (Halt,))
    bus.publish(halt(1))
    bus.publish(halt(2))
    with pytest.raises(InboxFull, match="'slow' is full at 2 events"):
        bus.publish(halt(3))
    assert [inbox.take(), inbox.take(), inbox.take()] == [halt(1), halt(2), None]
    assert bus.pending == 2


async def test_idle_is_immediate_when_nothing_is_pending() -> None:
    """No events, no wait."""
    async with asyncio.timeout(5):
        await Bus().idle()


async def test_idle_waits_for_what_handling_publishes() -> None:
    """`idle` resolves when the last consequence of the last event has been handled, and not before."""
    bus = Bus()
    actor = Recorder(bus)
    task = asyncio.create_task(actor.run())
    bus.publish(halt(1))
    bus.publish(halt(2))
    async with asyncio.timeout(5):
        await bus.idle()
    assert actor.seen == [halt(1), halt(2), Resume(ts=1, reason=""), Resume(ts=2, reason="")]
    assert bus.pending == 0
    task.cancel()


async def test_idle_waits_for_what_came_while_it_was_waking() -> None:
    """An event published between the last settlement and the waiter's turn is waited for too."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,))
    bus.publish(halt(1))
    waiting = asyncio.create_task(bus.idle())
    await asyncio.sleep(0)
    inbox.take()
    inbox.done()
    bus.publish(halt(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.take()
    inbox.done()
    async with asyncio.timeout(5):
        await waiting


async def test_idle_resolves_for_all_who_wait_even_if_one_gave_up() -> None:
    """A cancelled waiter does not keep the others from being told."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,))
    bus.publish(halt(1))
    first, second = asyncio.create_task(bus.idle()), asyncio.create_task(bus.idle())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    inbox.take()
    inbox.done()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()


async def test_a_crash_settles_its_event() -> None:
    """The event that made an actor raise counts as handled; a restarted actor goes on with the next one."""
    bus = Bus()
    actor = Recorder(bus, bad=(1,))
    bus.publish(halt(1))
    bus.publish(halt(2))
    with pytest.raises(ValueError, match="as asked"):
        await actor.run()
    assert bus.pending == 1
    task = asyncio.create_task(actor.run())
    async with asyncio.timeout(5):
        await bus.idle()
    assert actor.seen == [halt(1), halt(2), Resume(ts=2, reason="")]
    task.cancel()


async def test_an_actor_that_waits_is_woken_once_for_many_events() -> None:
    """A sleeping actor handles everything that was published before its turn, in order."""
    bus = Bus()
    actor = Recorder(bus)
    task = asyncio.create_task(actor.run())
    await asyncio.sleep(0)  # it waits now
    for ts in range(3):
        bus.publish(halt(ts))
    async with asyncio.timeout(5):
        await bus.idle()
    assert [event.ts for event in actor.seen if isinstance(event, Halt)] == [0, 1, 2]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bus.publish(halt(9))  # nobody waits any more: it is queued for whoever comes
    assert len(actor.inbox) == 1


async def test_an_awaiting_actor_handles_one_event_at_a_time() -> None:
    """While handling awaits, the next event is not taken, and `idle` holds."""
    gate, order = asyncio.Event(), []

    class Slow(Actor):
        """Waits for the gate over every event."""

        name = "slow"

        def __init__(self, bus: Bus) -> None:
            super().__init__(bus)
            self.inbox = bus.subscribe(self.name, (Halt,))

        async def handle(self, event: Event) -> None:
            """Wait, then keep the event."""
            order.append("in")
            await gate.wait()
            order.append("out")

    bus = Bus()
    task = asyncio.create_task(Slow(bus).run())
    bus.publish(halt(1))
    bus.publish(halt(2))
    waiting = asyncio.create_task(bus.idle())
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["in"]
    assert not waiting.done()
    gate.set()
    async with asyncio.timeout(5):
        await waiting
    assert order == ["in", "out", "in", "out"]
    task.cancel()


async def test_the_base_actor_handles_nothing() -> None:
    """A stage that forgot to implement `handle` says so at its first event."""
    bus = Bus()
    actor = Actor(bus)
    actor.inbox = bus.subscribe("bare", (Halt,))
    bus.publish(halt(1))
    with pytest.raises(NotImplementedError):
        await actor.run()


async def test_a_call_at_idle_comes_before_anybody_can_publish_more() -> None:
    """Once, when the last event is handled, though others publish the moment they learn of it."""
    bus = Bus()
    inbox = bus.subscribe("a", (Halt,))
    seen: list[str] = []

    async def flood() -> None:
        await bus.idle()
        seen.append("published more")
        bus.publish(Halt(ts=2, reason=""))

    bus.publish(Halt(ts=1, reason=""))
    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0)
    bus.when_idle(lambda: seen.append("idle"))
    assert seen == []
    inbox.take()
    inbox.done()
    await flooding
    assert seen == ["idle", "published more"]
    inbox.take()
    inbox.done()
    assert seen.count("idle") == 1
