"""A model and observations → how far each runtime's answers are from torch fp32's, segment by segment.

Every observation is judged in all three positions. Depth is fixed, nothing stops early, so that errors which grow with
depth show. Invariant: both runtimes see the same observations, and each reasons on from its own state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.act import HeadValues, Runner
from models.agent import HRMAgent
from models.errors import RuntimeUnavailable
from models.features import Features
from models.runtimes.choice import Candidate, Precision, Runners, Runtime, RuntimePlan, candidates

ROWS = 32
"""Observations in one batch."""
CLOSE_CALL = 0.02
"""Probabilities of the top two actions this near are a toss-up."""
SAME = 0.99
"""Share of actions that a runtime must have in common with torch fp32."""
REFERENCE = Candidate(Runtime.TORCH, Precision.FP32)


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime against torch fp32 after so many segments; errors are the largest absolute ones."""

    runtime: str
    allowed: bool
    """Whether the settings' precision lets decisions be made by it."""
    segment: int
    decisions: int
    same_action: float
    """Share of decisions with the same action, 0..1."""
    clear_differences: int
    """Decisions with another action where torch's top two were more than 0.02 apart."""
    policy_error: float
    probability_error: float
    quantity_error: float
    value_error: float
    q_error: float


def measure_agreement(
    agent: HRMAgent, plan: RuntimePlan, features: Features, segments: int
) -> tuple[list[Agreement], list[str]]:
    """Compare every runtime that can be had, at every precision; also return what could not be."""
    source = Runners(
        agent.network, agent.model_hash, artifact=None, cache=plan.cache, settled_below=0.0, threads=plan.threads
    )
    reference = _answers(source.build(REFERENCE), features, segments)
    rows: list[Agreement] = []
    refused: list[str] = []
    for candidate in candidates(RuntimePlan(Runtime.AUTO, Precision.INT8, plan.cache)):
        if candidate == REFERENCE:
            continue
        try:
            answers = _answers(source.build(candidate), features, segments)
        except RuntimeUnavailable as error:
            refused.append(str(error))
            continue
        pairs = zip(answers, reference, strict=True)
        allowed = candidate in candidates(RuntimePlan(Runtime.AUTO, plan.precision, plan.cache))
        rows += [compare(candidate.name, depth, *answers, allowed=allowed) for depth, answers in enumerate(pairs, 1)]
    return rows, refused


def agrees(rows: Sequence[Agreement], max_segments: int) -> bool:
    """Whether what may decide gives the reference's actions, and differs only in toss-ups as deep as decisions go."""
    judged = [row for row in rows if row.allowed]
    return all(row.same_action >= SAME for row in judged) and not any(
        row.clear_differences for row in judged if row.segment <= max_segments
    )


def compare(runtime: str, segment: int, own: HeadValues, reference: HeadValues, *, allowed: bool = True) -> Agreement:
    """Compare the answers of one segment, row by row and position by position."""
    mine, theirs = _probabilities(own.policy), _probabilities(reference.policy)  # (B, 3, 5)
    different = mine.argmax(-1) != theirs.argmax(-1)
    ranked = np.sort(theirs, axis=-1)
    clear = different & (ranked[..., -1] - ranked[..., -2] > CLOSE_CALL)
    finite = np.isfinite(reference.policy)
    return Agreement(
        runtime=runtime,
        allowed=allowed,
        segment=segment,
        decisions=different.size,
        same_action=float(1 - different.mean()),
        clear_differences=int(clear.sum()),
        policy_error=_largest(own.policy[finite], reference.policy[finite]),
        probability_error=_largest(mine, theirs),
        quantity_error=_largest(own.quantity, reference.quantity),
        value_error=_largest(own.value, reference.value),
        q_error=max(_largest(own.q_halt, reference.q_halt), _largest(own.q_continue, reference.q_continue)),
    )


def _answers(runner: Runner[Any, Any], features: Features, segments: int) -> list[HeadValues]:
    """Head values of all observations after each segment."""
    parts: list[list[HeadValues]] = [[] for _ in range(segments)]
    for first in range(0, len(features), ROWS):
        some = features.take(np.arange(first, min(first + ROWS, len(features))))
        x, state = runner.embed(some), runner.start(some, segments, None)
        for answers in parts:
            values, state = runner.segment(x, state)
            answers.append(values)
    return [_joined(answers) for answers in parts]


def _joined(parts: Sequence[HeadValues]) -> HeadValues:
    return HeadValues(*(np.concatenate([getattr(part, name) for part in parts]) for name in HeadValues.__slots__))


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64))
    shares: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares


def _largest(own: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(np.abs(own.astype(np.float64) - reference).max())
