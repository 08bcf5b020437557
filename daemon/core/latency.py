"""How long a decision and its order take: measured in a live run, injected in a replay.

Invariant: in a replay latency depends on the settings and the tape alone, never on the machine.
"""

from __future__ import annotations

from typing import Protocol

from daemon.core.clock import NS_PER_MS
from daemon.core.events import Decision


class Latency(Protocol):
    """What the strategy stage and the execution stage ask."""

    name: str
    order_ns: int

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """Nanoseconds between bar close and decision; `elapsed_ns` is what the run's clock measured."""


class MeasuredLatency:
    """Live: what the clock says."""

    name = "measured"
    order_ns = 0

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """The measured time."""
        return elapsed_ns


class FixedLatency:
    """Replay: the same for every decision and order; 0 is a decision at the bar's close, filled on a later tick."""

    def __init__(self, milliseconds: float) -> None:
        self.name = f"fixed:{milliseconds:g}" if milliseconds else "zero"
        self.order_ns = round(milliseconds * NS_PER_MS)

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """The fixed time."""
        return self.order_ns
