"""The simulated loop itself: time, order, threads, death, wires."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from tests.simulation.loop import PROCESS, DeadlockError, Process, Side, SimLoop
from tests.simulation.network import Network


def play(program: Coroutine[Any, Any, Any], seed: int = 1, *, shuffled: bool = True) -> tuple[Any, SimLoop]:
    """What it returns, and the loop that it ran on."""
    loop = SimLoop(seed, shuffled=shuffled)
    loop.network = Network(loop, seed)
    return loop.run_until_complete(program), loop


def test_time_jumps_to_the_next_timer() -> None:
    """An hour takes no time, and a time-out comes when it is due."""

    async def program() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert play(program())[0] == pytest.approx(3600, abs=0.01)


async def _order() -> list[int]:
    """Five tasks that are ready together, three times; all of them run."""
    seen: list[int] = []

    async def run(number: int) -> None:
        for _ in range(3):
            seen.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(run(number))
    return seen


def test_the_seed_draws_who_runs_first_and_nobody_starves() -> None:
    """One seed, one order; another seed another one; unshuffled it is asyncio's own."""
    orders = [play(_order(), seed)[0] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == sorted([0, 1, 2, 3, 4] * 3)
    assert play(_order(), shuffled=False)[0] == [0, 1, 2, 3, 4] * 3


def test_work_in_a_thread_is_a_moment_of_the_loop() -> None:
    """Its answer and its exception come back, some simulated time later."""

    async def program() -> tuple[int, float]:
        answer = await asyncio.to_thread(lambda: 7)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return answer, asyncio.get_running_loop().time()

    (answer, passed), _ = play(program())
    assert answer == 7
    assert passed > 0


def test_of_a_killed_process_nothing_runs_any_more() -> None:
    """Not even what `finally` would do; others go on."""
    done: list[str] = []

    async def daemon() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                done.append("daemon")
        finally:
            done.append("farewell")

    async def program() -> asyncio.Task[None]:
        process, died = Process("one"), asyncio.Event()
        task = asyncio.get_running_loop().create_task(daemon(), context=process.context())
        await asyncio.sleep(2.5)
        process.kill_after(0, died.set)
        await died.wait()
        await asyncio.sleep(60)
        return task

    task, loop = play(program())
    assert done == ["daemon", "daemon"]
    loop.set_exception_handler(lambda loop, context: None)
    assert not task.done()


def test_a_machine_that_sleeps_counts_its_timers_on_when_it_wakes() -> None:
    """What comes meanwhile is heard afterwards, once; others go on."""
    heard: list[tuple[str, float]] = []

    async def daemon(news: asyncio.Queue[str]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(5)
        heard.append(("timer", loop.time()))
        heard.append((await news.get(), loop.time()))

    async def program() -> float:
        loop, process, news = asyncio.get_running_loop(), Process("one"), asyncio.Queue[str]()
        assert isinstance(loop, SimLoop)
        task = loop.create_task(daemon(news), context=process.context())
        await asyncio.sleep(1)
        assert loop.suspend(process, 30)
        assert not loop.suspend(process, 50)
        loop.call_later(2, news.put_nowait, "news", context=process.context())
        await asyncio.sleep(10)
        others = loop.time()
        await task
        return others

    others, _ = play(program())
    assert others == pytest.approx(11, abs=0.1)
    assert [what for what, _ in heard] == ["timer", "news"]
    assert heard[0][1] == pytest.approx(35, abs=0.1)


def test_nobody_with_anything_to_do_is_a_deadlock() -> None:
    """It is told, instead of waiting for ever."""
    with pytest.raises(DeadlockError):
        play(asyncio.Event().wait())


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


async def _ask(loop: Any, seconds: float, *, answers_only: bool = False) -> tuple[bytes, float]:
    """What comes back over a wire that is blocked for so long after the question has left, and when."""
    await loop.create_server(_Echo, "127.0.0.1", 80)
    answer: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            answer.set_result(data)

    with socket.socket() as sock:
        await loop.sock_connect(sock, ("127.0.0.1", 80))
        transport, _ = await loop.create_connection(Client, sock=sock)
    loop.network.block(seconds, answers_only=answers_only)
    transport.write(b"hello")
    return await answer, loop.time()


@pytest.mark.parametrize("answers_only", [True, False])
def test_what_was_sent_while_the_way_was_blocked_arrives_when_it_is_free(answers_only: bool) -> None:
    """As TCP has it: late, not lost."""

    async def program() -> tuple[bytes, float]:
        return await _ask(asyncio.get_running_loop(), 30.0, answers_only=answers_only)

    (answer, at), _ = play(program())
    assert answer == b"HELLO"
    assert at > 30


def test_nobody_listens_is_refused() -> None:
    """Like a kernel."""

    async def program() -> None:

        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 81))

    play(program())


def test_a_loop_beside_stands_still_alone_and_what_it_gave_away_is_done() -> None:
    """Its process goes on meanwhile; it goes on where it was, and ends with its process."""

    async def program() -> list[tuple[str, float]]:
        loop, done = cast(SimLoop, asyncio.get_running_loop()), list[tuple[str, float]]()
        process = Process("daemon")
        side = Side(process, "control")

        async def trades() -> str:
            await asyncio.sleep(1)
            done.append((f"of {cast(Process, PROCESS.get()).name}", round(loop.time())))
            return "done"

        async def answers() -> None:
            crossing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(trades(), loop))
            done.append((await crossing, round(loop.time())))
            await asyncio.sleep(1)
            done.append(("never", round(loop.time())))

        loop.create_task(answers(), context=side.context())
        await asyncio.sleep(0.5)
        side.stand(loop, 9)
        await asyncio.sleep(9.8)
        process.kill_after(0, lambda: None)
        await asyncio.sleep(5)
        return done

    assert play(program())[0] == [("of daemon", 1), ("done", 10)]
