"""The real SDK, in a process of its own, on the sandbox's data socket: what it parses is what the tape said."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import TickBatch
from daemon.sandbox.faults import FaultKind, Route
from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch
from tests.unit.sandbox.desk import APP_ID, TOKEN, Desk, opened

pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")

SYMBOLS = ("NSE:SBIN-EQ", "NSE:M&M-EQ", "NSE:NIFTY26JANFUT", "NSE:NIFTY50-INDEX", "BSE:RELIANCE-A")
ROUNDS = 12
PATIENCE_S = 60.0


def ticks() -> TickBatch:
    """Every symbol once a second: prices on their grid, volume rising with every third tick, sizes and times moving."""
    rows = [(second, code) for second in range(ROUNDS) for code in range(len(SYMBOLS))]
    price = [100.0 * (code + 1) + 0.05 * second for second, code in rows]
    index = SYMBOLS.index("NSE:NIFTY50-INDEX")
    return make_batch(
        SYMBOLS,
        code=[code for _, code in rows], ts_event=[second for second, _ in rows], ltp=price,
        volume=[-1 if code == index else 1000 + 10 * (second // 3) for second, code in rows],
        bid=[p - 0.05 for p in price], ask=[p + 0.05 for p in price],
        bid_qty=[5 + second for second, _ in rows], ask_qty=[7 + second for second, _ in rows],
    )  # fmt: skip


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five symbols on a tape."""
    path = tmp_path_factory.mktemp("tape") / "five.parquet"
    with TapeWriter(path, columns=("volume", "bid", "ask", "bid_qty", "ask_qty")) as writer:
        writer.write(ticks())
    return path


class Sdk:
    """What the process said so far, and what it says next."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def next(self) -> tuple[str, Any]:
        """The next thing that the SDK told."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := await self._process.stdout.readline():
                if line.startswith(b"@"):
                    event, message = json.loads(line[1:])
                    return event, message
        raise AssertionError("the SDK's process ended")

    async def error(self) -> dict[str, Any]:
        """The next error."""
        while (said := await self.next())[0] != "error":
            pass
        error: dict[str, Any] = said[1]
        return error

    async def ticks(self, count: int) -> list[dict[str, Any]]:
        """So many ticks, among which nothing but answers to requests may come."""
        ticks = []
        while len(ticks) < count:
            event, message = await self.next()
            assert event in ("subscribed", "message"), message
            if event == "message" and "symbol" in message:
                ticks.append(message)
        return ticks


