"""`hrmd replay`: a recorded tape through the whole daemon, as fast as the machine can, and what came of it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import INTERRUPTED, AsJson, Config, Overrides, naming, print_json, run_loop, settings_and_logs
from daemon.core.errors import UsageError

if TYPE_CHECKING:
    from daemon.report.summary import ReplaySummary
    from daemon.run.many import Crew
    from daemon.run.outputs import ReplayOutputs
    from daemon.run.replaying import Replay
    from daemon.settings.tree import Settings


def replay(
    tapes: Annotated[
        list[Path] | None, typer.Argument(help="Tapes; several are merged by time of receipt.", show_default=False)
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    strategy: Annotated[
        str | None, typer.Option(help="hrm | ppo | rules | onnx | folder.module:Class, instead of strategy.name.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model artifact, or the policy of ppo, instead of that of the settings.")
    ] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Only this symbol of the tape; may repeat.")] = None,
    latency: Annotated[
        str | None,
        typer.Option(
            help="zero (default) | fixed:MS | recorded:JOURNAL, from bar close to the market.", show_default=False
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Replay this journal's day as it was recorded; exit 1 and the first event that differs, and why.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        int | None, typer.Option(help="Against: this run instead of the newest with those of its day.", min=1)
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Write the journal here (a new file, or a run is added).")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report into this directory.")] = None,
    bars_out: Annotated[Path | None, typer.Option(help="Write all bars to this Parquet file.")] = None,
    fills_out: Annotated[Path | None, typer.Option(help="Write all fills to this Parquet file.")] = None,
    trades_out: Annotated[Path | None, typer.Option(help="Write all round trips to this Parquet file.")] = None,
    decisions_out: Annotated[Path | None, typer.Option(help="Write all decisions to this Parquet file.")] = None,
    equity_out: Annotated[Path | None, typer.Option(help="Write equity at each session's end to this one.")] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Replay again under dearer markets and later orders: nine replays.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(help="Spread the sessions over so many processes; the same result.", min=1, max=256),
    ] = 1,
    lookahead: Annotated[
        bool,
        typer.Option(
            "--lookahead", help="Instead: replay the tape's beginnings too, and check that decisions stay the same."
        ),
    ] = False,
    ticks_out: Annotated[Path | None, typer.Option(help="Write the accepted ticks to this tape.")] = None,
    as_json: AsJson = False,
) -> int:
    """Replay recorded ticks through the whole daemon."""
    from daemon.run.outputs import ReplayOutputs
    from daemon.run.process import ended_in_order

    changes = list(overrides or [])
    outputs = ReplayOutputs(
        journal=journal, report=report, bars=bars_out, fills=fills_out, trades=trades_out, decisions=decisions_out,
        equity=equity_out, ticks=ticks_out,
    )  # fmt: skip
    if against is not None:
        from daemon.cli.against import replay_against

        if config is not None:
            raise UsageError(f"--config {config}: --against takes the journal's settings; change some with --set")
        if workers > 1 or sensitivity or lookahead:
            raise UsageError("--against replays one day once: without --workers, --sensitivity and --lookahead")
        return replay_against(
            against, run, changes, partial(chosen, strategy, model, changes), tapes or [], symbol or [], latency,
            outputs, as_json=as_json,
        )  # fmt: skip
    changes = chosen(strategy, model, changes, named_strategy(config, changes))
    if run is not None:
        raise UsageError(f"--run {run}: names a run of --against JOURNAL, and there is none")
    if not tapes:
        raise UsageError("Missing argument 'TAPES...': a tape to replay, or --against JOURNAL")
    if lookahead:
        written = any(getattr(outputs, name) is not None for name in outputs.__struct_fields__)
        if written or workers > 1 or sensitivity:
            raise UsageError("--lookahead writes nothing: without outputs, --workers and --sensitivity")
        from daemon.cli.lookahead import check_lookahead

        with ended_in_order():
            check_lookahead(settings_and_logs(config, changes), tapes, symbol or [], latency or "zero", as_json=as_json)
        return 0
    settings = settings_and_logs(config, changes)
    with ExitStack() as stack:
        stack.enter_context(ended_in_order())
        crew = None
        if workers > 1:
            from daemon.run.many import Crew, not_to_be_split, thinks

            if not not_to_be_split(settings, journal, ticks_out):  # before this process imports what it needs itself
                crew = stack.enter_context(closing(Crew(workers - 1, thinks=thinks(settings))))
        return _played(
            settings, tapes, symbol or [], latency or "zero", outputs, workers, crew, sensitivity=sensitivity,
            as_json=as_json,
        )  # fmt: skip


def _played(
    settings: Settings, tapes: list[Path], symbols: list[str], latency: str, outputs: ReplayOutputs, workers: int,
    crew: Crew | None, *, sensitivity: bool, as_json: bool,
) -> int:  # fmt: skip
    """Replay, and say what came of it."""
    import structlog
    from rich.console import Console

    from daemon.report.terminal import print_summary
    from daemon.run.latency import parse_latency
    from daemon.run.replaying import Replay
    from daemon.strategy.openings import opens_nothing

    session = Replay(settings, tapes, symbols, parse_latency(latency), outputs, workers, crew)
    if why := opens_nothing(settings):
        structlog.get_logger("replay").warning("no position will be opened", reason=why)
    if sensitivity:
        from daemon.run.sensitivity import sensitivity as under_other_costs

        session.beside = partial(under_other_costs, settings, tapes, symbols, latency)
    try:
        run_loop(interruptible(session))
    finally:
        summary = session.summary  # what it came to is told where an output can't be written, too
        if summary is not None and as_json:
            print_json(summary)
        elif summary is not None:
            print_summary(Console(), summary, session.trades)
    for path in [] if as_json else session.written:
        typer.echo(f"wrote {path}")
    return INTERRUPTED if session.interrupted else 0


def chosen(strategy: str | None, model: Path | None, changes: list[str], named: object) -> list[str]:
    """`changes` and what `--strategy` and `--model` change beside them, where the settings `named` a strategy."""
    if strategy is not None:
        changes = [*changes, *_instead(strategy, named, changes)]
        named = strategy
    return changes if model is None else [*changes, _deciding(model, named)]


def named_strategy(config: Path | None, changes: list[str]) -> object:
    """The strategy that the settings name."""
    from daemon.settings.layers import read_layers

    said = read_layers(config, changes).values.get("strategy")
    return said.get("name") if isinstance(said, dict) else None


def _instead(strategy: str, named: object, changes: list[str]) -> list[str]:
    """What `--strategy` changes; parameters that the settings have for another one are left out."""
    from daemon.settings.own import known_name

    try:
        known_name(strategy)
    except ValueError as error:
        raise UsageError(f"--strategy {strategy}: no such strategy; expected {error}") from None
    given = any(change.startswith("strategy.parameters") for change in changes)
    return [f"strategy.name={strategy}", *(["strategy.parameters=null"] if named != strategy and not given else [])]


def _deciding(model: Path, name: object) -> str:
    """What `--model` changes, so that it is `model` that decides. Raises `UsageError` where none does."""
    if name == "ppo":
        return naming(model, "model_management.ppo_artifact")
    if name not in (None, "hrm"):
        raise UsageError(f"--model {model}: strategy {name} would not decide by it; expected --strategy hrm or ppo")
    return naming(model)


async def interruptible(session: Replay) -> ReplaySummary:
    """Run; Ctrl-C, SIGTERM and a hangup end the replay in order, with its journal whole."""
    from daemon.run.process import on_ending

    on_ending(lambda _: session.stop())
    return await session.run()
