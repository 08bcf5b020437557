from __future__ import annotations

import datetime as dt
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import make_mocked_request

from daemon.calls.budget import Purpose
from daemon.calls.outcome import Done, NotSent
from daemon.core.clock import NS_PER_S, LiveClock, ReplayClock
from daemon.core.errors import Fault as DaemonFault
from daemon.core.errors import TapeError, UsageError
from daemon.core.events import OrderType
from daemon.market.calendar import ist_ns
from daemon.orders.pushes import Gap, OrderPush
from daemon.sandbox.admin import say_usage_errors
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.server import SandboxOptions, SandboxServer
from daemon.settings.market import MarketSettings
from daemon.tape.format import TapeWriter
from tests.samples import OPEN, write_tape
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox.desk import APP_ID, SBIN, TOKEN, opened, order, until

NOW = Purpose.ORDINARY
HEADERS = {"Authorization": f"{APP_ID}:{TOKEN}", "version": "3"}
BODY: dict[str, Any] = {
    "symbol": SBIN, "qty": 5, "type": 2, "side": 1, "productType": "INTRADAY", "limitPrice": 0, "stopPrice": 0,
    "validity": "DAY", "disclosedQty": 0, "offlineOrder": False, "stopLoss": 0, "takeProfit": 0, "orderTag": "abc",
}  # fmt: skip


async def test_the_wire_of_an_order() -> None:
    """Words and codes are Fyers': 1101 with an id, the tag prefixed, times in India."""
    async with opened() as desk:
        api = desk.endpoints.api
        async with desk.http.post(f"{api}/orders/sync", json=BODY, headers=HEADERS) as response:
            answer = await response.json()
        assert (response.status, answer["s"], answer["code"]) == (200, "ok", 1101)
        async with desk.http.get(f"{api}/orders", params={"id": answer["id"]}, headers=HEADERS) as response:
            row = (await response.json())["orderBook"][0]
        assert (row["orderTag"], row["status"], row["filledQty"], row["tradedPrice"]) == ("1:abc", 2, 5, 820.5)
        assert row["orderDateTime"][2] == row["orderDateTime"][6] == "-"


async def test_a_resting_order_is_changed_by_its_owner() -> None:
    """As in the broker's app: another price and quantity under the same id."""
    async with opened() as desk:
        places, resting = f"{desk.endpoints.api}/orders/sync", {**BODY, "type": 1, "limitPrice": 800}
        async with desk.http.post(places, json=resting, headers=HEADERS) as response:
            order_id = (await response.json())["id"]
        change = {"id": order_id, "type": 1, "qty": 20, "limitPrice": 801.5}
        async with desk.http.patch(places, json=change, headers=HEADERS) as response:
            answer = await response.json()
        assert (answer["s"], answer["code"], answer["id"]) == ("ok", 1102, order_id)
        (held,) = desk.book
        assert (held.wanted.quantity, held.wanted.limit_price, held.status.name) == (20, Decimal("801.5"), "PENDING")
        async with desk.http.patch(places, json={**change, "qty": "20"}, headers=HEADERS) as response:
            assert (await response.json())["code"] == -50


async def test_several_orders_in_one_call() -> None:
    """Each has an answer of its own, in its place: the second is refused, the others live; none and eleven are too."""
    async with opened() as desk:
        places = f"{desk.endpoints.api}/multi-order/sync"
        wanted = [BODY, {**BODY, "qty": 0}, {**BODY, "type": 1, "limitPrice": 800, "orderTag": "c"}]
        async with desk.http.post(places, json=wanted, headers=HEADERS) as response:
            first, second, third = (await response.json())["data"]
        assert [entry["statusCode"] for entry in (first, second, third)] == [200, 400, 200]
        assert second["body"]["code"] == -50
        assert [item.order_id for item in desk.book] == [first["body"]["id"], third["body"]["id"]]
        gone = [{"id": third["body"]["id"]}, {"id": "nonsense"}]
        async with desk.http.delete(places, json=gone, headers=HEADERS) as response:
            assert [entry["statusCode"] for entry in (await response.json())["data"]] == [200, 400]
        assert desk.book[1].status.name == "CANCELLED"
        for count in (0, 11):
            async with desk.http.post(places, json=[BODY] * count, headers=HEADERS) as response:
                assert (await response.json())["code"] == -50
        assert len(desk.book) == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"qty": "5"}, -50),
        ({"qty": True}, -50),
        ({"side": 2}, -50),
        ({"type": 7}, -50),
        ({"type": [1]}, -50),
        ({"productType": "LOAN"}, -50),
        ({"validity": "GTC"}, -50),
        ({"limitPrice": -1}, -50),
        ({"orderTag": "with space"}, -50),
        ({"orderTag": "x" * 31}, -50),
        ({"symbol": None}, -50),
        ({"symbol": "NSE:NONE-EQ"}, -300),
    ],
)
async def test_bad_orders(change: dict[str, Any], code: int) -> None:
    """A parameter that can't be meant is refused with Fyers' code, and nothing lives."""
    async with opened() as desk:
        async with desk.http.post(
            f"{desk.endpoints.api}/orders/sync", json={**BODY, **change}, headers=HEADERS
        ) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, code)
        assert desk.book == []


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff"])
async def test_bad_bodies(content: bytes) -> None:
    """A body that is no JSON object is refused."""
    async with opened() as desk:
        url = f"{desk.endpoints.api}/orders/sync"
        async with desk.http.post(url, data=content, headers=HEADERS) as answer:
            assert (await answer.json())["code"] == -50


