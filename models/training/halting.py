"""A finished network and training sessions → a Q head that stops thinking where more of it would change nothing.

While a network learns, what a deeper answer adds moves with it. Once it is finished that is a fact about each state:
how much the deepest answer would mind the one given now. *Regret* is by how much the deepest policy prefers its own
action to the one now, as a difference of probabilities, averaged over the three positions. q_halt is fitted to 1 −
regret by logistic regression on z_H at the decision token, after every segment alike; q_continue is a constant, the
lowest at which decisions regret no more than was allowed. All other weights stay. Invariant: the constant comes from
other sessions than the regression; the same network and sessions give the same head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from models.hrm import HRM
from models.training.batches import BatchSettings
from models.training.objective import action_probabilities
from models.training.policy import batches
from models.training.sessions import Floats, Sessions

RIDGE: Final = 1.0
"""Of the squared weights, against the likelihood summed over decisions; states are brought to a deviation of 1."""
ROUNDS: Final = 30
"""Of Newton's method, which is there after ten."""
CUTS: Final = 81
"""Values that q_continue may take: quantiles of those between the q_halt seen."""
MOST_NUMBERS: Final = 8_000_000
"""Of all states that are held at once (64 MB); of longer histories every second, third, … decision is looked at."""


@dataclass(frozen=True, eq=False)
class Thoughts:
    """R decisions of whole sessions at each of S segments.

    ``z`` (S − 1, R, h_dim): z_H at the decision token after all segments but the last; ``regret`` (S − 1, R).
    """

    z: Floats
    regret: Floats


@dataclass(frozen=True)
class Halting:
    """What fitting came to on sessions that were not fitted on: ``segments`` of ``most``, and the mean ``regret``."""

    segments: float
    most: int
    regret: float


def refit_halting(
    model: HRM,
    parts: Sequence[tuple[Sessions, Floats | None]],
    settings: BatchSettings,
    segments: int,
    allowed: float,
) -> Halting | None:
    """Put a new Q head into the model, fitted for at most ``segments`` segments; None where there is nothing to fit.

    ``parts``: sessions of one interval each with what a trade costs there, (N,); every second session is fitted on.
    ``allowed``: mean regret of a decision, 0 to 1; it holds on the other sessions, from which the constant is chosen.
    """
    if segments < 2:
        return None
    fitted, judged = (_half(model, parts, settings, segments, first) for first in (0, 1))
    if fitted is None or judged is None:
        return None
    weight, bias = _logistic(fitted.z.reshape(-1, fitted.z.shape[-1]), 1.0 - fitted.regret.reshape(-1))
    q_halt = judged.z @ weight + bias
    tried = [_stopping_over(cut, q_halt, judged.regret) for cut in _cuts(q_halt)]
    allowed_ones = [one for one in tried if one[1].regret <= allowed]
    cut, chosen = min(allowed_ones, key=lambda one: one[1].segments)  # the highest cut stops nobody and is allowed
    _write(model.heads.q, weight, bias, cut)
    return chosen


def _half(
    model: HRM, parts: Sequence[tuple[Sessions, Floats | None]], settings: BatchSettings, segments: int, first: int
) -> Thoughts | None:
    """Every second session of each part, from the ``first`` on; None where nothing is decided there."""
    found = []
    for sessions, cost_bp in parts:
        half = sessions.select(np.arange(first, len(sessions), 2))
        if len(half):
            told = None if cost_bp is None else cost_bp[first::2]
            found.append(think(model, half, told, settings, segments, MOST_NUMBERS // len(parts)))
    if not sum(one.regret.size for one in found):
        return None
    z, regret = [one.z for one in found], [one.regret for one in found]
    return Thoughts(np.concatenate(z, axis=1), np.concatenate(regret, axis=1))


@torch.inference_mode()
def think(
    model: HRM, sessions: Sessions, cost_bp: Floats | None, settings: BatchSettings, segments: int,
    most: int = MOST_NUMBERS,
) -> Thoughts:  # fmt: skip
    """Run decisions to the deepest segment, and see what that one thinks of those before; ``most`` numbers are held."""
    model.eval()
    numbers = (segments - 1) * int(sessions.lengths.sum()) * model.config.architecture.h_dim
    every = 1 + numbers // most
    seen, minded = list[Floats](), list[Floats]()
    for _, batch in batches(sessions, settings, model, cost_bp):
        live = torch.as_tensor(np.flatnonzero(batch.live.reshape(-1))[::every])
        tokens, state = model.embed(batch.features), model.initial_state(batch.features, budget=segments)
        z, policy = list[Tensor](), list[Tensor]()
        for _ in range(segments):
            state, outputs = model.reason(tokens, state)
            z.append(state.z.z_H[live, 0].double())
            policy.append(action_probabilities(outputs.policy.double()[None])[0, live])
        seen.append(torch.stack(z[:-1]).numpy())
        minded.append(torch.stack([_regret(now, policy[-1]) for now in policy[:-1]]).numpy())
    return Thoughts(np.concatenate(seen, axis=1), np.concatenate(minded, axis=1))


def _regret(now: Tensor, deepest: Tensor) -> Tensor:
    """Policies (R, 3, 5) after some segment and after the last, (R,)."""
    own, other = (of.argmax(dim=-1, keepdim=True) for of in (deepest, now))
    return (deepest.gather(-1, own) - deepest.gather(-1, other)).mean(dim=(1, 2))


def _cuts(q_halt: Floats) -> Floats:
    """Halfway between values seen, from one under to one over all of them: no decision there hangs on a rounding."""
    seen = np.unique(q_halt)
    between = np.concatenate([seen[:1] - 1.0, (seen[1:] + seen[:-1]) / 2, seen[-1:] + 1.0])
    cuts: Floats = np.quantile(between, np.linspace(0, 1, CUTS), method="nearest")
    return cuts


def _stopping_over(cut: float, q_halt: Floats, regret: Floats) -> tuple[float, Halting]:
    """What becomes of decisions (S − 1, R) that stop after the first segment whose q_halt is over ``cut``."""
    stops = np.concatenate([q_halt > cut, np.ones((1, q_halt.shape[1]), np.bool_)])
    depth = stops.argmax(axis=0)
    minded = np.concatenate([regret, np.zeros((1, regret.shape[1]))])[depth, np.arange(len(depth))]
    return float(cut), Halting(float(depth.mean()) + 1.0, len(stops), float(minded.mean()))


def _logistic(inputs: Floats, chance: Floats) -> tuple[Floats, float]:
    """Weights and bias that give each row (n, d) its ``chance`` (n,), by Newton's method."""
    mean, deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    table = np.column_stack([(inputs - mean) / deviation, np.ones(len(inputs))])
    penalty = RIDGE * np.eye(table.shape[1])
    found = np.zeros(table.shape[1])
    for _ in range(ROUNDS):
        told = 1.0 / (1.0 + np.exp(-np.clip(table @ found, -30.0, 30.0)))
        curved = (table * (told * (1.0 - told) + 1e-9)[:, None]).T @ table + penalty
        found = found - np.linalg.solve(curved, table.T @ (told - chance) + penalty @ found)
    weight = found[:-1] / deviation
    return weight, float(found[-1] - weight @ mean)


@torch.no_grad()
def _write(head: nn.Linear, weight: Floats, bias: float, q_continue: float) -> None:
    head.weight.copy_(torch.stack([torch.as_tensor(weight), torch.zeros(len(weight), dtype=torch.float64)]))
    head.bias.copy_(torch.tensor([bias, q_continue]))
