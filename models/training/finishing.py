"""A network that has learned → one that knows when to stop thinking, and whose values mean what they say.

Both are read off training sessions once the other weights don't move any more. Invariant: no answer at a given depth
changes, only how deep a decision goes and what is said of its worth; the same network and sessions give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.act import AdaptiveComputationTime
from models.config import HRMSettings
from models.hrm import HRM
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.halting import Halting, refit_halting
from models.training.loss import costs_of
from models.training.policy import adaptive_policy, of_model
from models.training.reliability import fit_values
from models.training.sessions import Sessions, newest_of_each
from models.training.settings import TrainingSettings
from models.training.source import Source
from models.training.trainer import threads
from models.values import ValueCalibration

ENOUGH, ENOUGH_OF_LARGE, SMALL = 2_000, 60, 1_000_000
"""Sessions that are looked at; fewer for a network of more than so many parameters, which takes long."""


@dataclass(frozen=True)
class Finished:
    """What was read off: None where it wasn't wanted, or where nothing was decided."""

    halting: Halting | None = None
    values: ValueCalibration | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """What a manifest keeps of the depth: segments of a decision, and what it regrets of the rest."""
        if self.halting is None:
            return {}
        found = {"segments": self.halting.segments, "of": float(self.halting.most), "regret": self.halting.regret}
        return {f"halting_{name}": value for name, value in found.items()}


def finish(
    model: HRM, source: Source, hrm: HRMSettings, training: TrainingSettings, segments: int, regret: float
) -> Finished:
    """Give ``model`` its last Q head (none for a ``regret`` of 0), and say what its values come to with it.

    ``segments`` that it was trained with: it will decide by ``hrm`` with no more of them.
    """
    if not training.novelty_sessions:
        return Finished()
    parts, halting = seen_again(model, source, training), None
    settings = of_model(BatchSettings(hrm.features, training.fill, Target.REALISED), model)
    with threads(training.threads):
        if regret:
            costs = [costs_of(part, training.objective.costs) for part in parts]
            halting = refit_halting(model, list(zip(parts, costs, strict=True)), settings, segments, regret)
        return Finished(halting, came_to(model, parts[0], hrm.within(segments), training))


def halting_words(metrics: Mapping[str, float]) -> str:
    """What a fitted Q head came to, of a manifest's metrics; "" where none was fitted."""
    usual, deepest, regret = (metrics.get(f"halting_{name}") for name in ("segments", "of", "regret"))
    if usual is None or regret is None:
        return ""
    of = "" if deepest is None else f" of {deepest:.0f}"
    return f"by its Q head alone a decision takes {usual:.2f}{of} segments, and the deepest would mind by {regret:.4f}"


def seen_again(model: HRM, source: Source, training: TrainingSettings) -> list[Sessions]:
    """Training sessions that a finished network is looked at on, one set an interval."""
    large = sum(weight.numel() for weight in model.parameters()) > SMALL
    most = min(training.novelty_sessions, ENOUGH_OF_LARGE if large else ENOUGH)
    return [newest_of_each(part, most) for part in source.samples(training.seed, most)]


def came_to(model: HRM, sessions: Sessions, hrm: HRMSettings, training: TrainingSettings) -> ValueCalibration | None:
    """What the value head's figures came to in ``sessions``; None where nothing was decided."""
    settings = BatchSettings(hrm.features, training.fill, Target.REALISED)
    cost = costs_of(sessions, training.objective.costs)
    policy = adaptive_policy(model, AdaptiveComputationTime(hrm), sessions, of_model(settings, model), cost)
    if not policy.live.any():
        return None
    returns = returns_between_fills(sessions, np.arange(len(sessions)), settings)
    return fit_values(policy.value, policy.actions, policy.live, returns, cost, training.objective.scale_bp)
