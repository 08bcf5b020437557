"""The live path against a misbehaving exchange: nothing lost, nothing doubled, nothing believed that nobody said."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.calls.budget import Purpose
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.core.errors import SettingsError
from daemon.core.events import (
    ITSELF,
    CancelOrder,
    Fill,
    FundsReported,
    Halt,
    OrderAccepted,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelRequested,
    OrderIntent,
    OrderSent,
    OrderType,
    Side,
    SymbolHalted,
    TimeAdvanced,
)
from daemon.core.ids import order_prefix
from daemon.fyers.broker import FyersBroker
from daemon.orders.abandoning import abandon
from daemon.orders.book import OrderState
from daemon.orders.live_execution import UNRECORDED
from daemon.orders.token_keeper import TokenKeeper
from daemon.recovery.account import Account
from daemon.sandbox.faults import FaultKind, Route
from tests.samples import fyers_settings, intend
from tests.unit.orders.live import Trader, at_the_exchange, by_hand, trading, until
from tests.unit.sandbox.desk import APP_ID, SBIN, TOKEN, opened, order

PURPOSE = Purpose.ORDINARY
LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal("700")}


async def test_an_order_goes_out_once_and_its_fill_comes_back(tmp_path: Path) -> None:
    """Sent, accepted, filled; the money is the exchange's to the paisa."""
    async with trading(tmp_path) as trader:
        trader.send()
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await until(trader.agrees)
        assert [type(event) for event in trader.heard(OrderSent, Fill)] == [OrderSent, Fill]
        assert len(trader.desk.book) == 1
        assert trader.heard(FundsReported)[0].total == Decimal(1_000_000)


async def test_pushes_that_are_lost_doubled_or_reordered_change_nothing(tmp_path: Path) -> None:
    """The book tells what they didn't; what they told twice counts once."""
    async with trading(tmp_path) as trader:
        for number, kind in enumerate((FaultKind.LOSE, FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.CUT)):
            trader.desk.trouble(kind, Route.PUSH, times=4)
            trader.send(f"T{number}", quantity=10 + number)
            await until(lambda number=number: trader.order(f"T{number}").state is OrderState.FILLED)
            await until(trader.agrees)
            trader.desk.server.plan.clear()
        assert len(trader.heard(Fill)) == 4


async def test_parts_are_booked_in_order(tmp_path: Path) -> None:
    """A part on arrival, the rest with the next quote; charges to the paisa."""
    async with trading(tmp_path) as trader:
        trader.desk.trouble(FaultKind.PARTIAL, quantity=3)
        trader.send()
        await until(lambda: trader.order("T1").filled == 3)
        assert trader.order("T1").state is OrderState.PARTIALLY_FILLED
        trader.desk.price("821")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        await until(trader.agrees)
        assert [fill.quantity for fill in trader.heard(Fill)] == [3, 7]


async def test_an_entry_is_cancelled_when_its_time_is_up(tmp_path: Path) -> None:
    """And one whose fate was unknown as soon as the book shows it."""
    async with trading(tmp_path) as trader:
        trader.desk.trouble(FaultKind.DROP, after=True)
        intent = trader.send(**LIMIT)
        await until(lambda: trader.orders.find("T1"))
        trader.bus.publish(TimeAdvanced(ts=intent.ts + 121 * NS_PER_S))
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        assert trader.agrees()


