"""The same acts by request, and what the wire tells of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daemon.calls.budget import Purpose
from daemon.calls.outcome import Done, Rejected
from daemon.core.events import OrderType, Side
from daemon.fyers.answers import TOKEN_CODES
from daemon.orders.pushes import Disconnected, Gap, OrderPush
from daemon.orders.venue import OrderStatus
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.gate import TOKEN_CODES as SAID
from daemon.sandbox.hours import Phase
from tests.unit.sandbox.desk import SBIN, Desk, opened, order, until

NOW = Purpose.ORDINARY
RESTING = {"kind": OrderType.LIMIT, "limit_price": "700"}


async def placed(desk: Desk, tag: str = "t1", side: Side = Side.BUY, **fields: Any) -> str:
    """An order that is taken; its id."""
    done = await desk.rest.place(order(tag, side, **fields), NOW)
    assert isinstance(done, Done), done
    return done.value.venue_id


async def test_sessions_by_request() -> None:
    """Closed: refused with −99 and in the book; market status says so too."""
    async with opened() as desk:
        assert (await desk.admin("POST", "session", {"phase": "closed"}))["s"] == "ok"
        refused = await desk.rest.place(order(), NOW)
        assert isinstance(refused, Rejected)
        assert (refused.code, "Market is closed" in refused.message, bool(refused.venue_id)) == (-99, True, True)
        status = await desk.rest.market_status()
        assert isinstance(status, Done)
        assert {row.status for row in status.value} == {"CLOSED"}
        await desk.admin("POST", "session", {})
        await placed(desk, "t2")


async def test_acts_by_request() -> None:
    """A locked circuit, a change by hand, the square-off and a split."""
    async with opened() as desk:
        await placed(desk)
        await desk.admin("POST", "lock", {"symbol": SBIN, "side": "BUY"})
        waiting = await placed(desk, "t2")
        assert desk.book[1].filled == 0
        await desk.admin("POST", "lock", {"symbol": SBIN})
        assert desk.book[1].filled == 0  # the last price stands at the band's end
        change = {"order_id": waiting, "type": "LIMIT", "limit_price": "700", "quantity": 4}
        assert (await desk.admin("POST", "change", change))["s"] == "ok"
        assert (desk.book[1].wanted.quantity, desk.book[1].wanted.type) == (4, OrderType.LIMIT)
        action = {"symbol": SBIN, "numerator": 1, "denominator": 2}
        assert (await desk.admin("POST", "corporate_action", action))["s"] == "ok"
        assert desk.server.exchange.ledger.net(SBIN) == 20
        assert (await desk.admin("POST", "square_off"))["placed"] == 1
        assert desk.server.exchange.ledger.net(SBIN) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("session", {"phase": "lunch"}), ("lock", {"symbol": "NSE:NOBODY-EQ", "side": "BUY"}), ("lock", {}),
        ("corporate_action", {"symbol": SBIN, "numerator": 1, "denominator": 0}),
        ("change", {"order_id": "7", "quantity": 1}), ("cut", {"stale": 1}),
    ],
)  # fmt: skip
async def test_what_cannot_be_meant(path: str, body: Any) -> None:
    """One line."""
    async with opened() as desk:
        answer = await desk.admin("POST", path, body)
        assert (answer["status"], bool(answer["message"])) == (400, True)


async def test_a_change_that_is_refused_says_why() -> None:
    """Of an order that is done."""
    async with opened() as desk:
        done = await placed(desk)
        answer = await desk.admin("POST", "change", {"order_id": done, "quantity": 20})
        assert "already filled" in answer["message"]


async def test_an_account_that_lags() -> None:
    """By fault one call shows the account of a while ago; after a cut all do for as long as is asked."""
    async with opened() as desk:
        await placed(desk)
        for route in (Route.ORDERS, Route.TRADES, Route.POSITIONS):
            desk.trouble(FaultKind.LAG, route, seconds=3600)
        for call in (desk.rest.orders, desk.rest.trades, desk.rest.positions):
            for expected in (0, 1):
                read = await call()
                assert isinstance(read, Done)
                assert len(read.value) == expected
        await desk.admin("POST", "cut", {"stale_s": 3600})
        await placed(desk, "t2")
        read = await desk.rest.orders()
        assert isinstance(read, Done)
        assert [row.tag for row in read.value] == ["t1"]


async def test_pushes_that_come_again() -> None:
    """The youngest first, behind the one that calls them."""
    async with opened() as desk:
        events = desk.socket().events()
        assert isinstance(await anext(events), Gap)
        venue_id = await placed(desk, **RESTING)
        desk.trouble(FaultKind.ECHO, Route.PUSH, quantity=2)
        await desk.rest.cancel(venue_id)
        pushed = [await anext(events) for _ in range(5)]
        statuses = [push.order.status for push in pushed if isinstance(push, OrderPush)]
        transit, pending, cancelled = OrderStatus.TRANSIT, OrderStatus.PENDING, OrderStatus.CANCELLED
        assert statuses == [transit, pending, cancelled, pending, transit]
        await events.aclose()


@pytest.mark.parametrize("code", sorted(TOKEN_CODES))
async def test_a_token_dies_with_a_push(code: int) -> None:
    """The sockets break, nobody is let in, and calls are answered with the code."""
    assert set(SAID) == TOKEN_CODES
    async with opened() as desk:
        events = desk.socket().events()
        assert isinstance(await anext(events), Gap)
        desk.trouble(FaultKind.EXPIRE_TOKEN, Route.PUSH, code=code)
        await placed(desk)
        lost = [await anext(events) for _ in range(2)]
        assert [isinstance(it, Disconnected) and it.token_refused for it in lost] == [False, True]
        refused = await desk.rest.orders()
        assert isinstance(refused, Rejected)
        assert (refused.code, refused.message) == (code, SAID[code])
        await events.aclose()


async def test_time_passes_without_a_tick() -> None:
    """The phase that the clock brings is entered though nobody calls."""
    async with opened(hours=True) as desk:
        exchange = desk.server.exchange
        exchange.session(Phase.PRE_OPEN)
        waiting = await placed(desk)
        exchange.day.rule(Phase.OPEN)
        assert exchange.orders[waiting].filled == 0
        keeping = asyncio.create_task(desk.server.keep_time())
        await until(lambda: exchange.orders[waiting].filled == 10)
        keeping.cancel()
        await asyncio.wait((keeping,))
