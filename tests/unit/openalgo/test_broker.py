"""What the OpenAlgo account does beyond what every account does: whose money, and whose word for an end."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon.calls.budget import RateBudget
from daemon.calls.outcome import Done, NotSent
from daemon.core.clock import LiveClock
from daemon.core.errors import SettingsError
from daemon.core.events import OrderAmended, OrderType, Side
from daemon.market.instruments import InstrumentBook
from daemon.openalgo.broker import OpenAlgoBroker
from daemon.openalgo.findings import mode_finding, openalgo_findings
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.venue import OrderStatus
from daemon.sandbox.faults import FaultKind
from daemon.sandbox.orders import Quote, Wanted
from daemon.settings.market import MarketSettings
from tests.samples import intend, settings_of
from tests.unit.market.masters import master_of
from tests.unit.orders.live import INSTRUMENTS, account_at, trading, until
from tests.unit.sandbox.desk import SBIN, WIDE, Desk, opened


def broker_at(desk: Desk, directory: Path, *, real_ticks: bool = False, **settings: Any) -> OpenAlgoBroker:
    """The account on this sandbox."""
    clock = LiveClock()
    return OpenAlgoBroker(
        account_at(desk, directory, **settings), clock, RateBudget(clock, WIDE), INSTRUMENTS, OrderBook(),
        real_ticks=real_ticks,
    )  # fmt: skip


@pytest.mark.parametrize(("real_money", "real_ticks"), [(False, False), (True, False), (False, True)])
async def test_without_both_no_order_leaves_to_a_server_that_trades(
    tmp_path: Path, *, real_money: bool, real_ticks: bool
) -> None:
    """A server on this machine may trade with money: only its own word that it pretends lets an order out."""
    async with opened(speaks="openalgo") as desk:
        broker = broker_at(desk, tmp_path, real_ticks=real_ticks, real_money=real_money)
        assert isinstance(await broker.submit(intend("T1")), Done)
        desk.server.openalgo.analyze = False
        outcome = await broker.submit(intend("T2"))
        assert isinstance(outcome, NotSent)
        assert "not in analyze mode" in outcome.reason
        assert len(desk.book) == 1
        await broker.close()


async def test_with_both_it_leaves(tmp_path: Path) -> None:
    """And nobody asks for the mode."""
    async with opened(speaks="openalgo") as desk:
        desk.server.openalgo.analyze = False
        broker = broker_at(desk, tmp_path, real_ticks=True, real_money=True)
        calls = desk.server.meter.total
        assert isinstance(await broker.submit(intend("T1")), Done)
        assert desk.server.meter.total == calls + 1
        await broker.close()


async def test_an_order_that_cost_money_after_all_is_taken_back(tmp_path: Path) -> None:
    """The mode was switched between the question and the order, which the answer doesn't call a pretended one."""
    async with opened(speaks="openalgo") as desk:
        broker = broker_at(desk, tmp_path, answer_s=5.0)
        desk.trouble(FaultKind.DELAY, seconds=0.2)
        sending = asyncio.ensure_future(
            broker.submit(intend("T1", type=OrderType.LIMIT, limit_price=Decimal("700")))
        )  # fmt: skip
        await until(lambda: desk.server.plan.suffered[FaultKind.DELAY.value])
        desk.server.openalgo.analyze = False
        assert isinstance(await sending, Done)
        assert [order.status.name for order in desk.book] == ["CANCELLED"]
        desk.server.openalgo.analyze = True
        assert isinstance(await broker.submit(intend("T2", type=OrderType.LIMIT, limit_price=Decimal("700"))), Done)
        assert desk.book[-1].status.name == "PENDING"
        await broker.close()


async def test_an_end_is_believed_at_the_second_reading(tmp_path: Path) -> None:
    """A broker's adapter may tell another order's state for one on its way; what it filled is its trades' sum."""
    async with opened(speaks="openalgo") as desk:
        broker = broker_at(desk, tmp_path)
        desk.price("820.5", ask=Decimal("820.5"), ask_quantity=4)
        wanted = Wanted(tag="", symbol=SBIN, side=Side.BUY, type=OrderType.LIMIT, quantity=10,
                        limit_price=Decimal("820.5"))  # fmt: skip
        placed = desk.server.exchange.place(wanted)
        desk.server.exchange.cancel(placed.order_id)
        seen = []
        for _ in range(2):
            outcome = await broker.orders(urgent=False)
            assert isinstance(outcome, Done)
            seen.append((outcome.value[0].status, outcome.value[0].filled))
        assert seen == [(OrderStatus.OTHER, 0), (OrderStatus.CANCELLED, 4)]
        await broker.close()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("market_orders", ["market", "protected"])