async def test_an_entry_that_was_dated_ahead_is_taken_off_all_the_same(tmp_path: Path) -> None:
    """By an earlier process, whose clock was hours ahead: nobody knows how old it is."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk:
        ahead = LiveClock().now_ns() + 3 * 3600 * NS_PER_S
        account.fold([intend("T1", quantity=10, ts=ahead, **LIMIT), OrderApproved(ts=ahead, order_id="T1")])
        account.fold([OrderSent(ts=ahead, order_id="T1")])
        await desk.rest.place(order("T1", kind=OrderType.LIMIT, limit_price="700"), PURPOSE)
        async with trading(tmp_path, account, desk) as trader:
            assert trader.order("T1").state is OrderState.ACCEPTED
            trader.bus.publish(TimeAdvanced(ts=trader.clock.now_ns()))
            await until(lambda: trader.order("T1").state is OrderState.CANCELLED)


async def test_everything_is_cancelled_at_the_end(tmp_path: Path) -> None:
    """`settled` returns when the exchange holds nothing of ours."""
    async with trading(tmp_path) as trader:
        trader.send(**LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        trader.actor.cancel_ours("shutdown")
        await trader.actor.settled()
        assert trader.orders.working == {}


async def test_an_exit_that_leaves_while_it_ends_is_waited_for(tmp_path: Path) -> None:
    """It has a moment to trade; what is left of it then is taken off the market, as all else was."""
    async with trading(tmp_path) as trader:
        trader.actor.cancel_ours("shutdown")
        trader.desk.trouble(FaultKind.PARTIAL, quantity=3)
        trader.send("T1", reduces=True)
        await until(lambda: trader.order("T1").filled == 3)
        assert trader.actor.left() == [f"BUY 7 {SBIN} (T1)"]
        settling = asyncio.create_task(trader.actor.settled())
        await asyncio.sleep(0.2)
        trader.desk.price("821")
        await settling
        assert trader.order("T1").state is OrderState.FILLED
        trader.desk.trouble(FaultKind.PARTIAL, quantity=3)
        trader.send("T2", reduces=True)
        await until(lambda: trader.order("T2").filled == 3)
        await trader.actor.settled()
        assert at_the_exchange(trader.desk)["T2"] == "CANCELLED"
        assert trader.actor.left() == []


async def test_a_restart_asks_the_book_about_what_was_on_its_way(tmp_path: Path) -> None:
    """Sent by an earlier life, its answer unheard: filled meanwhile, working still, or never arrived."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk:
        for number, price in ((1, None), (2, Decimal("700")), (3, None)):
            kind = OrderType.LIMIT if price else OrderType.MARKET
            intent = intend(f"T{number}", quantity=10, type=kind, limit_price=price)
            account.fold(
                [
                    intent,
                    OrderApproved(ts=intent.ts, order_id=intent.order_id),
                    OrderSent(ts=intent.ts, order_id=intent.order_id),
                ]
            )
        await desk.rest.place(order("T1"), PURPOSE)
        await desk.rest.place(order("T2", kind=OrderType.LIMIT, limit_price="700"), PURPOSE)
        async with trading(tmp_path, account, desk) as trader:
            states = [trader.order(f"T{number}").state for number in (1, 2, 3)]
            assert states == [OrderState.FILLED, OrderState.ACCEPTED, OrderState.UNKNOWN]
            await until(lambda: trader.order("T3").state is OrderState.REJECTED)
            assert "never arrived" in trader.order("T3").reason
            assert trader.agrees()


@pytest.mark.parametrize("wish", ["adopt", "ignore", "halt"])
async def test_orders_of_somebody_else(tmp_path: Path, wish: str) -> None:
    """Adopted they are booked, ignored they aren't, and by setting trading halts; no symbol is halted for them."""
    async with trading(tmp_path, external_orders=wish) as trader:
        await trader.desk.rest.place(order("stranger", quantity=7), PURPOSE)
        await until(lambda: sum(read.trades for read in trader.reads) > 2)
        await until(lambda: wish != "adopt" or trader.book.positions[SBIN] == 7)
        assert trader.book.positions[SBIN] == (7 if wish == "adopt" else 0)
        assert bool(trader.heard(Halt)) is (wish == "halt")
        assert [event.strategy for event in trader.heard(OrderIntent)] == (["external"] if wish == "adopt" else [])
        assert trader.heard(SymbolHalted) == []


