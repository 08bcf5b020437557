"""Rounds and thoughts that a fleet does: the same bits as here, each once, and a line for what can't be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.core.errors import ArtifactError
from daemon.run.files_of_bars import file_data
from daemon.run.fleet import Done, Work
from daemon.run.walking import recipe_of, thoughts_of, train_all
from daemon.settings.tree import Settings
from models.training.batches import BatchSettings
from models.training.evaluate import evaluate
from models.training.files import load
from models.training.pages import document
from models.training.walking import MODEL, Round, folds_of, judged, rounds_of, walk_forward
from tests.samples import settings_of
from tests.unit.models.training.test_sources import bars_of

BORDERS = [dt.date(2019, 1, 20), dt.date(2019, 1, 28)]
SHORT = (
    "training_params.steps=2", "training_params.batch_sessions=2", "training_params.min_sessions=4",
    "training_params.novelty_sessions=40", "training_params.checkpoint_every=1",
    "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]",
    "deep_supervision.segments=2", "training_params.guard.explode_factor=1000",  # of two steps none is usual
)  # fmt: skip


class Counting:
    """One process, the test's; it remembers what it was given and may be ended after so many jobs."""

    def __init__(self, lives: int = 10**9) -> None:
        self.jobs: list[bytes] = []
        self._lives = lives

    def finished(self, work: Work, jobs: Iterable[bytes]) -> Done:
        """One by one, the last one first."""
        for place, job in reversed(list(enumerate(jobs))):
            if len(self.jobs) == self._lives:
                raise KeyboardInterrupt
            self.jobs.append(job)
            yield place, work(job)

    def close(self) -> None:
        """Nobody is kept."""


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short sessions."""
    return bars_of(tmp_path_factory.mktemp("bars") / "SBIN.parquet", 1)


def rounds_with(settings: Settings, bars: Path) -> list[Round]:
    """Both rounds."""
    data = file_data(settings, [bars], [300], BORDERS[0], "", "--border")
    return rounds_of(data, load(data, 300)[0], BORDERS, settings.training_params)


@pytest.fixture(scope="module")
def alone(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk that one process did, round by round."""
    settings, walk = settings_of(*SHORT), tmp_path_factory.mktemp("alone")
    walk_forward(rounds_with(settings, bars), recipe_of(settings), walk)
    return walk


def models_in(walk: Path) -> dict[str, bytes]:
    """Bytes of the models by border."""
    return {path.parent.name: path.read_bytes() for path in walk.glob(f"*/{MODEL}")}


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_fleet_trains_the_same_models_and_none_twice(bars: Path, alone: Path, tmp_path: Path, shared: bool) -> None:
    """Killed after a round and begun again; in folders of its own, as on a cluster, or in those of this machine."""
    settings, lines = settings_of(*SHORT), list[str]()
    rounds = rounds_with(settings, bars)
    with pytest.raises(KeyboardInterrupt):
        train_all(settings, rounds, "", tmp_path, Counting(1), lines.append, shared=shared)
    assert list(models_in(tmp_path)) == ["2019-01-28"]
    again = Counting()
    train_all(settings, rounds, "", tmp_path, again, lines.append, shared=shared)
    assert len(again.jobs) == 1
    assert models_in(tmp_path) == models_in(alone)
    assert [line for line in lines if not line.startswith("2019")] == [
        "1 of 2 rounds: 2019-01-28", "stopped: what is done is kept, and the same command goes on from there",
        "1 of 2 rounds were done before", "2 of 2 rounds: 2019-01-20",
    ]  # fmt: skip
    none = Counting()
    train_all(settings, rounds, "", tmp_path, none, lines.append, shared=shared)
    assert none.jobs == []


@pytest.mark.slow
def test_a_machine_with_other_bars_is_refused(bars: Path, alone: Path, tmp_path: Path) -> None:
    """In a line that names what isn't the same there, or the file that isn't there; nothing is left behind."""
    settings = settings_of(*SHORT)
    rounds = rounds_with(settings, bars)
    there = bars_of(tmp_path / "SBIN.parquet", 2)
    elsewhere = [replace(one, data=replace(one.data, files=[there])) for one in rounds]
    with pytest.raises(ArtifactError, match=r"2019-01-28: round.sessions: not the same where the round was to be tr"):
        train_all(settings, elsewhere, "", tmp_path / "walk", Counting(), print, shared=False)
    there.unlink()
    with pytest.raises(ArtifactError, match="no such file of bars where the round was to be trained"):
        train_all(settings, elsewhere, "", tmp_path / "walk", Counting(), print, shared=False)
    assert models_in(tmp_path / "walk") == {}


@pytest.mark.slow
def test_what_a_fleet_thinks_is_what_is_thought_here(bars: Path, alone: Path) -> None:
    """Every figure of the evaluation, and a row a window."""
    settings = settings_of(*SHORT)
    rounds, recipe = rounds_with(settings, bars), recipe_of(settings)
    folds, data = folds_of(rounds, alone), judged(rounds, recipe.training)
    models = [(fold.model, fold.after) for fold in folds]
    batches = BatchSettings(recipe.hrm.features)
    here = evaluate(models, recipe.hrm, batches, data)
    thoughts = thoughts_of(models, recipe.hrm, batches, data.costs, Counting(), 1)
    assert folds[0].model.config.features.past_sessions, "sessions before its own part are told to it"
    assert document(evaluate(models, recipe.hrm, batches, data, thoughts=thoughts)) == document(here)
    assert [(row.group, row.sessions) for row in here.windows] == [("2019-01-20", 8), ("2019-01-28", 14)]
