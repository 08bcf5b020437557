"""Sessions of bars → the same with the complexity that the daemon would have seen at each bar.

Invariant: the arithmetic is the detector's own, bar by bar in time order, so depth is judged as it is chosen live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from daemon.bars.complexity import ComplexityDetector
from daemon.core.clock import NS_PER_S
from daemon.core.events import Bar
from daemon.market.scheduled_events import ScheduledEvents
from daemon.settings.bars import ComplexitySettings

if TYPE_CHECKING:
    from models.training.evaluate import EvaluationData
    from models.training.sessions import Sessions

TOGETHER: Final = 4
"""Instruments whose links to each other are followed; of more, each is read alone: pairs grow with the square."""


def with_complexity(sessions: Sessions, settings: ComplexitySettings, *, connected: bool) -> Sessions:
    """``connected``: recorded instruments may move together, simulated ones are strangers."""
    events = ScheduledEvents.load(settings.events_file) if connected else ScheduledEvents.load(None)
    together = connected and len(np.unique(sessions.symbol)) <= TOGETHER
    numbers = np.repeat(sessions.symbol, sessions.lengths)
    order = np.lexsort((numbers, sessions.ts_ns)) if together else np.arange(len(numbers))
    scores = np.empty(len(numbers))
    detector, before = ComplexityDetector(settings, events), -1
    for row, bar in _bars(sessions, numbers, order):
        if not together and numbers[row] != before:
            detector, before = ComplexityDetector(settings, events), int(numbers[row])
        scores[row] = detector.on_bar(bar).score
    return replace(sessions, complexity=scores)


def as_live(data: EvaluationData, settings: ComplexitySettings) -> EvaluationData:
    """With the complexity that the daemon would have seen, by which it chooses depth."""
    connected = data.best_bp is None
    parts = tuple(with_complexity(part, settings, connected=connected) for part in data.sets)
    return replace(data, parts=parts, sessions=parts[0] if len(parts) == 1 else data.sessions)


def _bars(sessions: Sessions, numbers: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, Bar]]:
    length, interval = sessions.interval_s * NS_PER_S, sessions.interval
    for row in order.tolist():
        open_, high, low, close, volume = sessions.bars[row].tolist()
        opened, name = int(sessions.ts_ns[row]), sessions.symbols[int(numbers[row])]
        yield row, Bar(
            symbol=name, interval=interval, ts_open=opened,
            ts_close=opened + length, open=open_, high=high, low=low, close=close,
            volume=-1 if volume != volume else int(volume), ticks=1,
        )  # fmt: skip
