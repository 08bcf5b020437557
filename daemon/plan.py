"""What one run is, beside the settings: its ticks, its clock, its record and the machine under it.

The commands make one and `daemon.app` runs it. Invariant: it never changes while the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from daemon.core.clock import LiveClock, PacedClock, ReplayClock
from daemon.core.events import TickBatch
from daemon.core.latency import Latency
from daemon.machine import Machine
from daemon.native.kernel import Kernel


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is: its ticks, its clock, its decider and its record."""

    tapes: list[Path]
    """Empty where the ticks come live."""
    symbols: list[str]
    clock: ReplayClock | PacedClock | LiveClock
    latency: Latency
    journal: Path | None
    durable: bool
    restarts: bool
    """Whether a crashed stage is restarted; a replay ends instead: what a crash swallowed would flatter or slander."""
    order_prefix: str
    record: Callable[[TickBatch], None] | None = None
    """Is given every live batch as it came, before the filter."""
    recover: bool = False
    """Whether account and market go on from where the journal's earlier runs left them."""
    decides_from: int = 0
    """Bars that close earlier, UTC ns, are seen and not decided on."""
    reels: list[Path] = []
    """What an earlier process recorded of today, for the bars that were in the making."""
    machine: Machine = msgspec.field(default_factory=Machine)
    pumped: bool = False
    """Whether the stations are run by hand between the moments of a tape, which is quicker than as tasks."""
    kernel: Kernel | None = None
    """What columns of a tape's ticks are gone through by, quicker than Python and with the same outcome."""
