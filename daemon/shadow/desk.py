"""One shadow agent: a market of its own, in which the same stages turn its decisions into virtual fills.

What the main bus said is heard in that order on a private bus, with the strategy, risk, execution and portfolio stages
of the daemon on it. Invariant: nothing here knows the main bus or a broker, the only venue is the simulated one, and
whatever goes wrong ends this agent and nothing else.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections import deque
from collections.abc import Callable
from decimal import Decimal

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import OWN_TIME, Clock, VenueTime, india_day, stopwatch_ns
from daemon.core.events import (
    Bar,
    Complexity,
    Decision,
    Event,
    MarketRemembered,
    PositionRestated,
    PriceAdjusted,
    ShadowResult,
)
from daemon.core.latency import Latency
from daemon.core.threads import Flag, ThreadWorker, Worker
from daemon.market.calendar import MarketCalendar, Session, ist_date
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.market.legs import Legs
from daemon.market.overnight import OvernightLimit
from daemon.market.trade_costs import TradeCosts
from daemon.orders.book import OrderBook
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.orders.settlement import Settlement
from daemon.portfolio.actor import PortfolioActor
from daemon.portfolio.book import Portfolio
from daemon.report.side_by_side import ShadowEvidence, ShadowRow, ShadowSession
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.shadow.agents import Agent, OnThread
from daemon.shadow.board import Board
from daemon.shadow.tally import COUNTED, Figures, Tally
from daemon.strategy.actor import StrategyActor, ThinkingLimit
from daemon.strategy.build import view_settings
from daemon.supervision.comparison import Comparison
from daemon.supervision.supervisor import Ladder
from strategies.base import LATE, MarketView, Strategy, model_hash_of

log = structlog.get_logger("shadow")

LONGEST_QUEUE = 100_000
"""Events that an agent may be behind; bounds memory."""

TOO_FAR_BEHIND = 1_000
"""Events, from which an agent is dropped when memory is short."""

KEPT_FILLS = 20_000
"""Fill ids that a virtual account remembers: more than a repeated one can be behind."""

BP = 10_000
"""Hundredths of a per cent in one."""

TOGETHER = (Bar, Complexity)
"""What a close says is heard at once, so that its decisions share their time as those in charge do."""


class Surroundings(msgspec.Struct, frozen=True):
    """What every agent has in common with the one in charge: none of it changes by an agent."""

    clock: Clock
    calendar: MarketCalendar
    instruments: InstrumentBook
    legs: dict[str, str]
    latency: Latency
    limit: OvernightLimit
    costs: TradeCosts
    bar_s: int
    """The length of the bars of which the ticks are made, 0 where they are ticks."""
    replay: bool
    thread: Callable[[str], Worker] = ThreadWorker
    flag: Callable[[], Flag] = threading.Event
    stopwatch: Callable[[], int] = stopwatch_ns
    venue_time: VenueTime = OWN_TIME


class Standing(msgspec.Struct, frozen=True):
    """What the one in charge had earned and done in a session."""

    net_pnl: Decimal
    decisions: int
    trades: int
    mixed: bool
    """Whether a canary decided in it, too."""
    strategy: str = ""
    """Who alone decided, "" where nobody did alone."""
    model_hash: str = ""


class SessionBegun(msgspec.Struct, frozen=True):
    """A place in the queue: the first that is heard of a session."""

    session: Session
    ts: int
    from_the_open: bool
    """Whether nobody can have decided in it before."""


class SessionOver(msgspec.Struct, frozen=True):
    """A place in the queue: all that belongs to a session lies before it."""

    ts: int
    real: Standing


class Desk:
    """See the module."""

    def __init__(self, agent: Agent, around: Surroundings, board: Board) -> None:
        self.agent = agent
        self.tally = Tally()
        self.sessions: list[ShadowSession] = []
        self.results: deque[ShadowResult] = deque()
        """Of sessions that are over, until somebody takes them."""
        self.dropped = ""
        """Why it decides no more, "" while it does."""
        self._board = board
        self._clock = around.clock
        self._timed = not around.replay
        self._ladder = Ladder(
            [agent.strategy.name], agent.strategy.name, agent.settings.supervisor.max_failed_decisions
        )
        self._queue: deque[Event | SessionBegun | SessionOver] = deque()
        self._news, self._calm, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._calm.set()
        self._session: SessionBegun | None = None
        self._comparison = Comparison(agent.settings.canary)
        self._start_equity = Decimal(0)
        self._superseded = 0
        self._set_up(agent, around)
        self.bus.tap(COUNTED, self.tally.record)
        self.bus.tap((Decision,), self._on_decision)

    def _set_up(self, agent: Agent, around: Surroundings) -> None:
        """The daemon's own stages, on a bus of their own."""
        settings, clock, calendar = agent.settings, around.clock, around.calendar
        self.bus = bus = Bus()
        view, budget_s = view_settings(settings), settings.shadow.budget_ms / 1000
        limit = ThinkingLimit(budget_s, settings.supervisor.max_hangs_per_day)
        if around.replay:
            limit = ThinkingLimit(settings.supervisor.replay_hang_s, None)
        self._patience_s = limit.limit_s / 2  # to wait is not to hang
        strategy = OnThread(agent.strategy, self._board.free, self._patience_s)
        self.strategy = StrategyActor(
            bus, MarketView(view, calendar, around.costs), {strategy.name: strategy}, strategy.name, clock,
            around.latency, limit,
            (view.interval, view.coarse_interval), Legs(around.legs), around.thread, around.stopwatch,
        )  # fmt: skip
        self.risk = RiskActor(
            bus, RiskBook(around.instruments),
            IntentBuilder(settings.risk, settings.execution, around.instruments, "S"),
            RiskGate(
                settings.risk, around.instruments, calendar, settings.strategy.no_entries_minutes,
                ExpiryGuard(settings.derivatives, around.instruments, calendar), on_paper=True,
                delivers=settings.broker.live.product == "CNC",
            ),
            clock, calendar, settings.strategy.square_off_minutes, None, around.limit, around.venue_time,
        )  # fmt: skip
        self.risk.book.cash = settings.broker.starting_cash
        venue = PaperVenue(
            settings.broker.paper, around.instruments, CostSchedule(), calendar, around.bar_s, feed=settings.feed,
            venue_time=around.venue_time.at,
        )  # fmt: skip
        self.execution = ExecutionActor(
            bus, OrderBook(), venue, None, clock, settings.execution.working_timeout_s, around.latency.order_ns,
            settlement=Settlement(around.instruments, CostSchedule(), calendar), venue_time=around.venue_time,
        )  # fmt: skip
        self.portfolio = PortfolioActor(bus, Portfolio(settings.broker.starting_cash, KEPT_FILLS), view.interval)

    @property
    def actors(self) -> tuple[Actor, ...]:
        """Its stages, in the order of the path."""
        return self.strategy, self.risk, self.execution, self.portfolio

    def decide_by(self, strategy: Strategy) -> None:
        """Let another strategy of the same name decide from the next bar on."""
        self.agent = msgspec.structs.replace(self.agent, strategy=strategy)
        self.strategy.strategies[strategy.name] = OnThread(strategy, self._board.free, self._patience_s)

    @property
    def holds(self) -> bool:
        """Whether a position is open on its paper."""
        return any(item.quantity for item in self.portfolio.portfolio.positions())

    # -- what it hears ----------------------------------------------------------------------------------------------

    def hear(self, event: Event | SessionBegun | SessionOver) -> None:
        """Queue what the main bus said; never raises and never waits."""
        if self.dropped:
            return
        if len(self._queue) >= LONGEST_QUEUE:
            self.drop(f"fell {LONGEST_QUEUE} events behind")
            return
        self._queue.append(event)
        self._calm.clear()
        self._news.set()

    def look(self) -> None:
        """The one in charge may owe nothing any more."""
        self._news.set()

    async def settled(self) -> None:
        """Wait until everything that was heard has been handled."""
        await self._calm.wait()

    @property
    def is_settled(self) -> bool:
        """Whether everything that was heard has been handled."""
        return self._calm.is_set()

    async def run(self) -> None:
        """Trade until cancelled or dropped; never raises."""
        tasks = [asyncio.create_task(actor.run(), name=f"{self.agent.name} {actor.name}") for actor in self.actors]
        tasks += [asyncio.create_task(self._pump()), asyncio.create_task(self._until_dropped())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for error in [task.exception() for task in done]:
                if error is not None:
                    log.error("a shadow agent crashed", agent=self.agent.name, exc_info=error)
                    self.drop(f"{type(error).__name__}: {error}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.close()

    def drop(self, reason: str) -> None:
        """Decide no more; the figures so far stay."""
        if not self.dropped:
            self.dropped = reason
            log.error(f"shadow agent {self.agent.name} is dropped: {reason}")
            self._queue.clear()
            self._ended.set()
            self._calm.set()

    def shed(self) -> None:
        """Memory is short: what waits for an agent that is far behind is let go, and the agent with it."""
        if len(self._queue) >= TOO_FAR_BEHIND:
            self.drop(f"memory was short and it was {len(self._queue)} events behind")

    def close(self) -> None:
        """Let its thread go; calling it again does nothing."""
        self.strategy.close()

    async def _until_dropped(self) -> None:
        await self._ended.wait()

    async def _pump(self) -> None:
        """From the queue to the private bus, while the one in charge owes no decision."""
        while True:
            while self._queue and self._board.clear:
                item = self._queue.popleft()
                if not isinstance(item, TOGETHER):
                    await self.bus.idle()
                self._handle(item)
            if not self._queue:
                await self.bus.idle()
                if self._queue:
                    continue
                self._calm.set()
            self._news.clear()
            await self._news.wait()

    def _handle(self, item: Event | SessionBegun | SessionOver) -> None:
        if isinstance(item, SessionBegun):
            self.begin(item)
        elif isinstance(item, SessionOver):
            self.finish(item)
        elif isinstance(item, MarketRemembered):  # its own positions begin flat
            self.bus.publish(msgspec.structs.replace(item, quantity=0, bars_held=0))
        elif isinstance(item, PriceAdjusted):
            self._adjust(item)
        elif isinstance(item, PositionRestated):  # of its own, it holds as many as it does
            self.bus.publish(msgspec.structs.replace(item, carried=None))
        else:
            self.bus.publish(item)

    def _adjust(self, event: PriceAdjusted) -> None:
        """What is held here no broker counts anew."""
        self.bus.publish(msgspec.structs.replace(event, by_broker=False, carried=None))
        if event.shares and event.by_broker:
            self.bus.publish(
                PositionRestated(
                    ts=event.ts, symbol=event.symbol, date=event.date, kind=event.kind, numerator=event.numerator,
                    denominator=event.denominator,
                )
            )  # fmt: skip

    # -- what it comes to -------------------------------------------------------------------------------------------

    def _on_decision(self, event: Event) -> None:
        """Compare with the one in charge; who fails again and again is dropped."""
        assert isinstance(event, Decision)
        if event.halt_reason == LATE:
            return
        action = self._board.action(event)
        if action is not None and not event.failed:
            self.tally.count("compared")
            self.tally.count("agreed", int(action is event.action))
        reason = self._ladder.on_decision(event)
        if reason is not None:
            self.drop(reason)

    def begin(self, begun: SessionBegun) -> None:
        """A session begins here."""
        self._session = begun
        self._start_equity = self.portfolio.portfolio.equity
        self._superseded = self.strategy.superseded
        self.tally.begin()

    def finish(self, over: SessionOver) -> None:
        """The session is over: what it came to."""
        begun, self._session = self._session, None
        if begun is None:
            return
        figures = self.tally.session
        whole = begun.from_the_open and over.ts >= begun.session.close_ns and not self.dropped
        net = self.portfolio.portfolio.equity - self._start_equity
        result = ShadowResult(
            ts=over.ts, agent=self.agent.name, strategy=self.agent.strategy.name, model_hash=self._model_hash,
            day=india_day(begun.session.open_ns), since_ts=begun.ts, whole=whole, dropped=self.dropped,
            decisions=figures["decisions"], skipped=figures["late"] + self.strategy.superseded - self._superseded,
            failed=figures["failed"], compared=figures["compared"], agreed=figures["agreed"],
            depth=figures.depth or 0.0, latency_ms=figures.latency_ms or 0.0, orders=figures["orders"],
            fills=figures["fills"], trades=figures["trades"], net_pnl=net, real_net_pnl=over.real.net_pnl,
            real_decisions=over.real.decisions, real_trades=over.real.trades, real_strategy=over.real.strategy,
            real_model_hash=over.real.model_hash,
            mixed=over.real.mixed, thinking_p99_ms=self.tally.thinking_p99_ms if self._timed else 0.0,
        )  # fmt: skip
        self.results.append(result)
        self._weigh(result)
        self.sessions.append(session_row(begun, over.ts, figures, net, net - over.real.net_pnl, whole=whole))

    def remember(self, result: ShadowResult) -> None:
        """What an earlier process saw of this agent, with these weights; that of another is none of its evidence."""
        if (result.agent, result.strategy, result.model_hash) == (
            self.agent.name, self.agent.strategy.name, self._model_hash,
        ):  # fmt: skip
            self._weigh(result)

    def _weigh(self, result: ShadowResult) -> None:
        """A session that was seen in part says nothing: who isn't there at a bad hour would look good.

        Nor does one in which a canary decided, too: the real account is nobody's alone then (`daemon.shadow.canary`).
        """
        if result.whole and not result.mixed:
            difference = (result.net_pnl - result.real_net_pnl) / self.portfolio.portfolio.starting_cash
            self._comparison.see(float(difference) * BP)

    @property
    def _evidence(self) -> ShadowEvidence:
        found = self._comparison.evidence
        return ShadowEvidence(
            sessions=found.sessions, mean_bp=found.mean_bp, clipped=found.clipped, better=found.better,
            worse=found.worse, verdict=found.verdict.value, reason=found.reason,
        )  # fmt: skip

    @property
    def _model_hash(self) -> str:
        return model_hash_of(self.agent.strategy)

    def row(self, real_net: Decimal) -> ShadowRow:
        """It, beside the one in charge that has earned `real_net` rupees."""
        portfolio = self.portfolio.portfolio
        net = portfolio.equity - portfolio.starting_cash
        late = self.tally.total["late"] + self.strategy.superseded
        return agent_row(
            self.agent.name, self.agent.strategy.name, str(getattr(self.agent.strategy, "description", "")),
            self.tally.total, portfolio, net, net - real_net, self.sessions, dropped=self.dropped, skipped=late,
            evidence=self._evidence,
        )  # fmt: skip


def agent_row(
    name: str, strategy: str, model: str, total: Figures, portfolio: Portfolio, net: Decimal,
    difference: Decimal | None, sessions: list[ShadowSession], *, dropped: str = "", skipped: int,
    evidence: ShadowEvidence | None = None,
) -> ShadowRow:  # fmt: skip
    """One agent's figures, as a row."""
    return ShadowRow(
        name=name, strategy=strategy, model=model, in_charge=difference is None, dropped=dropped,
        decisions=total["decisions"], skipped=skipped, failed=total["failed"], compared=total["compared"],
        agreement=total.agreement, depth=total.depth, latency_ms=total.latency_ms, thinking_ms=total.thinking_ms,
        orders=total["orders"], fills=total["fills"], trades=total["trades"],
        open_positions=sum(1 for item in portfolio.positions() if item.quantity), costs=portfolio.costs, net_pnl=net,
        difference=difference, evidence=evidence, sessions=list(sessions),
    )  # fmt: skip


def session_row(
    begun: SessionBegun, until: int, figures: Figures, net: Decimal, difference: Decimal | None, *, whole: bool
) -> ShadowSession:
    """One session's figures, as a row."""
    date: dt.date = ist_date(begun.session.open_ns)
    return ShadowSession(
        session=date.isoformat(), since_ts=begun.ts, until_ts=until, whole=whole, decisions=figures["decisions"],
        agreement=figures.agreement, trades=figures["trades"], net_pnl=net, difference=difference,
    )  # fmt: skip
