"""Many replays at once, each in a process of its own → what each came to, in the order in which they were asked for.

Invariant: a job is plain data and its result depends on it alone, so that it is the same in this process, in another,
and on another machine.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import msgspec

from daemon.report.summary import ReplaySummary
from daemon.settings.tree import Settings


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One replay. `settings` are JSON; `tapes` are paths that the process can read."""

    settings: str
    tapes: list[str]
    symbols: list[str] = []
    latency: str = "zero"


def play(job: Job) -> ReplaySummary:
    """Replay in this process. Raises `UsageError` for tapes, models and settings that can't be used."""
    from daemon.run.latency import parse_latency
    from daemon.run.replaying import Replay, ReplayOutputs

    settings = Settings(**msgspec.json.decode(job.settings))
    tapes = [Path(tape) for tape in job.tapes]
    return asyncio.run(Replay(settings, tapes, job.symbols, parse_latency(job.latency), ReplayOutputs()).run())


def play_all(jobs: Sequence[Job], pool: Processes | None) -> Iterator[ReplaySummary]:
    """All of them, in order; one by one in this process where there are no others."""
    if pool is None:
        yield from map(play, jobs)
        return
    for told in pool.map(played, [msgspec.json.encode(job) for job in jobs]):
        yield msgspec.json.decode(told, type=ReplaySummary)


class Crew:
    """Processes that import what a replay takes while whoever made them gets ready, too; for one list of jobs."""

    def __init__(self, count: int, *, thinks: bool) -> None:
        """`thinks`: whether there is a network, for which they import what thinks."""
        self._pool = Processes(count, thinks=thinks)
        self._starting = threading.Thread(target=self._start, args=(count, thinks), name="crew")
        self._starting.start()  # it waits for the imports, and whoever made this has some of his own

    def _start(self, count: int, thinks: bool) -> None:
        for _ in range(count):
            self._pool.submit(_get_ready, thinks)

    def do(self, work: Callable[[bytes], bytes], jobs: Sequence[bytes]) -> Iterator[bytes]:
        """What comes of each job, in order. Raises `BrokenExecutor` where a process ended."""
        self._starting.join()
        return self._pool.map(work, jobs)

    def terminate(self) -> None:
        """End them, whatever they are at: `do` raises."""
        self._starting.join()
        self._pool.terminate()

    def close(self) -> None:
        """End them and let go of them; calling it again does nothing."""
        self._starting.join()
        self._pool.close()


def not_to_be_split(settings: Settings, *written: Path | None) -> str:
    """Why a replay is one run, "" where it needn't be; `written`: its journal and its tape of ticks."""
    if any(path is not None for path in written):
        return "journal and ticks are written by one process"
    if settings.shadow.agents:
        return "shadow agents keep accounts of their own over all sessions"
    if settings.hierarchical_reasoning_model.entries.adaptive and settings.strategy.name == "hrm":
        return "entries are held to what earlier sessions' ones came to (hierarchical_reasoning_model.entries)"
    return ""


def thinks(settings: Settings) -> bool:
    """Whether a network decides."""
    return settings.strategy.name in ("hrm", "ppo")


def _needed(thinks: bool) -> list[str]:
    return ["daemon.run.split", *(["strategies.hrm"] if thinks else [])]


def _get_ready(thinks: bool) -> None:
    for name in _needed(thinks):
        importlib.import_module(name)


class Processes(ProcessPoolExecutor):
    """Fresh ones: a fork of this process would copy threads of torch and of the journal half done.

    On Linux they are forked from one that has imported what they need, and done nothing else: once for all of them.
    """

    def __init__(self, workers: int, *, thinks: bool = True) -> None:
        """`thinks`: whether there is a network, for which they import what thinks."""
        self._others = set(multiprocessing.active_children())
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload(_needed(thinks))
        if sys.platform == "linux":
            for begin in (resource_tracker.ensure_running, forkserver.ensure_running):
                with _undisturbed():  # once for each: as the first begins it lets Ctrl-C through again
                    begin()
        super().__init__(workers, context, initializer=_begin)

    def terminate(self) -> None:
        """End them, whatever they are at: SIGTERM, at which a training keeps its state.

        All of them, those too that were begun for a later job: one that is left waits for ever for what one that was
        ended held, the lock of the queue of jobs.
        """
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()

    def close(self) -> None:
        """End them and let go of them; calling it again does nothing."""
        self.terminate()
        self.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What begins here never hears of Ctrl-C and hangups, which reach all processes of a terminal: we end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Of each process: it ends with whoever started it, were that one killed; a pool's would wait for work for ever."""
    quieten()
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach all processes of a terminal: who began it ends it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def quieten() -> None:
    """Of a process beside others only what went wrong is logged."""
    from daemon.run import log
    from daemon.settings.run import LogSettings

    log.configure(LogSettings(level="error"), sys.stderr)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def played(job: bytes) -> bytes:
    """`play`, from and to JSON: what crosses to another process."""
    return msgspec.json.encode(play(msgspec.json.decode(job, type=Job)))
