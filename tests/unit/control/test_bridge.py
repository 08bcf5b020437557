"""Between two loops: what crosses is carried out there, and a loop that stands still is said to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from daemon.control.bridge import Across, Here, StandsStillError
from daemon.core.own_loop import OwnLoop


async def test_looks_and_work_happen_on_the_other_loop() -> None:
    """In its thread, with its answers and its errors."""
    own = OwnLoop("other")
    own.start()
    here = threading.get_ident()
    bridge = Across(asyncio.get_running_loop())

    async def ask() -> tuple[int, int, str]:
        told: list[int] = []
        bridge.tell(lambda: told.append(threading.get_ident()))
        looked = await bridge.look(threading.get_ident)

        async def fail() -> None:
            raise ValueError("no")

        try:
            await bridge.do(fail)
        except ValueError as error:
            said = str(error)
        return looked, told[0], said

    assert await own.run(ask()) == (here, here, "no")
    await own.stop()


async def test_a_loop_that_stands_still_is_said_to_and_the_command_comes_late() -> None:
    """Nothing is taken back: what was handed over is carried out when it goes on."""
    own = OwnLoop("other")
    own.start()
    bridge = Across(own.loop, look_s=0.05)
    go_on, done = threading.Event(), threading.Event()
    own.loop.call_soon_threadsafe(go_on.wait)

    async def command() -> None:
        done.set()

    with pytest.raises(StandsStillError, match="no answer within"):
        await bridge.look(lambda: 1)
    with pytest.raises(StandsStillError):
        await bridge.do(command, 0.05)
    assert not done.is_set()
    go_on.set()
    assert await bridge.look(lambda: 2) == 2
    assert done.is_set()
    await own.stop()


async def test_a_loop_that_has_ended_is_said_to() -> None:
    """Not waited for; telling it something does nothing."""
    own = OwnLoop("other")
    own.start()
    await own.stop()
    bridge = Across(own.loop)
    with pytest.raises(StandsStillError, match="has ended"):
        await bridge.look(lambda: 1)
    bridge.tell(lambda: None)


async def test_one_loop_needs_no_crossing() -> None:
    """At once."""
    here = Here()
    assert await here.look(lambda: 1) == 1
    told: list[int] = []
    here.tell(lambda: told.append(2))
    assert told == [2]
