"""A minute of ticks at full rate: a local exchange → the real Fyers SDK in its gateway → the daemon's bars.

    python benchmarks/live.py [--rate 15000] [--seconds 60] [--symbols 100]

Three processes: `hrmd sandbox` makes the ticks, the gateway runs the SDK, and this one is the whole daemon (filter,
bars, complexity, rules, risk, paper venue, journal on disk). Where the machine has more than two cores, gateway and
daemon are held to two of them and the sandbox to the others; on two all three share them. Every tick is numbered by
its volume, so that what the bars lack is known. Exit code 1 where a tick was lost uncounted, less than the rate was
reached, or the loop's lag (p99) was 10 ms or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import numpy as np
import structlog

from daemon.app import App
from daemon.benchmark.machine import processor
from daemon.cli.options import run_loop
from daemon.core.clock import NS_PER_S, PacedClock, stopwatch_ns
from daemon.core.events import Bar, TickBatch
from daemon.core.latency import MeasuredLatency
from daemon.feed.live.feed import LiveFeed
from daemon.plan import RunPlan
from daemon.settings.loading import load_settings

ROOT = Path(__file__).resolve().parents[1]
LAG_STEP_S = 0.005
LAG_LIMIT_MS = 10.0
IDLE_S = 5.0
"""How long the loop is watched before the load: what it lags by then is the machine's other work."""
SANDBOX = "import sys; from daemon.cli import main; sys.exit(main())"


class Meter:
    """What the daemon's bus and loop show."""

    def __init__(self, app: App) -> None:
        self.last_ns = 0
        self.lags_ms: list[float] = []
        self.transits_ms: list[float] = []
        self._feed = app.feed
        app.bus.tap((TickBatch,), self._count)

    def _count(self, batch: TickBatch) -> None:
        self.last_ns = stopwatch_ns()
        assert isinstance(self._feed, LiveFeed)
        self.transits_ms.append(self._feed.transit_ns / 1e6)

    async def watch_lag(self) -> None:
        """How much later than asked the loop wakes."""
        while True:
            before = stopwatch_ns()
            await asyncio.sleep(LAG_STEP_S)
            self.lags_ms.append((stopwatch_ns() - before) / 1e6 - LAG_STEP_S * 1e3)


def cores() -> tuple[set[int], set[int]]:
    """(for gateway and daemon, for the sandbox)."""
    available = sorted(os.sched_getaffinity(0))
    return (set(available[:2]), set(available[2:])) if len(available) > 2 else (set(available), set(available))


