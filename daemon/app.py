"""The map: every station of the path from tick to fill, in the order in which a tick travels.

`App` turns settings and a `RunPlan` into stations that share one bus, runs them until the feed ends or `stop` is
called, and takes them down in order. How one of them is put together is in `daemon.assembly`, what it does in its own
room. Live, paper and replay are this same code; only the source of ticks, the clock and the venue differ. Invariant:
whatever ends a run, what was published before is in the journal and the journal is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from daemon.assembly import deciding, looking_ahead, orders, past, record, risk, shadow, supervision, ticks
from daemon.assembly.market import MarketOfRun
from daemon.bars.builder import BarsActor
from daemon.bars.complexity import ComplexityActor
from daemon.brokers.choice import budgets, held_account
from daemon.control.manual_desk import ManualDesk
from daemon.control.migration_desk import MigrationDesk
from daemon.control.model_desk import ModelDesk
from daemon.core.actor import Actor
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.core.errors import Fault, HrmdError, JournalHangs
from daemon.core.events import ITSELF, AccountSnapshot, Halt, TimeAdvanced
from daemon.core.pump import Pump
from daemon.feed.live.feed import LiveFeed
from daemon.journal.keeping import JournalKeeper
from daemon.journal.writer import Journal
from daemon.market.calendar import ist_date
from daemon.market.instruments import Kind
from daemon.market.legs import Legs
from daemon.market.symbol_files import MasterDay
from daemon.orders.abandoning import abandon
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.reconciler import SHORTEST_PAUSE_S
from daemon.plan import RunPlan
from daemon.portfolio.actor import PortfolioActor
from daemon.recovery.account import COMMANDS
from daemon.recovery.holds import Hold, hold_all, hold_written
from daemon.recovery.market import Recalled, remembered, resume_bars
from daemon.recovery.resuming import forget_paper_orders, halt_if_unwritten, resume_account, resume_in_charge
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent
from daemon.strategy.build import after_restart, untried, view_settings
from daemon.strategy.switching import RUNG
from daemon.supervision.supervisor import Kept
from strategies.base import Strategy

log = structlog.get_logger("app")


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
        self._begun = self._traded = self._closed = False
        self.hangs = ""
        """What the journal's disk has not taken, where it gave no answer until the end."""
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
        clock, machine = plan.clock, plan.machine
        self._wall = clock if isinstance(clock, LiveClock) else LiveClock(machine.readings)
        self.started_ts = self._wall.now_ns()

        # what the market is, and who may decide
        self.market = market = MarketOfRun(settings, plan, ist_date(self.started_ts))
        self.tapes, self.calendar, self.instruments = market.tapes, market.calendar, market.instruments
        built, agents = deciding.deciders(settings, plan, strategies, agents)

        # what earlier runs left, once it is nobody else's
        self._holds = hold_all(plan.journal, held_account(settings.broker))
        self._past = earlier = past.read_past(settings, plan, market, shadowed=bool(agents))
        self.settings = settings = earlier.settings
        self.account = account = earlier.account
        self.orders, real = account.orders, account.portfolio

        # the bus, and the journal that hears everything first
        self._pump = Pump() if plan.pumped else None
        self.bus = bus = Bus(runner=self._pump)
        self.journal = record.open_journal(settings, plan)
        if plan.journal is not None:
            hold_written(plan.journal, self._holds)
        if self.journal is not None:
            record.keep_record(bus, settings, plan, self.journal, self.started_ts)
        bus.tap(COMMANDS, account.follow)

        # the path of a tick: into bars, to who decides, past the limits, to the venue, into the portfolio
        self._calls = calls = budgets(settings, machine, live=not plan.tapes)
        self.feed = ticks.feed(bus, settings, plan, market, calls)
        self.venue_time = venue_time = ticks.venue_time(self.feed, market.calendar)
        self.bars = BarsActor(
            bus, ticks.bar_builder(settings, plan, market), ticks.overnight(bus, settings, market, account)
        )
        interval = settings.strategy.interval
        self.complexity = ComplexityActor(bus, ticks.detector(settings, plan, market), interval)
        costs = deciding.trade_costs(settings, market)
        self.strategy = deciding.strategy_stage(bus, settings, plan, market, costs, built.strategies)
        self._scout = looking_ahead.look_ahead(settings, plan, market, costs, self.strategy, agents)
        self.models = deciding.model_switch(bus, settings, plan, self.strategy)
        self.risk = risk.risk_stage(bus, settings, plan, market, account, venue_time)
        self.broker = orders.broker(settings, plan, market, account, calls, self.feed, self.risk.book)
        self.token = (
            orders.token_keeper(bus, settings, plan, self._wall, self.broker) if self.broker is not None else None
        )
        self.execution = orders.execution(
            bus, settings, plan, market, account, self.journal, self.broker, self.token, venue_time
        )
        self.portfolio = PortfolioActor(bus, real, interval)

        # who decides beside the one in charge, on paper of their own
        self.shadows = shadow.shadows(bus, settings, plan, market, real, costs, self.strategy, agents, venue_time)
        self.shadows.remember(earlier.shadowed)

        # what keeps them running, and who may take over
        self.supervisor = supervision.supervisor(bus, settings, plan, built, self.strategy, agents)
        self.supervisor.care.baseline.restore(earlier.recalled.weighed, earlier.shadowed)
        ladder, stage = self.supervisor.ladder, self.strategy
        self.migration = None
        if plan.recover:
            self.migration = shadow.migration_keeper(
                bus, settings, plan, market, real, stage, self.shadows, ladder,
                why_no_share=lambda agent: self.canary.why_not_begin(agent),
            )  # fmt: skip
        self.canary = shadow.canary_desk(
            bus, settings, plan, market, real, stage, self.shadows, ladder, lambda: self.risk.book.state
        )
        self.supervisor.held = {symbol for symbol, quantity in account.held.items() if quantity}

        # what people ask for, and the journal's upkeep
        stages = (self.risk.inbox.put, self.execution.inbox.put)
        self.desk = ManualDesk(bus, clock, account, self.orders, self.journal, stages)
        self.model_desk = ModelDesk(
            bus, clock, self.desk, lambda loaded: after_restart(settings, loaded), machine.chance
        )
        self.migration_desk = (
            MigrationDesk(clock, self.desk, self.migration, machine.thread) if self.migration is not None else None
        )
        self.keeper = None
        if self.journal is not None and plan.recover:
            self.keeper = JournalKeeper(bus, self.journal, self.snapshot, settings.journal, clock, self._wall)
        self._stop = asyncio.Event()
        self._stop_reason, self._stopped_by = "", ITSELF
        self._describe()

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
        return self.market.symbols

    def kinds(self) -> dict[str, tuple[Kind, bool]]:
        """Of every symbol its kind and whether it is traded."""
        return self.market.kinds(self.account.held)

    @property
    def model(self) -> str:
        """What the model of the strategy that the settings name says of itself, "" where it has none."""
        return self.model_of(self.settings.strategy.name)

    def model_of(self, strategy: str) -> str:
        """What the model of a strategy says of itself, "" where it has none."""
        return str(getattr(self.strategy.succession.newest(strategy), "description", ""))

    @property
    def depth(self) -> int:
        """Segments that a decision of the HRM takes at most: as its model was trained, or fewer by the settings."""
        newest = self.strategy.succession.newest(RUNG)
        return int(getattr(newest, "depth", self.settings.hierarchical_reasoning_model.max_segments))

    @property
    def learned(self) -> tuple[str, str] | None:
        """First and last recorded day that the model in charge learned from, where ticks are recorded, too."""
        newest = self.strategy.succession.newest(self.settings.strategy.name)
        return getattr(newest, "learned", None) if self.tapes.real else None

    @property
    def untried(self) -> str:
        """What must be said of a model in a market that it doesn't know: see the function."""
        strategy = self.settings.strategy
        return untried(self.strategy.succession.newest(strategy.name), strategy.interval, real=self.tapes.real)

    @property
    def calls_trouble(self) -> str:
        """Why the calls of an account aren't on record, where other processes would count them; "" while they are."""
        return next((budget.trouble for budget in self._calls.values() if budget.trouble), "")

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
                if self.market.master_day is not None and not self.plan.tapes:
                    day = MasterDay(self.bus, self.market.master_day, self.plan.clock, self._wall, self._wall.passed_ns)
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
        account, book, closing = self.account, self.risk.book, self.risk.closing
        account.flatten_reason, account.unsettled = closing.flatten_reason, dict(book.unsettled)
        account.closing, account.brackets = dict(closing.symbols), book.brackets
        account.flattened = closing.flattened
        account.owed = dict(closing.owed.of)
        account.day, account.day_start_net, account.day_high = book.day, book.day_start_net, book.day_high
        taken = account.snapshot(self.plan.clock.now_ns() or account.last_ts)
        return msgspec.structs.replace(taken, sessions=self.strategy.view.sessions())

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
        bus, account, recalled = self.bus, self.account, self._past.recalled
        ts = self.plan.clock.now_ns() or account.last_ts
        halt_if_unwritten(bus, self.journal, account, ts)
        resume_in_charge(recalled, self.models, self.supervisor, self.settings.strategy.name, ts)
        self.canary.resume(recalled.canary, self._past.shadowed)
        await self._remember(recalled, ts)
        if self.plan.recover and account.records:
            if account.records >= self.settings.journal.snapshot_every:
                bus.publish(account.snapshot(ts))
            resume_account(bus, account, self.risk, self.execution, self.bars, ts)
        if isinstance(self.execution, LiveExecutionActor):
            await self.execution.recover()
            watch = self.feed.clock_watch if isinstance(self.feed, LiveFeed) else None
            if watch is not None:
                watch.check_day()
        else:
            forget_paper_orders(bus, account, ts)
        if self.migration is not None:
            self.migration.start(ts)

    async def _remember(self, recalled: Recalled, ts: int) -> None:
        """Every station knows the bars that the process before knew."""
        plan, market = self.plan, self.market
        begins = market.begins_at if recalled.seen or plan.reels else 0
        if not begins:
            return
        if plan.reels:
            again = partial(
                resume_bars, plan.reels, self.symbols, self.feed.tick_filter, self.bars.builder, self.calendar, begins
            )  # fmt: skip
            # nothing trades before it is done: a disk that hangs holds up the start, which is told, and not its end
            closed = await Aside("reels", plan.machine.thread).ask(again, math.inf)
            recalled.add(closed)
        self.bars.remember(recalled.seen, self.settings.strategy.interval, begins)
        self.complexity.remember(recalled.seen)
        told = remembered(recalled, view_settings(self.settings), Legs(market.indices), self.account.held, ts)
        for remembrance in told:
            self.bus.publish(remembrance)
        if told:
            log.info("remembered", symbols=len(told), bars=sum(len(one.bars) for one in told))
        self._past.recalled = Recalled()

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
        self.bus.publish(record.counted(self.plan.clock.now_ns(), self.feed, self.bars.builder, self.shadows))

    async def _settle(self, execution: LiveExecutionActor) -> None:
        """Wait for the broker, and for exits and stops that it has refused: time advances for these alone.

        Raises `Fault` that names what is to be off the market and isn't, or what can't be closed or have its stop.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain_s):
                while await execution.settled() or self.risk.unfinished():
                    await self.bus.idle()  # what came meanwhile may want another order, a stop that had to wait
                    if self.risk.unfinished():
                        await asyncio.sleep(SHORTEST_PAUSE_S)
                        self.risk.inbox.put(TimeAdvanced(ts=self.plan.clock.now_ns()))
                        await self.bus.idle()
        await self._drain()
        left, held = execution.left(), self.risk.unfinished()
        if left:
            raise Fault(f"left at the broker: {', '.join(left)}; the next start asks for it to be cancelled again")
        if held:
            raise Fault(f"held, and an exit or a stop can't be had now: {', '.join(held)}; the next start asks for it")

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self.drain_s):
                await self.bus.idle()
        except TimeoutError:
            log.error("not everything was handled before the end", pending=self.bus.pending, waited_s=self.drain_s)

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

    def close(self) -> None:
        """Release threads and files; calling it again does nothing.

        Raises `JournalError` where the journal isn't whole. A disk that hangs keeps what is on it: letting go of a file
        would wait for it as well, and the system lets go of all with the process.
        """
        self.strategy.close()
        if self._scout is not None:
            self._scout.close()
        self.shadows.close()
        for budget in self._calls.values():
            budget.close()
        if self.journal is not None and not self._closed:
            self._closed = True
            try:
                self.journal.close(begun=self._begun)
            except JournalHangs as error:
                self.hangs = str(error)
                raise
        if not self.hangs:
            for hold in self._holds:
                hold.release()

    def _describe(self) -> None:
        if self.journal is not None:
            decides = record.Deciding(
                strategies=self.strategy.strategies,
                model=self.model,
                untried=self.untried,
                depth=self.depth,
                learned=self.learned,
            )
            self.journal.describe(
                record.described(self.settings, self.plan, self.market, decides, self.kinds(), self.started_ts)
            )


async def _as_coroutine(service: Callable[[], Awaitable[None]]) -> None:
    await service()


def _first(group: BaseExceptionGroup[HrmdError]) -> HrmdError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, HrmdError)
    return error
