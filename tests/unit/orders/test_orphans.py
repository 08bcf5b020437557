"""Orders of ours that no journal knows: what closes nothing any more goes, what still closes something stays."""

from __future__ import annotations

from typing import Any

from daemon.core.events import OrderType, Side
from daemon.orders.book import Order, OrderState
from daemon.orders.orphans import Orphans
from tests.samples import intend
from tests.unit.sandbox.desk import SBIN


def works(order_id: str, side: Side = Side.SELL, quantity: int = 5, **changes: Any) -> Order:
    """An order on the market."""
    return Order(intent=intend(order_id, side, quantity, **changes), state=OrderState.ACCEPTED)


STOP = works("stop", type=OrderType.SL_MARKET)
TARGET, ENTRY, ANOTHERS = works("target"), works("entry"), works("another's", type=OrderType.SL_MARKET)
ALL = [STOP, TARGET, ENTRY, ANOTHERS]


def named(orphans: Orphans, held: int, *, whole: bool = True) -> list[str]:
    """Which are to go while so much is held."""
    return [it.intent.order_id for it in orphans.left_over(ALL, {SBIN: held}, whole=whole)]


def test_a_stop_goes_once_there_is_nothing_to_close() -> None:
    """Held in part it stays, for the rest would be bare; another's is another's."""
    orphans = Orphans()
    orphans.ids = {"stop"}
    assert [named(orphans, held) for held in (5, 2, 9)] == [[], [], []]
    assert named(orphans, 0) == named(orphans, -5) == ["stop"]


def test_so_does_anything_else() -> None:
    """A target whose position was closed while nobody followed it looks like an entry, and nobody follows that."""
    orphans = Orphans()
    orphans.ids = {"entry", "target"}
    assert named(orphans, 5) == []
    assert named(orphans, 0) == named(orphans, -5) == ["target", "entry"]


def test_nothing_is_judged_before_the_book_was_read() -> None:
    """A fill that isn't known yet may be what it protects."""
    orphans = Orphans()
    orphans.ids = {"stop"}
    assert named(orphans, 0, whole=False) == []
    assert orphans.doubtful
    assert named(orphans, 0) == ["stop"]
    assert not orphans.doubtful


def test_what_is_going_already_is_not_named_again() -> None:
    """Nor what isn't on the market."""
    orphans = Orphans()
    orphans.ids = {"gone", "going"}
    gone = works("gone", type=OrderType.SL_MARKET)
    going = works("going", type=OrderType.SL_MARKET)
    gone.state, going.unwanted = OrderState.CANCEL_PENDING, "by hand"
    assert orphans.left_over([gone, going], {}, whole=True) == []
