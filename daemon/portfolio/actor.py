"""The portfolio stage: fills in, positions out; values positions at the close of each bar of the decision interval.

Invariant: a `PositionChanged` follows every `Fill` that is new, and none follows a repeated one.
"""

from __future__ import annotations

import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.events import Bar, Event, Fill, PositionRestated, SymbolHalted, SymbolResumed
from daemon.portfolio.book import Portfolio

log = structlog.get_logger("portfolio")


class PortfolioActor(Actor):
    """See the module."""

    name = "portfolio"

    def __init__(self, bus: Bus, portfolio: Portfolio, interval: str) -> None:
        super().__init__(bus)
        self.portfolio = portfolio
        self.inbox = bus.subscribe(self.name, (Fill, PositionRestated, SymbolHalted, SymbolResumed))
        bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval == interval, inbox=self.inbox)

    def handle(self, event: Event) -> None:
        """Apply a fill, or value what is held."""
        if isinstance(event, Fill):
            changed = self.portfolio.apply(event)
            if changed is not None:
                self.bus.publish(changed)
        elif isinstance(event, PositionRestated):
            self._restate(event)
        elif isinstance(event, SymbolHalted | SymbolResumed):
            self.portfolio.over_a_night(event)
        elif isinstance(event, Bar):
            self.portfolio.mark(event.symbol, event.close, event.ts_close)

    def _restate(self, event: PositionRestated) -> None:
        restated = self.portfolio.restate(event)
        if restated is None:
            return
        changed, rest = restated
        left = f", less {float(rest):.4g} of a share, which the company pays in cash that isn't booked" if rest else ""
        held = f"{changed.quantity} at {changed.average_price:,.2f}{left}"
        log.warning(f"{event.symbol}: {event.kind} of {event.date}: {held} held from now on")
        self.bus.publish(changed)
