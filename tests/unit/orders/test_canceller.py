"""What is to be off the market, at a misbehaving exchange: asked for until it is gone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.core.events import (
    Flatten,
    OrderCancelFailed,
    OrderCancelled,
    OrderType,
    Side,
)
from daemon.orders.book import OrderState
from daemon.sandbox.faults import FaultKind, Route
from tests.unit.orders.live import trading, until

LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal("700")}


async def test_flatten_keeps_at_it_until_the_entry_is_gone(tmp_path: Path) -> None:
    """The cancellation is lost twice and asked for again; an exit that waits at a price is taken off as well."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        trader.send("T2", Side.SELL, type=OrderType.LIMIT, limit_price=Decimal("900"), reduces=True)
        await until(lambda: trader.order("T1").venue_id and trader.order("T2").venue_id)
        trader.desk.trouble(FaultKind.DROP, Route.CANCEL, times=2)
        trader.bus.publish(Flatten(ts=1, reason="enough"))
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        await until(lambda: trader.order("T2").state is OrderState.CANCELLED)
        assert trader.heard(OrderCancelFailed)
        assert trader.heard(OrderCancelled)[0].reason
        assert trader.agrees()


async def test_a_lost_cancellation_does_not_wait_for_a_book_that_can_not_be_read(tmp_path: Path) -> None:
    """Nobody knows what became of it; asked for twice it does no harm, and a kill switch that waits does."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        trader.desk.trouble(FaultKind.DROP, Route.CANCEL, times=2)
        trader.desk.trouble(FaultKind.BROKEN, Route.ORDERS, times=1000)
        trader.bus.publish(Flatten(ts=1, reason="enough"))
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)


async def test_an_order_that_comes_alive_after_all_is_cancelled(tmp_path: Path) -> None:
    """Written off, then it reaches the exchange: it is taken off, and what it traded is booked."""
    async with trading(tmp_path, unknown_settle_s=0.1) as trader:
        trader.desk.trouble(FaultKind.LATE, seconds=2.0)
        trader.send(**LIMIT)
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        await until(lambda: trader.desk.book)
        await until(lambda: trader.desk.book[0].status.name == "CANCELLED")
