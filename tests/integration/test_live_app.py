"""The whole daemon on the sandbox, in one loop: it trades, stops in order, and starts again where it was."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App
from daemon.calls.budget import Purpose
from daemon.control.view import HandSide, HandType, NotTradingError, OrderTicket
from daemon.core.clock import NS_PER_S, PacedClock
from daemon.core.errors import Fault, UsageError
from daemon.core.events import (
    Action,
    ActorRestarted,
    BrokerStatus,
    CancelOrder,
    Event,
    Fill,
    Flatten,
    FundsDiffer,
    Halt,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderType,
    OrderUnknown,
    Reduce,
    Side,
    SymbolHalted,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import MeasuredLatency
from daemon.journal.writer import Journal
from daemon.plan import RunPlan
from daemon.recovery.account import recover
from daemon.run.view import DaemonView
from daemon.sandbox.faults import FaultKind, Route
from daemon.settings.market import MarketSettings
from tests.samples import OPEN, SBIN, decide, journaled, settings_of, write_tape
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import TOKEN, Desk, opened, order

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
        f"broker.fyers.token_file={token}", f"broker.fyers.calls_file={directory / 'calls'}",
        "broker.live.answer_s=0.3", "broker.live.unknown_poll_s=0.1",
        "broker.live.unknown_settle_s=0.6", "broker.live.reconcile_s=1",
        "supervisor.triggers.flaps_per_hour=1000", *overrides,
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
            assert [row.state for row in view.orders()] == ["ACCEPTED", "FILLED"]
            assert view.status().working_orders == 1
        assert [order.status.name for order in desk.book] == ["FILLED", "CANCELLED"]
        assert journaled(tmp_path / "j.sqlite", OrderCancelled)[-1].reason == "shutdown"
        third = app_of(desk, tape, tmp_path, "C")
        assert third.portfolio.portfolio.quantity(SBIN) == ledger.net(SBIN) == 10
        assert third.portfolio.portfolio.cash == ledger.cash
        third.close()


async def test_an_account_has_one_daemon(tape: Path, tmp_path: Path) -> None:
    """Neither another journal nor other files make two of it; when the first has ended the next one may start."""
    async with opened() as desk:
        (tmp_path / "elsewhere").mkdir()
        async with running(app_of(desk, tape, tmp_path, "A")):
            with pytest.raises(UsageError, match=r"account SANDBOX-100 at localhost:\d+: another hrmd trades on it"):
                app_of(desk, tape, tmp_path / "elsewhere", "B")
            assert not (tmp_path / "elsewhere" / "j.sqlite").exists()
        app_of(desk, tape, tmp_path / "elsewhere", "C").close()


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


async def test_nothing_is_opened_on_a_broker_that_can_not_be_read(tape: Path, tmp_path: Path) -> None:
    """Book, positions and funds answer 502: it is said, health is bad, entries wait, exits leave; then it goes on."""
    async with opened() as desk, running(app_of(desk, tape, tmp_path, "A")) as app:
        view = DaemonView(app, "test")
        want(app, Action.BUY_LONG)
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10)
        for route in (Route.ORDERS, Route.TRADES, Route.POSITIONS, Route.FUNDS):
            desk.trouble(FaultKind.BROKEN, route, times=100_000)
        await until(lambda: app.risk.book.unread)
        (reason,) = view.health().reasons
        assert re.fullmatch(r"the broker's [a-z ]+ have not been read for \d+ s \(HTTP 502: expected JSON\)", reason)
        want(app, Action.BUY_LONG, 7)
        await until(lambda: view.orders()[0].state == "DENIED")
        assert "broker_unread" in view.orders()[0].reason
        want(app, Action.CLOSE_LONG, 10)
        await until(lambda: desk.server.exchange.ledger.net(SBIN) == 0)
        desk.server.plan.clear()
        await until(lambda: not app.risk.book.unread)
        assert view.health().healthy
        want(app, Action.BUY_LONG, 5)
        await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 5)
    assert [told.readable for told in journaled(tmp_path / "j.sqlite", BrokerStatus)] == [False, True]


async def test_a_start_waits_for_a_broker_that_can_not_be_read(tape: Path, tmp_path: Path) -> None:
    """Positions alone are enough to wait for; meanwhile health says why, and nothing trades."""
    async with opened() as desk:
        desk.trouble(FaultKind.BROKEN, Route.POSITIONS, times=100_000)
        app = app_of(desk, tape, tmp_path, "A")
        view, task = DaemonView(app, "test"), asyncio.create_task(app.run())
        await until(lambda: "the broker's positions have not been read yet (HTTP 502: expected JSON)" in
                    view.health().reasons)  # fmt: skip
        assert not app.desk.open
        desk.server.plan.clear()
        await until(lambda: app.desk.open)
        assert not any("the broker's" in reason for reason in view.health().reasons)
        app.stop("enough")
        await task


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


def hand(key: str, quantity: int, side: HandSide = HandSide.BUY, price: str | None = None) -> OrderTicket:
    """An order by hand."""
    kind = HandType.MARKET if price is None else HandType.LIMIT
    return OrderTicket(key=key, symbol=SBIN, side=side, quantity=quantity, type=kind, price=price)


async def test_an_order_by_hand_is_placed_once_over_restarts(tape: Path, tmp_path: Path) -> None:
    """Through gate and journal to the exchange; repeated now and after a restart it is the same order."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", "execution.cancel_on_shutdown=false")
        with pytest.raises(NotTradingError):
            await app.desk.place(hand("early", 1))
        async with running(app):
            first = await app.desk.place(hand("k1", 5, price="810"))
            assert (first.approved, first.repeated) == (True, False)
            assert (await app.desk.place(hand("k1", 5, price="810"))).order_id == first.order_id
            denied = await app.desk.place(hand("k2", 1_000_000))
            assert (denied.approved, denied.check) == (False, "order_quantity")
            await until(lambda: desk.book and desk.book[0].status.name == "PENDING")
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            again = await app.desk.place(hand("k1", 5, price="810"))
            assert (again.order_id, again.repeated) == (first.order_id, True)
            assert (await app.desk.place(hand("k2", 1_000_000))).repeated
            assert await app.desk.cancel(first.order_id, "mistaken", "asha") is not None
            await until(lambda: desk.book[0].status.name == "CANCELLED")
        assert [order.wanted.tag for order in desk.book] == [first.order_id]