@pytest.mark.parametrize("wish", ["ignore", "halt"])
async def test_what_somebody_closes_of_ours_is_closed_whatever_others_are(tmp_path: Path, wish: str) -> None:
    """The broker's own square-off, say, while no daemon was there: an exit of it would open the opposite position."""
    async with opened() as desk:
        if wish == "ignore":
            await by_hand(desk, "before", Side.SELL, 4)  # it closed nothing, and after a restart it didn't either
            await asyncio.sleep(1.0)  # stamps are whole seconds
        async with trading(tmp_path, desk=desk, external_orders=wish) as trader:
            trader.send("T1")
            await until(lambda: trader.order("T1").state is OrderState.FILLED)
            account = trader.account
        await by_hand(desk, "RMS", Side.SELL, 10)
        async with trading(tmp_path, account, desk=desk, external_orders=wish) as trader:
            assert trader.book.positions[SBIN] == 0
            assert bool(trader.heard(Halt)) is (wish == "halt")
            assert trader.heard(SymbolHalted) == []


async def test_a_refused_token_is_one_clear_line_and_waited_for(tmp_path: Path) -> None:
    """A start that ended would be nobody's: what is held would be left alone until somebody starts it again."""
    async with opened() as desk:
        await desk.admin("POST", "token", {})
        trader = Trader(desk, tmp_path, Account(Decimal(1_000_000)))
        with capture_logs() as logs:
            recovering = asyncio.create_task(trader.actor.recover())
            await until(lambda: any("trading waits" in line["event"] for line in logs))
        assert re.match(r"the token was refused \(.*\); hrmd login gets another one", logs[-1]["why"])
        (tmp_path / "token").write_text("another")
        await desk.admin("POST", "token", {"authorization": f"{APP_ID}:another"})
        try:
            async with asyncio.timeout(10):
                await recovering
        finally:
            await trader.broker.close()
        assert trader.reads


async def test_a_login_while_the_account_is_read_is_noticed(tmp_path: Path) -> None:
    """The process began with yesterday's token; by the time that the broker refuses it there is today's."""
    async with opened() as desk:
        (tmp_path / "token").write_text("yesterday's")
        trader = Trader(desk, tmp_path, Account(Decimal(1_000_000)))
        (tmp_path / "token").write_text(TOKEN)
        try:
            await trader.actor.recover()
        finally:
            await trader.broker.close()
        assert trader.reads


async def test_a_broker_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """The first readings fail; recovery goes on when the book can be read."""
    async with opened() as desk:
        desk.trouble(FaultKind.BROKEN, Route.ORDERS, times=3)
        async with trading(tmp_path, None, desk) as trader:
            assert trader.reads


def test_orders_by_a_tape_never_reach_a_real_exchange(tmp_path: Path) -> None:
    """The addresses of Fyers itself are refused, and so is a token file that isn't there."""
    with pytest.raises(SettingsError, match=r"broker\.fyers\.api_url: expected an address on this machine"):
        FyersBroker(fyers_settings(), LiveClock())
    local = {"api_url": "http://127.0.0.1:1", "data_url": "http://127.0.0.1:1", "order_socket_url": "ws://127.0.0.1:1"}
    with pytest.raises(SettingsError, match=r"broker\.fyers\.token_file: .*missing can't be read"):
        FyersBroker(fyers_settings(**local, token_file=tmp_path / "missing"), LiveClock())


async def test_a_stage_that_is_restarted_trusts_nothing_it_did_not_finish(tmp_path: Path) -> None:
    """Cut off while an answer was awaited: unknown, then what the book says; the order is not sent again."""
    account = Account(Decimal(1_000_000))
    async with opened() as desk:
        async with trading(tmp_path, account, desk) as trader:
            desk.trouble(FaultKind.DELAY, after=True, seconds=0.25)
            desk.trouble(FaultKind.LOSE, Route.PUSH, times=9)
            trader.send()
            await until(lambda: trader.order("T1").state is OrderState.SENT and desk.book)
        async with trading(tmp_path, account, desk) as again:
            await until(lambda: again.order("T1").state is OrderState.FILLED)
            await until(again.agrees)
        assert len(desk.book) == 1


