"""What is said of a tape that is silent inside its sessions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import Bar
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.run.holes import Holes
from daemon.settings.values import INTERVALS
from tests.samples import SBIN

CALENDAR = MarketCalendar()
TWO_PARTS = dt.date(2024, 3, 2)
"""09:15 to 10:00 and 11:30 to 12:30."""
MUHURAT = dt.date(2024, 11, 1)
FRIDAY = dt.date(2024, 3, 1)


def bars(day: dt.date, interval: str, silent: Collection[str] = (), until: str = "23:59") -> list[Bar]:
    """Those of a day on which something trades whenever it may, but for the bars that begin at these times."""
    session, length = CALENDAR.session(day), INTERVALS[interval] * NS_PER_S
    assert session is not None
    parts = [(ist_ns(day, start), ist_ns(day, stop)) for start, stop in CALENDAR.parts(day)]
    skipped, end = {ist_ns(day, at) for at in silent}, ist_ns(day, until)
    return [
        Bar(
            symbol=SBIN, interval=interval, ts_open=ts, ts_close=min(ts + length, session.close_ns), open=1.0, high=1.0,
            low=1.0, close=1.0, volume=1, ticks=1, gap=False,
        )
        for ts in range(session.open_ns, session.close_ns, length)
        if ts not in skipped and ts < end and any(start < ts + length and ts < stop for start, stop in parts)
    ]  # fmt: skip


def words(interval: str, told: list[Bar]) -> str:
    """What is said of them."""
    holes = Holes(interval, CALENDAR)
    for bar in told:
        holes.record(bar)
    return holes.words().partition(". ")[0]


@pytest.mark.parametrize("interval", list(INTERVALS))
@pytest.mark.parametrize("day", [FRIDAY, TWO_PARTS, MUHURAT])
def test_a_day_without_a_hole_has_none_whatever_its_hours(day: dt.date, interval: str) -> None:
    """Nor where the tape ends within the day."""
    assert words(interval, bars(day, interval)) == ""
    assert words(interval, bars(day, interval, until="11:32")) == ""


def test_what_is_silent_beside_a_pause_is_told_without_it() -> None:
    """The last ten minutes of the first part and the first of the second: eleven bars, and not a hundred and one."""
    silent = [f"09:{minute}" for minute in range(50, 60)] + ["11:30"]
    told = words("1m", bars(TWO_PARTS, "1m", silent))
    assert told == f"1m bars without a tick inside a day: {SBIN} 11 of 105, 11 of them on 02 Mar 2024"
