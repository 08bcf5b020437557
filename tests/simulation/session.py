"""A plan → what became of the session: the world is made, lives through it, and is taken down again."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import msgspec
import structlog

from tests.simulation.plan import Plan
from tests.simulation.record import journal_rows
from tests.simulation.settings import base_settings
from tests.simulation.watch import Broken
from tests.simulation.world import World

IN_MEMORY = Path("/dev/shm")
PREFIX = "hrmd-simulation-"


class Result(msgspec.Struct, kw_only=True):
    """What became of a session."""

    plan: Plan
    broken: list[Broken]
    pairs: list[str]
    """Faults and operators' deeds, each with how the system stood, such as `disk.full@active:none:fresh`."""
    counts: dict[str, int]
    digest: str
    """Of every journaled event in order, the journal's rows, and how many steps the loop took."""
    lives: int
    cpu_s: float
    active_s: float
    """How long after the last fault it traded again with a fresh feed; infinite where it didn't."""
    log: list[str]


def warm() -> None:
    """Read now what every session needs, so that a process that is forked has it."""
    base_settings()


def simulate(plan: Plan) -> Result:
    """Run one session, in a directory of its own, whose name nothing that happens depends on."""
    began = time.process_time()
    place = IN_MEMORY if IN_MEMORY.is_dir() else Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    port = 10_000 + os.getpid() % 50_000  # an account is held by its address, and others simulate at the same time
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.chdir(directory):
            world = World(plan, Path(), port)
            structlog.configure(
                processors=[world.hear],
                wrapper_class=structlog.make_filtering_bound_logger(30),
                cache_logger_on_first_use=False,
            )
            world.run()
            rows = journal_rows(world.computer.journal)
    finally:
        if collects:
            gc.enable()
        shutil.rmtree(directory, ignore_errors=True)
        structlog.reset_defaults()
    digest = hashlib.sha256(world.watch.digest.digest() + rows + str(world.loop.steps).encode()).hexdigest()
    counts = {**world.watch.counts, **world.ends, "steps": world.loop.steps, "bytes": world.network.bytes_sent}
    return Result(
        plan=plan, broken=world.watch.broken, pairs=world.pairs, counts=counts, digest=digest, lives=world.lives,
        cpu_s=time.process_time() - began, active_s=world.active_s, log=world.log,
    )  # fmt: skip


def sweep(place: Path = IN_MEMORY) -> list[Path]:
    """Remove the directories of sessions whose process is gone, as of a run that was stopped; which they were.

    A name without a process is that of an earlier version.
    """
    found = []
    for directory in sorted(place.glob(f"{PREFIX}*")):
        number = directory.name.removeprefix(PREFIX).partition("-")[0]
        if not (number.isdecimal() and Path(f"/proc/{number}").exists()):
            shutil.rmtree(directory, ignore_errors=True)
            found.append(directory)
    return found
