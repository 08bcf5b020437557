"""Who decides beside the one in charge: shadow agents on paper of their own, the canary, and the migration to one.

Invariant: none of them is handed anything that can reach a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.assembly.market import MarketOfRun
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock, VenueTime
from daemon.core.events import TradingState
from daemon.market.trade_costs import TradeCosts
from daemon.plan import RunPlan
from daemon.portfolio.book import Portfolio
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.shadow.agents import Agent
from daemon.shadow.canary_desk import CanaryDesk
from daemon.shadow.desk import Surroundings
from daemon.shadow.measuring import Measuring
from daemon.shadow.migrating import MigrationKeeper, Stations, restore
from daemon.shadow.shadows import Shadows
from daemon.strategy.actor import StrategyActor
from daemon.supervision.migration import Migration
from daemon.supervision.supervisor import Ladder


def shadows(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, real: Portfolio, costs: TradeCosts,
    stage: StrategyActor, agents: Sequence[Agent], venue_time: VenueTime,
) -> Shadows:  # fmt: skip
    """The agents, each with a desk of its own; `real` is the portfolio that they are held against."""
    clock, machine, own = plan.clock, plan.machine, settings.strategy.name
    around = Surroundings(
        clock, market.calendar, market.instruments, market.legs.indices, plan.latency, market.limit, costs,
        INTERVALS.get(market.tapes.bars, 0), isinstance(clock, ReplayClock), machine.thread, machine.flag,
        machine.stopwatch, venue_time,
    )  # fmt: skip
    model = str(getattr(stage.succession.newest(own), "description", ""))
    return Shadows(bus, settings, agents, around, real, model, stage.strategies.get(own))


def canary_desk(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, real: Portfolio, stage: StrategyActor,
    beside: Shadows, ladder: Ladder, state: Callable[[], TradingState],
) -> CanaryDesk:  # fmt: skip
    """Who lets a shadow agent trade a small part of the account."""
    decided = [symbol for symbol in market.symbols if not market.legs.holds(symbol)]
    return CanaryDesk(
        bus, settings, plan.clock, stage, beside, real, ladder, decided, market.instruments.traded_as, state,
        plan.machine.chance,
    )  # fmt: skip


def migration_keeper(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, real: Portfolio, stage: StrategyActor,
    beside: Shadows, ladder: Ladder, why_no_share: Callable[[str], str],
) -> MigrationKeeper:  # fmt: skip
    """Who leads from the one in charge to one of the shadows, over restarts; asks `why_no_share` once all are there."""
    migration = Migration(settings.migration, settings.canary, real.starting_cash)
    if plan.journal is not None:
        restore(migration, plan.journal, live=not plan.tapes)
    stations = Stations(bus, plan.clock, settings.migration.candidate, ladder, stage, beside.desks, why_no_share)
    keeper = MigrationKeeper(bus, plan.clock, migration, stations)
    interval_ns = INTERVALS[settings.strategy.interval] * NS_PER_S
    Measuring(
        bus, market.calendar, interval_ns, real, lambda: keeper.facts().in_charge, lambda: keeper.goes_on
    )  # fmt: skip
    return keeper
