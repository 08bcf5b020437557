"""The models of a recorded run → the strategies that decide again, found by their hash wherever they lie now.

A model is looked for where it was loaded from, in the store of the settings (archived ones too), beside the journal,
and among the shipped ones. Invariant: a decision is never made again by another model than the journal names; one that
can't be found is said where its first decision comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import msgspec

from daemon.core.clock import ReplayClock
from daemon.core.errors import ArtifactError, UsageError
from daemon.core.events import Decision, ModelLoaded
from daemon.journal.schema import MODEL_IN_CHARGE
from daemon.settings.tree import Settings
from daemon.strategy.build import build_ladder, load_hrm, pin_runtime
from daemon.strategy.switching import RUNG
from strategies.base import Strategy, model_hash_of


class ModelsOfRun:
    """Follows the journal's `ModelLoaded`; `strategies` is what decides at this place of it, by rung."""

    def __init__(self, settings: Settings, metadata: dict[str, str], journal: Path) -> None:
        """Raises `ArtifactError` where the models that the settings name can't be used and none else was recorded."""
        self._settings = pin_runtime(settings, metadata.get("runtime", ""))
        self._journal = journal
        self._loaded: list[ModelLoaded] = []
        self._kept: dict[str, Strategy] = {}
        self.missing: dict[str, str] = {}
        """Rungs that can't be had, and why."""
        self.gone = ""
        """Why the model that decides at this place can't be had; "" where it can."""
        self.strategies = self._first(metadata)
        if MODEL_IN_CHARGE in metadata:
            self.on_loaded(_decoded(metadata[MODEL_IN_CHARGE], journal))

    def _first(self, metadata: dict[str, str]) -> dict[str, Strategy]:
        sha256, named = metadata.get("model_hash", ""), self._settings
        found = self.find(sha256, metadata.get("model_file", "")) if metadata.get("model_file") else None
        if found is not None:
            management = named.model_management.model_copy(update={"artifact": found})
            named = named.model_copy(update={"model_management": management})
        built = build_ladder(named, ReplayClock(), strict=False)
        self.missing, strategies = built.missing, dict(built.strategies)
        if RUNG in strategies and sha256 and model_hash_of(strategies[RUNG]) != sha256:
            self.gone = self._nowhere(sha256, metadata.get("model_file", ""))
        return strategies

    def on_loaded(self, event: ModelLoaded) -> None:
        """Another model was put in charge, of bars that close after its `after_bar`."""
        self._loaded.append(event)

    def turn_to(self, decision: Decision) -> None:
        """Let the model decide that decided then."""
        while self._loaded and decision.ts_bar > self._loaded[0].after_bar:
            self._take_up(self._loaded.pop(0))

    def _take_up(self, event: ModelLoaded) -> None:
        if not self.gone and RUNG in self.strategies:
            self._kept[model_hash_of(self.strategies[RUNG])] = self.strategies[RUNG]
        self.gone = ""
        if not event.key and event.model_hash in self._kept:
            self.strategies[RUNG] = self._kept[event.model_hash]  # the very one that was kept, with its memory
            return
        found = self.find(event.model_hash, event.file)
        if found is None and event.file:
            self.gone = self._nowhere(event.model_hash, event.file)
            return
        try:
            strategy = load_hrm(pin_runtime(self._settings, event.runtime), ReplayClock(), found)
        except ArtifactError as error:
            self.gone = str(error)
            return
        self.strategies[RUNG] = strategy
        if strategy.model_hash != event.model_hash:
            self.gone = self._nowhere(event.model_hash, event.file)

    def find(self, sha256: str, file: str) -> Path | None:
        """Where the model of that hash lies now, None where it isn't found; `file` is where it lay."""
        return find_model(self._settings, self._journal, sha256, file)

    def _nowhere(self, sha256: str, file: str) -> str:
        store, beside = self._settings.model_management.store, self._journal.resolve().parent
        lay = f"{file}, " if file else ""
        return f"model {sha256} isn't found ({lay}{store}, {beside}); put its file beside the journal"


def find_model(settings: Settings, journal: Path, sha256: str, file: str) -> Path | None:
    """Where the model of that hash lies now, None where it isn't found; `file` is where it lay."""
    from models.artifact import read_manifest
    from models.errors import CheckpointError

    for path in _places(settings, journal, sha256, file):
        try:
            if read_manifest(path).sha256 == sha256:
                return path
        except CheckpointError:
            continue
    return None


def _places(settings: Settings, journal: Path, sha256: str, file: str) -> Iterator[Path]:
    """Files that may be it, likeliest first."""
    if file:
        yield Path(file)
    beside = journal.resolve().parent
    for store in (settings.model_management.store, beside / "models"):
        yield from sorted((store / "models" / sha256).glob("*.safetensors"))
    for folder in (beside, Path(str(resources.files("models").joinpath("artifacts")))):
        yield from sorted(folder.glob("*.safetensors"))


def _decoded(body: str, journal: Path) -> ModelLoaded:
    try:
        return msgspec.json.decode(body, type=ModelLoaded)
    except msgspec.DecodeError as error:
        raise UsageError(f"{journal}: the model that it begins with can't be read ({error})") from None
