"""How long a decision and its order take: measured in a live run, injected in a replay.

Invariant: in a replay latency depends on the settings and the tape alone, never on the machine.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Protocol

from daemon.clock import NS_PER_MS
from daemon.errors import UsageError
from daemon.events import Decision
from daemon.journal import JournalReader


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


class RecordedLatency:
    """Replay: each decision as late as it was in a recorded run, others as its median decision."""

    def __init__(self, journal: Path) -> None:
        """Raises `UsageError` when `journal` holds no decisions."""
        self.name = f"recorded:{journal}"
        self._recorded = {(e.symbol, e.ts_bar): e.latency_ns for e in _decisions(journal)}
        if not self._recorded:
            raise UsageError(f"--latency recorded:{journal}: the journal holds no decisions")
        self.order_ns = int(statistics.median(self._recorded.values()))

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """The recorded time."""
        return self._recorded.get((decision.symbol, decision.ts_bar), self.order_ns)


def _decisions(journal: Path) -> list[Decision]:
    reader = JournalReader(journal)
    try:
        return [event for event in reader.events(Decision) if isinstance(event, Decision)]
    finally:
        reader.close()


def parse_latency(text: str) -> Latency:
    """`zero`, `fixed:MS` or `recorded:JOURNAL`. Raises `UsageError` for anything else."""
    kind, _, value = text.partition(":")
    if text == "zero":
        return FixedLatency(0.0)
    if kind == "recorded" and value:
        return RecordedLatency(Path(value))
    if kind == "fixed":
        try:
            milliseconds = float(value)
        except ValueError:
            milliseconds = -1.0
        if 0 <= milliseconds <= 600_000:
            return FixedLatency(milliseconds)
    raise UsageError(f"--latency {text!r}: expected zero, fixed:MS (0 to 600000) or recorded:JOURNAL")