async def test_an_intent_that_was_never_answered_is_cancelled_at_the_start(tmp_path: Path) -> None:
    """Nothing leaves before its approval is on disk, so it never left."""
    account = Account(Decimal(1_000_000))
    account.fold([intend("T1")])
    async with trading(tmp_path, account) as trader:
        assert trader.order("T1").reason == "it was never sent"
        assert trader.desk.book == []


async def test_an_order_of_yesterday_that_the_book_forgot_has_expired(tmp_path: Path) -> None:
    """The broker's book is of one day."""
    account = Account(Decimal(1_000_000))
    intent = intend("T1")
    account.fold(
        [intent, OrderApproved(ts=1, order_id="T1"), OrderAccepted(ts=intent.ts, order_id="T1", venue_id="V9")]
    )
    async with trading(tmp_path, account) as trader:
        assert trader.order("T1").state is OrderState.EXPIRED


async def test_an_order_that_somebody_changed_is_followed(tmp_path: Path) -> None:
    """Made larger at the broker and filled beyond what we wanted: booked, no fault, the exchange's numbers."""
    async with trading(tmp_path) as trader:
        trader.send("T1", **LIMIT)
        await until(lambda: trader.order("T1").venue_id)
        exchange = trader.desk.server.exchange
        exchange.modify(trader.order("T1").venue_id, OrderType.LIMIT, 25, None, None)
        trader.desk.price("699", ask_quantity=12)
        await until(lambda: trader.order("T1").filled == 12)
        trader.desk.price("699")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        assert trader.order("T1").intent.quantity == 25
        await until(trader.agrees)


def keeper_of(trader: Trader) -> TokenKeeper:
    """Who looks at the token's file when he is told to, and tells the broker of another one."""
    broker = trader.broker
    keeper = TokenKeeper(trader.bus, broker.access, trader.clock, trader.clock, 0.0, 9.0, lambda: broker.refusal)
    keeper.listeners.append(broker.authorize)
    return keeper


async def log_in_again(trader: Trader, keeper: TokenKeeper) -> None:
    """Another token is in the file and holds at the venue, and the keeper looks."""
    trader.settings.fyers.token_file.write_text("another-token")
    await trader.desk.admin("POST", "token", {"authorization": f"{APP_ID}:another-token"})
    keeper.look()


async def test_a_new_token_is_found_without_a_restart(tmp_path: Path) -> None:
    """The token expires in the middle of the day; a login writes another one, and the same process trades on."""
    async with trading(tmp_path) as trader:
        broker = trader.broker
        keeper = keeper_of(trader)
        await trader.desk.admin("POST", "token", {})
        await until(lambda: broker.refusal)
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        await log_in_again(trader, keeper)
        await until(lambda: not broker.refusal)
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        await until(trader.agrees)


async def test_what_a_dead_token_left_working_is_asked_for_with_the_new_one_at_once(tmp_path: Path) -> None:
    """The pauses between questions are those of a venue that says no; a token that isn't taken says nothing of it."""
    async with trading(tmp_path) as trader:
        keeper = keeper_of(trader)
        keeper.listeners.append(trader.actor.admitted)
        trader.send("T1", type=OrderType.LIMIT, limit_price=Decimal(700))
        await until(lambda: trader.order("T1").state is OrderState.ACCEPTED)
        await trader.desk.admin("POST", "token", {})
        trader.bus.publish(CancelOrder(ts=trader.clock.now_ns(), order_id="T1", reason="by hand"))
        await until(lambda: len(trader.heard(OrderCancelFailed)) > 1)
        asked = len(trader.heard(OrderCancelRequested))
        await log_in_again(trader, keeper)
        assert len(trader.heard(OrderCancelRequested)) == asked + 1
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)


