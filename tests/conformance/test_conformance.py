"""What live execution relies on in every adapter: the same troubles, the same truth at the end, whoever the broker is.

Each test trades on a sandbox that speaks as the broker does. At the end our positions, working orders and cash are the
exchange's, and no order is there twice.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from daemon.brokers.adapter import Ability
from daemon.brokers.choice import ADAPTERS
from daemon.calls.budget import Limit, RateBudget, RateLimits
from daemon.calls.outcome import Done, NotSent, Rejected, Unknown
from daemon.calls.secret import Secret
from daemon.core.clock import LiveClock
from daemon.core.events import (
    Fill,
    Halt,
    OrderAccepted,
    OrderAmended,
    OrderRejected,
    OrderType,
    OrderUnknown,
    Side,
)
from daemon.market.calendar import ist_date
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.venue import OrderStatus
from daemon.recovery.account import Account
from daemon.sandbox.exchange import Quote
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.messages import doubled_tags
from daemon.sandbox.orders import Wanted
from daemon.tape.format import TapeWriter
from tests.samples import MINUTE, OPEN, intend, ticks
from tests.unit.orders.live import INSTRUMENTS, Trader, account_at, trading, until
from tests.unit.sandbox.desk import SBIN, WIDE, Desk, opened

CONTRACTS = ["NSE:NIFTY26JANFUT", "NSE:NIFTY26JAN26000CE", "NSE:NIFTY2610626000PE"]
RESTING = {"type": OrderType.LIMIT, "limit_price": Decimal("700")}


@pytest.fixture(params=sorted(ADAPTERS))
def speaks(request: pytest.FixtureRequest) -> str:
    """Every adapter's name."""
    name: str = request.param
    return name


def broker_at(desk: Desk, directory: Path, limits: RateLimits = WIDE, orders: OrderBook | None = None):
    """The account alone, without an execution stage."""
    clock = LiveClock()
    return ADAPTERS[desk.server.speaks].broker(
        account_at(desk, directory, answer_s=5.0), clock, RateBudget(clock, limits), INSTRUMENTS, orders or OrderBook(),
        real_ticks=False, on_date=None, bounds_of=None,
    )  # fmt: skip


async def settled(trader: Trader) -> None:
    """Wait until both sides agree, and check that nothing is there twice."""
    await until(lambda: trader.agrees() and not trader.book.unresolved)
    assert doubled_tags(trader.desk.book) == []


# -- the calls --------------------------------------------------------------------------------------------------------


async def test_the_books_of_an_account(tmp_path: Path, speaks: str) -> None:
    """An order that filled and one that rests, the trade, the position, the money: each as a record of ours."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.send("T1")
        trader.send("T2", quantity=5, **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await until(lambda: trader.order("T2").state is OrderState.ACCEPTED)
        orders, trades = await trader.broker.orders(urgent=False), await trader.broker.trades(urgent=False)
        positions, funds = await trader.broker.positions(), await trader.broker.funds()
        assert isinstance(orders, Done)
        filled, resting = sorted(orders.value, key=lambda row: row.tag)
        assert (filled.tag, filled.status, filled.filled, filled.quantity) == ("T1", OrderStatus.FILLED, 10, 10)
        assert (resting.tag, resting.status, resting.limit_price) == ("T2", OrderStatus.PENDING, Decimal("700"))
        assert (resting.symbol, resting.side, resting.type) == (SBIN, Side.BUY, OrderType.LIMIT)
        assert isinstance(trades, Done)
        (trade,) = trades.value
        assert (trade.tag, trade.venue_id, trade.quantity, trade.price) == ("T1", filled.venue_id, 10, Decimal("820.5"))
        assert isinstance(positions, Done)
        (held,) = positions.value
        assert (held.symbol, held.quantity, held.bought, held.buy_average) == (SBIN, 10, 10, Decimal("820.5"))
        assert isinstance(funds, Done)
        ledger = trader.desk.server.exchange.ledger
        flow = held.sold * held.sell_average - held.bought * held.buy_average
        assert funds.value.total - funds.value.realised + flow == ledger.cash
        await settled(trader)


async def test_a_cancellation_takes_an_order_off(tmp_path: Path, speaks: str) -> None:
    """And the book says so."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.send("T1", **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.ACCEPTED)
        trader.actor.cancel_resting("a test", 0)
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        await settled(trader)


