from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from daemon.calls.budget import Limit, Purpose, RateBudget, RateLimits
from daemon.calls.http import CallTimes
from daemon.calls.outcome import Done, NotSent, Outcome, Rejected, Unknown
from daemon.core.clock import LiveClock
from daemon.core.errors import UsageError
from daemon.core.events import OrderType, Side
from daemon.fyers.credentials import Credentials
from daemon.fyers.rest import Endpoints, FyersRest
from daemon.orders.venue import OrderStatus, VenueOrder
from daemon.sandbox.faults import FaultKind, Route
from tests.unit.sandbox.desk import APP_ID, QUICK, SBIN, TOKEN, WIDE, Desk, opened, order, until

NOW = Purpose.ORDINARY
T = TypeVar("T")


def value_of(outcome: Outcome[T]) -> T:
    """Insist on `Done`."""
    assert isinstance(outcome, Done), outcome
    return outcome.value


@contextmanager
def mute_listener() -> Iterator[int]:
    """Listen on a port, accept, and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def tagged(desk: Desk, tag: str) -> list[VenueOrder]:
    """What the book shows under a tag."""
    return [row for row in value_of(await desk.rest.orders()) if row.tag == tag]


async def shown(desk: Desk, venue_id: str) -> VenueOrder:
    """The order of that id in the book."""
    (row,) = (row for row in value_of(await desk.rest.orders()) if row.venue_id == venue_id)
    return row


def client(base: str) -> FyersRest:
    """Make a client for any address."""
    clock = LiveClock()
    return FyersRest(
        Credentials(APP_ID, TOKEN), RateBudget(clock, WIDE), clock, Endpoints.at(base),
        CallTimes(connect_s=0.2, read_s=0.2, total_s=0.5),
    )  # fmt: skip


async def test_a_day_of_ordinary_calls() -> None:
    """An order is placed, seen in every book under its tag, and paid for."""
    async with opened() as desk:
        placed = value_of(await desk.rest.place(order("abc"), NOW))
        found = await tagged(desk, "abc")
        assert [item.venue_id for item in found] == [placed.venue_id]
        assert found[0].status is OrderStatus.FILLED
        assert found[0].average_price == Decimal("820.5")
        assert await tagged(desk, "other") == []
        assert value_of(await desk.rest.orders()) == found
        trade = value_of(await desk.rest.trades())[0]
        assert (trade.tag, trade.quantity, trade.price, trade.side) == ("abc", 10, Decimal("820.5"), Side.BUY)
        assert value_of(await desk.rest.positions())[0].quantity == 10
        money = value_of(await desk.rest.funds())
        assert money.total == 1_000_000 - desk.server.exchange.ledger.charges
        assert money.available == money.total - money.utilised
        assert value_of(await desk.rest.profile()).client_id == "SANDBOX"


async def test_cancel() -> None:
    """A resting order leaves the market when cancelled, once."""
    async with opened() as desk:
        resting = order(kind=OrderType.LIMIT, limit_price="800")
        placed = value_of(await desk.rest.place(resting, NOW))
        value_of(await desk.rest.cancel(placed.venue_id))
        assert (await shown(desk, placed.venue_id)).status is OrderStatus.CANCELLED
        assert isinstance(await desk.rest.cancel(placed.venue_id), Rejected)


async def test_quotes() -> None:
    """A quote is exact; a symbol without one says so and spoils nothing."""
    async with opened() as desk:
        desk.price("820.55", bid=Decimal("820.5"), ask=Decimal("820.6"))
        quote, missing = value_of(await desk.rest.quotes([SBIN, "NSE:NONE-EQ"]))
        assert (quote.last, quote.bid, quote.ask) == (Decimal("820.55"), Decimal("820.5"), Decimal("820.6"))
        assert missing.error
        with pytest.raises(UsageError, match="1 to 50"):
            await desk.rest.quotes([])


@pytest.mark.parametrize(
    ("kind", "fields", "lives"),
    [
        (FaultKind.DROP, {}, False),
        (FaultKind.DROP, {"after": True}, True),
        (FaultKind.DELAY, {"after": True, "seconds": 0.6}, True),
        (FaultKind.BROKEN, {"status": 500}, False),
        (FaultKind.BROKEN, {"status": 502, "after": True}, True),
        (FaultKind.GARBLED, {}, False),
        (FaultKind.GARBLED, {"after": True}, True),
        (FaultKind.NO_ACK, {}, False),
        (FaultKind.NO_ACK, {"after": True}, True),
        (FaultKind.REJECT, {"code": -99, "message": ""}, False),
        (FaultKind.REJECT, {"code": -1234, "message": "what is this"}, False),
    ],
)
async def test_doubt_is_never_an_answer(kind: FaultKind, fields: dict[str, Any], lives: bool) -> None:
    """Whatever leaves open whether the order lives is `Unknown`; the order was sent once, and the book tells."""
    async with opened() as desk:
        desk.trouble(kind, **fields)
        outcome = await desk.rest.place(order("abc"), NOW)
        assert isinstance(outcome, Unknown), outcome
        assert len(await tagged(desk, "abc")) == len(desk.book) == int(lives)


async def test_a_late_order() -> None:
    """An order whose connection broke may turn up in the book after the book was asked without finding it."""
    async with opened() as desk:
        desk.trouble(FaultKind.LATE, seconds=0.2)
        assert isinstance(await desk.rest.place(order("abc"), NOW), Unknown)
        assert await tagged(desk, "abc") == []
        await until(lambda: desk.book)
        assert len(await tagged(desk, "abc")) == 1


async def test_a_slow_order_is_taken_once() -> None:
    """An order held up on its way is `Unknown` to us, and lives later, once."""
    async with opened() as desk:
        desk.trouble(FaultKind.DELAY, seconds=0.5)
        outcome = await desk.rest.place(order("abc"), NOW)
        assert outcome == Unknown("no answer in time")
        assert desk.book == []
        await until(lambda: desk.book)
        assert len(await tagged(desk, "abc")) == 1


async def test_a_stale_book() -> None:
    """The book may not yet show an order that was acknowledged."""
    async with opened() as desk:
        value_of(await desk.rest.place(order("abc"), NOW))
        desk.trouble(FaultKind.STALE, Route.ORDERS, seconds=60.0)
        desk.trouble(FaultKind.STALE, Route.TRADES, seconds=60.0)
        assert value_of(await desk.rest.orders()) == []
        assert value_of(await desk.rest.trades()) == []
        assert len(value_of(await desk.rest.orders())) == 1


async def test_the_venues_no() -> None:
    """A refusal with a code is `Rejected`, and nothing lives."""
    async with opened() as desk:
        desk.trouble(FaultKind.REJECT, code=-99, message="RMS: blocked")
        assert await desk.rest.place(order(), NOW) == Rejected(-99, "RMS: blocked")
        assert desk.book == []


async def test_refused_but_in_the_book() -> None:
    """An order without margin is refused with the id under which the book shows it as rejected."""
    async with opened(starting_cash=Decimal(1000)) as desk:
        outcome = await desk.rest.place(order(quantity=1000), NOW)
        assert isinstance(outcome, Rejected)
        assert (await shown(desk, outcome.venue_id)).status is OrderStatus.REJECTED


async def test_accepted_then_rejected() -> None:
    """The exchange may throw an accepted order out."""
    async with opened() as desk:
        desk.trouble(FaultKind.REJECT_LATER, message="circuit limit")
        placed = value_of(await desk.rest.place(order(), NOW))
        found = await shown(desk, placed.venue_id)
        assert (found.status, found.message) == (OrderStatus.REJECTED, "circuit limit")


async def test_429_silences_every_call() -> None:
    """After a 429 nothing is done, and no call of any kind goes out until Retry-After has passed."""
    async with opened() as desk:
        desk.trouble(FaultKind.LIMITED, seconds=30.0)
        assert await desk.rest.place(order(), NOW) == NotSent("the venue's rate limit (HTTP 429)", 30.0)
        calls = desk.server.admin.state()["calls"]["total"]
        held = await desk.rest.cancel("1")
        assert isinstance(held, NotSent)
        assert held.retry_after_s is not None
        assert held.retry_after_s > 1
        assert desk.server.admin.state()["calls"]["total"] == calls
        assert desk.book == []


async def test_a_429_on_a_read() -> None:
    """A read that is turned away is `NotSent` too, and the next one waits no longer than it must."""
    async with opened() as desk:
        desk.trouble(FaultKind.LIMITED, Route.ORDERS, seconds=0.0)
        assert await desk.rest.orders() == NotSent("the venue's rate limit (HTTP 429)", 0.0)
        assert value_of(await desk.rest.orders()) == []


async def test_exits_pass_when_entries_wait() -> None:
    """With the budget's ordinary share used up an entry isn't sent, a cancellation is."""
    limits = RateLimits(Limit(3, 2), Limit(200, 40), Limit(1000, 0))
    async with opened(limits=limits) as desk:
        value_of(await desk.rest.place(order(kind=OrderType.LIMIT, limit_price="800"), NOW))
        refused = await desk.rest.place(order("t2"), NOW)
        assert isinstance(refused, NotSent)
        assert "ordinary" in refused.reason
        assert isinstance(await desk.rest.positions(), NotSent)
        assert value_of(await desk.rest.positions(Purpose.EXIT)) == []
        value_of(await desk.rest.cancel(desk.book[0].order_id))
        assert len(desk.book) == 1


async def test_the_budget_keeps_the_venues_limits() -> None:
    """Forty calls at once go out no faster than ten in any second as the venue counts, and none is turned away."""
    patient = CallTimes(budget_s=30.0)
    async with opened(times=patient, limits=RateLimits(), enforce_limits=True) as desk:
        outcomes = await asyncio.gather(*(desk.rest.orders(Purpose.EXIT) for _ in range(25)))
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert desk.server.admin.state()["calls"]["most_in_second"] <= 10
        assert desk.server.admin.state()["calls"]["refused"] == 0


async def test_an_expired_token() -> None:
    """The venue's no to a token is recognised, nothing is done, and a new token makes it good."""
    async with opened() as desk:
        desk.trouble(FaultKind.EXPIRE_TOKEN)
        outcome = await desk.rest.place(order(), NOW)
        assert isinstance(outcome, Rejected)
        assert outcome.token_refused
        assert desk.book == []
        await desk.admin("POST", "token", {"authorization": f"{APP_ID}:fresh"})
        desk.rest.authorize(Credentials(APP_ID, "fresh"))
        assert value_of(await desk.rest.orders()) == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(FaultKind.DROP, {}), (FaultKind.BROKEN, {}), (FaultKind.GARBLED, {}), (FaultKind.DELAY, {"seconds": 0.6})],
)
async def test_a_failed_read_can_be_repeated(kind: FaultKind, fields: dict[str, Any]) -> None:
    """A read without an answer is `Unknown`, never an empty book."""
    async with opened() as desk:
        desk.trouble(kind, Route.POSITIONS, **fields)
        assert isinstance(await desk.rest.positions(), Unknown)
        assert value_of(await desk.rest.positions()) == []


