"""Ticks, bars and complexity: the stations that a tick passes before anybody thinks about it.

A scout that plays a tape ahead is made of the same parts, in `daemon.assembly.looking_ahead`. Invariant: a tape has a
time of its own, the market doesn't wait.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from daemon.assembly.market import MarketOfRun
from daemon.bars.builder import BarBuilder
from daemon.bars.compiled_builder import CompiledBarBuilder
from daemon.bars.compiled_complexity import detector_of
from daemon.bars.complexity import ComplexityDetector
from daemon.bars.overnight import Overnight
from daemon.brokers.choice import feed_of
from daemon.calls.budget import RateBudget
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, OWN_TIME, LiveClock, PacedClock, ReplayClock, VenueTime, india_day
from daemon.core.events import PositionRestated
from daemon.feed.live.feed import LiveFeed
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.plan import RunPlan
from daemon.recovery.account import Account
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.build import view_settings


def seen_intervals(settings: Settings) -> tuple[str, str]:
    """Intervals of the bars that decisions depend on."""
    view = view_settings(settings)
    return view.interval, view.coarse_interval


def feed(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, calls: Mapping[str, RateBudget]
) -> TapeFeed | LiveFeed:
    """Where the ticks come from; `calls`: what may be asked of whom, by the adapter's name."""
    clock, machine = plan.clock, plan.machine
    if plan.tapes:
        assert not isinstance(clock, LiveClock), "a tape has its own time"
        return tape_feed(bus, settings, plan, market, market.tapes, clock)
    assert not isinstance(clock, ReplayClock), "the market doesn't wait"
    live = feed_of(settings).feed(
        settings, bus, _tick_filter(settings, plan, market), market.calendar, clock, calls[settings.feed.source],
        plan.record, market.symbols, machine.gateway, random.Random(machine.chance(8)),
    )  # fmt: skip
    live.read_by(machine.thread)
    return live


def venue_time(feed: TapeFeed | LiveFeed, calendar: MarketCalendar) -> VenueTime:
    """What the venue says of the time; a tape has a time of its own."""
    watch = feed.clock_watch if isinstance(feed, LiveFeed) else None
    if watch is None:
        return OWN_TIME

    def at(ts: int) -> int:
        apart = watch.apart_ns
        if not apart or india_day(ts) != india_day(ts + apart):
            return ts
        if apart < 0 and not watch.dated and calendar.session_at(ts) is not None:
            return ts  # a late feed looks the same, and what was closed too early isn't held over the night
        return ts + apart

    return VenueTime(lambda: watch.undated, at)


def tape_feed(
    bus: Bus, settings: Settings, plan: RunPlan, market: MarketOfRun, tapes: Tapes, clock: ReplayClock | PacedClock
) -> TapeFeed:
    """Tapes played at a clock."""
    schedule = Schedule(
        INTERVALS[settings.strategy.interval], settings.bars.grace_ms * NS_PER_MS, settings.strategy.square_off_minutes
    )
    return TapeFeed(bus, tapes, _tick_filter(settings, plan, market), market.calendar, schedule, clock)


def _tick_filter(settings: Settings, plan: RunPlan, market: MarketOfRun) -> TickFilter:
    return market.tapes.tick_filter(settings.feed, market.instruments, market.calendar, plan.kernel)


def bar_builder(settings: Settings, plan: RunPlan, market: MarketOfRun) -> BarBuilder:
    """What columns of ticks become bars by."""
    intervals = market.tapes.intervals(settings.bars.intervals, seen_intervals(settings))
    grace_ns = settings.bars.grace_ms * NS_PER_MS
    if plan.kernel is not None:
        return CompiledBarBuilder(market.calendar, intervals, grace_ns, plan.kernel)
    return BarBuilder(market.calendar, intervals, grace_ns)


def detector(settings: Settings, plan: RunPlan, market: MarketOfRun) -> ComplexityDetector:
    """What bars become a score and a regime by."""
    return detector_of(settings.complexity_detection, market.scheduled, plan.kernel)


def overnight(bus: Bus, settings: Settings, market: MarketOfRun, account: Account) -> Overnight:
    """What a corporate action makes of prices, and of what is held from before it."""
    held = account.portfolio
    symbols = dict.fromkeys((*market.symbols, *(item.symbol for item in held.positions())))
    adjustments = {symbol: settings.market.adjustments_of(symbol) for symbol in symbols}
    bus.tap((PositionRestated,), account.remember_restated)
    return Overnight(
        bus, market.limit, adjustments, by_broker=not settings.broker.on_paper, closes=held.closes(),
        held_at=held.held_at, done=account.restated,
    )  # fmt: skip
