"""All shadow agents: hears the main bus for them, keeps the books of the one in charge, and says what each came to.

Invariant: of all that happens here the main bus hears `ShadowResult` and nothing else; a replay waits for its shadows
at each of its moments, a live run never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    BY_HAND,
    ITSELF,
    Bar,
    Complexity,
    Decision,
    Event,
    FeedStatus,
    Flatten,
    Halt,
    MarketRemembered,
    Mitigation,
    OrderIntent,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    Reduce,
    Resume,
    SettingChanged,
    ShadowResult,
    TickBatch,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.reader import JournalReader, is_blank
from daemon.market.calendar import CalendarRangeError, Session
from daemon.market.legs import Legs
from daemon.portfolio.book import Portfolio
from daemon.report.side_by_side import ShadowRow, ShadowSession
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.shadow.agents import Agent
from daemon.shadow.board import Board
from daemon.shadow.canary import CHAMPION
from daemon.shadow.candidate import anew
from daemon.shadow.desk import Desk, SessionBegun, SessionOver, Standing, Surroundings, agent_row, session_row
from daemon.shadow.tally import COUNTED, Tally
from daemon.strategy.easing import ease
from strategies.base import Strategy

MINUTE_NS = 60 * NS_PER_S
"""More than the grace after which a bar closes."""

COMMANDS = (Halt, Resume, Reduce, Flatten)
"""A person's hold for shadows, too, so that sessions stay comparable; what the daemon says to itself doesn't."""

HEARD: tuple[type[Event], ...] = (
    TickBatch, TimeAdvanced, Bar, Complexity, FeedStatus, PriceAdjusted, PriceJumped, PositionRestated,
    MarketRemembered, SettingChanged, *COMMANDS,
)  # fmt: skip
"""What shadows hear of the main bus: the market, limits that change, commands; of orders and positions nothing."""

PAST = (Bar, PriceAdjusted, PriceJumped, MarketRemembered, SettingChanged)
"""What the virtual account of the one in charge hears while it isn't needed, so that it knows market and limits when it
is."""


class Barrier(Actor):
    """Holds the main bus of a replay until every shadow has handled what it heard."""

    name = "shadows"

    def __init__(self, bus: Bus, desks: Sequence[Desk], board: Board) -> None:
        super().__init__(bus)
        self._desks = desks
        self._board = board
        self.inbox = bus.subscribe(self.name, (*HEARD, Decision))

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Wait, unless a decision in charge is to come, behind which there is another chance."""
        if not self._board.clear or all(desk.is_settled for desk in self._desks):
            return None
        return self._settle()

    async def _settle(self) -> None:
        await asyncio.gather(*(desk.settled() for desk in self._desks))


