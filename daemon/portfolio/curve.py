"""The events of a run → what the account was worth, at the close of each bar and at the end of each session.

Invariant: a curve that is given a run's events in the order of their publication values positions just as the run did,
so that a journal tells the same equity as the run that wrote it.
"""

from __future__ import annotations

from decimal import Decimal

from daemon.core.amounts import rounded
from daemon.core.clock import DAY_NS
from daemon.core.events import Bar, Event, Fill, PositionRestated, SymbolHalted, SymbolResumed
from daemon.portfolio.book import Portfolio

CURVED: tuple[type[Event], ...] = (Bar, Fill, PositionRestated, SymbolHalted, SymbolResumed)
"""The events that an equity curve is made of."""

Point = tuple[int, Decimal]
"""(UTC nanoseconds, rupees)."""


class EquityCurve:
    """Moves `portfolio` itself; values it at bars of `interval`."""

    def __init__(self, portfolio: Portfolio, interval: str, *, by_bar: bool = False) -> None:
        """`by_bar`: keep a point for each close, not only for each session's end."""
        self.portfolio = portfolio
        self.starting = portfolio.equity
        self.by_bar: list[Point] = []
        self._keeps = by_bar
        self._interval = interval
        self._sessions: list[Point] = []
        self._valued_ts = self._looked_ts = 0
        self._ruin: Point | None = None

    def record(self, event: Event) -> None:
        """Take an event; those that are not `CURVED` are passed over."""
        if isinstance(event, Bar):
            if event.interval == self._interval:
                self._value(event)
        elif isinstance(event, Fill):
            self._change(event.ts)
            self.portfolio.apply(event)
        elif isinstance(event, PositionRestated):
            self._change(event.ts)
            self.portfolio.restate(event)
        elif isinstance(event, SymbolHalted | SymbolResumed):
            self._change(event.ts)
            self.portfolio.over_a_night(event)

    def _value(self, bar: Bar) -> None:
        ts = bar.ts_close
        self._roll(ts)
        if ts > self._valued_ts:
            self._look()
        self.portfolio.mark(bar.symbol, bar.close, ts)
        if ts > self._valued_ts:
            self._valued_ts = ts
        if self._keeps:
            self._keep(ts)

    @property
    def ruin(self) -> Point | None:
        """The first close of a bar at which the account was worth nothing, or less; None where it never was."""
        self._look()
        return self._ruin

    def by_session(self) -> list[Point]:
        """The equity at the last bar of each session so far, the present one included."""
        present = [(self._valued_ts, rounded(self.portfolio.equity))] if self._valued_ts else []
        return [*self._sessions, *present]

    def _look(self) -> None:
        """All bars of a close are there, and nothing has changed since: whether anything is left."""
        if self._ruin is not None or self._valued_ts <= self._looked_ts:
            return
        self._looked_ts = self._valued_ts
        if (equity := rounded(self.portfolio.equity)) <= 0:
            self._ruin = self._valued_ts, equity

    def _keep(self, ts: int) -> None:
        """Of bars that close together the last one speaks for all."""
        if self.by_bar and ts <= self.by_bar[-1][0]:
            self.by_bar[-1] = (self.by_bar[-1][0], rounded(self.portfolio.equity))
        else:
            self.by_bar.append((ts, rounded(self.portfolio.equity)))

    def _change(self, ts: int) -> None:
        """What is held is about to."""
        self._roll(ts)
        self._look()

    def _roll(self, ts: int) -> None:
        """Before the first thing of a new day changes it, keep the equity that the last session ended with."""
        if self._valued_ts and ts // DAY_NS > self._valued_ts // DAY_NS:
            self._look()
            self._sessions.append((self._valued_ts, rounded(self.portfolio.equity)))
            self._valued_ts = ts
