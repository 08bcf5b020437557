"""A tape → the moments that a replay of it will decide on, before it gets there.

A replay's market doesn't depend on what is decided in it, so a scout plays the same tape through stations of its own
(feed, bars, complexity, the strategy's view) as far ahead as it is asked to, and a strategy thinks about many moments
at once. Nobody trades there. What a scout foresees is checked by whoever uses it (`models.ahead`): a wrong moment costs
time and changes nothing. Invariant: a scout publishes nothing on the replay's bus and changes nothing of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
import structlog

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.bars.complexity import ComplexityActor, ComplexityDetector
from daemon.bars.overnight import Overnight
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.errors import HrmdError
from daemon.core.events import Bar, Complexity, Event, PriceAdjusted, PriceJumped
from daemon.core.latency import Latency
from daemon.core.pump import Pump
from daemon.feed.replay import TapeFeed
from daemon.market.legs import Legs
from daemon.strategy.recorded import Remembering
from daemon.strategy.seeing import see
from strategies.base import Foreseeing, MarketView, Moment

log = structlog.get_logger("scout")


class _Collector(Actor):
    """Stands where the strategy stands, and notes what it would be asked about."""

    name = "collector"

    def __init__(self, bus: Bus, view: MarketView, legs: Legs, intervals: tuple[str, ...], decides_from: int) -> None:
        super().__init__(bus)
        self.found: list[Moment] = []
        self.wanted_from = decides_from
        self._view = view
        self._legs = legs
        self.inbox = bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval in intervals)
        bus.subscribe(self.name, (Complexity,), where=self._decided, inbox=self.inbox)
        bus.subscribe(self.name, (PriceAdjusted, PriceJumped), inbox=self.inbox)

    def handle(self, event: Event) -> None:
        """Remember, or note a moment."""
        if not see(event, self._view, self._legs) and isinstance(event, Complexity):
            self.found.append(self._view.moment(event))

    def _decided(self, complexity: Complexity) -> bool:
        return complexity.ts >= self.wanted_from and not self._legs.holds(complexity.symbol)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a scout's stations are made of: the same as the replay's. `overnight` and `feed` are given the bus."""

    feed: Callable[[Bus], TapeFeed]
    builder: BarBuilder
    overnight: Callable[[Bus], Overnight]
    detector: ComplexityDetector
    view: MarketView
    legs: Legs
    interval: str
    seen: tuple[str, ...]
    """Intervals of the bars that the view remembers."""


@runtime_checkable
class LooksAhead(Foreseeing, Protocol):
    """A strategy that can think about many moments at once, before they are there."""

    def foresee(self, source: Callable[[int, int], list[Moment]], size: int, now_ns: Callable[[], int]) -> str:
        """Think ahead of the moments that `source` will bring, at most `size` in a batch; why not, "" where it does."""


def one_by_one(latency: Latency, recovers: bool, agents: Sequence[str]) -> str:
    """Why a replay's decisions are thought of one by one, "" where the strategy may look ahead."""
    if isinstance(latency, Remembering):
        return "recorded latency replays as many segments as the clock then allowed (--latency)"
    if recovers:
        return "the run goes on from an earlier one"
    if agents:
        return f"shadow agents think beside: {', '.join(agents)}"
    return ""


class Scout:
    """See the module."""

    def __init__(self, parts: Parts, decides_from: int = 0) -> None:
        """Moments before `decides_from` (UTC ns) are passed by."""
        self._pump = pump = Pump()
        bus = Bus(runner=pump)
        bars = BarsActor(bus, parts.builder, parts.overnight(bus))
        complexity = ComplexityActor(bus, parts.detector, parts.interval)
        self._collector = _Collector(bus, parts.view, parts.legs, parts.seen, decides_from)
        for actor in (bars, complexity, self._collector):
            pump.add(actor.inbox, actor.handle)
        pump.give_way()
        self._playing: Coroutine[Any, Any, None] | None = parts.feed(bus).run()

    def moments(self, count: int, ts: int) -> list[Moment]:
        """About the next `count` moments at or after `ts` (UTC ns), all of one instant together; none at the end."""
        collector = self._collector
        collector.wanted_from = max(collector.wanted_from, ts)
        while self._playing is not None and len(collector.found) < count:
            try:
                self._playing.send(None)
            except StopIteration:
                self.close()
            except HrmdError as error:  # the replay comes to the same place, and says it
                log.debug("the tape can't be read any further", reason=str(error))
                self.close()
        found, collector.found = collector.found, []
        return found

    def close(self) -> None:
        """Let go of the tape; calling it again does nothing."""
        if self._playing is not None:
            self._playing.close()
            self._playing = None
            self._pump.close()
