from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from daemon.sandbox.exchange import Quote
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.feed_client import MAX_WAITING_BYTES
from daemon.sandbox.tokens import DEFAULT_HSM_KEY, make_token
from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox import hsm_client
from tests.unit.sandbox.desk import APP_ID, SBIN, TOKEN, Desk, opened, until
from tests.unit.sandbox.feed_desk import Client, client_of, topic_of

TCS = "NSE:TCS-EQ"


def quote(desk: Desk, symbol: str, last: str) -> None:
    """A price of any symbol, told."""
    desk.server.exchange.on_quote(symbol, Quote(last=Decimal(last)))
    desk.server.publish()


async def test_what_orders_meet_is_what_is_told() -> None:
    """A price that is set by request comes as a snapshot and then as a change, before anything that follows from it."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        assert client.price() == 82_050
        await desk.admin("POST", "prices", {SBIN: {"last": "821.05", "bid": "821", "bid_quantity": 4}})
        await client.take()
        assert client.price() == 82_105
        assert desk.server.exchange.quotes[SBIN].last == Decimal("821.05")
        assert client.reader.numbers == [1, 2]


async def test_a_tape_at_its_pace(tmp_path: Path) -> None:
    """A paced tape reaches whoever follows it, tick for tick."""
    path = tmp_path / "day.parquet"
    with TapeWriter(path, columns=()) as writer:
        writer.write(make_batch((SBIN,), ltp=[100, 101, 102, 103]))
    async with opened(tapes=[path]) as desk, client_of(desk, SBIN) as client:
        assert desk.server.player is not None
        await desk.server.player.run(speed=1000.0)
        while len(client.reader.ticks) < 4:
            await client.take()
        assert [fields[0] for _, _, fields in client.reader.ticks] == [10_000, 10_100, 10_200, 10_300]


async def test_a_wrong_key() -> None:
    """Who shows another key is refused, stays connected and gets nothing."""
    async with opened() as desk, desk.http.ws_connect(desk.server.data_socket_url) as socket:
        client = Client(desk, socket)
        assert (await client.ask(hsm_client.auth("wrong")))[1][1] == b"E"
        assert (await client.ask(hsm_client.topics(4, [await topic_of(desk, SBIN)])))[1] == {1: b"E"}
        desk.price("821")
        assert (await client.ask(hsm_client.pause([11])))[1] == {1: b"E"}
        assert client.reader.ticks == []


async def test_two_clients() -> None:
    """Each client has numbers and topics of its own."""
    async with opened() as desk, client_of(desk, SBIN) as one, client_of(desk, TCS, SBIN) as other:
        quote(desk, TCS, "3000")
        await one.take()
        await other.take(2)
        assert (one.price(), other.price(), other.price(TCS)) == (82_050, 82_050, 300_000)
        assert (one.reader.numbers, other.reader.numbers) == ([1], [1, 2])


async def test_batches_of_topics() -> None:
    """Thousands of topics in the SDK's batches, with the lengths that it declares; their snapshots fill frames."""
    symbols = [f"NSE:S{number}-EQ" for number in range(3000)]
    async with opened() as desk, client_of(desk) as client:
        for symbol in symbols:
            desk.server.exchange.on_quote(symbol, Quote(last=Decimal(100)))
        names = []
        for start in range(0, 3000, 500):
            body = {"symbols": symbols[start : start + 500]}
            headers = {"Authorization": TOKEN}
            async with desk.http.post(desk.server.symbol_tokens_url, json=body, headers=headers) as answer:
                names += [f"sf|nse_cm|{token[10:]}" for token in (await answer.json())["validSymbol"].values()]
        for start in range(0, 3000, 1500):
            await client.socket.send_bytes(hsm_client.topics(4, names[start : start + 1500], declared=77))
        while len(client.reader.shown) < 3000:
            await client.take()
        kinds = [frame[2] for frame in client.frames]
        assert kinds[:3] == [1, 4, 6]
        assert kinds.count(4) == 2
        assert max(len(frame) for frame in client.frames) > 60_000


