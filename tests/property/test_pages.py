"""Paging: whatever comes meanwhile, no row is shown twice and none is left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.control.rows import Asked, Ring


@given(
    size=st.integers(1, 20), before=st.integers(0, 30), limit=st.integers(1, 7),
    meanwhile=st.lists(st.integers(0, 3), max_size=10), every=st.integers(1, 3),
)  # fmt: skip
def test_going_through_the_pages(size: int, before: int, limit: int, meanwhile: list[int], every: int) -> None:
    """Newest first, down to what is still kept; rows that come while somebody pages are on none of the next pages."""
    ring: Ring[int] = Ring(size)
    for number in range(before):
        ring.add(number)
    there = [number for number in reversed(range(before)) if number % every == 0]
    shown: list[int] = []
    cursor: int | None = None
    for extra in [*meanwhile, *[0] * 40]:
        page = ring.page(Asked(limit=limit, before=cursor), lambda row: row % every == 0)
        assert len(page.rows) <= limit
        shown += page.rows
        cursor = page.before
        if cursor is None:
            break
        for _ in range(extra):
            ring.add(ring.count)
    assert cursor is None
    assert shown == there[: len(shown)]
    oldest = ring.count - len(ring.rows)
    assert [row for row in there if row >= oldest] == [row for row in shown if row >= oldest]
