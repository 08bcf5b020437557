"""Action probabilities → exact expected profit after costs, and the loss that trains a policy on it.

Nothing is sampled: the probability of being flat, long or short moves by q(t+1) = q(t)·Π(t), and profit, risk and
values are sums over it. Invariant: the result equals the probability-weighted sum over all action sequences of a
session, with invalid actions impossible and every position closed, and paid for, at the end.

Decision t is filled at the next fill price; ``returns_bp[:, t]`` is what one unit earns from that fill to the next one
(or to the session's last close), so a decision never earns the bar it was made on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FLAT, LONG, SHORT = 0, 1, 2
BUY_LONG, SELL_SHORT, CLOSE_LONG, CLOSE_SHORT, HOLD = range(5)
SIGNS = (0.0, 1.0, -1.0)
#: VALID[position][action]
VALID = (
    (True, True, False, False, True),
    (False, False, True, False, True),
    (False, False, False, True, True),
)
#: NEXT[position][action]: where a valid action leads; an invalid one leaves the position alone
NEXT = (
    (LONG, SHORT, FLAT, FLAT, FLAT),
    (LONG, LONG, FLAT, LONG, LONG),
    (SHORT, SHORT, SHORT, FLAT, SHORT),
)


def action_probabilities(logits: Tensor, live: Tensor | None = None) -> Tensor:
    """Probabilities of the valid actions from each position; capped logits and result (B, T, 3, 5).

    Where ``live`` (B, T) is false, HOLD is certain: a bar with too short a history, or padding behind a short session.
    """
    masked = logits.masked_fill(~torch.tensor(VALID, device=logits.device), -torch.inf)
    probs = torch.softmax(masked, dim=-1)
    if live is None:
        return probs
    hold = functional.one_hot(torch.tensor(HOLD, device=logits.device), 5).to(probs.dtype)
    return torch.where(live[..., None, None], probs, hold)


@dataclass(frozen=True)
class Outcome:
    """What a session is worth in expectation.

    ``pnl_bp`` and ``risk_bp2`` (B,): profit after costs and the sum of size² times bar variance; ``turnover`` (B,):
    size traded, the forced close included; ``occupancy`` (B, T, 3): P(position) before each decision; ``exposure`` (B,
    T): expected signed size after it.
    """

    pnl_bp: Tensor
    risk_bp2: Tensor
    turnover: Tensor
    occupancy: Tensor
    exposure: Tensor


def expected_outcome(
    probs: Tensor, returns_bp: Tensor, cost_bp: Tensor, size: Tensor | None = None, variance_bp2: Tensor | None = None
) -> Outcome:
    """Exact expectation over every path of positions.

    Args:
        probs: (B, T, 3, 5) action probabilities from each position.
        returns_bp: (B, T) what one unit earns between the fill of decision t and the next.
        cost_bp: (B,) cost of trading one unit once.
        size: (B, T) units taken by an entry decided at t, kept until its close; one unit if absent.
        variance_bp2: (B, T) variance of ``returns_bp`` for the risk term; the risk is zero if absent.

    The mean size and the mean squared size of each side are carried along; both move linearly, so both are exact.
    """
    batch, steps = returns_bp.shape
    one = torch.ones_like(returns_bp)
    size = one if size is None else size
    zero = returns_bp.new_zeros(batch)
    flat, sides = zero + 1.0, [_Side(zero, zero, zero), _Side(zero, zero, zero)]
    occupancy, exposure, traded, risk = [], [], [], []
    for t in range(steps):
        occupancy.append(torch.stack((flat, sides[0].chance, sides[1].chance), dim=-1))
        p, units = probs[:, t], size[:, t]
        turnover, moved = zero, []
        stay_flat = flat * p[:, FLAT, HOLD]
        for side, position, enter, leave in (
            (sides[0], LONG, BUY_LONG, CLOSE_LONG),
            (sides[1], SHORT, SELL_SHORT, CLOSE_SHORT),
        ):
            entering, closing, keep = flat * p[:, FLAT, enter], p[:, position, leave], p[:, position, HOLD]
            turnover = turnover + entering * units + side.size * closing
            stay_flat = stay_flat + side.chance * closing
            moved.append(
                _Side(
                    side.chance * keep + entering,
                    side.size * keep + entering * units,
                    side.square * keep + entering * units.square(),
                )
            )
        flat, sides = stay_flat, moved
        exposure.append(sides[0].size - sides[1].size)
        traded.append(turnover)
        risk.append(sides[0].square + sides[1].square)
    exposures = torch.stack(exposure, dim=1)
    total = torch.stack(traded, dim=1).sum(dim=1) + sides[0].size + sides[1].size
    pnl = (exposures * returns_bp).sum(dim=1) - cost_bp * total
    risks = zero if variance_bp2 is None else (torch.stack(risk, dim=1) * variance_bp2).sum(dim=1)
    return Outcome(pnl, risks, total, torch.stack(occupancy, dim=1), exposures)


@dataclass(frozen=True)
class _Side:
    """One side of the book: probability of holding it, expected size and expected squared size, each (B,)."""

    chance: Tensor
    size: Tensor
    square: Tensor


@dataclass(frozen=True)
class Remaining:
    """Profit still to come, in bp: ``values`` (B, T+1, 3) by position, ``actions`` (B, T, 3, 5) by position and action.

    What a held position earns until its close is counted for one unit, later entries at their own sizes. Invalid
    actions hold zero.
    """

    values: Tensor
    actions: Tensor


def remaining_pnl(probs: Tensor, returns_bp: Tensor, cost_bp: Tensor, size: Tensor | None = None) -> Remaining:
    """Values of a policy on realised returns; arguments as in `expected_outcome`.

    ``values[:, 0, FLAT]`` equals the expected profit of the session.
    """
    return _backward(returns_bp, cost_bp, size, probs)


def hindsight_actions(returns_bp: Tensor, cost_bp: Tensor) -> Tensor:
    """Return the best action from each position for someone who knows the future, int64 (B, T, 3).

    Labels for a short warm start and nothing more: imitating them under-trades.
    """
    return _best(_backward(returns_bp, cost_bp, None, None).actions)


def _best(actions: Tensor) -> Tensor:
    """Index of the best valid action; HOLD where nothing is better, since doing nothing is free."""
    blocked = actions.masked_fill(~torch.tensor(VALID, device=actions.device), -torch.inf)
    best = blocked.argmax(dim=-1)
    return torch.where(blocked[..., HOLD] >= blocked.amax(dim=-1), HOLD, best)


def _backward(returns_bp: Tensor, cost_bp: Tensor, size: Tensor | None, probs: Tensor | None) -> Remaining:
    """Values by backward recursion under ``probs``, or under the best action where ``probs`` is None.

    A held position is split into what one unit of it earns until its close (``own``) and the worth of being flat after
    that close (``after``), because only the first scales with its size.
    """
    size = torch.ones_like(returns_bp) if size is None else size
    flat = torch.zeros_like(cost_bp)
    own, after = [-cost_bp, -cost_bp], [flat, flat]
    values, actions = [torch.stack((flat, -cost_bp, -cost_bp), dim=-1)], []
    for t in range(returns_bp.shape[1] - 1, -1, -1):
        kept = [own[0] + returns_bp[:, t], own[1] - returns_bp[:, t]]  # one unit held over the coming return
        enter = [size[:, t] * (kept[i] - cost_bp) + after[i] for i in (0, 1)]
        hold, close, none = [kept[i] + after[i] for i in (0, 1)], flat - cost_bp, torch.zeros_like(flat)
        action = torch.stack(
            (
                torch.stack((enter[0], enter[1], none, none, flat), dim=-1),
                torch.stack((none, none, close, none, hold[0]), dim=-1),
                torch.stack((none, none, none, close, hold[1]), dim=-1),
            ),
            dim=1,
        )
        p = functional.one_hot(_best(action), 5).to(action.dtype) if probs is None else probs[:, t]
        closing, holding = (p[:, LONG, CLOSE_LONG], p[:, SHORT, CLOSE_SHORT]), (p[:, LONG, HOLD], p[:, SHORT, HOLD])
        own = [holding[i] * kept[i] - closing[i] * cost_bp for i in (0, 1)]
        after = [holding[i] * after[i] + closing[i] * flat for i in (0, 1)]
        value = (p * action).sum(dim=-1)
        flat = value[:, FLAT]
        values.append(value)
        actions.append(action)
    return Remaining(torch.stack(values[::-1], dim=1), torch.stack(actions[::-1], dim=1))