async def test_a_price_that_is_the_mean_of_fills_is_no_change_and_no_other_order(
    tmp_path: Path, market_orders: str, *, lost: bool
) -> None:
    """Adapters of some brokers show it where the limit was: ours is found by it, and nobody has changed it."""
    async with trading(tmp_path, speaks="openalgo", market_orders=market_orders) as trader:
        trader.desk.server.openalgo.shows_means = True
        if lost:
            trader.desk.trouble(FaultKind.DROP, after=True, times=2)
        trader.desk.price("820", ask=Decimal("820"), ask_quantity=1000)
        trader.send("T1", reference_price=Decimal("820.5"))
        trader.send("T2", quantity=3, type=OrderType.LIMIT, limit_price=Decimal("821"))
        await until(lambda: {trader.order(it).state for it in ("T1", "T2")} == {OrderState.FILLED})
        trader.desk.price("820", ask=Decimal("820"), ask_quantity=4)
        if lost:
            trader.desk.trouble(FaultKind.DROP, after=True)
        trader.send("T3", type=OrderType.LIMIT, limit_price=Decimal("820.5"))
        await until(lambda: trader.order("T3").filled == 4)
        reads = len(trader.reads)
        await until(lambda: len(trader.reads) > reads + 2)
        assert not trader.heard(OrderAmended)
        assert trader.order("T3").intent.limit_price == Decimal("820.5")
        assert trader.agrees()


async def test_a_contract_whose_end_nobody_tells_has_no_name_there(tmp_path: Path) -> None:
    """So nothing is sent."""
    async with opened(speaks="openalgo") as desk:
        broker = broker_at(desk, tmp_path)
        outcome = await broker.submit(intend("T1", symbol="NSE:USDINR26JANFUT"))
        assert isinstance(outcome, NotSent)
        assert "NSE:USDINR26JANFUT" in outcome.reason
        await broker.close()


async def test_a_future_of_the_symbol_master_is_traded(tmp_path: Path) -> None:
    """OpenAlgo knows it by its day of expiry; order, trade and position come back under our name."""
    future, clock, book = "NSE:NIFTY26JANFUT", LiveClock(), OrderBook()
    async with opened(speaks="openalgo") as desk:
        desk.server.exchange.on_quote(future, Quote(last=Decimal(25000), ask=Decimal(25001), ask_quantity=650))
        broker = OpenAlgoBroker(
            account_at(desk, tmp_path, answer_s=5.0), clock, RateBudget(clock, WIDE),
            InstrumentBook(MarketSettings(), master=master_of()), book,
        )  # fmt: skip
        outcome = await broker.submit(intend("T1", Side.BUY, 65, symbol=future))
        assert isinstance(outcome, Done)
        assert desk.book[-1].wanted.symbol == future
        told = [await broker.orders(urgent=False), await broker.trades(urgent=False), await broker.positions()]
        assert [[row.symbol for row in it.value] for it in told if isinstance(it, Done)] == [[future]] * 3
        await broker.close()


async def test_a_key_for_its_owner_alone(tmp_path: Path) -> None:
    """Others must not read it, and it travels encrypted."""
    async with opened(speaks="openalgo") as desk:
        settings = account_at(desk, tmp_path)
        clock = LiveClock()
        settings.openalgo.key_file.chmod(0o644)
        with pytest.raises(SettingsError, match=r"broker\.openalgo\.key_file: others may read"):
            OpenAlgoBroker(settings, clock, RateBudget(clock), INSTRUMENTS, OrderBook())
        settings.openalgo.key_file.chmod(0o600)
        away = settings.openalgo.model_copy(update={"url": "http://algo.example"})
        settings = settings.model_copy(update={"openalgo": away})
        with pytest.raises(SettingsError, match=r"broker\.openalgo\.url: expected https"):
            OpenAlgoBroker(settings, clock, RateBudget(clock), INSTRUMENTS, OrderBook())


async def test_findings(tmp_path: Path) -> None:
    """The mode, the money and the key; a server that trades, though we may not, is no ground to stand on."""
    async with opened(speaks="openalgo") as desk:
        account = account_at(desk, tmp_path)
        calls = account.openalgo.model_copy(update={"calls_file": tmp_path / "calls"})
        settings = settings_of().model_copy(update={"broker": account.model_copy(update={"openalgo": calls})})
        found = await openalgo_findings(settings, {}, LiveClock())
        assert [(it.name, it.state.value) for it in found] == [("key", "ok"), ("mode", "ok"), ("funds", "ok")]
        calls.key_file.write_text("another")
        found = await openalgo_findings(settings, {}, LiveClock())
        assert [(it.name, it.state.value) for it in found] == [("key", "fail")]
        assert "log in to the broker in OpenAlgo" in found[0].do
        await desk.server.stop()
        found = await openalgo_findings(settings, {}, LiveClock())
        assert [(it.name, it.state.value) for it in found] == [("server", "fail")]
    assert [mode_finding(analyzing=a, real_money=r).state.value for a in (True, False) for r in (True, False)] == [
        "warn", "ok", "ok", "fail",
    ]  # fmt: skip
