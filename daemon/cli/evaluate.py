"""`hrmd evaluate`: how good a model is, beside what could be had without it and what the best possible trader has."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, naming, print_json, settings_and_logs
from daemon.cli.train import MARKETS, Address, Border, Columns, Files, Market, Workers, tell_note, training_data
from daemon.core.errors import ArtifactError, CheckFailed, UsageError
from daemon.market.calendar import ist_clock, ist_date
from daemon.report.tables import show
from daemon.settings.tree import Settings

if TYPE_CHECKING:
    from models.config import HRMSettings
    from models.hrm import HRM
    from models.training.batches import BatchSettings
    from models.training.evaluate import EvaluationData

BORDER, SESSIONS, MARKET_SEED, SEEDS = "2020-01-01", 2000, 900_002, 5
"""What is taken where nobody says."""


def evaluate(
    model: Annotated[
        Path, typer.Argument(help="Model artifact; with --walk-forward the folder that it left.", show_default=False)
    ],
    bars: Files = None,
    config: Config = None,
    overrides: Overrides = None,
    market: Market = "hidden_regime",
    sessions: Annotated[int, typer.Option(help="Simulated: score on so many fresh sessions in all.")] = SESSIONS,
    market_seed: Annotated[int, typer.Option(help="Simulated: seed of the first set of sessions.")] = MARKET_SEED,
    seeds: Annotated[int, typer.Option(help="Simulated: so many sets, each of a seed of its own.")] = SEEDS,
    border: Border = BORDER,
    columns: Columns = "",
    on_training_data: Annotated[
        bool, typer.Option("--on-training-data", help="Score on what the model was trained on, and say so.")
    ] = False,
    lookahead: Annotated[
        bool,
        typer.Option("--lookahead", help="Instead: cut the sessions short and check that decisions stay the same."),
    ] = False,
    ppo: Annotated[Path | None, typer.Option(help="An exported PPO policy to score beside it.")] = None,
    lightgbm: Annotated[bool, typer.Option(help="Fit and score LightGBM beside it (extra `baselines`).")] = False,
    walk_forward: Annotated[
        bool,
        typer.Option(
            "--walk-forward",
            help="Each model of a `hrmd train --walk-forward` on the days from its border up to the next one.",
        ),
    ] = False,
    workers: Workers = 1,
    address: Address = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page into this directory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: share of the best possible trader where it is known, Sharpe with intervals, controls, depth."""
    import torch

    from daemon.bars.complexity_of_sessions import as_live
    from daemon.cli.walking import asked_of, evaluate_walk_forward, fleet_for, refuse_beside
    from daemon.report.evaluation import Subject, write_evaluation
    from daemon.report.shell import check_page
    from models.checkpoint import load_model
    from models.errors import InvalidOutput, ModelError
    from models.ppo import PPOPolicy
    from models.training.baselines import fit_lightgbm, fit_model
    from models.training.batches import BatchSettings, Target
    from models.training.evaluate import evaluate as score
    from models.training.overlap import overlap, refuse_overlap
    from models.training.pages import document, tables
    from models.training.policy import ppo_positions
    from models.training.run import SimulatedData, evaluation_data, judged_on
    from models.training.unlike import unlike_share

    if report is not None:
        check_page(report / "evaluation.html")
    if walk_forward:
        refuse_beside(
            {"--market": market != MARKETS[0], "--sessions": sessions != SESSIONS, "--seeds": seeds != SEEDS,
             "--market-seed": market_seed != MARKET_SEED, "--border": border != BORDER, "--lookahead": lookahead,
             "--ppo": ppo is not None, "--lightgbm": lightgbm},
            "whose models and borders are those of the folder",
        )  # fmt: skip
        evaluate_walk_forward(
            model, bars or [], config, overrides, columns, workers, address, report,
            on_training_data=on_training_data, as_json=as_json,
        )  # fmt: skip
        return
    if lookahead and (workers != 1 or address is not None):
        raise UsageError("--workers, --address: not with --lookahead, which asks one model in turn")
    settings = settings_and_logs(config, [*(overrides or []), naming(model)])
    training = settings.training_params
    wanted = training_data(settings, bars or [], market, None, border, columns=columns)
    drawn = _seeds(market_seed, seeds, sessions)
    torch.set_num_threads(settings.performance.torch_threads)  # more wait for each other where others compute, too
    try:
        network, manifest = load_model(model)
        asked = settings.hierarchical_reasoning_model
        hrm = asked.of(network.config).within(manifest.trained_segments)
        if hrm.act.max_segments < asked.act.max_segments:
            key, trained = "hierarchical_reasoning_model.act.max_segments", manifest.trained_segments
            typer.echo(f"{model} was trained with {trained} segments and goes no deeper, whatever {key} says", err=True)
        data = evaluation_data(wanted, sessions, training.objective.costs, drawn, [tell_note])
        told = overlap(model, manifest, wanted, data.sessions, drawn)
        if not on_training_data:
            refuse_overlap(told, wanted)
        data = replace(data, on_training_data=told)
        if not lookahead:
            data = as_live(data, settings.complexity_detection)
        batches = BatchSettings(hrm.features, training.fill, training.target)
        if lookahead:
            return _check_lookahead(settings, network, hrm, data, batches, as_json=as_json)
        extra = {} if ppo is None else {"ppo": ppo_positions(PPOPolicy.load(ppo), data.sessions, batches)}
        if lightgbm:
            realised = BatchSettings(hrm.features, training.fill, Target.REALISED)
            trees = fit_model("lightgbm", fit_lightgbm, data.history, realised, training.objective.costs)
            extra["lightgbm"] = trees.positions(data.sessions)
        judged = [(network, part) for part in data.sets]
        with ExitStack() as stack:
            thoughts = asked_of(fleet_for(workers, address, stack), judged, hrm, batches, data, settings)
        evaluation = score(
            judged,
            hrm,
            batches,
            data,
            extra=extra,
            seed=training.seed,
            scale_bp=training.objective.scale_bp,
            values=[manifest.values] * len(judged),
            thoughts=thoughts,
        )
        evaluation = replace(evaluation, unlike=unlike_share([(manifest, data.sessions)], hrm.novelty))
    except InvalidOutput as error:
        raise ArtifactError(f"{model}: {error}") from None
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    subject = Subject(
        models=f"{model.name} ({manifest.sha256[:12]})",
        on=judged_on(wanted, data.sessions, drawn),
        simulated=isinstance(wanted, SimulatedData),
    )
    if report is not None:
        write_evaluation(evaluation, subject, report / "evaluation.html")
    if as_json:
        print_json({**document(evaluation), "subject": subject})
        return
    typer.echo(subject.words)
    show(tables(evaluation))
    if report is not None:
        typer.echo(f"wrote {report / 'evaluation.html'}")