async def test_refusal_of_a_read() -> None:
    """A read that the venue refuses says with which code."""
    async with opened() as desk:
        desk.trouble(FaultKind.REJECT, Route.FUNDS, code=-310, message="not yours")
        assert await desk.rest.funds() == Rejected(-310, "not yours")


async def test_a_cancellation_goes_out_once() -> None:
    """A cancellation whose connection breaks is in doubt, not repeated behind our back, and may have worked."""
    async with opened() as desk:
        placed = value_of(await desk.rest.place(order(kind=OrderType.LIMIT, limit_price="800"), NOW))
        desk.trouble(FaultKind.DROP, Route.CANCEL, after=True)
        calls = desk.server.admin.state()["calls"]["total"]
        assert isinstance(await desk.rest.cancel(placed.venue_id), Unknown)
        assert desk.server.admin.state()["calls"]["total"] == calls + 1
        assert (await shown(desk, placed.venue_id)).status is OrderStatus.CANCELLED


async def test_refused_connection_is_not_sent() -> None:
    """Where nobody listens nothing was sent."""
    with mute_listener() as port:
        pass
    async with client(f"http://127.0.0.1:{port}") as rest:
        outcome = await rest.place(order(), NOW)
        assert isinstance(outcome, NotSent)
        assert outcome.reason.startswith("no connection (")


