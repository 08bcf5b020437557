"""The canaries of a recorded run → their candidates, who decide again; those that can't be had are named.

Invariant: a candidate is the agent of the run's settings on the model that the journal names, or it is missing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from daemon.core.clock import ReplayClock
from daemon.core.errors import ArtifactError, SettingsError
from daemon.core.events import CANDIDATE, CanaryChanged, CanaryState
from daemon.run.models_of_run import ModelsOfRun
from daemon.settings.tree import Settings
from daemon.shadow.agents import build_agents
from daemon.shadow.candidate import Candidate
from daemon.strategy.build import pin_runtime
from daemon.strategy.own import changed_since
from strategies.base import Strategy, model_hash_of


class CandidatesOfRun:
    """Follows the journal's `CanaryChanged`; puts each candidate among `models.strategies` when its canary begins."""

    def __init__(self, settings: Settings, models: ModelsOfRun) -> None:
        self.missing: dict[str, str] = {}
        """By the name it decided under: why it can't be had."""
        self.skipped: Counter[str] = Counter()
        """Decisions that weren't made again for that."""
        self._settings = settings
        self._models = models
        self._why: dict[str, str] = {}
        self._begun: tuple[str, int] | None = None

    def follow(self, event: CanaryChanged) -> None:
        """A canary began, goes on or ended."""
        if event.state is not CanaryState.RUNNING or self._begun == (event.agent, event.began_ts):
            return
        self._begun = (event.agent, event.began_ts)
        name = f"{CANDIDATE}{event.agent}"
        self.missing.pop(name, None)
        try:
            self._models.strategies[name] = Candidate(event.agent, self._built(event))
        except (ArtifactError, SettingsError, ValidationError) as error:
            self.missing[name] = self._why[name] = str(error)

    @property
    def said(self) -> str:
        """What was skipped, in a line; "" where nothing was."""
        return "; ".join(
            f"{count} of {name} can't be made again: {self._why[name]}" for name, count in self.skipped.items()
        )

    def _built(self, event: CanaryChanged) -> Strategy:
        """Raises `ArtifactError` where there is no such agent, or its model isn't found."""
        agent = next((one for one in self._settings.shadow.agents if one.name == event.agent), None)
        if agent is None:
            raise ArtifactError(f"the run's settings have no shadow agent {event.agent}")
        lay = agent.artifact if isinstance(agent.artifact, Path) else None
        found = self._models.find(event.model_hash, str(lay or "")) if event.model_hash else None
        if found is not None:
            agent = agent.model_copy(update={"artifact": found})
        shadow = self._settings.shadow.model_copy(update={"agents": [agent]})
        settings = pin_runtime(self._settings, event.runtime).model_copy(update={"shadow": shadow})
        (built,) = build_agents(settings, ReplayClock())
        if changed := changed_since(built.strategy, event.model_hash):
            raise ArtifactError(changed)
        if model_hash_of(built.strategy) != event.model_hash:
            raise ArtifactError(f"its model {event.model_hash} isn't found; put its file beside the journal")
        return built.strategy