def _check_lookahead(
    settings: Settings, network: HRM, hrm: HRMSettings, data: EvaluationData, batches: BatchSettings, *, as_json: bool
) -> None:
    """Say whether any decision saw what came after it. Raises `CheckFailed` where one did."""
    from daemon.bars.complexity_of_sessions import with_complexity
    from models.act import AdaptiveComputationTime
    from models.training.lookahead import look_ahead
    from models.training.loss import costs_of

    recorded = data.best_bp is None
    sessions = data.sets[0]
    prepared = partial(with_complexity, settings=settings.complexity_detection, connected=recorded)
    cost = costs_of(sessions, data.costs)
    act = AdaptiveComputationTime(hrm)
    found = look_ahead(network, act, sessions, batches, cost, prepared, in_time=recorded)
    if as_json:
        print_json(found)
    if found.difference is not None:
        ts = found.difference.ts_ns
        at = f"{found.difference.symbol} at {ist_date(ts)} {ist_clock(ts)}"
        raise CheckFailed(
            f"look-ahead: the decision on {at} differs in {found.difference.what} without what came later"
        )
    if not as_json:
        typer.echo(f"no look-ahead: {found.decisions} decisions before {found.cuts} cuts came out the same")


def _seeds(first: int, count: int, sessions: int) -> tuple[int, ...]:
    """Seeds of the sets that sessions are drawn in. Raises `UsageError` where there would be an empty one."""
    if first < 0:
        raise UsageError(f"--market-seed {first}: expected 0 or more")
    if not 1 <= count <= sessions:
        raise UsageError(f"--seeds {count}: expected 1 to --sessions {sessions}")
    return tuple(range(first, first + count))
