"""What an artifact says of itself → the days of recorded bars that it knows, by its own training and by what began it.

Invariant: a model knows all that its start and its teacher knew, and theirs, however short its own training was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from models.artifact import read_manifest
from models.manifest import AMONG, INHERITED, VALIDATED, Manifest, Origin, TrainingSpan
from models.training.errors import DataError
from models.training.settings import Select, TrainingSettings


def chosen_span(manifest: Manifest) -> TrainingSpan | None:
    """Days of recorded bars by which the best step of a model was chosen; None where that is the last, or not known."""
    training = manifest.origin.settings.get("training_params") if manifest.origin is not None else None
    if manifest.origin is None or not isinstance(training, Mapping) or training.get("select") != Select.BEST:
        return None
    return _kept(manifest.origin, VALIDATED)


def known(manifest: Manifest) -> list[tuple[str, TrainingSpan]]:
    """Days of recorded bars that a model was made or chosen by, each with how, in words that a date follows."""
    among = _kept(manifest.origin, AMONG) if manifest.origin is not None else None
    spans = {
        "trained on": manifest.learned, "chosen by its validations on": chosen_span(manifest),
        "chosen among others on": among,
    }  # fmt: skip
    return [(how, span) for how, span in spans.items() if span is not None]


def begun_with(training: TrainingSettings) -> dict[str, Path]:
    """The artifacts that a training begins with, by the rest of their key."""
    named = {"start_from": training.start_from, "teacher.artifact": training.teacher.artifact}
    return {key: artifact for key, artifact in named.items() if artifact is not None}


def refuse_known(training: TrainingSettings, border: str, judged: str) -> None:
    """Raise DataError where a start or a teacher knows days from the border on, which are no test of its pupil."""
    for key, artifact in begun_with(training).items():
        manifest = read_manifest(artifact)
        for how, span in known(manifest):
            if span.last >= border:
                raise DataError(
                    f"training_params.{key}: {artifact} was {how} {span.first} to {span.last}, and {judged} is "
                    "judged on what comes from there on; begin with one trained before it, or with none"
                )


def inheriting(made: Origin, training: TrainingSettings) -> Origin:
    """The origin of a model with the days that what it begins with knows."""
    artifacts = begun_with(training).values()
    return also_knowing(made, [span for artifact in artifacts for _, span in known(read_manifest(artifact))])


def also_knowing(made: Origin, spans: Iterable[TrainingSpan | None]) -> Origin:
    """The origin of a model that knows these days, too."""
    if (union := _union((_kept(made, INHERITED), *spans))) is None:
        return made
    return made.model_copy(update={"settings": {**made.settings, INHERITED: [union.first, union.last]}})


def chosen_among(made: Origin, first: str, last: str) -> Origin:
    """The origin of a model that did best of several on these days."""
    return made.model_copy(update={"settings": {**made.settings, AMONG: [first, last]}})


def _kept(origin: Origin, key: str) -> TrainingSpan | None:
    days = origin.settings.get(key)
    return TrainingSpan(first=days[0], last=days[1]) if days else None


def _union(spans: Iterable[TrainingSpan | None]) -> TrainingSpan | None:
    found = [span for span in spans if span is not None]
    return TrainingSpan(first=min(one.first for one in found), last=max(one.last for one in found)) if found else None
