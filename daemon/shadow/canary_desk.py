"""Commands and decisions → where the canary run stands, said with `CanaryChanged`, and what the stations do about it.

Its bus is the main one. Invariant: one canary at most; everything that could end one ends it here and is one event; a
promotion is an order to the model switch or to the ladder, and is said when they have done it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import UsageError
from daemon.core.events import (
    ITSELF,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    Decision,
    EndCanary,
    Event,
    LoadModel,
    ModelLoaded,
    ModelRefused,
    ShadowResult,
    StrategySwapped,
    SwapStrategy,
    TimeAdvanced,
    TradingState,
)
from daemon.portfolio.book import Portfolio
from daemon.settings.tree import Settings
from daemon.shadow.canary import CHAMPION, Canary, share_of
from daemon.shadow.candidate import Candidate, anew
from daemon.shadow.promotion import Road, road_for
from daemon.shadow.shadows import Shadows
from daemon.strategy.actor import StrategyActor
from daemon.strategy.build import view_settings
from daemon.strategy.store import PREVIOUS
from daemon.strategy.switching import RUNG
from daemon.supervision.comparison import Verdict
from daemon.supervision.supervisor import BEFORE, Ladder
from strategies.base import Strategy, model_hash_of

log = structlog.get_logger("canary")

OPERATOR = "the operator"
"""Who puts a candidate in charge by settings and a start: more isn't known of that person."""


