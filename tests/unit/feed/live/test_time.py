"""Moments of the wall clock."""

from __future__ import annotations

import datetime as dt

from daemon.core.clock import NS_PER_S
from daemon.feed.live.time import Moments
from daemon.feed.replay import Schedule
from daemon.market.calendar import MarketCalendar, ist_ns
from tests.unit.feed.ticks import OPEN_NS

MINUTE = 60 * NS_PER_S
CLOSE = OPEN_NS + 375 * MINUTE


def moments() -> Moments:
    """Of bars of 15 minutes, a second of grace, square-off 15 minutes before the close."""
    return Moments(MarketCalendar(), Schedule(900, NS_PER_S, 15))


def due(subject: Moments, now: int) -> list[int]:
    """All that is due by `now`."""
    found = []
    while (moment := subject.take_due(now)) is not None:
        found.append(moment)
    return found


def test_every_moment_of_a_day_once_and_in_order() -> None:
    """However the clock is looked at; then the next session is lined up."""
    subject, seen = moments(), []
    for minute in range(-30, 400):
        seen += due(subject, OPEN_NS + minute * MINUTE)
    assert seen == sorted(
        {OPEN_NS + NS_PER_S, CLOSE - 15 * MINUTE, *(OPEN_NS + (n * 15 * MINUTE) + NS_PER_S for n in range(1, 26))}
    )
    assert subject.session is not None
    assert subject.session.open_ns == OPEN_NS + 1440 * MINUTE
    assert subject.wait_s(CLOSE + MINUTE, 0.25) == 0.25


def test_a_late_look_brings_all_that_was_missed() -> None:
    """A loop that stood still for forty minutes loses no close."""
    subject = moments()
    assert due(subject, OPEN_NS) == []
    assert len(due(subject, OPEN_NS + 40 * MINUTE)) == 3


def test_a_start_inside_a_session_leaves_the_past_alone() -> None:
    """Bars that nobody built need no closing."""
    subject = moments()
    assert due(subject, OPEN_NS + 16 * MINUTE) == []
    assert subject.wait_s(OPEN_NS + 30 * MINUTE, 5) == 1.0


def test_a_saturday_waits_for_monday() -> None:
    """2026-01-10 is a Saturday."""
    subject = moments()
    assert due(subject, OPEN_NS + 5 * 1440 * MINUTE) == []
    assert subject.session is not None
    assert subject.session.open_ns == OPEN_NS + 7 * 1440 * MINUTE


def test_ticks_are_stamped_after_what_was_told() -> None:
    """At the very nanosecond of a moment too, and while the clock stands still."""
    subject = moments()
    now = OPEN_NS + 15 * MINUTE + NS_PER_S
    subject.take_due(OPEN_NS)
    while subject.take_due(now) is not None:
        pass
    assert subject.stamp(now) == now + 1
    assert subject.take_now(now) is None
    assert subject.take_now(now + 5) == now + 5
    assert subject.stamp(now + 5) == now + 6
    assert subject.stamp(now + 50) == now + 50


def test_the_year_turns_beyond_the_table() -> None:
    """After the last session that NSE has confirmed the next weekday is lined up, and every moment of it comes."""
    subject = Moments(MarketCalendar(), Schedule(900, NS_PER_S, 15))
    evening, opened = ist_ns(dt.date(2026, 12, 31), "16:00"), ist_ns(dt.date(2027, 1, 1), "09:15")
    assert due(subject, evening) == []
    assert subject.session is not None
    assert subject.session.open_ns == opened
    moments_of_the_day = due(subject, opened + 361 * MINUTE)
    assert moments_of_the_day[0] == opened + NS_PER_S
    assert opened + 345 * MINUTE in moments_of_the_day
    assert moments_of_the_day[-1] == opened + 360 * MINUTE + NS_PER_S
