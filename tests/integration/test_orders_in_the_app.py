"""Orders that somebody places in the broker's own app, beside the daemon: followed, and never taken for ours."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.errors import Fault
from daemon.core.events import (
    Action,
    ActorRestarted,
    CancelOrder,
    Event,
    Flatten,
    Halt,
    OrderCancelRequested,
    OrderType,
    Reduce,
    Side,
    TimeAdvanced,
    TradingState,
)
from daemon.run.view import DaemonView
from daemon.sandbox.exchange import Order, Wanted
from daemon.sandbox.faults import FaultKind, Route
from tests.integration.test_live_app import app_of, hand, journaled, running, tape, want
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import SBIN, Desk, opened

__all__ = ["tape"]


def place(desk: Desk, side: Side, quantity: int, **prices: str) -> Order:
    """Place an order in the app: at a limit, or as a stop."""
    exact = {name: Decimal(price) for name, price in prices.items()}
    kind = OrderType.SL_MARKET if "stop_price" in prices else OrderType.LIMIT
    placed = desk.server.exchange.place(
        Wanted(tag="", symbol=SBIN, side=side, type=kind, quantity=quantity, **exact)
    )  # fmt: skip
    assert isinstance(placed, Order)
    desk.server.publish()
    return placed


def knows(app: App, *orders: Order) -> bool:
    """Whether the daemon follows them."""
    return all(f"X{order.order_id}" in app.orders.working for order in orders)


def restarts(directory: Path) -> int:
    """How often a stage crashed."""
    return len(journaled(directory / "j.sqlite", ActorRestarted))


async def bought(app: App, quantity: int = 10) -> None:
    """Hold so many."""
    want(app, Action.BUY_LONG, quantity)
    await until(lambda: app.portfolio.portfolio.quantity(SBIN) == quantity)


async def settle(app: App) -> None:
    """Let the daemon read the book once more, and act on it."""
    seen = app.bus.pending
    app.execution._look.set()  # type: ignore[union-attr]
    await asyncio.sleep(0.6)
    assert app.bus.pending <= seen + 10


async def test_an_order_in_the_app_is_followed_and_crashes_nothing(tape: Path, tmp_path: Path) -> None:
    """Working when the daemon starts and while it runs, changed, filled, over a restart: no stage is restarted."""
    async with opened() as desk:
        early = place(desk, Side.BUY, 5, limit_price="810")
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            late = place(desk, Side.SELL, 5, limit_price="900")
            await until(lambda: knows(app, early, late))
            desk.server.exchange.modify(early.order_id, OrderType.LIMIT, 8, None, None)
            desk.server.publish()
            await until(lambda: app.orders.working[f"X{early.order_id}"].intent.quantity == 8)
            desk.price("809")
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 8)
            assert app.orders.working.keys() == {f"X{late.order_id}"}
        assert restarts(tmp_path) == 0
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            assert knows(app, late)
            shown = {row.order_id for row in DaemonView(app, "test").orders()}
            assert shown == {f"X{early.order_id}", f"X{late.order_id}"}  # what was filled today, too
            assert app.orders.working.keys() == {f"X{late.order_id}"}
        assert restarts(tmp_path) == 0
        assert late.status.name == "PENDING"


async def test_a_lost_journal_takes_working_orders_in(tape: Path, tmp_path: Path) -> None:
    """All that works at the broker is somebody else's to a fresh journal, and stays."""
    async with opened() as desk:
        orders = [place(desk, Side.BUY, 1, limit_price=price) for price in ("800", "801", "802", "803", "804")]
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            await until(lambda: knows(app, *orders))
        assert restarts(tmp_path) == 0
        assert {order.status.name for order in orders} == {"PENDING"}


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_the_broker_does_not_hold_is_not_closed(tape: Path, tmp_path: Path, *, restarted: bool) -> None:
    """Somebody converted the position to be delivered: `flatten` opens no short one beside it, and goes on asking."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            await bought(app)
            if not restarted:
                convert(desk)
                await flattened_in_vain(app)
        if restarted:
            convert(desk)
            async with running(app_of(desk, tape, tmp_path, "B")) as app:
                await flattened_in_vain(app)
        assert [item.net for item in desk.server.exchange.ledger.positions.values()] == [10]


def convert(desk: Desk) -> None:
    """The position is another product's from here on."""
    ledger = desk.server.exchange.ledger
    (held,) = ledger.positions.values()
    held.product = "CNC"
    ledger.positions = {(SBIN, "CNC"): held}