async def test_acks_pings_and_nonsense() -> None:
    """Acks and pings are noted; what can't be read is counted and passed over."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        for frame in (hsm_client.ack(50), hsm_client.PING, b"", b"\0\0\x63\0"):
            await client.socket.send_bytes(frame)
        await client.socket.send_str("hello")
        await client.take()
        await client.ask(hsm_client.resume([11]))
        state = (await desk.admin("GET", "state"))["data_sockets"]
        assert state["open"] == [{"admitted": True, "topics": 1, "unknown": [], "acked": 50, "pings": 1}]
        assert (state["connections"], state["unreadable"], state["frames"], state["records"]) == (1, 2, 1, 1)


async def test_what_was_sent() -> None:
    """Records are counted by symbol and kind, also of clients that are gone."""
    async with opened() as desk:
        async with client_of(desk, SBIN) as client:
            desk.price("821")
            await client.take(2)
        await until(lambda: desk.server.data_feed.state()["open"] == [])
        async with client_of(desk, SBIN) as client:
            await client.take()
            assert await desk.admin("GET", "sent") == {SBIN: {"sf": 3}, "status": 200}


async def test_the_token_ends() -> None:
    """Everyone who is connected is told, once; keys are refused; with a new token a new key holds."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        await desk.admin("POST", "token", {})
        await client.take()
        kind, fields = client.reader.answers[-1]
        assert (kind, int.from_bytes(fields[1], signed=True), fields[2]) == (51, -99, b"Token is expired")
        desk.price("821")
        assert (await client.ask(hsm_client.auth(DEFAULT_HSM_KEY)))[1][1] == b"E"
        await desk.admin("POST", "token", {"authorization": f"{APP_ID}:{make_token('new')}"})
        assert (await client.ask(hsm_client.auth("new")))[1][1] == b"K"
        desk.price("822")
        await client.take()
        assert client.price() == 82_200


async def closed(client: Client) -> bool:
    """Whether the connection breaks."""
    async with asyncio.timeout(10):
        message = await client.socket.receive()
    return message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)


async def test_cut() -> None:
    """Connections break when told to, and by a fault of a key or a frame."""
    async with opened() as desk:
        async with client_of(desk, SBIN) as client:
            await client.take()
            assert (await desk.admin("POST", "cut"))["cut"] == 1
            assert await closed(client)
        async with client_of(desk, SBIN) as client:
            await client.take()
            desk.trouble(FaultKind.CUT, Route.FRAME)
            desk.price("821")
            assert await closed(client)
        desk.trouble(FaultKind.CUT, Route.AUTH)
        async with desk.http.ws_connect(desk.server.data_socket_url) as socket:
            await socket.send_bytes(hsm_client.auth(DEFAULT_HSM_KEY))
            assert await closed(Client(desk, socket))


async def test_half_open() -> None:
    """A mute connection stays open, takes whatever is sent, and says nothing more, not even to a websocket's ping."""
    async with opened() as desk, client_of(desk, SBIN) as client, client_of(desk, SBIN) as other:
        await client.take()
        await other.take()
        await client.socket.ping(b"there?")
        assert (await client.socket.receive()).type is aiohttp.WSMsgType.PONG
        desk.trouble(FaultKind.MUTE, Route.FRAME)
        desk.price("821")
        await other.take()
        desk.price("822")
        await client.socket.ping()
        await client.socket.send_bytes(hsm_client.pause([11]))
        await other.take()
        assert (await other.ask(hsm_client.pause([11])))[0] == 7
        assert other.price() == 82_200
        with pytest.raises(TimeoutError):
            await client.socket.receive(timeout=0.2)
        assert not client.socket.closed


async def test_a_key_nobody_answers_for() -> None:
    """A mute answer to a key leaves the connection open; a refused one says so."""
    async with opened() as desk:
        desk.trouble(FaultKind.REJECT, Route.AUTH)
        desk.trouble(FaultKind.MUTE, Route.AUTH)
        async with desk.http.ws_connect(desk.server.data_socket_url) as socket:
            client = Client(desk, socket)
            assert (await client.ask(hsm_client.auth(DEFAULT_HSM_KEY)))[1][1] == b"E"
            await socket.send_bytes(hsm_client.auth(DEFAULT_HSM_KEY))
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.2)


