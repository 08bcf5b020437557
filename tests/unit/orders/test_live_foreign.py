"""Orders that we didn't place, and commands over them: followed, left alone, and judged by what they would do now."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    MANUAL,
    Event,
    Flatten,
    Halt,
    OrderCancelRequested,
    OrderSent,
    OrderType,
    Reduce,
    Resume,
    Side,
    SymbolHalted,
)
from daemon.core.ids import order_prefix
from daemon.orders.abandoning import abandon
from daemon.orders.book import OrderState
from daemon.recovery.account import ORDER_EVENTS, Account
from daemon.sandbox.faults import FaultKind, Route
from tests.unit.orders.live import Trader, at_the_exchange, by_hand, trading, until
from tests.unit.sandbox.desk import SBIN, opened

LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal("700")}
STOP = {"kind": OrderType.SL_MARKET, "stop_price": "800"}
TARGET = {"kind": OrderType.LIMIT, "limit_price": "900"}
BID = {"kind": OrderType.LIMIT, "limit_price": "700"}


async def test_orders_that_somebody_left_working_are_adopted_without_a_crash(tmp_path: Path) -> None:
    """Five of them while it runs: none is sent again, none is cancelled; a restart finds them as they were."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk:
        async with trading(tmp_path, account, desk) as trader:
            for number in range(5):
                await by_hand(desk, f"stranger{number}", Side.BUY, 1 + number, **BID)
            await until(lambda: len(trader.orders.working) == 5)
            before = len(trader.reads)
            await until(lambda: len(trader.reads) > before + 1)
            assert {held.state for held in trader.orders.working.values()} == {OrderState.ACCEPTED}
            assert trader.heard(OrderSent, OrderCancelRequested) == []
        async with trading(tmp_path, account, desk) as trader:
            await until(lambda: trader.reads)
            assert len(trader.orders.working) == 5
            assert len(desk.book) == 5
        assert set(at_the_exchange(desk).values()) == {"PENDING"}


async def test_an_adopted_order_is_followed_when_somebody_changes_and_cancels_it(tmp_path: Path) -> None:
    """Changed before the stage has begun to run, then taken off by hand."""
    async with opened() as desk:
        venue_id = await by_hand(desk, "stranger", Side.BUY, 5, **BID)
        trader = Trader(desk, tmp_path, Account(Decimal(1_000_000)))
        await trader.actor.recover()
        desk.server.exchange.modify(venue_id, OrderType.LIMIT, 8, None, None)
        await trader.actor.recover()
        running = asyncio.create_task(trader.actor.run())
        await until(lambda: not len(trader.actor.inbox) and trader.order(f"X{venue_id}").intent.quantity == 8)
        await desk.rest.cancel(venue_id)
        await until(lambda: running.done() or trader.order(f"X{venue_id}").state is OrderState.CANCELLED)
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        await trader.broker.close()


async def test_halt_takes_off_what_would_open_and_leaves_what_protects(tmp_path: Path) -> None:
    """Placed by hand over a long position: its stop stays, a bid and a second exit beyond the position don't."""
    async with trading(tmp_path) as trader:
        desk = trader.desk
        await by_hand(desk, "long", Side.BUY, 100)
        await by_hand(desk, "target", Side.SELL, 100, **TARGET)
        await by_hand(desk, "stop", Side.SELL, 100, **STOP)
        await by_hand(desk, "bid", Side.BUY, 5, **BID)
        await until(lambda: len(trader.orders.working) == 3 and trader.book.positions[SBIN] == 100)
        assert trader.heard(OrderCancelRequested) == []
        trader.bus.publish(Halt(ts=trader.clock.now_ns(), reason="enough"))
        await until(lambda: len(trader.orders.working) == 1)
        assert at_the_exchange(desk) == {
            "long": "FILLED", "target": "CANCELLED", "stop": "PENDING", "bid": "CANCELLED",
        }  # fmt: skip
        before = len(trader.reads)
        await until(lambda: len(trader.reads) > before + 1)
        assert at_the_exchange(desk)["stop"] == "PENDING"


