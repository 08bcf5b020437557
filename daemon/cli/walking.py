"""`--walk-forward` of `hrmd train` and `hrmd evaluate`: a model a border, judged on what came after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from daemon.cli.options import naming, print_json, settings_and_logs
from daemon.cli.train import MARKETS, date_of, tell_note, training_data
from daemon.core.clock import wall_ns
from daemon.core.errors import ArtifactError, UsageError
from daemon.report.tables import show
from daemon.report.text import counted
from daemon.settings.tree import Settings
from daemon.strategy.store import Store

if TYPE_CHECKING:
    import datetime as dt

    from daemon.report.evaluation import Subject
    from daemon.run.fleet import Fleet
    from daemon.strategy.store import Release
    from models.config import HRMSettings
    from models.hrm import HRM
    from models.manifest import Manifest
    from models.training.batches import BatchSettings
    from models.training.evaluate import Evaluation, EvaluationData, Thought
    from models.training.files import FileData, Schedule
    from models.training.sessions import Sessions
    from models.training.walking import Fold

OPTION = "--walk-forward"
NO_DATES = f"{OPTION}: expected files of bars, a simulated market has no dates"
WALK = "walk"


def refuse_beside(given: Mapping[str, bool], why: str) -> None:
    """Raises `UsageError` for an option that a walk forward would not heed."""
    if refused := [option for option, there in given.items() if there]:
        raise UsageError(f"{', '.join(refused)}: not with --walk-forward, {why}")


def train_walk_forward(
    settings: Settings, bars: list[Path], when: str, out: Path, border: str, columns: str, device: str, workers: int,
    address: str | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Train once a border, score all parts as one, and put the winner into the store of models in `out`."""
    import torch

    from daemon.report.evaluation import write_evaluation
    from daemon.run.walking import recipe_of, train_all
    from models.errors import ModelError
    from models.training.distributed import usable_device
    from models.training.progress import MetricsFile, watching
    from models.training.run import told
    from models.training.walking import folds_of, judged, rounds_of, walk_forward, winner, write_chosen

    _refuse_what_can_not_be(settings, out, device, workers, address)
    data, borders = _asked(settings, bars, when, border, columns)
    torch.set_num_threads(settings.performance.torch_threads)
    training, walk = settings.training_params, out / WALK
    with ExitStack() as stack:
        fleet = fleet_for(workers, address, stack)
        try:
            recipe = recipe_of(settings, usable_device(device))
            with watching(Console(stderr=True)) as view:
                metrics = MetricsFile(out / "metrics.jsonl")
                sessions = told(data, data.intervals_s[0], [view, metrics])
                rounds = rounds_of(data, sessions, borders, training)
                metrics.begin()
                if fleet is None:
                    walk_forward(rounds, recipe, walk, [view])
            if fleet is not None:
                train_all(settings, rounds, columns, walk, fleet, _progress, shared=address is None)
            folds = folds_of(rounds, walk)
            hrm = recipe.hrm.within(recipe.supervision.segments)  # as deep as any of them decides
            best, earned = winner(folds, hrm, training)
            found = judged(rounds, training)
            networks, manifests = [fold.model for fold in folds], [fold.manifest for fold in folds]
            evaluation = _scored(settings, hrm, networks, manifests, found, fleet)
        except ModelError as error:
            raise ArtifactError(str(error)) from None
    subject = _subject(out, len(folds), data, found)
    write_evaluation(evaluation, subject, out / "evaluation.html")
    release = None
    if max(earned) > 0:  # a model that lost is no candidate for anything
        name = f"walk-{best.border.isoformat()}"
        chosen = walk / "candidate.safetensors"
        write_chosen(best, folds[-1].after, chosen)
        release = Store(out, hrm.network()).install(chosen, name, wall_ns(), lead=False)
        chosen.unlink()
    _show(out, evaluation, subject, folds, earned, release, as_json=as_json)


