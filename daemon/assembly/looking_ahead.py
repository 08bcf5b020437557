"""A replay's own parts once more → the scout that plays its tape ahead, where the strategy can think of many moments.

Invariant: where nobody may look ahead, nothing is built and decisions are thought of one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from daemon.assembly import deciding, ticks
from daemon.assembly.market import MarketOfRun
from daemon.bars.overnight import Overnight
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.feed.replay import Tapes
from daemon.market.legs import Legs
from daemon.market.trade_costs import TradeCosts
from daemon.plan import RunPlan
from daemon.scout import LooksAhead, Parts, Scout, one_by_one
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent
from daemon.strategy.actor import StrategyActor

log = structlog.get_logger("app")


def look_ahead(
    settings: Settings, plan: RunPlan, market: MarketOfRun, costs: TradeCosts, stage: StrategyActor,
    agents: Sequence[Agent],
) -> Scout | None:  # fmt: skip
    """Who plays the tape ahead of a replay, so that decisions are thought of many at a time; None: one by one."""
    decider, size = stage.strategies.get(settings.strategy.name), settings.performance.decisions_ahead
    if not (size and plan.pumped and isinstance(plan.clock, ReplayClock) and isinstance(decider, LooksAhead)):
        return None
    why = one_by_one(plan.latency, plan.recover, [agent.name for agent in agents])
    if not why:
        scout = Scout(_parts(settings, plan, market, costs), plan.decides_from)
        why = decider.foresee(scout.moments, size, plan.machine.stopwatch)
        if not why:
            stage.foreseer = decider
            return scout
        scout.close()
    log.info("decisions are thought of one by one", reason=why)
    return None


def _parts(settings: Settings, plan: RunPlan, market: MarketOfRun, costs: TradeCosts) -> Parts:
    def overnight(bus: Bus) -> Overnight:
        adjustments = {symbol: settings.market.adjustments_of(symbol) for symbol in market.symbols}
        return Overnight(bus, market.limit, adjustments, silent=True)

    tapes = Tapes(plan.tapes, plan.symbols, settings.feed.chunk_rows)
    return Parts(
        feed=lambda bus: ticks.tape_feed(bus, settings, plan, market, tapes, ReplayClock()),
        builder=ticks.bar_builder(settings, plan, market),
        overnight=overnight,
        detector=ticks.detector(settings, plan, market),
        view=deciding.view(settings, market, costs),
        legs=Legs(market.indices),
        interval=settings.strategy.interval,
        seen=ticks.seen_intervals(settings),
    )
