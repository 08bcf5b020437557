"""Settings → the agents that run beside the one in charge.

Whatever its kind, an agent thinks on a thread of its own, and begins only while the one in charge owes no decision.
Invariant: nothing that an agent does while it thinks runs on the event loop.
"""

from __future__ import annotations

import math

import msgspec

from daemon.core.clock import Clock
from daemon.core.errors import ArtifactError
from daemon.core.events import Decision
from daemon.core.threads import Flag
from daemon.settings.shadow import ShadowAgentSettings
from daemon.settings.tree import Settings
from daemon.strategy.actor import Deliberating, Placed
from daemon.strategy.build import build_strategies
from strategies.base import LATE, Moment, Renewable, Strategy, model_hash_of, unthought


class Agent(msgspec.Struct, frozen=True):
    """A name, who decides under it, and the settings as they hold for it."""

    name: str
    strategy: Strategy
    settings: Settings


def build_agents(settings: Settings, clock: Clock) -> list[Agent]:
    """Every agent of `shadow.agents`. Raises `ArtifactError` that names the agent of an unusable model."""
    return [_build(one, settings, clock) for one in settings.shadow.agents]


def _build(agent: ShadowAgentSettings, settings: Settings, clock: Clock) -> Agent:
    own = own_settings(agent, settings)
    try:
        strategy = build_strategies(own, clock)[agent.strategy]
    except ArtifactError as error:
        raise ArtifactError(f"shadow.agents, {agent.name}: {error}") from None
    return Agent(agent.name, strategy, own)


def own_settings(agent: ShadowAgentSettings, settings: Settings) -> Settings:
    """The settings under which `agent` alone would be in charge, with nobody below it."""
    rules = agent.rules_over(settings.strategy.rules)
    strategy = {"name": agent.strategy, "rules": rules, "parameters": agent.parameters}
    model = {}
    if agent.artifact is not None:
        model = {"ppo_artifact" if agent.strategy == "ppo" else "artifact": agent.artifact}
    return settings.model_copy(
        update={
            "strategy": settings.strategy.model_copy(update=strategy),
            "model_management": settings.model_management.model_copy(update=model),
            "supervisor": settings.supervisor.model_copy(update={"ladder": ["flat"]}),
        }
    )


class OnThread:
    """A strategy that thinks on the thread, after the one in charge: `free` is set while that one owes no decision."""

    in_thread = True

    def __init__(self, inner: Strategy, free: Flag, patience_s: float) -> None:
        self.name = inner.name
        self._inner = inner
        self._free = free
        self._patience_s = patience_s

    @property
    def model_hash(self) -> str:
        """Of the weights that decide, "" where none do."""
        return model_hash_of(self._inner)

    def left(self) -> str:
        """Its thread is left: what it was at, "" where nobody knows."""
        return self._inner.left() if isinstance(self._inner, Placed) else ""

    def renewed(self) -> OnThread:
        """The same decider, sharing nothing that either writes where it keeps anything."""
        inner = self._inner.renewed() if isinstance(self._inner, Renewable) else self._inner
        return OnThread(inner, self._free, self._patience_s)

    def decide(self, moment: Moment) -> Decision:
        """As the strategy does."""
        return _sound(self._inner.decide(moment)) if self._may_begin() else self._too_late(moment)

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """As the strategy does, within its deadline where it has one."""
        if not self._may_begin():
            return self._too_late(moment)
        if isinstance(self._inner, Deliberating):
            return _sound(self._inner.decide_since(moment, asked_ns, waiting))
        return _sound(self._inner.decide(moment))

    def _may_begin(self) -> bool:
        return self._free.wait(self._patience_s)

    def _too_late(self, moment: Moment) -> Decision:
        return unthought(moment, self.name, LATE, "the one in charge was busy", model_hash=self.model_hash)


def _sound(answer: Decision) -> Decision:
    """The answer. Raises `ValueError` for one that no stage can work with, so that it counts as failed."""
    if not isinstance(answer, Decision):
        raise ValueError(f"expected a decision, got {type(answer).__name__}")
    if not isinstance(answer.quantity, int):
        raise ValueError(f"expected whole units, got {answer.quantity}")
    for name in answer.__struct_fields__:
        value = getattr(answer, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"expected a finite {name}, got {value}")
    return answer
