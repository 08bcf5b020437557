"""Strategies for the simulation: cheap, lively, and wrong when the session says so.

What they decide is drawn from seed, strategy, symbol and bar, so a decision doesn't depend on what was decided before.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from daemon.core.errors import ArtifactError
from daemon.core.events import Action, Decision
from daemon.strategy.store import PREVIOUS
from daemon.strategy.switching import Known
from strategies.base import Moment, decision

CANDIDATE = "candidate"
"""The shadow agent's name, and its model's."""
BRACKETS = 5
"""Of so many seeds the last one's entries carry stops and targets."""
OPENS = (Action.BUY_LONG, Action.SELL_SHORT)


class Mood:
    """What is wrong with thinking at the moment; `now` is the simulation's time, seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.raises_until = 0.0
        self.junk_until = 0.0
        self.refuses_until = 0.0
        self._own: tuple[float, str] = (0.0, "")
        self.spoilt: set[tuple[str, int]] = set()
        """Bars, by symbol and close, for which a user's class gave no answer."""
        self.calm_from = float("inf")
        """From then on nothing is opened any more."""

    def heal(self) -> None:
        """Thoughts are sound again."""
        self.raises_until = self.junk_until = self.refuses_until = 0.0
        self._own = (0.0, "")

    def spoil_own(self, wrong: str, seconds: float) -> None:
        """What a user's class does wrong for so long."""
        self._own = (self._now() + seconds, wrong)

    @property
    def own(self) -> str:
        """What is wrong with a user's class, "" where nothing is."""
        until, wrong = self._own
        return wrong if self._now() < until else ""

    @property
    def raises(self) -> bool:
        """Whether a thought ends in an exception."""
        return self._now() < self.raises_until

    @property
    def junk(self) -> bool:
        """Whether it ends in figures that are none."""
        return self._now() < self.junk_until

    @property
    def refuses(self) -> bool:
        """Whether no model can be loaded."""
        return self._now() < self.refuses_until

    @property
    def calm(self) -> bool:
        """Whether nothing is opened any more."""
        return self._now() >= self.calm_from


class Brain:
    """Implements `Strategy`, and `Renewable`."""

    description = "drawn from a seed"

    def __init__(self, name: str, seed: int, mood: Mood, *, in_thread: bool, model: str = "") -> None:
        self.name = name
        self.model_hash = model
        self.artifact = Path(model) if model else None
        self.in_thread = in_thread
        self._seed = seed
        self._mood = mood
        self._brackets = seed % BRACKETS == BRACKETS - 1

    def renewed(self) -> Brain:
        """It keeps nothing."""
        return Brain(self.name, self._seed, self._mood, in_thread=self.in_thread, model=self.model_hash)

    def decide(self, moment: Moment) -> Decision:
        """Open, close or hold."""
        rng = random.Random(f"{self._seed}:{self.name}{self.model_hash}:{moment.symbol}:{moment.ts}")
        if self._mood.raises and self.in_thread:
            raise ArithmeticError("of no use")
        action, quantity = self._choice(rng, moment)
        said = decision(moment, self.name, action, quantity, rng.random(), "drawn", model_hash=self.model_hash)
        if self._mood.junk and self.in_thread:
            return msgspec.structs.replace(said, confidence=float("nan"))
        return self._with_bracket(said) if self._brackets and action in OPENS else said

    def _with_bracket(self, said: Decision) -> Decision:
        """Most entries have a stop, and a target, so near that the price comes there."""
        rng = random.Random(f"{self._seed}:bracket:{said.symbol}:{said.ts}")
        sign = 1 if said.action is Action.BUY_LONG else -1
        stop, target = (said.price * (1 + way * sign * rng.uniform(0.0005, 0.004)) for way in (-1, 1))
        return msgspec.structs.replace(
            said, stop_price=stop * (rng.random() < 0.8), target_price=target * (rng.random() < 0.7)
        )

    def _choice(self, rng: random.Random, moment: Moment) -> tuple[Action, int]:
        roll, held = rng.random(), moment.position
        if held and (roll < 0.4 or self._mood.calm):
            return (Action.CLOSE_LONG if held > 0 else Action.CLOSE_SHORT), abs(held)
        if self._mood.calm or roll > 0.85:
            return Action.HOLD, 1
        return rng.choice(OPENS), rng.randrange(1, 16)


class Store:
    """Implements `Loader`: the models of a computer, of which one is named for the next start."""

    def __init__(self, seed: int, mood: Mood) -> None:
        self.named = "m0"
        self._seed = seed
        self._mood = mood

    def brain(self, name: str) -> Brain:
        """A strategy; the first one thinks with the model that is named."""
        return Brain(name, self._seed, self._mood, in_thread=name == "hrm", model=self.named if name == "hrm" else "")

    def load(self, wanted: str, before: Known | None, deciding: Known, runtime: str, seen: Moment | None) -> Brain:
        """The strategy on another model."""
        if self._mood.refuses:
            raise ArtifactError(f"{wanted}: it can't be read")
        if wanted == PREVIOUS and before is None:
            raise ArtifactError("there is none before this one")
        model = before.model_hash if wanted == PREVIOUS and before is not None else Path(wanted).name
        return Brain("hrm", self._seed, self._mood, in_thread=True, model=model)

    def keep(self, model_hash: str) -> None:
        """For the next start."""
        if self._mood.refuses:
            raise ArtifactError("the store can't be written")
        self.named = model_hash
