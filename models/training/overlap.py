"""What a model was trained on and what it is to be judged on → a refusal where they overlap.

Invariant: a model is judged on nothing that it has learned from unless somebody asked for that by name, and then the
evaluation says so.
"""

from __future__ import annotations

from pathlib import Path

from models.checkpoint import Manifest, TrainingSpan
from models.training.errors import DataError
from models.training.files import FileData, data_words, day_of, span_words
from models.training.market import SYMBOL
from models.training.run import Data, SimulatedData
from models.training.sessions import Sessions


def learned_span(manifest: Manifest) -> TrainingSpan | None:
    """Days of recorded bars that a model has learned from; None where its sessions were drawn."""
    if manifest.origin is not None:
        return manifest.training_span if manifest.origin.data_sha256 is not None else None
    return manifest.training_span if set(manifest.instruments) - {SYMBOL} else None


def overlap(model: Path, manifest: Manifest, data: Data, judged: Sessions, seeds: tuple[int, ...] = ()) -> str:
    """In words what of ``judged`` the model has learned from, "" where it is nothing."""
    if isinstance(data, SimulatedData):
        return _same_seed(model, manifest, data, seeds)
    span = learned_span(manifest)
    start = judged.start_ns()
    if span is None or not len(start) or day_of(int(start.min())) > span.last or day_of(int(start.max())) < span.first:
        return ""
    return (
        f"{model.name} was trained on {span.first} to {span.last}, {data_words(data)} has {span_words(judged)} of them"
    )


def refuse_overlap(said: str, data: Data) -> None:
    """Raises DataError for what `overlap` says."""
    if not said:
        return
    if isinstance(data, FileData):
        raise DataError(
            f"{data.option} {data.border}: {said}; give a later date, or --on-training-data to do it anyway"
        )
    raise DataError(f"--market-seed: {said}; give another one, or --on-training-data to do it anyway")


def _same_seed(model: Path, manifest: Manifest, data: SimulatedData, seeds: tuple[int, ...]) -> str:
    origin = manifest.origin
    if origin is None or origin.data != (data.name.value,):
        return ""
    known = {origin.settings.get("validation_seed"): "was validated on"}
    if origin.settings.get("sessions") is not None:
        known[origin.settings.get("training_params", {}).get("seed")] = "was trained on"
    for seed in seeds:
        if seed in known:
            return f"{model.name} {known[seed]} the market {data.name.value} of seed {seed}"
    return ""