async def test_a_handshake_that_hangs_is_not_sent() -> None:
    """Before TLS stands no request can have left: time-out, but not sent."""
    with mute_listener() as port:
        async with client(f"https://127.0.0.1:{port}") as rest:
            assert await rest.place(order(), NOW) == NotSent("no connection in time")


async def test_silence_after_sending_is_unknown() -> None:
    """A server that takes the request and says nothing leaves the order in doubt."""
    with mute_listener() as port:
        async with client(f"http://127.0.0.1:{port}") as rest:
            assert await rest.place(order(), NOW) == Unknown("no answer in time")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"what?\r\n\r\n", "the connection was lost (BadHttpMessage)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "the answer broke off"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
        (b"", "the connection was lost (ServerDisconnectedError)"),
    ],
)
async def test_answers_that_are_none(answer: bytes, reason: str) -> None:
    """What is not HTTP, breaks off or points elsewhere leaves an order in doubt, and is followed nowhere."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as rest:
        outcome = await rest.place(order(), NOW)
    assert isinstance(outcome, Unknown)
    assert outcome.reason.startswith(reason.split("(")[0])


async def test_no_text_holds_the_token() -> None:
    """A venue that repeats our token in its messages doesn't get it into ours."""
    async with opened() as desk:
        for kind, code in ((FaultKind.REJECT, -50), (FaultKind.REJECT, -1)):
            desk.trouble(kind, code=code, message=f"bad header {APP_ID}:{TOKEN}")
            outcome = await desk.rest.place(order(), NOW)
            assert TOKEN not in repr(outcome)
            assert "***" in repr(outcome)


