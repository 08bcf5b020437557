"""A user's own code → its answer, or where in their file it went wrong; what it prints → the log.

A strategy of a user's folder is code that nobody here has read. Whatever it raises (`SystemExit` too) becomes an
`OwnCodeFailed` that names their file and line. Invariant: own code ends neither thread nor process, and what it prints
never stands among what a command prints.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, TextIO, TypeVar

import structlog

from daemon.core.texts import one_line

log = structlog.get_logger("own")

T = TypeVar("T")
_ADDRESS: Final = re.compile(r" at 0x[0-9A-Fa-f]+")
LONGEST: Final = 300
"""Characters of a message that are kept."""


class OwnCodeFailed(Exception):  # noqa: N818 — says what happened, and is always turned into an answer
    """What own code raised, with file and line where it is known."""


def attempt_own(work: Callable[[], T], folder: Path) -> T:
    """Do a piece of own code that lies below `folder`. Raises `OwnCodeFailed` for whatever it raises."""
    try:
        with own_prints():
            return work()
    except SyntaxError as error:
        said = f"{type(error).__name__}: {error.msg}"
        raise OwnCodeFailed(placed(said, error.filename or "", error.lineno or 0, folder)) from None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # a person's Ctrl-C
        raise OwnCodeFailed(_described(error, folder)) from None


def where(thread: int, folder: Path) -> str:
    """The file and line of `folder` at which a thread is, "" where it isn't in there."""
    frame: FrameType | None = sys._current_frames().get(thread)
    while frame is not None:
        if _is_below(frame.f_code.co_filename, folder):
            return f"{one_line(_shown(frame.f_code.co_filename, folder), LONGEST)}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def placed(said: str, file: str, line: int, folder: Path) -> str:
    """A message with its place, on one line; where in memory something lies is left out, it is elsewhere each time."""
    said = one_line(_ADDRESS.sub("", said), LONGEST)
    return f"{one_line(_shown(file, folder), LONGEST)}, line {line}: {said}" if file else said


def _described(error: BaseException, folder: Path) -> str:
    """Type, message and the innermost line below `folder`."""
    said = f"{type(error).__name__}: {_message(error)}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    own = next((frame for frame in reversed(frames) if _is_below(frame.filename, folder)), None)
    return placed(said, own.filename, own.lineno or 0, folder) if own is not None else placed(said, "", 0, folder)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 — even its message is own code
        return "its message can't be read"


def _is_below(file: str, folder: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _shown(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


class _Prints:
    """Standard output: of threads that are in own code it goes to the log, line by line; of all others, through."""

    def __init__(self, through: TextIO) -> None:
        self._through = through
        self._own = threading.local()

    def write(self, text: str) -> int:
        """Print."""
        if not getattr(self._own, "depth", 0):
            return self._through.write(text)
        *lines, self._own.rest = (self._own.rest + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def _say(self, line: str) -> None:
        """To the log, which may itself write here."""
        depth, self._own.depth = self._own.depth, 0
        log.info("printed", text=line[:LONGEST])
        self._own.depth = depth

    def flush(self) -> None:
        """As the file beneath does."""
        self._through.flush()

    def enter(self) -> None:
        """The thread is in own code from here on."""
        self._own.depth = getattr(self._own, "depth", 0) + 1
        if self._own.depth == 1:
            self._own.rest = ""

    def leave(self) -> None:
        """It isn't any more."""
        self._own.depth -= 1
        if not self._own.depth and self._own.rest:
            self._say(self._own.rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._through, name)


@contextlib.contextmanager
def own_prints() -> Iterator[None]:
    """What is printed meanwhile, by this thread, goes to the log."""
    prints = sys.stdout
    if not isinstance(prints, _Prints):
        prints = sys.stdout = _Prints(prints)
    assert isinstance(prints, _Prints)
    prints.enter()
    try:
        yield
    finally:
        prints.leave()
