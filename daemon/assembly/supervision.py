"""What keeps the stations running: the ladder of who may be in charge, and what is known of each.

Invariant: where a plan restarts nothing, a crash ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import Decision
from daemon.plan import RunPlan
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent
from daemon.strategy.actor import StrategyActor
from daemon.strategy.build import Built
from daemon.strategy.easing import knows
from daemon.supervision.baseline import Rival
from daemon.supervision.care import Traits
from daemon.supervision.supervisor import Ladder, Supervisor
from strategies.base import model_hash_of


def supervisor(
    bus: Bus, settings: Settings, plan: RunPlan, built: Built, stage: StrategyActor, agents: Sequence[Agent]
) -> Supervisor:
    """Who restarts what crashed, and puts another in charge of deciding."""
    own = settings.supervisor
    return Supervisor(
        bus,
        Ladder(own.ladder, settings.strategy.name, own.max_failed_decisions, built.missing),
        own if plan.restarts else own.model_copy(update={"max_restarts": 0}),
        plan.clock,
        Traits(
            knows(built.strategies), partial(_trained_to, stage), built.missing,
            settings.hierarchical_reasoning_model.act.deadline_ms, settings.performance.memory_limit_gb,
            _rival(settings, agents),
        ),
        timed=not isinstance(plan.clock, ReplayClock),
    )  # fmt: skip


def _trained_to(stage: StrategyActor, decision: Decision) -> str:
    """Of the model that made it: another one may have been loaded since the start."""
    strategy = stage.strategies.get(decision.strategy)
    return str(getattr(strategy, "trained_to", "")) if model_hash_of(strategy) == decision.model_hash else ""


def _rival(settings: Settings, agents: Sequence[Agent]) -> Rival | None:
    """The shadow agent that the strategy in charge is measured by."""
    canary, name = settings.canary, settings.supervisor.triggers.baseline
    named = next((agent for agent in agents if agent.name == name), None)
    if named is None:
        return None
    return Rival(
        named.name, named.strategy.name, model_hash_of(named.strategy), canary.alpha, canary.bound_bp,
        settings.broker.starting_cash,
    )  # fmt: skip
