"""What everybody who looks at a running daemon costs its decisions: idle and loaded phases in turn, in one run.

    python benchmarks/control_load.py [--minutes 1] [--readers 200] [--stalled 20] [--requests 500] [--strategy hrm]

`hrmd run` plays a simulated tape of ten symbols in a process of its own, fast enough for ten decisions a second. In
each loaded phase `--readers` hear every frame of `/stream`, `--stalled` more connect and never read, and `--requests` a
second ask what a status page asks; whoever asks runs at a low priority, so that the daemon is measured and not the
machine. Decisions are measured by the daemon itself (bar to decision), and told by the market's time to the phases,
which alternate (A B B A …): what else runs on the machine falls on both. The ratio of the two p99 has an interval of
95 %, by drawing the decisions of each phase anew. Exit 1 where all of that interval lies above +10 %, memory grows by
more than 5 % after the first loaded phase, fewer than 95 % of the requests were answered with 200, or one of the
stalled was neither let go nor counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.core.clock import NS_PER_S, stopwatch_ns
from daemon.core.events import Decision
from daemon.journal.reader import JournalReader

SYMBOLS = [f"NSE:LOAD{number:02d}-EQ={300 + 250 * number}" for number in range(10)]
SPEED = 60
"""A bar of a minute closes each second, in ten symbols."""
TICKS = 4000
"""Of a symbol in a session: ten symbols tick 107 times a second together."""
PHASE_S = 32.0
"""Longer than a reader may be silent: 20 s to a ping, 10 s for its answer."""
DRAWS = 2000
NICER_BY = 10
SETTLE_S = 2.0
"""After a change of phases, not counted."""
CONNECTIONS = 16
MOST_RATIO, MOST_GROWTH, LEAST_ANSWERED = 1.10, 1.05, 0.95
ASKED = ("/status", "/positions", "/orders?limit=50", "/decisions?limit=50", "/health", "/trades", "/metrics")
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PONG = b"\x8a\x80\0\0\0\0"
"""Unasked for, it says that somebody is there (RFC 6455, 5.5.3)."""


@dataclass
class Phase:
    """A stretch of the run in the market's time, and what was asked and heard in it."""

    loaded: bool
    begin_ts: int = 0
    end_ts: int = 0
    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    bytes: int = 0
    dropped: int = 0
    rss_mb: float = 0.0
    cpu_s: float = 0.0
    """Of the daemon, all threads."""
    lost: int = 0
    """Readers that the daemon let go, by its own count."""
    took_ms: list[float] = field(default_factory=list)


