"""What a daemon takes from the computer under it: its clocks, threads, disk, gateway process and chance.

Everything else comes over the event loop (timers, sockets, signals) or from files. So a machine and a loop of one's own
make a daemon whose every moment is known, which is what the simulation runs. Invariant: `Machine()` is the real one.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from daemon.calls.pen import Pen
from daemon.core.clock import MachineReadings, Readings, stopwatch_ns
from daemon.core.growing import DiskFile, GrowingFile
from daemon.core.own_loop import OwnLoop, SideLoop
from daemon.core.threads import Flag, Hand, ThreadHand, ThreadWorker, Worker
from daemon.feed.live.frames import Link
from daemon.journal.files import memory_of
from daemon.journal.writer import open_database
from daemon.strategy.switching import Loader


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The computer that this process runs on, unless parts of it are given."""

    readings: Readings = msgspec.field(default_factory=MachineReadings)
    stopwatch: Callable[[], int] = stopwatch_ns
    """For measuring the program itself, nanoseconds."""
    thread: Callable[[str], Worker] = ThreadWorker
    """Who thinks beside the loop, and who seals what was recorded."""
    hand: Callable[[str], Hand] = ThreadHand
    """Who writes the journal, and who the recording."""
    database: Callable[[Path], sqlite3.Connection] = open_database
    """Opens the file that the journal is written to."""
    file: Callable[[Path], GrowingFile] = DiskFile
    """Creates a file that ticks are recorded in."""
    pen: Callable[[int], Pen] = Pen
    """Writes into the open file of past calls."""
    gateway: Callable[[Any], AbstractAsyncContextManager[Link]] | None = None
    """A link to the venue's ticks in place of the adapter's own; is given what the adapter's is."""
    chance: Callable[[int], bytes] = secrets.token_bytes
    """So many bytes that nobody can foresee."""
    flag: Callable[[], Flag] = threading.Event
    """What a thread waits for until the loop sets it."""
    side_loop: Callable[[str], SideLoop] = OwnLoop
    """On which the control API answers, beside the loop that trades."""
    memory: Path | None = msgspec.field(default_factory=lambda: memory_of(os.environ))
    """A directory that needs no disk and outlives this process, None where there is none."""
    models: Callable[[], Loader] | None = None
    """Loads models in place of the files of this computer."""
