"""The account read again and again: what differs is named, and its money is ours to the paisa."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from daemon.calls.budget import Purpose
from daemon.core.events import (
    FundsReported,
    OrderIntent,
    PositionRestated,
    PriceAdjusted,
    Side,
    SymbolHalted,
    SymbolResumed,
)
from daemon.fyers.requests import Product
from daemon.orders.book import OrderState
from daemon.recovery.account import Account
from tests.unit.orders.live import by_hand, trading, until
from tests.unit.sandbox.desk import SBIN, opened, order

PURPOSE = Purpose.ORDINARY


async def test_a_position_that_differs_halts_the_symbol(tmp_path: Path) -> None:
    """The numbers are said; when both agree again it is resumed."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk, trading(tmp_path, account, desk) as trader:
        trader.book.positions[SBIN] = 5
        await until(lambda: trader.heard(SymbolHalted))
        assert trader.heard(SymbolHalted)[0].reason == "position: the broker holds 0, the journal 5"
        trader.book.positions[SBIN] = 0
        await until(lambda: trader.heard(SymbolResumed))


async def test_what_the_broker_makes_of_a_split_is_no_difference(tmp_path: Path) -> None:
    """Ten for one: of one share nothing is left there, and ours follows instead of being halted."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk, trading(tmp_path, account, desk) as trader:
        restated: list[PositionRestated] = []
        trader.bus.tap((PositionRestated,), restated.append)
        trader.book.positions[SBIN] = 1
        trader.bus.publish(
            PriceAdjusted(ts=trader.clock.now_ns(), symbol=SBIN, date="2026-01-06", kind="split", numerator=10,
                          denominator=1, shares=True, by_broker=True)
        )  # fmt: skip
        await until(lambda: restated)
        assert (trader.book.positions[SBIN], trader.heard(SymbolHalted)) == (0, [])


async def test_orders_under_another_product_are_nobodys(tmp_path: Path) -> None:
    """Neither adopted nor a difference: their position isn't among those that are compared."""
    async with trading(tmp_path) as trader:
        await trader.desk.rest.place(order("stranger", quantity=7, product=Product.CNC), PURPOSE)
        await until(lambda: len(trader.heard(FundsReported)) > 3)
        assert trader.desk.server.exchange.ledger.net(SBIN) == 7
        assert (trader.heard(OrderIntent), trader.heard(SymbolHalted)) == ([], [])


async def test_what_somebody_else_trades_is_no_cash_of_ours(tmp_path: Path) -> None:
    """Left alone, his position is neither a difference of positions nor one of money, but for what he paid."""
    async with trading(tmp_path, external_orders="ignore") as trader:
        trader.send("T1", quantity=10)
        await by_hand(trader.desk, "stranger", Side.BUY, 7)
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        seen = len(trader.heard(FundsReported))
        await until(lambda: len(trader.heard(FundsReported)) > seen + 2)
        told = trader.heard(FundsReported)[-1]
        assert trader.desk.server.exchange.ledger.net(SBIN) == 17
        assert trader.heard(SymbolHalted) == []
        assert abs(told.cash - trader.account.portfolio.cash) < 10


async def test_positions_and_funds_are_compared_however_busy_it_is(tmp_path: Path) -> None:
    """A stream of news must not put the comparison off for ever."""
    async with trading(tmp_path, reconcile_s=0.3) as trader:
        before = len(trader.heard(FundsReported))
        stop = asyncio.Event()

        async def hurry() -> None:
            while not stop.is_set():
                trader.actor._look.set()
                await asyncio.sleep(0.01)

        hurrying = asyncio.create_task(hurry())
        await until(lambda: len(trader.heard(FundsReported)) > before + 2)
        stop.set()
        await hurrying


async def test_the_brokers_cash_is_the_journals(tmp_path: Path) -> None:
    """With a position open, in the middle of a day: to the paisa; and not told while orders are on their way."""
    async with trading(tmp_path) as trader:
        trader.send("T1", quantity=10)
        trader.send("T2", Side.SELL, quantity=4)
        await until(lambda: trader.order("T2").state is OrderState.FILLED and trader.order("T1").remaining == 0)
        seen = len(trader.heard(FundsReported))
        await until(lambda: len(trader.heard(FundsReported)) > seen + 1)
        told = trader.heard(FundsReported)[-1]
        assert told.cash is not None
        assert abs(told.cash - trader.account.portfolio.cash) < Decimal("0.01")
        assert told.settled