def evaluate_walk_forward(
    folder: Path, bars: list[Path], config: Path | None, overrides: list[str] | None, columns: str, workers: int,
    address: str | None, report: Path | None, *, on_training_data: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score each model of an earlier walk forward on what came between its border and the next."""
    import torch

    from daemon.bars.complexity_of_sessions import as_live
    from daemon.report.evaluation import write_evaluation
    from models.errors import ModelError
    from models.training.files import FileData
    from models.training.overlap import overlap, refuse_overlap
    from models.training.pages import document, tables
    from models.training.run import told
    from models.training.walking import judged, windows_of

    artifacts = _models_of(folder)
    borders, first = list(artifacts), next(iter(artifacts.values()))
    settings = settings_and_logs(config, [*(overrides or []), naming(first)])
    data = training_data(settings, bars, MARKETS[0], None, borders[0].isoformat(), columns=columns, option=OPTION)
    if not isinstance(data, FileData):
        raise UsageError(NO_DATES)
    torch.set_num_threads(settings.performance.torch_threads)
    with ExitStack() as stack:
        fleet = fleet_for(workers, address, stack)
        try:
            networks, hrm, manifests = _of_one_shape(settings, artifacts)
            windows = windows_of(data, told(data, data.intervals_s[0], [tell_note]), borders)
            found = judged(windows, settings.training_params)
            said = [
                overlap(artifacts[one.border], manifest, one.data, one.after)
                for one, manifest in zip(windows, manifests, strict=True)
            ]
            if not on_training_data:
                for one, words in zip(windows, said, strict=True):
                    refuse_overlap(words, one.data)
            found = replace(
                as_live(found, settings.complexity_detection), on_training_data="; ".join(filter(None, said))
            )
            evaluation = _scored(settings, hrm, networks, manifests, found, fleet)
        except ModelError as error:
            raise ArtifactError(str(error)) from None
    subject = _subject(folder, len(artifacts), data, found)
    if report is not None:
        write_evaluation(evaluation, subject, report / "evaluation.html")
    if as_json:
        models = [{"border": day.isoformat(), "artifact": str(artifact)} for day, artifact in artifacts.items()]
        print_json({**document(evaluation), "subject": subject, "models": models})
        return
    typer.echo(subject.words)
    show(tables(evaluation))
    if report is not None:
        typer.echo(f"wrote {report / 'evaluation.html'}")


def _subject(folder: Path, models: int, data: FileData, found: EvaluationData) -> Subject:
    from daemon.report.evaluation import Subject
    from models.training.run import judged_on

    made = f"{counted(models, 'model')} of {folder}"
    return Subject(models=made, on=judged_on(data, found.sessions, ()), simulated=False)


def fleet_for(workers: int, address: str | None, stack: ExitStack) -> Fleet | None:
    """Who does the work until `stack` is left; None: this process alone. Raises `UsageError` for no cluster."""
    if workers == 1 and address is None:
        return None
    from daemon.run.fleet import fleet_of

    return stack.enter_context(closing(fleet_of(address, workers)))


def _refuse_what_can_not_be(settings: Settings, out: Path, device: str, workers: int, address: str | None) -> None:
    """Raises `UsageError` for rounds that would build upon each other, share a GPU, or be trained by several ranks."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--walk-forward: not under torchrun; --workers or --address spread its rounds")
    if device != "cpu" and (workers != 1 or address is not None):
        raise UsageError(f"--device {device}: rounds beside each other train on the cpu; with a GPU give --workers 1")
    begun = settings.training_params.start_from
    if begun is not None and begun.resolve().is_relative_to((out / WALK).resolve()):
        raise UsageError(
            f"training_params.start_from {begun}: is a round of this walk forward, and no round builds upon another; "
            "copy the model elsewhere, or begin with none"
        )


def _asked(
    settings: Settings, bars: list[Path], when: str, border: str, columns: str
) -> tuple[FileData, Schedule | list[dt.date]]:
    """The bars and the dates. Raises `UsageError` for those that can't be meant."""
    from models.training.files import FileData, Schedule

    option = "--border" if when in list(Schedule) else OPTION
    borders = Schedule(when) if when in list(Schedule) else [date_of(option, text) for text in when.split(",")]
    if not isinstance(borders, Schedule) and borders != sorted(set(borders)):
        raise UsageError(f"{OPTION} {when}: expected dates that rise, or {', '.join(Schedule)}")
    first = border if isinstance(borders, Schedule) else borders[0].isoformat()
    data = training_data(settings, bars, MARKETS[0], None, first, columns=columns, option=option)
    if not isinstance(data, FileData):
        raise UsageError(NO_DATES)
    return data, borders


