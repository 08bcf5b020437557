"""A candidate that is better → how it gets in charge of everything: by the model switch, by the ladder, or by hand."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daemon.settings.own import is_own
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent
from daemon.strategy.switching import RUNG
from daemon.supervision.supervisor import Ladder
from strategies.base import Strategy, model_hash_of


class Road(msgspec.Struct, frozen=True):
    """What is to be asked for: one of the two."""

    loads: str = ""
    """A model's file, for the model switch."""
    swaps_to: str = ""
    """A rung of the ladder."""


def road_for(agent: Agent, settings: Settings, ladder: Ladder, built: Mapping[str, Strategy]) -> Road | str:
    """How `agent` gets in charge without a restart; else a line that says what a person has to do."""
    strategy, rung = agent.strategy, agent.strategy.name
    file = getattr(strategy, "artifact", None)
    if rung == RUNG == ladder.own:
        if file is not None:
            return Road(loads=str(file.resolve()))
        return f"{agent.name} thinks with a model of no file: save one, name it as the agent's artifact, start again"
    if rung == ladder.own:
        return _by_hand(agent)
    if rung in ladder.within_reach and rung in built and _same(agent, settings, built[rung]):
        return Road(swaps_to=rung)
    return _by_hand(agent)


def _same(agent: Agent, settings: Settings, rung: Strategy) -> bool:
    """Whether the rung of the ladder decides as the agent does."""
    hashes = {model_hash_of(one) for one in (agent.strategy, rung)}
    same_rules = agent.settings.strategy.rules == settings.strategy.rules
    return len(hashes) == 1 and (same_rules or is_own(agent.strategy.name))


def _by_hand(agent: Agent) -> str:
    """No rung decides as it does: the settings have to name it."""
    rung = agent.strategy.name
    if rung == "rules":
        values = agent.settings.strategy.rules
        return (
            f"to put {agent.name} in charge set strategy.name: rules and strategy.rules as its own "
            f"(fast {values.fast}, slow {values.slow}, quantity {values.quantity}, …), then start again"
        )
    if is_own(rung):
        written = msgspec.json.encode(agent.settings.strategy.parameters).decode()
        return (
            f"to put {agent.name} in charge set strategy.name: {rung} and strategy.parameters: {written}, then start "
            "again"
        )
    key = "artifact" if rung == RUNG else "ppo_artifact"
    return (
        f"to put {agent.name} in charge set strategy.name: {rung} and model_management.{key} to its artifact, then "
        "start again"
    )
