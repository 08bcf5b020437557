"""Somebody who listens to a daemon's `/stream`, over the simulated network: nothing is left out without a word.

Of what is never conflated a listener has every event of the daemon's life once and in order, from when it was let in to
when one of both hung up; and where nothing is wrong within `LATE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from daemon.control.stream import ORDER_EVENTS, STREAMED, Code
from daemon.core.bus import Bus
from daemon.core.events import Bar, Complexity, Decision, Event, PositionChanged, TickBatch
from tests.simulation.plan import HEALED_S

if TYPE_CHECKING:
    from tests.simulation.world import World

LATE_S = 3.0
"""A frame is there after so long."""
PING_S = 4.0
"""Who hears nothing for so long asks whether anybody is there."""
AT_LEAST_S = 10.0
KINDS = "decision,order,fill,state,strategy,model,setting,health"
CONFLATED = (TickBatch, Bar, Complexity, PositionChanged)
TOLD = tuple(kind for kind in STREAMED if kind not in CONFLATED)

Sign = tuple[str, ...]
"""What is the same of an event and of its frame."""


class Listeners:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._happened: list[tuple[float, Sign]] = []
        """In this life, and when."""
        self._tasks: set[asyncio.Task[None]] = set()

    def begin_life(self, bus: Bus) -> None:
        """Of another daemon."""
        happened = self._happened = []
        now = self._world.loop.time
        bus.tap(TOLD, lambda event: happened.append((now(), _of_event(event))))

    def listen(self, seconds: float) -> None:
        """For so long, or until it is hung up on."""
        task = asyncio.create_task(self._listen(min(AT_LEAST_S + seconds, HEALED_S - self._world.loop.time())))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """Nobody listens any more."""
        for task in list(self._tasks):
            task.cancel()

    async def _listen(self, seconds: float) -> None:
        world = self._world
        life = self._happened
        heard: list[tuple[int, Sign]] = []
        stayed = False
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with world.clerk.session(None) as session, session.ws_connect(
                world.clerk.url(f"/stream?kinds={KINDS}"), headers=world.clerk.signed(), heartbeat=PING_S
            ) as socket:  # fmt: skip
                joined = len(life)
                if life is not self._happened:  # let in by one that ended, or by the next: who knows
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        async for message in socket:
                            if message.type is not aiohttp.WSMsgType.TEXT:  # nobody answered a ping
                                break
                            frame = msgspec.json.decode(message.data)
                            heard.append((frame["n"], _of_frame(frame)))
                        seconds = 0.0
                stayed = seconds > 0
                if socket.close_code == Code.TOO_SLOW:
                    world.watch.breaks("a listener that reads is kept", f"it was let go with {socket.close_code}")
                world.ends[f"listened until {'it left' if stayed else socket.close_code}"] += 1
                self._compare(life, joined, heard, complete=stayed)

    def _compare(
        self, happened: list[tuple[float, Sign]], joined: int, heard: list[tuple[int, Sign]], *, complete: bool
    ) -> None:
        """`joined` events had happened before it was let in, of which it may hear the last."""
        world, now = self._world, self._world.loop.time()
        world.ends["frames"] += len(heard)
        numbers = [number for number, _ in heard]
        if numbers != sorted(set(numbers)):
            world.watch.breaks("a listener hears all in order", f"frames are numbered {numbers}")
        signs, told = [sign for _, sign in heard], [sign for _, sign in happened]
        fits = [at for at in range(joined + 1) if told[at : at + len(signs)] == signs]
        if not fits:
            at = next(
                (at for at, (one, other) in enumerate(zip(signs, told[joined:], strict=False)) if one != other), -1
            )
            world.watch.breaks("a listener hears all in order", f"frame {at} of {len(signs)} is {signs[at]}")
            return
        late = [sign for when, sign in happened[fits[-1] + len(signs) :] if when < now - LATE_S]
        if complete and now > world.upset_until + AT_LEAST_S and late:
            world.watch.breaks("a listener hears all in time", f"{len(late)} events weren't told, such as {late[0]}")


def _of_event(event: Event) -> Sign:
    if isinstance(event, ORDER_EVENTS):
        return "order", event.order_id
    if isinstance(event, Decision):
        return "decision", event.symbol, str(event.ts)
    return type(event).__name__, str(event.ts)


def _of_frame(frame: dict[str, Any]) -> Sign:
    match frame["type"]:
        case "order":
            return "order", frame["order_id"]
        case "decision":
            return "decision", frame["symbol"], frame["ts"]
        case _:
            return frame["event"], frame["ts"]
