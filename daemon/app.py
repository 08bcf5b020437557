"""The map: every station of the path from tick to fill, in the order in which a tick travels.

`App` turns settings and a `RunPlan` into stations that share one bus, runs them until the feed ends or `stop` is
called, and takes them down in order. Live, paper and replay are this same code; only the source of ticks, the clock
and the venue differ. Invariant: whatever ends a run, what was published before is in the journal and the journal is
closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import platform
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog

from daemon import __version__
from daemon.bars.builder import BarBuilder, BarsActor
from daemon.bars.compiled_builder import CompiledBarBuilder
from daemon.bars.compiled_complexity import detector_of
from daemon.bars.complexity import ComplexityActor
from daemon.bars.overnight import Overnight
from daemon.brokers.choice import adapter_of, budgets, feed_of, held_account, real_ticks
from daemon.control.manual_desk import ManualDesk
from daemon.control.migration_desk import MigrationDesk
from daemon.control.model_desk import ModelDesk
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, NS_PER_MS, NS_PER_S, LiveClock, PacedClock, ReplayClock
from daemon.core.code import code_sha256, file_sha256
from daemon.core.errors import Fault, HrmdError
from daemon.core.events import (
    ITSELF,
    AccountSnapshot,
    Bar,
    Halt,
    OrderCancelled,
    PositionRestated,
    RunCounted,
    TickBatch,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import Latency
from daemon.core.pump import Pump
from daemon.feed.live.feed import LiveFeed
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.journal.keeping import JournalKeeper
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.machine import Machine
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.costs import CostSchedule
from daemon.market.instruments import INDEX_SUFFIX, Kind
from daemon.market.legs import Legs
from daemon.market.overnight import OvernightLimit
from daemon.market.scheduled_events import ScheduledEvents
from daemon.market.symbol_files import MasterDay, open_instruments
from daemon.market.trade_costs import TradeCosts
from daemon.native.kernel import Kernel
from daemon.orders.abandoning import abandon
from daemon.orders.book import OrderState
from daemon.orders.broker import Broker
from daemon.orders.live_book import LiveBook
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.orders.settlement import Settlement
from daemon.orders.token_keeper import TokenKeeper
from daemon.portfolio.actor import PortfolioActor
from daemon.recovery.account import COMMANDS, Account, recover
from daemon.recovery.holds import Hold, hold_all
from daemon.recovery.market import Recalled, recall, remembered, resume_bars
from daemon.recovery.repair import check_whole, repair
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.funds import FundsCheck
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder, units_of
from daemon.risk.lease import Lease
from daemon.scout import LooksAhead, Parts, Scout, one_by_one
from daemon.settings.changing import tightened
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.shadow.agents import Agent, build_agents
from daemon.shadow.canary_desk import CanaryDesk
from daemon.shadow.desk import Surroundings
from daemon.shadow.measuring import Measuring
from daemon.shadow.migrating import MigrationKeeper, Stations, restore
from daemon.shadow.shadows import Shadows, earlier_results
from daemon.strategy.actor import StrategyActor
from daemon.strategy.build import (
    Built,
    after_restart,
    build_ladder,
    model_loader,
    thinking_limit,
    untried,
    view_settings,
)
from daemon.strategy.easing import knows
from daemon.strategy.switching import RUNG, ModelSwitch
from daemon.supervision.baseline import Rival
from daemon.supervision.care import Traits
from daemon.supervision.migration import Migration
from daemon.supervision.supervisor import MISSING, Kept, Ladder, Supervisor
from strategies.base import MarketView, Strategy, model_hash_of

log = structlog.get_logger("app")

UNWRITTEN_RECORD = (
    "the process before could not write its journal to the end: compare orders and positions with the broker's, then "
    "hrmd ctl resume"
)
"""What a start after that is halted for."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is: its ticks, its clock, its decider and its record."""

    tapes: list[Path]
    """Empty where the ticks come live."""
    symbols: list[str]
    clock: ReplayClock | PacedClock | LiveClock
    latency: Latency
    journal: Path | None
    durable: bool
    restarts: bool
    """Whether a crashed stage is restarted; a replay ends instead: what a crash swallowed would flatter or slander."""
    order_prefix: str
    record: Callable[[TickBatch], None] | None = None
    """Is given every live batch as it came, before the filter."""
    recover: bool = False
    """Whether account and market go on from where the journal's earlier runs left them."""
    decides_from: int = 0
    """Bars that close earlier, UTC ns, are seen and not decided on."""
    reels: list[Path] = []
    """What an earlier process recorded of today, for the bars that were in the making."""
    machine: Machine = msgspec.field(default_factory=Machine)
    pumped: bool = False
    """Whether the stations are run by hand between the moments of a tape, which is quicker than as tasks."""
    kernel: Kernel | None = None
    """What columns of a tape's ticks are gone through by, quicker than Python and with the same outcome."""