class Reader(asyncio.Protocol):
    """Hears a stream and keeps nothing of it; a stalled one never reads."""

    def __init__(self, phase: Phase, hello: bytes, stalled: bool) -> None:
        self._phase, self._hello, self._stalled = phase, hello, stalled
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = link = cast(asyncio.Transport, transport)  # uvloop's is none by class
        link.write(self._hello)
        if self._stalled:
            link.pause_reading()
        else:
            self._alive()

    def data_received(self, data: bytes) -> None:
        """Count it."""
        self._phase.bytes += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go by the daemon, or the phase is over."""
        if self._transport is not None:
            self._phase.dropped += 1
        self.close()

    def close(self) -> None:
        """Leave."""
        transport, self._transport = self._transport, None
        if self._beat is not None:
            self._beat.cancel()
        if transport is not None:
            transport.abort()

    def _alive(self) -> None:
        if self._transport is not None:
            self._transport.write(PONG)
            self._beat = asyncio.get_running_loop().call_later(8.0, self._alive)


class Visitor:
    """One connection that asks, waits for the answer, and asks again at its pace."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._where = host, port
        self._head = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"

    async def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body, over a connection of its own."""
        reader, writer = await asyncio.open_connection(*self._where)
        try:
            return await self._exchange(reader, writer, path)
        finally:
            writer.close()

    async def visit(self, phase: Phase, every_s: float, until_ns: int) -> None:
        """Ask until then."""
        reader, writer = await asyncio.open_connection(*self._where, limit=1 << 20)
        next_ns = stopwatch_ns()
        for path in cycle(ASKED):
            if next_ns >= until_ns:
                break
            await asyncio.sleep(max(0.0, (next_ns - stopwatch_ns()) / NS_PER_S))
            next_ns += int(every_s * NS_PER_S)
            begun = stopwatch_ns()
            phase.sent += 1
            status, _ = await self._exchange(reader, writer, path)
            phase.answered += status == 200
            phase.took_ms.append((stopwatch_ns() - begun) / 1e6)
            next_ns = max(next_ns, stopwatch_ns() - NS_PER_S)  # what the daemon is slow to answer isn't asked in a heap
        writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> tuple[int, bytes]:
        writer.write(f"GET {path} {self._head}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(length)


class Load:
    """The daemon and everybody who looks at it."""

    def __init__(self, arguments: argparse.Namespace, daemon: subprocess.Popen[bytes], url: str, token: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._arguments, self._daemon, self._token = arguments, daemon, token
        self._where = host, int(port)
        self._visitor = Visitor(host, int(port), token)

    async def phase(self, loaded: bool, seconds: float) -> Phase:
        """One, settled first."""
        phase = Phase(loaded)
        readers = await self._readers(phase) if loaded else []
        until_ns = stopwatch_ns() + int((SETTLE_S + seconds) * NS_PER_S)
        every_s = CONNECTIONS / self._arguments.requests
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS if loaded else 0):
                group.create_task(self._visitor.visit(phase, every_s, until_ns))
            await asyncio.sleep(SETTLE_S)
            phase.begin_ts, begun, sent, answered = await self._market_ts(), stopwatch_ns(), phase.sent, phase.answered
            cpu_s = used_s(self._daemon.pid)
            await asyncio.sleep(seconds)
            phase.end_ts, phase.seconds = await self._market_ts(), (stopwatch_ns() - begun) / NS_PER_S
            phase.sent, phase.answered = phase.sent - sent, phase.answered - answered
            phase.cpu_s = used_s(self._daemon.pid) - cpu_s
        phase.rss_mb = rss_mb(self._daemon.pid)
        dropped = phase.dropped
        for one in readers:
            one.close()
        phase.dropped, phase.lost = dropped, await self._lost()
        return phase

    async def _lost(self) -> int:
        text = (await self._visitor.ask("/metrics"))[1].decode()
        return int(sum(map(float, re.findall(r"^hrmd_stream_dropped_total\{.*\} (\S+)$", text, re.M))))

    async def _readers(self, phase: Phase) -> list[Reader]:
        hello = UPGRADE.format(path="/stream", token=self._token).encode()
        made = []
        for number in range(self._arguments.readers + self._arguments.stalled):
            stalled = number < self._arguments.stalled
            reader = Reader(phase, hello, stalled)
            link = socket.socket()
            if stalled:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect(self._where)
            link.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda reader=reader: reader, sock=link)
            made.append(reader)
            await asyncio.sleep(0.002)
        return made

    async def _market_ts(self) -> int:
        return int(json.loads((await self._visitor.ask("/status"))[1])["ts"])


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def used_s(pid: int) -> float:
    """Time of processors that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(
    directory: Path, strategy: str, more: dict[str, object] | None = None
) -> tuple[subprocess.Popen[bytes], str, str]:
    """A daemon on a tape: its process, where it listens, and its token; `more`: other settings."""
    tape, log = directory / "tape.parquet", directory / "log"
    symbols = [part for symbol in SYMBOLS for part in ("--symbol", symbol)]
    hrmd = [sys.executable, "-m", "daemon"]
    simulate = [*hrmd, "tape", "simulate", "-o", str(tape), "--sessions", "1", "--ticks", str(TICKS), *symbols]
    subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
    settings: dict[str, object] = {
        "feed.tape": f"[{tape}]", "feed.speed": SPEED, "journal.path": directory / "j.sqlite", "control.port": 0,
        "control.token_file": directory / "token", "control.tokens_file": directory / "tokens", "log.format": "json",
        "control.reads_per_s": 100_000, "strategy.name": strategy, "supervisor.ladder": f"[{strategy},flat]",
        "strategy.interval": "1m", "bars.intervals": "[1m,5m,30m,1d]", "risk.stale_after_s": 100_000,
        "strategy.rules.min_bars": 5,
        "supervisor.triggers.novel_bars": "null", "supervisor.triggers.flaps_per_hour": 10_000,
        "supervisor.triggers.latency_trip_ms": 10_000, **(more or {}),
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    environment = os.environ | {"XDG_STATE_HOME": str(directory)}
    with log.open("wb") as file:
        daemon = subprocess.Popen([*hrmd, "run", *options], stderr=file, stdout=subprocess.DEVNULL, env=environment)
    while daemon.poll() is None:
        for line in log.read_text().splitlines():
            if '"control listens"' in line:
                return daemon, json.loads(line)["url"], (directory / "token").read_text().strip()
        try:
            daemon.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    raise SystemExit(f"the daemon ended: {log.read_text()[-2000:]}")


async def alternate(load: Load, minutes: float) -> list[Phase]:
    """A phase without load, one with it, and so on, as long as there is load for `minutes`."""
    await load.phase(False, 10.0)  # the first bars, caches, the runtime
    phases = []
    for number in range(max(2, round(minutes * 60 / PHASE_S))):
        order = (False, True) if number % 2 == 0 else (True, False)
        phases += [await load.phase(loaded, PHASE_S) for loaded in order]
    return phases


def latencies(journal: Path, phases: list[Phase], loaded: bool, strategy: str) -> list[np.ndarray]:
    """Milliseconds from bar to decision, of the decisions in each such phase."""
    wanted = [phase for phase in phases if phase.loaded is loaded]
    reader = JournalReader(journal)
    try:
        decisions = [event for event in reader.events(Decision) if isinstance(event, Decision)]
    finally:
        reader.close()
    found = [one for one in decisions if any(phase.begin_ts <= one.ts < phase.end_ts for phase in wanted)]
    if not found or any(one.failed or one.strategy != strategy for one in found):
        raise SystemExit(f"expected decisions of {strategy}, all good: {found[:3]}")
    return [
        np.array([one.latency_ns / 1e6 for one in found if phase.begin_ts <= one.ts < phase.end_ts]) for phase in wanted
    ]


def interval(idle: list[np.ndarray], busy: list[np.ndarray]) -> tuple[float, float]:
    """Between which the ratio of the p99 lies, 95 %: by decisions that are drawn anew within each phase."""
    draw = np.random.default_rng(7)
    ratios = [
        np.percentile(np.concatenate([draw.choice(one, len(one)) for one in busy]), 99)
        / np.percentile(np.concatenate([draw.choice(one, len(one)) for one in idle]), 99)
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def report(journal: Path, phases: list[Phase], arguments: argparse.Namespace) -> bool:
    """Print the figures; whether all are within their limits."""
    idles, busies = (latencies(journal, phases, loaded, arguments.strategy) for loaded in (False, True))
    idle, busy = np.concatenate(idles), np.concatenate(busies)
    of_idle, of_busy = (np.percentile(one, [50, 99]) for one in (idle, busy))
    ratio, (low, high) = of_busy[1] / of_idle[1], interval(idles, busies)
    each = ", ".join(f"{np.percentile(b, 99) / np.percentile(i, 99):.2f}" for i, b in zip(idles, busies, strict=True))
    cores = [sum(one.cpu_s for one in phases if one.loaded is it) for it in (False, True)]
    under = [phase for phase in phases if phase.loaded]
    sent, answered, seconds = (sum(getattr(one, name) for one in under) for name in ("sent", "answered", "seconds"))
    took = np.percentile(np.concatenate([one.took_ms for one in under]), [50, 99])
    first, last = under[0].rss_mb, under[-1].rss_mb
    print(f"machine     {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (1 min), {seconds:.0f} s loaded")
    print(f"idle        {len(idle):5d} decisions, p50 {of_idle[0]:6.2f} ms, p99 {of_idle[1]:6.2f} ms")
    print(f"loaded      {len(busy):5d} decisions, p50 {of_busy[0]:6.2f} ms, p99 {of_busy[1]:6.2f} ms")
    print(f"p99 ratio   {ratio:.2f}, 95 % between {low:.2f} and {high:.2f} (limit {MOST_RATIO}); pair by pair {each}")
    print(f"daemon      {cores[0] / seconds:.2f} cores without load, {cores[1] / seconds:.2f} with it")
    print(f"requests    {sent / seconds:.0f}/s asked, {answered / seconds:.0f}/s answered with 200, "
          f"p50 {took[0]:.1f} ms, p99 {took[1]:.1f} ms")  # fmt: skip
    heard = sum(one.bytes for one in under) / seconds / 1e6
    gone = [one.dropped for one in under]
    print(f"readers     {arguments.readers} + {arguments.stalled} stalled, let go: {gone}, phase by phase; "
          f"{under[-1].lost} by its metrics; {heard:.2f} MB/s heard")  # fmt: skip
    print(f"memory      {first:.0f} MB after the first loaded phase, {last:.0f} MB after the last (limit +5 %)")
    enough = answered >= LEAST_ANSWERED * arguments.requests * seconds
    let_go = all(one.dropped >= arguments.stalled for one in under) and under[-1].lost >= arguments.stalled * len(under)
    return bool(low <= MOST_RATIO and last <= MOST_GROWTH * first and enough and let_go)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="under load; as long again without it")
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--requests", type=float, default=500.0, help="a second")
    parser.add_argument("--strategy", default="hrm", choices=["hrm", "rules"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        daemon, url, token = start(directory, arguments.strategy)
        os.nice(NICER_BY)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                phases = runner.run(alternate(Load(arguments, daemon, url, token), arguments.minutes))
        finally:
            daemon.terminate()
            daemon.wait(30)
        return 0 if report(directory / "j.sqlite", phases, arguments) else 1


if __name__ == "__main__":
    raise SystemExit(main())
