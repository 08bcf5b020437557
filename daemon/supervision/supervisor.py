"""Keeps the actors alive, and does about the strategy in charge what `care` comes to.

The one place that catches exceptions of actors: a crashed actor is restarted within a budget; beyond it the whole
daemon stops with a fault, and systemd starts it anew. Invariant: the ladder is only ever stepped down here, and every
step is an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import Clock, india_day
from daemon.core.errors import Fault, StartAgain
from daemon.core.events import (
    ITSELF,
    ActorRestarted,
    Decision,
    EaseStrategy,
    Event,
    FeedStatus,
    Flatten,
    Halt,
    InferenceMeasured,
    LockStrategy,
    MemoryMeasured,
    Mitigation,
    MitigationTaken,
    PositionChanged,
    ShadowDecided,
    ShadowResult,
    ShadowStrategy,
    StrategySwapped,
    SwapStrategy,
    TradingState,
    TradingStateChanged,
)
from daemon.settings.run import SupervisorSettings
from daemon.supervision.care import PROBATION, Below, Care, Step, Traits
from daemon.supervision.mitigation import MILD
from daemon.supervision.restarts import Restarts, said
from daemon.supervision.triggers import Trigger
from strategies.base import LATE, UNFIT

log = structlog.get_logger("supervisor")

BEFORE = "as before the restart: "
LEARNED = frozenset({"hrm", "ppo"})
"""Rungs that know the market they were trained in: in another one the second is no better than the first."""
MISSING = "can't be built"
"""What the reason of a start on a lower rung says; such a rung is left again when the better one is there."""


class _Streak:
    """Bar closes in a row without a good decision; many decisions at one close count once."""

    __slots__ = ("_newest", "closes")

    def __init__(self) -> None:
        self.closes = 0
        self._newest = -1

    def extend(self, ts_bar: int) -> int:
        """A bar that closed at `ts_bar` has none; how many in a row by now."""
        if ts_bar > self._newest:
            self._newest = ts_bar
            self.closes += 1
        return self.closes


class Ladder:
    """Counts bar closes without a good decision and names the rung in charge; loop-free.

    Counted are decisions of the rung in charge only: of one instrument those that failed, and of all together those
    that failed or came to nothing because no time was left. So one bad moment of the machine is one close, however many
    instruments it cost, and an instrument on which the model always fails isn't outvoted by the others.
    """

    def __init__(self, rungs: Sequence[str], active: str, max_failed: int, missing: Collection[str] = ()) -> None:
        self._rungs = list(rungs) if active in rungs else [active, *rungs]
        self._missing = frozenset(missing)
        self._first = self._rungs.index(active)
        self.active = active
        self._max_failed = max_failed
        self._all = _Streak()
        self._failing: dict[str, _Streak] = {}
        self._lower: dict[tuple[str, bool], str | None] = {}
        """What `below` answered, which never changes."""

    def on_decision(self, decision: Decision) -> str | None:
        """Why the rung in charge is to be left after this decision, or None."""
        if decision.strategy != self.active:
            return None
        late = decision.halt_reason == LATE
        if not decision.failed and not late:
            if self._all.closes:
                self._all = _Streak()
            self._failing.pop(decision.symbol, None)
            return None
        if decision.halt_reason == UNFIT:
            return decision.reason
        closes = self._all.extend(decision.ts_bar)
        if decision.failed:
            closes = max(closes, self._failing.setdefault(decision.symbol, _Streak()).extend(decision.ts_bar))
        if closes < self._max_failed:
            return None
        what = "bar closes without a decision in time" if late else "failed decisions"
        return f"{closes} {what} in a row: {decision.reason}"

    def below(self, *, learned: bool = True) -> str | None:
        """The next rung that was built, None on the last; without `learned`: the next that no market had to teach."""
        asked = (self.active, learned)
        if asked not in self._lower:
            lower = self._rungs[self._rungs.index(self.active) + 1 :]
            passed_over = self._missing if learned else self._missing | LEARNED
            self._lower[asked] = next((rung for rung in lower if rung not in passed_over), None)
        return self._lower[asked]

    @property
    def rung(self) -> int:
        """The place of the strategy in charge, 0 the best."""
        return self._rungs.index(self.active)

    @property
    def own(self) -> str:
        """The strategy of the settings."""
        return self._rungs[self._first]

    @property
    def within_reach(self) -> list[str]:
        """The rungs that can be put in charge: the one that the run began with, and those below it."""
        return [rung for rung in self._rungs[self._first :] if rung not in self._missing]

    @property
    def above(self) -> list[str]:
        """The better ones than that in charge that can be put in charge."""
        return [rung for rung in self._rungs[self._first : self.rung] if rung not in self._missing]

    def take(self, rung: str) -> None:
        """Put `rung` in charge, with a clean record."""
        self.active = rung
        self._all = _Streak()
        self._failing = {}


class Kept(msgspec.Struct, frozen=True):
    """What runs beside the stations and is restarted like one of them."""

    name: str
    run: Callable[[], Awaitable[None]]


class Supervisor(Actor):
    """Runs actors, restarts them, and watches decisions."""

    name = "supervisor"

    def __init__(
        self, bus: Bus, ladder: Ladder, settings: SupervisorSettings, clock: Clock, traits: Traits | None = None,
        *, timed: bool = True,
    ) -> None:  # fmt: skip
        """`timed`: whether the machine's speed may decide anything, as it may not in a replay."""
        super().__init__(bus)
        self.ladder = ladder
        self.traits = traits if traits is not None else Traits()
        self.care = Care(settings, self.traits, timed=timed)
        self.reason = ""
        """Why the strategy in charge is so, "" while it is the one of the settings from the start."""
        self.who = ""
        """Who put it there."""
        self.before = ""
        """Who was in charge before, "" where nobody was."""
        self.locked_by = ""
        """Who locked it, "" where it isn't, or nobody knows."""
        self.held: set[str] = set()
        """Symbols of open positions."""
        self.free: Callable[[], int] | None = None
        """Lets go of memory that nobody needs, and says how many bytes are in use then."""
        self._settings = settings
        self._clock = clock
        self._restarts = Restarts(settings.max_restarts, settings.restart_window_s)
        self._elapsed: dict[str, int] = {}
        self._shadow = self._model = ""
        kinds = (
            Decision, SwapStrategy, FeedStatus, TradingStateChanged, InferenceMeasured, LockStrategy, ShadowDecided,
            PositionChanged, ShadowResult, MemoryMeasured,
        )  # fmt: skip
        self.inbox = bus.subscribe(self.name, kinds)

    def handle(self, event: Event) -> None:
        """Watch."""
        match event:
            case Decision():
                self._look(event)
            case InferenceMeasured():
                self._elapsed[event.symbol] = event.elapsed_ns
            case SwapStrategy():
                if event.name in self.ladder.within_reach:
                    self._swap(event.name, event.reason, event.who)
                else:
                    log.warning("no such strategy on the ladder", name=event.name, has=self.ladder.within_reach)
            case LockStrategy():
                self._lock(event)
            case ShadowDecided():
                if event.strategy == self._shadow:
                    self.care.probation.shadow(failed=event.failed)
            case ShadowResult():
                self._weigh(event)
            case MemoryMeasured():
                self._watch_memory(event)
            case PositionChanged():
                (self.held.add if event.quantity else self.held.discard)(event.symbol)
                self._halt_when_flat()
            case FeedStatus():
                log.info("feed", state=event.state, symbol=event.symbol, reason=event.reason)
            case TradingStateChanged():
                log.warning("trading state", state=event.state, reason=event.reason, who=event.who)
                if event.state is TradingState.ACTIVE and Mitigation.HALT in self.care.stairs.taken:
                    self.care.stairs.begin()  # a person took it up again

    def _look(self, decision: Decision) -> None:
        """Do what this decision gives reason to."""
        elapsed = self._elapsed.pop(decision.symbol, None)
        if decision.strategy != self.ladder.active:
            return
        now = self._clock.now_ns()
        self._note_model(decision.model_hash, now)
        step = self.care.on_decision(decision, self.ladder.on_decision(decision), elapsed, self._below, now)
        if step is not None:
            self._take_step(step, now)
        shadow = self.care.shadow_wanted(now)
        if shadow != self._shadow:
            self._shadow = shadow
            self.bus.publish(ShadowStrategy(ts=now, strategy=shadow))

    def _note_model(self, model_hash: str, now: int) -> None:
        """Another model on the same rung: nothing that the one before did, or that was done about it, is held to it."""
        if model_hash and self._model and model_hash != self._model:
            self.ladder.take(self.ladder.active)
            if Mitigation.HALT not in self.care.stairs.taken:
                self.care.stairs.begin()
            self.care.begin(now)
        self._model = model_hash or self._model

    def _weigh(self, result: ShadowResult) -> None:
        """A session is over: whether the strategy in charge earns what the baseline would have."""
        weighed = self.care.baseline.see(result)
        if weighed is None:
            return
        self.bus.publish(weighed)
        now = self._clock.now_ns()
        step = self.care.on_session(result, self._below, now) if result.real_strategy == self.ladder.active else None
        if step is not None:
            self._take_step(step, now)

    def _watch_memory(self, event: MemoryMeasured) -> None:
        """Over the limit: the next step, once what the steps before left behind has been given back."""
        now, watch, tick = self._clock.now_ns(), self.care.memory, self._clock.monotonic_ns()
        found = watch.look(event.used_bytes, tick)
        if found is not None and watch.freed and self.free is not None:
            found = watch.look(self.free(), tick)
        if found is None:
            return
        watch.rest(tick)
        step = self.care.on_memory(found, self.ladder.active, self._below, now)
        if step is None:
            return
        self._take_step(step, now)
        if step.step is Mitigation.FREE_MEMORY:
            watch.freed = True
            left = self.free() if self.free is not None else event.used_bytes
            log.warning("memory was given back", before=event.used_bytes, left=left)

    @property
    def _below(self) -> Below:
        return Below(self.ladder.below(), self.ladder.below(learned=False))

    def _take_step(self, step: Step, now: int) -> None:
        """One step, said with its evidence."""
        rung, below, care = self.ladder.active, self.ladder.below(learned=step.trigger != Trigger.NOVELTY), self.care
        log.error("automatic step", step=step.step, strategy=rung, trigger=step.trigger, evidence=step.evidence)
        eased = care.stairs.eased
        care.stairs.took(step.step, india_day(now))
        if step.step in MILD or (step.step is Mitigation.BACK and eased):
            self.bus.publish(EaseStrategy(now, step.step, rung, step.trigger, step.evidence))
            if step.step is Mitigation.BACK:
                care.stairs.begin()
            self.ladder.take(rung)
            care.begin(now)
            return
        taken = MitigationTaken(now, step.step, rung, step.trigger, step.evidence)
        if step.step is Mitigation.BACK:
            self.bus.publish(taken)
            self._take(care.came_from[-1], f"{PROBATION}: {step.evidence}", now, by_itself=True)
            return
        # what is done is on record before why: a kill in between must leave nobody in charge who was left
        if step.step is Mitigation.HALT:
            self.bus.publish(
                Halt(ts=now, reason=f"no strategy is left, call: {step.evidence}", automatic=True, who=ITSELF)
            )
        elif step.step is not Mitigation.FREE_MEMORY and below is not None:
            self._take(below, step.evidence, now, by_itself=True)
        self.bus.publish(taken)
        if step.step is Mitigation.FLAT and below is not None:
            care.stairs.taken = [Mitigation.FLAT]
            self._halt_when_flat()
        if step.trigger == Trigger.BASELINE:
            self._use_up(rung, now)

    def _use_up(self, rung: str, now: int) -> None:
        """What was proven needs a person: nobody comes back to it by himself, and who does gives it a new chance."""
        self.care.never_back_to(rung)
        for weighed in self.care.baseline.use_up(rung, now):
            self.bus.publish(weighed)

    def _halt_when_flat(self) -> None:
        """Flat by an automatic step, and all is closed: nothing more is opened until a person says so."""
        if self.care.stairs.taken != [Mitigation.FLAT] or self.held or self.ladder.active != "flat":
            return
        now = self._clock.now_ns()
        if not self.care.stairs.barred(india_day(now)):
            self._take_step(Step(Mitigation.HALT, Mitigation.FLAT.value, self.reason), now)

    def _lock(self, event: LockStrategy) -> None:
        self.care.stairs.locked = event.reason if event.locked else ""
        self.care.wanted, self.locked_by = "", event.who if event.locked else ""
        log.warning("strategy locked" if event.locked else "strategy unlocked", reason=event.reason, who=event.who)

    async def keep(self, actor: Actor | Kept) -> None:
        """Run `actor` until cancelled; restart it when it crashes.

        Raises `Fault` when it crashes too often, and at once where it says that only another process helps.
        """
        while True:
            try:
                await actor.run()
            except (asyncio.CancelledError, StartAgain):
                raise
            except Exception as error:
                log.exception("actor crashed", actor=actor.name)
                self._on_crash(actor, error)

    def guarded(self, actor: Actor) -> Callable[[Event], Awaitable[None] | None]:
        """How a pump lets `actor` handle an event: with what `keep` does about a crash, its `Fault` included."""
        handle = actor.handle

        async def awaited(waiting: Awaitable[None]) -> None:
            try:
                await waiting
            except Exception as error:
                log.exception("actor crashed", actor=actor.name)
                self._on_crash(actor, error)

        def guarded(event: Event) -> Awaitable[None] | None:
            try:
                waiting = handle(event)
            except Exception as error:
                log.exception("actor crashed", actor=actor.name)
                self._on_crash(actor, error)
                return None
            return None if waiting is None else awaited(waiting)

        return guarded

    def _on_crash(self, actor: Actor | Kept, error: Exception) -> None:
        reason = said(error)
        too_often = self._restarts.crashed(actor.name, reason, self._clock.monotonic_ns())
        if too_often:
            raise Fault(f"actor {actor.name!r} crashed {too_often} times, last with {reason}") from error
        self.bus.publish(
            ActorRestarted(ts=self._clock.now_ns(), actor=actor.name, error=reason, restarts=self.restarts[actor.name])
        )

    def start(self, ts: int) -> None:
        """Begin on the best rung that was built, and say why it isn't the settings' own."""
        own, below = self.ladder.active, self.ladder.below()
        if own in self.traits.missing and below is not None:
            self._take(below, f"{own} {MISSING}: {self.traits.missing[own]}", ts, by_itself=False)

    def resume(self, rung: str, reason: str, ts: int, before: str = "", who: str = "") -> None:
        """Go on with who was in charge when the process before ended; `who` put it there."""
        self._take(rung, reason if reason.startswith(BEFORE) else f"{BEFORE}{reason}", ts, by_itself=False, who=who)
        self.before = before or self.before

    def recall(self, steps: Iterable[MitigationTaken], lock: LockStrategy | None, ts: int) -> None:
        """What earlier processes did by themselves today counts, and a lock holds."""
        newest = None
        for newest in steps:
            self.care.stairs.remember(newest.step, india_day(newest.ts))
        if newest is not None and newest.step is Mitigation.FLAT and self.ladder.active == "flat":
            self.care.stairs.taken = [Mitigation.FLAT]
        if lock is not None and lock.locked:
            reason = lock.reason if lock.reason.startswith(BEFORE) else f"{BEFORE}{lock.reason}"
            self.bus.publish(LockStrategy(ts=ts, locked=True, reason=reason, who=lock.who))
        for weighed in self.care.baseline.weighed(ts):  # the journal forgets what is old
            self.bus.publish(weighed)

    @property
    def unbuilt(self) -> str:
        """Why the strategy of the settings can't be had, "" where it can."""
        return self.traits.missing.get(self.ladder.own, "")

    @property
    def restarts(self) -> dict[str, int]:
        """How often each was started again."""
        return self._restarts.counts

    @property
    def restarted(self) -> list[str]:
        """What crashed within the last hour and runs again, a line each."""
        return self._restarts.told(self._clock.monotonic_ns())

    @property
    def trouble(self) -> list[str]:
        """What a person must do about the strategies, a line each; nothing where all is well."""
        lines = []
        if Mitigation.HALT in self.care.stairs.taken:
            lines.append("halted by itself: no strategy is left")
        if self.care.wanted:
            lines.append(self.care.wanted)
        if self.care.memory.wanted:
            lines.append(self.care.memory.wanted)
        return lines

    @property
    def left(self) -> str:
        """The better strategy that was left by itself for the one in charge, "" where none was."""
        return self.before if self.who == ITSELF and self.before in self.ladder.above else ""

    @property
    def rollback_to(self) -> str:
        """Who a rollback would put in charge: who was before, else the next rung; "" where nobody.

        Never flat, and never who was left by itself: it would do the same again.
        """
        able = set(self.ladder.within_reach) - {"flat", self.ladder.active, self.left}
        return next((rung for rung in (self.before, self.ladder.below()) if rung in able), "")

    def _swap(self, rung: str, reason: str, who: str = "") -> None:
        if rung != self.ladder.active:
            self._take(rung, reason, self._clock.now_ns(), by_itself=False, who=who)

    def _take(self, rung: str, reason: str, ts: int, *, by_itself: bool, who: str = ITSELF) -> None:
        old = self.ladder.active
        log.warning("strategy swapped", old=old, new=rung, reason=reason, who=who)
        self.bus.publish(StrategySwapped(ts=ts, old=old, new=rung, reason=reason, who=who))
        self.ladder.take(rung)
        self.care.swapped(rung, by_itself=by_itself, old=old, now_ns=ts)
        self.reason, self.who, self.before, self._shadow, self._model = reason, who, old, "", ""
        if rung == "flat":
            self.bus.publish(Flatten(ts=ts, reason="no strategy is left", automatic=True, who=ITSELF))