async def flattened_in_vain(app: App) -> None:
    """Flatten what the broker doesn't hold."""
    await until(lambda: app.risk.book.halted)
    app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
    await settle(app)
    assert (app.portfolio.portfolio.quantity(SBIN), app.risk.closing.flatten_reason) == (10, "out")


@pytest.mark.parametrize("command", [Halt, Reduce])
async def test_a_protective_stop_survives_a_kill_switch(tape: Path, tmp_path: Path, command: type[Event]) -> None:
    """Entries go, of whoever; the stop stays until what it protects is gone, and then it must not open a position."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        await bought(app)
        stop, entry = place(desk, Side.SELL, 10, stop_price="780"), place(desk, Side.BUY, 3, limit_price="700")
        await until(lambda: knows(app, stop, entry))
        app.bus.publish(command(ts=app.plan.clock.now_ns(), reason="enough"))
        await until(lambda: entry.status.name == "CANCELLED")
        await settle(app)
        assert stop.status.name == "PENDING"
        desk.server.exchange.place(
            Wanted(tag="", symbol=SBIN, side=Side.SELL, type=OrderType.MARKET, quantity=10)
        )  # fmt: skip
        desk.server.publish()
        await until(lambda: stop.status.name == "CANCELLED")
        await until(lambda: not app.orders.working)
        assert desk.server.exchange.ledger.net(SBIN) == 0


async def test_a_stop_larger_than_the_position_is_an_entry(tape: Path, tmp_path: Path) -> None:
    """It would close what is held and open the rest."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        await bought(app)
        stop = place(desk, Side.SELL, 15, stop_price="780")
        await until(lambda: knows(app, stop))
        app.bus.publish(Halt(ts=app.plan.clock.now_ns(), reason="enough"))
        await until(lambda: stop.status.name == "CANCELLED")


async def test_who_trades_by_hand_while_the_daemon_is_halted_is_left_alone(tape: Path, tmp_path: Path) -> None:
    """An entry placed in the app after the halt is its owner's affair, over a restart too."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            app.bus.publish(Halt(ts=app.plan.clock.now_ns(), reason="enough"))
            await until(lambda: app.risk.book.state is TradingState.HALTED)
            entry = place(desk, Side.BUY, 3, limit_price="700")
            await until(lambda: knows(app, entry))
            await settle(app)
            assert entry.status.name == "PENDING"
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            assert app.risk.book.state is TradingState.HALTED
            await settle(app)
            assert entry.status.name == "PENDING"


async def test_a_halt_of_the_daemons_own_leaves_the_app_alone(tape: Path, tmp_path: Path) -> None:
    """A token that ended or a full disk is no reason to take off what a person placed; ours is, over a restart too."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A", "execution.cancel_on_shutdown=false")) as app:
            theirs = place(desk, Side.BUY, 3, limit_price="700")
            await until(lambda: knows(app, theirs))
            await app.desk.place(hand("k1", 5, price="810"))
            await until(lambda: len(app.orders.working) == 2)
            app.bus.publish(Halt(ts=app.plan.clock.now_ns(), reason="the disk is full", automatic=True))
            await until(lambda: app.orders.working.keys() == {f"X{theirs.order_id}"})
            await settle(app)
            assert theirs.status.name == "PENDING"
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            assert app.risk.book.state is TradingState.HALTED
            await settle(app)
            assert theirs.status.name == "PENDING"


async def test_flatten_takes_everything_off(tape: Path, tmp_path: Path) -> None:
    """A stop that were left would open a position from nothing."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        await bought(app)
        stop = place(desk, Side.SELL, 10, stop_price="780")
        await until(lambda: knows(app, stop))
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: stop.status.name == "CANCELLED" and desk.server.exchange.ledger.net(SBIN) == 0)


async def test_what_is_bought_in_the_app_after_a_flatten_is_left_alone_by_the_next_start(
    tape: Path, tmp_path: Path
) -> None:
    """The flattening was over: neither the shares nor the stop below them are taken off by a restart."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            await bought(app)
            app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0 and not app.risk.closing.flatten_reason)
            place(desk, Side.BUY, 7, limit_price="825")
            stop = place(desk, Side.SELL, 7, stop_price="780")
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 7 and knows(app, stop))
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            assert app.risk.book.state is TradingState.REDUCING
            app.bus.publish(TimeAdvanced(ts=app.plan.clock.now_ns()))
            await settle(app)
            assert knows(app, stop)
        assert (stop.status.name, desk.server.exchange.ledger.net(SBIN)) == ("PENDING", 7)


