"""What is asked of a disk that may hang: answers, patience, and one thread at most."""

from __future__ import annotations

import asyncio
import threading

import pytest

from daemon.core.aside import Aside
from tests.threads import Hung
from tests.unit.orders.live import until


async def test_an_answer_and_what_is_raised_come_to_whoever_asked() -> None:
    """From a thread of its own, which has the name."""
    aside = Aside("disk")
    assert await aside.ask(lambda: threading.current_thread().name, 10) == "disk"
    with pytest.raises(ZeroDivisionError):
        await aside.ask(lambda: 1 // 0, 10)
    assert aside.owes_s == 0


async def test_a_disk_that_hangs_is_waited_for_no_longer_than_said() -> None:
    """Nobody asks it anything new meanwhile; once it answers, all is as before."""
    hung = Hung()
    aside = Aside("disk", hung.thread)
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"no answer for 0\.01 s"):
            await aside.ask(lambda: 1, 0.01)
    assert hung.begun == 1
    assert aside.owes_s > 0
    hung.goes_on.set()
    await until(lambda: not aside.owes_s)
    assert await aside.ask(lambda: 2, 10) == 2


async def test_who_asks_while_another_waits_is_served_after_it() -> None:
    """Each has its own answer; one that is cancelled leaves the disk to the others."""
    hung = Hung()
    aside = Aside("disk", hung.thread)
    first, *others = [asyncio.create_task(aside.ask(lambda n=n: n, 10)) for n in range(3)]  # type: ignore[misc]
    await until(lambda: hung.begun)
    first.cancel()
    hung.goes_on.set()
    assert await asyncio.gather(*others) == [1, 2]
    assert first.cancelled()


def test_a_loop_that_ends_doesnt_wait_for_a_disk() -> None:
    """Its answer goes nowhere."""
    hung = Hung()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await Aside("disk", hung.thread).ask(lambda: 1, 0.01)

    asyncio.run(ask())
    hung.goes_on.set()
    assert hung.ended.wait(10)
