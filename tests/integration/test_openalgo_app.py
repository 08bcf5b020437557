"""The whole daemon on a sandbox that speaks as OpenAlgo does: ticks over its WebSocket, an order, a fill, and a cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from daemon.app import App
from daemon.core.clock import LiveClock
from daemon.core.events import Event, Fill, OrderApproved, Side, TickBatch
from daemon.core.latency import MeasuredLatency
from daemon.plan import RunPlan
from tests.samples import intend, settings_of
from tests.unit.sandbox.desk import SBIN, TOKEN, opened, until


async def test_ticks_orders_and_a_cut(tmp_path: Path) -> None:
    """Ticks reach the bus, an approved order fills there, and after a cut both streams are there again."""
    async with opened(speaks="openalgo") as desk:
        key = tmp_path / "key"
        key.write_text(TOKEN)
        key.chmod(0o600)
        settings = settings_of(
            "broker.name=openalgo", f"broker.openalgo.url={desk.server.url}",
            f"broker.openalgo.socket_url={desk.server.openalgo_socket_url}", f"broker.openalgo.key_file={key}",
            f"broker.openalgo.calls_file={tmp_path / 'calls'}", "broker.openalgo.calls_per_second=1000",
            "feed.source=openalgo", f"feed.symbols=[{SBIN}]", "feed.live.restart_first_s=0.05",
            "broker.live.reconcile_s=0.5", "strategy.name=rules", "supervisor.ladder=[rules, flat]",
            "market.symbol_master.use=never",
        )  # fmt: skip
        ticks: list[TickBatch] = []  # as they came, before the filter, whatever the hour
        plan = RunPlan(
            tapes=[], symbols=[], clock=LiveClock(), latency=MeasuredLatency(), journal=tmp_path / "j.sqlite",
            durable=False, restarts=True, order_prefix="H1L", recover=True,
            record=ticks.append,
        )  # fmt: skip
        app = App(settings, plan)
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
