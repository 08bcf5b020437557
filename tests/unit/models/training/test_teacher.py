"""Tests of learning from a trained network: what a lesson holds, and that a pupil becomes like its teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import HRMSettings
from models.features import Features
from models.hrm import HRM
from models.training.batches import BatchSettings, make_batch
from models.training.errors import TrainingError
from models.training.loss import Targets
from models.training.progress import Report, StepReport
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, ObjectiveSettings, TeacherSettings, TrainingSettings
from models.training.source import StoredSource
from models.training.teacher import imitation, lesson
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies


def opinionated(hrm: HRMSettings, seed: int = 3) -> HRM:
    """Return a network whose policy depends strongly on what it sees."""
    torch.manual_seed(seed)
    model = HRM(hrm.network(), Vocabularies().grow(["SIM"], ["5m", "30m"])).eval()
    model.heads.policy.weight.data.mul_(300.0)
    return model


@pytest.fixture
def made(hrm: HRMSettings, sessions: Sessions) -> tuple[HRM, Features, Targets]:
    """Return a teacher and four sessions of which some decisions are not live."""
    teacher = opinionated(hrm)
    batch = make_batch(sessions, np.arange(4), BatchSettings(hrm.features), teacher.vocabularies)
    live = batch.live.copy()
    live[:, ::3] = False
    return teacher, batch.features, Targets.of(replace(batch, live=live), np.full(4, 3.0), torch.device("cpu"))


def test_a_lesson_holds_different_live_decisions(made: tuple[HRM, Features, Targets]) -> None:
    """As many as asked for, none twice, none that may not decide; all where more are asked for than there are."""
    teacher, features, targets = made
    live = np.flatnonzero(targets.live.numpy())
    taught = lesson(teacher, features, targets, 10, np.random.default_rng(0))
    assert len(set(taught.rows)) == 10
    assert set(taught.rows) <= set(live)
    assert torch.allclose(taught.occupancy.sum(-1), torch.ones(10))
    everything = lesson(teacher, features, targets, 10**6, np.random.default_rng(0))
    np.testing.assert_array_equal(everything.rows, live)


def test_only_the_teachers_own_answers_cost_nothing(hrm: HRMSettings, made: tuple[HRM, Features, Targets]) -> None:
    """The divergence of the teacher from itself is zero, of another network from it is not."""
    teacher, features, targets = made
    taught = lesson(teacher, features, targets, 12, np.random.default_rng(0))
    settings = ObjectiveSettings(value_weight=0.0)
    losses = []
    for model in (teacher, opinionated(hrm, seed=4)):
        rows = features.take(taught.rows)
        outputs = model.segment(rows, model.initial_state(rows))[1]
        policy = outputs.policy.masked_fill(outputs.policy.isinf(), 0.0)
        losses.append(imitation(taught, settings)(policy, outputs.quantity, outputs.value).total.item())
    assert losses[0] == pytest.approx(0.0, abs=1e-6)
    assert losses[1] > 0.01


def test_a_pupil_becomes_like_its_teacher(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """In 60 steps on single decisions the divergence falls by more than half."""
    losses: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, StepReport):
            losses.append(report.segments[0].loss)

    settings = training.model_copy(
        update={"steps": 60, "validate_every": 60, "checkpoint_every": 60, "teacher": TeacherSettings(decisions=40),
                "objective": ObjectiveSettings(value_weight=0.0)}
    )  # fmt: skip
    Trainer(
        hrm, DeepSupervisionSettings(segments=1), settings, StoredSource(sessions, 1), None, tmp_path,
        observers=[watch], teacher=opinionated(hrm),
    ).run()  # fmt: skip
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_teacher_that_reads_other_features_is_refused(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """One line names the setting."""
    other = hrm.model_copy(update={"features": hrm.features.model_copy(update={"clip": 7.0})})
    source = StoredSource(sessions, 1)
    with pytest.raises(TrainingError, match=r"training_params\.teacher\.artifact"):
        Trainer(
            hrm, DeepSupervisionSettings(), training, source, None, tmp_path, teacher=opinionated(other)
        )  # fmt: skip
