"""The live path on a venue's bad days: auctions, halts, square-off, self-trades, hands, lagging books, dead tokens."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.events import (
    Fill,
    FundsReported,
    Halt,
    OrderAmended,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderType,
    OrderUnknown,
    PositionRestated,
    PriceAdjusted,
    Resume,
    Side,
    SymbolHalted,
    TradingState,
    TradingStateChanged,
)
from daemon.fyers.answers import TOKEN_CODES
from daemon.orders.book import OrderState
from daemon.orders.token_keeper import TokenKeeper
from daemon.sandbox.exchange import SELF_TRADE, Status
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.hours import Phase
from daemon.settings.market import MarketSettings
from tests.unit.orders.live import Trader, opened, trading, until
from tests.unit.sandbox.desk import SBIN

LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal("700")}
OFFER = {"type": OrderType.LIMIT, "limit_price": Decimal("830")}


async def read_again(trader: Trader, times: int = 2) -> None:
    """Let the book be read so many times more."""
    before = len(trader.reads)
    await until(lambda: len(trader.reads) >= before + times)


async def bought(trader: Trader, order_id: str = "T1") -> None:
    """Hold ten."""
    trader.send(order_id)
    await until(lambda: trader.order(order_id).state is OrderState.FILLED)


async def test_an_auction_takes_the_order_and_fills_it_later(tmp_path: Path) -> None:
    """It works until the auction's one price; the rest of the path is as always."""
    async with trading(tmp_path) as trader:
        trader.desk.server.exchange.session(Phase.PRE_OPEN)
        trader.send()
        trader.send("T2", **LIMIT)
        await until(lambda: trader.order("T1").state is trader.order("T2").state is OrderState.ACCEPTED)
        trader.desk.price("815")
        assert not trader.heard(Fill)
        trader.desk.server.exchange.session(Phase.OPEN)
        trader.desk.server.publish()
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await until(trader.agrees)
        assert [fill.price for fill in trader.heard(Fill)] == [Decimal("815")]


@pytest.mark.parametrize(("phase", "words"), [(Phase.CLOSED, "Market is closed"), (Phase.HALTED, "trading is halted")])
async def test_what_the_market_takes_not_is_rejected_in_its_words(tmp_path: Path, phase: Phase, words: str) -> None:
    """What worked is cancelled or expired; when it trades again, so do we."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        trader.desk.server.exchange.session(phase)
        trader.desk.server.publish()
        await until(lambda: trader.order("T1").state.done)
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.REJECTED)
        (told,) = trader.heard(OrderRejected)
        assert (told.code, words in told.reason) == (-99, True)
        trader.desk.server.exchange.session(None)
        await bought(trader, "T3")
        await until(trader.agrees)


async def test_a_cancellation_in_a_pause_is_asked_for_until_it_is_taken(tmp_path: Path) -> None:
    """Between an auction and the open nothing can be cancelled."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        trader.desk.server.exchange.session(Phase.PAUSED)
        trader.bus.publish(Halt(ts=1, reason="enough"))
        await read_again(trader)
        assert not trader.order("T1").state.done
        trader.desk.server.exchange.session(None)
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        await until(trader.agrees)


async def test_bands_and_freeze_quantities_are_told(tmp_path: Path) -> None:
    """Each by one rejection that says the numbers."""
    market = MarketSettings(freeze_quantities={SBIN: 100})
    async with opened(market=market) as desk, trading(tmp_path, None, desk) as trader:
        desk.price("820.5", lower_band=Decimal(800), upper_band=Decimal(840))
        trader.send("T1", type=OrderType.LIMIT, limit_price=Decimal(841))
        trader.send("T2", quantity=101)
        await until(lambda: len(trader.heard(OrderRejected)) == 2)
        reasons = {it.order_id: it.reason for it in trader.heard(OrderRejected)}
        assert "outside the circuit limits of 800 to 840" in reasons["T1"]
        assert "exceeds the freeze quantity of 100" in reasons["T2"]
        desk.server.exchange.lock(SBIN, Side.BUY)
        trader.send("T3")
        await until(lambda: trader.order("T3").state is OrderState.ACCEPTED)
        desk.server.exchange.lock(SBIN, None)
        desk.price("835")
        await until(lambda: trader.order("T3").state is OrderState.FILLED)
        await until(trader.agrees)