class Shadows:
    """See the module; without agents it hears nothing and costs nothing."""

    def __init__(
        self, bus: Bus, settings: Settings, agents: Sequence[Agent], around: Surroundings, real: Portfolio, model: str,
        in_charge: Strategy | None = None,
    ) -> None:  # fmt: skip
        """`real`: the account of the one in charge, of which only profit is read; `model` is what that one is.

        `in_charge`: the strategy of the settings, which gets a virtual account, too, while a canary runs.
        """
        self._bus = bus
        self._settings = settings
        self._around = around
        self._real = real
        self._model = model
        self._board = Board(around.clock, around.flag())
        self._tally = Tally()
        self._sessions: list[ShadowSession] = []
        self._begun: SessionBegun | None = None
        self._closing = False
        self._began_at = self._start_equity = Decimal(0)
        self._state = TradingState.ACTIVE
        self._deciders: set[tuple[str, str]] = set()
        """Strategy and model of every decision of the session."""
        self._disturbed = False
        """Whether its profit is somebody's else, too, or less than it would have been."""
        self._legs = Legs(around.legs)
        self._interval_ns = INTERVALS[settings.strategy.interval] * NS_PER_S
        self.desks = [Desk(agent, around, self._board) for agent in agents]
        self.champion: Desk | None = None
        """The virtual account of the one in charge."""
        self._beside = self._mixed = False
        if self.desks and in_charge is not None:
            self.champion = Desk(Agent(CHAMPION, in_charge, settings), around, self._board)
        self.actors: tuple[Actor, ...] = ()
        if self.desks:
            self._listen()

    def _listen(self) -> None:
        bus = self._bus
        bus.tap(COUNTED, self._tally.record)
        bus.tap((Complexity,), self._asked, where=lambda complexity: not self._legs.holds(complexity.symbol))
        bus.tap(HEARD, self._hear)
        bus.tap((Decision,), self._decided)
        bus.tap((OrderIntent,), self._by_hand, where=lambda intent: intent.strategy in BY_HAND)
        bus.tap((TradingStateChanged,), self._note_state)
        if self._around.replay:
            self.actors = (Barrier(bus, self.everyone, self._board),)

    @property
    def everyone(self) -> list[Desk]:
        """The agents, and the virtual account of the one in charge."""
        return [*self.desks, *([self.champion] if self.champion is not None else [])]

    def agent(self, name: str) -> Desk | None:
        """The agent of that name."""
        return next((desk for desk in self.desks if desk.agent.name == name), None)

    def put_beside(self, in_charge: Strategy | None) -> None:
        """Let `in_charge` trade on paper as the agents do, while a canary runs; None: no more."""
        self._beside = in_charge is not None and self.champion is not None
        self._mixed = self._mixed or self._beside
        if in_charge is not None and self.champion is not None:
            fresh = anew(in_charge)
            ease(fresh, Mitigation.BACK)
            self.champion.decide_by(fresh)

    def remember(self, results: Iterable[ShadowResult]) -> None:
        """What earlier processes journaled, oldest first, is evidence too."""
        for result in results:
            for desk in self.desks:
                desk.remember(result)

    def start(self) -> None:
        """From here on the profit of the one in charge is compared."""
        self._began_at = self._real.equity

    def close(self) -> None:
        """Let all threads go; calling it again does nothing."""
        for desk in self.everyone:
            desk.close()

    def finish(self) -> None:
        """The run ends: say what the session that isn't over came to so far."""
        if self._begun is not None:
            self._over(self._around.clock.now_ns(), whole=False)
        self._tell()

    def rows(self) -> list[ShadowRow]:
        """The one in charge and every shadow; empty where there is none."""
        if not self.desks:
            return []
        net = self._real.equity - self._began_at
        first = agent_row(
            "in charge", self._settings.strategy.name, self._model, self._tally.total, self._real, net, None,
            self._sessions, skipped=self._tally.total["late"],
        )  # fmt: skip
        return [first, *(desk.row(net) for desk in self.desks)]

    # -- taps ---------------------------------------------------------------------------------------------------------

    def _asked(self, event: Event) -> None:
        assert isinstance(event, Complexity)
        if event.interval == self._settings.strategy.interval:
            self._board.ask(event)

    def _decided(self, event: Event) -> None:
        assert isinstance(event, Decision)
        self._board.decide(event)
        self._deciders.add((event.strategy, event.model_hash))
        self._disturbed |= self._state is not TradingState.ACTIVE
        for desk in self.everyone:
            desk.look()

    def _by_hand(self, event: Event) -> None:
        self._disturbed = True

    def _note_state(self, event: Event) -> None:
        assert isinstance(event, TradingStateChanged)
        self._state = event.state

    def _hear(self, event: Event) -> None:
        if isinstance(event, COMMANDS) and (event.who == ITSELF or (isinstance(event, Halt) and event.shutdown)):
            return
        if isinstance(event, PositionRestated) and not self._settings.broker.on_paper:
            return  # the broker's own; a desk makes one of each `PriceAdjusted`
        if isinstance(event, TimeAdvanced):
            self._tell()
            self._look_at_the_session(event.ts)
        for desk in self.desks:
            desk.hear(event)
        if self.champion is not None and self._is_for(self.champion, event):
            self.champion.hear(event)

    def _is_for(self, champion: Desk, event: Event) -> bool:
        """All while a canary runs; after it what closes a position and values it, else what was of the market."""
        held = champion.holds and not isinstance(event, Complexity)
        return self._beside or held or isinstance(event, PAST)

    def _look_at_the_session(self, ts: int) -> None:
        if self._begun is not None and ts >= self._begun.session.close_ns and not self._closing:
            self._closing = True
            self._bus.when_idle(lambda: self._over(ts, whole=True))
        if self._begun is None:
            session = self._session_at(ts)
            if session is not None:
                first_close = session.open_ns + self._interval_ns
                self._begin(SessionBegun(session, ts, ts <= first_close + MINUTE_NS))

    def _session_at(self, ts: int) -> Session | None:
        try:
            return self._around.calendar.session_at(ts)
        except CalendarRangeError:  # whoever said so is to hear nothing of it from here
            return None

    def _begin(self, begun: SessionBegun) -> None:
        self._begun, self._closing = begun, False
        self._tally.begin()
        self._deciders, self._disturbed = set(), False
        self._start_equity = self._real.equity
        self._mixed = self._beside
        for desk in self._compared:
            desk.hear(begun)

    @property
    def _compared(self) -> list[Desk]:
        return self.everyone if self._beside else self.desks

    def _over(self, ts: int, *, whole: bool) -> None:
        """The session is over, or the run is: each desk says so when it has come there, or at once if it has."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        figures = self._tally.session
        net = self._real.equity - self._start_equity
        self._sessions.append(session_row(begun, ts, figures, net, None, whole=whole and begun.from_the_open))
        alone = len(self._deciders) == 1 and not self._disturbed
        strategy, model_hash = next(iter(self._deciders)) if alone else ("", "")
        standing = Standing(net, figures["decisions"], figures["trades"], self._mixed, strategy, model_hash)
        over = SessionOver(ts, standing)
        for desk in self._compared:
            if whole and not desk.is_settled:
                desk.hear(over)
            else:
                desk.finish(over)
        self._tell()

    def _tell(self) -> None:
        for desk in self.everyone:
            while desk.results:
                self._bus.publish(desk.results.popleft())


def earlier_results(journal: Path, *, live: bool) -> list[ShadowResult]:
    """What shadow agents came to in the whole sessions that a journal keeps, oldest first; `live`: of no tape.

    A session that was played twice counts once. Raises `UsageError` for a journal that can't be read.
    """
    if is_blank(journal):
        return []
    reader = JournalReader(journal)
    try:
        runs = [run for run, tapes in reader.metadata_of_all("tapes").items() if (tapes == "[]") is live]
        found: dict[tuple[str, str, str, int], ShadowResult] = {}
        for event in reader.of_runs(runs, ShadowResult):
            if isinstance(event, ShadowResult) and event.whole:
                found[event.agent, event.strategy, event.model_hash, event.day] = event
        return sorted(found.values(), key=lambda result: result.day)
    finally:
        reader.close()
