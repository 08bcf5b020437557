"""Tapes → how fast this machine replays them through the whole daemon.

Invariant: a first round that imports and compiles isn't counted. Nothing is imported that a replay does without, for
the memory is to be that of a replay.
"""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from daemon.cli.options import run_loop
from daemon.cli.tape import ordinary_sessions, simulated_symbols, write_simulated
from daemon.core.latency import FixedLatency
from daemon.market.calendar import MarketCalendar
from daemon.report.summary import ReplaySummary
from daemon.run.process import most_memory
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.settings.tree import Settings

SYMBOL: Final = "NSE:RELIANCE-EQ=1400"
FIRST_DAY: Final = dt.date(2021, 1, 4)
PER_SESSION: Final = 20_000
"""Ticks of a simulated session."""
Tell = Callable[[str], None]


class ReplaySpeed(msgspec.Struct, frozen=True):
    """Of some rounds, loading included; times are medians, ``cpu`` counts processor time."""

    tapes: list[str]
    simulated: bool
    strategy: str
    interval: str
    rounds: int
    ticks: int
    bars: int
    decisions: int
    orders: int
    fills: int
    decisions_sha256: str
    wall_s: float
    cpu_s: float
    ticks_per_s: float
    ticks_per_s_best: float
    ticks_per_s_worst: float
    ticks_per_cpu_s: float
    peak_memory_mb: float


def replay_speed(settings: Settings, tapes: Sequence[Path], ticks: int, rounds: int, tell: Tell) -> ReplaySpeed:
    """Replay ``tapes`` in rounds; without any a simulated one of about so many ``ticks`` of one symbol."""
    with TemporaryDirectory() as folder:
        played = list(tapes) or [_simulated(settings, Path(folder) / "bench.parquet", ticks)]
        runs: list[tuple[float, float, ReplaySummary]] = []
        for number in range(rounds + 1):
            tell(f"round {number} of {rounds}" if number else "warming up")
            wall, cpu = time.perf_counter(), time.process_time()
            summary = run_loop(Replay(settings, played, [], FixedLatency(0), ReplayOutputs()).run())
            runs.append((time.perf_counter() - wall, time.process_time() - cpu, summary))
    counted, last = runs[1:], runs[-1][2]
    speeds = [last.ticks / wall for wall, _, _ in counted]
    tell("")
    return ReplaySpeed(
        tapes=[str(tape) for tape in tapes],
        simulated=last.simulated,
        strategy=last.strategy,
        interval=last.interval,
        rounds=rounds,
        ticks=last.ticks,
        bars=last.bars,
        decisions=last.decisions,
        orders=last.orders,
        fills=last.fills,
        decisions_sha256=last.decisions_sha256,
        wall_s=statistics.median(wall for wall, _, _ in counted),
        cpu_s=statistics.median(cpu for _, cpu, _ in counted),
        ticks_per_s=statistics.median(speeds),
        ticks_per_s_best=max(speeds),
        ticks_per_s_worst=min(speeds),
        ticks_per_cpu_s=statistics.median(last.ticks / cpu for _, cpu, _ in counted),
        peak_memory_mb=most_memory() / (1 << 20),
    )


def _simulated(settings: Settings, out: Path, ticks: int) -> Path:
    calendar = MarketCalendar.load(settings.market.calendar_file)
    days = ordinary_sessions(calendar, FIRST_DAY, -(-ticks // PER_SESSION))
    write_simulated(out, simulated_symbols([SYMBOL], settings), days, ticks // len(days), seed=1)
    return out