async def test_snapshots_of_a_running_daemon_are_what_its_journal_tells(tape: Path, tmp_path: Path) -> None:
    """Taken while it trades; a restart from the newest finds what a reading of everything finds."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", "journal.snapshot_every=100", "risk.duplicate_window_s=0",
                     "risk.max_orders_per_second=1000")  # fmt: skip
        async with running(app):
            for number in range(60):
                want(app, Action.BUY_LONG if number % 3 else Action.SELL_SHORT, 1 + number % 5)
                if number % 5 == 0:
                    await asyncio.sleep(0.02)
            await until(lambda: app.keeper is not None and app.keeper.snapshots >= 2)
            await until(lambda: not app.orders.working)
        path = tmp_path / "j.sqlite"
        short, cash = recover(path, Decimal(1_000_000)), desk.server.exchange.ledger.cash
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("DELETE FROM events WHERE type = 'AccountSnapshot'")
            db.commit()
        whole = recover(path, Decimal(1_000_000))
        assert short is not None
        assert whole is not None
        assert short.records < whole.records
        assert short.snapshot(1).orders == whole.snapshot(1).orders
        assert short.portfolio.holdings() == whole.portfolio.holdings()
        assert short.portfolio.cash == whole.portfolio.cash == cash


async def test_a_fault_takes_entries_off_before_the_process_ends(tape: Path, tmp_path: Path) -> None:
    """A stage crashes too often: the resting entry is cancelled at the exchange, and the next start agrees."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", "supervisor.max_restarts=0")
        task = asyncio.create_task(app.run())
        await until(lambda: app.desk.open and app.risk.book.of(SBIN).last_price)
        await app.desk.place(hand("k1", 5, price="810"))
        await until(lambda: desk.book and app.orders.working and next(iter(app.orders.working.values())).venue_id)
        app.bus.publish(TimeAdvanced(ts=None))  # type: ignore[arg-type]
        with pytest.raises(Fault, match="crashed"):
            await task
        assert [order.status.name for order in desk.book] == ["CANCELLED"]
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            assert app.orders.working == {}


