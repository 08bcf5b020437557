"""The strategy stage: bars, complexity and positions in, decisions out.

A `Complexity` asks for a decision; a strategy that thinks for long does so on the one inference thread, the loop goes
on meanwhile. Invariant: decisions leave in the order in which their bars closed, one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from concurrent.futures import Executor
from typing import Protocol

import msgspec

from daemon.actor import Actor
from daemon.bus import Bus
from daemon.clock import Clock, stopwatch_ns
from daemon.events import Bar, Complexity, Decision, Event, InferenceMeasured, PositionChanged, StrategySwapped
from strategies.base import MarketView, Moment, Strategy, hold

FLAT = "flat"
"""The rung below every strategy: nothing is decided any more, positions are closed by the supervisor."""


class _Start:
    """When a decision was asked for, in event time and in duration time."""

    __slots__ = ("monotonic_ns", "ts")

    def __init__(self, clock: Clock) -> None:
        self.ts = clock.now_ns()
        self.monotonic_ns = clock.monotonic_ns()


class Latency(Protocol):
    """How long a decision took, in the run's own time."""

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """Nanoseconds between bar close and decision; `elapsed_ns` is what the run's clock measured."""


class StrategyActor(Actor):
    """Asks the active strategy about every bar of the decision interval."""

    name = "strategy"

    def __init__(
        self,
        bus: Bus,
        view: MarketView,
        strategies: Mapping[str, Strategy],
        active: str,
        clock: Clock,
        latency: Latency,
        executor: Executor,
        intervals: tuple[str, ...],
    ) -> None:
        super().__init__(bus)
        self.view = view
        self.strategies = strategies
        self.active = active
        self._clock = clock
        self._latency = latency
        self._executor = executor
        self.inbox = bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval in intervals)
        bus.subscribe(self.name, (Complexity, PositionChanged, StrategySwapped), inbox=self.inbox)

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Remember, or decide."""
        if isinstance(event, Bar):
            self.view.on_bar(event)
        elif isinstance(event, PositionChanged):
            self.view.on_position(event)
        elif isinstance(event, StrategySwapped):
            self.active = event.new
        elif isinstance(event, Complexity):
            return self._decide(event)
        return None

    def _decide(self, complexity: Complexity) -> Awaitable[None] | None:
        moment = self.view.moment(complexity)
        started = _Start(self._clock)
        strategy = self.strategies.get(self.active)
        if strategy is None:
            self._publish(hold(moment, FLAT, "no strategy is in charge"), started)
        elif strategy.in_thread:
            return self._think(strategy, moment, started)
        else:
            self._publish(strategy.decide(moment), started)
        return None

    async def _think(self, strategy: Strategy, moment: Moment, started: _Start) -> None:
        measured = stopwatch_ns()
        decision = await asyncio.get_running_loop().run_in_executor(self._executor, strategy.decide, moment)
        elapsed_ns = stopwatch_ns() - measured
        self.bus.publish(InferenceMeasured(ts=started.ts, symbol=moment.symbol, elapsed_ns=elapsed_ns))
        self._publish(decision, started)

    def _publish(self, decision: Decision, started: _Start) -> None:
        """Stamp the decision with the run's time and publish it."""
        latency = self._latency.decision_ns(decision, self._clock.monotonic_ns() - started.monotonic_ns)
        self.bus.publish(msgspec.structs.replace(decision, ts=started.ts + latency, latency_ns=latency))