@asynccontextmanager
async def sdk(desk: Desk, logs: Path, *, kind: str = "SymbolUpdate", lite: bool = False) -> AsyncIterator[Sdk]:
    """An SDK that subscribes the five symbols; killed when the block ends."""
    wanted = {
        "token": f"{APP_ID}:{TOKEN}", "socket": desk.server.data_socket_url, "tokens": desk.server.symbol_tokens_url,
        "indices": desk.server.index_names_url, "symbols": SYMBOLS, "kind": kind, "lite": lite, "logs": str(logs),
    }  # fmt: skip
    script = str(Path(__file__).with_name("sdk_ticks.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, json.dumps(wanted), stdout=PIPE, stderr=DEVNULL, cwd=logs, limit=1 << 20
    )
    try:
        yield Sdk(process)
    finally:
        process.kill()
        await process.wait()


async def subscribed(desk: Desk, topics: int = len(SYMBOLS)) -> None:
    """Wait until the sandbox has all topics."""
    await soon(lambda: [item["topics"] for item in desk.server.data_feed.state()["open"]] == [topics])


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until something is so in the sandbox, for as long as a slow machine may need."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 — the sandbox keeps no event for every condition of a test
            await asyncio.sleep(0.01)


async def test_the_sdk_sees_the_tape(tape: Path, tmp_path: Path) -> None:
    """Every tick of five symbols comes out of the SDK with the tape's price, volume, quote and times."""
    async with opened(tapes=[tape]) as desk, sdk(desk, tmp_path) as client:
        await subscribed(desk)
        assert (await desk.admin("POST", "step", {"ticks": 1000}))["played"] == ROUNDS * len(SYMBOLS)
        seen = await client.ticks(ROUNDS * len(SYMBOLS))
    wanted = ticks()
    for row, tick in enumerate(seen):
        symbol = SYMBOLS[wanted.code[row]]
        assert (tick["symbol"], tick["ltp"]) == (symbol, pytest.approx(wanted.ltp[row], abs=1e-9))
        assert tick["exch_feed_time"] == wanted.ts_event[row] // SECOND
        if symbol.endswith("-INDEX"):
            assert tick["type"] == "if"
            assert "vol_traded_today" not in tick
            continue
        second = (wanted.ts_event[row] - OPEN_NS) // SECOND
        assert tick["last_traded_time"] == OPEN_NS // SECOND + second // 3 * 3
        assert tick["vol_traded_today"] == wanted.volume[row]
        assert (tick["bid_price"], tick["ask_price"]) == pytest.approx((wanted.bid[row], wanted.ask[row]), abs=1e-9)
        assert (tick["bid_size"], tick["ask_size"]) == (wanted.bid_qty[row], wanted.ask_qty[row])


async def test_lite_mode_and_acks(tape: Path, tmp_path: Path) -> None:
    """In lite mode the prices come alone; the SDK acks as many frames as it was asked to."""
    async with opened(tapes=[tape], ack_count=2) as desk, sdk(desk, tmp_path, lite=True) as client:
        await subscribed(desk)
        for _ in range(4):
            await desk.admin("POST", "step", {"ticks": len(SYMBOLS)})
        seen = await client.ticks(4 * len(SYMBOLS))
        await soon(lambda: desk.server.data_feed.state()["open"][0]["acked"] == 4)
    for row, tick in enumerate(seen):
        kind = "if" if SYMBOLS[row % 5].endswith("-INDEX") else "sf"
        price = pytest.approx(ticks().ltp[row], abs=1e-9)
        assert tick == {"symbol": SYMBOLS[row % 5], "ltp": price, "type": kind}


async def test_depth(tape: Path, tmp_path: Path) -> None:
    """Depth comes with the quote as its best level; the SDK itself refuses an index."""
    async with opened(tapes=[tape]) as desk, sdk(desk, tmp_path, kind="DepthUpdate") as client:
        assert (await client.error())["message"] == "Index does not have market depth"
        await subscribed(desk, len(SYMBOLS) - 1)
        await desk.admin("POST", "step", {"ticks": 2 * len(SYMBOLS)})
        seen = await client.ticks(2 * (len(SYMBOLS) - 1))
    wanted = ticks()
    rows = [row for row in range(2 * len(SYMBOLS)) if not SYMBOLS[wanted.code[row]].endswith("-INDEX")]
    for row, tick in zip(rows, seen, strict=True):
        assert (tick["symbol"], tick["type"]) == (SYMBOLS[wanted.code[row]], "dp")
        assert (tick["bid_price1"], tick["ask_price1"]) == pytest.approx((wanted.bid[row], wanted.ask[row]), abs=1e-9)
        assert (tick["bid_size1"], tick["ask_size1"]) == (wanted.bid_qty[row], wanted.ask_qty[row])
        assert (tick["bid_price2"], tick["ask_size5"]) == (0, 0)


async def test_the_token_ends(tape: Path, tmp_path: Path) -> None:
    """While connected the SDK is told that its token expired, and nothing more comes."""
    async with opened(tapes=[tape]) as desk, sdk(desk, tmp_path) as client:
        await subscribed(desk)
        await desk.admin("POST", "step", {"ticks": 5})
        await client.ticks(5)
        await desk.admin("POST", "token", {})
        assert await client.error() == {"type": "cn", "code": -99, "message": "Token is expired", "s": "error"}
        await desk.admin("POST", "step", {"ticks": 5})
        assert sum(sum(kinds.values()) for kinds in desk.server.data_feed.sent().values()) == 5


async def test_a_refused_key(tape: Path, tmp_path: Path) -> None:
    """A refused key is an error of the SDK's own code, and so is the subscription after it."""
    async with opened(tapes=[tape]) as desk:
        desk.trouble(FaultKind.REJECT, Route.AUTH)
        async with sdk(desk, tmp_path) as client:
            assert [(await client.error())["code"] for _ in range(3)] == [11001, 12001, 11011]


async def test_a_snapshot_without_a_scale(tape: Path, tmp_path: Path) -> None:
    """With a multiplier of 0 the SDK tells nothing of that symbol, snapshot or change; the others go on."""
    async with opened(tapes=[tape]) as desk:
        desk.trouble(FaultKind.ZERO_MULTIPLIER, Route.SNAPSHOT, symbol=SYMBOLS[0])
        async with sdk(desk, tmp_path) as client:
            await subscribed(desk)
            await desk.admin("POST", "step", {"ticks": 3 * len(SYMBOLS)})
            seen = await client.ticks(3 * (len(SYMBOLS) - 1))
    assert [tick["symbol"] for tick in seen] == [*SYMBOLS[1:]] * 3
