"""Who takes the orders: a broker and its token, or the simulated venue.

Invariant: where `broker.name` is paper nothing that can reach a broker is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from daemon.assembly.market import MarketOfRun
from daemon.brokers.adapter import Ability
from daemon.brokers.choice import adapter_of, real_ticks
from daemon.calls.budget import RateBudget
from daemon.core.bus import Bus
from daemon.core.clock import Clock, LiveClock, VenueTime
from daemon.core.events import OrderIntent
from daemon.feed.live.feed import LiveFeed
from daemon.feed.replay import TapeFeed
from daemon.journal.writer import Journal
from daemon.market.costs import CostSchedule
from daemon.orders.broker import Broker
from daemon.orders.live_book import LiveBook
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.orders.protection import Bounds
from daemon.orders.settlement import Settlement
from daemon.orders.token_keeper import TokenKeeper
from daemon.plan import RunPlan
from daemon.recovery.account import Account
from daemon.risk.book import RiskBook
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS


def broker(
    settings: Settings, plan: RunPlan, market: MarketOfRun, account: Account, calls: Mapping[str, RateBudget],
    feed: TapeFeed | LiveFeed, risk: RiskBook,
) -> Broker | None:  # fmt: skip
    """Whom the orders go to; None on paper."""
    adapter, clock = adapter_of(settings.broker), plan.clock
    if adapter is None:
        return None
    real = isinstance(feed, LiveFeed) and real_ticks(settings)
    watch = feed.clock_watch if isinstance(feed, LiveFeed) else None
    return adapter.broker(
        settings.broker, clock, calls[adapter.name], market.instruments, account.orders, real_ticks=real,
        on_date=watch.on_date if watch is not None else None,
        bounds_of=partial(_bounds, risk, clock),
    )  # fmt: skip


def _bounds(risk: RiskBook, clock: Clock, intent: OrderIntent) -> Bounds:
    """Only exits are widened."""
    band = risk.of(intent.symbol).band_on(clock.now_ns())
    return Bounds(*band, risk.rested.get(intent.symbol, 0) if intent.reduces else 0)


def token_keeper(bus: Bus, settings: Settings, plan: RunPlan, wall: LiveClock, venue: Broker) -> TokenKeeper:
    """Who sees that the broker's token is the day's."""
    live = settings.broker.live
    keeper = TokenKeeper(
        bus, venue.access, plan.clock, wall, live.token_warn_s, live.token_poll_s, lambda: venue.refusal,
        plan.machine.thread,
    )  # fmt: skip
    keeper.listeners.append(venue.authorize)
    return keeper


def execution(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, account: Account, journal: Journal | None,
    venue: Broker | None, token: TokenKeeper | None, venue_time: VenueTime,
) -> LiveExecutionActor | ExecutionActor:  # fmt: skip
    """The stage that sends orders: to a broker, or, where there is none, to the simulated venue."""
    if venue is None:
        return _paper_execution(bus, settings, plan, market, account, journal, venue_time)
    stage = _live_execution(bus, settings, plan, market, account, journal, venue)
    if token is not None:
        token.listeners.append(stage.admitted)
    return stage


def _live_execution(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, account: Account, journal: Journal | None,
    venue: Broker,
) -> LiveExecutionActor:  # fmt: skip
    clock, live = plan.clock, settings.broker.live
    opened = {item.symbol: item.opened_ts for item in account.portfolio.positions() if item.quantity}
    book = LiveBook(account.orders, account.held, market.instruments, CostSchedule(), clock, live, bus.publish, opened)
    adapter = adapter_of(settings.broker)
    return LiveExecutionActor(
        bus, book, venue, journal, clock, settings.execution, live, ask_margin=settings.derivatives.ask_venue_margin,
        suspects_all=account.lacking and adapter is not None and Ability.TAGS not in adapter.can,
    )  # fmt: skip


def _paper_execution(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, account: Account, journal: Journal | None,
    venue_time: VenueTime,
) -> ExecutionActor:  # fmt: skip
    instruments, calendar = market.instruments, market.calendar
    venue = PaperVenue(
        settings.broker.paper, instruments, CostSchedule(), calendar, INTERVALS.get(market.tapes.bars, 0),
        feed=settings.feed, venue_time=venue_time.at,
    )  # fmt: skip
    return ExecutionActor(
        bus, account.orders, venue, journal, plan.clock, settings.execution.working_timeout_s, plan.latency.order_ns,
        account.held, Settlement(instruments, CostSchedule(), calendar, account.portfolio.closes(), account.unsettled),
        venue_time,
    )  # fmt: skip
