"""`hrmd run` whose journal's disk hangs from the start on: `python -m tests.integration.frozen_start --set …`."""

from __future__ import annotations

import sqlite3
import sys
import threading
from functools import partial
from pathlib import Path

from daemon.cli.options import settings_and_logs
from daemon.cli.run import run_watched
from daemon.machine import Machine
from daemon.run.log import without_waiting
from daemon.run.start_watch import watched

NEVER = threading.Event()


def database(path: Path) -> sqlite3.Connection:
    """Gives no answer."""
    NEVER.wait()
    raise AssertionError


def main() -> None:
    """As `hrmd run` does."""
    settings = settings_and_logs(None, sys.argv[2::2])

    def probe(place: Path) -> None:
        if place == settings.journal.path.parent:
            NEVER.wait()

    watch = partial(watched, probe=probe, look_s=0.5, given_up_s=3)
    with without_waiting():
        run_watched(settings, lambda: settings, Machine(database=database), watch)


if __name__ == "__main__":
    main()
