"""`hrmd bench`: what this machine makes of the model.

Invariant: with `--json` stdout holds exactly one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from daemon.cli.options import AsJson, Config, Overrides, run_loop, settings_and_logs
from daemon.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from daemon.benchmark.busy import BusyReport
    from daemon.benchmark.latency import LatencyReport

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)

RUNTIMES = ("auto", "torch", "onnxruntime", "native")
CONSOLE_WIDTH = 110


@bench_app.command("latency")
def latency(
    profile: Annotated[str | None, typer.Option(help="Shape of the network; the settings' own by default.")] = None,
    model: Annotated[Path | None, typer.Option(help="Artifact to run; seeded weights by default.")] = None,
    runtime: Annotated[str, typer.Option(help="auto (all of them), torch, onnxruntime or native.")] = "auto",
    instruments: Annotated[str, typer.Option(help="Observations in one batch, e.g. 1,8,32.")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each runs every runtime once.")] = 30,
    busy_decisions: Annotated[int, typer.Option(min=0, help="Bars of the run with a busy loop; 0 for none.")] = 200,
    ticks_per_s: Annotated[int, typer.Option(min=1, help="Ticks a second of the busy run.")] = 10_000,
    bar_s: Annotated[float, typer.Option(min=0.05, help="Seconds between two bars of the busy run.")] = 0.25,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Segment and decision times of every runtime beside the machine's limits; then decisions with a busy loop."""
    import torch

    from daemon.benchmark.busy import BusyRun
    from daemon.benchmark.latency import measure_latency
    from daemon.clock import LiveClock
    from daemon.inference import equip, runtime_plan
    from models.errors import CheckpointError
    from models.runtimes.choice import Runtime
    from strategies.hrm import HRMStrategy

    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime {runtime}: expected one of {', '.join(RUNTIMES)}")
    chosen = [] if profile is None else [f"hierarchical_reasoning_model.profile={profile}"]
    settings = settings_and_logs(config, [*(overrides or []), *chosen, f"performance.runtime={runtime}"])
    hrm = settings.hierarchical_reasoning_model
    torch.set_num_threads(settings.performance.torch_threads)
    try:
        strategy = HRMStrategy.load(model, settings.model_management.seed, hrm, LiveClock())
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    wanted = [one for one in Runtime if runtime in ("auto", one)]
    report = measure_latency(strategy.agent, runtime_plan(settings), wanted, _batches(instruments), rounds)
    busy = []
    for count in _batches(instruments) if busy_decisions else []:
        equip(strategy, settings, model)
        run = BusyRun(settings, strategy, count, busy_decisions, ticks_per_s, bar_s)
        busy.append(run_loop(run.run()))
    if as_json:
        document = {**msgspec.to_builtins(report), "busy_runtime": strategy.runtime, "busy": busy}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
        return
    _show(report, busy, strategy.runtime)


def _batches(text: str) -> list[int]:
    """`1,8,32` as numbers. Raises `UsageError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 256 for part in parts):
        raise UsageError(f"--instruments {text}: expected whole numbers from 1 to 256 with commas between, e.g. 1,8,32")
    return [int(part) for part in parts]


def _show(report: LatencyReport, busy: list[BusyReport], runtime: str) -> None:
    console, machine = Console(), report.machine
    peaks = ", ".join(f"{name} {peak:.0f}" for name, peak in machine.peak_gops.items()) or "not measured"
    title = f"{report.profile} · {'trained' if report.trained else 'untrained'} · {machine.processor}"
    caption = f"one thread: {peaks} GOP/s · a segment: {report.operations_per_segment / 1e9:.2f} GOP"
    table = Table(title=title, caption=caption)
    for name in ("runtime", "batch", "segment ms", "p99", "max", "4 segments", "p99", "× torch", "÷ floor"):
        table.add_column(name, justify="left" if name == "runtime" else "right", no_wrap=True)
    for row in report.runtimes:
        one, four = row.segment_ms, row.decision_ms
        figures = [one.median, one.p99, one.max, four.median, four.p99, row.times_torch]
        floor = "" if row.times_floor is None else f"{row.times_floor:.1f}"
        table.add_row(row.runtime, str(row.instruments), *(f"{figure:.2f}" for figure in figures), floor)
    console.print(table, width=max(console.width, CONSOLE_WIDTH))
    console.print(f"auto takes {report.auto} · peak memory {report.peak_memory_mb:.0f} MB", highlight=False)
    for reason in report.refused:
        console.print(f"not available: {reason}", highlight=False)
    for run in busy:
        said = (
            f"busy loop, {run.instruments} instruments, {run.ticks_per_s:,.0f} ticks/s, {runtime}: {run.thinking} decisions,"
            f" median {run.decision_ms.median:.1f} p99 {run.decision_ms.p99:.1f} max {run.decision_ms.max:.1f} ms"
            f" (deadline {run.deadline_ms:g}, {run.overruns_over_5_ms} over by 5 ms or more) · loop lag p99"
            f" {run.loop_lag_ms.p99:.2f} ms · depths {run.segments}"
        )
        console.print(said, highlight=False, soft_wrap=True)
