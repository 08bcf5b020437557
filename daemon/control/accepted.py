"""The daemon's yes to a command, apart from `daemon.control.view`, so that reading it loads nothing else."""

from __future__ import annotations

import msgspec


class Accepted(msgspec.Struct, frozen=True):
    """A command is on the bus; `ts` is the event's, UTC nanoseconds of the run."""

    command: str
    ts: int
    already: str = ""
    """What it asks for that was so before, in words; "" where it changes something."""
