"""The running maximum of a column, with and without the short cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.columns import running_max


@given(st.lists(st.integers(-3, 6), max_size=12), st.integers(-3, 6), st.booleans())
def test_it_is_the_largest_so_far(values: list[int], before: int, rises: bool) -> None:
    """One row after the other, of columns that fall and of such as don't."""
    column = np.array(sorted(values) if rises else values, dtype=np.int64)
    expected, largest = [], before
    for value in column.tolist():
        largest = max(largest, value)
        expected.append(largest)
    assert running_max(column, before).tolist() == expected


@pytest.mark.parametrize(
    ("values", "before", "same"), [([1, 1, 2], 1, True), ([1, 1, 2], 2, False), ([2, 1], 0, False)]
)
def test_a_column_that_rises_is_given_back_itself(values: list[int], before: int, same: bool) -> None:
    """So whoever asks knows that nothing fell."""
    column = np.array(values)
    assert (running_max(column, before) is column) is same