def start_sandbox(allowed: set[int]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """`hrmd sandbox`, and where it is."""
    process = subprocess.Popen(
        [sys.executable, "-c", SANDBOX, "sandbox", "--port", "0", "--json"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.sched_setaffinity(process.pid, allowed)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def build(places: dict[str, Any], directory: Path, symbols: list[str]) -> App:
    """The daemon on that sandbox."""
    token = directory / "token"
    token.write_text(places["authorization"].partition(":")[2])
    base = places["url"]
    overrides = (
        "feed.source=fyers", "feed.rehearse=true", f"feed.symbols=[{', '.join(symbols)}]", "strategy.name=rules",
        "strategy.interval=1m", "bars.intervals=[1m, 5m, 30m]", f"broker.fyers.token_file={token}",
        f"broker.fyers.api_url={places['api']}", f"broker.fyers.data_url={places['data']}",
        f"broker.fyers.order_socket_url={places['orders']}", f"broker.fyers.calls_file={directory / 'calls'}",
        f"broker.fyers.socket_url={base.replace('http', 'ws', 1)}/hsm/v1-5/prod",
        f"broker.fyers.symbol_token_url={base}/data/symbol-token",
        f"broker.fyers.index_map_url={base}/sym_details/index_hsm_mapping.json", "feed.live.compare_every_s=0",
    )  # fmt: skip
    plan = RunPlan(
        tapes=[], symbols=[], clock=PacedClock(1.0), latency=MeasuredLatency(), journal=directory / "j.sqlite",
        durable=True, restarts=True, order_prefix="B",
    )  # fmt: skip
    return App(load_settings(None, list(overrides)), plan)


async def measure(places: dict[str, Any], plan: dict[str, Any], directory: Path) -> dict[str, Any]:
    """One load, from the first tick to the last in the bars."""
    symbols = [f"NSE:LOAD{number + 1:05}-EQ" for number in range(plan["symbols"])]
    app = build(places, directory, symbols)
    bars: list[Bar] = []
    app.bus.tap((Bar,), bars.append, where=lambda bar: bar.interval == "1m")
    meter, feed = Meter(app), app.feed
    assert isinstance(feed, LiveFeed)
    async with aiohttp.ClientSession(places["url"]) as http, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(app.run())
        await reached(lambda: subscribed(http, len(symbols)))
        lagging = tasks.create_task(meter.watch_lag())
        await asyncio.sleep(IDLE_S)
        idle_ms, meter.lags_ms = meter.lags_ms, []
        usage = resource.getrusage(resource.RUSAGE_SELF)
        began = stopwatch_ns()
        async with http.post("/sandbox/load", json=plan, timeout=aiohttp.ClientTimeout(total=None)) as response:
            made = await response.json()
        await reached(lambda: all_arrived(feed, plan["ticks"]))
        elapsed_s = (meter.last_ns - began) / NS_PER_S
        lagging.cancel()
        after = resource.getrusage(resource.RUSAGE_SELF)
        counts = feed.counts
        app.bars.publish(app.bars.builder.on_time(2**62))  # the minute that is still open, too
        app.stop("measured")
        await running
    assert counts is not None
    in_bars = sum(bar.ticks for bar in bars)
    rejected = {reason: count for reason, count in feed.tick_filter.rejected.items() if count}
    cpu_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    child = resource.getrusage(resource.RUSAGE_CHILDREN)  # the gateway; the sandbox still runs
    gateway_s = child.ru_utime + child.ru_stime
    return {
        "made": plan["ticks"], "made_rate": made["rate"], "elapsed_s": elapsed_s, "rate": plan["ticks"] / elapsed_s,
        "ticks": counts.ticks, "conflated": counts.conflated, "refused": sum(counts.refused.values()),
        "swallowed": sum(counts.swallowed.values()), "rejected": rejected, "late": app.bars.builder.late,
        "in_bars": in_bars, "bars": len(bars), "links": feed.links,
        "lost": plan["ticks"] - in_bars - counts.conflated - sum(rejected.values()) - app.bars.builder.late,
        "idle_lag_ms": np.percentile(idle_ms, [50, 99, 100]).tolist(),
        "lag_ms": np.percentile(meter.lags_ms, [50, 99, 100]).tolist(),
        "transit_ms": np.percentile(meter.transits_ms, [50, 99, 100]).tolist(),
        "daemon_us": cpu_s / plan["ticks"] * 1e6, "gateway_us": gateway_s / plan["ticks"] * 1e6,
        "gateway_mb": counts.peak_kb / 1024,
    }  # fmt: skip


async def reached(condition: Any, patience_s: float = 120.0) -> None:
    """Look again and again."""
    async with asyncio.timeout(patience_s):
        while not await condition():  # noqa: ASYNC110 — another process's state has no event
            await asyncio.sleep(0.2)


async def subscribed(http: aiohttp.ClientSession, symbols: int) -> bool:
    """Whether the sandbox has all topics."""
    async with http.get("/sandbox/state") as response:
        open_sockets = (await response.json())["data_sockets"]["open"]
    return [item["topics"] for item in open_sockets] == [symbols]


async def all_arrived(feed: LiveFeed, ticks: int) -> bool:
    """Whether every tick came, or was counted as conflated."""
    counts = feed.counts
    return counts is not None and counts.ticks + counts.conflated >= ticks and counts.waiting == 0


def show(result: dict[str, Any], load_before: float, shared: bool) -> bool:
    """The table; whether everything held."""
    lag, transit = result["lag_ms"], result["transit_ms"]
    machine = f"{processor()}, {len(os.sched_getaffinity(0))} cores for gateway and daemon"
    rows = (
        ("machine", f"{machine}{', shared with the sandbox' if shared else ''}; load before {load_before:.1f}"),
        ("messages a second, from SDK to bars", f"{result['rate']:,.0f} over {result['elapsed_s']:.1f} s"),
        ("made · in bars · conflated", f"{result['made']:,} · {result['in_bars']:,} · {result['conflated']:,}"),
        ("rejected · late · refused · swallowed",
         f"{sum(result['rejected'].values())} · {result['late']} · {result['refused']} · {result['swallowed']}"),
        ("lost", f"{result['lost']} ticks"),
        ("links · bars of a minute", f"{result['links']} · {result['bars']}"),
        ("loop lag p50 · p99 · max", " · ".join(f"{value:.2f}" for value in lag) + " ms"),
        ("the same before the load began", " · ".join(f"{value:.2f}" for value in result["idle_lag_ms"]) + " ms"),
        ("SDK to bus p50 · p99 · max", " · ".join(f"{value:.1f}" for value in transit) + " ms"),
        ("processor time a message", f"gateway {result['gateway_us']:.1f} µs (its start in it), "
                                     f"daemon {result['daemon_us']:.1f} µs"),
        ("gateway's memory, peak", f"{result['gateway_mb']:.0f} MB"),
    )  # fmt: skip
    for name, value in rows:
        print(f"{name:40} {value}")
    return bool(result["lost"] == 0 and lag[1] < LAG_LIMIT_MS)


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=15_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    load_before = os.getloadavg()[0]
    ours, theirs = cores()
    os.sched_setaffinity(0, ours)
    rate = options.rate * 1.02
    plan = {"symbols": options.symbols, "rate": rate, "ticks": round(rate * options.seconds)}
    sandbox, places = start_sandbox(theirs)
    try:
        with tempfile.TemporaryDirectory() as directory:
            result = run_loop(measure(places, plan, Path(directory)))
    finally:
        sandbox.terminate()
        sandbox.wait()
    if options.json:
        print(json.dumps(result))
    held = show(result, load_before, shared=ours == theirs)
    return 0 if held and result["rate"] >= options.rate else 1


if __name__ == "__main__":
    sys.exit(main())
