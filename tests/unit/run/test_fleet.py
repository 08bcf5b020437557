"""Processes of a fleet: each job once, an end that is a line, and nobody left behind a killed parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from daemon.core.errors import UsageError
from daemon.run.fleet import LocalFleet, fleet_of

ROOT = Path(__file__).parents[3]
LONG_S = 120.0


def shouted(job: bytes) -> bytes:
    """Work that is quick."""
    return job.upper()


def ended(job: bytes) -> bytes:
    """Work in which its process ends, but for one job."""
    if job == b"b":
        os._exit(1)
    return job


def waited(job: bytes) -> bytes:
    """Say in a file who does it, and be long at it."""
    Path(job.decode()).write_text(str(os.getpid()))
    time.sleep(LONG_S)
    return job


def lives(pid: int) -> bool:
    """Whether there is such a process that isn't only waiting to be buried."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def seen(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def pids_in(folder: Path) -> list[int]:
    """Of those that have begun."""
    return [int(text) for path in folder.iterdir() if (text := path.read_text())]


@pytest.mark.slow
def test_processes_do_each_job_once_and_an_end_is_a_line(tmp_path: Path) -> None:
    """Three jobs of two processes; work that is left ends them at once; one that takes its process along is a line."""
    fleet = LocalFleet(2)
    assert dict(fleet.finished(shouted, iter([b"a", b"b", b"c"]))) == {0: b"A", 1: b"B", 2: b"C"}
    with pytest.raises(UsageError, match=r"a process ended while it worked .* with fewer --workers"):
        list(fleet.finished(ended, [b"a", b"b", b"c"]))
    fleet.close()
    assert dict(LocalFleet(1).finished(shouted, [b"a"])) == {0: b"A"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nobody_works_on_for_a_parent_that_is_gone(tmp_path: Path, number: signal.Signals) -> None:
    """Two long jobs of a process that is killed, or interrupted: both end with it."""
    code = (
        "from tests.unit.run.test_fleet import *\n"
        "fleet = LocalFleet(2)\n"
        "try:\n"
        f"    list(fleet.finished(waited, [b'{tmp_path}/a', b'{tmp_path}/b']))\n"
        "finally:\n"
        "    fleet.close()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    seen(lambda: len(pids_in(tmp_path)) == 2)
    parent.send_signal(number)
    parent.wait()
    seen(lambda: not any(lives(pid) for pid in pids_in(tmp_path)))


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_cluster_needs_ray() -> None:
    """A line, where it isn't installed."""
    with pytest.raises(UsageError, match=r"--address needs Ray: pip install 'hrmd\[cluster\]'"):
        fleet_of("auto", 1)
