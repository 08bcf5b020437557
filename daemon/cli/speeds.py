"""How fast this machine replays and trains → figures of `hrmd bench replay` and `hrmd bench train`.

Invariant: a first round that imports and compiles isn't counted, and the figures are of the product's own code with the
settings in force.
"""

from __future__ import annotations

import datetime as dt
import itertools
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
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.settings.tree import Settings
from models.training.batches import Target
from models.training.markets import HiddenRegime
from models.training.progress import Report, StepReport, resident_mb
from models.training.run import model_of
from models.training.source import FreshSource
from models.training.trainer import Trainer

SYMBOL: Final = "NSE:RELIANCE-EQ=1400"
FIRST_DAY: Final = dt.date(2021, 1, 4)
PER_SESSION: Final = 20_000
"""Ticks of a simulated session."""
Tell = Callable[[str], None]


class ReplaySpeed(msgspec.Struct, frozen=True):
    """Of some rounds, loading included; ``wall_s`` and ``ticks_per_s`` are medians, ``cpu`` counts processor time."""

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
    ticks_per_s: float
    ticks_per_s_best: float
    ticks_per_s_worst: float
    ticks_per_cpu_s: float
    peak_memory_mb: float


class TrainingSpeed(msgspec.Struct, frozen=True):
    """Of some steps on simulated sessions; ``step_s`` is the median of a step with all its segments."""

    profile: str
    parameters: int
    sessions: int
    segments: int
    steps: int
    step_s: float
    sessions_per_s: float
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
        ticks_per_s=statistics.median(speeds),
        ticks_per_s_best=max(speeds),
        ticks_per_s_worst=min(speeds),
        ticks_per_cpu_s=statistics.median(last.ticks / cpu for _, cpu, _ in counted),
        peak_memory_mb=resident_mb(),
    )


def training_speed(settings: Settings, steps: int, tell: Tell) -> TrainingSpeed:
    """Train so many steps on fresh sessions of the hidden-regime market, in a folder that is thrown away."""
    hrm = settings.hierarchical_reasoning_model
    supervision = settings.deep_supervision.model_copy(update={"halting_from": 1.0})  # no row is spared a segment
    training = settings.training_params.model_copy(
        update={
            "steps": steps + 1,
            "validate_every": steps + 1,
            "checkpoint_every": steps + 1,
            "target": Target.CONDITIONAL_MEAN,  # of any target a step costs the same; this one isn't fitted before
        }
    )
    ends: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, StepReport):
            ends.append(time.perf_counter())
            tell(f"step {len(ends) - 1} of {steps}")

    with TemporaryDirectory() as folder:
        source = FreshSource(HiddenRegime().sessions)
        limit_gb = settings.performance.memory_limit_gb
        trainer = Trainer(
            hrm, supervision, training, source, None, Path(folder), observers=[watch], memory_limit_gb=limit_gb,
            teacher=model_of(training.teacher.artifact), start=model_of(training.start_from),
        )  # fmt: skip
        trainer.run()
    tell("")
    step_s = statistics.median(after - before for before, after in itertools.pairwise(ends))
    return TrainingSpeed(
        profile=hrm.profile,
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
        sessions=training.batch_sessions,
        segments=supervision.segments,
        steps=steps,
        step_s=step_s,
        sessions_per_s=training.batch_sessions / step_s,
        peak_memory_mb=resident_mb(),
    )


def _simulated(settings: Settings, out: Path, ticks: int) -> Path:
    calendar = MarketCalendar.load(settings.market.calendar_file)
    days = ordinary_sessions(calendar, FIRST_DAY, -(-ticks // PER_SESSION))
    write_simulated(out, simulated_symbols([SYMBOL], settings), days, ticks // len(days), seed=1)
    return out