async def test_the_brokers_square_off_is_adopted(tmp_path: Path) -> None:
    """Its order is somebody else's, its fill ours; what worked is cancelled; both end flat."""
    async with trading(tmp_path) as trader:
        await bought(trader)
        trader.send("T2", **LIMIT)
        trader.send("T3", Side.SELL, reduces=True, **OFFER)
        await until(lambda: trader.order("T2").venue_id and trader.order("T3").venue_id)
        trader.desk.server.exchange.square_off()
        trader.desk.server.publish()
        await until(lambda: trader.book.positions[SBIN] == 0)
        await until(lambda: not trader.orders.working)
        await until(trader.agrees)
        assert trader.desk.server.exchange.ledger.net(SBIN) == 0
        assert [it.strategy for it in trader.heard(OrderIntent) if it.order_id.startswith("X")] == ["external"]
        assert {it.order_id for it in trader.heard(OrderCancelled)} == {"T2", "T3"}
        trader.send("T4")
        await until(lambda: trader.order("T4").state is OrderState.REJECTED)


async def test_an_order_that_would_meet_our_own_is_cancelled(tmp_path: Path) -> None:
    """It is told as such, and nothing is filled."""
    async with trading(tmp_path) as trader:
        trader.desk.price("820", bid=Decimal(815), ask=Decimal(825))
        trader.send("T1", Side.SELL, type=OrderType.LIMIT, limit_price=Decimal(820))
        await until(lambda: trader.order("T1").venue_id)
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.CANCELLED)
        assert trader.heard(OrderCancelled)[0].reason == SELF_TRADE
        assert not trader.heard(Fill)
        await until(trader.agrees)


async def test_what_a_hand_makes_of_our_order_is_followed(tmp_path: Path) -> None:
    """Price, quantity, and a type, before and after a part was filled."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        exchange, venue_id = trader.desk.server.exchange, trader.order("T1").venue_id
        exchange.modify(venue_id, OrderType.LIMIT, None, Decimal(810), None)
        trader.desk.server.publish()
        await until(lambda: trader.order("T1").intent.limit_price == 810)
        trader.desk.price("809", ask_quantity=4)
        await until(lambda: trader.order("T1").filled == 4)
        exchange.modify(venue_id, OrderType.LIMIT, 25, Decimal(805), None)
        trader.desk.server.publish()
        await until(lambda: trader.order("T1").intent.limit_price == 805 and trader.order("T1").remaining == 21)
        exchange.modify(venue_id, OrderType.SL_LIMIT, 15, Decimal(831), Decimal(830))
        trader.desk.server.publish()
        await until(lambda: trader.order("T1").intent.stop_price == 830)
        changed = trader.order("T1").intent
        assert (changed.type, changed.limit_price, changed.quantity) == (OrderType.SL_LIMIT, 831, 15)
        assert [it.change for it in trader.heard(OrderAmended)] == [0, 15, -10]
        trader.desk.price("830")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await until(trader.agrees)


async def test_a_book_that_lags_after_a_reconnect_takes_nothing_back(tmp_path: Path) -> None:
    """Orders, trades and positions are those before the fills: nothing is reopened, doubled or cancelled."""
    async with trading(tmp_path) as trader:
        await bought(trader)
        trader.send("T2", **LIMIT)
        await until(lambda: trader.order("T2").venue_id)
        await trader.desk.admin("POST", "cut", {"stale_s": 1.5})
        await until(lambda: trader.desk.server.feed.connections > 1)
        trader.desk.price("699")
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        trader.send("T3", quantity=5)
        await until(lambda: trader.order("T3").state is OrderState.FILLED)
        await until(lambda: trader.desk.server.exchange.past.held is None)
        await read_again(trader, 4)
        await until(trader.agrees)
        await until(lambda: not trader.book.halted)
        assert len(trader.heard(Fill)) == 3
        assert trader.heard(OrderCancelled, OrderRejected, OrderUnknown) == []


async def test_an_order_in_silence_on_a_lagging_book_is_not_written_off_for_good(tmp_path: Path) -> None:
    """Unknown, and the book shows it late: in the end it is what the venue says, once."""
    async with trading(tmp_path) as trader:
        await bought(trader)
        trader.desk.server.exchange.past.hold(1.5)
        trader.desk.trouble(FaultKind.LOSE, Route.PUSH, times=4)
        trader.desk.trouble(FaultKind.DROP, after=True)
        trader.send("T2")
        await until(lambda: trader.desk.server.exchange.past.held is None)
        await until(trader.agrees)
        assert trader.order("T2").filled == 10
        assert len([it for it in trader.desk.book if it.wanted.tag == "T2"]) == 1


async def test_old_pushes_that_come_again_change_nothing(tmp_path: Path) -> None:
    """Working, of an order that is filled or cancelled by now; trades that are booked."""
    async with trading(tmp_path) as trader:
        trader.desk.trouble(FaultKind.ECHO, Route.PUSH, times=100, quantity=9)
        trader.desk.trouble(FaultKind.PARTIAL, quantity=3)
        trader.send("T1")
        await until(lambda: trader.order("T1").filled == 3)
        trader.desk.price("821")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.send("T2", **LIMIT)
        await until(lambda: trader.order("T2").venue_id)
        trader.desk.server.exchange.cancel(trader.order("T2").venue_id)
        trader.desk.server.publish()
        await until(lambda: trader.order("T2").state is OrderState.CANCELLED)
        await read_again(trader)
        await until(trader.agrees)
        assert [fill.quantity for fill in trader.heard(Fill)] == [3, 7]
        assert trader.heard(SymbolHalted) == []


async def test_a_split_at_the_venue_is_followed_overnight(tmp_path: Path) -> None:
    """Ours is the broker's number, the money too; the symbol is not halted."""
    async with trading(tmp_path) as trader:
        await bought(trader)
        restated: list[PositionRestated] = []
        trader.bus.tap((PositionRestated,), restated.append)
        trader.bus.publish(
            PriceAdjusted(
                ts=trader.clock.now_ns(), symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5,
                shares=True, by_broker=True,
            )
        )  # fmt: skip
        trader.desk.server.exchange.corporate_action(SBIN, 1, 5)
        trader.desk.server.publish()
        await until(lambda: restated)
        seen = len(trader.heard(FundsReported))
        await until(lambda: len(trader.heard(FundsReported)) > seen + 1)
        ledger = trader.desk.server.exchange.ledger
        assert trader.book.positions[SBIN] == ledger.net(SBIN) == 50
        assert trader.heard(SymbolHalted) == []
        assert abs(trader.heard(FundsReported)[-1].cash - ledger.cash) < Decimal("0.01")


