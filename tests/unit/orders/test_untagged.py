"""Whose a row of the book is, where the venue keeps no ids of ours."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    EXTERNAL,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderRejected,
    OrderSent,
    OrderType,
    OrderUnknown,
    Side,
)
from daemon.orders.book import OrderBook
from daemon.orders.untagged import Owners
from daemon.orders.venue import OrderStatus, VenueOrder, VenueTrade
from tests.samples import OPEN, intend

SBIN = "NSE:SBIN-EQ"


class Bench:
    """Our orders, and the rows of a book."""

    def __init__(self) -> None:
        self.book = OrderBook()
        self.owners = Owners(self.book, ReplayClock(OPEN + 60 * NS_PER_S))

    def sent(self, order_id: str, **changes: Any) -> None:
        """An order whose answer is awaited."""
        self.book.apply(intend(order_id, Side.BUY, 10, **({"ts": OPEN, "symbol": SBIN} | changes)))
        self.book.apply(OrderApproved(ts=OPEN, order_id=order_id))
        self.book.apply(OrderSent(ts=OPEN, order_id=order_id))

    def lost(self, order_id: str, **changes: Any) -> None:
        """An order whose answer never came."""
        self.sent(order_id, **changes)
        self.book.apply(OrderUnknown(ts=OPEN, order_id=order_id, reason="no answer"))

    def written_off(self, order_id: str) -> None:
        """The book has not shown it for long enough."""
        reason = "never arrived: the venue's book did not show it"
        self.book.apply(OrderRejected(ts=OPEN, order_id=order_id, code=0, reason=reason))

    def tags(self, *rows: VenueOrder) -> dict[str, str]:
        """By venue id."""
        return {row.venue_id: row.tag for row in self.owners.orders(rows)}


def row(venue_id: str, late_s: float = 1.0, **changes: Any) -> VenueOrder:
    """As the book shows it."""
    fields: dict[str, Any] = {
        "tag": "", "symbol": SBIN, "side": Side.BUY, "type": OrderType.MARKET, "quantity": 10,
        "status": OrderStatus.PENDING, "ts": OPEN + int(late_s * NS_PER_S),
    }  # fmt: skip
    return VenueOrder(venue_id=venue_id, **(fields | changes))


def test_an_acknowledged_order_is_known_by_the_venues_id() -> None:
    """In its row, in its trades and in a push."""
    bench = Bench()
    bench.sent("T1")
    bench.book.apply(OrderAccepted(ts=OPEN, order_id="T1", venue_id="7"))
    assert bench.tags(row("7"), row("8")) == {"7": "T1", "8": ""}
    trade = VenueTrade(trade_id="t", venue_id="7", tag="", symbol=SBIN, side=Side.BUY, quantity=1, price=Decimal(1))
    assert [it.tag for it in bench.owners.trades([trade, msgspec.structs.replace(trade, venue_id="9")])] == ["T1", ""]
    told = bench.owners.order(row("7"))
    assert told is not None
    assert told.tag == "T1"
    assert bench.owners.order(row("8")) is None


def test_a_lost_order_is_found_by_its_shape_and_keeps_its_row() -> None:
    """Another row of that shape is another's."""
    bench = Bench()
    bench.lost("T1")
    assert bench.tags(row("7")) == {"7": "T1"}
    assert bench.tags(row("6", 0.5), row("7")) == {"6": "", "7": "T1"}


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "NSE:TCS-EQ"}, {"side": Side.SELL}, {"quantity": 11}, {"type": OrderType.SL_MARKET},
        {"late_s": -10.0}, {"late_s": 40.0},
    ],
)  # fmt: skip
def test_a_row_that_differs_is_nobodys(change: dict[str, Any]) -> None:
    """In anything that was asked for, or in when it was placed."""
    bench = Bench()
    bench.lost("T1")
    assert bench.tags(row("7", **change)) == {"7": ""}


def test_a_lost_order_that_was_dated_ahead_is_told_by_the_rest() -> None:
    """By an earlier process, whose clock was hours ahead; an order of now isn't."""
    bench = Bench()
    bench.lost("T1", ts=OPEN + 3 * 3600 * NS_PER_S)
    assert bench.tags(row("6", quantity=11), row("7", 20.0)) == {"6": "", "7": "T1"}


