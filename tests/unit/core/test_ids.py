"""Names by which one thing is known everywhere."""

from __future__ import annotations

import pytest

from daemon.core.ids import is_order_of_ours, order_prefix


def test_our_orders_are_told_by_their_ids() -> None:
    """Whichever run gave them."""
    assert is_order_of_ours(f"{order_prefix(1767587402, bytes(3))}0000001")
    assert is_order_of_ours(f"{order_prefix(4102444800, b'abc')}12345678")


@pytest.mark.parametrize("tag", ["", "T1", "stop", "X26010500000010", "H695b3e48afcd9fL", "H695b3e48afcd9fL0000001x"])
def test_anothers_are_not_ours(tag: str) -> None:
    """Nor is what only looks a little like one."""
    assert not is_order_of_ours(tag)
