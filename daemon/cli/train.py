"""`hrmd train`: a model from bars or from a simulated market, with progress, resumable, deterministic."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from daemon.cli.options import INTERRUPTED, AsJson, Config, Overrides, print_json, settings_and_logs, writing_into
from daemon.core.errors import ArtifactError, UsageError
from daemon.settings.shape_of_model import START
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS

if TYPE_CHECKING:
    from models.training.progress import Report
    from models.training.run import Data
    from models.training.trainer import TrainResult

MARKETS = ("hidden_regime", "composition", "family")

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Parquet files of bars (ts, open, high, low, close, …); none: a simulated market.", show_default=False
    ),
]
Market = Annotated[str, typer.Option(help=f"Simulated market: {' | '.join(MARKETS)}.")]
Columns = Annotated[str, typer.Option(help="Names of the files' columns, as in time=Date,open=Open; time=Day+Time.")]
Border = Annotated[str, typer.Option(help="Bars before this date train, bars from it on validate (YYYY-MM-DD).")]
Workers = Annotated[int, typer.Option(help="So many processes, each with memory of its own; 0: one a core.", min=0)]
Address = Annotated[str | None, typer.Option(help="A Ray cluster instead: host:port, or auto.")]


def train(
    bars: Files = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for checkpoints, metrics and model.")] = Path(
        "var/train"
    ),
    config: Config = None,
    overrides: Overrides = None,
    market: Market = "hidden_regime",
    sessions: Annotated[
        int | None, typer.Option(help="Simulated: train on so many sessions; none: fresh ones.")
    ] = None,
    border: Border = "2020-01-01",
    columns: Columns = "",
    intervals: Annotated[
        str,
        typer.Option(help="Bars to train on in turns, as in 5m,15m; the first validates."),
    ] = "",
    resume: Annotated[bool, typer.Option(help="Continue from the newest checkpoint, bit for bit.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; with torchrun each process has its own.")] = "cpu",
    walk_forward: Annotated[
        str | None,
        typer.Option(
            help="Train on all bars before each date and score up to the next; monthly, quarterly or yearly from "
            "--border on, or YYYY-MM-DD,… The winner becomes a candidate in the store OUT. Rounds that are done are "
            "not done again."
        ),
    ] = None,
    workers: Workers = 1,
    address: Address = None,
    tensorboard: Annotated[
        bool, typer.Option(help="Write TensorBoard files, too, into OUT/tensorboard (extra `tensorboard`).")
    ] = False,
    ppo: Annotated[
        int | None, typer.Option(help="Train the PPO policy of the ladder instead, for so many decisions; simulated.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Train a model; SIGTERM and Ctrl-C save a checkpoint first. With torchrun: -m daemon train."""
    from models.errors import ModelError
    from models.training.distributed import join_group
    from models.training.progress import MetricsFile, Observer, TensorBoardFiles, watching
    from models.training.run import train as run_training

    settings = settings_and_logs(config, overrides, START)
    with writing_into(out):
        if walk_forward is not None:
            from daemon.cli.walking import refuse_beside, train_walk_forward

            refuse_beside(
                {"--resume": resume, "--tensorboard": tensorboard, "--ppo": ppo is not None,
                 "--intervals": bool(intervals), "--sessions": sessions is not None, "--market": market != MARKETS[0]},
                "which goes on by itself and trains on files of one interval",
            )  # fmt: skip
            train_walk_forward(
                settings, bars or [], walk_forward, out, border, columns, device, workers, address, as_json=as_json
            )
            return 0
        if workers != 1 or address is not None:
            raise UsageError("--workers, --address: only with --walk-forward; one training on many cores is torchrun's")
        data = training_data(settings, bars or [], market, sessions, border, intervals, columns)
        if ppo is not None:
            return _ppo(settings, data, ppo, out / "ppo.safetensors", as_json)
        try:
            group, device = join_group(device)
        except ModelError as error:
            raise UsageError(str(error)) from None
        observers: list[Observer] = []
        try:
            with ExitStack() as stack:
                if group.rank == 0:
                    view: Observer = stack.enter_context(watching(Console(stderr=True)))
                    observers = [view, MetricsFile(out / "metrics.jsonl")]
                    if tensorboard:
                        observers.append(stack.enter_context(closing(TensorBoardFiles(out / "tensorboard"))))
                trained = run_training(
                    settings.hierarchical_reasoning_model,
                    settings.deep_supervision,
                    settings.training_params,
                    data,
                    out,
                    resume=resume,
                    observers=observers,
                    group=group,
                    device=device,
                    memory_limit_gb=settings.performance.memory_limit_gb,
                )
        except ModelError as error:
            raise ArtifactError(str(error)) from None
        answer = {
            "step": trained.result.step,
            "finished": trained.artifact is not None,
            "artifact": str(trained.artifact) if trained.artifact else None,
            "sha256": trained.manifest.sha256 if trained.manifest else None,
            "metrics": dict(trained.manifest.metrics) if trained.manifest else {},
            "best_step": trained.result.best_step,
            "best_bp": trained.result.best_bp,
        }
        if group.rank:
            pass  # the first of the processes says it for all
        elif as_json:
            print_json(answer)
        elif trained.artifact is not None:
            said = f"wrote {trained.artifact}{_said_best(trained.result)}"
            chosen = bool(bars) and settings.training_params.select == "best"
            typer.echo(f"{said}; {_next(bars, trained.artifact, border, chosen=chosen)}")
        else:
            typer.echo(f"stopped at step {trained.result.step}; continue with --resume")
        return 0 if trained.artifact is not None else INTERRUPTED


