from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web

from daemon.calls.budget import Purpose
from daemon.core.clock import LiveClock
from daemon.core.events import OrderType
from daemon.fyers.credentials import Credentials
from daemon.fyers.order_socket import OrderSocket
from daemon.orders.pushes import Disconnected, Gap, OrderPush, PositionPush, SocketEvent, TradePush
from daemon.orders.venue import OrderStatus
from daemon.sandbox.faults import FaultKind, Route
from tests.unit.sandbox.desk import APP_ID, LIVELY, TOKEN, Desk, opened, order, until

NOW = Purpose.ORDINARY
CONNECTED = Gap("connected")
ACK = '{"code":1605,"message":"Successfully subscribed","s":"ok"}'


@asynccontextmanager
async def listening(desk: Desk) -> AsyncIterator[AsyncIterator[SocketEvent]]:
    """Connect to the sandbox's order socket and stand behind the first `Gap`."""
    async with aclosing(desk.socket().events()) as events:
        assert await soon(events) == CONNECTED
        yield events


async def soon(events: AsyncIterator[SocketEvent]) -> SocketEvent:
    """Await the next event, ten seconds at most."""
    async with asyncio.timeout(10):
        return await anext(events)


async def take(events: AsyncIterator[SocketEvent], count: int) -> list[SocketEvent]:
    """Await the next `count` events."""
    return [await soon(events) for _ in range(count)]


async def test_pushes_of_an_order() -> None:
    """An order's life comes as pushes: on its way, working, traded, filled, and the position."""
    async with opened() as desk, listening(desk) as events:
        await desk.rest.place(order("abc"), NOW)
        transit, pending, trade, filled, position = await take(events, 5)
        states = [push.order.status for push in (transit, pending, filled) if isinstance(push, OrderPush)]
        assert states == [OrderStatus.TRANSIT, OrderStatus.PENDING, OrderStatus.FILLED]
        assert isinstance(trade, TradePush)
        assert (trade.trade.tag, trade.trade.quantity, trade.trade.price) == ("abc", 10, Decimal("820.5"))
        assert isinstance(position, PositionPush)
        assert position.position.quantity == 10


async def test_a_push_tells_what_the_book_tells() -> None:
    """The socket's and the book's words become the same records."""
    async with opened() as desk, listening(desk) as events:
        await desk.rest.place(order("abc", kind=OrderType.SL_LIMIT, limit_price="830.5", stop_price="830"), NOW)
        desk.price("830")
        pushes = await take(events, 5)
        book = await desk.rest.orders()
        trades = await desk.rest.trades()
        positions = await desk.rest.positions()
        assert [OrderPush(item) for item in book.value] == [pushes[3]]  # type: ignore[union-attr]
        assert [TradePush(item) for item in trades.value] == [pushes[2]]  # type: ignore[union-attr]
        assert [PositionPush(item) for item in positions.value] == [pushes[4]]  # type: ignore[union-attr]


async def test_repeated_lost_and_reordered_pushes() -> None:
    """Pushes come as the venue sends them: twice, not at all, or in another order."""
    async with opened() as desk, listening(desk) as events:
        for kind in (FaultKind.DUPLICATE, FaultKind.LOSE, FaultKind.REORDER):
            desk.trouble(kind, Route.PUSH)
        await desk.rest.place(order("abc"), NOW)
        first, again, filled, trade, position = await take(events, 5)
        assert first == again
        assert isinstance(filled, OrderPush)
        assert filled.order.status is OrderStatus.FILLED
        assert isinstance(trade, TradePush)
        assert isinstance(position, PositionPush)


async def test_a_cut_brings_a_gap() -> None:
    """After a cut the client comes back by itself, says that pushes may be missing, and gets the next ones."""
    async with opened() as desk, listening(desk) as events:
        desk.trouble(FaultKind.CUT, Route.PUSH)
        await desk.rest.place(order("abc"), NOW)
        lost, gap = await take(events, 2)
        assert isinstance(lost, Disconnected)
        assert not lost.token_refused
        assert gap == CONNECTED
        await desk.rest.place(order("def"), NOW)
        push = await soon(events)
        assert isinstance(push, OrderPush)
        assert push.order.tag == "def"


async def test_a_mute_link_is_given_up() -> None:
    """A link that stays open and says nothing, not even pong, is noticed and replaced."""
    async with opened() as desk, listening(desk) as events:
        desk.trouble(FaultKind.MUTE, Route.PUSH)
        await desk.rest.place(order("abc"), NOW)
        lost, gap = await take(events, 2)
        assert isinstance(lost, Disconnected)
        assert lost.reason.startswith("nothing was heard for")
        assert gap == CONNECTED


async def test_pongs_keep_a_quiet_link() -> None:
    """Without pushes pings are answered and the link stays."""
    async with opened() as desk, listening(desk) as events:
        asyncio.get_running_loop().call_later(LIVELY.silence_s * 3, desk.price, "800")
        await desk.rest.place(order("abc", kind=OrderType.LIMIT, limit_price="800"), NOW)
        await take(events, 2)
        assert isinstance(await soon(events), TradePush)
        assert desk.server.feed.connections == 1


