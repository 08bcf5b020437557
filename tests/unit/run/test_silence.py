"""How long no tick has come, of the time in which one was due."""

from __future__ import annotations

import pytest

from daemon.core.clock import NS_PER_S
from daemon.market.calendar import MarketCalendar
from daemon.run.health import silent_s
from tests.samples import CLOSE, DAY, MINUTE, OPEN


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
    assert silent_s(MarketCalendar.load(None), now, last) == silent
