"""The daemon's yes to a command, apart from `daemon.control.view`, so that reading it loads nothing else."""

from __future__ import annotations

import msgspec

from daemon.report.text import ist_time


class Accepted(msgspec.Struct, frozen=True):
    """A command is on the bus; `ts` is the event's, UTC nanoseconds of the run."""

    command: str
    ts: int
    already: str = ""
    """What it asks for that was so before, in words; "" where it changes something."""

    @property
    def when(self) -> str:
        """When it was taken, and what was so already, in words."""
        already = f"; {self.already}" if self.already else ""
        return f"at {ist_time(self.ts)} IST (market time){already}"
