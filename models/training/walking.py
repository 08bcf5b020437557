"""Bars and borders → a model a border, each judged on what came after it, and the one of them that would be taken now.

A round trains on all bars before its border and begins where every other round begins: none builds upon another, so it
is the same wherever and in whichever order they are trained. What it was made of lies beside its model. Invariant: no
model has learned from a session that it is judged on, and a round that was trained of the same is not trained again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from models.checkpoint import load_model
from models.config import HRMSettings
from models.errors import CheckpointError
from models.export import convert
from models.hrm import HRM
from models.manifest import Manifest
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.checkpointing import fingerprint, forget, newest_state
from models.training.errors import DataError, ResumeError, TrainingError
from models.training.evaluate import EvaluationData
from models.training.files import FileData, Schedule, border_ns, divided, scheduled
from models.training.learned import begun_with, chosen_among, inheriting, refuse_known
from models.training.loss import costs_of
from models.training.policy import follow, policies_by_depth
from models.training.progress import MetricsFile, Observer, note
from models.training.provenance import data_sha256, package_version
from models.training.reference import pnl_bp
from models.training.run import MODEL, days_of, model_of, origin, write_model
from models.training.sessions import Sessions, join
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from models.training.source import StoredSource
from models.training.trainer import Trainer, threads

MADE_OF = "round.json"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Recipe:
    """How every round trains."""

    hrm: HRMSettings
    supervision: DeepSupervisionSettings
    training: TrainingSettings
    device: str = "cpu"
    memory_limit_gb: float | None = None


@dataclass(frozen=True, eq=False)
class Round:
    """What one training learns from, and the sessions up to the next border, which it is judged on.

    ``data`` has the round's own border; the day before it is purged. Of a round that is only to be trained ``after``
    may reach further.
    """

    data: FileData
    before: Sessions
    after: Sessions

    @property
    def border(self) -> date:
        """The first day that it doesn't know."""
        return self.data.border

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.border.isoformat()


@dataclass(frozen=True)
class Fold:
    """One training of a walk forward: its border, its model, the file of it, and the sessions up to the next border."""

    border: date
    model: HRM
    manifest: Manifest
    artifact: Path
    after: Sessions


def windows_of(data: FileData, sessions: Sessions, borders: Sequence[date] | Schedule) -> list[Round]:
    """One a border, with all before it and what lies up to the next; a schedule names them from ``data.border`` on.

    Raises DataError where a border leaves nothing on either side.
    """
    if isinstance(borders, Schedule):
        borders = scheduled(sessions, borders, data.border)
    found = []
    for i, border in enumerate(borders):
        before, after = divided(data, sessions, border)
        if i + 1 < len(borders):
            after = after.select(after.start_ns() < border_ns(borders[i + 1]))
        if not len(after):
            raise DataError(f"{data.option} {border}: there is no session before the next date, {borders[i + 1]}")
        found.append(Round(replace(data, border=border), before, after))
    return found


def rounds_of(
    data: FileData, sessions: Sessions, borders: Sequence[date] | Schedule, training: TrainingSettings
) -> list[Round]:
    """Windows that can be trained for.

    Raises DataError where there is too little before a border, and where what training begins with (``start_from``, a
    teacher) has learned from sessions behind one.
    """
    found = windows_of(data, sessions, borders)
    for one in found:
        StoredSource(one.before, training.min_sessions)
    refuse_known(training, found[0].name, f"the round of {found[0].name}")
    return found


def facts_of(one: Round, recipe: Recipe) -> dict[str, str]:
    """All that a round's model follows from, by key.

    On one kind of machine the same facts are the same bits; but for the memory limit, by which batches are cut into
    pieces: a run may go on under another, and sums are rounded otherwise then.
    """
    begun = {key: data_sha256([artifact]) for key, artifact in begun_with(recipe.training).items()}
    made_of = {"border": one.name, "sessions": one.before.sha256(), "hrmd": package_version(), **begun}
    return fingerprint(
        hierarchical_reasoning_model=recipe.hrm.model_dump(mode="json"),
        deep_supervision=recipe.supervision.model_dump(mode="json"),
        training_params=recipe.training.model_dump(mode="json"),
        round=made_of | {"device": recipe.device.partition(":")[0]},
    )


def is_done(folder: Path, facts: Mapping[str, str]) -> bool:
    """Whether the model of these facts lies in a round's folder, whole."""
    known = _made_of(folder)
    if known.get("facts") != dict(facts) or not known.get("sha256"):
        return False
    try:
        return bool(load_model(folder / MODEL)[1].sha256 == known["sha256"])
    except CheckpointError:
        return False


