"""What `--latency` names → the latency that a replay injects."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.core.events import Complexity, Decision
from daemon.core.latency import FixedLatency, Latency
from daemon.journal.reader import JournalReader


class RecordedLatency:
    """Replay: each decision as late as it was in a recorded run, and no deeper than it had time for.

    Decisions that the run didn't make are as late as its median one, and as deep as they like.
    """

    def __init__(self, journal: Path) -> None:
        """Raises `UsageError` when `journal` holds no decisions."""
        self.name = f"recorded:{journal}"
        self._recorded, self._superseded = recorded_decisions(journal, ())
        if not self._recorded:
            raise UsageError(f"--latency recorded:{journal}: the journal holds no decisions")
        self.order_ns = int(statistics.median(decision.latency_ns for decision in self._recorded.values()))

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """The recorded time."""
        then = self._recorded.get((decision.symbol, decision.ts_bar))
        return self.order_ns if then is None else then.latency_ns

    def then(self, symbol: str, ts_bar: int) -> Decision | None:
        """What was decided on the bar; None where nothing was."""
        return self._recorded.get((symbol, ts_bar))

    def superseded(self, symbol: str, ts_bar: int) -> bool:
        """Whether a newer bar had closed before its turn came."""
        return (symbol, ts_bar) in self._superseded


def recorded_decisions(
    journal: Path, runs: Sequence[int]
) -> tuple[dict[tuple[str, int], Decision], set[tuple[str, int]]]:
    """Decisions of the given runs (default: the newest) by symbol and bar, and the bars whose turn never came.

    A turn never came where a later bar of the symbol was decided on in the same run, and it was not.
    """
    made: dict[tuple[str, int], Decision] = {}
    passed: set[tuple[str, int]] = set()
    reader = JournalReader(journal)
    try:
        for run in runs or (reader.run,):
            reader.select(run)
            waiting: dict[str, set[int]] = {}
            for event in reader.events(Complexity, Decision):
                if isinstance(event, Complexity):
                    waiting.setdefault(event.symbol, set()).add(event.ts)
                elif isinstance(event, Decision):
                    made[event.symbol, event.ts_bar] = event
                    own = waiting.get(event.symbol, set())
                    left = {ts for ts in own if ts < event.ts_bar}
                    passed |= {(event.symbol, ts) for ts in left}
                    own -= left | {event.ts_bar}
    finally:
        reader.close()
    return made, passed - made.keys()


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
