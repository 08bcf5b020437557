"""`--watch` of `hrmd ctl`: the same look again and again, until Ctrl-C.

Invariant: figures of a daemon that gave no answer are never shown as if they were of now.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from daemon.cli.ctl import Client
from daemon.cli.options import spelled
from daemon.core.clock import wall_ns
from daemon.core.errors import HrmdError
from daemon.report.tables import show, terminal
from daemon.report.text import ist_time

Draw = Callable[[bytes], Sequence[RenderableType]]

HOME, REST_OF_LINE, REST_OF_SCREEN, WHOLE_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


class Sheet(Protocol):
    """Where looks are put."""

    def put(self, answer: bytes) -> None:
        """What the daemon said now."""

    def lost(self, why: str) -> None:
        """It says nothing; called each time that it is asked in vain."""

    def found(self) -> None:
        """It speaks again."""


class Screen:
    """A terminal: each look in the place of the one before."""

    def __init__(self, heading: str, draw: Draw, console: Console | None = None) -> None:
        self._heading = heading
        self._draw = draw
        self._console = console or terminal()
        self._last: list[str] = []
        self._since = ""
        self._write(WHOLE_SCREEN)

    def put(self, answer: bytes) -> None:
        """Draw it."""
        drawn = self._draw(answer)
        with self._console.capture() as captured:
            for one in drawn:
                show(one, self._console)
        self._last = captured.get().splitlines()
        self._since = ist_time(wall_ns())
        self._show(Text(f"{self._heading} · {self._since} IST · Ctrl-C ends", "dim"), self._last)

    def lost(self, why: str) -> None:
        """Say so above what was known, which is no longer what is so."""
        said = Text(f"LOST at {ist_time(wall_ns())} IST: {why}", "bold red")
        of_old = [Text.from_ansi(line).plain for line in self._last]
        with self._console.capture() as captured:
            for line in of_old:
                self._console.print(Text(line, "dim"), soft_wrap=True)
        self._show(said, [f"(as it was at {self._since} IST)", *captured.get().splitlines()])

    def found(self) -> None:
        """The next look says it."""

    def _show(self, heading: Text, lines: Sequence[str]) -> None:
        with self._console.capture() as captured:
            self._console.print(heading, soft_wrap=True)
        room = self._console.height - 2
        fitting: list[str] = []
        for line in [*captured.get().splitlines(), *lines]:
            room -= max(1, -(-cell_len(Text.from_ansi(line).plain) // self._console.width))
            if room < 0:
                fitting.append("… more than this terminal is high")
                break
            fitting.append(line)
        self._write(HOME + "".join(f"{line}{REST_OF_LINE}\n" for line in fitting) + REST_OF_SCREEN)

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


class Roll:
    """A pipe: one look after another, tables with an empty line between them, JSON each on its line."""

    def __init__(self, draw: Draw | None) -> None:
        """`draw`: None for JSON."""
        self._draw = draw
        self._begun = False
        self._is_lost = False

    def put(self, answer: bytes) -> None:
        """Print it."""
        if self._draw is None:
            sys.stdout.write(spelled(answer) + "\n")
        else:
            drawn = self._draw(answer)
            if self._begun:
                sys.stdout.write("\n")
            for one in drawn:
                show(one)
        self._begun = True
        sys.stdout.flush()

    def lost(self, why: str) -> None:
        """Once, on stderr."""
        if not self._is_lost:
            sys.stderr.write(f"lost at {ist_time(wall_ns())} IST: {why}\n")
            self._is_lost = True

    def found(self) -> None:
        """On stderr."""
        sys.stderr.write(f"back at {ist_time(wall_ns())} IST\n")
        self._is_lost = False


def watch(connect: Callable[[Client | None], Client], path: str, sheet: Sheet, pause: Callable[[], None]) -> None:
    """Look until Ctrl-C. Raises what the first look does: it is the user's mistake; later a daemon may come back.

    `connect` finds the daemon, after the one before, whenever that was lost: another process may listen elsewhere.
    """
    client, lost = connect(None), False
    try:
        sheet.put(client.get(path))
        while True:
            pause()
            try:
                if lost:
                    client = connect(client)
                answer = client.get(path)
                if lost:
                    lost = False
                    sheet.found()
                sheet.put(answer)
            except HrmdError as error:
                lost = True
                sheet.lost(str(error))
    except KeyboardInterrupt:
        return
