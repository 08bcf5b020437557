"""Who decides: the rungs that the settings name, the shadow agents beside them, and the stage that asks one of them.

Invariant: what a strategy is shown in a replay, live and ahead of a replay is the same view of the same costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from daemon.assembly.market import MarketOfRun
from daemon.assembly.ticks import seen_intervals
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.market.costs import CostSchedule
from daemon.market.trade_costs import TradeCosts
from daemon.plan import RunPlan
from daemon.risk.intents import units_of
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent, build_agents
from daemon.strategy.actor import StrategyActor
from daemon.strategy.build import Built, build_ladder, model_loader, thinking_limit, view_settings
from daemon.strategy.switching import ModelSwitch
from strategies.base import MarketView, Strategy


def deciders(
    settings: Settings, plan: RunPlan, strategies: Mapping[str, Strategy] | None, agents: Sequence[Agent] | None
) -> tuple[Built, Sequence[Agent]]:
    """The ladder and the shadow agents; those that are given stand in place of the settings'."""
    strict = settings.supervisor.strict or not plan.restarts
    built = build_ladder(settings, plan.clock, strict=strict) if strategies is None else Built(dict(strategies))
    return built, build_agents(settings, plan.clock) if agents is None else agents


def trade_costs(settings: Settings, market: MarketOfRun) -> TradeCosts:
    """What a round trip costs, as far as it is known before it is made."""
    return TradeCosts(
        CostSchedule(), market.instruments.resolve, partial(units_of, settings.risk, market.instruments),
        0.0 if market.tapes.quoted else settings.broker.paper.spread_bp * settings.broker.paper.spread_times / 2,
        float(settings.broker.paper.slippage_bp),
    )  # fmt: skip


def view(settings: Settings, market: MarketOfRun, costs: TradeCosts) -> MarketView:
    """What a strategy sees."""
    return MarketView(view_settings(settings), market.calendar, costs)


def strategy_stage(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, costs: TradeCosts,
    strategies: dict[str, Strategy],
) -> StrategyActor:  # fmt: skip
    """The stage that shows the one in charge a moment, and publishes what it decides."""
    clock, machine = plan.clock, plan.machine
    return StrategyActor(
        bus, view(settings, market, costs), strategies, settings.strategy.name, clock, plan.latency,
        thinking_limit(settings, replay=isinstance(clock, ReplayClock)), seen_intervals(settings), market.legs,
        machine.thread, machine.stopwatch, plan.decides_from,
    )  # fmt: skip


def model_switch(bus: Bus, settings: Settings, plan: RunPlan, stage: StrategyActor) -> ModelSwitch:
    """Who loads a model while the run goes on, and puts it in charge."""
    clock, machine = plan.clock, plan.machine
    return ModelSwitch(
        bus, clock, stage, machine.models or (lambda: model_loader(settings, clock)), settings.model_management.on_swap,
        machine.thread,
    )  # fmt: skip
