"""Keeps the actors alive and steps down the ladder of strategies when decisions fail.

The one place that catches exceptions of actors: a crashed actor is restarted within a budget; beyond it the whole
daemon stops with a fault, and systemd starts it anew. Invariant: the ladder is only ever stepped down here, and every
step is an event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import Fault
from daemon.core.events import (
    ActorRestarted,
    Decision,
    Event,
    FeedStatus,
    Flatten,
    StrategySwapped,
    SwapStrategy,
    TradingStateChanged,
)
from daemon.settings.run import SupervisorSettings
from strategies.base import LATE, UNFIT

log = structlog.get_logger("supervisor")

BEFORE = "as before the restart: "


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

    def __init__(self, rungs: Sequence[str], active: str, max_failed: int) -> None:
        self._rungs = list(rungs) if active in rungs else [active, *rungs]
        self._first = self._rungs.index(active)
        self.active = active
        self._max_failed = max_failed
        self._all = _Streak()
        self._failing: dict[str, _Streak] = {}

    def on_decision(self, decision: Decision) -> str | None:
        """Why the rung in charge is to be left after this decision, or None."""
        if decision.strategy != self.active:
            return None
        late = decision.halt_reason == LATE
        if not decision.failed and not late:
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

    def below(self) -> str | None:
        """The next rung, None on the last."""
        position = self._rungs.index(self.active)
        return self._rungs[position + 1] if position + 1 < len(self._rungs) else None

    @property
    def rung(self) -> int:
        """The place of the strategy in charge, 0 the best."""
        return self._rungs.index(self.active)

    @property
    def within_reach(self) -> list[str]:
        """The rungs that can be put in charge: the one that the run began with, and those below it."""
        return self._rungs[self._first :]

    def take(self, rung: str) -> None:
        """Put `rung` in charge, with a clean record."""
        self.active = rung
        self._all = _Streak()
        self._failing = {}


class Supervisor(Actor):
    """Runs actors, restarts them, and watches decisions."""

    name = "supervisor"

    def __init__(self, bus: Bus, ladder: Ladder, settings: SupervisorSettings, clock: Clock) -> None:
        super().__init__(bus)
        self.ladder = ladder
        self.restarts: dict[str, int] = {}
        self.reason = ""
        """Why the strategy in charge is so, "" while it is the one of the settings from the start."""
        self._settings = settings
        self._clock = clock
        self._crashes: dict[str, deque[int]] = {}
        self.inbox = bus.subscribe(self.name, (Decision, SwapStrategy, FeedStatus, TradingStateChanged))

    def handle(self, event: Event) -> None:
        """Watch."""
        if isinstance(event, Decision):
            reason, below = self.ladder.on_decision(event), self.ladder.below()
            if reason is not None and below is not None:
                self._swap(below, reason)
        elif isinstance(event, SwapStrategy):
            if event.name in self.ladder.within_reach:
                self._swap(event.name, event.reason)
            else:
                log.warning("no such strategy on the ladder", name=event.name, has=self.ladder.within_reach)
        elif isinstance(event, FeedStatus):
            log.info("feed", state=event.state, symbol=event.symbol, reason=event.reason)
        elif isinstance(event, TradingStateChanged):
            log.warning("trading state", state=event.state, reason=event.reason)

    async def keep(self, actor: Actor) -> None:
        """Run `actor` until cancelled; restart it when it crashes. Raises `Fault` when it crashes too often."""
        while True:
            try:
                await actor.run()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.exception("actor crashed", actor=actor.name)
                self._on_crash(actor, error)

    def _on_crash(self, actor: Actor, error: Exception) -> None:
        now = self._clock.monotonic_ns()
        crashes = self._crashes.setdefault(actor.name, deque())
        crashes.append(now)
        while now - crashes[0] > self._settings.restart_window_s * NS_PER_S:
            crashes.popleft()
        reason = f"{type(error).__name__}: {error}"
        if len(crashes) > self._settings.max_restarts:
            raise Fault(f"actor {actor.name!r} crashed {len(crashes)} times, last with {reason}") from error
        self.restarts[actor.name] = self.restarts.get(actor.name, 0) + 1
        self.bus.publish(
            ActorRestarted(ts=self._clock.now_ns(), actor=actor.name, error=reason, restarts=self.restarts[actor.name])
        )

    def resume(self, rung: str, reason: str, ts: int) -> None:
        """Go on with who was in charge when the process before ended."""
        self._take(rung, reason if reason.startswith(BEFORE) else f"{BEFORE}{reason}", ts)

    def _swap(self, rung: str, reason: str) -> None:
        if rung != self.ladder.active:
            self._take(rung, reason, self._clock.now_ns())

    def _take(self, rung: str, reason: str, ts: int) -> None:
        log.warning("strategy swapped", old=self.ladder.active, new=rung, reason=reason)
        self.bus.publish(StrategySwapped(ts=ts, old=self.ladder.active, new=rung, reason=reason))
        self.ladder.take(rung)
        self.reason = reason
        if rung == "flat":
            self.bus.publish(Flatten(ts=ts, reason="no strategy is left", automatic=True))