async def test_a_kill_switch_takes_entries_off_after_a_restart_too(tape: Path, tmp_path: Path) -> None:
    """Reducing, and killed before the cancellation was out: the next process asks for it."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", "execution.cancel_on_shutdown=false")
        async with running(app):
            await app.desk.place(hand("k1", 5, price="810"))
            await until(lambda: desk.book and app.orders.working and next(iter(app.orders.working.values())).venue_id)
        journal = Journal(tmp_path / "j.sqlite", safe=True)
        journal.describe({"started_ts": "1"})
        journal.append(Reduce(ts=OPEN, reason="enough"))
        journal.append(TradingStateChanged(ts=OPEN, state=TradingState.REDUCING, reason="enough"))
        journal.close()
        async with running(app_of(desk, tape, tmp_path, "B", "execution.cancel_on_shutdown=false")) as app:
            await until(lambda: desk.book[0].status.name == "CANCELLED")
            assert app.risk.book.state is TradingState.REDUCING
            await until(lambda: not app.orders.working)


async def test_orders_in_the_brokers_app_are_adopted_and_outlive_the_daemon(tape: Path, tmp_path: Path) -> None:
    """Before it starts, while it runs and over a restart with half a journal: no crash, and the end leaves them."""
    async with opened() as desk:

        async def bid(number: int) -> None:
            wanted = order(f"hand{number}", Side.BUY, 1 + number, OrderType.LIMIT, limit_price="700")
            await desk.rest.place(wanted, Purpose.ORDINARY)

        for number in range(3):
            await bid(number)
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            await bid(3)
            await until(lambda: len(app.orders.working) == 4)
            assert sum(row.strategy == "external" for row in DaemonView(app, "test").orders()) == 4
            await until(lambda: app.risk.book.of(SBIN).working_buys == 1 + 2 + 3 + 4)
        with contextlib.closing(sqlite3.connect(tmp_path / "j.sqlite")) as db:
            first = "SELECT MIN(seq) FROM events WHERE type = 'OrderIntent'"
            db.execute(f"DELETE FROM events WHERE seq > ({first})")
            db.commit()
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            await until(lambda: [it.state.value for it in app.orders.working.values()] == ["ACCEPTED"] * 4)
            await until(lambda: app.risk.book.of(SBIN).working_buys == 1 + 2 + 3 + 4)
        assert journaled(tmp_path / "j.sqlite", ActorRestarted) == []
        assert {held.status.name for held in desk.book} == {"PENDING"}


async def test_an_end_whose_cancellations_fail_is_a_fault_and_the_next_start_asks_again(
    tape: Path, tmp_path: Path
) -> None:
    """The line names the order; the next process takes it off, and shows it until then."""
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A")
        app.drain_s = 0.5
        task = asyncio.create_task(app.run())
        await until(lambda: app.desk.open and app.risk.book.of(SBIN).last_price)
        await app.desk.place(hand("k1", 5, price="810"))
        await until(lambda: [it.state.value for it in app.orders.working.values()] == ["ACCEPTED"])
        desk.trouble(FaultKind.BROKEN, Route.CANCEL, times=1000)
        app.stop("enough")
        with pytest.raises(Fault, match=rf"left at the broker: BUY 5 {SBIN} \(A.*\); the next start asks"):
            await task
        assert desk.book[0].status.name == "PENDING"
        desk.server.plan.clear()
        app = app_of(desk, tape, tmp_path, "B")
        rows = DaemonView(app, "test").orders()
        assert [(row.quantity, row.filled, row.strategy) for row in rows] == [(5, 0, "manual")]
        async with running(app):
            await until(lambda: desk.book[0].status.name == "CANCELLED")
            await until(lambda: not app.orders.working)
            assert app.risk.book.state is TradingState.ACTIVE


async def test_a_cancellation_that_was_answered_is_done_after_a_restart_too(tape: Path, tmp_path: Path) -> None:
    """On disk, and killed before it was out: the next process takes the order off, and leaves the other one."""
    keep = "execution.cancel_on_shutdown=false"
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A", keep)
        async with running(app):
            answers = [await app.desk.place(hand(key, size, price="810")) for key, size in (("k1", 5), ("k2", 6))]
            await until(lambda: [order.venue_id != "" for order in app.orders.working.values()] == [True, True])
        journal = Journal(tmp_path / "j.sqlite", safe=True)
        journal.describe({"started_ts": "1"})
        journal.append(CancelOrder(ts=OPEN, order_id=answers[0].order_id, reason="mistaken"))
        journal.close()
        async with running(app_of(desk, tape, tmp_path, "B", keep)) as app:
            await until(lambda: list(app.orders.working) == [answers[1].order_id])
        found = {order.wanted.tag: order.status.name for order in desk.book}
        assert found == {answers[0].order_id: "CANCELLED", answers[1].order_id: "PENDING"}


async def test_money_that_went_elsewhere_is_seen_at_the_start(tape: Path, tmp_path: Path) -> None:
    """The broker's cash is not what the journal has: told, unhealthy, and by setting halted."""
    async with opened(starting_cash=Decimal(900_000)) as desk:
        async with running(app_of(desk, tape, tmp_path, "A", "broker.live.funds_difference=halt")) as app:
            await until(lambda: app.risk.book.state is TradingState.HALTED)
            assert "the broker's cash and the journal's differ" in DaemonView(app, "test").health().reasons
        told = journaled(tmp_path / "j.sqlite", FundsDiffer)
        assert [(event.broker, event.journal) for event in told] == [(Decimal(900_000), Decimal(1_000_000))]


