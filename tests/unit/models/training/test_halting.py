"""Tests of the Q head that is fitted to a finished network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.act import AdaptiveComputationTime
from models.config import ActSettings, HRMSettings
from models.hrm import HRM
from models.training.batches import BatchSettings
from models.training.halting import Thoughts, _logistic, _regret, _stopping_over, refit_halting, think
from models.training.policy import adaptive_policy, policies_by_depth
from models.training.sessions import Sessions
from models.vocabulary import Vocabularies

SEGMENTS = 3


@pytest.fixture
def settings(hrm: HRMSettings) -> HRMSettings:
    """Depth by the Q head alone."""
    return hrm.model_copy(update={"act": ActSettings(max_segments=SEGMENTS, complexity_steps=())})


@pytest.fixture
def model(settings: HRMSettings) -> HRM:
    """A network whose answer moves with each segment: its heads are far from undecided."""
    torch.manual_seed(3)
    network = HRM(settings.network(), Vocabularies())
    with torch.no_grad():
        network.heads.policy.weight.normal_(std=1.0)
    return network.eval()


def thought(model: HRM, sessions: Sessions, settings: HRMSettings) -> Thoughts:
    """Of all sessions."""
    return think(model, sessions, None, BatchSettings(settings.features), SEGMENTS)


def adaptive(model: HRM, sessions: Sessions, settings: HRMSettings) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean segments as an agent takes them, each decision's, and its actions."""
    policy = adaptive_policy(model, AdaptiveComputationTime(settings), sessions, BatchSettings(settings.features))
    return float(policy.depth[policy.live].mean()), policy.depth[policy.live], policy.actions[policy.live]


def test_regret_is_what_the_deepest_policy_prefers_its_own_action_by() -> None:
    """The mean of the positions; none where the action is the same, however sure."""
    flat, long, short = [0.1, 0.0, 0.0, 0.0, 0.9], [0.0, 0.0, 0.7, 0.0, 0.3], [0.0, 0.0, 0.0, 0.2, 0.8]
    deepest = torch.tensor([[flat, long, short]])
    surer = torch.tensor([[[0.4, 0.0, 0.0, 0.0, 0.6], long, short]])
    other = torch.tensor([[flat, [0.0, 0.0, 0.4, 0.0, 0.6], [0.0, 0.0, 0.0, 0.9, 0.1]]])
    assert _regret(surer, deepest).tolist() == [0.0]
    assert _regret(other, deepest).item() == pytest.approx((0.0 + 0.4 + 0.6) / 3)


def test_a_decision_stops_after_the_first_segment_over_the_cut() -> None:
    """Three segments: who is over it at once, later, and never."""
    q_halt, regret = np.array([[2.0, 0.0, 0.0], [2.0, 2.0, 0.0]]), np.array([[0.3, 0.9, 0.9], [0.9, 0.6, 0.9]])
    cut, came = _stopping_over(1.0, q_halt, regret)
    assert (cut, came.most) == (1.0, 3)
    assert came.segments == pytest.approx((1 + 2 + 3) / 3)
    assert came.regret == pytest.approx((0.3 + 0.6 + 0.0) / 3)


def test_chances_are_found_again() -> None:
    """Rows drawn by a known law of chances give its weights back."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 2.0, (20_000, 3))
    weight, bias = np.array([0.5, -0.25, 0.0]), 0.7
    chance = 1.0 / (1.0 + np.exp(-(inputs @ weight + bias)))
    found = _logistic(inputs, chance)
    np.testing.assert_allclose(found[0], weight, atol=2e-3)
    assert found[1] == pytest.approx(bias, abs=1e-2)


def test_who_stops_regrets_no_more_than_was_allowed(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """Of the sessions that the constant came from; where nothing may be regretted, all answers are the deepest's."""
    batches = BatchSettings(settings.features)
    base = thought(model, sessions, settings).regret.mean()
    depths = []
    for allowed in (1.0, base / 3, 0.0):
        came = refit_halting(model, [(sessions, None)], batches, SEGMENTS, allowed)
        assert came is not None
        assert came.regret <= allowed
        half = sessions.select(np.arange(1, len(sessions), 2))
        mean, depth, actions = adaptive(model, half, settings)
        assert mean == pytest.approx(came.segments, abs=1e-3)  # the head is kept in single precision
        depths.append(depth)
    assert (depths[0] == 1).mean() > 0.9
    assert 1.0 < depths[1].mean() < SEGMENTS
    deepest = policies_by_depth(model, half, batches, SEGMENTS)[-1]
    np.testing.assert_array_equal(actions, deepest.actions[deepest.live])


