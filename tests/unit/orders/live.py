"""A live execution stage against a sandbox in the same loop, with a journal if asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from daemon.brokers.choice import ADAPTERS
from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.outcome import Done
from daemon.core.bus import Bus
from daemon.core.clock import LiveClock
from daemon.core.events import (
    Event,
    Fill,
    FundsReported,
    Halt,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    Reconciled,
    Side,
    SymbolHalted,
    SymbolResumed,
)
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import Order, OrderBook
from daemon.orders.live_book import LiveBook
from daemon.orders.live_execution import LiveExecutionActor
from daemon.recovery.account import Account
from daemon.settings.market import MarketSettings
from daemon.settings.orders import BrokerSettings, ExecutionSettings
from tests.samples import intend
from tests.unit.sandbox.desk import TOKEN, WIDE, Desk, opened, order

SAID = (
    OrderSent, OrderAccepted, OrderRejected, OrderUnknown, OrderCancelRequested, OrderCancelFailed, OrderCancelled,
    OrderExpired, Fill, SymbolHalted, SymbolResumed, FundsReported, Halt, OrderIntent, OrderAmended,
)  # fmt: skip


INSTRUMENTS = InstrumentBook(MarketSettings())


def account_at(desk: Desk, directory: Path, **settings: Any) -> BrokerSettings:
    """Settings of the account on this sandbox, whatever it speaks, with short times."""
    token = directory / "token"
    if not token.exists():
        token.write_text(TOKEN)
    token.chmod(0o600)
    times = {"answer_s": 0.3, "reconcile_s": 0.4, "unknown_poll_s": 0.05, "unknown_settle_s": 0.6}
    places = desk.endpoints
    return BrokerSettings.model_validate(
        {
            "name": desk.server.speaks,
            "live": times | settings,
            "fyers": {
                "api_url": places.api, "data_url": places.data, "order_socket_url": places.orders, "token_file": token,
            },
            "openalgo": {
                "url": desk.server.url, "socket_url": desk.server.openalgo_socket_url, "key_file": token,
            },
        }
    )  # fmt: skip


class Trader:
    """An execution stage, what it said, and the exchange it trades on."""

    def __init__(self, desk: Desk, directory: Path, account: Account, **settings: Any) -> None:
        self.speaks = desk.server.speaks
        self.settings = account_at(desk, directory, **settings)
        self.desk = desk
        self.bus = Bus()
        self.clock = LiveClock()
        self.said: list[Event] = []
        self.reads: list[Reconciled] = []
        self.account = account
        self.bus.tap(SAID, self.said.append)
        self.bus.tap((Fill,), account.portfolio.apply)
        self.bus.tap((Reconciled,), self.reads.append)
        self.budget = RateBudget(self.clock, WIDE)
        self.broker = ADAPTERS[self.speaks].broker(
            self.settings, self.clock, self.budget, INSTRUMENTS, account.orders, real_ticks=False,
            on_date=None, bounds_of=None,
        )  # fmt: skip
        positions = account.portfolio.positions()
        held = {item.symbol: item.quantity for item in positions}
        self.book = LiveBook(
            account.orders, held, INSTRUMENTS, CostSchedule(), self.clock, self.settings.live,
            self.bus.publish, {item.symbol: item.opened_ts for item in positions},
        )  # fmt: skip
        self.actor = LiveExecutionActor(
            self.bus, self.book, self.broker, None, self.clock, ExecutionSettings(), self.settings.live
        )

    @property
    def orders(self) -> OrderBook:
        """The daemon's own book."""
        return self.book.orders

    def order(self, order_id: str) -> Order:
        """One of them; a blank one while its intent still waits in the inbox."""
        return self.orders.find(order_id) or Order(intent=intend(order_id))

    def send(self, order_id: str = "T1", side: Side = Side.BUY, quantity: int = 10, **changes: Any) -> OrderIntent:
        """Publish an approved intent, of now."""
        intent = intend(order_id, side, quantity, **({"ts": self.clock.now_ns()} | changes))
        self.bus.publish(intent)
        self.bus.publish(OrderApproved(ts=intent.ts, order_id=order_id))
        return intent

    def heard(self, *kinds: type[Event]) -> list[Any]:
        """What was said of these kinds."""
        return [event for event in self.said if isinstance(event, kinds)]

    def agrees(self) -> bool:
        """Whether positions, working orders and cash are the exchange's."""
        exchange = self.desk.server.exchange
        truth = {symbol: exchange.ledger.net(symbol) for symbol, _ in exchange.ledger.positions}
        ours = {item.symbol: item.quantity for item in self.account.portfolio.positions()}
        working = sorted(order.wanted.tag for order in exchange.orders.values() if order.status.name == "PENDING")
        mine = sorted(order_id for order_id in self.orders.working if not order_id.startswith("X"))
        theirs = [tag for tag in working if self.orders.find(tag) is not None]
        return truth == ours and mine == theirs and self.account.portfolio.cash == exchange.ledger.cash


@asynccontextmanager
async def trading(
    directory: Path, account: Account | None = None, desk: Desk | None = None, speaks: str = "fyers", **settings: Any
) -> AsyncIterator[Trader]:
    """A recovered, running execution stage; on the given exchange or on one of its own."""
    if desk is None:
        async with opened(speaks=speaks) as fresh, trading(directory, account, fresh, **settings) as trader:
            yield trader
        return
    trader = Trader(desk, directory, account or Account(Decimal(1_000_000)), **settings)
    await trader.actor.recover()
    running = asyncio.create_task(trader.actor.run())
    try:
        await until(lambda: desk.server.feed.connections > 0)
        yield trader
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await trader.broker.close()
        if not running.cancelled():
            running.result()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — no event is kept for every condition of a test
            await asyncio.sleep(0.005)


async def by_hand(desk: Desk, tag: str, side: Side, quantity: int, **changes: Any) -> str:
    """An order that somebody places in the broker's app; the exchange's id of it."""
    placed = await desk.rest.place(order(tag, side, quantity, **changes), Purpose.ORDINARY)
    assert isinstance(placed, Done)
    return placed.value.venue_id


def at_the_exchange(desk: Desk) -> dict[str, str]:
    """How the exchange's orders stand, by tag."""
    return {held.wanted.tag: held.status.name for held in desk.book}