@pytest.mark.parametrize("known", [True, False])
async def test_a_position_above_the_freeze_quantity_is_flattened(tape: Path, tmp_path: Path, known: bool) -> None:
    """The kill switch closes it in several orders, none above the exchange's limit, also where only that knows it."""
    limits = {SBIN: 100}
    own = (f"market.freeze_quantities={{'{SBIN}': 100}}",) if known else ()
    async with opened(market=MarketSettings(freeze_quantities=limits)) as desk:
        async with running(app_of(desk, tape, tmp_path, "A", *own)) as app:
            for quantity, held in ((100, 100), (90, 190), (80, 270)):
                want(app, Action.BUY_LONG, quantity)
                await until(lambda held=held: app.portfolio.portfolio.quantity(SBIN) == held)
            app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0 and not app.orders.working)
            assert app.risk.book.state is TradingState.REDUCING
        sold = [trade for trade in desk.server.exchange.ledger.trades if trade.side is Side.SELL]
        assert sum(trade.quantity for trade in sold) == 270
        assert all(trade.quantity <= 100 for trade in sold)
        exits = [intent for intent in journaled(tmp_path / "j.sqlite", OrderIntent) if intent.reduces]
        assert {intent.reason for intent in exits} == {"out"}
        refused = [order.wanted.quantity for order in desk.book if order.status.name == "REJECTED"]
        assert refused == ([] if known else [270, 135, 135])