@pytest.mark.parametrize("change", [{"type": 9}, {"type": 1, "qty": "1"}, {"type": 1, "limitPrice": "1"}])
async def test_bad_changes(change: dict[str, Any]) -> None:
    """A change that can't be meant is refused."""
    async with opened() as desk:
        url = f"{desk.endpoints.api}/orders/sync"
        async with desk.http.patch(url, json={"id": "1", **change}, headers=HEADERS) as answer:
            assert (await answer.json())["code"] == -50


async def test_the_token_is_asked_for() -> None:
    """Without the token of the day every call is refused with a token code."""
    async with opened() as desk:
        for headers in ({}, {"Authorization": f"{APP_ID}:wrong"}, {"Authorization": "é"}):
            async with desk.http.get(f"{desk.endpoints.api}/funds", headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (401, -16)


async def test_quotes_want_symbols() -> None:
    """No symbols, or more than fifty, are refused."""
    async with opened() as desk:
        for symbols in ("", ",".join(["X"] * 51)):
            async with desk.http.get(
                f"{desk.endpoints.data}/quotes", params={"symbols": symbols}, headers=HEADERS
            ) as answer:
                assert (await answer.json())["code"] == -50


async def test_the_state_is_the_truth() -> None:
    """The state tells orders, trades, positions and money with all digits, and which tags were sent twice."""
    async with opened() as desk:
        for tag in ("abc", "abc", "def"):
            await desk.rest.place(order(tag), NOW)
        state = await desk.admin("GET", "state")
        assert [item["tag"] for item in state["orders"]] == ["abc", "abc", "def"]
        assert state["doubled_tags"] == ["abc"]
        assert state["positions"] == {SBIN: 30}
        assert Decimal(state["cash"]) == 1_000_000 - 30 * Decimal("820.5") - Decimal(state["charges"])
        assert state["orders"][0]["status"] == "FILLED"
        assert (state["calls"]["total"], state["prices"], state["tape_ended"]) == (3, {SBIN: "820.5"}, None)


async def test_an_untagged_order_is_nobodys() -> None:
    """An order placed by hand carries Fyers' mark for no tag, and never counts as doubled."""
    async with opened() as desk:
        for _ in range(2):
            body = {name: value for name, value in BODY.items() if name != "orderTag"}
            await desk.http.post(f"{desk.endpoints.api}/orders/sync", json=body, headers=HEADERS)
        found = await desk.rest.orders()
        assert isinstance(found, Done)
        assert [item.tag for item in found.value] == ["", ""]
        assert (await desk.admin("GET", "state"))["doubled_tags"] == []


async def test_prices_and_steps() -> None:
    """Prices are set by request; a step shows the quotes' quantities anew."""
    async with opened() as desk:
        quote = {"last": "100", "ask": 100.05, "ask_quantity": 3}
        assert (await desk.admin("POST", "prices", {SBIN: quote}))["status"] == 200
        await desk.rest.place(order(quantity=8), NOW)
        assert [item.filled for item in desk.book] == [3]
        await desk.admin("POST", "step", {})
        assert [item.filled for item in desk.book] == [6]
        assert desk.book[0].average_price == Decimal("100.05")


async def test_partial_by_request() -> None:
    """A partial fault fills so much on arrival, the rest when the price is next told."""
    async with opened() as desk:
        assert (await desk.admin("POST", "faults", [{"kind": "partial", "quantity": 4}]))["queued"] == 1
        await desk.rest.place(order(), NOW)
        assert desk.book[0].filled == 4
        await desk.admin("POST", "step", {})
        assert desk.book[0].filled == 10


async def test_chances_by_request() -> None:
    """Faults by chance are asked for, seeded, counted and taken back."""
    async with opened() as desk:
        wanted = {"seed": 5, "chances": [{"probability": 1.0, "fault": {"kind": "limited", "seconds": 0}}]}
        await desk.admin("PUT", "chances", wanted)
        assert isinstance(await desk.rest.place(order(), NOW), NotSent)
        await desk.admin("DELETE", "faults")
        assert isinstance(await desk.rest.place(order(), NOW), Done)
        assert (await desk.admin("GET", "state"))["faults"] == {"queued": 0, "suffered": {"limited": 1}}


async def test_the_day_ends_by_request() -> None:
    """Working orders expire when told, and the sockets are cut when told."""
    async with opened() as desk:
        await desk.rest.place(order(kind=OrderType.LIMIT, limit_price="1"), NOW)
        assert (await desk.admin("POST", "expire"))["expired"] == 1
        assert (await desk.admin("POST", "cut"))["cut"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "prices", {SBIN: {"last": "0"}}),
        ("POST", "prices", {SBIN: {"last": "dear"}}),
        ("POST", "prices", {SBIN: {"last": "NaN"}}),
        ("POST", "prices", {SBIN: {"last": "800", "bid": "-1"}}),
        ("POST", "prices", {SBIN: {"last": "800", "ask": "Infinity"}}),
        ("POST", "prices", []),
        ("POST", "faults", [{"kind": "earthquake"}]),
        ("POST", "faults", [{"kind": "cut", "on": "place"}]),
        ("POST", "faults", [{"kind": "drop", "afterwards": True}]),
        ("PUT", "chances", {"chances": [{"probability": 7, "fault": {"kind": "drop"}}]}),
        ("POST", "step", {"tocks": 1}),
    ],
)
async def test_bad_requests(method: str, path: str, body: Any) -> None:
    """A request that can't be meant is refused with one line."""
    async with opened() as desk:
        answer = await desk.admin(method, path, body)
        assert answer["status"] == 400
        assert answer["message"]


