"""Keeps the actors alive and steps down the ladder of strategies when decisions fail.

The one place that catches exceptions: a crashed actor is restarted within a budget; beyond it the whole daemon stops
with a fault, and systemd starts it anew. Invariant: the ladder is only ever stepped down here, and every step is an
event.
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

log = structlog.get_logger("supervisor")


class Ladder:
    """Counts failed decisions in a row and names the rung in charge; loop-free."""

    def __init__(self, rungs: Sequence[str], active: str, max_failed: int) -> None:
        self._rungs = list(rungs) if active in rungs else [active, *rungs]
        self.active = active
        self.failed = 0
        self._max_failed = max_failed

    def on_decision(self, decision: Decision) -> str | None:
        """The rung to step down to after this decision, or None."""
        if decision.strategy != self.active:
            return None
        self.failed = self.failed + 1 if decision.failed else 0
        return self.below() if self.failed >= self._max_failed else None

    def on_crash(self) -> str | None:
        """A crash of the strategy counts as a failed decision."""
        self.failed += 1
        return self.below() if self.failed >= self._max_failed else None

    def below(self) -> str | None:
        """The next rung, None on the last."""
        position = self._rungs.index(self.active)
        return self._rungs[position + 1] if position + 1 < len(self._rungs) else None

    @property
    def rung(self) -> int:
        """The place of the strategy in charge, 0 the best."""
        return self._rungs.index(self.active)

    def has(self, rung: str) -> bool:
        """Whether `rung` can be put in charge."""
        return rung in self._rungs

    def take(self, rung: str) -> None:
        """Put `rung` in charge."""
        self.active = rung
        self.failed = 0


class Supervisor(Actor):
    """Runs actors, restarts them, and watches decisions."""

    name = "supervisor"

    def __init__(self, bus: Bus, ladder: Ladder, settings: SupervisorSettings, clock: Clock) -> None:
        super().__init__(bus)
        self.ladder = ladder
        self.restarts: dict[str, int] = {}
        self._settings = settings
        self._clock = clock
        self._crashes: dict[str, deque[int]] = {}
        self.inbox = bus.subscribe(self.name, (SwapStrategy, FeedStatus, TradingStateChanged))
        bus.subscribe(self.name, (Decision,), where=self._matters, inbox=self.inbox)

    def handle(self, event: Event) -> None:
        """Watch."""
        if isinstance(event, Decision):
            below = self.ladder.on_decision(event)
            if below is not None:
                self._swap(below, f"{self.ladder.failed} failed decisions in a row: {event.reason}")
        elif isinstance(event, SwapStrategy):
            if self.ladder.has(event.name):
                self._swap(event.name, event.reason)
            else:
                log.warning("no such strategy on the ladder", name=event.name, reason=event.reason)
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

    def _matters(self, decision: Decision) -> bool:
        """A good decision changes nothing unless failures were being counted: spare the hop."""
        return decision.failed or self.ladder.failed > 0

    def _on_crash(self, actor: Actor, error: Exception) -> None:
        now = self._clock.monotonic_ns()
        crashes = self._crashes.setdefault(actor.name, deque())
        crashes.append(now)
        while now - crashes[0] > self._settings.restart_window_s * NS_PER_S:
            crashes.popleft()
        reason = f"{type(error).__name__}: {error}"
        if actor.name == "strategy":
            below = self.ladder.on_crash()
            if below is not None:
                self._swap(below, f"strategy crashed: {reason}")
                crashes.clear()
        if len(crashes) > self._settings.max_restarts:
            raise Fault(f"actor {actor.name!r} crashed {len(crashes)} times, last with {reason}") from error
        self.restarts[actor.name] = self.restarts.get(actor.name, 0) + 1
        self.bus.publish(
            ActorRestarted(ts=self._clock.now_ns(), actor=actor.name, error=reason, restarts=self.restarts[actor.name])
        )

    def _swap(self, rung: str, reason: str) -> None:
        if rung == self.ladder.active:
            return
        ts = self._clock.now_ns()
        log.warning("strategy swapped", old=self.ladder.active, new=rung, reason=reason)
        self.bus.publish(StrategySwapped(ts=ts, old=self.ladder.active, new=rung, reason=reason))
        self.ladder.take(rung)
        if rung == "flat":
            self.bus.publish(Flatten(ts=ts, reason="no strategy is left"))