async def test_who_takes_over_by_hand_after_a_halt_that_was_dated_ahead_is_let(tmp_path: Path) -> None:
    """A halt of an earlier process, whose clock was hours ahead, is of now at the latest."""
    async with trading(tmp_path) as trader:
        desk = trader.desk
        await by_hand(desk, "before", Side.BUY, 5, **BID)
        await until(lambda: trader.orders.working)
        trader.actor.cancel_entries("enough", trader.clock.now_ns() + 3 * 3600 * NS_PER_S)
        await until(lambda: not trader.orders.working)
        await asyncio.sleep(1.0)  # the exchange's stamps are whole seconds
        await by_hand(desk, "after", Side.BUY, 5, **BID)
        await until(lambda: trader.orders.working)
        before = len(trader.reads)
        await until(lambda: len(trader.reads) > before + 1)
        assert at_the_exchange(desk) == {"before": "CANCELLED", "after": "PENDING"}


@pytest.mark.parametrize("command", [Halt, Reduce])
async def test_a_stop_that_has_become_an_entry_is_taken_off(tmp_path: Path, command: type[Halt | Reduce]) -> None:
    """Its position is closed by something else while trading is halted; after `resume` such a stop may stay."""
    async with trading(tmp_path) as trader:
        desk = trader.desk
        await by_hand(desk, "long", Side.BUY, 10)
        await by_hand(desk, "stop", Side.SELL, 10, **STOP)
        await until(lambda: trader.orders.working and trader.book.positions[SBIN] == 10)
        trader.bus.publish(command(ts=1, reason="enough"))
        await by_hand(desk, "out", Side.SELL, 10)
        await until(lambda: not trader.orders.working)
        assert at_the_exchange(desk)["stop"] == "CANCELLED"
        trader.bus.publish(Resume(ts=2, reason="on"))
        await by_hand(desk, "again", Side.SELL, 10, **STOP)
        await until(lambda: trader.orders.working)
        before = len(trader.reads)
        await until(lambda: len(trader.reads) > before + 1)
        assert at_the_exchange(desk)["again"] == "PENDING"


async def test_a_stop_of_ours_that_no_journal_knows_goes_with_its_position(tmp_path: Path) -> None:
    """The disk forgot that we placed it: it stays while anything is held, in a new process, too; another's stays on."""
    account, ours = Account(Decimal(1_000_000)), f"{order_prefix(1767587402, bytes(3))}0000007"
    async with opened() as desk:
        await by_hand(desk, "long", Side.BUY, 10)
        await by_hand(desk, ours, Side.SELL, 10, **STOP)
        await by_hand(desk, "stop", Side.SELL, 10, kind=OrderType.SL_MARKET, stop_price="790")
        async with trading(tmp_path, account, desk) as trader:
            await by_hand(desk, "half", Side.SELL, 5)
            await until(lambda: trader.book.positions[SBIN] == 5)
            before = len(trader.reads)
            await until(lambda: len(trader.reads) > before + 1)
            assert trader.heard(OrderCancelRequested) == []
        async with trading(tmp_path, account, desk) as trader:
            await by_hand(desk, "out", Side.SELL, 5)
            await until(lambda: len(trader.orders.working) == 1)
            assert {name: at_the_exchange(desk)[name] for name in (ours, "stop")} == {
                ours: "CANCELLED",
                "stop": "PENDING",
            }


async def test_where_positions_differ_a_stop_is_judged_by_what_the_broker_holds(tmp_path: Path) -> None:
    """Held over from days that no journal tells of: halting must not bare it."""
    async with trading(tmp_path) as trader:
        desk = trader.desk
        await by_hand(desk, "long", Side.BUY, 10)
        await by_hand(desk, "stop", Side.SELL, 10, **STOP)
        await by_hand(desk, "bid", Side.BUY, 5, **BID)
        await until(lambda: len(trader.orders.working) == 2 and trader.book.positions[SBIN] == 10)
        trader.book.positions[SBIN] = 0
        await until(lambda: trader.heard(SymbolHalted))
        trader.bus.publish(Halt(ts=trader.clock.now_ns(), reason="enough"))
        await until(lambda: len(trader.orders.working) == 1)
        before = len(trader.reads)
        await until(lambda: len(trader.reads) > before + 1)
        assert at_the_exchange(desk) == {"long": "FILLED", "stop": "PENDING", "bid": "CANCELLED"}