class CanaryDesk(Actor):
    """See the module."""

    name = "canary"

    def __init__(
        self, bus: Bus, settings: Settings, clock: Clock, stage: StrategyActor, shadows: Shadows, account: Portfolio,
        ladder: Ladder, symbols: Sequence[str], traded_as: Callable[[str], str], state: Callable[[], TradingState],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:  # fmt: skip
        """`symbols` are those that are decided on, `traded_as` what each is traded under, `account` the real one."""
        super().__init__(bus)
        self.newest: CanaryChanged | None = None
        """How the newest canary stands, None where there was none."""
        self._settings = settings
        self._clock = clock
        self._stage = stage
        self._shadows = shadows
        self._account = account
        self._ladder = ladder
        self._symbols = tuple(symbols)
        self._traded_as = traded_as
        self._state = state
        self._chance = chance
        self._running: Canary | None = None
        self._promoting: tuple[str, Road] | None = None
        """Who wants it and on what road, while the switch or the ladder is at it."""
        self._key = self._unwanted = ""
        """Of the command to the model switch, and of one that was given before the candidate was rolled back."""
        self.inbox = bus.subscribe(self.name, (BeginCanary, EndCanary))
        watched = (Decision, TimeAdvanced, ShadowResult, StrategySwapped)
        bus.subscribe(self.name, watched, where=lambda _: self._running is not None, inbox=self.inbox)
        bus.subscribe(self.name, (ModelLoaded, ModelRefused), inbox=self.inbox)

    # -- what it hears ----------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """One event, synchronously."""
        if isinstance(event, BeginCanary):
            self._begin(event)
            return
        canary = self._running
        if canary is None:
            if isinstance(event, EndCanary):
                log.warning("no canary runs that could be ended", who=event.who)
            elif isinstance(event, ModelLoaded | ModelRefused) and event.key and event.key == self._unwanted:
                self._answered(event)
            return
        match event:
            case EndCanary():
                self._end(canary, event)
            case Decision():
                self._roll_back_if(canary.on_decision(event))
            case TimeAdvanced():
                self._roll_back_if(self._unfit(canary) or canary.loss(self._pnl(canary)))
            case ShadowResult():
                if canary.on_result(event):
                    self._judge(canary)
            case StrategySwapped():
                self._swapped(event)
            case ModelLoaded():
                self._loaded(event)
            case ModelRefused():
                if self._promoting is not None and event.key == self._key:
                    self._promoting = None
                    self._say(canary, ITSELF, f"can't be promoted: {event.reason}")

    def resume(self, was: CanaryChanged | None, results: Sequence[ShadowResult]) -> None:
        """Go on where the process before left it, or say why that can't be."""
        if was is None:
            return
        self.newest = was
        if was.state is not CanaryState.RUNNING:
            return
        desk = self._shadows.agent(was.agent)
        if desk is not None:
            was = msgspec.structs.replace(was, runtime=_runtime(desk.agent.strategy))
        canary = self._running = self._of(was)
        if self._decides_everything(was):
            canary.remember(results)
            self._promoted_meanwhile(was)
            return
        why = self._no_more_the_same(was)
        if why:
            self._roll_back_if(f"can't go on after the restart: {why}")
            return
        canary.remember(results)
        self._let_decide(was.agent)
        reason = was.reason if was.reason.startswith(BEFORE) else f"{BEFORE}{was.reason}"
        self._say(canary, was.who, reason)
        if canary.verdict is not Verdict.CONTINUE and (
            self._settings.canary.promote == "auto" or canary.sessions > was.sessions
        ):  # the process before ended before it could act on it
            self._judge(canary)

    def _decides_everything(self, was: CanaryChanged) -> bool:
        """Whether the one in charge is the candidate now."""
        same = bool(was.model_hash) and self._against == f"{was.strategy} {was.model_hash}"
        return same and self._ladder.active == self._ladder.own

    def _decides(self, strategy: Strategy) -> bool:
        """Whether the one in charge thinks with the model of this strategy."""
        own, model = self._in_charge, model_hash_of(strategy)
        return own is not None and bool(model) and (own.name, model_hash_of(own)) == (strategy.name, model)

    def _promoted_meanwhile(self, was: CanaryChanged) -> None:
        """Between two processes: by a person's settings, or by a switch whose end the one before didn't live to say."""
        if was.against.partition(" ")[0] == was.strategy:
            self._finish(CanaryState.PROMOTED, was.who, f"{BEFORE}{self._against} is in charge")
            return
        reason = f"the settings of this start put {self._against} in charge of everything"
        self._finish(CanaryState.PROMOTED, OPERATOR, reason, by_settings=True)

    # -- what may be asked ------------------------------------------------------------------------------------------

    @property
    def agents(self) -> list[str]:
        """Who could begin one."""
        return [desk.agent.name for desk in self._shadows.desks]

    @property
    def running(self) -> Canary | None:
        """The one that runs."""
        return self._running

    @property
    def earned(self) -> Decimal | None:
        """What the running one's instruments have come to since it began, rupees; None where none runs."""
        return None if self._running is None else self._running.earned(self._pnl(self._running))

    def why_not_begin(self, agent: str) -> str:
        """Why `agent` can't begin one now, in a line; "" where it can."""
        if not self._shadows.desks:
            return "no shadow agent is configured (shadow.agents)"
        desk = self._shadows.agent(agent)
        if desk is None:
            return f"agent: expected one of {', '.join(self.agents)}, got {agent!r}"
        if self._running is not None:
            return f"a canary of {self._running.agent} runs; end it first (hrmd ctl canary rollback)"
        if self._unwanted:
            return "the model of a canary that was rolled back is being loaded still; it is taken back first"
        if desk.dropped:
            return f"shadow agent {agent} is dropped: {desk.dropped}; a restart has it back"
        ours = view_settings(self._settings)  # which keeps sessions where any agent asks for them
        if msgspec.structs.replace(view_settings(desk.agent.settings), keeps_sessions=ours.keeps_sessions) != ours:
            return f"shadow agent {agent} looks back on other bars than the one in charge, so it would decide otherwise"
        if self._decides(desk.agent.strategy):
            return f"shadow agent {agent} decides as the one in charge does: there is nothing to compare"
        if self._state() is not TradingState.ACTIVE:
            return f"trading is {self._state().value}; resume first (hrmd ctl resume)"
        try:
            share_of(self._settings.canary, self._symbols)
        except UsageError as error:
            return str(error)
        return self._nobody_to_compare()

    def why_not_end(self, *, promote: bool) -> str:
        """Why what runs can't be ended so now, in a line; "" where it can."""
        if self._running is None:
            return "no canary runs"
        if not promote:
            return ""
        if self._promoting is not None:
            return f"{self._running.agent} is being put in charge already"
        road = self._road(self._running)
        return road if isinstance(road, str) else ""

    # -- beginning --------------------------------------------------------------------------------------------------

    def _begin(self, command: BeginCanary) -> None:
        why = self.why_not_begin(command.agent)
        desk = self._shadows.agent(command.agent)
        if why or desk is None:
            log.error("a canary is not begun", agent=command.agent, who=command.who, reason=why)
            if self._running is None:  # whoever listens is told; beside one that runs it would be taken for that one
                self._publish(_not_begun(command, self._clock.now_ns(), why))
            return
        symbols = share_of(self._settings.canary, self._symbols)
        now = self._clock.now_ns()
        began = CanaryChanged(
            ts=now, agent=command.agent, strategy=desk.agent.strategy.name,
            model_hash=model_hash_of(desk.agent.strategy),
            state=CanaryState.RUNNING, symbols=symbols, size=self._settings.canary.size, sessions=0, mean_bp=0.0,
            better=1.0, worse=1.0, who=command.who, reason=command.reason, against=self._against, began_ts=now,
            runtime=_runtime(desk.agent.strategy),
            base_pnl=self._account.profit(map(self._traded_as, symbols)),
        )  # fmt: skip
        self._running = self._of(began)
        self._let_decide(command.agent)
        log.warning("a canary begins", agent=command.agent, symbols=symbols, size=began.size, who=command.who)
        self._publish(began)

    def _of(self, began: CanaryChanged) -> Canary:
        most = self._settings.supervisor.max_failed_decisions
        return Canary(self._settings.canary, began, most, self._account.starting_cash)

    def _let_decide(self, agent: str) -> None:
        desk, own = self._shadows.agent(agent), self._in_charge
        assert desk is not None, "it was asked for by its name before"
        self._stage.admit(Candidate(agent, anew(desk.agent.strategy)))
        self._shadows.put_beside(own)

    # -- while it runs ----------------------------------------------------------------------------------------------

    def _judge(self, canary: Canary) -> None:
        """A session more: what it says, and what is done about it."""
        if canary.verdict is Verdict.ROLL_BACK:
            self._roll_back_if(canary.words)
            return
        if canary.verdict is Verdict.CONTINUE:
            self._say(canary, ITSELF, "a session was judged")
            return
        if self._settings.canary.promote == "auto":
            self._promote(canary, ITSELF, canary.words)
            return
        road = self._road(canary)
        do = road if isinstance(road, str) else "hrmd ctl canary promote puts it in charge"
        self._say(canary, ITSELF, f"proof: {canary.words}; {do}")

    def _unfit(self, canary: Canary) -> str:
        """Why it can't be compared any more."""
        for name, desk in ((canary.agent, self._shadows.agent(canary.agent)), (CHAMPION, self._shadows.champion)):
            if desk is None or desk.dropped:
                return f"the virtual account of {name} is dropped: {desk.dropped if desk is not None else 'it is gone'}"
        return ""

    def _swapped(self, event: StrategySwapped) -> None:
        if event.new == self._ladder.own:
            return
        if self._promoting is not None and self._promoting[1].swaps_to == event.new:
            self._promoted(self._promoting[0], event.reason)
        else:
            self._roll_back_if(f"{event.new} is in charge instead of {event.old}: {event.reason}")

    def _loaded(self, event: ModelLoaded) -> None:
        if self._promoting is not None and event.key == self._key and event.key:
            self._promoted(self._promoting[0], event.reason)
        elif self._ladder.own == RUNG:
            self._roll_back_if(f"another model was put in charge: {event.reason}")

    # -- ending -----------------------------------------------------------------------------------------------------

    def _end(self, canary: Canary, command: EndCanary) -> None:
        if command.promote:
            self._promote(canary, command.who, command.reason)
        else:
            self._finish(CanaryState.ROLLED_BACK, command.who, command.reason)

    def _promote(self, canary: Canary, who: str, reason: str) -> None:
        """Ask for it; it decides on its share until it is in charge."""
        road = self._road(canary)
        if isinstance(road, str) or self._promoting is not None:
            why = road if isinstance(road, str) else "it is being put in charge already"
            self._say(canary, who, f"can't be promoted: {why}")
            return
        self._promoting, self._key = (who, road), self._chance(8).hex()
        now, why = self._clock.now_ns(), f"canary {canary.agent}: {reason}"
        if road.loads:
            self.bus.publish(LoadModel(ts=now, key=self._key, model=road.loads, who=who, reason=why))
        else:
            person = "" if who == ITSELF else who  # what is left for proof isn't left by itself: it can be gone back to
            self.bus.publish(SwapStrategy(ts=now, name=road.swaps_to, reason=why, who=person))

    def _promoted(self, who: str, reason: str) -> None:
        self._finish(CanaryState.PROMOTED, who, reason)

    def _answered(self, event: ModelLoaded | ModelRefused) -> None:
        """It was rolled back while its model was being loaded: where it was, the one before decides again."""
        self._unwanted = ""
        if isinstance(event, ModelRefused):
            return
        why = "the canary was rolled back meanwhile"
        command = LoadModel(ts=self._clock.now_ns(), key=self._chance(8).hex(), model=PREVIOUS, who=ITSELF, reason=why)
        log.error("the model of a canary that was rolled back is taken back", model=event.name)
        self.bus.publish(command)

    def _roll_back_if(self, why: str) -> None:
        if why:
            self._finish(CanaryState.ROLLED_BACK, ITSELF, why)

    def _finish(self, state: CanaryState, who: str, reason: str, *, by_settings: bool = False) -> None:
        canary, self._running = self._running, None
        assert canary is not None, "it was running until now"
        canary.end(state)
        loading = self._promoting is not None and bool(self._promoting[1].loads)
        self._unwanted = self._key if loading and state is CanaryState.ROLLED_BACK else ""
        self._promoting, self._key = None, ""
        self._shadows.put_beside(None)
        closes: tuple[str, ...] = ()
        if state is CanaryState.ROLLED_BACK and self._settings.model_management.on_swap == "close":
            closes = tuple(map(self._traded_as, canary.symbols))
        log.warning("the canary has ended", agent=canary.agent, state=state.value, who=who, reason=reason)
        ended = canary.changed(self._clock.now_ns(), who, reason, closes)
        self._publish(msgspec.structs.replace(ended, by_settings=by_settings))

    # -- small things -----------------------------------------------------------------------------------------------

    def _say(self, canary: Canary, who: str, reason: str) -> None:
        log.info("canary", agent=canary.agent, reason=reason)
        self._publish(canary.changed(self._clock.now_ns(), who, reason))

    def _publish(self, event: CanaryChanged) -> None:
        self.newest = event
        self.bus.publish(event)

    def _road(self, canary: Canary) -> Road | str:
        desk = self._shadows.agent(canary.agent)
        assert desk is not None, "an agent that decides is configured"
        return road_for(desk.agent, self._settings, self._ladder, self._stage.strategies)

    def _pnl(self, canary: Canary) -> Decimal:
        return self._account.profit(map(self._traded_as, canary.symbols))

    @property
    def _in_charge(self) -> Strategy | None:
        return self._stage.succession.newest(self._ladder.own)

    @property
    def _against(self) -> str:
        own = self._in_charge
        return f"{self._ladder.own} {model_hash_of(own)}".strip() if own is not None else self._ladder.own

    def _nobody_to_compare(self) -> str:
        champion = self._shadows.champion
        if self._ladder.active != self._ladder.own:
            return f"{self._ladder.active} decides instead of {self._ladder.own}, the strategy of the settings"
        if champion is None or self._in_charge is None:
            return f"{self._ladder.own} has no virtual account to compare with"
        return f"the virtual account of the one in charge is dropped: {champion.dropped}" if champion.dropped else ""

    def _no_more_the_same(self, was: CanaryChanged) -> str:
        """Why a canary of before the restart isn't possible any more."""
        desk = self._shadows.agent(was.agent)
        if desk is None:
            return f"no shadow agent is called {was.agent} any more"
        if (desk.agent.strategy.name, model_hash_of(desk.agent.strategy)) != (was.strategy, was.model_hash):
            return f"{was.agent} is another {desk.agent.strategy.name} than it was"
        gone = [symbol for symbol in was.symbols if symbol not in self._symbols]
        if gone:
            return f"{gone[0]} isn't decided on any more"
        if self._against != was.against:
            return f"it was compared with {was.against}, and {self._against} is in charge"
        return self._nobody_to_compare()


def _not_begun(command: BeginCanary, ts: int, why: str) -> CanaryChanged:
    return CanaryChanged(
        ts=ts, agent=command.agent, strategy="", model_hash="", state=CanaryState.ROLLED_BACK, symbols=(), size=0.0,
        sessions=0, mean_bp=0.0, better=1.0, worse=1.0, who=command.who, reason=f"not begun: {why}",
    )  # fmt: skip


def _runtime(strategy: Strategy) -> str:
    return str(getattr(strategy, "runtime", ""))
