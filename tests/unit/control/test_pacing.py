"""How often somebody may ask."""

from __future__ import annotations

from daemon.control.pacing import BURST_S, MOST_BUCKETS, Paces
from daemon.control.routes import Pace
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.settings.run import ControlSettings

SETTINGS = ControlSettings(reads_per_s=2, writes_per_s=1, heavy_per_minute=3)


def test_a_bucket_is_emptied_and_filled_with_time() -> None:
    """Ten seconds' worth at once, then as many as come in; the wait is said and is enough."""
    clock = ReplayClock(NS_PER_S)
    paces = Paces(SETTINGS, clock)
    burst = int(2 * BURST_S)
    assert [paces.wait_s("anna", Pace.READ) for _ in range(burst + 1)] == [0] * burst + [1]
    clock.advance(clock.now_ns() + NS_PER_S)
    assert [paces.wait_s("anna", Pace.READ) for _ in range(3)] == [0, 0, 1]
    assert [paces.wait_s("anna", Pace.HEAVY) for _ in range(4)] == [0, 0, 0, 20]
    clock.advance(clock.now_ns() + 20 * NS_PER_S)
    assert paces.wait_s("anna", Pace.HEAVY) == 0


def test_one_slows_nobody_else_and_nothing_slows_a_halt() -> None:
    """By token and kind; memory is bounded."""
    paces = Paces(SETTINGS, ReplayClock(1))
    while not paces.wait_s("anna", Pace.WRITE):
        pass
    assert paces.wait_s("bela", Pace.WRITE) == 0
    assert paces.wait_s("anna", Pace.READ) == 0
    assert {paces.wait_s("anna", Pace.FREE) for _ in range(1000)} == {0}
    for number in range(2 * MOST_BUCKETS):
        paces.wait_s(str(number), Pace.READ)
    assert len(paces._buckets) == MOST_BUCKETS
