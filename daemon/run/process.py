"""What the process asks of its system: when it shall end, how many files it may open, how much memory it holds.

Invariant: every signal that asks for an end is an orderly one; SIGKILL and SIGQUIT alone are not asked. What other
programs mean something by ends nothing here.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import structlog

log = structlog.get_logger("process")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)
"""To us: others open their logs anew, or tell how far they are. The system ends who says nothing of them."""
STATM = Path("/proc/self/statm")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
OPEN_FILES = 8192
"""More than sockets, journal and tapes ever need; a limit without a bound would be paid for by whoever walks it."""


def on_ending(call: Callable[[signal.Signals], None]) -> None:
    """Call with the signal when one asks for the end, from the running loop; what asks for nothing is passed over."""
    loop = asyncio.get_running_loop()
    for number in _heard():
        loop.add_signal_handler(number, call, number)
    for number in MEANINGLESS:
        if signal.getsignal(number) is signal.SIG_DFL:  # else it means something to whoever began the process
            loop.add_signal_handler(number, _pass_over, number)


def _pass_over(number: signal.Signals) -> None:
    log.warning("a signal that means nothing here", signal=number.name)


@contextmanager
def ended_in_order(told: Callable[[str], None] | None = None) -> Iterator[None]:
    """SIGTERM and a hangup end what is done here as Ctrl-C does, so that it ends those that work for it.

    Only in the main thread, which alone hears of signals. `told`: who hears that what is done is kept, where it is.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in _heard() if number is not signal.SIGINT}
    try:
        yield
    except KeyboardInterrupt:
        if told is not None:
            told("stopped: what is done is kept, and the same command goes on from there")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """Those that ask for the end. A hangup that is ignored from the start (nohup) is to be outlived."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in ENDING if number is not signal.SIGHUP or not ignored]


def allow_open_files(wanted: int = OPEN_FILES) -> int:
    """Raise the soft limit of open files towards the hard one, at most to `wanted`; the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    able = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= able:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (able, hard))
    return able


def memory_allowed(cgroup: Path = CGROUP, cgroups: Path = CGROUPS) -> int | None:
    """Bytes from which the system ends this process (MemoryMax, a container); None where it doesn't."""
    try:
        (own,) = [line[3:] for line in cgroup.read_text().splitlines() if line.startswith("0::")]
        place = cgroups / own.lstrip("/")
        limits = [at / "memory.max" for at in (place, *place.parents) if at.is_relative_to(cgroups)]
        found = [file.read_text().strip() for file in limits if file.exists()]
        return min((int(text) for text in found if text != "max"), default=None)
    except (OSError, ValueError):
        return None


def memory_in_use(statm: Path = STATM) -> int:
    """Bytes of memory that this process holds; where Linux' /proc isn't, the most that it ever held."""
    try:
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return most_memory()


def most_memory() -> int:
    """The most bytes of memory that this process ever held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
