"""How long no tick has come, of the time in which one was due."""

from __future__ import annotations

import pytest

from daemon.core.clock import NS_PER_S, LiveClock, ReplayClock
from daemon.market.calendar import MarketCalendar
from daemon.run.silence import Silence
from tests.samples import CLOSE, DAY, MINUTE, OPEN
from tests.unit.core.readings import FakeReadings

CALENDAR = MarketCalendar.load(None)


@pytest.mark.parametrize(
    ("now", "last", "silent"),
    [
        (OPEN + MINUTE, OPEN + 40 * NS_PER_S, 20.0),
        (OPEN + DAY + 5 * NS_PER_S, CLOSE, 5.0),  # of a daemon that ran through the night
        (OPEN + 90 * NS_PER_S, OPEN - MINUTE, 90.0),  # none since the start, a minute before the open
        (OPEN - NS_PER_S, OPEN - MINUTE, None),
        (CLOSE + MINUTE, CLOSE, None),
    ],
    ids=["within", "a new day", "never", "before", "after"],
)
def test_the_night_is_no_silence_and_a_feed_that_never_spoke_is_one(now: int, last: int, silent: float | None) -> None:
    """From the open on, or the start, or the newest tick, whichever came last."""
    clock = ReplayClock()
    silence = Silence(CALENDAR, clock)
    clock.advance(last)
    silence.end()
    clock.advance(now)
    assert silence.seconds() == silent


def test_time_that_is_set_forward_has_not_passed() -> None:
    """By hours, as after a start on a wrong clock; what passes from there on counts."""
    readings = FakeReadings(OPEN + MINUTE)
    clock = LiveClock(readings)
    silence = Silence(CALENDAR, clock)
    readings.go(10.0)
    clock.step(3 * 3600 * NS_PER_S)
    assert silence.seconds() == 10.0
    readings.go(5.0)
    assert silence.seconds() == 15.0
    silence.end()
    assert silence.seconds() == 0.0


def test_a_tape_that_has_not_begun_is_not_silent() -> None:
    """Its time is none yet."""
    assert Silence(CALENDAR, ReplayClock()).seconds() is None