async def test_closing_twice() -> None:
    """Closing is idempotent, and a closed client opens again when it is used."""
    async with opened(times=QUICK) as desk:
        value_of(await desk.rest.orders())
        await desk.rest.close()
        await desk.rest.close()
        assert value_of(await desk.rest.orders()) == []


def test_endpoints() -> None:
    """One base address stands for all three, encrypted where the base is."""
    assert Endpoints.at("https://x:1") == Endpoints("https://x:1/api/v3", "https://x:1/data", "wss://x:1/trade/v3")
    assert Endpoints.at("http://x").orders == "ws://x/trade/v3"


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({"Date": "Mon, 05 Jan 2026 03:45:00 GMT"}, [1_767_584_700]),
        ({"Date": "Mon, 05 Jan 2026 03:45:00 GMT", "Age": "5"}, []),
        ({"Date": "soon"}, []),
    ],
)
async def test_every_answer_says_what_time_it_is(headers: dict[str, str], seen: list[int]) -> None:
    """Whoever asked to be told hears the venue's `Date`, and how long it took; one out of a cache says nothing."""
    heard: list[tuple[int, int]] = []

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"s": "ok", "code": 200, "d": []}, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        rest = FyersRest(
            Credentials(APP_ID, TOKEN), RateBudget(LiveClock()), LiveClock(), Endpoints.at(str(server.make_url(""))),
            on_date=lambda ts, took_ns: heard.append((ts, took_ns)),
        )  # fmt: skip
        async with rest:
            await rest.quotes([SBIN])
    assert [ts // 1_000_000_000 for ts, _ in heard] == seen
    assert all(took_ns > 0 for _, took_ns in heard)
    assert (rest.skew_s is None) == (not seen)


async def test_the_margin_of_an_order() -> None:
    """What it would block, and what is free; nothing is placed, and a refusal says why."""
    async with opened() as desk:
        wanted = order(quantity=100)
        asked = value_of(await desk.rest.margin(wanted))
        assert (asked.required, asked.available) == (Decimal("16410.0"), Decimal(1_000_000))
        refused = await desk.rest.margin(msgspec.structs.replace(wanted, symbol="NSE:NOBODY-EQ"))
        assert isinstance(refused, Rejected)
        assert desk.book == []