def keeper_of(trader: Trader) -> TokenKeeper:
    """Who watches the token, and risk's answer to him: the trading state."""
    broker = trader.broker
    keeper = TokenKeeper(
        trader.bus, broker.access, trader.clock, trader.clock, 0.0, 0.02, lambda: broker.refusal
    )  # fmt: skip
    keeper.listeners.append(broker.authorize)

    def answer(event: Halt | Resume) -> None:
        state = TradingState.HALTED if isinstance(event, Halt) else TradingState.ACTIVE
        trader.bus.publish(TradingStateChanged(ts=event.ts, state=state, reason=event.reason))

    trader.bus.tap((Halt, Resume), answer)
    return keeper


CALLS = (Route.PLACE, Route.CANCEL, Route.ORDERS, Route.TRADES, Route.POSITIONS, Route.FUNDS, Route.PUSH)


@pytest.mark.parametrize(
    ("route", "code"), [*((route, -16) for route in CALLS), *((Route.ORDERS, code) for code in sorted(TOKEN_CODES))]
)
async def test_a_token_that_dies_at_any_call(tmp_path: Path, route: Route, code: int) -> None:
    """Entries stop with one line, nothing is lost or doubled; with a new token the same process goes on."""
    async with trading(tmp_path) as trader:
        broker, keeper = trader.broker, keeper_of(trader)
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        trader.desk.trouble(FaultKind.EXPIRE_TOKEN, route, code=code)
        trader.send("T2")
        if route is Route.CANCEL:
            trader.actor.cancel_ours("not that one")
        await until(lambda: broker.refusal)
        keeper.look()
        (halt,) = trader.heard(Halt)
        assert halt.reason.startswith("the Fyers token was refused by the venue (")
        assert "\n" not in halt.reason
        (tmp_path / "token").write_text("another-token")
        await trader.desk.admin("POST", "token", {"authorization": f"{trader.settings.fyers.app_id}:another-token"})
        keeper.look()
        await until(lambda: not broker.refusal)
        keeper.look()
        await until(lambda: trader.order("T2").state.done)
        await bought(trader, "T3")
        await until(trader.agrees)
        sent = [it.wanted.tag for it in trader.desk.book]
        assert len(sent) == len(set(sent))
        filled = [it for it in trader.desk.book if it.status is Status.FILLED]
        assert len(trader.heard(Fill)) == len(filled)
