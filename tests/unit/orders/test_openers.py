"""Which orders would open a position or add to one, by what is held now."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.events import PROTECTION, OrderIntent, OrderType, Side
from daemon.orders.openers import openers
from tests.samples import RELIANCE, SBIN, intend

LIMIT, STOP = OrderType.LIMIT, OrderType.SL_MARKET
BUY, SELL = Side.BUY, Side.SELL


def rest(order_id: str, side: Side, quantity: int, kind: OrderType = LIMIT, **more: Any) -> tuple[OrderIntent, int]:
    """An order of which nothing is filled."""
    return intend(order_id, side, quantity, type=kind, **more), quantity


def test_what_is_flat_can_only_be_opened() -> None:
    """Whatever the order was meant for."""
    assert openers([rest("stop", SELL, 5, STOP), rest("exit", SELL, 5, reduces=True)], {}) == {"stop", "exit"}


def test_the_other_side_closes_and_the_same_side_adds() -> None:
    """Long and short, by what was never called an exit."""
    orders = [rest("buy", BUY, 5), rest("sell", SELL, 5)]
    assert openers(orders, {SBIN: 5}) == {"buy"}
    assert openers(orders, {SBIN: -5}) == {"sell"}
    assert openers([*orders, rest("other", SELL, 5, symbol=RELIANCE)], {SBIN: 5}) == {"buy", "other"}


def test_what_goes_beyond_zero_opens_for_the_rest() -> None:
    """150 on 100; of an order that is partly filled only what remains counts."""
    assert openers([rest("large", SELL, 150)], {SBIN: 100}) == {"large"}
    assert openers([(intend("large", SELL, 150, type=LIMIT), 100)], {SBIN: 100}) == set()


def test_of_several_a_stop_is_kept_then_an_exit_then_the_older() -> None:
    """A target beside a stop for the same shares would sell them twice."""
    orders = [
        rest("old", SELL, 10, ts=1), rest("new", SELL, 10, ts=2), rest("exit", SELL, 10, ts=3, reduces=True),
        rest("stop", SELL, 10, STOP, ts=4),
    ]  # fmt: skip
    assert openers(orders, {SBIN: 10}) == {"old", "new", "exit"}
    assert openers(orders, {SBIN: 20}) == {"old", "new"}
    assert openers(orders, {SBIN: 30}) == {"new"}


def test_a_stop_outlasts_the_exit_beside_it() -> None:
    """The exit may yet be refused; once it has traded, the stop is asked about again."""
    orders = [rest("exit", SELL, 10, OrderType.MARKET, reduces=True), rest("stop", SELL, 10, STOP)]
    assert openers(orders, {SBIN: 10}) == set()
    assert openers(orders[1:], {SBIN: 0}) == {"stop"}


def test_the_target_beside_the_stop_of_a_position_closes_nothing_twice() -> None:
    """Only one of them can be wanted; where they are for more than is held, the later one goes."""
    legs = [
        rest("stop", SELL, 10, STOP, reduces=True, strategy=PROTECTION, reason="stop", ts=1),
        rest("target", SELL, 10, reduces=True, strategy=PROTECTION, reason="target", ts=2),
    ]  # fmt: skip
    assert openers(legs, {SBIN: 10}) == set()
    assert openers([*legs, rest("exit", SELL, 5, reduces=True, ts=3)], {SBIN: 15}) == set()
    assert openers([*legs, rest("exit", SELL, 5, reduces=True, ts=3)], {SBIN: 10}) == {"exit"}
    assert openers(legs, {SBIN: 9}) == openers(legs, {}) == {"stop", "target"}


RESTING = st.tuples(st.sampled_from(Side), st.integers(1, 9), st.sampled_from((LIMIT, STOP)), st.booleans())


@given(st.lists(RESTING, max_size=6), st.integers(-20, 20))
def test_what_is_not_named_never_opens(orders: list[tuple[Side, int, OrderType, bool]], held: int) -> None:
    """All of them filled leave the position between what it was and zero; and no more is named than must be."""
    working = [
        rest(f"T{number}", side, quantity, kind, reduces=reduces)
        for number, (side, quantity, kind, reduces) in enumerate(orders)
    ]
    named = openers(working, {SBIN: held})
    kept = sum(intent.side.sign * left for intent, left in working if intent.order_id not in named)
    assert min(0, held) <= held + kept <= max(0, held)
    for intent, left in working:
        if intent.order_id in named:
            closes = intent.side.sign * held < 0
            after = held + intent.side.sign * left + (kept if closes else 0)
            assert not min(0, held) <= after <= max(0, held)
