"""A start that stands still → whether a disk gives no answer, said at once, and an end that is tried again.

Before the loop runs nothing else can speak: whoever reads a file of a disk that hangs stands until it goes on, and
systemd's time-out would end the start without a word. A thread asks the directories of the settings the same.
Invariant: a start that takes its time (a large model, a kernel that is compiled) is left alone while every disk
answers; one whose disk goes on goes on, too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import structlog

from daemon.core.errors import Unavailable
from daemon.settings.tree import Settings

log = structlog.get_logger("start")

LOOK_S: Final = 5.0
"""How long a start, and a disk that is asked, may take before anybody looks."""
GIVEN_UP_S: Final = 60.0
"""How long a disk that hangs is waited for: half of what systemd gives a start."""
TOLD_S: Final = 15.0
"""How long the end waits for whoever is still being told."""

Probe = Callable[[Path], None]
Tell = Callable[[str], None]
Watch = Callable[[Sequence[Path], Tell], AbstractContextManager[None]]


def in_time(load: Callable[[], Settings], file: Path | None, given_up_s: float = GIVEN_UP_S) -> Settings:
    """The settings, read by a thread that may be left behind. Raises `Unavailable` where their disk gives no answer."""
    read: Future[Settings] = Future()

    def do() -> None:
        try:
            read.set_result(load())
        except BaseException as error:  # noqa: BLE001 — it is raised where somebody waits
            read.set_exception(error)

    threading.Thread(target=do, name="settings", daemon=True).start()
    try:
        return read.result(given_up_s)
    except TimeoutError:
        if not read.done():
            named = f"{file}, or a file that it names" if file is not None else "the settings, or a file that they name"
            raise Unavailable(f"{named}: its disk gives no answer; given up after {given_up_s:g} s") from None
        raise


def places_of(settings: Settings) -> list[Path]:
    """The directories that a start reads and writes, the journal's first."""
    broker, control, store = settings.broker, settings.control, settings.model_management.store
    files = (
        settings.journal.path, control.token_file, control.tokens_file, broker.fyers.token_file,
        broker.fyers.calls_file, broker.openalgo.key_file, broker.openalgo.calls_file,
    )  # fmt: skip
    folders = (settings.feed.record.path, settings.market.symbol_master.directory, store)
    return list(dict.fromkeys((*(file.parent for file in files), *folders)))


def ask_disk(place: Path) -> None:
    """Make a file there and take it away, which a frozen file system doesn't answer; where nothing is, look for it."""
    probe = place / f".hrmd-start-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError:  # it says no, which is an answer
        return


@contextmanager
def watched(
    places: Sequence[Path], tell: Tell, *, probe: Probe = ask_disk, look_s: float = LOOK_S,
    given_up_s: float = GIVEN_UP_S, end: Callable[[int], None] = os._exit,
) -> Iterator[None]:  # fmt: skip
    """While it lasts: `tell` of a place whose disk hangs, and `end` the process where that lasts, to be tried again."""
    watch = _Watch(places, tell, probe, look_s, given_up_s, end)
    threading.Thread(target=watch.run, name="start", daemon=True).start()
    try:
        yield
    finally:
        watch.done.set()


class _Watch:
    """See `watched`; on a thread of its own."""

    def __init__(
        self, places: Sequence[Path], tell: Tell, probe: Probe, look_s: float, given_up_s: float,
        end: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.done = threading.Event()
        self._places = places
        self._tell = tell
        self._probe = probe
        self._look_s, self._given_up_s = look_s, given_up_s
        self._end = end

    def run(self) -> None:
        """Look until the start is over."""
        while not self.done.wait(self._look_s):
            hanging = self._hanging()
            if hanging is not None:
                self._wait_for(*hanging)

    def _hanging(self) -> tuple[Path, threading.Event] | None:
        """The first place that gives no answer, and what is set when it does."""
        asked = [(place, self._ask(place)) for place in self._places]
        for place, answered in asked:
            if not answered.wait(self._look_s) and not self.done.is_set():
                return place, answered
        return None

    def _ask(self, place: Path) -> threading.Event:
        answered = threading.Event()

        def ask() -> None:
            self._probe(place)
            answered.set()

        threading.Thread(target=ask, name="start disk", daemon=True).start()
        return answered

    def _wait_for(self, place: Path, answered: threading.Event) -> None:
        reason = f"{place}: its disk gives no answer, and the start waits for it"
        log.error("the start stands still", reason=reason)
        telling = threading.Thread(target=self._tell, args=(reason,), name="start told", daemon=True)
        telling.start()
        if answered.wait(self._given_up_s):
            log.warning("the disk answers again, and the start goes on", path=str(place))
        elif not self.done.is_set():
            telling.join(TOLD_S)
            # whoever stands in the kernel can't be asked to end, and neither can what would close its files
            os.write(sys.stderr.fileno(), f"error: {reason}; given up after {self._given_up_s:g} s\n".encode())
            self._end(Unavailable.exit_code)
