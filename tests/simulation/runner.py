"""Many sessions on several cores → what they broke, at what rate, and what they covered.

Every session is simulated in a process that was forked for a handful of them: a killed daemon's coroutines can't be
collected without running, so they are left to the end of their process.
"""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.context
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.coverage import Coverage
from tests.simulation.plan import Plan, plan_of
from tests.simulation.plants import planted
from tests.simulation.session import Result, simulate, sweep

SESSIONS_A_PROCESS = 25


class Task(msgspec.Struct, frozen=True):
    """One session to be run."""

    seed: int
    aim: str = ""
    plant: str = ""


class Tally(msgspec.Struct):
    """Of a run."""

    sessions: int = 0
    broken: list[Result] = []
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    coverage: Coverage = msgspec.field(default_factory=Coverage)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    """How long it took at most until a daemon traded again after the last fault, where no promise was broken."""
    before: int = 0
    """Sessions of earlier parts of a run that was stopped and goes on."""

    @property
    def rate(self) -> float:
        """Sessions a minute."""
        return 60 * (self.sessions - self.before) / self.wall_s if self.wall_s else 0.0

    def add(self, result: Result) -> None:
        """A session's."""
        self.sessions += 1
        self.cpu_s += result.cpu_s
        self.counts.update(result.counts)
        self.coverage.add(result.pairs)
        if result.broken:
            self.broken.append(result)
        else:
            self.slowest_s = max(self.slowest_s, result.active_s)


class Part(msgspec.Struct):
    """What is kept of a run that may be stopped and goes on later."""

    next_seed: int
    sessions: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    counts: dict[str, int] = {}
    seen: dict[str, int] = {}
    sought: dict[str, int] = {}

    def tally(self) -> Tally:
        """To be gone on with."""
        return Tally(
            sessions=self.sessions, before=self.sessions, cpu_s=self.cpu_s, slowest_s=self.slowest_s,
            counts=Counter(self.counts), coverage=Coverage(self.seen, self.sought),
        )  # fmt: skip

    @classmethod
    def of(cls, first: int, tally: Tally) -> Part:
        """Up to now."""
        return cls(
            first + tally.sessions, tally.sessions, tally.cpu_s, tally.slowest_s, dict(tally.counts),
            dict(tally.coverage.seen), dict(tally.coverage.sought),
        )  # fmt: skip


def work(task: Task) -> Result:
    """In a process of the pool."""
    with planted(task.plant):
        return simulate(plan_of(task.seed, task.aim))


def run_many(
    first: int,
    sessions: int,
    workers: int,
    *,
    plant: str = "",
    steered: bool = True,
    tally: Tally | None = None,
    tell: Callable[[Result, Tally], bool] = lambda result, tally: True,
) -> Tally:
    """Seeds from `first` on; every second one aims at a pair not seen yet. `tell` says whether to go on.

    `tally`: of the parts before, where it goes on with a run.
    """
    sweep()
    tally, began = tally if tally is not None else Tally(), time.perf_counter()
    tasks = _tasks(first, sessions, plant, tally.coverage if steered else None)
    with _processes().Pool(workers, maxtasksperchild=SESSIONS_A_PROCESS) as pool:
        running = [pool.apply_async(work, (task,)) for task in itertools.islice(tasks, 2 * workers)]
        while running:
            result = running.pop(0).get()
            tally.add(result)
            tally.wall_s = time.perf_counter() - began
            if not tell(result, tally):
                break
            running += [pool.apply_async(work, (task,)) for task in itertools.islice(tasks, 1)]
    return tally


def _processes() -> multiprocessing.context.ForkServerContext:
    """Forked from a process without threads: who forks beside one may wait for ever for a lock that it held."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.simulation.warmed"])
    return context


def apart(plan: Plan, plant: str = "") -> Result:
    """One plan, in a process of its own."""
    with _processes().Pool(1) as pool:
        return pool.apply(_apart, (plan, plant))


def _apart(plan: Plan, plant: str) -> Result:
    with planted(plant):
        return simulate(plan)


def _tasks(first: int, sessions: int, plant: str, coverage: Coverage | None) -> Iterator[Task]:
    for seed in range(first, first + sessions):
        aim = coverage.next_aim() if coverage is not None and seed % 2 else ""
        yield Task(seed, aim, plant)
