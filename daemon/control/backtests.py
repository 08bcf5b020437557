"""A wish for a backtest → a process of its own that plays the tapes, how far it is, and what came out.

Invariant: one at a time, below the daemon's priority, on the settings that hold, and only on tapes of the daemon's own
(`feed.record.path`, `feed.tape`); it never touches the journal, and it ends with the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import structlog

from daemon.core.aside import Aside
from daemon.core.errors import HrmdError, UsageError

log = structlog.get_logger("backtest")

WORKER = (sys.executable, "-m", "daemon.run.backtest")
KEPT = 20
ENDING_S = 2.0
"""After its last word."""
LONGEST_S = 3600.0
MAX_LINE_BYTES = 16 << 20
MAX_WORDS = 300
TAPES_S: Final = 2.0
"""How long the disk of the tapes may take."""


class BacktestTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to play, on the settings that hold."""

    tapes: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=500)]],
                     msgspec.Meta(min_length=1, max_length=100)]  # fmt: skip
    """Files below `feed.record.path`, or those of `feed.tape`."""
    strategy: Literal["hrm", "ppo", "rules"] | None = None
    """Instead of `strategy.name`."""
    symbols: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=50)]],
                       msgspec.Meta(max_length=500)] = []  # fmt: skip
    """Only these; empty: all that the tapes have."""
    latency: Annotated[str, msgspec.Meta(pattern=r"^(zero|fixed:[0-9]{1,5}(\.[0-9]{1,3})?)$(?!\n)")] = "zero"
    """From the bar's close to the market: zero, or fixed:MS."""


class JobState(StrEnum):
    """Of a backtest."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """One backtest."""

    job: str
    """Its id: GET /api/backtest/{job}."""
    state: JobState
    progress: float
    """0 to 1, by the ticks that were played."""
    who: str
    """Whose token asked for it."""
    tapes: list[str]
    """What is played."""
    result: dict[str, Any] | None = None
    """What `hrmd replay --json` prints; None until it is done."""
    error: str = ""
    """Why there is no result."""


class BusyError(HrmdError):
    """Another backtest runs."""


class Backtests:
    """Runs them; of those that are over the newest 20 are kept."""

    def __init__(
        self, tapes: Path, also: Sequence[Path], worker: Sequence[str] = WORKER, disk: Aside | None = None
    ) -> None:
        """`tapes`: the directory that they may lie in, `also`: files that may be played wherever they are.

        `disk`: of both; it may hang.
        """
        self._disk = disk if disk is not None else Aside("backtest tapes")
        self._root = tapes
        self._also = {path.resolve() for path in also}
        self._worker = tuple(worker)
        self._jobs: dict[str, Backtest] = {}
        self._running: tuple[str, asyncio.subprocess.Process] | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = False

    def get(self, job: str) -> Backtest | None:
        """A backtest by its id."""
        return self._jobs.get(job)

    async def start(self, ticket: BacktestTicket, who: str, settings: str) -> Backtest:
        """Start one on `settings` (JSON). Raises `BusyError` while another runs, `UsageError` for foreign tapes."""
        if self._starting or self._running is not None:
            raise BusyError("a backtest runs already; one at a time: wait for it, or cancel it")
        self._starting = True
        try:
            tapes = await self._disk.ask(lambda: [self._tape(name) for name in ticket.tapes], TAPES_S)
            process = await asyncio.create_subprocess_exec(
                *self._worker, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, limit=MAX_LINE_BYTES,
            )  # fmt: skip
        except TimeoutError as error:
            raise UsageError(f"tapes: their disk can't be read ({error.strerror})") from None
        except OSError as error:
            raise UsageError(f"a backtest can't be started ({error.strerror})") from None
        finally:
            self._starting = False
        job = secrets.token_hex(8)
        self._keep(Backtest(job=job, state=JobState.RUNNING, progress=0.0, who=who, tapes=ticket.tapes))
        self._running = job, process
        asked = {
            "settings": settings, "tapes": [str(tape) for tape in tapes], "symbols": ticket.symbols,
            "strategy": ticket.strategy, "latency": ticket.latency,
        }  # fmt: skip
        self._task = asyncio.create_task(self._follow(job, process, msgspec.json.encode(asked)), name=f"backtest {job}")
        return self._jobs[job]

    async def cancel(self, job: str) -> Backtest | None:
        """End one that runs; the backtest, None where there is none. Raises `BusyError` for one that is over."""
        found = self._jobs.get(job)
        if found is None:
            return None
        if self._running is None or self._running[0] != job:
            raise BusyError(f"backtest {job} is over: {found.state}")
        self._change(job, state=JobState.CANCELLED, error="cancelled")
        await self._end()
        return self._jobs[job]

    async def close(self) -> None:
        """The daemon ends: so does what runs."""
        if self._running is not None:
            self._change(self._running[0], state=JobState.CANCELLED, error="hrmd ended")
            await self._end()

    async def _end(self) -> None:
        if self._running is not None and self._running[1].returncode is None:
            self._running[1].kill()
        if self._task is not None:
            await self._task

    async def _follow(self, job: str, process: asyncio.subprocess.Process, asked: bytes) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._listen(job, process, asked)
        except TimeoutError:
            self._fail(job, f"took longer than {LONGEST_S:g} s")
        except (OSError, ValueError) as error:
            self._fail(job, str(error))
        finally:
            code = await _ended(process)
            self._fail(job, f"ended with {code} before there was a result")
            self._running = None
        log.info("backtest over", job=job, state=self._jobs[job].state)

    async def _listen(self, job: str, process: asyncio.subprocess.Process, asked: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(asked)
        process.stdin.close()
        while line := await process.stdout.readline():
            said = msgspec.json.decode(line)
            if "result" in said and self._jobs[job].state is JobState.RUNNING:
                self._change(job, state=JobState.DONE, progress=1.0, result=said["result"])
            elif "error" in said:
                self._fail(job, str(said["error"])[:MAX_WORDS])
            elif "progress" in said:
                self._change(job, progress=float(said["progress"]))

    def _tape(self, name: str) -> Path:
        try:
            path = (self._root / name).resolve()
            there = path.is_file()
        except (OSError, ValueError):  # a name that no file can have
            raise UsageError(f"tapes: {name[:80]!r}: expected the path of a file") from None
        if path in self._also or path.is_relative_to(self._root.resolve()):
            if there:
                return path
            raise UsageError(f"tapes: {name[:80]!r}: no such tape below feed.record.path")
        raise UsageError(f"tapes: {name[:80]!r}: expected a file below feed.record.path, or one of feed.tape")

    def _fail(self, job: str, error: str) -> None:
        if self._jobs[job].state is JobState.RUNNING:
            self._change(job, state=JobState.FAILED, error=error)

    def _keep(self, backtest: Backtest) -> None:
        self._jobs[backtest.job] = backtest
        while len(self._jobs) > KEPT:
            del self._jobs[next(iter(self._jobs))]

    def _change(self, job: str, **changes: object) -> None:
        self._jobs[job] = msgspec.structs.replace(self._jobs[job], **changes)


async def _ended(process: asyncio.subprocess.Process) -> int:
    """How it ended; killed only where it doesn't end by itself: a signal to one that has ended hides how it did."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING_S):
            return await process.wait()
    process.kill()
    return await process.wait()
