"""A trained network and sessions → the positions it takes, at fixed depth or as adaptive computation decides.

Invariant: the greedy policy here is the one that an agent follows live: the most probable valid action, HOLD where a
bar has too short a history; a network whose answer a daemon would refuse is not judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.act import AdaptiveComputationTime, HeadValues
from models.agent import validate
from models.hrm import HRM
from models.ppo import PPOPolicy
from models.runtime import TorchRunner, head_values
from models.training import objective as ob
from models.training.batches import Batch, BatchSettings, make_batch
from models.training.sessions import Floats, Ints, Sessions
from models.vocabulary import Vocabularies

SESSIONS_AT_ONCE = 50


@dataclass(frozen=True, eq=False)
class Policy:
    """What a network says about N sessions.

    ``actions`` (N, D, 3) greedy action from each position, ``depth`` (N, D) segments used, ``live`` (N, D), ``change``
    (N, D) the last ‖Δz‖/‖z‖ of z_H, ``value`` (N, D, 3) what the value head says of each position.
    """

    actions: Ints
    depth: Ints
    live: NDArray[np.bool_]
    change: Floats
    value: Floats


def of_model(settings: BatchSettings, model: HRM) -> BatchSettings:
    """The same with the features that the model reads, whatever the settings would train."""
    return replace(settings, features=model.config.features)


def batches(
    sessions: Sessions, settings: BatchSettings, model: HRM, cost_bp: Floats | None = None
) -> Iterator[tuple[Ints, Batch]]:
    """Return the sessions in pieces of `SESSIONS_AT_ONCE`, with neutral spread and complexity.

    ``cost_bp`` (N,): what a trade costs, for a network that asks for it.
    """
    rows = np.arange(len(sessions))
    for first in range(0, len(rows), SESSIONS_AT_ONCE):
        piece = rows[first : first + SESSIONS_AT_ONCE]
        told = None if cost_bp is None else cost_bp[piece]
        yield piece, make_batch(sessions, piece, settings, model.vocabularies, cost_bp=told)


@torch.inference_mode()
def policies_by_depth(
    model: HRM, sessions: Sessions, settings: BatchSettings, segments: int, cost_bp: Floats | None = None
) -> list[Policy]:
    """Return the policy after 1, 2, … ``segments`` segments, one list entry each."""
    kept: list[list[Policy]] = [[] for _ in range(segments)]
    model.eval()
    for _, batch in batches(sessions, settings, model, cost_bp):
        state = model.initial_state(batch.features, budget=segments)
        tokens = model.embed(batch.features)
        for depth in range(segments):
            state, outputs = model.reason(tokens, state)
            kept[depth].append(_policy(head_values(outputs), np.full(len(batch.features), depth + 1), batch, model))
    return [join_policies(parts) for parts in kept]


def adaptive_policy(
    model: HRM, act: AdaptiveComputationTime, sessions: Sessions, settings: BatchSettings, cost_bp: Floats | None = None
) -> Policy:
    """Return the policy with learned halting and convergence as the agent uses them, without a deadline."""
    runner = TorchRunner(model.eval())
    parts = []
    for _, batch in batches(sessions, settings, model, cost_bp):
        reasoning, _ = act.run(runner, batch.features)
        parts.append(_policy(reasoning.values, np.asarray(reasoning.segments), batch, model))
    return join_policies(parts)


def follow(actions: Ints) -> Floats:
    """Positions −1/0/+1 held after each decision (N, D), from greedy actions from each position (N, D, 3)."""
    n, steps, _ = actions.shape
    signs, following = np.array(ob.SIGNS), np.array(ob.NEXT)
    held = np.zeros(n, np.int64)
    out = np.empty((n, steps))
    for t in range(steps):
        held = following[held, actions[np.arange(n), t, held]]
        out[:, t] = signs[held]
    return out


def _policy(values: HeadValues, depth: Ints, batch: Batch, model: HRM) -> Policy:
    """Greedy actions of one batch; padding and short histories hold. Raises InvalidOutput as a decision does."""
    shape, live = batch.live.shape, batch.live.reshape(-1)
    decided = HeadValues(*(getattr(values, field.name)[live] for field in fields(HeadValues)))
    validate(decided, model.config.logit_cap)
    greedy = values.policy.argmax(axis=-1).reshape(*shape, 3)
    actions = np.where(batch.live[..., None], greedy, ob.HOLD)
    return Policy(
        actions,
        depth.reshape(shape),
        batch.live,
        values.change_h[:, -1].astype(np.float64).reshape(shape),
        values.value.astype(np.float64).reshape(*shape, 3),
    )


def join_policies(parts: Sequence[Policy]) -> Policy:
    """Stack batches of sessions; shorter ones are padded with HOLD."""
    steps = max(part.live.shape[1] for part in parts)

    def pad(array: np.ndarray, fill: float) -> np.ndarray:
        widths = [(0, 0), (0, steps - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
        return np.pad(array, widths, constant_values=fill)

    return Policy(
        np.concatenate([pad(part.actions, ob.HOLD) for part in parts]),
        np.concatenate([pad(part.depth, 0) for part in parts]),
        np.concatenate([pad(part.live, False) for part in parts]),
        np.concatenate([pad(part.change, 0.0) for part in parts]),
        np.concatenate([pad(part.value, 0.0) for part in parts]),
    )


def ppo_positions(policy: PPOPolicy, sessions: Sessions, settings: BatchSettings) -> Floats:
    """Greedy positions −1/0/+1 after each decision, (N, D)."""
    steps = int(sessions.lengths.max()) - 1
    out = np.zeros((len(sessions), steps))
    signs, following = np.array(ob.SIGNS), np.array(ob.NEXT)
    for first in range(0, len(sessions), SESSIONS_AT_ONCE):
        rows = np.arange(first, min(first + SESSIONS_AT_ONCE, len(sessions)))
        batch = make_batch(sessions, rows, replace(settings, features=policy.manifest.features), Vocabularies())
        decisions = batch.live.shape[1]
        index = np.arange(len(rows)) * decisions
        held = np.zeros(len(rows), np.int64)
        for t in range(decisions):
            actions = policy.probabilities(batch.features.take(index + t), held).argmax(axis=-1)
            held = np.where(batch.live[:, t], following[held, actions], held)
            out[rows, t] = signs[held]
    return out
