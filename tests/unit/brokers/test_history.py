"""Which calls a span of days takes, and which bars of their answers are believed."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.brokers.history import DAILY, MOST_DAYS, MOST_DAYS_DAILY, Chunk, chunks, day_of, sift
from daemon.core.clock import NS_PER_S
from daemon.core.errors import UsageError
from daemon.market.records import Candle
from tests.samples import OPEN

MONDAY = dt.date(2026, 1, 5)
START = OPEN // NS_PER_S
LATER = START + 86_400.0


def candle(offset_s: int = 0, low: float = 799.0, volume: int = 5, high: float = 803.0) -> Candle:
    """A bar at the open of Monday, moved."""
    return Candle(START + offset_s, 800.0, high, low, 802.0, volume)


@given(st.dates(dt.date(2017, 7, 3), dt.date(2026, 12, 31)), st.integers(0, 2000), st.sampled_from(["5m", DAILY]))
def test_every_day_is_in_one_call(first: dt.date, days: int, interval: str) -> None:
    """In order, without gap or overlap, none longer than Fyers allows."""
    last = first + dt.timedelta(days=days)
    found = chunks(first, last, interval)
    most = MOST_DAYS_DAILY if interval == DAILY else MOST_DAYS
    assert (found[0].first, found[-1].last) == (first, last)
    assert all((chunk.last - chunk.first).days + 1 <= most for chunk in found)
    assert all(b.first - a.last == dt.timedelta(days=1) for a, b in itertools.pairwise(found))


def test_minutes_begin_in_2017() -> None:
    """Earlier days are left out of a call; a span that ends before has nothing. Days go back further."""
    assert chunks(dt.date(2015, 1, 1), dt.date(2017, 7, 4), "5m") == [Chunk(dt.date(2017, 7, 3), dt.date(2017, 7, 4))]
    assert len(chunks(dt.date(2015, 1, 1), dt.date(2015, 12, 31), DAILY)) == 1
    with pytest.raises(UsageError, match="from 2017-07-03 on"):
        chunks(dt.date(2015, 1, 1), dt.date(2017, 7, 2), "5m")
    with pytest.raises(UsageError, match="not before --from"):
        chunks(MONDAY, MONDAY - dt.timedelta(days=1), "5m")


def test_what_is_believed() -> None:
    """Sorted, once each, inside the call's days, over, and possible; the rest is counted by why."""
    good = [candle(600), candle(), candle(300)]
    wrong = [
        candle(300), candle(-86_400), candle(86_400), candle(1200, low=801.0), candle(1500, high=801.0),
        candle(1800, low=0.0), candle(2100, volume=-1), candle(82_000),
    ]  # fmt: skip
    found = sift([*good, *wrong], Chunk(MONDAY, MONDAY), "5m", LATER)
    assert [bar.start_s - START for bar in found.bars] == [0, 300, 600]
    assert found.dropped == {"repeated": 1, "outside": 3, "impossible": 4}


def test_a_bar_that_is_not_over_is_not_kept() -> None:
    """From the second on in which it is over, it is."""
    for now, kept in ((START + 299.9, 0), (START + 300.0, 1)):
        found = sift([candle()], Chunk(MONDAY, MONDAY), "5m", now)
        assert (len(found.bars), found.dropped.get("unfinished", 0)) == (kept, 1 - kept)


def test_days_of_bars() -> None:
    """A daily bar starts at midnight UTC of its date and is over at midnight in India."""
    midnight = 1_767_571_200
    daily = Candle(midnight, 800.0, 803.0, 799.0, 802.0, 5)
    assert day_of(daily, DAILY) == day_of(candle(), "5m") == MONDAY
    for now, kept in ((midnight + 66_599.0, 0), (midnight + 66_600.0, 1)):
        assert len(sift([daily], Chunk(MONDAY, MONDAY), DAILY, now).bars) == kept
