"""`hrmd bench`: what this machine makes of the model, of a replay and of training.

Invariant: with `--json` stdout holds exactly one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from daemon.cli.options import AsJson, Config, Overrides, naming, print_json, run_loop, settings_and_logs
from daemon.cli.train import Border, Files, Market, training_data
from daemon.core.errors import ArtifactError, UsageError
from daemon.report.tables import show, table, terminal
from daemon.report.text import counted

if TYPE_CHECKING:
    from daemon.benchmark.busy import BusyReport
    from daemon.benchmark.latency import LatencyReport

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)

RUNTIMES = ("auto", "torch", "onnxruntime", "native")
SHOWN = (1, 2, 4, 8, 16)
"""Depths in the table; JSON holds them all."""


@bench_app.command("latency")
def latency(
    profile: Annotated[
        str | None, typer.Option(help="Shape of the network; the model's or settings' own by default.")
    ] = None,
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
    from daemon.benchmark.busy import BusyRun
    from daemon.benchmark.latency import measure_latency
    from daemon.core.clock import LiveClock
    from daemon.strategy.inference import equip, runtime_plan
    from models.errors import CheckpointError
    from models.runtimes.choice import Runtime
    from strategies.hrm import HRMStrategy

    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime {runtime}: expected one of {', '.join(RUNTIMES)}")
    chosen = [] if profile is None else [f"hierarchical_reasoning_model.profile={profile}"]
    chosen += [] if model is None else [naming(model)]
    settings = settings_and_logs(config, [*(overrides or []), *chosen, f"performance.runtime={runtime}"])
    hrm = settings.hierarchical_reasoning_model
    try:
        strategy = HRMStrategy.load(model, settings.model_management.seed, hrm, LiveClock())
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    wanted = [one for one in Runtime if runtime in ("auto", one)]
    report = measure_latency(strategy.agent, runtime_plan(settings), wanted, _batches(instruments), rounds)
    busy = []
    for count in _batches(instruments) if busy_decisions else []:
        equip(strategy, settings, model)
        run = BusyRun(settings, strategy, count, busy_decisions, ticks_per_s, bar_s, _tenths(busy_decisions, bar_s))
        busy.append(run_loop(run.run()))
    if as_json:
        document = {**msgspec.to_builtins(report), "busy_runtime": strategy.runtime, "busy": busy}
        print_json(document)
        return
    _show(report, busy, strategy.runtime)


@bench_app.command("agreement")
def agreement(
    model: Annotated[Path, typer.Option(help="Artifact to run.", show_default=False)],
    bars: Files = None,
    market: Market = "hidden_regime",
    border: Border = "2020-01-01",
    observations: Annotated[int, typer.Option(min=1, help="Observations, each judged in all three positions.")] = 2000,
    segments: Annotated[int, typer.Option(min=1, help="Depth to go to.")] = 16,
    profile: Annotated[
        str | None, typer.Option(help="Shape of the network; the model's or settings' own by default.")
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Compare every runtime's answers with torch fp32's.

    Exit 1 where one that the settings allow has under 99 % of the actions in common, or, no deeper than decisions go,
    another action where torch's top two were more than 0.02 apart.
    """
    from daemon.benchmark.agreement import agrees, measure_agreement
    from daemon.benchmark.observations import market_features
    from daemon.strategy.inference import runtime_plan
    from models.agent import HRMAgent
    from models.errors import ModelError

    chosen = [] if profile is None else [f"hierarchical_reasoning_model.profile={profile}"]
    settings = settings_and_logs(config, [*(overrides or []), *chosen, naming(model)])
    try:
        agent = HRMAgent.load_model(model, settings.hierarchical_reasoning_model)
        data = training_data(settings, bars or [], market, None, border)
        features = market_features(agent, data, settings.training_params, observations)
        rows, refused = measure_agreement(agent, runtime_plan(settings), features, segments)
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    agreed = agrees(rows, settings.hierarchical_reasoning_model.max_segments)
    if as_json:
        document = {"model": str(model), "observations": len(features), "agreed": agreed, "runtimes": rows}
        print_json({**document, "refused": refused})
        return 0 if agreed else 1
    title = f"{model.name} · {len(features)} observations × 3 positions · largest errors against torch fp32"
    errors_of = (">probability", ">quantity", ">value", ">q")
    shown = table("=runtime", ">segment", ">same action", ">clear differences", *errors_of, title=title)
    for row in rows:
        if row.segment not in SHOWN and row.segment != segments:
            continue
        errors = (row.probability_error, row.quantity_error, row.value_error, row.q_error)
        share = f"{row.same_action:.3%}"
        figures = (f"{error:.5f}" for error in errors)
        shown.add_row(row.runtime, str(row.segment), share, str(row.clear_differences), *figures)
    show(shown)
    for reason in refused:
        typer.echo(f"not available: {reason}")
    return 0 if agreed else 1


