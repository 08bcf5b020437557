"""Waiting ticks: quotes give way under pressure, trades never do."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from daemon.feed.live.frames import Row
from daemon.fyers.gateway.pending import PendingTicks


def row(code: int, number: int) -> Row:
    """The number-th tick, of one symbol."""
    return Row(code, number, 1.0, -1, -1, math.nan, math.nan, -1, -1, -1)


def test_below_the_limit_nothing_is_replaced() -> None:
    """Four quotes of one symbol stay four."""
    pending = PendingTicks(conflate_above=4)
    for number in range(4):
        pending.add(row(0, number), traded=False)
    assert [tick.ts_event for tick in pending.take()] == [0, 1, 2, 3]
    assert pending.conflated == 0
    assert pending.taken == 4
    assert len(pending) == 0


def test_above_it_the_newest_quote_wins() -> None:
    """In its symbol alone, and never over a trade or across one."""
    pending = PendingTicks(conflate_above=1)
    for number, (code, traded) in enumerate([(0, 0), (1, 0), (0, 0), (0, 1), (0, 0), (0, 0), (1, 0)]):
        pending.add(row(code, number), traded=bool(traded))
    assert [(tick.code, tick.ts_event) for tick in pending.take()] == [(0, 2), (1, 6), (0, 3), (0, 5)]
    assert pending.conflated == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans())), st.integers(0, 5))
def test_trades_all_survive_in_order_and_every_loss_is_counted(steps: list[tuple[int, bool, bool]], limit: int) -> None:
    """Whatever the pressure and whenever it is taken: per symbol the order holds and the last word is the newest."""
    pending, out = PendingTicks(limit), []
    for number, (code, traded, take) in enumerate(steps):
        pending.add(row(code, number), traded)
        if take:
            out += pending.take()
    out += pending.take()
    assert len(out) + pending.conflated == len(steps)
    for code in range(3):
        given_ticks = [number for number, step in enumerate(steps) if step[0] == code]
        got = [tick.ts_event for tick in out if tick.code == code]
        assert got == sorted(got)
        assert {number for number in given_ticks if steps[number][1]} <= set(got)
        assert got[-1:] == given_ticks[-1:]