def changed_since(folder: Path, facts: Mapping[str, str]) -> str:
    """What an earlier training in this folder was made of and isn't now, "" where there is nothing."""
    known = _made_of(folder).get("facts")
    if not isinstance(known, dict):
        return ""
    keys = [key for key in sorted(known.keys() | facts.keys()) if known.get(key) != facts.get(key)]
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def train_round(one: Round, recipe: Recipe, folder: Path, observers: Sequence[Observer] = ()) -> None:
    """Train in ``folder`` and leave the model there; go on from its newest checkpoint where that is of the same facts.

    Raises TrainingError where a signal ended it, with a checkpoint, and all that training raises.
    """
    facts = facts_of(one, recipe)
    if is_done(folder, facts):
        return
    resume = _may_resume(folder, facts)
    folder.mkdir(parents=True, exist_ok=True)
    keep(folder, facts)
    training = recipe.training
    made = inheriting(origin(one.data, recipe.supervision, training), training)
    with threads(training.threads):  # of the estimate and of what the manifest is told, too
        source = StoredSource(one.before, training.min_sessions)
        trainer = Trainer(
            recipe.hrm, recipe.supervision, training, source, None, folder, observers=observers,
            memory_limit_gb=recipe.memory_limit_gb, device=recipe.device, teacher=model_of(training.teacher.artifact),
            start=model_of(training.start_from),
        )  # fmt: skip
        result = trainer.run(resume=resume)
        if result.step < training.steps:
            raise TrainingError(
                f"stopped at step {result.step} of the training to {one.border}: give the command again, it goes on"
            )
        manifest = write_model(
            folder / MODEL, result.model, source, one.data, recipe.hrm, recipe.supervision, training, {}, made
        )
    keep(folder, facts, manifest.sha256)


def keep(folder: Path, facts: Mapping[str, str], sha256: str = "") -> None:
    """Say in a round's folder what its model is made of; with its hash: that it is there."""
    pending = folder / f"{MADE_OF}.part"
    pending.write_text(json.dumps({"sha256": sha256, "facts": dict(facts)}, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(pending, folder / MADE_OF)


def walk_forward(
    rounds: Sequence[Round], recipe: Recipe, folder: Path, observers: Sequence[Observer] = ()
) -> list[Fold]:
    """Train all rounds here, one after the other, each in its own folder; those that are done are only read."""
    for number, one in enumerate(rounds, 1):
        place, facts = folder / one.name, facts_of(one, recipe)
        changed = changed_since(place, facts)
        how = "done before" if is_done(place, facts) else f"anew, for {changed} changed" if changed else "to be trained"
        note(observers, 0, "round", f"{number} of {len(rounds)}, {one.name}: {how}")
        train_round(one, recipe, place, [*observers, MetricsFile(place / METRICS)])
    return folds_of(rounds, folder)


def folds_of(rounds: Sequence[Round], folder: Path) -> list[Fold]:
    """The rounds with their models, as they are on disk: those that a daemon would decide with."""
    return [
        Fold(one.border, *load_model(folder / one.name / MODEL), folder / one.name / MODEL, one.after) for one in rounds
    ]


def judged(rounds: Sequence[Round], training: TrainingSettings) -> EvaluationData:
    """What came after all borders, as one; what baselines may fit on lies before the first."""
    parts = tuple(one.after for one in rounds)
    return EvaluationData(
        join(parts), rounds[0].before, best_bp=None, regimes=None, costs=training.objective.costs, parts=parts,
        names=tuple(one.name for one in rounds),
    )  # fmt: skip


def winner(folds: Sequence[Fold], hrm: HRMSettings, training: TrainingSettings) -> tuple[Fold, list[float]]:
    """The model that earned most behind the last border, which none of them has learned from, and what each did, bp.

    Full depth, after costs; the newest of equals.
    """
    sessions = folds[-1].after
    settings = BatchSettings(hrm.features, training.fill, Target.REALISED)
    returns = returns_between_fills(sessions, np.arange(len(sessions)), settings)
    cost = costs_of(sessions, training.objective.costs)
    earned = []
    for fold in folds:
        deepest = policies_by_depth(fold.model, sessions, settings, hrm.max_segments, cost)[-1]
        earned.append(float(pnl_bp(follow(deepest.actions), returns, cost).mean()))
    best = max(range(len(folds)), key=lambda i: (earned[i], i))
    return folds[best], earned


def write_chosen(best: Fold, judged: Sessions, out: Path) -> None:
    """Write a model that did best on ``judged``, and that says so: it is no test of it any more."""
    origin = best.manifest.origin
    if origin is None:
        raise DataError(f"{best.artifact}: says of nothing what it was made of; train it anew")
    knowing = best.manifest.model_copy(update={"origin": chosen_among(origin, *days_of(judged))})
    convert(best.model, knowing, out, knowing.dtype)


def _made_of(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _may_resume(folder: Path, facts: Mapping[str, str]) -> bool:
    """Whether there is a whole checkpoint of these facts; any other is deleted, so that it can't be rolled back to."""
    try:
        if _made_of(folder).get("facts") == dict(facts) and newest_state(folder) is not None:
            return True
    except ResumeError:
        pass
    forget(folder)
    return False