def test_nothing_but_the_depth_changes(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """Every other weight stays, so does every answer at a given depth; a second fit gives the same bits."""
    batches = BatchSettings(settings.features)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answers = [policy.actions for policy in policies_by_depth(model, sessions, batches, SEGMENTS)]
    refit_halting(model, [(sessions, None)], batches, SEGMENTS, 0.05)
    head = (model.heads.q.weight.clone(), model.heads.q.bias.clone())
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"heads.q.weight", "heads.q.bias"}
    for policy, actions in zip(policies_by_depth(model, sessions, batches, SEGMENTS), answers, strict=True):
        np.testing.assert_array_equal(policy.actions, actions)
    refit_halting(model, [(sessions, None)], batches, SEGMENTS, 0.05)
    assert torch.equal(model.heads.q.weight, head[0])
    assert torch.equal(model.heads.q.bias, head[1])


def test_those_that_would_mind_think_on(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """The head tells them apart: who stops at once would have minded less than who goes on, on sessions not fitted."""
    refit_halting(model, [(sessions, None)], BatchSettings(settings.features), SEGMENTS, 0.05)
    half = sessions.select(np.arange(1, len(sessions), 2))
    _, depth, _ = adaptive(model, half, settings)
    regret = thought(model, half, settings).regret[0]
    assert regret[depth == 1].mean() < 0.7 * regret[depth > 1].mean()


def test_of_long_histories_every_so_many_decisions_are_seen(
    model: HRM, sessions: Sessions, settings: HRMSettings
) -> None:
    """A third of them where a third of the numbers may be held, with what is said of each as ever."""
    whole = thought(model, sessions, settings)
    held = (SEGMENTS - 1) * int(sessions.lengths.sum()) * whole.z.shape[-1]
    part = think(model, sessions, None, BatchSettings(settings.features), SEGMENTS, most=held // 2 - 1)
    np.testing.assert_allclose(part.regret, whole.regret[:, ::3])
    np.testing.assert_allclose(part.z, whole.z[:, ::3])


def test_one_segment_has_nothing_to_fit(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """The head stays as it was."""
    assert refit_halting(model, [(sessions, None)], BatchSettings(settings.features), 1, 0.01) is None
    assert (model.heads.q.weight == 0).all()


def test_where_nothing_is_decided_nothing_is_fitted(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """Sessions too short for the model, or a single one: the head stays as it was."""
    late = BatchSettings(settings.features.model_copy(update={"min_bars": 20}))
    one = sessions.select(np.arange(1))
    for given, asked in ((sessions, late), (one, BatchSettings(settings.features))):
        assert refit_halting(model, [(given, None)], asked, SEGMENTS, 0.01) is None
    assert (model.heads.q.weight == 0).all()


def test_sessions_of_two_intervals_are_fitted_together(model: HRM, sessions: Sessions, settings: HRMSettings) -> None:
    """The same sessions twice, as if of two intervals, give the head of one of them."""
    batches = BatchSettings(settings.features)
    once = refit_halting(model, [(sessions, None)], batches, SEGMENTS, 0.05)
    q_continue = model.heads.q.bias[1].item()
    twice = refit_halting(model, [(sessions, None), (sessions, None)], batches, SEGMENTS, 0.05)
    assert once is not None
    assert twice is not None
    assert twice.segments == pytest.approx(once.segments, abs=0.1)
    assert model.heads.q.bias[1].item() == pytest.approx(q_continue, rel=0.1)