@pytest.mark.parametrize(
    ("kind", "seen", "numbers"),
    [
        (FaultKind.DUPLICATE, [82_100, 82_100, 82_200, 82_300], [1, 2, 2, 3, 4]),
        (FaultKind.REORDER, [82_200, 82_100, 82_300], [1, 3, 2, 4]),
        (FaultKind.LOSE, [82_200, 82_300], [1, 3, 4]),
    ],
)
async def test_packets(kind: FaultKind, seen: list[int], numbers: list[int]) -> None:
    """Packets come twice, in another order, or never; their numbers tell."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        desk.trouble(kind, Route.FRAME)
        for price in ("821", "822", "823"):
            desk.price(price)
        await client.take(len(seen))
        assert [fields[0] for _, _, fields in client.reader.ticks[1:]] == seen
        assert client.reader.numbers == numbers


async def test_spoiled_bytes() -> None:
    """A fault of bytes befalls one frame; the next one is whole."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        desk.trouble(FaultKind.TRUNCATE, Route.FRAME)
        desk.price("821")
        assert len(await client.next()) < 104
        desk.price("822")
        await client.take()
        assert client.price() == 82_200
        assert (await desk.admin("GET", "state"))["faults"]["suffered"] == {"truncate": 1}


async def test_a_token_that_ends_with_a_frame() -> None:
    """A fault ends the token in the middle of the stream: the frame doesn't come, the error does."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        desk.trouble(FaultKind.EXPIRE_TOKEN, Route.FRAME)
        desk.price("821")
        await client.take()
        assert client.reader.answers[-1][0] == 51
        assert client.price() == 82_050


async def test_an_absurd_price() -> None:
    """One tick shows a hundred times the price, the next one the right one; orders never meet the absurd one."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        desk.trouble(FaultKind.WRONG_PRICE, Route.TICK, symbol=SBIN, factor=100.0)
        desk.price("821")
        await client.take()
        assert client.price() == 8_210_000
        assert desk.server.exchange.quotes[SBIN].last == 821
        desk.price("821")
        await client.take()
        assert client.price() == 82_100


async def test_a_frozen_symbol() -> None:
    """One symbol stops while another goes on, until the fault is over or taken back; then all comes at once."""
    async with opened() as desk, client_of(desk, SBIN, TCS) as client:
        quote(desk, TCS, "3000")
        await client.take(2)
        desk.trouble(FaultKind.FREEZE, Route.TICK, symbol=SBIN, seconds=1000.0)
        for step in range(1, 4):
            desk.price(str(820 + step))
            quote(desk, TCS, str(3000 + step))
        await client.take(3)
        assert (client.price(), client.price(TCS)) == (82_050, 300_300)
        await desk.admin("DELETE", "faults")
        desk.price("824")
        await client.take()
        assert client.price() == 82_400
        desk.trouble(FaultKind.FREEZE, Route.TICK, symbol=SBIN, seconds=0.0)
        desk.price("825")
        await client.take()
        assert client.price() == 82_500


async def test_a_fault_waits_for_a_listener() -> None:
    """Ticks that nobody asked for use no fault up."""
    async with opened() as desk:
        desk.trouble(FaultKind.WRONG_PRICE, Route.TICK)
        desk.price("821")
        assert desk.server.plan.queued == 1


async def test_a_client_that_doesnt_keep_up() -> None:
    """More than so much may not wait: such a client is cut off, and counted, and never sent a stream with holes."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        feed = desk.server.data_feed
        frame = bytes(1 << 20)
        assert all(feed._clients[0].send(frame) for _ in range(MAX_WAITING_BYTES >> 20))
        desk.price("821")
        assert feed.state()["overrun"] == 1
        while not await closed(client):
            pass


async def test_stopping() -> None:
    """Stopping ends connections in order."""
    async with opened() as desk, client_of(desk, SBIN) as client:
        await client.take()
        await desk.server.stop()
        assert await closed(client)
