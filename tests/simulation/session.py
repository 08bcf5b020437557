"""A plan → what became of the session: the world is made, lives through it, and is taken down again."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from tests.simulation.plan import FIRST, OTHERS, SHARE, Plan
from tests.simulation.record import journal_rows
from tests.simulation.settings import base_settings
from tests.simulation.watch import Broken
from tests.simulation.world import World

IN_MEMORY = Path("/dev/shm")
STATES = "STATE_DIRECTORY"
PREFIX = "hrmd-simulation-"
STANDS_S = 120.0
"""More processor time than any session takes."""
YOUNG_S = 600.0
"""More than any session takes; sessions of versions that lock nothing are left in peace so long, too."""


class StandsError(KeyboardInterrupt):
    """A session computed and computed: it goes through its tasks and its loop as Ctrl-C does."""


class Result(msgspec.Struct, kw_only=True):
    """What became of a session."""

    plan: Plan
    broken: list[Broken]
    pairs: list[str]
    """Faults and operators' deeds, each with how the system stood, such as `disk.full@active:none:fresh`."""
    counts: dict[str, int]
    digest: str
    """Of every journaled event in order, the journal's rows, the steps of the loop and the ticks that were recorded."""
    lives: int
    cpu_s: float
    active_s: float
    """How long after the last fault it traded again with a fresh feed; infinite where it didn't."""
    log: list[str]


def warm() -> None:
    """Read now what every session needs, so that a process that is forked has it."""
    for other in (SHARE, *OTHERS):
        base_settings((FIRST, other))


def simulate(plan: Plan) -> Result:
    """Run one session, in a directory of its own, whose name nothing that happens depends on."""
    began = time.process_time()
    place = IN_MEMORY if IN_MEMORY.is_dir() else Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    held = hold(directory)
    # An account is held by its address, and others simulate beside it; real sandboxes are given 32768 and higher.
    port = 1_024 + os.getpid() % 31_744
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.chdir(directory), _states_in(directory):
            world = World(plan, Path(), port)
            structlog.configure(
                processors=[world.hear],
                wrapper_class=structlog.make_filtering_bound_logger(30),
                cache_logger_on_first_use=False,
            )
            with _watched(world):
                world.run()
            rows = journal_rows(world.computer.journal).replace(os.fsencode(directory), b"")
    finally:
        if collects:
            gc.enable()
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)
        structlog.reset_defaults()
    ended = f"{world.loop.steps} {world.recorded.counts()}".encode()
    digest = hashlib.sha256(world.watch.digest.digest() + rows + ended).hexdigest()
    counts = {**world.watch.counts, **world.ends, **world.recorded.counts()}
    counts |= {"steps": world.loop.steps, "bytes": world.network.bytes_sent}
    return Result(
        plan=plan, broken=world.watch.broken, pairs=world.pairs, counts=counts, digest=digest, lives=world.lives,
        cpu_s=time.process_time() - began, active_s=world.active_s, log=world.log,
    )  # fmt: skip


@contextlib.contextmanager
def _watched(world: World) -> Iterator[None]:
    """A session in which time doesn't pass breaks a promise, instead of taking a night and all memory."""

    def stop(signum: int, frame: object) -> None:
        raise StandsError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, STANDS_S)
    try:
        yield
    except StandsError:
        world.watch.breaks("time passes", f"it computed for {STANDS_S:.0f} s without coming to an end")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _states_in(directory: Path) -> Iterator[None]:
    """Where daemons of the block write down that they run."""
    before = os.environ.get(STATES)
    os.environ[STATES] = str(directory / "state")
    try:
        yield
    finally:
        del os.environ[STATES]
        if before is not None:
            os.environ[STATES] = before


def hold(directory: Path) -> int:
    """Lock a session's directory for as long as its process lives, or until what is given back is closed."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def sweep(place: Path = IN_MEMORY) -> list[Path]:
    """Remove the directories of sessions that nobody runs any more, as of a run that was stopped; which they were.

    Whether somebody does is told by the lock, not by a process' number: those of another container, who sees the same
    place, are numbers of nobody here. What is young is left, for it may be about to be locked.
    """
    found = []
    for directory in sorted(place.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):  # somebody else was quicker, or it is somebody else's
            if time.time() - directory.stat().st_mtime < YOUNG_S:
                continue
            held = hold(directory)
            try:
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(held)
            found.append(directory)
    return found
