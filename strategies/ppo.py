"""The PPO strategy: an exported policy network on the same observation as the HRM.

Archived as a decider, kept as a rung of the ladder. Invariant: one forward pass of a small network, no state, no
depth; what can't be read is a HOLD that says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.core.events import Action, Decision
from models.errors import InvalidObservation, InvalidOutput
from models.explaining import Part, explain, lead
from models.features import Features, encode
from models.ppo import PPOPolicy
from models.vocabulary import Vocabularies
from strategies.base import Moment, decision, hold, unusable
from strategies.hrm import ENTRIES, observation


class PPOStrategy:
    """See the module; `quantity` units are traded, since the policy only chooses the side."""

    name = "ppo"
    in_thread = True

    def __init__(self, policy: PPOPolicy, quantity: int, source: str) -> None:
        self._policy = policy
        self._quantity = quantity
        self.description = f"{source} ({policy.manifest.sha256[:12]})"

    @classmethod
    def load(cls, artifact: Path, quantity: int) -> PPOStrategy:
        """The policy of `artifact`. Raises `CheckpointError` for a file that is damaged or foreign."""
        return cls(PPOPolicy.load(artifact), quantity, artifact.name)

    @property
    def simulated_only(self) -> bool:
        """Whether it has learned from the simulated market and no other: policies are made in no other way."""
        return True

    @property
    def intervals(self) -> tuple[str, ...]:
        """Of the bars that it was made for."""
        return (self._policy.manifest.interval,)

    @property
    def model_hash(self) -> str:
        """Of the policy that decides."""
        return self._policy.manifest.sha256

    def decide(self, moment: Moment) -> Decision:
        """The most probable action that the position allows."""
        model_hash = self.model_hash
        try:
            number, probability = self._policy.decide(observation(moment, self._policy.manifest.features.history))
        except InvalidObservation as error:
            return hold(moment, self.name, error.reason, model_hash=model_hash)
        except InvalidOutput as error:
            return unusable(moment, self.name, str(error), model_hash)
        action = Action(number)
        if action in ENTRIES and not moment.may_enter:
            return hold(moment, self.name, "no entries this late", model_hash=model_hash)
        quantity = abs(moment.position) if action in (Action.CLOSE_LONG, Action.CLOSE_SHORT) else self._quantity
        reason = f"policy, {probability:.2f}"
        return decision(moment, self.name, action, quantity, probability, reason, model_hash=model_hash)

    def explain(self, moment: Moment, made: Decision) -> tuple[Part, ...]:
        """What spoke for and against a decision that was made at `moment`. Raises InvalidObservation."""
        settings = self._policy.manifest.features
        features = encode([observation(moment, settings.history)], Vocabularies(), settings)

        def score(rows: Features) -> NDArray[np.float64]:
            probabilities = self._policy.probabilities(rows, rows.side)
            with np.errstate(divide="ignore"):
                return lead(np.log(probabilities), int(made.action))

        return explain(features, settings, score)
