"""Tests of the expected returns that training may use in the place of realised ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.config import FeatureSettings, HRMSettings
from models.training.batches import BatchSettings, Target, make_batch
from models.training.errors import DataError
from models.training.estimate import FOLDS, basis, fit_estimate
from models.training.market import HiddenRegimeMarket
from models.training.reference import simulated_sessions
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from models.training.source import FreshSource, StoredSource, TakingTurns
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies

SETTINGS = BatchSettings(FeatureSettings())
NAMES = Vocabularies()


def drawn(count: int, seed: int) -> Sessions:
    """Sessions of the hidden-regime market."""
    return simulated_sessions(HiddenRegimeMarket(), count, seed)


def test_estimates_resemble_what_an_exact_filter_knows() -> None:
    """Fitted on 600 sessions of noise and little signal, estimates of other sessions follow the exact expectation."""
    estimate = fit_estimate(drawn(600, 1), SETTINGS, NAMES)
    fresh = drawn(100, 2)
    batch = make_batch(fresh, np.arange(100), SETTINGS, NAMES)
    exact = fresh.expected_bp.reshape(100, -1)[:, 1:]
    assert np.corrcoef(estimate.returns_bp(batch, None)[batch.live], exact[batch.live])[0, 1] > 0.8


def test_a_session_is_never_judged_by_itself() -> None:
    """Changing a day's own future changes none of its estimates, but does change other days'."""
    sessions = drawn(20, 3)
    start = sessions.start_ns()
    changed = sessions.bars.copy()
    changed[sessions.offsets[4] + 40 : sessions.offsets[5], :4] *= 1.5
    other = Sessions(
        changed, sessions.ts_ns, sessions.offsets, sessions.symbol, sessions.symbols, sessions.interval_s,
        sessions.expected_bp,
    )  # fmt: skip
    batch = make_batch(sessions, np.arange(20), SETTINGS, NAMES)
    before, after = (fit_estimate(made, SETTINGS, NAMES).returns_bp(batch, start) for made in (sessions, other))
    same_fold = [day for day in range(20) if (day - 4) % FOLDS == 0]
    np.testing.assert_array_equal(before[same_fold], after[same_fold])
    assert not np.allclose(before, after)


def test_prices_upside_down_turn_the_sign() -> None:
    """The estimate of a mirrored session is the negative of the session's."""
    estimate = fit_estimate(drawn(50, 4), SETTINGS, NAMES)
    rows, fresh = np.arange(10), drawn(10, 5)
    plain = make_batch(fresh, rows, SETTINGS, NAMES)
    mirrored = make_batch(fresh, rows, SETTINGS, NAMES, mirror=np.ones(10, bool))
    np.testing.assert_allclose(
        estimate.returns_bp(mirrored, None), -estimate.returns_bp(plain, None), atol=1e-4
    )  # features are float32


def test_nothing_is_expected_where_nothing_can_be_decided() -> None:
    """A decision that is not live has an estimate of zero."""
    settings = BatchSettings(FeatureSettings(min_bars=30))
    batch = make_batch(drawn(10, 6), np.arange(10), settings, NAMES)
    out = fit_estimate(drawn(30, 7), settings, NAMES).returns_bp(batch, None)
    assert (out[~batch.live] == 0).all()
    assert (out[batch.live] != 0).all()


def test_the_basis_is_odd_in_the_trends() -> None:
    """Trends of the other sign give the other sign; no trend gives nothing."""
    calendar = np.random.default_rng(0).normal(size=(5, 21)).astype(np.float32)
    turned = calendar.copy()
    turned[:, -5:] *= -1
    np.testing.assert_allclose(basis(turned), -basis(calendar))
    calendar[:, -5:] = 0
    assert (basis(calendar) == 0).all()


def test_too_few_sessions_are_refused() -> None:
    """One line names the number."""
    with pytest.raises(DataError, match="9 sessions: target estimated needs at least 10"):
        fit_estimate(drawn(9, 1), SETTINGS, NAMES)


@pytest.mark.parametrize("stored", [True, False])
def test_a_trainer_earns_estimates(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path, stored: bool
) -> None:
    """Batches hold estimated returns, the same ones each time, with stored and with fresh sessions."""
    settings = training.model_copy(update={"target": Target.ESTIMATED, "estimate_sessions": 30})
    source = StoredSource(sessions, 1) if stored else FreshSource(lambda count, seed: drawn(count, seed))
    made = [
        Trainer(hrm, DeepSupervisionSettings(), used, source, None, tmp_path)
        for used in (settings, settings, settings.model_copy(update={"target": Target.REALISED}))
    ]
    estimated, again, realised = (trainer.batch(0)[0].returns_bp for trainer in made)
    np.testing.assert_array_equal(estimated, again)
    assert estimated.std() < 0.5 * realised.std()


def test_intervals_take_turns(hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path) -> None:
    """Batches of two intervals alternate, each with an estimate of its own, and both timeframes have a row."""
    slow = replace(sessions, interval_s=600)
    source = TakingTurns([StoredSource(sessions, 1), StoredSource(slow, 1)])
    settings = training.model_copy(update={"target": Target.ESTIMATED})
    trainer = Trainer(hrm, DeepSupervisionSettings(), settings, source, None, tmp_path)
    rows = [trainer.model.vocabularies.timeframes.row(name) for name in ("5m", "10m")]
    assert 0 not in rows
    seen = [int(trainer.batch(step)[0].features.timeframe[0]) for step in range(4)]
    assert seen == [rows[0], rows[1], rows[0], rows[1]]
    assert [sample.interval_s for sample in source.samples(0, 1)] == [300, 600]
    assert trainer.run().step == settings.steps