@bench_app.command("replay")
def replay(
    tapes: Annotated[
        list[Path] | None, typer.Argument(help="Tapes; none: a simulated one.", show_default=False)
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="hrm | ppo | rules | onnx | folder.module:Class, instead of strategy.name.")
    ] = None,
    ticks: Annotated[
        int, typer.Option(min=1_000, max=100_000_000, help="Of the simulated tape, where no tape is given.")
    ] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count; one before them doesn't.")] = 3,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Ticks a second of a replay through the whole daemon, loading included."""
    from daemon.cli.replay import chosen, named_strategy
    from daemon.cli.replay_speed import replay_speed

    changes = list(overrides or [])
    settings = settings_and_logs(config, chosen(strategy, None, changes, named_strategy(config, changes)))
    speed = replay_speed(settings, tapes or [], ticks, rounds, _progress())
    if as_json:
        return print_json(speed)
    typer.echo(
        f"{speed.ticks:,} {'simulated ' if speed.simulated else ''}ticks, {speed.bars:,} bars, {speed.decisions:,} "
        f"decisions of {speed.strategy} on {speed.interval} bars, {speed.fills:,} fills\n"
        f"{speed.ticks_per_s:,.0f} ticks/s, the median of {counted(speed.rounds, 'round')} "
        f"({speed.ticks_per_s_worst:,.0f} to {speed.ticks_per_s_best:,.0f}); "
        f"{speed.ticks_per_cpu_s:,.0f} a second of processor time · peak memory {speed.peak_memory_mb:,.0f} MB"
    )


@bench_app.command("train")
def train(
    profile: Annotated[str | None, typer.Option(help="Shape of the network; the settings' own by default.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps that count; one before them doesn't.")] = 5,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Sessions a second of training on simulated sessions, and the memory that it takes."""
    from daemon.benchmark.training import training_speed

    chosen = [] if profile is None else [f"hierarchical_reasoning_model.profile={profile}"]
    settings = settings_and_logs(config, [*(overrides or []), *chosen])
    speed = training_speed(settings, steps, _progress())
    if as_json:
        return print_json(speed)
    typer.echo(
        f"{speed.profile}, {speed.parameters:,} parameters, {counted(speed.segments, 'segment')}: "
        f"{speed.sessions_per_s:.3g} sessions/s, a step of {counted(speed.sessions, 'session')} "
        f"in {speed.step_s:.3g} s (median of {speed.steps}) · peak memory {speed.peak_memory_mb:,.0f} MB"
    )


def _progress() -> Callable[[str], None]:
    """Shows somebody at a terminal where a measurement is; nothing of it stays."""
    if not sys.stderr.isatty():
        return lambda _: None

    def tell(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return tell


def _tenths(bars: int, bar_s: float) -> Callable[[int], None]:
    """Shows somebody at a terminal how far a busy run is: few bytes at each tenth, for more would be measured, too."""
    steps = {-(-bars * tenth // 10): f"busy loop: {10 * tenth} % of {bars:,} bars" for tenth in range(1, 10)}

    say = _progress()

    def tell(closed: int) -> None:
        if closed in steps or closed == bars:
            say(steps[closed] if closed < bars else "")

    say(f"busy loop: {bars:,} bars, {bars * bar_s:,.0f} s")
    return tell


def _batches(text: str) -> list[int]:
    """`1,8,32` as numbers. Raises `UsageError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 256 for part in parts):
        raise UsageError(f"--instruments {text}: expected whole numbers from 1 to 256 with commas between, e.g. 1,8,32")
    return [int(part) for part in parts]


def _show(report: LatencyReport, busy: list[BusyReport], runtime: str) -> None:
    machine = report.machine
    peaks = ", ".join(f"{name} {peak:.0f}" for name, peak in machine.peak_gops.items()) or "not measured"
    title = f"{report.profile} · {'trained' if report.trained else 'untrained'} · {machine.processor}"
    caption = f"one thread: {peaks} GOP/s · a segment: {report.operations_per_segment / 1e9:.3g} GOP"
    times = (">segment ms", ">p99", ">max", ">4 segments", ">p99", ">× torch", ">÷ floor")
    shown = table("=runtime", ">batch", *times, title=title)
    for row in report.runtimes:
        one, four = row.segment_ms, row.decision_ms
        figures = [one.median, one.p99, one.max, four.median, four.p99, row.times_torch]
        floor = "" if row.times_floor is None else f"{row.times_floor:.1f}"
        shown.add_row(row.runtime, str(row.instruments), *(f"{figure:.2f}" for figure in figures), floor)
    show(shown)
    console = terminal()
    console.print(caption)
    console.print(f"auto takes {report.auto} · peak memory {report.peak_memory_mb:.0f} MB")
    for reason in report.refused:
        console.print(f"not available: {reason}")
    for run in busy:
        said = (
            f"busy loop, {counted(run.instruments, 'instrument')}, {run.ticks_per_s:,.0f} ticks/s, {runtime}:"
            f" {run.thinking} decisions, median {run.decision_ms.median:.1f} p99 {run.decision_ms.p99:.1f}"
            f" max {run.decision_ms.max:.1f} ms"
            f" (deadline {run.deadline_ms:g}, {run.overruns_over_5_ms} over by 5 ms or more) · loop lag p99"
            f" {run.loop_lag_ms.p99:.2f} ms · depths {run.segments}"
        )
        console.print(said, soft_wrap=True)
