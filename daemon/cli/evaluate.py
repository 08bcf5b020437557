"""`hrmd evaluate`: how good a model is, beside what could be had without it and what the best possible trader has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.cli.train import Border, Files, Market, training_data
from daemon.core.errors import ArtifactError
from daemon.report.tables import show


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model artifact.", show_default=False)],
    bars: Files = None,
    config: Config = None,
    overrides: Overrides = None,
    market: Market = "hidden_regime",
    sessions: Annotated[int, typer.Option(help="Simulated: score on so many fresh sessions.")] = 2000,
    border: Border = "2020-01-01",
    ppo: Annotated[Path | None, typer.Option(help="An exported PPO policy to score beside it.")] = None,
    lightgbm: Annotated[bool, typer.Option(help="Fit and score LightGBM beside it (extra `baselines`).")] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page into this directory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model: share of the best possible trader where it is known, Sharpe with intervals, controls, depth."""
    from daemon.report.evaluation import write_page
    from models.checkpoint import load_model
    from models.errors import ModelError
    from models.ppo import PPOPolicy
    from models.training.baselines import fit_lightgbm, fit_model
    from models.training.batches import BatchSettings, Target
    from models.training.evaluate import evaluate as score
    from models.training.pages import document, tables
    from models.training.policy import ppo_positions
    from models.training.run import evaluation_data

    settings = settings_and_logs(config, overrides)
    hrm, training = settings.hierarchical_reasoning_model, settings.training_params
    try:
        network, _ = load_model(model, expected=hrm.network())
        data = evaluation_data(
            training_data(settings, bars or [], market, None, border), sessions, training.objective.costs
        )
        batches = BatchSettings(hrm.features, training.fill, training.target)
        extra = {} if ppo is None else {"ppo": ppo_positions(PPOPolicy.load(ppo), data.sessions, batches)}
        if lightgbm:
            realised = BatchSettings(hrm.features, training.fill, Target.REALISED)
            trees = fit_model("lightgbm", fit_lightgbm, data.history, realised, training.objective.costs)
            extra["lightgbm"] = trees.positions(data.sessions)
        evaluation = score(
            [(network, data.sessions)], hrm, batches, data, extra=extra, seed=training.seed,
            scale_bp=training.objective.scale_bp,
        )  # fmt: skip
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    if report is not None:
        write_page(evaluation, report / "evaluation.html")
    if as_json:
        print_json(document(evaluation))
        return
    show(tables(evaluation))
    if report is not None:
        typer.echo(f"wrote {report / 'evaluation.html'}")
