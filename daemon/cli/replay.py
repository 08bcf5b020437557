"""`hrmd replay`: a recorded tape through the whole daemon, as fast as the machine can, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.errors import UsageError

if TYPE_CHECKING:
    from daemon.report.summary import ReplaySummary
    from daemon.run.replaying import Replay


def replay(
    tapes: Annotated[
        list[Path], typer.Argument(help="Tapes; several are merged by time of receipt.", show_default=False)
    ],
    config: Config = None,
    overrides: Overrides = None,
    strategy: Annotated[
        str | None, typer.Option(help="hrm | ppo | rules | onnx | folder.module:Class, instead of strategy.name.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model artifact instead of model_management.artifact.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Only this symbol of the tape; may repeat.")] = None,
    latency: Annotated[
        str, typer.Option(help="zero | fixed:MS | recorded:JOURNAL, from bar close to the market.")
    ] = "zero",
    journal: Annotated[
        Path | None, typer.Option(help="Write the journal here (a new file, or a run is added).")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report into this directory.")] = None,
    bars_out: Annotated[Path | None, typer.Option(help="Write all bars to this Parquet file.")] = None,
    fills_out: Annotated[Path | None, typer.Option(help="Write all fills to this Parquet file.")] = None,
    trades_out: Annotated[Path | None, typer.Option(help="Write all round trips to this Parquet file.")] = None,
    decisions_out: Annotated[Path | None, typer.Option(help="Write all decisions to this Parquet file.")] = None,
    equity_out: Annotated[Path | None, typer.Option(help="Write equity at each session's end to this one.")] = None,
    ticks_out: Annotated[Path | None, typer.Option(help="Write the accepted ticks to this tape.")] = None,
    as_json: AsJson = False,
) -> int:
    """Replay recorded ticks through the whole daemon."""
    from rich.console import Console

    from daemon.report.terminal import print_summary
    from daemon.run.latency import parse_latency
    from daemon.run.replaying import Replay, ReplayOutputs

    changes = list(overrides or [])
    if strategy is not None:
        changes += _instead(strategy, config, changes)
    if model is not None:
        changes.append(f"model_management.artifact={json.dumps(str(model))}")  # JSON is YAML, whatever the name holds
    settings = settings_and_logs(config, changes)
    outputs = ReplayOutputs(
        journal=journal, report=report, bars=bars_out, fills=fills_out, trades=trades_out, decisions=decisions_out,
        equity=equity_out, ticks=ticks_out,
    )  # fmt: skip
    session = Replay(settings, tapes, symbol or [], parse_latency(latency), outputs)
    summary = run_loop(_interruptible(session))
    if as_json:
        print_json(summary)
    else:
        print_summary(Console(), summary, session.trades)
        for path in session.written:
            typer.echo(f"wrote {path}")
    return 130 if session.interrupted else 0


def _instead(strategy: str, config: Path | None, changes: list[str]) -> list[str]:
    """What `--strategy` changes; parameters that the settings have for another one are left out."""
    from daemon.settings.layers import read_layers
    from daemon.settings.own import known_name

    try:
        known_name(strategy)
    except ValueError as error:
        raise UsageError(f"--strategy {strategy}: no such strategy; expected {error}") from None
    said = read_layers(config, changes).values.get("strategy")
    named = said.get("name") if isinstance(said, dict) else None
    given = any(change.startswith("strategy.parameters") for change in changes)
    return [f"strategy.name={strategy}", *(["strategy.parameters=null"] if named != strategy and not given else [])]


async def _interruptible(session: Replay) -> ReplaySummary:
    """Run; Ctrl-C, SIGTERM and a hangup end the replay in order, with its journal whole."""
    from daemon.run.process import on_ending

    on_ending(lambda _: session.stop())
    return await session.run()
