"""The whole daemon on a sandbox that speaks as OpenAlgo does: ticks over its WebSocket, an order, a fill, and a cut."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from decimal import Decimal
from pathlib import Path

from daemon.app import App
from daemon.core.clock import LiveClock
from daemon.core.events import Event, Fill, Halt, OrderApproved, Side, TickBatch, TradingState
from daemon.core.latency import MeasuredLatency
from daemon.plan import RunPlan
from tests.samples import intend, settings_of
from tests.unit.sandbox.desk import SBIN, TOKEN, Desk, opened, until


def app_on(desk: Desk, directory: Path, ticks: list[TickBatch]) -> App:
    """A daemon on this sandbox; `ticks` hears them as they come, before the filter, whatever the hour."""
    key = directory / "key"
    key.write_text(TOKEN)
    key.chmod(0o600)
    settings = settings_of(
        "broker.name=openalgo", f"broker.openalgo.url={desk.server.url}",
        f"broker.openalgo.socket_url={desk.server.openalgo_socket_url}", f"broker.openalgo.key_file={key}",
        f"broker.openalgo.calls_file={directory / 'calls'}", "broker.openalgo.calls_per_second=1000",
        "feed.source=openalgo", f"feed.symbols=[{SBIN}]", "feed.live.restart_first_s=0.05",
        "broker.live.reconcile_s=0.5", "strategy.name=rules", "supervisor.ladder=[rules, flat]",
        "market.symbol_master.use=never",
    )  # fmt: skip
    plan = RunPlan(
        tapes=[], symbols=[], clock=LiveClock(), latency=MeasuredLatency(), journal=directory / "j.sqlite",
        durable=False, restarts=True, order_prefix="H1L", recover=True, record=ticks.append,
    )  # fmt: skip
    return App(settings, plan)


@asynccontextmanager
async def trading_on(desk: Desk, directory: Path, halts: list[Halt] | None = None) -> AsyncIterator[App]:
    """It runs; `halts` hears what it is halted for."""
    ticks: list[TickBatch] = []
    app = app_on(desk, directory, ticks)
    if halts is not None:
        app.bus.tap((Halt,), halts.append)
    running = asyncio.create_task(app.run())
    try:
        await until(lambda: ticks)
        yield app
    finally:
        app.stop("the test is over")
        with suppress(asyncio.CancelledError):
            await running


def filled(journal: Path, copy: Path) -> set[str]:
    """A copy of a journal that is written meanwhile, and which orders have fills in it."""
    with closing(sqlite3.connect(journal)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
        return {name for (name,) in new.execute("SELECT body ->> 'order_id' FROM events WHERE type = 'Fill'")}


async def test_a_copy_from_the_middle_of_a_day_halts_where_the_book_has_more(tmp_path: Path) -> None:
    """Nothing tells whose the orders are that it lacks: a stop of ours among them would be somebody else's for good."""
    journal, copy, spare = tmp_path / "j.sqlite", tmp_path / "copy.sqlite", tmp_path / "spare.sqlite"
    async with opened(speaks="openalgo") as desk:
        async with trading_on(desk, tmp_path) as app:
            for order_id in ("T1", "T2"):
                intent = intend(order_id, Side.BUY, 10, ts=app.plan.clock.now_ns(), symbol=SBIN)
                app.bus.publish(intent)
                app.bus.publish(OrderApproved(ts=intent.ts, order_id=order_id))
                await until(lambda wanted=order_id: wanted in filled(journal, copy if wanted == "T1" else spare))
        async with trading_on(desk, tmp_path) as app:
            assert app.risk.book.state is TradingState.ACTIVE
        copy.replace(journal)
        halts: list[Halt] = []
        async with trading_on(desk, tmp_path, halts) as app:
            await until(lambda: halts)
            assert app.risk.book.state is TradingState.HALTED
            assert "of 1 orders in its book that the journal doesn't know" in halts[0].reason


async def test_ticks_orders_and_a_cut(tmp_path: Path) -> None:
    """Ticks reach the bus, an approved order fills there, and after a cut both streams are there again."""
    async with opened(speaks="openalgo") as desk:
        ticks: list[TickBatch] = []
        app = app_on(desk, tmp_path, ticks)
        fills: list[Event] = []
        app.bus.tap((Fill,), fills.append)
        running = asyncio.create_task(app.run())
        try:
            await until(lambda: ticks)
            assert ticks[0].ltp.tolist() == [820.5]
            await until(lambda: desk.server.feed.connections >= 2)
            intent = intend("T1", Side.BUY, 10, ts=app.plan.clock.now_ns(), symbol=SBIN)
            app.bus.publish(intent)
            app.bus.publish(OrderApproved(ts=intent.ts, order_id="T1"))
            await until(lambda: fills)
            assert desk.server.exchange.ledger.net(SBIN) == 10
            desk.server.feed.cut()
            seen = len(ticks)
            await until(lambda: desk.server.feed.connections >= 4 and len(ticks) > seen)
            desk.price("821", ask=Decimal("821"))
            await until(lambda: ticks[-1].ltp.tolist() == [821.0])
        finally:
            app.stop("the test is over")
            with suppress(asyncio.CancelledError):
                await running
