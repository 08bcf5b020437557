"""The strategy stage: bars, complexity and positions in, decisions out.

A `Complexity` asks for a decision, from the moment in which it is published; a strategy that thinks for long does so on
the one inference thread, the loop goes on meanwhile. Invariant: decisions leave in the order in which their bars
closed, one at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping
from concurrent.futures import Executor
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import Clock, stopwatch_ns
from daemon.core.events import Bar, Complexity, Decision, Event, InferenceMeasured, PositionChanged, StrategySwapped
from daemon.market.legs import Legs
from strategies.base import MarketView, Moment, Strategy, hold

log = structlog.get_logger("strategy")

FLAT = "flat"
"""The rung below every strategy: nothing is decided any more, positions are closed by the supervisor."""


class _Request:
    """A decision on the bar that closed at `ts_bar`, and when it was asked for in event time and in duration time."""

    __slots__ = ("monotonic_ns", "ts", "ts_bar")

    def __init__(self, clock: Clock, ts_bar: int) -> None:
        self.ts = clock.now_ns()
        self.monotonic_ns = clock.monotonic_ns()
        self.ts_bar = ts_bar


@runtime_checkable
class Deliberating(Protocol):
    """A strategy that can do with less time."""

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Decide within a deadline that started at `asked_ns` and that `waiting` decisions have to share."""


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
        legs: Legs | None = None,
    ) -> None:
        super().__init__(bus)
        self.view = view
        self.legs = legs if legs is not None else Legs()
        self.strategies = strategies
        self.active = active
        self._clock = clock
        self._latency = latency
        self._executor = executor
        self._requests: dict[str, deque[_Request]] = {}
        self.superseded = 0
        """Decisions that were not made because a newer bar of the symbol had closed before their turn came."""
        decided = self._decided
        bus.tap((Complexity,), self._ask, where=decided)
        self.inbox = bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval in intervals)
        bus.subscribe(self.name, (Complexity,), where=decided, inbox=self.inbox)
        bus.subscribe(self.name, (PositionChanged, StrategySwapped), inbox=self.inbox)

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Remember, or decide."""
        if isinstance(event, Bar):
            self.legs.on_bar(event)
            self.view.on_bar(event)
        elif isinstance(event, PositionChanged):
            self.view.on_position(self.legs.seen(event))
        elif isinstance(event, StrategySwapped):
            self.active = event.new
        elif isinstance(event, Complexity):
            return self._decide(event)
        return None

    def _decided(self, complexity: Complexity) -> bool:
        """Whether somebody decides on it: not on a future that is traded for its index."""
        return not self.legs.holds(complexity.symbol)

    def _ask(self, complexity: Complexity) -> None:
        self._requests.setdefault(complexity.symbol, deque()).append(_Request(self._clock, complexity.ts))

    def _decide(self, complexity: Complexity) -> Awaitable[None] | None:
        requests = self._requests[complexity.symbol]
        request = requests[0]
        strategy = self.strategies.get(self.active)
        if strategy is not None and strategy.in_thread:
            return self._think(strategy, complexity, requests)
        requests.popleft()
        moment = self.view.moment(complexity)
        answer = hold(moment, FLAT, "no strategy is in charge") if strategy is None else strategy.decide(moment)
        self._publish(answer, request)
        return None

    async def _think(self, strategy: Strategy, complexity: Complexity, requests: deque[_Request]) -> None:
        """Decide on the inference thread, unless a newer bar of the symbol has closed meanwhile.

        Bars that close at one instant of the run's clock (a replay that catches up after a gap) supersede nothing, so
        that what is decided never depends on how fast this machine is.
        """
        request, newest = requests[0], requests[-1]
        waiting = sum(1 for queue in self._requests.values() if queue)
        try:
            if newest.monotonic_ns > request.monotonic_ns:
                self.superseded += 1
                log.warning("a newer bar has closed", symbol=complexity.symbol, ts_bar=request.ts_bar)
                return
            moment = self.view.moment(complexity)
            measured = stopwatch_ns()
            decision = await asyncio.get_running_loop().run_in_executor(
                self._executor, _answer, strategy, moment, request.monotonic_ns, waiting
            )
            elapsed_ns = stopwatch_ns() - measured
        finally:
            requests.popleft()
        self.bus.publish(InferenceMeasured(ts=request.ts, symbol=moment.symbol, elapsed_ns=elapsed_ns))
        self._publish(decision, request)

    def _publish(self, decision: Decision, request: _Request) -> None:
        """Stamp the decision with the run's time and publish it."""
        latency = self._latency.decision_ns(decision, self._clock.monotonic_ns() - request.monotonic_ns)
        self.bus.publish(msgspec.structs.replace(decision, ts=request.ts + latency, latency_ns=latency))


def _answer(strategy: Strategy, moment: Moment, asked_ns: int, waiting: int) -> Decision:
    if isinstance(strategy, Deliberating):
        return strategy.decide_since(moment, asked_ns, waiting)
    return strategy.decide(moment)
