"""Processes of one account, killed and started again and again: what arrives at the venue, counted there."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from daemon.calls.budget import RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.core.clock import LiveClock
from daemon.feed.live.frames import Subscribed
from daemon.fyers.gateway.assignment import Assignment
from daemon.fyers.gateway.process import running
from tests.unit.sandbox.desk import TOKEN, Desk, opened

CALLER = """
import asyncio, json, sys
from pathlib import Path
import msgspec
from daemon.core.clock import LiveClock
from daemon.calls.budget import Purpose, RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.fyers.credentials import Credentials
from daemon.calls.http import CallTimes
from daemon.fyers.rest import Endpoints, FyersRest

base, token, file, limits, slack_ms = json.loads(sys.argv[1])

async def call() -> None:
    limited = msgspec.structs.replace(RateLimits.of(*limits), slack_ms=slack_ms)
    budget = RateBudget(LiveClock(), limited, CallRecord(Path(file), limits[1]))
    async with FyersRest(Credentials("SANDBOX-100", token), budget, LiveClock(), Endpoints.at(base),
                         CallTimes(budget_s=60.0)) as rest:
        print("calls", flush=True)
        while True:
            await asyncio.gather(*(rest.orders(Purpose.EXIT) for _ in range(3)))

asyncio.run(call())
"""
LIMITS = (4, 20, 10_000)
SLACK_MS = 700
"""More than on a venue's own line, for the sandbox and five processes share a busy machine."""


async def lived(desk: Desk, calls_file: Path, seconds: float) -> None:
    """A process that calls as fast as it may, and is killed after so long."""
    said = json.dumps([desk.server.url, TOKEN, str(calls_file), LIMITS, SLACK_MS])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, said, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"calls\n"
    await asyncio.sleep(seconds)
    process.kill()
    await process.wait()


async def test_restarts_and_neighbours_never_exceed_the_limit(tmp_path: Path) -> None:
    """Two lines of processes, killed in the middle of their calls: no second and no minute has too many."""
    calls_file = tmp_path / "calls"

    async def line(desk: Desk, *lives: float) -> None:
        for seconds in lives:
            await lived(desk, calls_file, seconds)

    async with opened() as desk:
        await asyncio.gather(line(desk, 0.3, 0.7, 0.2, 2.0), line(desk, 1.0, 0.1, 0.5, 1.5))
        counted = desk.server.admin.state()["calls"]
        assert counted["most_in_second"] <= LIMITS[0]
        assert counted["most_in_minute"] <= LIMITS[1]
        assert counted["total"] > LIMITS[0]
        record = CallRecord(calls_file, LIMITS[1])
        with record.shared(LiveClock().monotonic_ns()) as known:
            assert counted["total"] <= known.written


async def test_a_gateways_calls_are_known(tmp_path: Path) -> None:
    """Every gateway asks for symbols' tokens anew, and each call that arrived is on record."""
    pytest.importorskip("fyers_apiv3")
    file, symbols = tmp_path / "calls", ("NSE:SBIN-EQ", "NSE:NIFTY50-INDEX")
    async with opened() as desk:
        server = desk.server
        task = Assignment(
            token=TOKEN, symbols=symbols, socket_url=server.data_socket_url, index_map_url=server.index_names_url,
            symbol_token_url=server.symbol_tokens_url, conflate_above=4096, calls_file=str(file), calls=(50, 50, 9),
        )  # fmt: skip
        for _ in range(2):
            async with asyncio.timeout(60), running(task) as gateway:
                async for frame in gateway.frames():
                    if isinstance(frame, Subscribed):
                        break
        budget = RateBudget(LiveClock(), RateLimits.of(*task.calls), CallRecord(file, 50))
        assert (server.admin.state()["calls"]["total"], budget.used_today) == (2, 4)  # two more to another host
