"""Contracts from a tick to their end: an option on paper in a replay, and a future live on the sandbox."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    SETTLEMENT,
    Action,
    ContractClosing,
    Fill,
    Flatten,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderType,
    PositionChanged,
    Side,
)
from daemon.market.calendar import ist_clock
from daemon.recovery.account import recover
from daemon.run.verifying import verify_journal
from daemon.sandbox.exchange import Quote
from daemon.sandbox.faults import FaultKind, Route
from daemon.tape.format import TapeWriter
from tests.integration.test_live_app import START, app_of, running
from tests.own_classes import own, write_class
from tests.samples import MINUTE, OPEN, decide, journaled, play, ticks, write_tape
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import opened

OPTION = "NSE:NIFTY2610626000CE"
EXPIRY_OPEN = OPEN + 1440 * MINUTE
"""Of 2026-01-06."""
BUYER = """\
from strategies.own import buy, hold
class Buyer:
    def decide(self, seen):
        return hold("held") if seen.position else buy(65, "cheap")
"""
FUTURE, WEEKLY = "NSE:NIFTY26JANFUT", "NSE:NIFTY2611326000CE"


def test_an_option_on_paper_to_its_last_hour(tmp_path: Path) -> None:
    """It is bought in whole lots at its premium, closed at 14:30 of its last day, and not opened again."""
    write_class(tmp_path / "mine", BUYER, "mine")
    times = [EXPIRY_OPEN + 275 * MINUTE + number * 10 * NS_PER_S for number in range(360)]  # 13:50 to 14:50
    tape = write_tape(tmp_path / "t.parquet", times, [100.0 + number % 7 * 0.05 for number in range(360)], OPTION)
    journal = tmp_path / "j.sqlite"
    play(tape, *own(tmp_path / "mine", "mine:Buyer"), journal=journal)
    bought, sold = journaled(journal, Fill)
    (closing,) = journaled(journal, ContractClosing)
    assert (bought.side, bought.quantity, sold.side, sold.quantity) == (Side.BUY, 65, Side.SELL, 65)
    assert (closing.reason, ist_clock(closing.ts)) == ("it expires today", "14:30")
    exits = [intent for intent in journaled(journal, OrderIntent) if intent.reduces]
    assert [intent.reason for intent in exits] == ["it expires today"]
    assert ist_clock(sold.ts) == "14:30"
    denied = journaled(journal, OrderDenied)
    assert denied
    assert {denial.check for denial in denied} == {"expiry"}


def test_an_option_that_nobody_takes_is_settled_on_paper(tmp_path: Path) -> None:
    """From 14:25 of its last day nobody bids: at the close it is worth what the index says, less STT, and gone."""
    write_class(tmp_path / "mine", BUYER, "mine")
    half_minutes = [EXPIRY_OPEN + 275 * MINUTE + number * 30 * NS_PER_S for number in range(200)]  # 13:50 to 15:30
    late = EXPIRY_OPEN + 310 * MINUTE
    times = [ts for ts in half_minutes for _ in range(2)]
    prices = [price for _ in half_minutes for price in (100.0, 26120.0)]
    bids = [0.0 if ts >= late and row % 2 == 0 else float("nan") for row, ts in enumerate(times)]
    asks = [100.0 if ts >= late and row % 2 == 0 else float("nan") for row, ts in enumerate(times)]
    tape, journal = tmp_path / "t.parquet", tmp_path / "j.sqlite"
    with TapeWriter(tape) as writer:
        writer.write(
            ticks(times, prices, (OPTION, "NSE:NIFTY50-INDEX"), [0, 1] * len(half_minutes), bid=bids, ask=asks)
        )
    _, summary = play(
        tape, *own(tmp_path / "mine", "mine:Buyer"), f'feed.symbols=["{OPTION}"]', journal=journal,
    )  # fmt: skip
    bought, settled = journaled(journal, Fill)
    assert (bought.quantity, settled.quantity, settled.side) == (65, 65, Side.SELL)
    assert (settled.price, settled.costs, ist_clock(settled.ts)) == (Decimal("120.00"), Decimal("9.75"), "15:30")
    assert "NIFTY closed at 26120.00" in journaled(journal, ContractClosing)[-1].reason
    intents = {intent.order_id: intent for intent in journaled(journal, OrderIntent)}
    assert intents[settled.order_id].strategy == SETTLEMENT
    assert journaled(journal, PositionChanged)[-1].quantity == 0
    assert summary.trades == 1
    assert sum(summary.costs_by_kind.values()) == summary.costs
    assert "other" not in summary.costs_by_kind
    (note,) = (note for note in summary.notes if "settled" in note)
    assert note.startswith(f"{OPTION}: settled at expiry at 120.00: NIFTY closed at 26120.00")
    assert verify_journal(journal).decisions
    account = recover(journal, Decimal(1_000_000))
    assert account is not None
    assert (account.portfolio.quantity(OPTION), account.orders.working) == (0, {})


async def test_a_future_live_on_the_sandbox(tmp_path: Path) -> None:
    """The venue is asked for the margin: too much of it and the order never leaves, no answer and our own counts."""
    tape = tmp_path / "t.parquet"
    times = [START + tenth * NS_PER_S // 10 for tenth in range(3000)]
    with TapeWriter(tape, columns=()) as writer:
        writer.write(ticks(times, [804.0] * len(times), (FUTURE,), [0] * len(times)))
    async with opened() as desk:
        desk.server.exchange.on_quote(FUTURE, Quote(last=Decimal(804)))
        app = app_of(
            desk, tape, tmp_path, "A", "derivatives.future_margin_rate=0.01", "risk.max_gross_notional=100000000",
            'risk.limits={"NSE:NIFTY-FUT": {max_order_notional: 50000000, max_order_quantity: 10000, '
            "max_position_quantity: 10000}}",
            "market.freeze_quantities={NIFTY: 10000}",
        )  # fmt: skip
        cancelled: list[OrderCancelled] = []
        app.bus.tap((OrderCancelled,), cancelled.append)

        def want(lots: int) -> None:
            now = app.plan.clock.now_ns()
            app.bus.publish(decide(Action.BUY_LONG, 65 * lots, symbol=FUTURE, ts=now, price=804.0))

        async with running(app, FUTURE):
            want(1)
            await until(lambda: app.portfolio.portfolio.quantity(FUTURE) == 65)
            want(100)
            await until(lambda: cancelled)
            assert "the venue wants a margin of 1045200.00" in cancelled[0].reason
            assert len(desk.book) == 1
            desk.trouble(FaultKind.DROP, Route.MARGIN)
            want(2)
            await until(lambda: app.portfolio.portfolio.quantity(FUTURE) == 195)


async def test_the_stop_of_an_option_lies_at_the_exchange_with_a_limit(tmp_path: Path) -> None:
    """NSE takes no stop at market there: the position isn't closed for want of one, and the stop does its work."""
    tape = tmp_path / "t.parquet"
    times = [START + tenth * NS_PER_S // 10 for tenth in range(3000)]
    with TapeWriter(tape, columns=()) as writer:
        writer.write(ticks(times, [100.0] * len(times), (WEEKLY,), [0] * len(times)))
    async with opened() as desk:
        exchange = desk.server.exchange
        exchange.on_quote(WEEKLY, Quote(last=Decimal(100)))
        app = app_of(desk, tape, tmp_path, "A")
        async with running(app, WEEKLY):
            now = app.plan.clock.now_ns()
            app.bus.publish(
                decide(Action.BUY_LONG, 65, symbol=WEEKLY, ts=now, ts_bar=now, price=100.0, stop_price=90.0)
            )
            await until(lambda: len(desk.book) == 2)
            stop = desk.book[1]
            assert (stop.status.name, stop.wanted.type) == ("PENDING", OrderType.SL_LIMIT)
            assert (stop.wanted.stop_price, stop.wanted.limit_price) == (Decimal("90.00"), Decimal("89.55"))
            exchange.on_quote(WEEKLY, Quote(last=Decimal("89.90")))
            desk.server.publish()
            await until(lambda: app.portfolio.portfolio.quantity(WEEKLY) == 0)
            assert (exchange.ledger.net(WEEKLY), len(desk.book)) == (0, 2)


async def test_a_protected_exit_gets_out_where_the_last_price_is_not_what_is_bid(tmp_path: Path) -> None:
    """Half a per cent of a cheap option is less than its spread: the exit would rest for as long as nobody trades."""
    tape = tmp_path / "t.parquet"
    times = [START + tenth * NS_PER_S // 10 for tenth in range(3000)]
    with TapeWriter(tape, columns=()) as writer:
        writer.write(ticks(times, [5.0] * len(times), (WEEKLY,), [0] * len(times)))
    async with opened() as desk:
        exchange = desk.server.exchange
        exchange.on_quote(WEEKLY, Quote(last=Decimal(5)))
        app = app_of(desk, tape, tmp_path, "A", "broker.live.market_orders=protected")
        async with running(app, WEEKLY):
            now = app.plan.clock.now_ns()
            app.bus.publish(decide(Action.BUY_LONG, 65, symbol=WEEKLY, ts=now, ts_bar=now, price=5.0))
            await until(lambda: app.portfolio.portfolio.quantity(WEEKLY) == 65)
            exchange.on_quote(WEEKLY, Quote(last=Decimal(5), bid=Decimal("4.95"), ask=Decimal("5.05")))
            app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out"))
            await until(lambda: app.portfolio.portfolio.quantity(WEEKLY) == 0)
            assert [str(order.wanted.limit_price) for order in desk.book] == ["5.00", "5.00", "4.95"]
