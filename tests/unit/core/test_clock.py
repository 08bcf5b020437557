"""The clocks: what they promise about order, not how fast they run."""

from __future__ import annotations

import time

from daemon.core.clock import NS_PER_S, LiveClock, PacedClock, ReplayClock, stopwatch_ns, wall_ns

NOON = 1_767_594_600 * NS_PER_S


def test_replay_clock_stands_still_and_never_goes_back() -> None:
    """Only `advance` moves it, only forward, and durations are measured on it too."""
    clock = ReplayClock(5)
    assert (clock.now_ns(), clock.monotonic_ns()) == (5, 5)
    clock.advance(9)
    clock.advance(7)
    assert (clock.now_ns(), clock.monotonic_ns()) == (9, 9)


def test_live_clock_never_goes_back() -> None:
    """Wall time is what the machine says, and does not fall from one look to the next."""
    clock = LiveClock()
    looks = [clock.now_ns() for _ in range(100)]
    assert looks == sorted(looks)
    assert abs(looks[0] - time.time_ns()) < 3600 * NS_PER_S
    assert clock.monotonic_ns() <= clock.monotonic_ns()


def test_paced_clock_starts_where_it_is_told() -> None:
    """Before the start it is 0; then it is the tape's time and later, as fast as asked."""
    clock = PacedClock(1000.0)
    assert clock.now_ns() == 0
    clock.start(NOON)
    started = clock.monotonic_ns()
    time.sleep(0.002)
    assert clock.now_ns() >= NOON + NS_PER_S  # 2 ms are at least 1 s of tape at this speed
    assert clock.monotonic_ns() > started


def test_paced_clock_never_restarts_earlier() -> None:
    """A second start jumps over closed hours, and never back."""
    clock = PacedClock(1.0)
    clock.start(NOON)
    clock.start(NOON - NS_PER_S)
    assert clock.now_ns() >= NOON
    clock.start(NOON + 3600 * NS_PER_S)
    assert clock.now_ns() >= NOON + 3600 * NS_PER_S


def test_paced_clock_says_how_long_to_sleep() -> None:
    """Tape time ahead is divided by the speed; tape time that has passed needs no sleep."""
    clock = PacedClock(100.0)
    clock.start(NOON)
    assert clock.wall_seconds_until(NOON - NS_PER_S) == 0.0
    assert 0.0 < clock.wall_seconds_until(NOON + 100 * NS_PER_S) <= 1.0


def test_the_two_clocks_for_metadata_run() -> None:
    """They are the machine's own."""
    before = stopwatch_ns()
    assert abs(wall_ns() - time.time_ns()) < 3600 * NS_PER_S
    assert stopwatch_ns() >= before