@pytest.mark.parametrize(("ahead_s", "found"), [(200.0, "T2"), (0.0, "")])
def test_a_lost_order_is_found_by_a_clock_that_is_ahead(ahead_s: float, found: str) -> None:
    """By as much as the orders before it were dated ahead of their rows; one that filled later is dated later."""
    bench = Bench()
    for order_id in ("T0", "T1"):
        bench.sent(order_id)
        bench.book.apply(OrderAccepted(ts=OPEN, order_id=order_id, venue_id=order_id))
    bench.lost("T2", ts=OPEN + 50 * NS_PER_S)
    before = (row("T0", 1.0 - ahead_s), row("T1", 40.0 - ahead_s))
    assert bench.tags(*before, row("7", 52.0 - 200.0))["7"] == found


def test_a_limit_order_is_told_by_its_price() -> None:
    """A market order may stand there as a limit order that trades at once: a lower bid is somebody else's."""
    bench = Bench()
    bench.lost("T1", type=OrderType.LIMIT, limit_price=Decimal("800.05"))
    limit = {"type": OrderType.LIMIT}
    assert bench.tags(row("6", **limit, limit_price=Decimal("800.10"))) == {"6": ""}
    assert bench.tags(row("7", **limit, limit_price=Decimal("800.05"))) == {"7": "T1"}
    bench.lost("T2")
    assert bench.tags(row("5", **limit, limit_price=Decimal("90")), row("8", **limit, limit_price=Decimal("900"))) == {
        "5": "", "8": "T2",
    }  # fmt: skip


def test_one_that_traded_may_show_what_it_traded_at() -> None:
    """No worse than its limit, be it all of it or a part; an order at market at any price."""
    bench = Bench()
    bench.lost("T1", type=OrderType.LIMIT, limit_price=Decimal("800.05"))
    filled = {"type": OrderType.LIMIT, "filled": 4}
    assert bench.tags(row("5", **filled, limit_price=Decimal("800.10"))) == {"5": ""}
    assert bench.tags(row("6", type=OrderType.LIMIT, limit_price=Decimal("799.95"))) == {"6": ""}
    assert bench.tags(row("7", **filled, limit_price=Decimal("799.95"))) == {"7": "T1"}
    bench.lost("T2", reference_price=Decimal(800))
    assert bench.tags(row("8", **filled, limit_price=Decimal("799.95"))) == {"8": "T2"}


def test_a_row_that_may_be_of_an_awaited_order_is_left_out() -> None:
    """Until its answer says which row it is; then the lost one of the same shape gets what is left."""
    bench = Bench()
    bench.lost("T1")
    bench.sent("T2")
    assert bench.tags(row("7"), row("8")) == {}
    bench.book.apply(OrderAccepted(ts=OPEN, order_id="T2", venue_id="8"))
    assert bench.tags(row("7"), row("8")) == {"7": "T1", "8": "T2"}


def test_two_that_look_alike_get_a_row_each() -> None:
    """The older order the older row."""
    bench = Bench()
    bench.lost("T1")
    bench.lost("T2", ts=OPEN + 1)
    assert bench.tags(row("8", 2.0), row("7", 1.0)) == {"7": "T1", "8": "T2"}


def test_what_was_refused_is_not_looked_for() -> None:
    """Somebody may place by hand what the venue had refused us: that is his order."""
    bench = Bench()
    bench.sent("T1")
    bench.book.apply(OrderRejected(ts=OPEN, order_id="T1", code=1, reason="no money"))
    assert bench.tags(row("7")) == {"7": ""}
    assert bench.tags(row("6", status=OrderStatus.REJECTED)) == {"6": "T1"}


def test_what_looks_like_an_order_that_was_written_off_is_somebody_elses() -> None:
    """It would be taken off the market as ours, and nothing proves that it is; it is named, once for each of ours."""
    bench = Bench()
    bench.lost("T1")
    bench.written_off("T1")
    assert bench.tags(row("7"), row("8")) == {"7": "", "8": ""}
    assert bench.owners.look_alikes == {"7": "T1"}
    bench.lost("T2", ts=OPEN + 1)
    assert bench.tags(row("7"), row("8"), row("9", 2.0)) == {"7": "", "8": "", "9": "T2"}