@pytest.mark.parametrize(("market_orders", "kind"), [("market", "SL_MARKET"), ("protected", "SL_LIMIT")])
async def test_a_stop_waits_at_the_venue_and_trades_when_it_is_reached(
    tmp_path: Path, speaks: str, market_orders: str, kind: str
) -> None:
    """At market, or no worse than so far beyond its own price; nobody has changed it, whatever its row says."""
    async with trading(tmp_path, speaks=speaks, market_orders=market_orders) as trader:
        trader.send("T1", reference_price=Decimal("820"))
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        stop = {"type": OrderType.SL_MARKET, "stop_price": Decimal("815"), "reduces": True}
        trader.send("T2", side=Side.SELL, **stop)
        await until(lambda: trader.order("T2").state is OrderState.ACCEPTED)
        wanted = trader.desk.book[-1].wanted
        assert (wanted.type.value, wanted.stop_price) == (kind, Decimal("815"))
        assert wanted.limit_price == (0 if market_orders == "market" else Decimal("810.95"))
        await settled(trader)
        trader.desk.price("814")
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        await settled(trader)
        assert not [event for event in trader.said if isinstance(event, OrderAmended)]


async def test_every_kind_of_order_arrives_as_it_was_meant(tmp_path: Path, speaks: str) -> None:
    """Side, type, quantity and prices, to the last digit."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        for number, (side, kind) in enumerate((side, kind) for side in Side for kind in OrderType):
            limit = Decimal("820.05") if kind in (OrderType.LIMIT, OrderType.SL_LIMIT) else None
            stop = Decimal("820.15") if kind in (OrderType.SL_MARKET, OrderType.SL_LIMIT) else None
            order_id = f"T{number}"
            outcome = await broker.submit(intend(order_id, side, 7, type=kind, limit_price=limit, stop_price=stop))
            assert isinstance(outcome, Done)
            order = desk.book[-1]
            wanted = order.wanted
            assert order.order_id == outcome.value.venue_id
            assert (wanted.tag, wanted.symbol, wanted.side, wanted.type) == (order_id, SBIN, side, kind)
            assert (wanted.quantity, wanted.limit_price, wanted.stop_price) == (7, limit or 0, stop or 0)
            assert wanted.product == "INTRADAY"
        await broker.close()


async def test_contracts_are_traded_under_our_names(tmp_path: Path, speaks: str) -> None:
    """A future, an option of the month and one of a week: in the order, the book, the trades and the positions."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        for symbol in CONTRACTS:
            desk.server.exchange.on_quote(symbol, Quote(last=Decimal(100)))
            outcome = await broker.submit(intend(symbol[-8:], Side.BUY, 65, symbol=symbol))
            assert isinstance(outcome, Done), outcome
        assert [order.wanted.symbol for order in desk.book] == CONTRACTS
        for read in (broker.orders(urgent=False), broker.trades(urgent=False), broker.positions()):
            found = await read
            assert isinstance(found, Done)
            assert sorted(row.symbol for row in found.value) == sorted(CONTRACTS)
        await broker.close()


