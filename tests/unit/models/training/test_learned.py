"""What a model's start, its teacher and a calibration knew is known to it, too."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from models.config import HRMSettings
from models.manifest import Manifest, TrainingSpan
from models.training.batches import Target
from models.training.errors import DataError
from models.training.files import FileData
from models.training.market import HiddenRegimeMarket
from models.training.markets import MarketName
from models.training.overlap import overlap
from models.training.reference import simulated_sessions
from models.training.run import Data, SimulatedData, calibrated, train
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, Select, TrainingSettings

EARLY, LATE = date(2019, 1, 12), date(2019, 1, 18)
SUPERVISION = DeepSupervisionSettings(segments=1)


@pytest.fixture
def data(sessions: Sessions, tmp_path: Path) -> FileData:
    """A folder of the sessions of 2 to 25 January 2019; the later border."""
    sessions.save(tmp_path / "bars")
    return FileData([tmp_path / "bars"], [300], LATE)


@pytest.fixture
def short(training: TrainingSettings) -> TrainingSettings:
    """Two steps that tell nothing of their sessions."""
    return training.model_copy(update={"steps": 2, "novelty_sessions": 0, "target": Target.REALISED})


def trained(hrm: HRMSettings, training: TrainingSettings, data: Data, folder: Path) -> tuple[Path, Manifest]:
    """A model of two steps and what it says of itself."""
    made = train(hrm, SUPERVISION, training, data, folder)
    assert made.artifact is not None
    assert made.manifest is not None
    return made.artifact, made.manifest


def beginning_with(training: TrainingSettings, key: str, artifact: Path) -> TrainingSettings:
    """The settings with a start or a teacher."""
    if key == "start_from":
        return training.model_copy(update={"start_from": artifact})
    return training.model_copy(update={"teacher": training.teacher.model_copy(update={"artifact": artifact})})


@pytest.mark.parametrize("key", ["start_from", "teacher.artifact"])
def test_nothing_is_begun_with_what_knows_the_days_behind_the_border(
    hrm: HRMSettings, short: TrainingSettings, data: FileData, tmp_path: Path, key: str
) -> None:
    """Validated on days that its start learned from, a model would look better than it is."""
    artifact, _ = trained(hrm, short, data, tmp_path / "late")
    begun = beginning_with(short, key, artifact)
    with pytest.raises(DataError) as refused:
        train(hrm, SUPERVISION, begun, replace(data, border=EARLY), tmp_path / "early")
    assert str(refused.value) == (
        f"training_params.{key}: {artifact} was trained on 2019-01-02 to 2019-01-16, and a training to --border "
        "2019-01-12 is judged on what comes from there on; begin with one trained before it, or with none"
    )
    _, manifest = trained(hrm, begun, data, tmp_path / "again")
    assert manifest.learned == TrainingSpan(first="2019-01-02", last="2019-01-16")


def test_a_start_that_was_chosen_behind_the_border_is_none(
    hrm: HRMSettings, short: TrainingSettings, data: FileData, tmp_path: Path
) -> None:
    """The best of its steps on these days is flattered there, and so is what begins with it."""
    best = short.model_copy(update={"select": Select.BEST, "validate_every": 1})
    artifact, _ = trained(hrm, best, replace(data, border=EARLY), tmp_path / "best")
    with pytest.raises(DataError, match=r"was chosen by its validations on 2019-01-1\d to 2019-01-25, and a training"):
        train(hrm, SUPERVISION, beginning_with(short, "start_from", artifact), data, tmp_path / "later")


def test_a_pupil_of_drawn_sessions_still_knows_what_its_start_did(
    hrm: HRMSettings, short: TrainingSettings, data: FileData, sessions: Sessions, tmp_path: Path
) -> None:
    """Two trainings on a simulated market later the recorded days are no test yet."""
    artifact, _ = trained(hrm, short, data, tmp_path / "recorded")
    for name in ("drawn", "twice"):
        begun = beginning_with(short, "start_from", artifact)
        artifact, manifest = trained(hrm, begun, SimulatedData(MarketName.HIDDEN_REGIME), tmp_path / name)
        assert manifest.learned == TrainingSpan(first="2019-01-02", last="2019-01-16")
        assert "was trained on 2019-01-02 to 2019-01-16" in overlap(artifact, manifest, data, sessions)


def test_a_calibration_makes_its_days_known(
    hrm: HRMSettings, short: TrainingSettings, market: HiddenRegimeMarket, tmp_path: Path
) -> None:
    """What values came to and when thinking pays was learned from them."""
    simulated_sessions(market, 60, seed=3).save(tmp_path / "bars")
    later = FileData([tmp_path / "bars"], [300], date(2019, 2, 18))
    artifact, _ = trained(hrm, short, replace(later, border=EARLY), tmp_path / "early")
    seen = short.model_copy(update={"novelty_sessions": 200})
    manifest = calibrated(artifact, later, hrm, SUPERVISION, seen, tmp_path / "calibrated.safetensors")
    assert manifest.training_span == TrainingSpan(first="2019-01-02", last="2019-01-10")
    assert manifest.learned == TrainingSpan(first="2019-01-02", last="2019-02-16")
