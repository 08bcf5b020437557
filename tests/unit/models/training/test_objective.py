"""Tests of the exact expected-profit objective against brute-force enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from models.training import objective as ob

POSITIONS = range(3)


def make(seed: int, batch: int = 2, steps: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random probabilities, returns, costs and sizes in float64."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, steps, 3, 5, generator=g, dtype=torch.float64)
    returns = 10 * torch.randn(batch, steps, generator=g, dtype=torch.float64)
    cost = 1 + torch.rand(batch, generator=g, dtype=torch.float64)
    size = torch.rand(batch, steps, generator=g, dtype=torch.float64)
    return ob.action_probabilities(logits), returns, cost, size


def enumerate_paths(
    probs: Tensor, returns: Tensor, cost: float, size: Tensor, variance: Tensor, start: int = ob.FLAT
) -> tuple[float, float, float]:
    """Return expected profit, risk and turnover of one session by walking every sequence of actions."""
    steps = len(returns)
    totals = [0.0, 0.0, 0.0]
    for actions in itertools.product(range(5), repeat=steps):
        position, held, chance = start, 1.0 if start != ob.FLAT else 0.0, 1.0
        pnl = risk = turnover = 0.0
        for t, action in enumerate(actions):
            if not ob.VALID[position][action]:
                chance = 0.0
                break
            chance *= float(probs[t, position, action])
            after = ob.NEXT[position][action]
            if position == ob.FLAT and after != ob.FLAT:
                held = float(size[t])
                turnover += held
            elif position != ob.FLAT and after == ob.FLAT:
                turnover += held
                held = 0.0
            position = after
            pnl += ob.SIGNS[position] * held * float(returns[t])
            risk += held**2 * float(variance[t])
        if chance == 0.0:
            continue
        turnover += held
        for i, x in enumerate((pnl - cost * turnover, risk, turnover)):
            totals[i] += chance * x
    return totals[0], totals[1], totals[2]


@pytest.mark.parametrize("seed", range(3))
def test_expected_outcome_equals_enumeration(seed: int) -> None:
    """Profit, risk and turnover equal the sum over all 5^4 action sequences."""
    probs, returns, cost, size = make(seed)
    outcome = ob.expected_outcome(probs, returns, cost, size, returns.square())
    for b in range(len(returns)):
        pnl, risk, turnover = enumerate_paths(probs[b], returns[b], float(cost[b]), size[b], returns[b].square())
        assert float(outcome.pnl_bp[b]) == pytest.approx(pnl, abs=1e-9)
        assert float(outcome.risk_bp2[b]) == pytest.approx(risk, abs=1e-9)
        assert float(outcome.turnover[b]) == pytest.approx(turnover, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_values_equal_enumeration_from_each_position(seed: int) -> None:
    """The value of each starting position equals the enumerated profit from it, sizes of later entries included."""
    probs, returns, cost, size = make(seed)
    remaining = ob.remaining_pnl(probs, returns, cost, size)
    for b, position in itertools.product(range(len(returns)), POSITIONS):
        pnl, _, _ = enumerate_paths(
            probs[b], returns[b], float(cost[b]), size[b], torch.zeros_like(size[b]), start=position
        )
        assert float(remaining.values[b, 0, position]) == pytest.approx(pnl, abs=1e-9)


def test_flat_value_is_the_expected_profit() -> None:
    """Forward and backward recursions agree on the profit of a session that starts flat."""
    probs, returns, cost, size = make(7, batch=5, steps=30)
    pnl = ob.expected_outcome(probs, returns, cost, size).pnl_bp
    assert torch.allclose(pnl, ob.remaining_pnl(probs, returns, cost, size).values[:, 0, ob.FLAT])


def test_gradient_is_the_position_weighted_action_value() -> None:
    """The gradient is d profit / d π(a|t,p) = q(t,p)·Q(t,p,a), which ties both recursions together."""
    probs, returns, cost, _ = make(3, batch=1, steps=6)
    probs = probs.detach().requires_grad_()
    outcome = ob.expected_outcome(probs, returns, cost)
    (gradient,) = torch.autograd.grad(outcome.pnl_bp.sum(), probs)
    expected = outcome.occupancy[..., None] * ob.remaining_pnl(probs, returns, cost).actions
    valid = torch.tensor(ob.VALID)
    assert torch.allclose(gradient[..., valid], expected[..., valid])


def test_no_size_means_one_unit_and_no_variance_no_risk() -> None:
    """Leaving size and variance out is the same as one unit and a risk of zero."""
    probs, returns, cost, _ = make(1)
    plain, unit = (
        ob.expected_outcome(probs, returns, cost),
        ob.expected_outcome(probs, returns, cost, torch.ones_like(returns)),
    )
    assert torch.equal(plain.pnl_bp, unit.pnl_bp)
    assert torch.equal(plain.risk_bp2, torch.zeros(2, dtype=torch.float64))


def test_hindsight_actions_are_the_best_sequence() -> None:
    """Following hindsight labels earns what the best enumerated sequence earns."""
    _, returns, cost, _ = make(11, batch=4, steps=4)
    labels = ob.hindsight_actions(returns, cost)
    followed = torch.nn.functional.one_hot(labels, 5).to(returns.dtype)
    earned = ob.expected_outcome(followed, returns, cost).pnl_bp
    tried = [
        ob.expected_outcome(one_sequence(actions).expand(4, -1, -1, -1), returns, cost).pnl_bp
        for actions in itertools.product(range(5), repeat=4)
    ]
    assert torch.allclose(earned, torch.stack(tried).amax(dim=0))


def one_sequence(actions: tuple[int, ...]) -> Tensor:
    """Deterministic probabilities (T, 3, 5) that take ``actions`` where valid and HOLD elsewhere."""
    out = torch.zeros(len(actions), 3, 5, dtype=torch.float64)
    for t, action in enumerate(actions):
        for position in POSITIONS:
            out[t, position, action if ob.VALID[position][action] else ob.HOLD] = 1.0
    return out


def test_hindsight_holds_where_nothing_moves() -> None:
    """With returns of zero the label is HOLD from flat: doing nothing wins ties."""
    labels = ob.hindsight_actions(torch.zeros(1, 3), torch.zeros(1))
    assert torch.equal(labels[..., ob.FLAT], torch.full((1, 3), ob.HOLD))


def test_invalid_actions_are_impossible_and_dead_bars_hold() -> None:
    """Masked actions have probability 0; a bar that is not live holds with certainty."""
    live = torch.tensor([[True, False]])
    probs = ob.action_probabilities(torch.randn(1, 2, 3, 5), live)
    assert float(probs[..., ~torch.tensor(ob.VALID)].abs().sum()) == 0.0
    assert torch.allclose(probs.sum(dim=-1), torch.ones(1, 2, 3))
    assert torch.equal(probs[0, 1, :, ob.HOLD], torch.ones(3))


def test_a_decision_never_earns_the_past() -> None:
    """Changing returns before decision t leaves the value from t on unchanged."""
    probs, returns, cost, size = make(5, steps=6)
    changed = returns.clone()
    changed[:, :3] += 100
    before = ob.remaining_pnl(probs, returns, cost, size).values
    after = ob.remaining_pnl(probs, changed, cost, size).values
    assert torch.equal(before[:, 3:], after[:, 3:])
    assert not torch.equal(before[:, 2], after[:, 2])
