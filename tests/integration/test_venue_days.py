"""The whole daemon on a venue's bad days: it ends where the venue does, opens nothing meanwhile, and says so."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.events import Action, Flatten, OrderIntent, OrderRejected, OrderType, Side, TradingState
from daemon.sandbox.exchange import Order, Status, Wanted
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.hours import Phase
from tests.integration.test_live_app import app_of, journaled, running, tape, want
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import SBIN, Desk, opened

__all__ = ["tape"]
SPREAD = {"bid": Decimal(815), "ask": Decimal(825)}


async def held(app: App, quantity: int) -> None:
    """Until the daemon holds so many, and nothing works."""
    await until(lambda: app.portfolio.portfolio.quantity(SBIN) == quantity and not app.orders.working)


def truth(desk: Desk) -> int:
    """What the exchange holds."""
    return desk.server.exchange.ledger.net(SBIN)


async def rest_inside(desk: Desk, app: App) -> Order:
    """A bid of our account above the market's: whoever sells meets it first."""
    desk.price("820", **SPREAD)
    bid = desk.server.exchange.place(
        Wanted(tag="", symbol=SBIN, side=Side.BUY, type=OrderType.LIMIT, quantity=5, limit_price=Decimal(820))
    )
    assert isinstance(bid, Order)
    desk.server.publish()
    await until(lambda: f"X{bid.order_id}" in app.orders.working)
    return bid


async def test_the_broker_squares_off_beside_our_exit(tape: Path, tmp_path: Path) -> None:
    """Ours is on its way when the broker closes: it is refused, and nothing is reversed or tried again."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await held(app, 10)
        desk.trouble(FaultKind.DELAY, seconds=0.2)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: desk.server.plan.queued == 0)
        desk.server.exchange.square_off()
        desk.server.publish()
        await held(app, 0)
        await until(lambda: app.risk.closing.flatten_reason == "")
        assert truth(desk) == 0
        assert len(desk.server.exchange.ledger.trades) == 2
        assert len([order for order in desk.book if order.wanted.side is Side.SELL]) == 2
        (refused,) = journaled(tmp_path / "j.sqlite", OrderRejected)
        assert "square-off" in refused.reason


async def test_a_square_off_that_comes_on_top_of_our_exit_is_undone(tape: Path, tmp_path: Path) -> None:
    """The broker sold what we had sold already: what is held then is closed, once."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await held(app, 10)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: truth(desk) == 0)
        desk.server.exchange.place(Wanted(tag="", symbol=SBIN, side=Side.SELL, type=OrderType.MARKET, quantity=10))
        desk.server.publish()
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == -10)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: len(desk.server.exchange.ledger.trades) == 4)
        await held(app, 0)
        assert truth(desk) == 0


async def test_a_square_off_ends_the_day_for_entries(tape: Path, tmp_path: Path) -> None:
    """Nothing of ours: the position is closed by the broker; an entry afterwards is refused, and no position comes."""
    async with (
        opened() as desk,
        running(app_of(desk, tape, tmp_path, "A", "execution.order_type=LIMIT", "execution.limit_offset_bp=0")) as app,
    ):
        want(app, Action.BUY_LONG)
        await held(app, 10)
        desk.price("821")
        want(app, Action.BUY_LONG, 7)
        await until(lambda: any(it.venue_id for it in app.orders.working.values()))
        desk.server.exchange.square_off()
        desk.server.publish()
        await held(app, 0)
        want(app, Action.BUY_LONG, 3)
        await until(lambda: len(desk.book) == 4)
        await held(app, 0)
        assert (truth(desk), desk.book[-1].status) == (0, Status.REJECTED)
    intents = journaled(tmp_path / "j.sqlite", OrderIntent)
    assert [it.side for it in intents if it.strategy == "external"] == [Side.SELL]


async def test_an_exit_that_the_exchange_cancels_again_and_again_waits_longer(tape: Path, tmp_path: Path) -> None:
    """Our own order can't be cancelled, so each exit would meet it: a few tries, not one a tick."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await held(app, 10)
        await rest_inside(desk, app)
        desk.trouble(FaultKind.BROKEN, Route.CANCEL, times=1000)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        exits = [0]
        async with asyncio.timeout(10):
            while exits[-1] < 3:
                await asyncio.sleep(0.1)
                exits.append(sum(it.wanted.side is Side.SELL for it in desk.book))
        assert exits[-1] <= 4
        assert len(exits) > 10
        desk.server.plan.clear()
        await until(lambda: truth(desk) == 0)
        await held(app, 0)


@pytest.mark.parametrize("command", ["flatten", "close"])
async def test_an_exit_that_meets_our_own_entry_gets_out_all_the_same(tape: Path, tmp_path: Path, command: str) -> None:
    """The exchange cancels the exit to prevent a self-trade; a cancelled exit is still wanted."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await held(app, 10)
        bid = await rest_inside(desk, app)
        if command == "flatten":
            app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        else:
            want(app, Action.CLOSE_LONG)
            await until(lambda: any(it.status is Status.CANCELLED for it in desk.book))
            desk.server.exchange.cancel(bid.order_id)
            desk.server.publish()
        await until(lambda: truth(desk) == 0)
        await held(app, 0)
        assert len(desk.book) <= 6


async def test_a_halted_market_holds_an_exit_up_and_nothing_else(tape: Path, tmp_path: Path) -> None:
    """Refused while it lasts, at ever longer intervals; out at the price at which the market opens again."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await held(app, 10)
        desk.server.exchange.session(Phase.HALTED)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: any("halted" in it.message for it in desk.book))
        desk.server.exchange.session(Phase.PRE_OPEN)
        await until(lambda: any(it.status is Status.PENDING for it in desk.book))
        assert truth(desk) == 10
        desk.price("790")
        desk.server.exchange.session(Phase.OPEN)
        desk.server.publish()
        await held(app, 0)
        assert [str(trade.price) for trade in desk.server.exchange.ledger.trades] == ["820.5", "790"]
        assert len(desk.book) <= 4
        assert app.risk.book.state is TradingState.REDUCING
