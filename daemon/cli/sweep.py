"""`hrmd sweep`: settings tried over tapes, instruments and seeds, and how much of the best is luck."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs, writing_into
from daemon.core.errors import UsageError

if TYPE_CHECKING:
    from daemon.report.sweep import TrialRow
    from daemon.settings.tree import Settings


def sweep(
    tapes: Annotated[list[Path], typer.Argument(help="Tapes to play each trial on.", show_default=False)],
    param: Annotated[
        list[str], typer.Option(help="a.b.c=LOW:HIGH[:STEP|:log] or a.b.c=A,B,C; may repeat.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Directory of the study, the table and the page; a sweep goes on there.")
    ],
    config: Config = None,
    overrides: Overrides = None,
    trials: Annotated[
        int,
        typer.Option(
            help="So many in all, those of before counted; fewer where there are no more different ones.", min=1
        ),
    ] = 40,
    symbol: Annotated[list[str] | None, typer.Option(help="Each symbol by itself; may repeat.")] = None,
    windows: Annotated[int, typer.Option(help="Cut each replay into so many stretches of sessions.", min=1)] = 1,
    model_seed: Annotated[list[int] | None, typer.Option(help="Each seed of the model by itself; may repeat.")] = None,
    metric: Annotated[str, typer.Option(help="sharpe | sortino | calmar | total_return")] = "sharpe",
    sampler: Annotated[str, typer.Option(help="tpe | random | grid")] = "tpe",
    pruner: Annotated[str, typer.Option(help="none | median | halving, after each symbol and seed.")] = "none",
    seed: Annotated[int, typer.Option(help="Of the sampler.", min=0)] = 0,
    latency: Annotated[str, typer.Option(help="zero | fixed:MS")] = "zero",
    workers: Annotated[int, typer.Option(help="Processes; 0: one a core.", min=0)] = 0,
    address: Annotated[str | None, typer.Option(help="A Ray cluster instead: host:port, or auto.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try settings over tapes, instruments and seeds; killed and begun again it ends with the same table."""
    from daemon.feed.replay import Tapes
    from daemon.report.sweep import NONE_EARNS, alike, write_sweep
    from daemon.run.fleet import fleet_of
    from daemon.run.latency import parse_latency
    from daemon.run.output_tables import write_table
    from daemon.run.process import ended_in_order
    from daemon.run.sweep import METRICS, PRUNERS, SAMPLERS, Sweep, ranked, wanted_of
    from daemon.run.sweep_table import trials_table

    asked = (("metric", metric, METRICS), ("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS))
    for name, value, known in asked:
        if value not in known:
            raise UsageError(f"--{name} {value}: expected one of {', '.join(known)}")
    parse_latency(latency)
    settings = settings_and_logs(config, [*(overrides or []), "log.level=error"])
    played = Tapes(tapes, symbol or [], settings.feed.chunk_rows)
    _check_seeds(settings, param, model_seed or [])
    wanted = wanted_of(
        settings, tapes, params=param, symbols=symbol or [], windows=windows, seeds=model_seed or [], latency=latency,
        metric=metric, sampler=sampler, pruner=pruner, seed=seed, trials=trials,
    )  # fmt: skip
    with writing_into(out):
        with ended_in_order(partial(typer.echo, err=True)), closing(fleet_of(address, workers)) as fleet:
            made = Sweep(wanted, out / "study.sqlite")
            rows = ranked(made.run(fleet, lambda so_far: _progress(ranked(so_far), made.trials)))
        write_table(trials_table(rows), out / "trials.parquet")
        write_sweep(out / "sweep.html", rows, made.tried(simulated=played.simulated))
    if said := alike(rows):
        typer.echo(said, err=as_json)
    if as_json:
        print_json({"study": str(out / "study.sqlite"), "trials": rows, "best": rows[0]})
        return
    _show(rows, metric)
    every = ", all that there are" if made.trials < trials else ""
    typer.echo(f"{len(rows)} trials{every}; not luck: the deflated Sharpe ratio of so many")
    if not any(row.earns for row in rows):
        typer.echo(f"{NONE_EARNS}: the first is the least bad, and nothing to trade")
    for name in ("trials.parquet", "sweep.html"):
        typer.echo(f"wrote {out / name}")


def _check_seeds(settings: Settings, params: list[str], seeds: list[int]) -> None:
    """Raise `UsageError` where seeds of the model are asked for and no trial has a model that is made of one."""
    varied = {param.partition("=")[0] for param in params} & {"strategy.name", "model_management.artifact"}
    drawn = settings.strategy.name == "hrm" and settings.model_management.artifact is None
    if seeds and not drawn and not varied:
        raise UsageError(
            f"--model-seed {seeds[0]}: is that of an untrained network, and strategy {settings.strategy.name} has none "
            "here: every seed would be the same; expected strategy.name hrm and model_management.artifact null"
        )


def _progress(rows: list[TrialRow], trials: int) -> None:
    from daemon.report.text import ratio

    best = rows[0]
    if best.earns:
        found = f"best so far: trial {best.number}, {ratio(best.value)}"
    else:
        found = "none better than to sit out yet" if any(row.trades for row in rows) else "none has traded yet"
    typer.echo(f"{len(rows)} of {trials} trials; {found}", err=True)


def _show(rows: list[TrialRow], metric: str) -> None:
    from daemon.report.tables import show, table
    from daemon.report.text import percent, ratio, signed_rupees, whole

    shown = table(
        ">trial", "settings", f">mean {metric}", ">worst", ">Sharpe, all sessions", ">not luck", ">trades", ">net P&L"
    )
    for row in rows[:10]:
        told = ", ".join(f"{key}={value}" for key, value in row.params.items())
        shown.add_row(
            row.called, told, ratio(row.value), ratio(row.worst), ratio(row.sharpe), percent(row.deflated, 1),
            whole(row.trades), signed_rupees(row.net_pnl),
        )  # fmt: skip
    show(shown)
