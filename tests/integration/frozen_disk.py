"""A daemon whose disk hangs from SIGUSR1 on, until SIGUSR2: `python -m tests.integration.frozen_disk --set …`.

Journal and recording wait for it; the rest of the machine works.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
import threading
from pathlib import Path

from daemon.cli.options import run_loop, settings_and_logs
from daemon.core.errors import HrmdError
from daemon.core.growing import DiskFile
from daemon.machine import Machine
from daemon.run.log import without_waiting
from daemon.run.service import Service

GOES_ON = threading.Event()


class Connection(sqlite3.Connection):
    """Of the journal."""

    def commit(self) -> None:
        """Once the disk goes on."""
        GOES_ON.wait()
        super().commit()


class File(DiskFile):
    """Of the recording."""

    def write(self, content: bytes, at: int) -> int:
        """Once the disk goes on."""
        GOES_ON.wait()
        return super().write(content, at)


def database(path: Path) -> sqlite3.Connection:
    """As the journal wants it."""
    return sqlite3.connect(path, check_same_thread=False, factory=Connection)


def main() -> int:
    """As `hrmd run` ends."""
    GOES_ON.set()
    signal.signal(signal.SIGUSR1, lambda *_: GOES_ON.clear())
    signal.signal(signal.SIGUSR2, lambda *_: GOES_ON.set())
    settings = settings_and_logs(None, sys.argv[2::2])
    try:
        with without_waiting():
            run_loop(Service(settings, machine=Machine(database=database, file=File)).run())
    except HrmdError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