async def test_a_stop_in_order_and_a_fault_leave_the_app_alone(tape: Path, tmp_path: Path) -> None:
    """Ours is taken off, theirs stays: at SIGTERM, and when a stage crashes too often."""
    async with opened() as desk:
        theirs = place(desk, Side.BUY, 5, limit_price="700")
        for number, prefix in enumerate("AB"):
            app = app_of(desk, tape, tmp_path, prefix, "supervisor.max_restarts=0")
            task = asyncio.create_task(app.run())
            await until(lambda app=app: app.desk.open and app.risk.book.of(SBIN).last_price and knows(app, theirs))
            answer = await app.desk.place(hand(f"k{number}", 5 + number, price="810"))
            assert answer.approved, answer
            await until(
                lambda app=app: len(app.orders.working) == 2 and all(o.venue_id for o in app.orders.working.values())
            )
            if number:
                app.bus.publish(TimeAdvanced(ts=None))  # type: ignore[arg-type]
            else:
                app.stop("enough")
            with pytest.raises(Fault) if number else contextlib.nullcontext():
                await task
            ours = [order for order in desk.book if order is not theirs]
            assert [order.status.name for order in ours] == ["CANCELLED"] * (number + 1)
            assert theirs.status.name == "PENDING"


async def test_a_stop_whose_cancellations_fail_says_so_and_they_are_asked_for_again(tape: Path, tmp_path: Path) -> None:
    """The end is a fault that names the order; the next start takes it off."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A")
        app.drain_s = 0.5
        task = asyncio.create_task(app.run())
        await until(lambda: app.desk.open and app.risk.book.of(SBIN).last_price)
        await app.desk.place(hand("k1", 5, price="810"))
        await until(lambda: app.orders.working and next(iter(app.orders.working.values())).venue_id)
        desk.trouble(FaultKind.BROKEN, Route.CANCEL, times=1000)
        app.stop("enough")
        with pytest.raises(Fault, match=rf"left at the broker: BUY 5 {SBIN} \(A.*\); the next start asks"):
            await task
        assert [order.status.name for order in desk.book] == ["PENDING"]
        desk.server.plan.clear()
        async with running(app_of(desk, tape, tmp_path, "B")) as again:
            await until(lambda: desk.book[0].status.name == "CANCELLED")
            await until(lambda: not again.orders.working)


async def test_a_cancellation_that_could_not_even_be_asked_for_is_remembered(tape: Path, tmp_path: Path) -> None:
    """Its order was unknown when the daemon was told, and to the end: the next one takes it off."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", "execution.cancel_on_shutdown=false", "broker.live.unknown_settle_s=60")
        app.drain_s = 0.3
        task = asyncio.create_task(app.run())
        await until(lambda: app.desk.open and app.risk.book.of(SBIN).last_price)
        desk.trouble(FaultKind.DROP, after=True)
        desk.trouble(FaultKind.BROKEN, Route.ORDERS, times=1000)
        desk.trouble(FaultKind.LOSE, Route.PUSH, times=1000)
        await app.desk.place(hand("k1", 5, price="810"))
        await until(lambda: any(order.state.value == "UNKNOWN" for order in app.orders.working.values()))
        (order_id,) = app.orders.working
        app.bus.publish(CancelOrder(ts=app.plan.clock.now_ns(), order_id=order_id, reason="not that one"))
        app.stop("enough")
        with pytest.raises(Fault, match="left at the broker"):
            await task
        assert journaled(tmp_path / "j.sqlite", OrderCancelRequested) == []
        desk.server.plan.clear()
        async with running(app_of(desk, tape, tmp_path, "B", "execution.cancel_on_shutdown=false")) as again:
            await until(lambda: desk.book[0].status.name == "CANCELLED")
            await until(lambda: not again.orders.working)
