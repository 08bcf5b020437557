"""The whole daemon on the sandbox, in one loop: it trades, stops in order, and starts again where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App, RunPlan
from daemon.clock import NS_PER_S, PacedClock
from daemon.errors import UsageError
from daemon.events import (
    Action,
    Event,
    Fill,
    Flatten,
    Halt,
    OrderCancelled,
    OrderRejected,
    OrderUnknown,
    SymbolHalted,
    TradingState,
)
from daemon.journal import JournalReader
from daemon.latency import MeasuredLatency
from daemon.sandbox.faults import FaultKind
from daemon.view import DaemonView
from tests.samples import OPEN, SBIN, decide, journaled, settings_of, write_tape
from tests.unit.live import until
from tests.unit.sandbox.desk import TOKEN, Desk, opened

START = OPEN + 1800 * NS_PER_S


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of one price, ten ticks a second."""
    times = [START + tenth * NS_PER_S // 10 for tenth in range(6000)]
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", times, [820.5] * len(times))


def app_of(desk: Desk, tape: Path, directory: Path, prefix: str, *overrides: str) -> App:
    """A daemon on this sandbox."""
    token, places = directory / "token", desk.endpoints
    token.write_text(TOKEN)
    settings = settings_of(
        "strategy.name=rules", "strategy.interval=5m", "broker.name=fyers", f"broker.fyers.api_url={places.api}",
        f"broker.fyers.data_url={places.data}", f"broker.fyers.order_socket_url={places.orders}",
        f"broker.fyers.token_file={token}", "broker.fyers.answer_s=0.3", "broker.fyers.unknown_poll_s=0.1",
        "broker.fyers.unknown_settle_s=0.6", "broker.fyers.reconcile_s=1", *overrides,
    )  # fmt: skip
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=PacedClock(1.0), latency=MeasuredLatency(),
        journal=directory / "j.sqlite", durable=True, restarts=True, order_prefix=prefix, recover=True,
    )  # fmt: skip
    return App(settings, plan)


@asynccontextmanager
async def running(app: App, symbol: str = SBIN) -> AsyncIterator[App]:
    """From the symbol's first price until the block ends, then stopped in order."""
    task = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(30):
            await until(lambda: app.risk.book.of(symbol).last_price or task.done())
            yield app
    finally:
        app.stop("enough")
        await task


def want(app: App, action: Action, quantity: int = 10) -> None:
    """A decision, as a strategy would make it now."""
    app.bus.publish(decide(action, quantity, ts=app.plan.clock.now_ns(), price=820.5))


async def test_it_trades_stops_and_starts_again(tape: Path, tmp_path: Path) -> None:
    """A position, a resting entry that the stop cancels, and a second life that holds what the exchange holds."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            want(app, Action.BUY_LONG)
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10)
        ledger = desk.server.exchange.ledger
        async with running(
            app_of(desk, tape, tmp_path, "B", "execution.order_type=LIMIT", "execution.limit_offset_bp=0")
        ) as app:
            view = DaemonView(app, "test")
            desk.price("821")
            want(app, Action.BUY_LONG, 7)
            await until(lambda: [order.state.value for order in app.orders.working.values()] == ["ACCEPTED"])
            assert [row.state for row in view.orders()] == ["ACCEPTED"]
            assert view.status().working_orders == 1
        assert [order.status.name for order in desk.book] == ["FILLED", "CANCELLED"]
        assert journaled(tmp_path / "j.sqlite", OrderCancelled)[-1].reason == "shutdown"
        third = app_of(desk, tape, tmp_path, "C")
        assert third.portfolio.portfolio.quantity(SBIN) == ledger.net(SBIN) == 10
        assert third.portfolio.portfolio.cash == ledger.cash
        third.close()


async def test_flatten_ends_flat_on_the_exchange_whatever_happens(tape: Path, tmp_path: Path) -> None:
    """The first exit is refused, the second answered by nobody: it keeps at it, and doubles nothing."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        want(app, Action.BUY_LONG)
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10)
        desk.trouble(FaultKind.REJECT)
        desk.trouble(FaultKind.DROP, after=True)
        app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
        await until(lambda: desk.server.exchange.ledger.net(SBIN) == 0)
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0 and not app.orders.working)
        assert app.risk.book.state is TradingState.REDUCING
        assert [trade.quantity for trade in desk.server.exchange.ledger.trades] == [10, 10]


async def test_an_unknown_order_blocks_its_symbol_and_is_seen(tape: Path, tmp_path: Path) -> None:
    """The next entry is denied while the fate is unknown; health and order list say so; then it trades again."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        view = DaemonView(app, "test")
        desk.trouble(FaultKind.DROP)
        want(app, Action.BUY_LONG)
        await until(lambda: app.risk.book.unknown)
        assert view.orders()[0].state == "UNKNOWN"
        assert any("unknown" in reason for reason in view.health().reasons)
        want(app, Action.BUY_LONG, 11)
        await until(lambda: view.status().denied)
        assert view.status().denied == {"unknown_order": 1}
        await until(lambda: not app.risk.book.unknown)
        want(app, Action.BUY_LONG, 12)
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 12)


async def test_a_difference_of_positions_stops_the_symbol(tape: Path, tmp_path: Path) -> None:
    """Traded elsewhere and ignored by the tradebook: said, and no new risk in it."""
    seen: list[Event] = []
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A")
        app.bus.tap((SymbolHalted, OrderUnknown, OrderRejected, Fill, Halt), seen.append)
        async with running(app):
            want(app, Action.BUY_LONG)
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10)
            app.execution.book.positions[SBIN] = 4  # type: ignore[union-attr]
            await until(lambda: app.risk.book.halted)
            assert app.risk.book.halted == {SBIN: "position: the broker holds 10, the journal 4"}
            assert DaemonView(app, "test").health().healthy is False


async def test_a_refused_token_ends_the_start_with_one_line(tape: Path, tmp_path: Path) -> None:
    """Nothing was traded, and the journal is whole."""
    async with opened() as desk:
        await desk.admin("POST", "token", {})
        with pytest.raises(UsageError, match=r"broker\.fyers: the token was refused"):
            await app_of(desk, tape, tmp_path, "A").run()
    JournalReader(tmp_path / "j.sqlite").close()


async def test_a_start_that_waits_for_the_broker_can_be_stopped(tape: Path, tmp_path: Path) -> None:
    """The exchange is away: the daemon waits, and ends when it is told to."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A")
        await desk.server.stop()
        task = asyncio.create_task(app.run())
        await asyncio.sleep(0.3)
        assert not task.done()
        app.stop("enough")
        async with asyncio.timeout(20):
            await task
        assert app.account.portfolio.cash == Decimal(1_000_000)