def test_one_that_was_written_off_is_ours_where_its_row_says_so() -> None:
    """In analyze mode the strategy's name is told, and ours is the order's id."""
    bench = Bench()
    bench.lost("T1")
    bench.written_off("T1")
    assert bench.tags(row("7", tag="T1")) == {"7": "T1"}
    assert bench.owners.look_alikes == {}


def test_a_row_that_names_another_strategy_is_no_lost_order() -> None:
    """Ours would name us, whatever else they have in common; nor does an awaited answer keep it from being told."""
    bench = Bench()
    bench.lost("T1")
    bench.sent("T2")
    assert bench.tags(row("7", tag="my own")) == {"7": ""}
    assert bench.owners.look_alikes == {}


def test_an_order_that_was_never_acknowledged_is_known_by_its_fills() -> None:
    """After a restart the journal has nothing else."""
    bench = Bench()
    bench.lost("T1")
    fill = {"symbol": SBIN, "side": Side.BUY, "quantity": 10, "price": Decimal(1), "costs": Decimal(0)}
    bench.book.apply(Fill(ts=OPEN, fill_id="7:a", order_id="T1", **fill))
    assert bench.tags(row("7", status=OrderStatus.FILLED), row("8")) == {"7": "T1", "8": ""}


def test_what_was_somebody_elses_stays_his() -> None:
    """An order of ours that looks like it and is lost later is another one: the row was there before it."""
    bench = Bench()
    assert bench.tags(row("7")) == {"7": ""}
    bench.lost("T1")
    assert bench.tags(row("7")) == {"7": ""}
    assert bench.tags(row("7"), row("8")) == {"7": "", "8": "T1"}


def test_what_was_adopted_stays_so_over_a_restart() -> None:
    """Its fills are booked already: under another order they would count twice."""
    bench = Bench()
    bench.book.apply(intend("X7", Side.BUY, 10, ts=OPEN, symbol=SBIN, strategy=EXTERNAL))
    bench.book.apply(OrderAccepted(ts=OPEN, order_id="X7", venue_id="7"))
    bench.lost("T1")
    bench.book.apply(OrderRejected(ts=OPEN, order_id="T1", code=0, reason="never arrived: the book did not show it"))
    assert bench.tags(row("7", status=OrderStatus.FILLED)) == {"7": ""}


def test_a_row_that_says_by_what_it_was_placed_is_told_by_that() -> None:
    """Whoever changed it since, its answer awaited or not; another's name, or one used before, says nothing."""
    bench = Bench()
    bench.lost("T1")
    bench.sent("T2")
    assert bench.tags(row("8", tag="T1", quantity=15), row("9", tag="T2")) == {"8": "T1", "9": "T2"}
    assert bench.tags(row("8", tag="T1", quantity=15), row("6", 0.5, tag="T1", quantity=15)) == {"8": "T1", "6": ""}
    assert bench.tags(row("5", tag="another", quantity=3)) == {"5": ""}


def test_a_row_that_names_an_order_of_ours_in_no_journal_keeps_its_name() -> None:
    """As a start whose journal isn't whole needs it: nobody else looks after that order."""
    bench = Bench()
    ours = "H6b0e4d8ef4c72eL0000001"
    assert bench.tags(row("7", tag=ours), row("8", tag="my own")) == {"7": ours, "8": ""}


def test_a_stop_is_told_by_its_trigger() -> None:
    """Another's, at another trigger, is no order of ours; a row that doesn't tell it may be."""
    bench = Bench()
    bench.lost("T1", type=OrderType.SL_MARKET, stop_price=Decimal("790"))
    stop = {"type": OrderType.SL_MARKET}
    assert bench.tags(row("6", **stop, stop_price=Decimal("789"))) == {"6": ""}
    assert bench.tags(row("7", **stop, stop_price=Decimal("790"))) == {"7": "T1"}


def test_a_protected_stop_is_told_by_its_trigger_too() -> None:
    """It stands there with a limit that isn't in our intent."""
    bench = Bench()
    bench.lost("T1", type=OrderType.SL_MARKET, stop_price=Decimal("790"))
    stop = {"type": OrderType.SL_LIMIT, "limit_price": Decimal("786.05")}
    assert bench.tags(row("6", **stop, stop_price=Decimal("789"))) == {"6": ""}
    assert bench.tags(row("7", **stop, stop_price=Decimal("790"))) == {"7": "T1"}