async def test_a_stop_at_market_in_an_option_goes_out_with_a_limit(tmp_path: Path, speaks: str) -> None:
    """The exchange takes no other there; in a future it stays what it is."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        stop = {"type": OrderType.SL_MARKET, "stop_price": Decimal(90), "reduces": True}
        for symbol in CONTRACTS:
            desk.server.exchange.on_quote(symbol, Quote(last=Decimal(100)))
            assert isinstance(await broker.submit(intend(symbol[-8:], Side.BUY, 65, symbol=symbol)), Done)
            assert isinstance(
                await broker.submit(intend(f"S{symbol[-7:]}", Side.SELL, 65, symbol=symbol, **stop)), Done
            )
        sent = {it.wanted.symbol: (it.wanted.type.value, it.status.name) for it in desk.book if it.wanted.stop_price}
        options = {symbol for symbol in CONTRACTS if not symbol.endswith("FUT")}
        assert sent == {it: ("SL_LIMIT" if it in options else "SL_MARKET", "PENDING") for it in CONTRACTS}
        await broker.close()


async def test_contracts_have_a_past(tmp_path: Path, speaks: str) -> None:
    """Candles of a future and an option, by our names."""
    tape = tmp_path / "t.parquet"
    times = [OPEN + minute * MINUTE for minute in range(1, 11) for _ in CONTRACTS]
    with TapeWriter(tape, columns=()) as writer:
        codes = list(range(len(CONTRACTS))) * 10
        writer.write(ticks(times, [100.0 + code for code in codes], tuple(CONTRACTS), codes))
    async with opened(speaks=speaks, tapes=[tape]) as desk:
        source = ADAPTERS[speaks].history(account_at(desk, tmp_path), LiveClock(), INSTRUMENTS)
        async with source as rest:
            for number, symbol in enumerate(CONTRACTS):
                found = await rest.history(symbol, "5", ist_date(OPEN), ist_date(OPEN))
                assert isinstance(found, Done), found
                assert {candle.close for candle in found.value} == {100 + number}


# -- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (FaultKind.DROP, {"after": True}),
        (FaultKind.BROKEN, {"after": True, "status": 502}),
        (FaultKind.BROKEN, {"after": True, "status": 500}),
        (FaultKind.GARBLED, {"after": True}),
        (FaultKind.NO_ACK, {"after": True}),
        (FaultKind.DELAY, {"after": True, "seconds": 0.6}),
    ],
)
async def test_a_lost_answer_is_found_in_the_book(
    tmp_path: Path, speaks: str, kind: FaultKind, fields: dict[str, object]
) -> None:
    """The order was taken: it is UNKNOWN, found, and never sent again; its neighbour is another order."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(kind, **fields)
        trader.send("T1")
        trader.send("T2", quantity=3)
        await until(lambda: {trader.order(it).state for it in ("T1", "T2")} == {OrderState.FILLED})
        assert len(trader.heard(OrderUnknown)) <= 1  # none where a push told of it before the answer was missed
        assert len(trader.desk.book) == 2
        await settled(trader)


async def test_lost_answers_of_two_orders_that_look_alike(tmp_path: Path, speaks: str) -> None:
    """Each gets one of the rows, and both fills count."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(FaultKind.DROP, after=True, times=2)
        trader.send("T1")
        trader.send("T2")
        await until(lambda: {trader.order(it).state for it in ("T1", "T2")} == {OrderState.FILLED})
        assert len(trader.heard(Fill)) == 2
        assert len({event.venue_id for event in trader.heard(OrderAccepted)}) == len(trader.heard(OrderAccepted))
        assert trader.book.positions[SBIN] == 20


async def test_an_order_that_never_arrived_is_written_off(tmp_path: Path, speaks: str) -> None:
    """After it was looked for long enough; nothing is sent in its place."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(FaultKind.DROP)
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        assert trader.order("T1").reason.startswith("never arrived")
        assert trader.desk.book == []


