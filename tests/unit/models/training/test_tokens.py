"""Tests of what tokens of bars are asked: the right bar, a loss of known tokens, training that uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.config import HRMSettings
from models.training.batches import BatchSettings, Target, make_batch
from models.training.errors import TrainingError
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, ObjectiveSettings, TrainingSettings
from models.training.source import StoredSource
from models.training.tokens import KINDS, TokenTargets
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies


def targets(hrm: HRMSettings, sessions: Sessions) -> tuple[TokenTargets, np.ndarray]:
    """Return the targets of two sessions and what kind of bar was to come after each of theirs, (2, D)."""
    settings = BatchSettings(hrm.features, target=Target.CONDITIONAL_MEAN)
    batch = make_batch(sessions, np.arange(2), settings, Vocabularies())
    returns = torch.as_tensor(batch.returns_bp, dtype=torch.float32)
    clear = 0.5 * np.sqrt(np.mean(batch.returns_bp**2))
    kinds = np.where(batch.returns_bp > clear, 2, np.where(batch.returns_bp < -clear, 0, 1))
    return TokenTargets.of(nn.Linear(16, KINDS), batch.features, returns, hrm.features.patch, 1.0), kinds


def test_a_token_is_asked_for_the_bar_after_its_last(hrm: HRMSettings, sessions: Sessions) -> None:
    """The last token's bar is the decision's own; each earlier one ends one patch before."""
    asked, kinds = targets(hrm, sessions)
    assert set(kinds.flatten()) == {0, 1, 2}
    decisions, patch = kinds.shape[1], hrm.features.patch
    rows = np.arange(2 * decisions).reshape(2, decisions)
    assert (asked.kind[rows, -1].numpy() == kinds).all()
    assert (asked.kind[rows[:, patch:], 0].numpy() == kinds[:, :-patch]).all()
    assert asked.known[rows, -1].all()
    assert (asked.known[rows, 0].numpy() == (np.arange(decisions) >= patch)).all()


def test_the_loss_counts_known_tokens_only(hrm: HRMSettings, sessions: Sessions) -> None:
    """Nothing for sure and right answers, log 3 for silence; what is said of tokens without bars is no matter."""
    asked, _ = targets(hrm, sessions)
    rows = torch.arange(len(asked.kind))
    right = 50.0 * nn.functional.one_hot(asked.kind, KINDS).float()
    right[~asked.known] = torch.tensor([50.0, 0.0, 0.0])
    assert float(asked.loss(right, rows)) == pytest.approx(0.0, abs=1e-6)
    assert float(asked.loss(torch.zeros_like(right), rows)) == pytest.approx(np.log(3), rel=1e-5)
    some = torch.tensor([3, 20])
    assert float(asked.take(some.numpy()).loss(right[some], torch.arange(2))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rows_at_once", [8, 4096])
def test_training_asks_and_resumes(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path, rows_at_once: int
) -> None:
    """The reading learns, in pieces too; the artifact has none of it; a resumed run equals an uninterrupted one."""
    used = training.model_copy(
        update={
            "target": Target.CONDITIONAL_MEAN, "objective": ObjectiveSettings(token_weight=1.0),
            "rows_at_once": rows_at_once,
        }
    )  # fmt: skip

    def trainer(folder: str) -> Trainer:
        source = StoredSource(sessions, training.min_sessions)
        return Trainer(hrm, DeepSupervisionSettings(segments=2), used, source, None, tmp_path / folder)

    whole = trainer("whole")
    first = [parameter.clone() for parameter in whole._reading.parameters()]
    result = whole.run()
    assert all(not torch.equal(a, b) for a, b in zip(first, whole._reading.parameters(), strict=True))
    assert not any("reading" in name for name in result.model.state_dict())
    halfway = trainer("whole")
    for path in sorted((tmp_path / "whole").glob("*.ckpt"))[1:]:
        path.unlink()
    again = halfway.run(resume=True)
    assert again.step == result.step
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_realised_returns_are_refused(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """They stand in the window: a token would only learn to look at the next bar."""
    used = training.model_copy(update={"target": Target.REALISED, "objective": ObjectiveSettings(token_weight=1.0)})
    with pytest.raises(TrainingError, match=r"objective\.token_weight: the window shows realised returns"):
        Trainer(hrm, DeepSupervisionSettings(), used, StoredSource(sessions, 4), None, tmp_path)