async def test_limits_hold_when_wanted() -> None:
    """With its limits on the sandbox turns the eleventh call of a second away."""
    async with opened(enforce_limits=True) as desk:
        statuses = []
        for _ in range(11):
            async with desk.http.get(f"{desk.endpoints.api}/profile", headers=HEADERS) as answer:
                statuses.append((answer.status, answer.headers.get("Retry-After")))
        assert statuses[0] == (200, None)
        assert (await desk.admin("GET", "state"))["calls"]["refused"] == sum(status == 429 for status, _ in statuses)


async def test_who_leaves_in_the_handshake_is_no_error() -> None:
    """A web socket whose other end is gone before it is open, as by a kill: no traceback in the sandbox's output."""

    async def gone(request: web.Request) -> web.StreamResponse:
        raise ConnectionResetError("Connection lost")  # as `WebSocketResponse.prepare` does

    assert (await say_usage_errors(make_mocked_request("GET", "/trade/v3"), gone)).status == 400


async def test_ports() -> None:
    """A taken port is said in one line, before the start there is no address, and stopping twice is fine."""
    async with opened() as desk:
        port = int(desk.server.url.rsplit(":", 1)[1])
        other = SandboxServer(SandboxOptions(port=port), LiveClock())
        with pytest.raises(DaemonFault):
            _ = other.url
        with pytest.raises(UsageError, match=f"--port {port}"):
            await other.start()
        await other.stop()
        await desk.server.stop()
        assert desk.server.admin.state()["orders"] == []


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Write a tape of one share: six ticks, one of them without a price, and four of the next day."""
    path = tmp_path / "day.parquet"
    seconds = [0, 1, 2, 3, 4, 5, *range(86_400, 86_404)]
    columns: dict[str, Any] = {
        "ts_event": seconds, "ltp": [100, 101, np.nan, 102, 103, 104, *[105] * 4],
        "bid": [np.nan, 101, 0, 101.95, 103, 104, *[105] * 4],
        "ask": [np.nan, 101.05, 0, 102, 103, 104, *[105] * 4], "bid_qty": [-1, 7, 0, 7, -1, 7, *[7] * 4],
        "ask_qty": [-1, 6, 0, 6, -1, 7, *[7] * 4],
    }  # fmt: skip
    with TapeWriter(path, columns=("bid", "ask", "bid_qty", "ask_qty")) as writer:
        writer.write(make_batch((SBIN,), **columns))
    return path


async def test_a_tape_step_by_step(tape: Path) -> None:
    """Ticks of the tape become quotes by request; bad ones are passed over, and the tape's time is the exchange's."""
    async with opened(tapes=[tape]) as desk:
        assert (await desk.admin("POST", "step", {"ticks": 2}))["played"] == 2
        await desk.rest.place(order(), NOW)
        assert (desk.book[0].filled, desk.book[0].average_price) == (6, Decimal("101.05"))
        await desk.admin("POST", "step", {})
        assert desk.book[0].filled == 10
        state = await desk.admin("POST", "step", {"ticks": 100})
        assert state["played"] == 6
        assert (await desk.admin("GET", "state"))["tape_ended"] is True
        assert desk.server.exchange.quotes[SBIN].last == 105


async def test_a_special_session_of_the_calendar_file_is_played(tmp_path: Path) -> None:
    """A Saturday on which nobody but the file knows of trading: its ticks, its candles, and the market's status."""
    saturday = dt.date(2026, 12, 26)
    file, opened_ns = tmp_path / "calendar.yaml", ist_ns(saturday, "09:15")
    tape = write_tape(tmp_path / "t.parquet", [opened_ns, opened_ns + NS_PER_S], [100.0, 101.0], SBIN)
    file.write_text(f"sessions: [{{date: {saturday}}}]\n")
    async with opened(tapes=[tape], market=MarketSettings(calendar_file=file)) as desk:
        assert (await desk.admin("POST", "step", {"ticks": 2}))["played"] == 2
        told = await desk.rest.market_status()
        assert isinstance(told, Done)
        assert {state.status for state in told.value} == {"OPEN"}