async def test_an_exit_by_hand_is_judged_by_what_it_would_do_now(tmp_path: Path) -> None:
    """Approved as an exit; its position is gone, so the kill switch takes it off."""
    async with trading(tmp_path) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.send("T2", Side.SELL, type=OrderType.LIMIT, limit_price=Decimal("900"), reduces=True, strategy=MANUAL)
        await until(lambda: trader.order("T2").venue_id)
        trader.bus.publish(Halt(ts=trader.clock.now_ns(), reason="enough"))
        before = len(trader.reads)
        await until(lambda: len(trader.reads) > before + 1)
        assert trader.order("T2").state is OrderState.ACCEPTED
        await by_hand(trader.desk, "out", Side.SELL, 10)
        await until(lambda: trader.order("T2").state is OrderState.CANCELLED)


async def test_flatten_takes_off_the_orders_of_somebody_else_too(tmp_path: Path) -> None:
    """Flat is flat: a stop that stayed would open a position later."""
    async with trading(tmp_path) as trader:
        await by_hand(trader.desk, "long", Side.BUY, 10)
        await by_hand(trader.desk, "stop", Side.SELL, 10, **STOP)
        await until(lambda: trader.orders.working and trader.book.positions[SBIN] == 10)
        trader.bus.publish(Flatten(ts=1, reason="out"))
        await until(lambda: not trader.orders.working)
        assert at_the_exchange(trader.desk)["stop"] == "CANCELLED"


async def test_an_entry_that_was_approved_behind_a_halt_never_leaves(tmp_path: Path) -> None:
    """Risk had said yes before it heard of the halt; the exit beside it goes out."""
    async with trading(tmp_path) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.bus.publish(Halt(ts=trader.clock.now_ns(), reason="enough"))
        trader.send("T2")
        trader.send("T3", Side.SELL, reduces=True)
        await until(lambda: trader.order("T2").state.done and trader.order("T3").state.done)
        assert trader.order("T2").state is OrderState.CANCELLED
        assert list(at_the_exchange(trader.desk)) == ["T1", "T3"]


async def test_the_end_and_a_fault_leave_the_orders_of_somebody_else(tmp_path: Path) -> None:
    """Only what we placed is taken off."""
    async with trading(tmp_path) as trader:
        await by_hand(trader.desk, "bid", Side.BUY, 5, **BID)
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id and len(trader.orders.working) == 2)
        left = await abandon(trader.broker, trader.book, cancel=True)
        assert left is not None
        assert [line.split(" (")[0] for line in left] == [f"BUY 5 {SBIN}"]
        trader.send("T2", **LIMIT)
        await until(lambda: trader.order("T2").venue_id)
        trader.actor.cancel_ours("shutdown")
        await trader.actor.settled()
        assert at_the_exchange(trader.desk) == {"bid": "PENDING", "T1": "CANCELLED", "T2": "CANCELLED"}


async def test_a_cancellation_that_was_asked_for_is_asked_for_again_after_a_restart(tmp_path: Path) -> None:
    """The exchange refuses to cancel until the process is gone; what is left is named."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk:
        async with trading(tmp_path, account, desk) as trader:
            told: list[Event] = []
            trader.bus.tap(ORDER_EVENTS, told.append)
            trader.send("T1", **LIMIT)
            await until(lambda: trader.order("T1").venue_id)
            desk.trouble(FaultKind.BROKEN, Route.CANCEL, times=1000)
            trader.actor.cancel_ours("shutdown")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await trader.actor.settled()
            assert trader.actor.left() == [f"BUY 10 {SBIN} (T1)"]
        desk.server.plan.clear()
        later = Account(Decimal(1_000_000))
        later.fold(told)
        again = Account(Decimal(1_000_000))
        again.fold([later.snapshot(1)])
        async with trading(tmp_path, again, desk) as trader:
            await until(lambda: at_the_exchange(desk)["T1"] == "CANCELLED")
            await until(lambda: not trader.orders.working)
            assert trader.actor.left() == []
