"""Backtests: one at a time, in a process of their own, on our own tapes alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from daemon.control.backtests import KEPT, Backtest, Backtests, BacktestTicket, BusyError, JobState
from daemon.core.aside import Aside
from daemon.core.errors import UsageError
from tests.threads import Hung

pytestmark = pytest.mark.slow

DONE = """
import json, sys
asked = json.load(sys.stdin)
print(json.dumps({"progress": 0.5}), flush=True)
print(json.dumps({"result": asked}), flush=True)
"""
STUCK = "import sys, time; print('{\"progress\": 0.25}', flush=True); time.sleep(600)"


class Bench:
    """A directory of tapes, and a worker of a test's own."""

    def __init__(self, root: Path, code: str) -> None:
        self.root = root
        (root / "tapes").mkdir()
        (root / "tapes" / "a.parquet").touch()
        (root / "also.parquet").touch()
        (root / "secret.parquet").touch()
        self.jobs = Backtests(root / "tapes", [root / "also.parquet"], (sys.executable, "-c", code))

    async def start(self, *tapes: str) -> Backtest:
        """One of the tapes."""
        return await self.jobs.start(BacktestTicket(tapes=list(tapes) or ["a.parquet"]), "anna", "{}")

    async def until(self, job: str, *, progress: float = 0, over: bool = False) -> Backtest:
        """The backtest when it is so far."""
        async with asyncio.timeout(60):
            while True:
                found = self.jobs.get(job)
                assert found is not None
                if found.progress >= progress and (found.state is not JobState.RUNNING or not over):
                    return found
                await asyncio.sleep(0.01)


async def test_a_backtest_comes_to_a_result(tmp_path: Path) -> None:
    """It runs, tells how far it is, and gives what came out; the settings reach it."""
    bench = Bench(tmp_path, DONE)
    started = await bench.start("a.parquet", str(tmp_path / "also.parquet"))
    assert (started.state, started.progress, started.who) == (JobState.RUNNING, 0.0, "anna")
    done = await bench.until(started.job, over=True)
    assert (done.state, done.progress, done.error) == (JobState.DONE, 1.0, "")
    assert done.result is not None
    assert done.result["tapes"] == [str(tmp_path / "tapes" / "a.parquet"), str(tmp_path / "also.parquet")]
    assert (done.result["settings"], done.result["latency"]) == ("{}", "zero")


async def test_one_at_a_time_and_it_can_be_ended(tmp_path: Path) -> None:
    """The second is refused while the first runs; what is over can't be cancelled."""
    bench = Bench(tmp_path, STUCK)
    first = await bench.start()
    await bench.until(first.job, progress=0.25)
    with pytest.raises(BusyError, match="one at a time"):
        await bench.start()
    cancelled = await bench.jobs.cancel(first.job)
    assert cancelled is not None
    assert (cancelled.state, cancelled.result) == (JobState.CANCELLED, None)
    with pytest.raises(BusyError, match="is over"):
        await bench.jobs.cancel(first.job)
    assert await bench.jobs.cancel("nobody's") is None
    second = await bench.start()
    await bench.jobs.close()
    found = bench.jobs.get(second.job)
    assert found is not None
    assert (found.state, found.error) == (JobState.CANCELLED, "hrmd ended")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit(3)", "ended with 3"), ("print('no json')", ""),
        ("print('{\"error\": \"no tick\"}')", "no tick"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
    ],
)  # fmt: skip
async def test_a_backtest_that_fails_says_why(tmp_path: Path, code: str, says: str) -> None:
    """However it fails, and the next one may begin."""
    bench = Bench(tmp_path, code)
    failed = await bench.until((await bench.start()).job, over=True)
    assert failed.state is JobState.FAILED
    assert failed.error
    assert says in failed.error
    await bench.jobs.close()


@pytest.mark.parametrize("tape", ["../secret.parquet", "/etc/passwd", "none.parquet", ".", "a.parquet/x"])
async def test_only_our_own_tapes_are_played(tmp_path: Path, tape: str) -> None:
    """Nothing outside, nothing that isn't there; no process is started."""
    bench = Bench(tmp_path, DONE)
    with pytest.raises(UsageError, match=r"tapes: .*feed\.record\.path"):
        await bench.start("a.parquet", tape)
    assert bench.jobs._running is None


async def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """What counts is where it leads."""
    bench = Bench(tmp_path, DONE)
    (tmp_path / "tapes" / "link.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(UsageError):
        await bench.start("link.parquet")


async def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    """The oldest are forgotten."""
    bench = Bench(tmp_path, 'print(\'{"error": "x"}\')')
    jobs = []
    for _ in range(KEPT + 2):
        jobs.append((await bench.start()).job)
        await bench.until(jobs[-1], over=True)
        assert bench.jobs._task is not None
        await bench.jobs._task
    assert [bench.jobs.get(job) is not None for job in jobs] == [False] * 2 + [True] * KEPT


@pytest.mark.parametrize("tape", ["a\0b", "x" * 300, "y/" * 3000])
async def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, tape: str) -> None:
    """A null byte, a name and a path longer than the file system has: a line, and not a fault."""
    with pytest.raises(UsageError, match=r"tapes: .*expected the path of a file"):
        await Bench(tmp_path, DONE).start(tape)


async def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """It is refused, and once the disk goes on it runs."""
    bench, disk = Bench(tmp_path, DONE), Hung()
    bench.jobs = Backtests(
        tmp_path / "tapes", [], (sys.executable, "-c", DONE), disk=Aside("backtest tapes", disk.thread)
    )
    with pytest.raises(UsageError, match=r"tapes: their disk can't be read \(no answer for 2 s\)"):
        await bench.start()
    disk.goes_on.set()
    started = await bench.start()
    assert (await bench.until(started.job, over=True)).state is JobState.DONE