async def test_an_order_that_arrives_after_all(tmp_path: Path, speaks: str) -> None:
    """It was written off: where the book says that it is ours it is taken off, else it is left as somebody else's."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(FaultKind.LATE, seconds=1.2)
        trader.send("T1", **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        await until(lambda: trader.desk.book)
        if Ability.TAGS in ADAPTERS[speaks].can:
            await until(lambda: trader.desk.book[0].status.name == "CANCELLED")
        else:
            await until(lambda: trader.orders.working)
            reads = len(trader.reads)
            await until(lambda: len(trader.reads) > reads + 1)
            assert trader.desk.book[0].status.name == "PENDING"
        assert not trader.heard(Fill)


async def test_an_order_in_the_app_that_looks_like_a_written_off_one_is_left_alone(tmp_path: Path, speaks: str) -> None:
    """Same symbol, side, quantity, type and price, a moment later: nothing proves that it is ours, so it works on."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(FaultKind.DROP)
        trader.send("T1", **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        trader.desk.server.exchange.place(Wanted(tag="", symbol=SBIN, side=Side.BUY, quantity=10, **RESTING))
        trader.desk.server.publish()
        await until(lambda: trader.orders.working)
        reads = len(trader.reads)
        await until(lambda: len(trader.reads) > reads + 1)
        assert [order.status.name for order in trader.desk.book] == ["PENDING"]


async def test_a_lost_cancellation_is_asked_for_again(tmp_path: Path, speaks: str) -> None:
    """Until the book shows the order gone."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.send("T1", **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.ACCEPTED)
        trader.desk.trouble(FaultKind.DROP, Route.CANCEL)
        trader.actor.cancel_resting("a test", 0)
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        await settled(trader)


# -- what the venue does ----------------------------------------------------------------------------------------------


async def test_a_refusal_is_a_no(tmp_path: Path, speaks: str) -> None:
    """With the venue's words; nothing is in the book."""
    async with trading(tmp_path, speaks=speaks, answer_s=5.0) as trader:
        trader.desk.trouble(FaultKind.REJECT, message="RMS: no money", code=-99)
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        assert "RMS: no money" in trader.order("T1").reason
        assert not trader.heard(OrderUnknown)
        await settled(trader)


async def test_a_rejection_after_the_acknowledgement(tmp_path: Path, speaks: str) -> None:
    """The exchange throws out what the broker had taken."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.trouble(FaultKind.REJECT_LATER, message="circuit limit")
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        assert trader.heard(OrderRejected)
        await settled(trader)


async def test_partial_fills_count_each_once(tmp_path: Path, speaks: str) -> None:
    """Also where the rest is cancelled: what filled before stays filled."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.desk.price("820.5", ask=Decimal("820.5"), ask_quantity=4)
        trader.send("T1", type=OrderType.LIMIT, limit_price=Decimal("820.5"))
        await until(lambda: trader.order("T1").filled == 4)
        trader.desk.price("820.5", ask=Decimal("820.5"), ask_quantity=3)
        await until(lambda: trader.order("T1").filled == 7)
        trader.actor.cancel_resting("a test", 0)
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        assert (trader.order("T1").filled, trader.book.positions[SBIN]) == (7, 7)
        assert len({fill.fill_id for fill in trader.heard(Fill)}) == len(trader.heard(Fill)) == 2
        await settled(trader)


async def test_pushes_that_are_repeated_lost_or_out_of_order(tmp_path: Path, speaks: str) -> None:
    """The book is the truth; each fill counts once."""
    async with trading(tmp_path, speaks=speaks) as trader:
        for kind in (FaultKind.DUPLICATE, FaultKind.LOSE, FaultKind.REORDER, FaultKind.ECHO):
            trader.desk.trouble(kind, Route.PUSH)
        for number in range(4):
            trader.send(f"T{number}", side=Side.BUY if number % 2 else Side.SELL, quantity=number + 1)
        await until(lambda: all(trader.order(f"T{number}").state is OrderState.FILLED for number in range(4)))
        assert len(trader.heard(Fill)) == 4
        await settled(trader)


async def test_an_order_by_another_hand_is_not_ours(tmp_path: Path, speaks: str) -> None:
    """It is adopted under an id of its own, and both positions agree."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        exchange = trader.desk.server.exchange
        exchange.place(Wanted(tag="", symbol=SBIN, side=Side.BUY, type=OrderType.MARKET, quantity=10))
        trader.desk.server.publish()
        await until(lambda: trader.book.positions[SBIN] == 20)
        assert [order_id for order_id in trader.orders.finished if order_id.startswith("X")]
        assert trader.order("T1").filled == 10
        trader.desk.trouble(FaultKind.DROP)
        trader.send("T2")  # looks like his, and never arrives
        await until(lambda: trader.order("T2").state is OrderState.REJECTED)
        reads = len(trader.reads)
        await until(lambda: len(trader.reads) > reads + 1)
        assert trader.book.positions[SBIN] == 20
        assert trader.agrees()


# -- links and life ---------------------------------------------------------------------------------------------------


async def test_a_cut_connection_loses_nothing(tmp_path: Path, speaks: str) -> None:
    """What filled while no pushes came is read in the book."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.send("T1", **RESTING)
        await until(lambda: trader.order("T1").state is OrderState.ACCEPTED)
        trader.desk.server.feed.cut()
        trader.desk.price("690")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await settled(trader)


async def test_a_restart_finds_its_orders_again(tmp_path: Path, speaks: str) -> None:
    """One that filled meanwhile, one that still rests, and one whose answer the process didn't live to hear."""
    account = Account(Decimal(1_000_000))
    async with opened(speaks=speaks) as desk:
        async with trading(tmp_path, account, desk) as trader:
            trader.send("T1", **RESTING)
            trader.send("T2", quantity=4, type=OrderType.LIMIT, limit_price=Decimal("600"))
            await until(lambda: {trader.order(it).state for it in ("T1", "T2")} == {OrderState.ACCEPTED})
            desk.trouble(FaultKind.DELAY, after=True, seconds=0.2)
            trader.send("T3", quantity=6)
            await until(lambda: len(desk.book) == 3)
        desk.price("690")
        async with trading(tmp_path, account, desk) as again:
            await until(lambda: {again.order(it).state for it in ("T1", "T3")} == {OrderState.FILLED})
            assert again.order("T2").state is OrderState.ACCEPTED
            assert again.book.positions[SBIN] == 16
            assert not [order_id for order_id in again.orders.working if order_id.startswith("X")]
            await settled(again)


async def test_a_key_that_dies_and_another_one(tmp_path: Path, speaks: str) -> None:
    """It is noted, nothing is UNKNOWN for it, and with the new one orders leave again."""
    async with trading(tmp_path, speaks=speaks, answer_s=5.0) as trader:
        broker = trader.broker
        await trader.desk.admin("POST", "token", {})
        await until(lambda: broker.refusal)
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        assert not trader.heard(OrderUnknown, Halt)
        await trader.desk.admin("POST", "token", {"authorization": "SANDBOX-100:another-token"})
        broker.authorize(Secret("another-token"))
        await until(lambda: not broker.refusal)
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        await settled(trader)


async def test_a_limiter_turns_away_and_is_heeded(tmp_path: Path, speaks: str) -> None:
    """A 429 means that nothing was done, and that nothing is asked for a while."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        desk.trouble(FaultKind.LIMITED, seconds=1.0)
        outcome = await broker.submit(intend("T1"))
        assert isinstance(outcome, NotSent)
        assert outcome.retry_after_s
        assert desk.book == []
        calls = desk.server.meter.total
        held = await broker.funds()
        assert isinstance(held, NotSent) or desk.server.meter.total == calls + 1
        await broker.close()


async def test_the_last_calls_are_kept_for_exits(tmp_path: Path, speaks: str) -> None:
    """With the budget used up an entry stays, and a cancellation leaves."""
    async with opened(speaks=speaks) as desk:
        limits = RateLimits(Limit(1000, 0), Limit(8, 4), Limit(1000, 0))
        broker = broker_at(desk, tmp_path, limits)
        for _ in range(4):
            assert isinstance(await broker.funds(), Done)
        assert isinstance(await broker.funds(), NotSent)
        assert isinstance(await broker.cancel("no such order"), Rejected)
        await broker.close()


async def test_a_server_that_is_gone(tmp_path: Path, speaks: str) -> None:
    """Nothing can have left, so an order is not UNKNOWN."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        await desk.server.stop()
        assert isinstance(await broker.submit(intend("T1")), NotSent)
        assert isinstance(await broker.orders(urgent=True), NotSent | Unknown)
        await broker.close()


async def test_nothing_that_is_said_holds_the_key(tmp_path: Path, speaks: str) -> None:
    """Not even where the venue repeats it."""
    async with opened(speaks=speaks) as desk:
        broker = broker_at(desk, tmp_path)
        key = broker.access.read().reveal()
        desk.trouble(FaultKind.REJECT, message=f"who is {key}?", code=-99)
        outcome = await broker.submit(intend("T1"))
        assert isinstance(outcome, Rejected)
        assert key not in outcome.message
        assert outcome.message
        assert key not in repr(broker.access)
        await broker.close()
