"""A walk forward's rounds: what they are made of, when they are done, how they go on, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_model
from models.config import HRMSettings
from models.training import walking
from models.training.batches import Target
from models.training.errors import DataError, TrainingError
from models.training.files import FileData, Schedule, border_ns
from models.training.learned import refuse_known
from models.training.overlap import overlap
from models.training.progress import NoteReport, Report
from models.training.provenance import data_sha256
from models.training.run import train
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from tests.unit.models.training.test_evaluate import StopAtOnce

BORDERS = [date(2019, 1, 12), date(2019, 1, 18)]


@pytest.fixture
def recipe(hrm: HRMSettings, training: TrainingSettings) -> walking.Recipe:
    """Rounds of a second each, with no statistics to be taken of their sessions."""
    return walking.Recipe(
        hrm,
        DeepSupervisionSettings(segments=2),
        training.model_copy(update={"novelty_sessions": 0, "steps": 4, "target": Target.REALISED}),
    )


@pytest.fixture
def data(sessions: Sessions, tmp_path: Path) -> FileData:
    """A folder of 24 sessions."""
    sessions.save(tmp_path / "bars")
    return FileData([tmp_path / "bars"], [300], BORDERS[0])


class Heard:
    """An observer that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def __call__(self, report: Report) -> None:
        """Keep a note, count the rest."""
        if isinstance(report, NoteReport):
            self.notes.append(f"{report.kind}: {report.text}")
        else:
            self.steps += 1


def test_a_model_says_what_was_read_and_not_what_lies_there_by_its_end(
    data: FileData, recipe: walking.Recipe, tmp_path: Path
) -> None:
    """Bars that were downloaded once more while it learned are none of its own."""
    read = data_sha256(data.files)

    def download(report: Report) -> None:
        (data.files[0] / "more").write_bytes(b"another day")

    found = train(recipe.hrm, recipe.supervision, recipe.training, data, tmp_path / "out", observers=[download])
    assert data_sha256(data.files) != read
    assert found.manifest is not None
    assert found.manifest.origin is not None
    assert found.manifest.origin.data_sha256 == read


def test_a_round_is_made_of_its_settings_and_of_what_lies_before_it(
    data: FileData, sessions: Sessions, recipe: walking.Recipe
) -> None:
    """What comes after the border is none of it; one price before it, one setting and the device are."""
    first = walking.rounds_of(data, sessions, BORDERS, recipe.training)[0]
    facts = walking.facts_of(first, recipe)
    longer = walking.rounds_of(data, sessions, BORDERS[:1], recipe.training)[0]
    assert len(longer.after) > len(first.after)
    assert walking.facts_of(longer, recipe) == facts
    bars = first.before.bars.copy()
    bars[3, 1] += 0.05
    other = replace(first, before=replace(first.before, bars=bars))
    slower = replace(recipe, training=recipe.training.model_copy(update={"seed": 2}))
    for changed in (walking.facts_of(other, recipe), walking.facts_of(first, slower)):
        assert changed != facts
    assert walking.facts_of(first, replace(recipe, device="cuda")) != facts


def test_a_round_that_is_done_is_not_done_again(
    data: FileData, sessions: Sessions, recipe: walking.Recipe, tmp_path: Path
) -> None:
    """Nor when a later border is added; a changed setting is, and is named, and so is a model that was damaged."""
    walk = tmp_path / "walk"
    walking.walk_forward(walking.rounds_of(data, sessions, BORDERS[:1], recipe.training), recipe, walk)
    artifact = walk / "2019-01-12" / "model.safetensors"
    before = artifact.read_bytes()
    rounds, heard = walking.rounds_of(data, sessions, BORDERS, recipe.training), Heard()
    walking.walk_forward(rounds, recipe, walk, [heard])
    assert [note for note in heard.notes if note.startswith("round")] == [
        "round: 1 of 2, 2019-01-12: done before", "round: 2 of 2, 2019-01-18: to be trained"
    ]  # fmt: skip
    assert heard.steps == recipe.training.steps
    other, heard = replace(recipe, training=recipe.training.model_copy(update={"seed": 2})), Heard()
    walking.walk_forward(rounds[:1], other, walk, [heard])
    assert "round: 1 of 1, 2019-01-12: anew, for training_params.seed changed" in heard.notes
    assert heard.steps == recipe.training.steps
    assert artifact.read_bytes() != before
    walking.walk_forward(rounds[:1], recipe, walk)
    assert artifact.read_bytes() == before, "whatever lay in its folder before"
    artifact.write_bytes(before[:-1])
    assert not walking.is_done(artifact.parent, walking.facts_of(rounds[0], recipe))


