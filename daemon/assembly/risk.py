"""The risk stage: what it knows of the account, the limits it holds orders to, and the lease that bounds it.

Invariant: what is on paper is held against no broker's funds, and a replay against no shared budget.
"""

from __future__ import annotations

from daemon.assembly.market import MarketOfRun
from daemon.core.bus import Bus
from daemon.core.clock import VenueTime
from daemon.plan import RunPlan
from daemon.recovery.account import Account
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.funds import FundsCheck
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.risk.lease import Lease
from daemon.settings.tree import Settings


def risk_stage(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, account: Account, venue_time: VenueTime
) -> RiskActor:
    """The stage between what is decided and what is sent.

    Where there is a broker its answers have said what day it is before anything begins, and what is held there isn't
    left to itself for want of a tick.
    """
    broker, instruments, calendar = settings.broker, market.instruments, market.calendar
    stage = RiskActor(
        bus,
        RiskBook(instruments),
        IntentBuilder(settings.risk, settings.execution, instruments, plan.order_prefix),
        RiskGate(
            settings.risk,
            instruments,
            calendar,
            settings.strategy.no_entries_minutes,
            ExpiryGuard(settings.derivatives, instruments, calendar),
            on_paper=broker.on_paper,
            delivers=broker.live.product == "CNC",
        ),
        plan.clock,
        calendar,
        settings.strategy.square_off_minutes,
        None if broker.on_paper else FundsCheck.of(broker.live, account.portfolio.starting_cash),
        market.limit,
        venue_time if broker.on_paper else VenueTime(at=venue_time.at),
    )
    stage.book.protects = not broker.on_paper and broker.live.market_orders == "protected"
    stage.book.cash = account.portfolio.cash
    stage.book.lease = _lease(settings, plan)
    return stage


def _lease(settings: Settings, plan: RunPlan) -> Lease | None:
    """Of a budget that several daemons share; a replay has its own limits alone."""
    share = settings.risk.budget
    if share.url is None or not plan.recover:
        return None
    return Lease(share.name or "", plan.machine.readings.steady_ns)
