"""`hrmd train`: a model from bars or from a simulated market, with progress, resumable, deterministic."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.core.clock import wall_ns
from daemon.core.errors import ArtifactError, UsageError
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.hours import hours_of
from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import OvernightLimit
from daemon.report.tables import show
from daemon.settings.market import MarketSettings
from daemon.settings.shape_of_model import START
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.store import Store

if TYPE_CHECKING:
    from models.training.adjusting import Action
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
            "--border on, or YYYY-MM-DD,… The winner becomes a candidate in the store OUT."
        ),
    ] = None,
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
    if walk_forward is not None:
        _refuse_beside_walk_forward(
            {"--resume": resume, "--tensorboard": tensorboard, "--ppo": ppo is not None, "--intervals": bool(intervals),
             "--sessions": sessions is not None, "--market": market != MARKETS[0]}
        )  # fmt: skip
        return _walk_forward(settings, bars or [], walk_forward, out, border, columns, device, as_json=as_json)
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
    if as_json:
        print_json(answer)
    elif trained.artifact is not None:
        said = f"wrote {trained.artifact}{_said_best(trained.result)}"
        typer.echo(f"{said}; try: hrmd {_next(bars, trained.artifact, border)}")
    else:
        typer.echo(f"stopped at step {trained.result.step}; continue with --resume")
    return 0 if trained.artifact is not None else 130


def _said_best(result: TrainResult) -> str:
    """Which step was best, "" where nothing was validated."""
    if result.best_bp is None:
        return ""
    return f"; the best of {result.step} steps was {result.best_step} with {result.best_bp:.2f} bp a session"


def _next(bars: list[Path] | None, artifact: Path, border: str) -> str:
    """What to look at next: a model that knows recorded bars is scored on them, another on fresh sessions."""
    files = "".join(f" {path}" for path in bars or [])
    return f"evaluate {artifact}{files}{f' --border {border}' if bars else ''}"


def _refuse_beside_walk_forward(given: dict[str, bool]) -> None:
    """Raises `UsageError` for an option that a walk forward would not heed."""
    if refused := [option for option, there in given.items() if there]:
        raise UsageError(f"{', '.join(refused)}: not with --walk-forward, which trains anew on files of one interval")


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


def _walk_forward(
    settings: Settings, bars: list[Path], when: str, out: Path, border: str, columns: str, device: str, *, as_json: bool
) -> int:
    """Train once a border, score all parts as one, and put the winner into the store of models in `out`."""
    from daemon.report.evaluation import write_page
    from models.errors import ModelError
    from models.training.batches import BatchSettings
    from models.training.distributed import usable_device
    from models.training.evaluate import evaluate
    from models.training.files import FileData, Schedule
    from models.training.pages import document, tables
    from models.training.progress import MetricsFile, watching
    from models.training.run import walk_forward, winner

    option = "--border" if when in list(Schedule) else "--walk-forward"
    borders = Schedule(when) if when in list(Schedule) else [_date(option, text) for text in when.split(",")]
    if not isinstance(borders, Schedule) and borders != sorted(set(borders)):
        raise UsageError(f"--walk-forward {when}: expected dates that rise, or {', '.join(Schedule)}")
    first = border if isinstance(borders, Schedule) else borders[0].isoformat()
    data = training_data(settings, bars, MARKETS[0], None, first, columns=columns, option=option)
    if not isinstance(data, FileData):
        raise UsageError("--walk-forward: expected files of bars, a simulated market has no dates")
    hrm, training = settings.hierarchical_reasoning_model, settings.training_params
    try:
        device = usable_device(device)
        with watching(Console(stderr=True)) as view:
            folds, judged = walk_forward(
                hrm, settings.deep_supervision, training, data, borders, out / "walk",
                observers=[view, MetricsFile(out / "metrics.jsonl")],
                memory_limit_gb=settings.performance.memory_limit_gb, device=device,
            )  # fmt: skip
        hrm = hrm.within(settings.deep_supervision.segments)  # as deep as any of them decides
        best, earned = winner(folds, hrm, training)
        batches = BatchSettings(hrm.features, training.fill, training.target)
        evaluation = evaluate([(fold.model, fold.after) for fold in folds], hrm, batches, judged, seed=training.seed)
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    write_page(evaluation, out / "evaluation.html")
    release = None
    if max(earned) > 0:  # a model that lost is no candidate for anything
        name = f"walk-{best.border.isoformat()}"
        release = Store(out, hrm.network()).install(best.artifact, name, wall_ns(), lead=False)
    models = [
        {"border": fold.border.isoformat(), "artifact": str(fold.artifact), "last_window_bp": bp}
        for fold, bp in zip(folds, earned, strict=True)
    ]
    if as_json:
        chosen = {"candidate": release and release.name, "version": release and release.version}
        print_json({**document(evaluation), "models": models, **chosen})
        return 0
    show(tables(evaluation))
    for fold, bp in zip(folds, earned, strict=True):
        typer.echo(f"{fold.artifact}: {bp:.2f} bp a session behind {folds[-1].border}, after costs")
    typer.echo(f"wrote {out / 'evaluation.html'}")
    if release is None:
        typer.echo(f"none earned more than sitting out behind {folds[-1].border}: there is no candidate")
    else:
        typer.echo(f"{release.words} is a candidate in {out}; with model_management.store: {out} try hrmd ctl canary")
    return 0


def training_data(
    settings: Settings, bars: list[Path], market: str, sessions: int | None, border: str, intervals: str = "",
    columns: str = "", option: str = "--border",
) -> Data:  # fmt: skip
    """What to train or evaluate on. Raises `UsageError` for options that can't be meant."""
    from models.training.columns import columns_named
    from models.training.errors import DataError
    from models.training.files import FileData
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
    limit = OvernightLimit(InstrumentBook(settings.market), settings.market.max_overnight_percent)
    try:
        named = columns_named(columns)
    except DataError as error:
        raise UsageError(str(error)) from None
    actions = partial(_actions, settings.market)
    hours = hours_of(MarketCalendar.load(settings.market.calendar_file))
    return FileData(bars, seconds, _date(option, border), actions, limit.broken, named, option, hours)


def _actions(market: MarketSettings, symbol: str) -> list[Action]:
    """The corporate actions of `market.adjustments` as bars are adjusted by them."""
    from models.training.adjusting import Action

    found = []
    for item in market.adjustments_of(symbol):
        ratio = float(item.fraction)
        found.append(Action(ist_ns(item.date, "00:00"), ratio, 1.0 / ratio if item.shares else 1.0))
    return found


def _date(option: str, text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected a date as YYYY-MM-DD") from None