def _models_of(folder: Path) -> dict[dt.date, Path]:
    """Each border of an earlier walk forward with its model, in order. Raises `UsageError` where there is none."""
    found = {}
    for artifact in sorted((folder / WALK).glob("*/model.safetensors")):
        found[date_of(f"{artifact}: --walk-forward", artifact.parent.name)] = artifact
    if not found:
        raise UsageError(
            f"{folder}: has no {WALK}/YYYY-MM-DD/model.safetensors; expected the folder --out of an earlier "
            "hrmd train --walk-forward"
        )
    return found


def _of_one_shape(
    settings: Settings, artifacts: Mapping[dt.date, Path]
) -> tuple[list[HRM], HRMSettings, list[Manifest]]:
    """The networks, how they decide, and what they say of themselves. Raises `ArtifactError` for different ones."""
    from models.checkpoint import load_model

    loaded = {artifact: load_model(artifact) for artifact in artifacts.values()}
    networks, manifests = [one for one, _ in loaded.values()], [one for _, one in loaded.values()]
    for artifact, (network, _) in loaded.items():
        if network.config != networks[0].config:
            raise ArtifactError(f"{artifact}: has another shape than {next(iter(loaded))}; train all rounds alike")
    hrm = settings.hierarchical_reasoning_model.of(networks[0].config)
    for manifest in manifests:
        hrm = hrm.within(manifest.trained_segments)
    return networks, hrm, manifests


def _scored(
    settings: Settings, hrm: HRMSettings, networks: list[HRM], manifests: list[Manifest], data: EvaluationData,
    fleet: Fleet | None,
) -> Evaluation:  # fmt: skip
    """Each network on its own part of the sessions, all parts as one."""
    from models.training.batches import BatchSettings
    from models.training.evaluate import evaluate
    from models.training.unlike import unlike_share

    training = settings.training_params
    batches = BatchSettings(hrm.features, training.fill, training.target)
    models = list(zip(networks, data.sets, strict=True))
    evaluation = evaluate(
        models, hrm, batches, data, seed=training.seed, scale_bp=training.objective.scale_bp,
        values=[one.values for one in manifests], thoughts=asked_of(fleet, models, hrm, batches, data, settings),
    )  # fmt: skip
    unlike = unlike_share(list(zip(manifests, data.sets, strict=True)), hrm.novelty)
    return replace(evaluation, unlike=unlike)


def asked_of(
    fleet: Fleet | None, models: list[tuple[HRM, Sessions]], hrm: HRMSettings, batches: BatchSettings,
    data: EvaluationData, settings: Settings,
) -> list[Thought] | None:  # fmt: skip
    """What the fleet says of each; None without one: the evaluation asks by itself."""
    if fleet is None:
        return None
    from daemon.run.walking import thoughts_of

    return thoughts_of(models, hrm, batches, data.costs, fleet, settings.performance.torch_threads)


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def _show(
    out: Path, evaluation: Evaluation, subject: Subject, folds: Sequence[Fold], earned: Sequence[float],
    release: Release | None, *, as_json: bool,
) -> None:  # fmt: skip
    from models.training.pages import document, tables

    models = [
        {"border": fold.border.isoformat(), "artifact": str(fold.artifact), "last_window_bp": bp}
        for fold, bp in zip(folds, earned, strict=True)
    ]
    if as_json:
        chosen = {"candidate": release and release.name, "version": release and release.version}
        print_json({**document(evaluation), "subject": subject, "models": models, **chosen})
        return
    typer.echo(subject.words)
    show(tables(evaluation))
    for fold, bp in zip(folds, earned, strict=True):
        typer.echo(f"{fold.artifact}: {bp:.2f} bp a session behind {folds[-1].border}, after costs")
    typer.echo(f"wrote {out / 'evaluation.html'}")
    if release is None:
        typer.echo(f"none earned more than sitting out behind {folds[-1].border}: there is no candidate")
    else:
        typer.echo(f"{release.words} is a candidate in {out}; with model_management.store: {out} try hrmd ctl canary")
