"""What `--latency` names → the latency that a replay injects."""

from __future__ import annotations

import statistics
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.core.events import Decision
from daemon.core.latency import FixedLatency, Latency
from daemon.journal.reader import JournalReader


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