class App:
    """One run of the daemon."""

    drain_s = 5.0
    """How long a stopping run waits for what is still being handled."""

    def __init__(
        self, settings: Settings, plan: RunPlan, strategies: Mapping[str, Strategy] | None = None,
        agents: Sequence[Agent] | None = None,
    ) -> None:  # fmt: skip
        """Build every station; `strategies` by rung and shadow `agents` in place of those that the settings name.

        Raises `UsageError` for tapes, models or journals that can't be used.
        """
        self.settings = settings
        self.plan = plan
        self._holds: list[Hold] = []
        self.journal: Journal | None = None
        self._begun = self._traded = False
        try:
            self._build(settings, plan, strategies, agents)
        except BaseException:  # nothing of a start that is refused stays: no journal, no lock
            if self.journal is not None:
                self.journal.close(begun=False)
            for hold in self._holds:
                hold.release()
            raise

    def _build(
        self,
        settings: Settings,
        plan: RunPlan,
        strategies: Mapping[str, Strategy] | None,
        agents: Sequence[Agent] | None,
    ) -> None:
        clock, interval = plan.clock, settings.strategy.interval
        self._wall = clock if isinstance(clock, LiveClock) else LiveClock(plan.machine.readings)
        self.started_ts = self._wall.now_ns()
        grace_ns = settings.bars.grace_ms * NS_PER_MS

        # what the market is
        self.tapes = Tapes(plan.tapes, plan.symbols, settings.feed.chunk_rows)
        self.calendar = MarketCalendar.load(settings.market.calendar_file)
        today = ist_date(self.started_ts)
        self.instruments, self.master_day = open_instruments(settings, self._first_date(), today, self.calendar)
        if not plan.tapes:  # on a tape risk denies what has no lot
            self.instruments.check_lots(settings.feed.symbols)
            self.instruments.check_expiries(settings.feed.symbols)
        legs = Legs(self._legs())
        scheduled = ScheduledEvents.load(settings.complexity_detection.events_file)
        strict = settings.supervisor.strict or not plan.restarts
        built = build_ladder(settings, clock, strict=strict) if strategies is None else Built(dict(strategies))
        strategies = built.strategies
        agents = build_agents(settings, clock) if agents is None else agents

        # what earlier runs left, once it is nobody else's
        self._holds = hold_all(plan.journal, held_account(settings.broker))
        if plan.journal is not None:
            (repair if plan.recover else check_whole)(plan.journal)
        cash = settings.broker.starting_cash
        left = recover(plan.journal, cash) if plan.recover and plan.journal is not None else None
        self.account = left if left is not None else Account(cash)
        self.settings = settings = tightened(settings, self.account.settings_changed())
        view = view_settings(settings)
        seen = (view.interval, view.coarse_interval)
        self._recalled = Recalled()
        if plan.recover and plan.journal is not None:
            self._recalled = recall(plan.journal, settings, seen, self._begins_at, live=not plan.tapes)
        shadowed = []
        if agents and plan.recover and plan.journal is not None:
            shadowed = earlier_results(plan.journal, live=not plan.tapes)

        # the bus, and the journal that hears everything first
        self._pump = Pump() if plan.pumped else None
        self.bus = bus = Bus(runner=self._pump)
        self.journal = (
            Journal(
                plan.journal,
                safe=plan.durable,
                group_commit_ms=settings.journal.group_commit_ms,
                hand=plan.machine.hand,
                database=plan.machine.database,
            )
            if plan.journal
            else None
        )
        if self.journal is not None:
            if plan.recover:
                self.journal.prune(self.started_ts - settings.journal.keep_days * DAY_NS)
            self._record(self.journal)
        bus.tap(COMMANDS, self.account.follow)

        # the path of a tick
        self._budgets = budgets(settings, live=not plan.tapes, readings=plan.machine.readings)
        self.feed = self._tape_feed() if plan.tapes else self._live_feed()
        limit = OvernightLimit(self.instruments, settings.market.max_overnight_percent)
        intervals = self.tapes.intervals(settings.bars.intervals, seen)
        self.bars = BarsActor(bus, self._bar_builder(intervals, grace_ns), self._overnight(limit))
        detector = detector_of(settings.complexity_detection, scheduled, plan.kernel)
        self.complexity = ComplexityActor(bus, detector, interval)
        costs = TradeCosts(
            CostSchedule(), self.instruments.resolve, partial(units_of, settings.risk, self.instruments),
            0.0 if self.tapes.quoted else float(settings.broker.paper.spread_bp) / 2,
            float(settings.broker.paper.slippage_bp),
        )  # fmt: skip
        self.strategy = StrategyActor(
            bus,
            MarketView(view, self.calendar, costs),
            strategies,
            settings.strategy.name,
            clock,
            plan.latency,
            thinking_limit(settings, replay=isinstance(clock, ReplayClock)),
            seen,
            legs,
            plan.machine.thread,
            plan.machine.stopwatch,
            plan.decides_from,
        )
        market, chunk_rows = settings.market, settings.feed.chunk_rows
        self._scout = self._look_ahead(
            lambda: Parts(
                feed=lambda bus: self._feed_of(bus, Tapes(plan.tapes, plan.symbols, chunk_rows), ReplayClock()),
                builder=self._bar_builder(intervals, grace_ns),
                overnight=lambda bus: Overnight(
                    bus, limit, {symbol: market.adjustments_of(symbol) for symbol in self.symbols}, silent=True
                ),
                detector=detector_of(settings.complexity_detection, scheduled, plan.kernel),
                view=MarketView(view, self.calendar, costs),
                legs=Legs(self._legs()),
                interval=interval,
                seen=seen,
            ),
            agents,
        )
        on_swap = settings.model_management.on_swap
        self.models = ModelSwitch(
            bus, clock, self.strategy, plan.machine.models or (lambda: model_loader(settings, clock)), on_swap,
            plan.machine.thread,
        )  # fmt: skip
        self.risk = RiskActor(
            bus,
            RiskBook(),
            IntentBuilder(settings.risk, settings.execution, self.instruments, plan.order_prefix),
            RiskGate(
                settings.risk,
                self.instruments,
                self.calendar,
                settings.strategy.no_entries_minutes,
                ExpiryGuard(settings.derivatives, self.instruments, self.calendar),
            ),
            clock,
            self.calendar,
            settings.strategy.square_off_minutes,
            None
            if settings.broker.on_paper
            else FundsCheck.of(settings.broker.live, self.account.portfolio.starting_cash),
            limit,
        )
        self.risk.book.cash = self.account.portfolio.cash
        self.risk.book.lease = self._lease()
        self.orders = self.account.orders
        self.broker = self._broker()
        self.token = self._token_keeper(self.broker) if self.broker is not None else None
        self.execution = self._live_execution(self.broker) if self.broker is not None else self._paper_execution()
        self.portfolio = PortfolioActor(bus, self.account.portfolio, interval)

        # who decides beside the one in charge, on paper of their own
        around = Surroundings(
            clock, self.calendar, self.instruments, self.strategy.legs.indices, plan.latency, limit, costs,
            INTERVALS.get(self.tapes.bars, 0), isinstance(clock, ReplayClock), plan.machine.thread, plan.machine.flag,
            plan.machine.stopwatch,
        )  # fmt: skip
        self.shadows = Shadows(
            bus, settings, agents, around, self.account.portfolio, self.model, strategies.get(settings.strategy.name)
        )  # fmt: skip
        self.shadows.remember(shadowed)
        self._shadowed = shadowed

        # what keeps them running
        self.supervisor = Supervisor(
            bus,
            Ladder(
                settings.supervisor.ladder, settings.strategy.name, settings.supervisor.max_failed_decisions,
                built.missing,
            ),
            settings.supervisor if plan.restarts else settings.supervisor.model_copy(update={"max_restarts": 0}),
            clock,
            Traits(
                knows(strategies), {name: str(getattr(it, "trained_to", "")) for name, it in strategies.items()},
                built.missing, settings.hierarchical_reasoning_model.act.deadline_ms,
                settings.performance.memory_limit_gb, self._rival(agents),
            ),
            timed=not isinstance(clock, ReplayClock),
        )  # fmt: skip
        self.supervisor.care.baseline.restore(self._recalled.weighed, shadowed)
        self.migration = self._migration() if plan.recover else None
        decided = [symbol for symbol in self.symbols if not self.strategy.legs.holds(symbol)]
        self.canary = CanaryDesk(
            bus, settings, clock, self.strategy, self.shadows, self.account.portfolio, self.supervisor.ladder, decided,
            self.instruments.traded_as, lambda: self.risk.book.state, plan.machine.chance,
        )  # fmt: skip
        self.supervisor.held = {symbol for symbol, quantity in self._held.items() if quantity}
        stages = (self.risk.inbox.put, self.execution.inbox.put)
        self.desk = ManualDesk(bus, clock, self.account, self.orders, self.journal, stages)
        self.model_desk = ModelDesk(
            bus, clock, self.desk, lambda loaded: after_restart(settings, loaded), plan.machine.chance
        )
        self.migration_desk = MigrationDesk(clock, self.desk, self.migration) if self.migration is not None else None
        self.keeper = None
        if self.journal is not None and plan.recover:
            self.keeper = JournalKeeper(bus, self.journal, self.snapshot, settings.journal, clock, self._wall)
        self._stop = asyncio.Event()
        self._stop_reason, self._stopped_by = "", ITSELF
        self._describe()

    def _migration(self) -> MigrationKeeper:
        """From the one in charge to one of the shadows, over restarts."""
        settings, plan, real = self.settings, self.plan, self.account.portfolio
        migration = Migration(settings.migration, settings.canary, real.starting_cash)
        if plan.journal is not None:
            restore(migration, plan.journal, live=not plan.tapes)
        stations = Stations(
            self.bus, plan.clock, settings.migration.candidate, self.supervisor.ladder, self.strategy,
            self.shadows.desks,
        )  # fmt: skip
        keeper = MigrationKeeper(self.bus, plan.clock, migration, stations)
        interval_ns = INTERVALS[settings.strategy.interval] * NS_PER_S
        Measuring(
            self.bus, self.calendar, interval_ns, real, lambda: keeper.facts().in_charge, lambda: keeper.goes_on
        )  # fmt: skip
        return keeper

    def _rival(self, agents: Sequence[Agent]) -> Rival | None:
        """The shadow agent that the strategy in charge is measured by."""
        canary, name = self.settings.canary, self.settings.supervisor.triggers.baseline
        named = next((agent for agent in agents if agent.name == name), None)
        if named is None:
            return None
        return Rival(
            named.name, named.strategy.name, model_hash_of(named.strategy), canary.alpha, canary.bound_bp,
            self.settings.broker.starting_cash,
        )  # fmt: skip

    def _tape_feed(self) -> TapeFeed:
        clock = self.plan.clock
        assert not isinstance(clock, LiveClock), "a tape has its own time"
        return self._feed_of(self.bus, self.tapes, clock)

    def _feed_of(self, bus: Bus, tapes: Tapes, clock: ReplayClock | PacedClock) -> TapeFeed:
        settings = self.settings
        schedule = Schedule(
            INTERVALS[settings.strategy.interval], settings.bars.grace_ms * NS_PER_MS,
            settings.strategy.square_off_minutes,
        )  # fmt: skip
        return TapeFeed(bus, tapes, self._tick_filter(), self.calendar, schedule, clock)

    def _look_ahead(self, made_of: Callable[[], Parts], agents: Sequence[Agent]) -> Scout | None:
        """Who plays the tape ahead of a replay, so that decisions are thought of many at a time; None: one by one."""
        settings, plan = self.settings, self.plan
        decider, size = self.strategy.strategies.get(settings.strategy.name), settings.performance.decisions_ahead
        if not (size and plan.pumped and isinstance(plan.clock, ReplayClock) and isinstance(decider, LooksAhead)):
            return None
        why = one_by_one(plan.latency, plan.recover, [agent.name for agent in agents])
        if not why:
            scout = Scout(made_of(), plan.decides_from)
            why = decider.foresee(scout.moments, size, plan.machine.stopwatch)
            if not why:
                self.strategy.foreseer = decider
                return scout
            scout.close()
        log.info("decisions are thought of one by one", reason=why)
        return None

    def _live_feed(self) -> TapeFeed | LiveFeed:
        clock, settings = self.plan.clock, self.settings
        assert not isinstance(clock, ReplayClock), "the market doesn't wait"
        machine = self.plan.machine
        return feed_of(settings).feed(
            settings, self.bus, self._tick_filter(), self.calendar, clock, self._budgets[settings.feed.source],
            self.plan.record, self.symbols, machine.gateway, random.Random(machine.chance(8)),
        )  # fmt: skip

    def _broker(self) -> Broker | None:
        adapter, clock = adapter_of(self.settings.broker), self.plan.clock
        if adapter is None:
            return None
        real = isinstance(self.feed, LiveFeed) and real_ticks(self.settings)
        watch = self.feed.clock_watch if isinstance(self.feed, LiveFeed) else None
        return adapter.broker(
            self.settings.broker, clock, self._budgets[adapter.name], self.instruments, self.orders, real_ticks=real,
            on_date=watch.on_date if watch is not None else None,
            band_of=lambda symbol: self.risk.book.of(symbol).band_on(clock.now_ns()),
        )  # fmt: skip

    def _lease(self) -> Lease | None:
        """Of a budget that several daemons share; a replay has its own limits alone."""
        share = self.settings.risk.budget
        if share.url is None or not self.plan.recover:
            return None
        return Lease(share.name or "", self.plan.machine.readings.steady_ns)

    def _token_keeper(self, broker: Broker) -> TokenKeeper:
        live = self.settings.broker.live
        keeper = TokenKeeper(
            self.bus, broker.access, self.plan.clock, self._wall, live.token_warn_s, live.token_poll_s,
            lambda: broker.refusal,
        )  # fmt: skip
        keeper.listeners.append(broker.authorize)
        return keeper

    def _tick_filter(self) -> TickFilter:
        return self.tapes.tick_filter(self.settings.feed, self.instruments, self.calendar, self.plan.kernel)

    def _bar_builder(self, intervals: dict[str, int], grace_ns: int) -> BarBuilder:
        if self.plan.kernel is not None:
            return CompiledBarBuilder(self.calendar, intervals, grace_ns, self.plan.kernel)
        return BarBuilder(self.calendar, intervals, grace_ns)

    def _overnight(self, limit: OvernightLimit) -> Overnight:
        market, account = self.settings.market, self.account
        held = {item.symbol: ist_date(item.opened_ts) for item in account.portfolio.positions() if item.quantity}
        adjustments = {symbol: market.adjustments_of(symbol) for symbol in dict.fromkeys((*self.symbols, *held))}
        by_broker = not self.settings.broker.on_paper
        self.bus.tap((PositionRestated,), account.remember_restated)
        return Overnight(
            self.bus, limit, adjustments, by_broker=by_broker, closes=account.portfolio.closes(), open_since=held,
            done=account.restated,
        )  # fmt: skip

    def _paper_execution(self) -> ExecutionActor:
        settings, plan = self.settings, self.plan
        venue = PaperVenue(
            settings.broker.paper, self.instruments, CostSchedule(), self.calendar, INTERVALS.get(self.tapes.bars, 0)
        )
        return ExecutionActor(
            self.bus, self.orders, venue, self.journal, plan.clock, settings.execution.working_timeout_s,
            plan.latency.order_ns, self._held,
            Settlement(self.instruments, CostSchedule(), self.calendar, self.account.portfolio.closes()),
        )  # fmt: skip

    def _live_execution(self, broker: Broker) -> LiveExecutionActor:
        settings, clock = self.settings, self.plan.clock
        book = LiveBook(
            self.orders, self._held, self.instruments, CostSchedule(), clock, settings.broker.live, self.bus.publish
        )
        return LiveExecutionActor(
            self.bus, book, broker, self.journal, clock, settings.execution, settings.broker.live,
            ask_margin=settings.derivatives.ask_venue_margin,
        )  # fmt: skip

    @property
    def _held(self) -> dict[str, int]:
        """Positions as earlier runs left them."""
        return {item.symbol: item.quantity for item in self.account.portfolio.positions()}

    @property
    def actors(self) -> tuple[Actor, ...]:
        """Every station with an inbox, in the order of the path."""
        return (
            self.bars, self.complexity, self.strategy, self.risk, self.execution, self.portfolio, self.supervisor,
            self.canary, *self.shadows.actors,
        )  # fmt: skip

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the feed gives ticks of."""
        return self.tapes.symbols or tuple(self.instruments.needed_for(self.settings.feed.symbols))

    @property
    def model(self) -> str:
        """What the model in charge says of itself, "" where none decides."""
        return str(getattr(self.strategy.succession.newest(self.settings.strategy.name), "description", ""))

    @property
    def depth(self) -> int:
        """Segments that a decision of the HRM takes at most: as its model was trained, or fewer by the settings."""
        newest = self.strategy.succession.newest(RUNG)
        return int(getattr(newest, "depth", self.settings.hierarchical_reasoning_model.max_segments))

    @property
    def untried(self) -> str:
        """What must be said of a model that knows simulated markets alone where ticks are real; "" elsewhere."""
        newest = self.strategy.succession.newest(self.settings.strategy.name)
        return untried(newest, real=self.tapes.real)

    @property
    def ending(self) -> bool:
        """Whether it takes nothing up any more: it was asked to stop, or its feed has ended."""
        return self._stop.is_set() or (self._traded and not self.desk.open)

    @property
    def age_s(self) -> float:
        """How long the process has been there, by the machine's clock, seconds."""
        return (self._wall.now_ns() - self.started_ts) / NS_PER_S

    @property
    def why_idle(self) -> str:
        """Why it doesn't trade yet, or any more; "" while it does."""
        if self.desk.open:
            return ""
        if self._stop.is_set():
            return f"stopping: {self._stop_reason}"
        return "recovering: " + ("the broker has not been read yet" if self.broker is not None else "not done yet")

    def stop(self, reason: str, who: str = ITSELF) -> None:
        """Ask the run to end in order; calling it again does nothing."""
        if not self._stop.is_set():
            self._stop_reason, self._stopped_by = reason, who
            self._stop.set()
            if self._pump is not None:
                self._pump.give_way()

    async def run(self, alongside: tuple[Callable[[], Awaitable[None]], ...] = ()) -> None:
        """Run to the end of the feed or to `stop`; `alongside` are services that run as long.

        Raises `Fault` when the supervisor gives up. The journal is closed in every case.
        """
        self._begun = True
        try:
            await self._recover_or_stop()
            self.desk.open = self._traded = not self._stop.is_set()
            self.shadows.start()
            keep = self.supervisor.keep
            async with asyncio.TaskGroup() as group:
                tasks = self._start_stations(group)
                tasks += [group.create_task(_as_coroutine(service)) for service in alongside]
                tasks += [group.create_task(desk.run(), name=desk.agent.name) for desk in self.shadows.everyone]
                if self.master_day is not None and self.broker is not None and not self.plan.tapes:
                    day = MasterDay(self.bus, self.master_day, self.plan.clock, self._wall)
                    tasks.append(group.create_task(keep(Kept("symbol master", day.run)), name="symbol master"))
                tasks.append(group.create_task(keep(Kept("models", self.models.run)), name="models"))
                if self.token is not None:
                    tasks.append(group.create_task(keep(Kept("token", self.token.run)), name="token"))
                feed = group.create_task(self.feed.run(), name="feed")
                stopping = group.create_task(self._stop.wait())
                await asyncio.wait((feed, stopping), return_when=asyncio.FIRST_COMPLETED)
                await self._shut_down(feed)
                for task in (stopping, *tasks):
                    task.cancel()
        except* HrmdError as group_error:
            raise _first(group_error) from None
        finally:
            if self.desk.open:  # it didn't come to the orderly end
                await self._abandon()
            if isinstance(self.feed, LiveFeed):
                await self.feed.close()
            if self.broker is not None:
                await self.broker.close()
            if self._pump is not None:
                self._pump.close()
            self.close()

    def _start_stations(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Kept by the supervisor, as tasks of the loop or in the hands of the pump."""
        keep = self.supervisor.keep
        if self._pump is None:
            return [group.create_task(keep(actor), name=actor.name) for actor in self.actors]
        for actor in self.actors:
            self._pump.add(actor.inbox, self.supervisor.guarded(actor))
        return []

    def snapshot(self) -> AccountSnapshot:
        """The account as it stands, for the journal; true while nothing that was published waits to be handled."""
        account, book = self.account, self.risk.book
        account.flatten_reason, account.unsettled = self.risk.flatten_reason, dict(book.unsettled)
        account.closing, account.brackets = dict(self.risk.closing), book.brackets
        account.day, account.day_start_net, account.day_high = book.day, book.day_start_net, book.day_high
        taken = account.snapshot(self.plan.clock.now_ns() or account.last_ts)
        return msgspec.structs.replace(taken, sessions=self.strategy.view.sessions())

    async def _abandon(self) -> None:
        """A fault ended the run: what would open a position is taken off the market, and what is left is said."""
        self.desk.open = False
        if not isinstance(self.execution, LiveExecutionActor) or self.broker is None:
            return
        left: list[str] | None = None
        try:
            async with asyncio.timeout(self.drain_s):
                left = await abandon(
                    self.broker, self.execution.book, cancel=self.settings.execution.cancel_on_shutdown
                )  # fmt: skip
        except TimeoutError:
            pass
        if left is None:
            log.error("a fault ended the run and the broker can't be read", working=sorted(self.orders.working))
        else:
            log.error("a fault ended the run", left_at_the_broker=left)

    async def _recover_or_stop(self) -> None:
        """Recover, unless the run is stopped meanwhile."""
        stopping = asyncio.create_task(self._stop.wait())
        recovering = asyncio.create_task(self._recover())
        await asyncio.wait((recovering, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if recovering.done():
            recovering.result()
        else:
            recovering.cancel()
            await asyncio.wait((recovering,))

    async def _recover(self) -> None:
        """Let every station stand where the earlier runs left off, then agree with the broker."""
        account, ts = self.account, self.plan.clock.now_ns() or self.account.last_ts
        self._halt_if_unwritten(ts)
        await self._remember(ts)
        if self.plan.recover and account.records:
            if account.records >= self.settings.journal.snapshot_every:
                self.bus.publish(account.snapshot(ts))
            standing = account.portfolio.standing(ts)
            working = list(account.orders.working.values())
            unknown = [order.intent for order in working if order.state is OrderState.UNKNOWN]
            remaining = [(order.intent, order.remaining) for order in working if order.state is not OrderState.INTENT]
            self.risk.book.restore(
                standing, remaining, unknown, account.day, account.day_start_net, account.day_high, account.approved()
            )  # fmt: skip
            self.risk.book.brackets = account.brackets
            self.risk.asked_off(order.intent.order_id for order in working if order.unwanted)
            self.risk.restore(account.state, account.flatten_reason, account.unsettled, account.closing)
            self.risk.held_over.restore(account.portfolio.closes())
            self._await_actions()
            for position in standing:
                self.bus.publish(position)
            if account.state is not TradingState.ACTIVE:
                self.bus.publish(
                    TradingStateChanged(ts=ts, state=account.state, reason=account.state_reason, who=account.state_who)
                )
            self._take_off()
            log.info("recovered", records=account.records, working=len(working), state=account.state)
        if isinstance(self.execution, LiveExecutionActor):
            await self.execution.recover()
        else:
            self._forget_paper_orders(ts)
        if self.migration is not None:
            self.migration.start(ts)

    def _await_actions(self) -> None:
        """A broker that has yet to show what a corporate action makes of a position is still watched for it."""
        if isinstance(self.execution, LiveExecutionActor):
            for action in self.bars.awaited:
                self.risk.held_over.adjust(action)
                self.execution.book.expect(action)

    @property
    def _begins_at(self) -> int:
        """When the ticks of this run begin, UTC ns; 0 where only the first of them will say."""
        return (self.tapes.beginning(self.calendar) if self.plan.tapes else self.plan.clock.now_ns()) or 0

    async def _remember(self, ts: int) -> None:
        """Who was in charge is so again, and every station knows the bars that the process before knew."""
        recalled, plan, interval = self._recalled, self.plan, self.settings.strategy.interval
        self.models.compare(recalled.model)
        rung = recalled.rung
        supervisor = self.supervisor
        mended = (
            rung is not None and MISSING in rung.reason and self.settings.strategy.name not in supervisor.traits.missing
        )
        if rung is not None and rung.name in supervisor.ladder.within_reach and not mended:
            supervisor.resume(rung.name, rung.reason, ts, rung.before, rung.who)
        else:
            supervisor.start(ts)
        supervisor.recall(recalled.steps, recalled.lock, ts)
        self.canary.resume(recalled.canary, self._shadowed)
        if not (recalled.seen or plan.reels):
            return
        begins = self._begins_at
        if not begins:
            return
        if plan.reels:
            feed, builder = self.feed.tick_filter, self.bars.builder
            closed = await asyncio.to_thread(
                resume_bars, plan.reels, self.symbols, feed, builder, self.calendar, begins
            )  # fmt: skip
            recalled.add(closed)
        self.bars.remember(recalled.seen, interval, begins)
        self.complexity.remember(recalled.seen)
        told = remembered(recalled, view_settings(self.settings), Legs(self._legs()), self._held, ts)
        for remembrance in told:
            self.bus.publish(remembrance)
        if told:
            log.info("remembered", symbols=len(told), bars=sum(len(one.bars) for one in told))
        self._recalled = Recalled()

    def _halt_if_unwritten(self, ts: int) -> None:
        """Halted as the process before was when it could not write its journal: that it was may not be on record."""
        journal = self.journal
        if journal is None or not journal.unwritten:
            return
        if self.account.state is not TradingState.HALTED:
            self.bus.publish(Halt(ts=ts, reason=UNWRITTEN_RECORD, automatic=True, who=ITSELF))
        journal.halted()

    def _take_off(self) -> None:
        """What an earlier process was told to take off the market, and may not have: it is asked for again."""
        account = self.account
        if account.flatten_reason:
            self.execution.cancel_resting(account.flatten_reason, account.barred_ts)
        elif account.state is not TradingState.ACTIVE:
            self.execution.cancel_entries(account.state_reason, account.barred_ts)

    def _forget_paper_orders(self, ts: int) -> None:
        """The simulated venue lives in the process: what worked there ended with the earlier one."""
        for order in list(self.orders.working.values()):
            reason = "the simulated venue ended with the earlier process"
            cancelled = OrderCancelled(ts=ts, order_id=order.intent.order_id, filled=order.filled, reason=reason)
            self.orders.apply(cancelled)
            self.bus.publish(cancelled)

    async def _shut_down(self, feed: asyncio.Task[None]) -> None:
        """Staged: feed, new risk, working orders, drain; the journal follows in `close`."""
        self.desk.open = False
        if not feed.done():
            feed.cancel()
            log.info("stopping", reason=self._stop_reason)
            self.bus.publish(Halt(ts=self.plan.clock.now_ns(), reason=self._stop_reason, shutdown=True,
                                  who=self._stopped_by))  # fmt: skip
            await self._drain()
        if self.settings.execution.cancel_on_shutdown:
            self.execution.cancel_ours("shutdown")
        await self._drain()
        if isinstance(self.execution, LiveExecutionActor):
            await self._settle(self.execution)
        self.shadows.finish()
        self.bus.publish(self._counted())

    def _counted(self) -> RunCounted:
        """What the journal can't be asked for otherwise."""
        feed, builder = self.feed, self.bars.builder
        rejected = {reason: count for reason, count in feed.tick_filter.rejected.items() if count}
        if builder.late:
            rejected["late"] = builder.late
        sessions = feed.sessions if isinstance(feed, TapeFeed) else []
        rows = (msgspec.structs.replace(row, thinking_ms=None) for row in self.shadows.rows())
        return RunCounted(
            ts=self.plan.clock.now_ns(), accepted=feed.tick_filter.accepted - builder.late,
            repaired=sum(feed.tick_filter.repaired.values()), rejected=rejected, first_ts=feed.first_ts,
            last_ts=feed.last_ts, bars=builder.built, sessions=tuple((it.open_ns, it.close_ns) for it in sessions),
            shadow=tuple(msgspec.to_builtins(row) for row in rows),
        )  # fmt: skip

    async def _settle(self, execution: LiveExecutionActor) -> None:
        """Wait for the broker. Raises `Fault` that names what is to be off the market and isn't."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain_s):
                await execution.settled()
        await self._drain()
        left = execution.left()
        if left:
            raise Fault(f"left at the broker: {', '.join(left)}; the next start asks for it to be cancelled again")

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self.drain_s):
                await self.bus.idle()
        except TimeoutError:
            log.error("not everything was handled before the end", pending=self.bus.pending, waited_s=self.drain_s)

    def close(self) -> None:
        """Release threads and files; calling it again does nothing."""
        self.strategy.close()
        if self._scout is not None:
            self._scout.close()
        self.shadows.close()
        for budget in self._budgets.values():
            budget.close()
        if self.journal is not None:
            self.journal.close(begun=self._begun)
        for hold in self._holds:
            hold.release()

    def _first_date(self) -> dt.date | None:
        """The date of the first tick, for dated lots. Raises `UsageError` for one before the calendar."""
        first = self.tapes.opening_ts if self.plan.tapes else self.plan.clock.now_ns() or None
        if first is None:
            return None
        date = ist_date(first)
        self.calendar.session(date)
        return date

    def _legs(self) -> dict[str, str]:
        """Indices that are decided on, by the future that is traded for them."""
        book, symbols = self.instruments, self.symbols
        traded = {book.traded_as(symbol): symbol for symbol in symbols if symbol.endswith(INDEX_SUFFIX)}
        return {future: index for future, index in traded.items() if future != index}

    def kinds(self) -> dict[str, tuple[Kind, bool]]:
        """Of every symbol its kind and whether it is traded."""
        found = {symbol: self.instruments.resolve(symbol) for symbol in (*self.symbols, *self._held)}
        return {symbol: (item.kind, item.tradeable) for symbol, item in found.items() if item is not None}

    def _record(self, journal: Journal) -> None:
        """Journal everything of its types, and the bars that decisions depend on."""
        view = view_settings(self.settings)
        intervals = (view.interval, view.coarse_interval)
        self.bus.tap(JOURNALED, journal.append)
        self.bus.tap((Bar,), journal.append, where=lambda bar: bar.interval in intervals)

    def _describe(self) -> None:
        if self.journal is None:
            return
        self.journal.describe(
            {
                "version": __version__,
                "code": code_sha256(),
                "python": platform.python_version(),
                "machine": platform.machine(),
                "started_ts": str(self.started_ts),
                "settings": self.settings.model_dump_json(),
                "settings_sha256": self.settings.digest(),
                "tapes": msgspec.json.encode([str(path) for path in self.plan.tapes]).decode(),
                "tapes_sha256": msgspec.json.encode([file_sha256(path) for path in self.plan.tapes]).decode(),
                "symbols": msgspec.json.encode(self.symbols).decode(),
                "latency": self.plan.latency.name,
                "recovers": "true" if self.plan.recover else "",
                "order_delay_ns": str(self.plan.latency.order_ns),
                "model": self.model,
                "untried": self.untried,
                "depth": str(self.depth),
                "simulated": "true" if self.tapes.simulated else "",
                "made_of": self.tapes.bars,
                "received": "true" if self.tapes.received else "",
                "instruments": msgspec.json.encode(self.kinds()).decode(),
                "legs": msgspec.json.encode(self.strategy.legs.indices).decode(),
                "calendar": msgspec.json.encode(self.calendar.file).decode(),
                "symbol_master": str(self.master_day or ""),
                "runtime": str(getattr(self.strategy.strategies.get(RUNG), "runtime", "")),
                "model_hash": model_hash_of(self.strategy.strategies.get(RUNG)),
                "model_file": str(getattr(self.strategy.strategies.get(RUNG), "artifact", None) or ""),
            }
        )


async def _as_coroutine(service: Callable[[], Awaitable[None]]) -> None:
    await service()


def _first(group: BaseExceptionGroup[HrmdError]) -> HrmdError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, HrmdError)
    return error
