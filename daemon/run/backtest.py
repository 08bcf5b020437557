"""A backtest in a process of its own: what to play on standard input, progress and then the result on standard output.

`daemon.control.backtests` starts it. Invariant: it writes no file, and its last line is a result or an error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daemon.core.errors import HrmdError
from daemon.core.events import Event, TickBatch
from daemon.core.json_form import plain
from daemon.run.latency import parse_latency
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.settings.tree import Settings

NICER_BY = 10
"""The daemon that trades comes first."""


class Asked(msgspec.Struct, frozen=True):
    """What to play, and by which settings (JSON)."""

    settings: str
    tapes: list[str]
    symbols: list[str]
    strategy: str | None
    latency: str


class Progress:
    """Tells of each further percent."""

    def __init__(self, rows: int) -> None:
        self._rows = max(1, rows)
        self._played = 0
        self._told = 0

    def count(self, event: Event) -> None:
        """So many more ticks were played."""
        assert isinstance(event, TickBatch)
        self._played += len(event)
        percent = min(99, 100 * self._played // self._rows)
        if percent > self._told:
            self._told = percent
            tell({"progress": percent / 100})


def play(asked: Asked) -> Any:
    """The document of the replay; raises `HrmdError` as it does."""
    values = msgspec.json.decode(asked.settings)
    values["shadow"]["agents"] = []
    if asked.strategy is not None:
        values["strategy"]["name"] = asked.strategy
    tapes = [Path(tape) for tape in asked.tapes]
    replay = Replay(Settings(**values), tapes, asked.symbols, parse_latency(asked.latency), ReplayOutputs())
    replay.app.bus.tap((TickBatch,), Progress(replay.app.tapes.rows).count)
    return plain(asyncio.run(replay.run()))


def tell(said: dict[str, Any]) -> None:
    """One line for whoever listens."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Play what standard input asks for."""
    os.nice(NICER_BY)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        tell({"result": play(msgspec.json.decode(sys.stdin.buffer.read(), type=Asked))})
    except (HrmdError, ValueError) as error:  # settings that don't fit the other strategy are a ValueError
        tell({"error": " ".join(str(error).split())})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
