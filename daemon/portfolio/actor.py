"""The portfolio stage: fills in, positions out; values positions at the close of each bar of the decision interval.

Invariant: a `PositionChanged` follows every `Fill` that is new, and none follows a repeated one.
"""

from __future__ import annotations

from decimal import Decimal

import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS
from daemon.core.events import Bar, Event, Fill, PositionRestated
from daemon.portfolio.book import Portfolio

log = structlog.get_logger("portfolio")


class PortfolioActor(Actor):
    """See the module."""

    name = "portfolio"

    def __init__(self, bus: Bus, portfolio: Portfolio, interval: str) -> None:
        super().__init__(bus)
        self.portfolio = portfolio
        self._sessions: list[tuple[int, Decimal]] = []
        self._valued_ts = 0
        self.inbox = bus.subscribe(self.name, (Fill, PositionRestated))
        bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval == interval, inbox=self.inbox)

    def handle(self, event: Event) -> None:
        """Apply a fill, or value what is held."""
        if isinstance(event, Fill):
            self._roll(event.ts)
            changed = self.portfolio.apply(event)
            if changed is not None:
                self.bus.publish(changed)
        elif isinstance(event, PositionRestated):
            self._restate(event)
        elif isinstance(event, Bar):
            self._roll(event.ts_close)
            self.portfolio.mark(event.symbol, event.close, event.ts_close)
            self._valued_ts = max(self._valued_ts, event.ts_close)

    def _restate(self, event: PositionRestated) -> None:
        self._roll(event.ts)
        restated = self.portfolio.restate(event)
        if restated is None:
            return
        changed, rest = restated
        left = f", less {float(rest):.4g} of a share, which the company pays in cash that isn't booked" if rest else ""
        held = f"{changed.quantity} at {changed.average_price:,.2f}{left}"
        log.warning(f"{event.symbol}: {event.kind} of {event.date}: {held} held from now on")
        self.bus.publish(changed)

    def _roll(self, ts: int) -> None:
        """Before the first thing of a new day changes it, keep the equity that the last session ended with."""
        if self._valued_ts and ts // DAY_NS > self._valued_ts // DAY_NS:
            self._sessions.append((self._valued_ts, self.portfolio.equity))
            self._valued_ts = ts

    def equity_by_session(self) -> list[tuple[int, Decimal]]:
        """(time, equity in rupees) at the last bar of each session so far, the present one included."""
        open_session = [(self._valued_ts, self.portfolio.equity)] if self._valued_ts else []
        return [*self._sessions, *open_session]
