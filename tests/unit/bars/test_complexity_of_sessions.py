"""Sessions get the complexity that the daemon would have seen."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.bars.complexity import ComplexityDetector
from daemon.bars.complexity_of_sessions import _bars, with_complexity
from daemon.market.scheduled_events import ScheduledEvents
from daemon.settings.bars import ComplexitySettings

SETTINGS = ComplexitySettings()


def test_two_recorded_instruments_are_read_together() -> None:
    """Bar by bar in time order, as one detector answers."""
    market = pytest.importorskip("models.training.market")
    reference = pytest.importorskip("models.training.reference")
    sessions = pytest.importorskip("models.training.sessions")
    drawn = [reference.simulated_sessions(market.HiddenRegimeMarket(bars=30), 4, seed) for seed in (1, 2)]
    both = sessions.join([sessions.replace(part, symbols=(name,)) for part, name in zip(drawn, "AB", strict=True)])
    detector, expected = ComplexityDetector(SETTINGS, ScheduledEvents.load(None)), np.empty(len(both.ts_ns))
    numbers = np.repeat(both.symbol, both.lengths)
    for row, bar in _bars(both, numbers, np.lexsort((numbers, both.ts_ns))):
        expected[row] = detector.on_bar(bar).score
    found = with_complexity(both, SETTINGS, connected=True).complexity
    np.testing.assert_array_equal(found, expected)
    assert np.ptp(found) > 0.1
    alone = with_complexity(drawn[0], SETTINGS, connected=True).complexity
    assert (alone[60:] != found[60 : len(alone)]).any()
    strangers = with_complexity(both, SETTINGS, connected=False).complexity
    np.testing.assert_array_equal(strangers[: len(alone)], alone)