def _said_best(result: TrainResult) -> str:
    """Which step was best, "" where nothing was validated."""
    if result.best_bp is None:
        return ""
    return f"; the best step was {result.best_step} of {result.step}, with {result.best_bp:.2f} bp a session"


def _next(bars: list[Path] | None, artifact: Path, border: str, *, chosen: bool) -> str:
    """What to look at next: a model that knows recorded bars is scored on them, another on fresh sessions.

    Where its step was `chosen` by the sessions behind the border these are no test of it any more.
    """
    if chosen:
        return f"what chose its step is no test of it: hrmd evaluate {artifact} BARS --border DATE, on later sessions"
    files = "".join(f" {path}" for path in bars or [])
    return f"try: hrmd evaluate {artifact}{files}{f' --border {border}' if bars else ''}"


def _ppo(settings: Settings, data: Data, decisions: int, path: Path, as_json: bool) -> int:
    """Train, score and write a policy."""
    from models.errors import ModelError
    from models.training.batches import BatchSettings, Target
    from models.training.markets import market
    from models.training.ppo_trainer import train_ppo, validated
    from models.training.run import SimulatedData, sources

    if decisions < 1:
        raise UsageError(f"--ppo {decisions}: expected 1 or more decisions")
    if not isinstance(data, SimulatedData) or data.sessions is not None:
        raise UsageError("--ppo: expected fresh sessions of a simulated market, no files and no --sessions")
    hrm, training = settings.hierarchical_reasoning_model, settings.training_params
    features = hrm.features.model_copy(update={"past_sessions": 0})  # nothing that comes with it tells a policy more
    batches, costs = BatchSettings(features, training.fill, Target.REALISED), training.objective.costs
    draw = market(data.name).sessions
    try:
        policy = train_ppo(draw, batches, costs, steps=decisions, seed=training.seed, interval=draw(1, 0).interval)
        policy = validated(policy, batches, sources(data, training)[1], costs)
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    sha256 = policy.save(path)
    if as_json:
        print_json(
            {"step": decisions, "finished": True, "artifact": str(path), "sha256": sha256,
             "metrics": dict(policy.manifest.metrics)}
        )  # fmt: skip
    else:
        typer.echo(f"wrote {path}; try: hrmd replay TAPE --strategy ppo --set model_management.ppo_artifact={path}")
    return 0


def training_data(
    settings: Settings, bars: list[Path], market: str, sessions: int | None, border: str, intervals: str = "",
    columns: str = "", option: str = "--border",
) -> Data:  # fmt: skip
    """What to train or evaluate on. Raises `UsageError` for options that can't be meant."""
    from daemon.run.files_of_bars import file_data
    from models.training.markets import MarketName
    from models.training.run import SimulatedData

    if not bars:
        if market not in MARKETS:
            raise UsageError(f"--market {market}: no such market; there are {', '.join(MARKETS)}")
        if intervals:
            raise UsageError("--intervals: expected files of bars, a simulated market has one interval")
        if columns:
            raise UsageError("--columns: expected files of bars, a simulated market has no columns")
        if sessions is not None and sessions < 1:
            raise UsageError(f"--sessions {sessions}: expected 1 or more")
        return SimulatedData(MarketName(market), sessions)
    for path in bars:
        if not path.exists():
            raise UsageError(f"{path}: no such file of bars")
    names = [name.strip() for name in intervals.split(",")] if intervals else [settings.strategy.interval]
    seconds = [length for name in names for known, length in INTERVALS.items() if known == name]
    if len(seconds) < len(names) or len(set(seconds)) < len(seconds):
        raise UsageError(f"--intervals {intervals}: expected different ones of {', '.join(INTERVALS)}")
    return file_data(settings, bars, seconds, date_of(option, border), columns, option)


def tell_note(report: Report) -> None:
    """A note of a training or of its files, on standard error; its steps are for those who watch."""
    from models.training.progress import NoteReport

    if isinstance(report, NoteReport):
        typer.echo(f"{report.kind}: {report.text}", err=True)


def date_of(option: str, text: str) -> dt.date:
    """The day that an option names. Raises `UsageError` for what is none."""
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected a date as YYYY-MM-DD") from None
