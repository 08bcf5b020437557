"""What a model was trained on and what it is to be judged on → a refusal where they overlap.

Invariant: a model is judged on nothing that it has learned from unless somebody asked for that by name, and then the
evaluation says so.
"""

from __future__ import annotations

from pathlib import Path

from models.manifest import Manifest
from models.training.errors import DataError
from models.training.files import FileData, data_words, span_words
from models.training.learned import known
from models.training.run import Data, SimulatedData, days_of
from models.training.sessions import Sessions


def overlap(model: Path, manifest: Manifest, data: Data, judged: Sessions, seeds: tuple[int, ...] = ()) -> str:
    """In words what of ``judged`` the model has learned from, "" where it is nothing."""
    if isinstance(data, SimulatedData):
        return _same_seed(model, manifest, data, seeds)
    if not len(judged):
        return ""
    first, last = days_of(judged)
    for how, span in known(manifest):
        if first <= span.last and last >= span.first:
            learned = f"{model.name} was {how} {span.first} to {span.last}"
            return f"{learned}, and what {data_words(data)} is judged on has {span_words(judged)}"
    return ""


def refuse_overlap(said: str, data: Data) -> None:
    """Raises DataError for what `overlap` says."""
    if not said:
        return
    anyway = "or --on-training-data to do it anyway"
    if isinstance(data, FileData):
        raise DataError(f"{data.option} {data.border}: {said}; give a later date, {anyway}")
    raise DataError(f"--market-seed: {said}; give another one, {anyway}")


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
