"""Tests of what tokens of bars are asked: the right bar's expectation, a scale-free loss, training that uses it."""

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
from models.training.tokens import TokenTargets
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies


def targets(hrm: HRMSettings, sessions: Sessions) -> tuple[TokenTargets, np.ndarray]:
    """Return the targets of two sessions and their expected returns (2, D)."""
    settings = BatchSettings(hrm.features, target=Target.CONDITIONAL_MEAN)
    batch = make_batch(sessions, np.arange(2), settings, Vocabularies())
    returns = torch.as_tensor(batch.returns_bp, dtype=torch.float32)
    return TokenTargets.of(nn.Linear(16, 1), batch.features, returns, hrm.features.patch, 1.0), batch.returns_bp


def test_a_token_is_asked_for_the_bar_after_its_last(hrm: HRMSettings, sessions: Sessions) -> None:
    """The last token's bar is the decision's own; each earlier one ends one patch before."""
    asked, returns = targets(hrm, sessions)
    decisions, patch = returns.shape[1], hrm.features.patch
    for session, decision in ((0, 0), (0, 12), (1, decisions - 1)):
        row = session * decisions + decision
        assert asked.expected[row, -1] == pytest.approx(returns[session, decision], abs=1e-5)
        assert bool(asked.known[row, 0]) == (decision >= patch)
        if decision >= patch:
            assert asked.expected[row, 0] == pytest.approx(returns[session, decision - patch], abs=1e-5)


def test_the_loss_is_the_share_left_unexplained(hrm: HRMSettings, sessions: Sessions) -> None:
    """0 for the truth in its own scale, 1 for silence, whatever the unit; unknown tokens don't count."""
    asked, _ = targets(hrm, sessions)
    rows = torch.arange(len(asked.expected))
    scale = asked.expected[asked.known].square().mean().sqrt()
    answers = torch.where(asked.known, asked.expected / scale, torch.tensor(99.0))
    assert float(asked.loss(answers, rows)) == pytest.approx(0.0, abs=1e-9)
    assert float(asked.loss(torch.zeros_like(answers), rows)) == pytest.approx(1.0, rel=1e-5)
    in_percent = TokenTargets(asked.read, asked.expected / 100, asked.known, 1.0)
    assert float(in_percent.loss(answers, rows)) == pytest.approx(0.0, abs=1e-9)


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
