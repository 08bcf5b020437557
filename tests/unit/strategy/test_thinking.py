"""Work on a thread that can be left behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from daemon.strategy.thinking import Broken, HangBudget, Thinker, attempt


def test_an_attempt_answers_or_says_what_was_raised() -> None:
    """The kind and the message."""
    assert attempt(lambda: 7) == 7
    assert attempt(lambda: [][1]) == Broken("IndexError: list index out of range")


async def test_work_is_done_on_one_thread() -> None:
    """Every time the same one, which isn't the loop's; it ends when it is let go."""
    thinker, before = Thinker(), threading.active_count()
    names = [await thinker.think(threading.current_thread, 60) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0] is not threading.current_thread()
    thinker.close()
    thinker.close()
    assert threading.active_count() == before


async def test_what_it_raises_is_an_answer() -> None:
    """The thread goes on with the next work."""
    thinker = Thinker()
    assert await thinker.think(lambda: 1 // 0, 60) == Broken("ZeroDivisionError: integer division or modulo by zero")
    assert await thinker.think(lambda: 5, 60) == 5
    thinker.close()


async def test_without_an_answer_the_thread_is_left_and_its_late_answer_dropped() -> None:
    """The next work has a fresh thread; what the old one says afterwards reaches nobody, and it ends."""
    thinker, gate, threads = Thinker(), threading.Event(), []

    def hang() -> str:
        threads.append(threading.current_thread())
        gate.wait()
        return "late"

    assert await thinker.think(hang, 0.05) is None
    assert await thinker.think(threading.current_thread, 60) is not threads[0]
    gate.set()
    await asyncio.to_thread(threads[0].join, 60)
    assert not threads[0].is_alive()
    assert await thinker.think(lambda: "fresh", 60) == "fresh"
    thinker.close()


async def test_a_cancelled_wait_leaves_the_thread() -> None:
    """Letting go of it then waits for nobody, and nothing that hangs keeps the process alive."""
    thinker, gate, threads = Thinker(), threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        started.set()
        gate.wait()

    started = threading.Event()
    task = asyncio.create_task(thinker.think(hang, 3600))
    await asyncio.to_thread(started.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    thinker.close()
    assert threads[0].is_alive()
    assert threads[0].daemon
    gate.set()


async def test_work_aside_doesn_t_hold_the_thread() -> None:
    """What thinks goes on while it is done, and its answer is there when it is."""
    thinker, gate = Thinker(), threading.Event()
    aside = thinker.aside(lambda: gate.wait() and "done")
    assert await thinker.think(lambda: 1, 60) == 1
    assert not aside.done()
    gate.set()
    assert await aside == "done"
    thinker.close()


def test_an_answer_after_the_loop_has_gone_is_dropped() -> None:
    """The thread ends without a word."""
    gate, thinker, threads = threading.Event(), Thinker(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        gate.wait()

    assert asyncio.run(thinker.think(hang, 0.05)) is None
    gate.set()
    threads[0].join(60)
    assert not threads[0].is_alive()


def test_hangs_are_counted_by_strategy_and_day() -> None:
    """Two are allowed, the third is too many; a new day or being put in charge again begins anew."""
    budget = HangBudget(2)
    for count in (1, 2, 3):
        assert not budget.spent("hrm", 1)
        budget.note("hrm", 1)
        assert budget.count("hrm", 1) == count
    assert budget.spent("hrm", 1)
    assert not budget.spent("ppo", 1)
    assert not budget.spent("hrm", 2)
    budget.note("hrm", 2)
    assert budget.count("hrm", 2) == 1
    for _ in range(3):
        budget.note("hrm", 2)
    budget.forgive("hrm")
    assert not budget.spent("hrm", 2)