def test_a_round_that_was_stopped_goes_on_to_the_same_model(
    data: FileData, sessions: Sessions, recipe: walking.Recipe, tmp_path: Path
) -> None:
    """SIGTERM leaves a checkpoint and no model."""
    (one,) = walking.rounds_of(data, sessions, BORDERS[:1], recipe.training)
    walking.train_round(one, recipe, tmp_path / "whole")
    with pytest.raises(TrainingError, match="stopped at step 1 of the training to 2019-01-12: give the command again"):
        walking.train_round(one, recipe, tmp_path / "cut", [StopAtOnce()])
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    heard = Heard()
    walking.train_round(one, recipe, tmp_path / "cut", [heard])
    assert heard.steps == recipe.training.steps - 1
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert cut == whole


def test_no_round_begins_with_what_it_is_judged_on(
    data: FileData, sessions: Sessions, recipe: walking.Recipe, tmp_path: Path
) -> None:
    """A model that was trained behind the first border is refused as a start and as a teacher."""
    late = walking.rounds_of(data, sessions, BORDERS[1:], recipe.training)
    (fold,) = walking.walk_forward(late, recipe, tmp_path / "late")
    training = recipe.training.model_copy(update={"start_from": fold.artifact})
    with pytest.raises(DataError, match=r"training_params.start_from: .* was trained on 2019-01-02 to 2019-01-1\d"):
        walking.rounds_of(data, sessions, BORDERS, training)
    assert len(walking.rounds_of(data, sessions, BORDERS[1:], training)) == 1
    teacher = recipe.training.teacher.model_copy(update={"artifact": fold.artifact})
    with pytest.raises(DataError, match=r"training_params.teacher.artifact: "):
        walking.rounds_of(data, sessions, BORDERS, recipe.training.model_copy(update={"teacher": teacher}))


def test_borders_without_sessions_between_them_are_refused(data: FileData, sessions: Sessions) -> None:
    """In one line that names both."""
    start = sessions.start_ns()
    holed = sessions.select((start < border_ns(BORDERS[0])) | (start >= border_ns(BORDERS[1])))
    with pytest.raises(DataError, match="--border 2019-01-12: there is no session before the next date, 2019-01-18"):
        walking.windows_of(data, holed, BORDERS)
    assert [len(one.after) for one in walking.windows_of(data, holed, Schedule.YEARLY)] == [len(holed) - 10]


def test_a_part_that_is_sent_knows_the_same_past(sessions: Sessions) -> None:
    """Of two symbols, a part of a part: what came before each session, and nothing more than that is taken along."""
    whole = replace(sessions, symbol=np.repeat([0, 1], 12), symbols=("A", "B"))
    part = whole.select(np.arange(24) % 12 > 3).select(np.array([0, 1, 5, 9, 12]))
    for most in (1, 3, 30):
        sent, rows = part.with_past(most), np.arange(len(part))
        np.testing.assert_array_equal(sent.past(rows, most), part.past(rows, most))
        assert sent.chosen_from is not None
        assert len(sent.chosen_from[0]) <= len(part) * (most + 1)


def test_who_was_chosen_by_days_is_not_judged_on_them(
    data: FileData, sessions: Sessions, recipe: walking.Recipe, tmp_path: Path
) -> None:
    """The best of several did well on just these: its own file, and what begins with it, knows them, too."""
    rounds = walking.windows_of(data, sessions, BORDERS)
    walking.walk_forward(rounds, recipe, tmp_path / "walk", [])
    first, last = walking.folds_of(rounds, tmp_path / "walk")
    assert overlap(first.artifact, first.manifest, data, last.after) == ""
    chosen = tmp_path / "chosen.safetensors"
    walking.write_chosen(first, last.after, chosen)
    model, manifest = load_model(chosen)
    days = "was chosen among others on 2019-01-18 to 2019-01-25"
    assert days in overlap(chosen, manifest, data, last.after)
    assert "was trained on" in overlap(chosen, manifest, data, rounds[0].before)
    assert all(torch.equal(model.state_dict()[name], one) for name, one in first.model.state_dict().items())
    begins = recipe.training.model_copy(update={"start_from": chosen})
    with pytest.raises(DataError, match=f"{days}, and it is judged on what comes from there on"):
        refuse_known(begins, "2019-01-20", "it")
    assert refuse_known(begins, "2019-01-26", "it") is None
