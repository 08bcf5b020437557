"""What everybody who looks at a running daemon costs its decisions: idle and loaded phases in turn, in one run.

    python benchmarks/control_load.py [--minutes 1] [--readers 200] [--stalled 20] [--requests 500] [--first]

`hrmd run` plays a simulated tape of ten symbols in a process of its own, fast enough for ten decisions a second. In
each loaded phase `--readers` hear every frame of `/stream`, `--stalled` more connect and never read, and `--requests` a
second ask what a status page asks; whoever asks runs at a low priority, so that the daemon is measured and not the
machine. In a phase "elsewhere" the same crowd asks a stand-in (`stand_in.py`) that says what the daemon said before:
what that costs the decisions is the machine's, and what a loaded phase costs beyond it is the daemon's own serving.
Decisions are measured by the daemon itself (bar to decision), and told by the market's time to the phases, which
alternate (A B C C B A …): what else runs on the machine falls on all. A ratio of two p99 has an interval of 95 %, by
drawing the bars of each phase anew, with the decisions on each (they wait for each other). Exit 1 where all of the
interval of loaded to idle lies above +10 %, memory grows by more than 5 % after the first loaded phase, fewer than
95 % of the requests were answered with 200, or one of the stalled was neither let go nor counted.

`--first` gives the daemon's threads real-time priority (SCHED_FIFO, for root), for machines that have other work: what
is left is what threads of the daemon take from each other, and "elsewhere" is as good as idle by construction.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.onlookers import ASKED, ORDER, UPGRADE, Kind, Phase, Reader, Recorder, Visitor
from benchmarks.stand_in import Recording
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
RECORDED_S = 5.0
"""Of what the stand-in repeats."""
CONNECTIONS = 16
Place = tuple[str, int]
MOST_RATIO, MOST_GROWTH, LEAST_ANSWERED = 1.10, 1.05, 0.95


class Load:
    """The daemon and everybody who looks at it, or at its stand-in."""

    def __init__(self, arguments: argparse.Namespace, daemon: subprocess.Popen[bytes], url: str, token: str) -> None:
        self._arguments, self._daemon, self._token = arguments, daemon, token
        self._where = place_of(url)
        self._hello = UPGRADE.format(path="/stream", token=token).encode()
        self._visitor = Visitor(self._where, token)
        self.stand_in: Place | None = None

    async def record(self) -> Recording:
        """What the stand-in is to say."""
        loop = asyncio.get_running_loop()
        answers = {path: b"".join((await self._visitor.ask(path))[1:]) for path in ASKED}
        link, recorder = await loop.create_connection(lambda: Recorder(self._hello), *self._where)
        await asyncio.sleep(RECORDED_S)
        link.abort()
        return Recording(answers, RECORDED_S, [one for one in recorder.pieces if one.at_s < RECORDED_S])

    async def phase(self, kind: Kind, seconds: float) -> Phase:
        """One, settled first."""
        phase = Phase(kind)
        where = self._where if kind is not Kind.ELSEWHERE or self.stand_in is None else self.stand_in
        crowd = kind is not Kind.IDLE
        readers = await self._readers(phase, where) if crowd else []
        until_ns = stopwatch_ns() + int((SETTLE_S + seconds) * NS_PER_S)
        visitor = Visitor(where, self._token)
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS if crowd and self._arguments.requests else 0):
                group.create_task(visitor.visit(phase, CONNECTIONS / self._arguments.requests, until_ns))
            await asyncio.sleep(SETTLE_S)
            phase.begin_ts, begun, sent, answered = await self._market_ts(), stopwatch_ns(), phase.sent, phase.answered
            cpu_s, own_s = used_s(self._daemon.pid), used_s(os.getpid())
            await asyncio.sleep(seconds)
            phase.end_ts, phase.seconds = await self._market_ts(), (stopwatch_ns() - begun) / NS_PER_S
            phase.sent, phase.answered = phase.sent - sent, phase.answered - answered
            phase.cpu_s, phase.own_s = used_s(self._daemon.pid) - cpu_s, used_s(os.getpid()) - own_s
        phase.rss_mb = rss_mb(self._daemon.pid)
        dropped = phase.dropped
        for one in readers:
            one.close()
        phase.dropped, phase.lost = dropped, await self._lost()
        return phase

    def give_precedence(self) -> None:
        """To the threads that the daemon has by now; those that they make have it, too."""
        if self._arguments.first:
            for thread in os.listdir(f"/proc/{self._daemon.pid}/task"):
                os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(1))

    async def _lost(self) -> int:
        text = (await self._visitor.ask("/metrics"))[2].decode()
        return int(sum(map(float, re.findall(r"^hrmd_stream_dropped_total\{.*\} (\S+)$", text, re.M))))

    async def _readers(self, phase: Phase, where: Place) -> list[Reader]:
        made = []
        for number in range(self._arguments.readers + self._arguments.stalled):
            stalled = number < self._arguments.stalled
            reader = Reader(phase, self._hello, stalled)
            link = socket.socket()
            if stalled:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect(where)
            link.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda reader=reader: reader, sock=link)
            made.append(reader)
            await asyncio.sleep(0.002)
        return made

    async def _market_ts(self) -> int:
        return int(json.loads((await self._visitor.ask("/status"))[2])["ts"])


def place_of(url: str) -> Place:
    """Host and port."""
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


@contextmanager
def standing_in(recording: Recording, directory: Path) -> Iterator[Place]:
    """A process that says it, as long as that is wanted, at the priority of those who ask."""
    file = directory / "recording.json"
    file.write_bytes(msgspec.json.encode(recording))
    command = [sys.executable, str(Path(__file__).with_name("stand_in.py")), str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


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


async def alternate(load: Load, minutes: float, directory: Path) -> list[Phase]:
    """A phase of each kind, and so on, as long as there is load for `minutes`."""
    await load.phase(Kind.IDLE, 10.0)  # the first bars, caches, the runtime
    load.give_precedence()
    phases = []
    with standing_in(await load.record(), directory) as load.stand_in:
        for number in range(max(2, round(minutes * 60 / PHASE_S))):
            phases += [await load.phase(kind, PHASE_S) for kind in (ORDER if number % 2 == 0 else ORDER[::-1])]
    return phases


Bars = list[np.ndarray]
"""Milliseconds from bar to decision, of the decisions on each bar."""


def latencies(journal: Path, phases: list[Phase], kind: Kind, strategy: str) -> list[Bars]:
    """Of each phase of the kind."""
    reader = JournalReader(journal)
    try:
        decisions = [event for event in reader.events(Decision) if isinstance(event, Decision)]
    finally:
        reader.close()
    found = []
    for phase in phases:
        if phase.kind is not kind:
            continue
        bars: dict[int, list[float]] = {}
        for one in decisions:
            if phase.begin_ts <= one.ts < phase.end_ts:
                if one.failed or one.strategy != strategy:
                    raise SystemExit(f"expected decisions of {strategy}, all good: {one}")
                bars.setdefault(one.ts_bar, []).append(one.latency_ns / 1e6)
        found.append([np.array(bar) for bar in bars.values()])
    if not all(found):
        raise SystemExit(f"expected decisions in every phase {kind}")
    return found


def p99(phases: list[Bars]) -> float:
    """Of all of them."""
    return float(np.percentile(np.concatenate([bar for phase in phases for bar in phase]), 99))


def interval(base: list[Bars], busy: list[Bars]) -> tuple[float, float]:
    """Between which the ratio of the p99 lies, 95 %: by bars that are drawn anew within each phase."""
    draw = np.random.default_rng(7)

    def anew(phases: list[Bars]) -> list[Bars]:
        return [[bars[at] for at in draw.integers(0, len(bars), len(bars))] for bars in phases]

    low, high = np.percentile([p99(anew(busy)) / p99(anew(base)) for _ in range(DRAWS)], [2.5, 97.5])
    return float(low), float(high)


def compared(what: str, base: list[Bars], busy: list[Bars], limit: str = "") -> float:
    """Print the ratio of two p99; give the lower end of its interval."""
    low, high = interval(base, busy)
    each = ", ".join(f"{p99([over]) / p99([under]):.2f}" for under, over in zip(base, busy, strict=True))
    print(f"{what} {p99(busy) / p99(base):.2f}, 95 % between {low:.2f} and {high:.2f}{limit}; phase by phase {each}")
    return low


def report(journal: Path, phases: list[Phase], arguments: argparse.Namespace) -> bool:
    """Print the figures; whether all are within their limits."""
    took = {kind: latencies(journal, phases, kind, arguments.strategy) for kind in ORDER}
    seconds = sum(phase.seconds for phase in phases if phase.kind is Kind.LOADED)
    first = ", the daemon first" if arguments.first else ""
    print(f"machine     {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (1 min){first}, {seconds:.0f} s loaded")
    for kind, bars in took.items():
        all_ms = np.concatenate([bar for phase in bars for bar in phase])
        p50, most = np.percentile(all_ms, [50, 99])
        mine = [phase for phase in phases if phase.kind is kind]
        cores, own = (sum(getattr(one, name) for one in mine) / seconds for name in ("cpu_s", "own_s"))
        print(f"{kind:11} {len(all_ms):5d} decisions, p50 {p50:6.2f} ms, p99 {most:6.2f} ms; "
              f"{cores:.2f} cores the daemon, {own:.2f} the crowd")  # fmt: skip
    low = compared("p99 loaded to idle     ", took[Kind.IDLE], took[Kind.LOADED], f" (limit {MOST_RATIO})")
    compared("p99 loaded to elsewhere", took[Kind.ELSEWHERE], took[Kind.LOADED])
    compared("p99 elsewhere to idle  ", took[Kind.IDLE], took[Kind.ELSEWHERE])
    return served(phases, arguments, seconds) and low <= MOST_RATIO


def served(phases: list[Phase], arguments: argparse.Namespace, seconds: float) -> bool:
    """Print what the crowd got; whether it is what it should be."""
    under = [phase for phase in phases if phase.kind is Kind.LOADED]
    sent, answered = (sum(getattr(one, name) for one in under) for name in ("sent", "answered"))
    took = np.percentile(np.concatenate([one.took_ms for one in under]), [50, 99])
    first, last = under[0].rss_mb, under[-1].rss_mb
    print(f"requests    {sent / seconds:.0f}/s asked, {answered / seconds:.0f}/s answered with 200, "
          f"p50 {took[0]:.1f} ms, p99 {took[1]:.1f} ms")  # fmt: skip
    heard = sum(one.bytes for one in under) / seconds / 1e6
    gone = [one.dropped for one in under]
    print(f"readers     {arguments.readers} + {arguments.stalled} stalled, let go: {gone}, phase by phase; "
          f"{under[-1].lost} by its metrics; {heard:.2f} MB/s heard")  # fmt: skip
    print(f"memory      {first:.0f} MB after the first loaded phase, {last:.0f} MB after the last (limit +5 %)")
    enough = answered >= LEAST_ANSWERED * arguments.requests * seconds
    let_go = all(one.dropped >= arguments.stalled for one in under) and under[-1].lost >= arguments.stalled * len(under)
    return bool(last <= MOST_GROWTH * first and enough and let_go)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="under load; as long again without it, and with it elsewhere"
    )
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--requests", type=float, default=500.0, help="a second")
    parser.add_argument("--first", action="store_true", help="the daemon at real-time priority")
    parser.add_argument("--strategy", default="hrm", choices=["hrm", "rules"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        daemon, url, token = start(directory, arguments.strategy)
        os.nice(NICER_BY)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                phases = runner.run(alternate(Load(arguments, daemon, url, token), arguments.minutes, directory))
        finally:
            daemon.terminate()
            daemon.wait(30)
        return 0 if report(directory / "j.sqlite", phases, arguments) else 1


if __name__ == "__main__":
    raise SystemExit(main())
