"""When ticks were received, by stamps of which some are false."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.tape.receipts import CONTRADICTED_AT_ONCE, LEAP_NS, LOOKED_AHEAD, Receipts, stamps
from tests.depth import examples
from tests.unit.feed.ticks import OPEN_NS, SECOND

HOUR = 3600
DAY = 24 * HOUR


def received(seconds: list[int], *cuts: int, alone: bool = True) -> list[int]:
    """Seconds after the open at which ticks with such stamps were received, the stream cut at `cuts`."""
    said = np.array([OPEN_NS + second * SECOND for second in seconds], dtype=np.int64)
    parts = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    receipts, found = Receipts(alone), []
    for part in parts:
        found += receipts.of(part, said[len(found) + len(part) :]).tolist()
    return [(ns - OPEN_NS) // SECOND for ns in found]


@pytest.mark.parametrize("ahead", [3, HOUR, 9 * HOUR, 70 * 365 * 24 * HOUR])
@pytest.mark.parametrize("place", [0, 1, 50, 98])
def test_one_false_stamp_moves_only_its_own_tick(ahead: int, place: int) -> None:
    """Wherever it stands, the others were received when they say; at the start nothing came before it."""
    good = list(range(100))
    seconds = [*good[:place], place + ahead, *good[place:]]

    found = received(seconds)

    assert found[:place] + found[place + 1 :] == good


def test_a_run_of_false_stamps() -> None:
    """Up to half of the ticks that are looked at may be false."""
    run = LOOKED_AHEAD // 2 - 1
    seconds = [*range(50), *(HOUR + second for second in range(run)), *range(50, 300)]

    found = received(seconds)

    assert found[:50] + found[50 + run :] == list(range(300))


def test_a_pause_is_no_false_stamp() -> None:
    """What follows a leap agrees with it, but for stale ticks, which say nothing."""
    seconds = [*range(50), HOUR, 10, 11, 12, *range(HOUR + 1, HOUR + 30)]

    assert received(seconds) == [*range(50), HOUR, HOUR, HOUR, HOUR, *range(HOUR + 1, HOUR + 30)]


def test_a_burst_of_old_stamps_denies_nothing() -> None:
    """The tick before it didn't leap, however many old ones follow."""
    seconds = [*range(100), *range(300), *range(100, 110)]

    found = received(seconds)

    assert found[99] == 99
    assert found[-10:] == [max(299, second) for second in range(100, 110)]


@pytest.mark.parametrize("last", range(1, CONTRADICTED_AT_ONCE + 2))
@pytest.mark.parametrize("cut", [1, 49, 50])
@pytest.mark.parametrize("days", [1, 3, 400])
def test_no_day_begins_with_the_last_ticks_of_all(last: int, cut: int, days: int) -> None:
    """Nothing follows that could contradict them; a few more, and another day has begun."""
    ahead = [days * DAY + 50 + second for second in range(last)]

    found = received([*range(50), *ahead], cut)

    assert found == [*range(50), *([49] * last if last <= CONTRADICTED_AT_ONCE else ahead)]


def test_a_day_of_few_ticks_counts_where_others_say_what_day_it_is() -> None:
    """One symbol of many, or times of receipt."""
    assert received([*range(50), DAY + 50], alone=False) == [*range(50), DAY + 50]


def test_a_late_last_tick_of_the_day_counts() -> None:
    """It begins no session that wasn't."""
    assert received([*range(50), 5 * HOUR]) == [*range(50), 5 * HOUR]


def test_what_was_recorded_goes_first() -> None:
    """The exchange's stamp stands in where no receipt was recorded, and nothing where neither is a time."""
    ts_event = np.array([OPEN_NS, OPEN_NS + SECOND, 5], dtype=np.int64)
    recorded = np.array([OPEN_NS + 7, 0, 0], dtype=np.int64)

    assert stamps(ts_event, recorded).tolist() == [OPEN_NS + 7, OPEN_NS + SECOND, 0]
    assert stamps(ts_event, None).tolist() == [OPEN_NS, OPEN_NS + SECOND, 0]


@settings(max_examples=examples(200))
@given(
    steps=st.lists(st.integers(0, 3), min_size=8, max_size=600), data=st.data(), off=st.integers(-HOUR, 10 * HOUR),
)  # fmt: skip
def test_any_one_false_stamp_costs_itself(steps: list[int], data: st.DataObject, off: int) -> None:
    """The others are received when they would have been, but for seconds, and receipts never fall."""
    clean = np.cumsum(steps).tolist()
    place = data.draw(st.integers(0, len(clean) - 5))
    spoiled = [*clean[:place], clean[place] + off, *clean[place + 1 :]]

    found, whole = received(spoiled), received(clean)

    assert found == sorted(found)
    slack = LEAP_NS // SECOND + 3 * CONTRADICTED_AT_ONCE  # so little may pass before the next ticks have spoken
    assert all(
        abs(got - wanted) <= slack for row, (got, wanted) in enumerate(zip(found, whole, strict=True)) if row != place
    )


@given(st.integers(1, 599), st.integers(0, 599), st.integers(3, HOUR))
def test_where_a_stream_is_cut_changes_nothing(cut: int, place: int, off: int) -> None:
    """A chunk looks into the next one."""
    seconds = [second + (off if second == place else 0) for second in range(600)]

    assert received(seconds, cut)[: max(0, cut)] == received(seconds)[:cut]
