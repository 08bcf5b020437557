"""What the next segment is expected to take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.segment_cost import QUANTILE, WINDOW, SegmentCost


def test_nothing_is_expected_before_anything_was_measured() -> None:
    """0: the first segment is always run."""
    assert SegmentCost().expected_ns == 0


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=2 * WINDOW))
def test_it_is_a_quantile_of_the_newest(times: list[int]) -> None:
    """A time that was measured, not under 99 % of those in the window, and over no more than it must be."""
    cost = SegmentCost()
    for elapsed_ns in times:
        cost.add(elapsed_ns)
    newest = times[-WINDOW:]
    assert cost.expected_ns in newest
    assert sum(one <= cost.expected_ns for one in newest) >= QUANTILE * len(newest)
    assert sum(one < cost.expected_ns for one in newest) < QUANTILE * len(newest)


def test_what_was_slow_once_is_forgotten() -> None:
    """A stalled machine costs depth for one window and no longer."""
    cost = SegmentCost()
    for _ in range(10):
        cost.add(1000)
    for _ in range(WINDOW - 1):
        cost.add(1)
    assert cost.expected_ns == 1