async def test_an_expired_token() -> None:
    """A refused token is told as such, again and again, until a new one ends the waiting at once."""
    async with opened() as desk:
        client = desk.socket()
        async with aclosing(client.events()) as events:
            assert await soon(events) == CONNECTED
            await desk.admin("POST", "token", {})
            assert isinstance(await soon(events), Disconnected)
            assert await soon(events) == Disconnected("the handshake was refused (HTTP 403)", True)
            await desk.admin("POST", "token", {"authorization": f"{APP_ID}:fresh"})
            client.authorize(Credentials(APP_ID, "fresh"))
            while (event := await soon(events)) != CONNECTED:
                assert isinstance(event, Disconnected)


async def test_nobody_there() -> None:
    """Without a server the client says so and keeps trying."""
    async with opened() as desk:
        client = desk.socket()
        await desk.server.stop()
        async with aclosing(client.events()) as events:
            for event in await take(events, 3):
                assert isinstance(event, Disconnected)
                assert event.reason.startswith("no connection (")
                assert TOKEN not in event.reason


@asynccontextmanager
async def venue(talk: Callable[[web.WebSocketResponse], Awaitable[None]]) -> AsyncIterator[OrderSocket]:
    """Serve an order socket that does what `talk` does, and make a client for it."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await talk(socket)
        return socket

    application = web.Application()
    application.add_routes([web.get("/trade/v3", handle)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"ws://127.0.0.1:{runner.addresses[0][1]}/trade/v3"
        yield OrderSocket(url, Credentials(APP_ID, TOKEN), LiveClock(), LIVELY)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("<html>", "a push of an unknown kind"),
        ('{"s":"ok","news":{}}', "a push of an unknown kind"),
        ('{"s":"ok","orders":{"id":"1","tran_side":5}}', "a push that can't be read: order"),
        ('{"s":"ok","trades":{"id":"1"}}', "a push that can't be read: trade"),
    ],
)
async def test_a_push_that_cannot_be_read(frame: str, reason: str) -> None:
    """An unreadable push isn't dropped in silence: the book must be read."""

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str("pong")
        await socket.send_str(ACK)
        await socket.send_bytes(frame.encode())
        await socket.receive()

    async with venue(talk) as client, aclosing(client.events()) as events:
        connected, gap = await take(events, 2)
        assert connected == CONNECTED
        assert isinstance(gap, Gap)
        assert gap.reason.startswith(reason)


async def test_pushes_before_the_acknowledgement() -> None:
    """What comes before the acknowledgement is handed on, behind the `Gap`."""

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"s":"ok","positions":{"symbol":"X","product_type":"CNC","net_qty":-5}}')
        await socket.send_str(ACK)
        await socket.receive()

    async with venue(talk) as client, aclosing(client.events()) as events:
        connected, push = await take(events, 2)
        assert connected == CONNECTED
        assert isinstance(push, PositionPush)
        assert push.position.quantity == -5


async def test_a_refused_subscription() -> None:
    """A subscription that the venue refuses is a lost connection with its code."""

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"s":"error","code":-1600}')

    async with venue(talk) as client, aclosing(client.events()) as events:
        assert await soon(events) == Disconnected("the subscription was refused (code -1600)", False)


async def test_no_acknowledgement() -> None:
    """Without an acknowledgement there is no connection."""

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async with venue(talk) as client:
        slow = OrderSocket(
            client._url, Credentials(APP_ID, TOKEN), LiveClock(), type(LIVELY)(connect_s=0.1, first_retry_s=0.01)
        )
        async with aclosing(slow.events()) as events:
            assert await soon(events) == Disconnected("no answer in time", False)


async def test_pings_go_out_while_pushes_pour_in() -> None:
    """A busy link is pinged like a quiet one: the venue may want it so."""
    pings: list[str] = []

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(ACK)
        while not pings and not socket.closed:
            await socket.send_str('{"s":"ok","positions":{"symbol":"X","product_type":"CNC","net_qty":1}}')
            try:
                pings.append(await socket.receive_str(timeout=0.005))
            except TimeoutError:
                continue

    async with venue(talk) as client, aclosing(client.events()) as events:
        while not isinstance(await soon(events), Disconnected):
            pass
    assert pings == ["ping"]


async def test_closing_ends_the_connection() -> None:
    """Closing the stream closes the socket; nothing is left behind at the venue."""
    async with opened() as desk:
        async with listening(desk):
            assert desk.server.feed.cut() == 1
        async with listening(desk):
            pass
        await until(lambda: desk.server.feed.cut() == 0)


async def test_the_sandbox_refuses_strangers() -> None:
    """The order socket opens for the token of the day only."""
    async with opened() as desk:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await desk.http.ws_connect(desk.endpoints.orders, headers={"authorization": "someone:else"})
