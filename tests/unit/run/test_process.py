"""Signals that end a process in order, and its open files; each test changes a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.run.process import memory_in_use

WAITING = """
import asyncio, sys
from daemon.run.process import on_ending

async def main():
    ending = asyncio.Event()
    on_ending(lambda number: (print(number.name), ending.set()))
    print("waits", flush=True)
    await ending.wait()

asyncio.run(main())
"""
LIMITED = """
import resource
from daemon.run.process import allow_open_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard))
print(allow_open_files({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
WORKING = """
import time
from contextlib import closing
from daemon.run.many import Processes
from daemon.run.process import ended_in_order

def main():
    with ended_in_order(print), closing(Processes(2, thinks=False)) as pool:
        list(pool.map(time.sleep, [1.0, 1.0]))
        print("works", flush=True)
        list(pool.map(time.sleep, [3600.0, 3600.0]))

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("ended")
"""
ROOT = Path(__file__).parents[3]


def start(*prefix: str) -> subprocess.Popen[str]:
    """A process that waits for its end."""
    command = [*prefix, sys.executable, "-c", WAITING]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_asks_for_the_end_is_told(number: signal.Signals) -> None:
    """By name, and the process ends by itself."""
    process = start("env", "--default-signal=HUP")  # the tests may run under nohup
    process.send_signal(number)
    assert process.communicate() == (f"{number.name}\n", None)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_ends_those_that_work_for_it(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever they are at, without a word of theirs: Ctrl-C and a hangup reach all processes of a terminal."""
    script = tmp_path / "working.py"
    script.write_text(WORKING)
    process = subprocess.Popen(
        ["env", "--default-signal=HUP,INT", f"PYTHONPATH={ROOT}", sys.executable, str(script)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    if number is signal.SIGTERM:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    kept = "stopped: what is done is kept, and the same command goes on from there"
    try:
        assert process.communicate(timeout=60) == (f"{kept}\nended\n", "")
    finally:
        process.kill()
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_means_nothing_here_ends_nothing(number: signal.Signals) -> None:
    """What rotates logs sends it by habit: who trades goes on, says so, and ends in order when asked to."""
    process = start()
    process.send_signal(number)
    assert process.stdout is not None
    assert number.name in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("SIGTERM\n", None)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """Under nohup the end of the terminal is no reason to end."""
    process = start("env", "--ignore-signal=HUP")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("SIGTERM\n", None)


@pytest.mark.slow
@pytest.mark.parametrize(("soft", "wanted", "holds"), [(64, 100, 100), (200, 100, 200)])
def test_open_files_are_allowed(soft: int, wanted: int, holds: int) -> None:
    """Raised to what is wanted, and never lowered."""
    script = LIMITED.format(soft=soft, wanted=wanted)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(holds)] * 2


def test_memory_is_what_the_process_holds(tmp_path: Path) -> None:
    """It grows with what is held; without Linux' /proc it is the most that ever was."""
    before = memory_in_use()
    held = bytearray(64 * 2**20)
    for at in range(0, len(held), 4096):
        held[at] = 1
    assert memory_in_use() - before > 32 * 2**20
    assert memory_in_use(tmp_path / "none") >= 32 * 2**20
    (tmp_path / "statm").write_text("not numbers")
    assert memory_in_use(tmp_path / "statm") == memory_in_use(tmp_path / "none")
