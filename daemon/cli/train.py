"""`hrmd train`: a model from bars or from a simulated market, with progress, resumable, deterministic."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from daemon.cli.options import AsJson, Config, Overrides, settings_and_logs
from daemon.errors import ArtifactError, UsageError
from daemon.settings import INTERVALS, Settings

if TYPE_CHECKING:
    from models.training.run import Data

MARKETS = ("hidden_regime", "composition")

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Parquet files of bars (ts, open, high, low, close, …); none: a simulated market.", show_default=False
    ),
]
Market = Annotated[str, typer.Option(help=f"Simulated market: {' | '.join(MARKETS)}.")]
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
    resume: Annotated[bool, typer.Option(help="Continue from the newest checkpoint, bit for bit.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: AsJson = False,
) -> int:
    """Train a model; SIGTERM and Ctrl-C save a checkpoint first. With torchrun: -m daemon train."""
    from models.errors import ModelError
    from models.training.distributed import join_group
    from models.training.progress import LiveView, MetricsFile
    from models.training.run import train as run_training

    settings = settings_and_logs(config, overrides)
    group = join_group()
    view = LiveView(Console(stderr=True)) if group.rank == 0 else None
    try:
        with view or nullcontext():
            trained = run_training(
                settings.hierarchical_reasoning_model,
                settings.deep_supervision,
                settings.training_params,
                training_data(settings, bars or [], market, sessions, border),
                out,
                resume=resume,
                observers=[view, MetricsFile(out / "metrics.jsonl")] if view is not None else [],
                group=group,
                device=device,
            )
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    answer = {
        "step": trained.result.step,
        "finished": trained.artifact is not None,
        "artifact": str(trained.artifact) if trained.artifact else None,
        "sha256": trained.manifest.sha256 if trained.manifest else None,
        "metrics": dict(trained.manifest.metrics) if trained.manifest else {},
    }
    if as_json:
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    elif trained.artifact is not None:
        typer.echo(f"wrote {trained.artifact}; try: hrmd replay TAPE --model {trained.artifact}")
    else:
        typer.echo(f"stopped at step {trained.result.step}; continue with --resume")
    return 0 if trained.artifact is not None else 130


def training_data(settings: Settings, bars: list[Path], market: str, sessions: int | None, border: str) -> Data:
    """What to train or evaluate on. Raises `UsageError` for options that can't be meant."""
    from models.training.markets import MarketName
    from models.training.run import FileData, SimulatedData

    if not bars:
        if market not in MARKETS:
            raise UsageError(f"--market {market}: no such market; there are {', '.join(MARKETS)}")
        if sessions is not None and sessions < 1:
            raise UsageError(f"--sessions {sessions}: expected 1 or more")
        return SimulatedData(MarketName(market), sessions)
    for path in bars:
        if not path.exists():
            raise UsageError(f"{path}: no such file of bars")
    try:
        day = dt.date.fromisoformat(border)
    except ValueError:
        raise UsageError(f"--border {border!r}: expected a date as YYYY-MM-DD") from None
    return FileData(bars, INTERVALS[settings.strategy.interval], day)