async def test_after_a_fault_entries_are_taken_off_and_the_rest_is_named(tmp_path: Path) -> None:
    """By REST alone: an exit is left to work; an order that nobody answered for is named as unknown."""
    async with opened() as desk, trading(tmp_path, None, desk) as trader:
        await by_hand(desk, "long", Side.BUY, 10)
        await until(lambda: trader.book.positions[SBIN] == 10)
        trader.send("T1", **LIMIT)
        trader.send("T2", Side.SELL, type=OrderType.LIMIT, limit_price=Decimal("900"), reduces=True)
        await until(lambda: trader.order("T1").venue_id and trader.order("T2").venue_id)
        desk.trouble(FaultKind.DROP)
        trader.send("T3")
        await until(lambda: trader.order("T3").state is OrderState.UNKNOWN)
        book, broker = trader.book, trader.broker
        assert await abandon(broker, book, cancel=False) == [
            f"BUY 10 {SBIN} (T1)", f"SELL 10 {SBIN} (T2)", "unknown: T3",
        ]  # fmt: skip
        assert await abandon(broker, book, cancel=True) == [f"SELL 10 {SBIN} (T2)", "unknown: T3"]
        assert at_the_exchange(desk) == {"long": "FILLED", "T1": "CANCELLED", "T2": "PENDING"}
        desk.trouble(FaultKind.BROKEN, Route.ORDERS, times=50)
        assert await abandon(broker, book, cancel=True) is None


async def test_an_exit_that_waits_for_a_call_leaves_at_the_end(tmp_path: Path) -> None:
    """It was sent before, and the budget has no call yet: nothing withholds an exit."""
    async with trading(tmp_path) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.budget.hold(0.3)
        trader.send("T2", Side.SELL, reduces=True)
        await until(lambda: trader.order("T2").state is OrderState.SENT)
        trader.actor.cancel_ours("shutdown")
        await trader.actor.settled()
        assert trader.order("T2").state is OrderState.FILLED


@pytest.mark.parametrize("wish", ["ignore", "halt"])
async def test_an_order_of_ours_is_adopted_whatever_others_are(tmp_path: Path, wish: str) -> None:
    """What an exit closed that left without the journal would be held in our books still, and be closed once more."""
    tag = f"{order_prefix(1767587402, bytes(3))}0000001"
    async with opened() as desk:
        async with trading(tmp_path, desk=desk, external_orders=wish) as trader:
            trader.send("T1")
            await until(lambda: trader.order("T1").state is OrderState.FILLED)
            account = trader.account
        lost = await by_hand(desk, tag, Side.SELL, 10)
        async with trading(tmp_path, account, desk=desk, external_orders=wish) as trader:
            assert trader.book.positions[SBIN] == 0
            assert [halt.reason for halt in trader.heard(Halt)] == [UNRECORDED.format(1, lost)]


async def test_another_order_under_an_id_that_is_known_halts_no_start(tmp_path: Path) -> None:
    """The journal lacks nothing."""
    tag = f"{order_prefix(1767587402, bytes(3))}0000001"
    async with opened() as desk:
        async with trading(tmp_path, desk=desk) as trader:
            trader.send(tag)
            await until(lambda: trader.order(tag).state is OrderState.FILLED)
            account = trader.account
        await by_hand(desk, tag, Side.SELL, 5)
        async with trading(tmp_path, account, desk=desk) as trader:
            assert trader.heard(Halt) == []


async def test_a_start_whose_journal_lacks_orders_of_ours_is_halted(tmp_path: Path) -> None:
    """A disk that failed lost the orders that left without it, and maybe a person's halt; others' are no news."""
    async with opened() as desk:
        await by_hand(desk, "byhand1", Side.BUY, 5)
        async with trading(tmp_path, desk=desk) as trader:
            assert trader.heard(Halt) == []
        lost = await by_hand(desk, f"{order_prefix(1767587402, bytes(3))}0000001", Side.SELL, 5)
        account = trader.account
        async with trading(tmp_path, account, desk) as trader:
            (halt,) = trader.heard(Halt)
            assert (halt.reason, halt.automatic, halt.who) == (UNRECORDED.format(1, lost), True, ITSELF)
            assert trader.agrees()
        async with trading(tmp_path, account, desk) as trader:
            assert trader.heard(Halt) == [], "it is on record by now, and a person has looked"
