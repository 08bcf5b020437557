from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from daemon.core.clock import LiveClock
from daemon.core.errors import UsageError
from daemon.sandbox.hsm import SYMBOL_FIELDS, Topic
from daemon.sandbox.load import LoadBoard, LoadPlan
from daemon.settings.market import MarketSettings
from tests.unit.sandbox import hsm_client
from tests.unit.sandbox.desk import Desk, opened
from tests.unit.sandbox.feed_desk import Client, client_of

SYMBOLS = [f"NSE:LOAD{number:05}-EQ" for number in (1, 2, 3)]


async def loaded(desk: Desk, client: Client, ticks: int, **plan: Any) -> dict[str, Any]:
    """Make a load while a client takes it; what the load reported."""
    before = len(client.reader.ticks)
    making = asyncio.create_task(desk.admin("POST", "load", {"symbols": 3, "rate": 1e6, "ticks": ticks, **plan}))
    while len(client.reader.ticks) < before + ticks:
        await client.take()
    return await making


async def test_nothing_is_lost() -> None:
    """Every tick of every symbol comes, in order, with a volume that counts them, and the counts agree."""
    async with opened() as desk, client_of(desk, *SYMBOLS) as client:
        report = await loaded(desk, client, 10_000, batch=7)
        assert (report["status"], report["made"]) == (200, 10_000)
        volumes: dict[str, list[int]] = {}
        for _, topic, fields in client.reader.ticks:
            volumes.setdefault(topic, []).append(fields[1])
        counts = [3334, 3333, 3333]
        assert [volumes[client.topics[symbol]] for symbol in SYMBOLS] == [list(range(1, n + 1)) for n in counts]
        sent = await desk.admin("GET", "sent")
        assert [sent[symbol] for symbol in SYMBOLS] == [{"sf": n} for n in counts]
        assert max(int.from_bytes(frame[7:9]) for frame in client.frames if frame[2] == 6) == 7


async def test_it_is_the_same_every_time() -> None:
    """Two sandboxes make the same ticks, whatever the frames."""
    made = []
    for batch in (1, 50):
        async with opened() as desk, client_of(desk, *SYMBOLS) as client:
            await loaded(desk, client, 1000, batch=batch)
            made.append(client.reader.ticks)
    assert made[0] == made[1]


async def test_one_load_after_another() -> None:
    """Volumes and times go on from load to load."""
    async with opened() as desk, client_of(desk, *SYMBOLS) as client:
        await loaded(desk, client, 300)
        first = client.reader.named(client.topics[SYMBOLS[0]], SYMBOL_FIELDS)
        await loaded(desk, client, 300, symbols=2)
        second = client.reader.named(client.topics[SYMBOLS[0]], SYMBOL_FIELDS)
        assert (first["vol_traded_today"], second["vol_traded_today"]) == (100, 250)
        assert second["exch_feed_time"] > first["exch_feed_time"]


async def test_stamps() -> None:
    """With stamps a tick says when it was made, on the clock that the reader has too."""
    async with opened() as desk, client_of(desk, *SYMBOLS) as client:
        await loaded(desk, client, 6)
        assert "tot_buy_qty" not in client.reader.named(client.topics[SYMBOLS[0]], SYMBOL_FIELDS)
        earliest_us = LiveClock().monotonic_ns() // 1000
        await loaded(desk, client, 6, stamped=True)
        latest_us = LiveClock().monotonic_ns() // 1000
        for symbol in SYMBOLS:
            stamp_us = client.reader.named(client.topics[symbol], SYMBOL_FIELDS)["tot_buy_qty"]
            assert (stamp_us - earliest_us) % 2**31 <= latest_us - earliest_us


async def test_the_rate() -> None:
    """A load isn't made faster than it was asked for."""
    async with opened() as desk, client_of(desk, *SYMBOLS) as client:
        report = await loaded(desk, client, 100, rate=1000.0)
        assert report["elapsed_s"] >= 0.1
        assert report["rate"] <= 1000.0


async def test_stopping() -> None:
    """A load ends early when told; until then there is no other."""
    async with opened() as desk, client_of(desk, *SYMBOLS) as client:
        making = asyncio.create_task(desk.admin("POST", "load", {"symbols": 3, "rate": 100.0, "ticks": 1_000_000}))
        await client.take()
        other = await desk.admin("POST", "load", {})
        assert (other["status"], "another load" in other["message"]) == (400, True)
        await desk.admin("DELETE", "load")
        assert 1 <= (await making)["made"] < 1_000_000
        assert (await client.ask(hsm_client.pause([11])))[0] == 7


@pytest.mark.parametrize(
    "plan", [{"symbols": 0}, {"symbols": 5001}, {"rate": 0}, {"ticks": 0}, {"batch": 0}, {"speed": 3}, {"rate": "fast"}]
)
async def test_what_cant_be(plan: dict[str, Any]) -> None:
    """A load that can't be is refused with one line."""
    async with opened() as desk:
        answer = await desk.admin("POST", "load", plan)
        assert answer["status"] == 400
        assert answer["message"]


async def test_listed_symbols_only() -> None:
    """Where only listed symbols count there is no load, and the line says which setting forbids it."""
    async with opened(market=MarketSettings(unlisted="reject")) as desk:
        with pytest.raises(UsageError, match=r"market\.unlisted"):
            await desk.server.load.run(LoadPlan())


def test_a_board() -> None:
    """Each tick differs from the one before in price, volume and last quantity; there is no depth."""
    board = LoadBoard(0)
    assert board.fields(Topic.SYMBOL) is None
    shown = []
    for board.count in range(1, 500):
        fields = board.fields(Topic.SYMBOL)
        assert fields is not None
        shown.append((fields[0], fields[1], fields[8]))
        assert fields[13] <= fields[0] <= fields[14]
    for one, other in pairwise(shown):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert board.fields(Topic.DEPTH) is None