async def test_a_tape_at_its_pace(tape: Path) -> None:
    """A paced tape plays to its end by itself, through the closed hours at once, and pushes what it fills."""
    async with opened(tapes=[tape]) as desk:
        player = desk.server.player
        assert player is not None
        player.step(1)
        await desk.rest.place(order(kind=OrderType.LIMIT, limit_price="90"), NOW)
        await player.run(speed=50.0)
        assert player.ended
        assert player.played == 9
        assert desk.book[0].filled == 0


async def test_a_missing_tape(tmp_path: Path) -> None:
    """A tape that isn't there is a tape error."""
    with pytest.raises(TapeError):
        SandboxServer(SandboxOptions(tapes=[tmp_path / "none.parquet"]), LiveClock())


async def test_a_late_change_is_made_once() -> None:
    """A cancellation may take effect after its connection broke."""
    async with opened() as desk:
        await desk.rest.place(order(kind=OrderType.LIMIT, limit_price="1"), NOW)
        desk.trouble(FaultKind.LATE, Route.CANCEL, seconds=0.05)
        await desk.rest.cancel(desk.book[0].order_id)
        await until(lambda: desk.book[0].status.name == "CANCELLED")


async def test_sockets_of_strange_clients() -> None:
    """A client that sends nonsense, or never subscribes, gets no pushes and hurts nobody; stopping ends it in order."""
    async with opened() as desk, desk.http.ws_connect(desk.endpoints.orders, headers=HEADERS) as socket:
        await socket.send_bytes(b"\x00")
        await socket.send_str("hello")
        await desk.rest.place(order(), NOW)
        await socket.send_str("ping")
        assert await socket.receive_str() == "pong"
        await desk.server.stop()
        assert (await socket.receive()).type is WSMsgType.CLOSE


async def test_pushing_to_a_dead_client() -> None:
    """A subscriber that breaks off while pushes wait for it is forgotten; others still get theirs."""
    async with opened() as desk:
        dead = await desk.http.ws_connect(desk.endpoints.orders, headers=HEADERS)
        await dead.send_str('{"T":"SUB_ORD","SLIST":["orders"],"SUB_T":1}')
        assert "1605" in await dead.receive_str()
        await dead.close()
        async with aclosing(desk.socket().events()) as events:
            assert await anext(events) == Gap("connected")
            await desk.rest.place(order(), NOW)
            assert isinstance(await anext(events), OrderPush)


async def test_answers_are_dated_by_the_sandboxs_own_clock() -> None:
    """A daemon compares its time with them."""
    async with (
        SandboxServer(SandboxOptions(), ReplayClock(OPEN)) as server,
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/api/v3/orders") as answer,
    ):
        assert answer.headers["Date"] == "Mon, 05 Jan 2026 03:45:00 GMT"
