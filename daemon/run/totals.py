"""The events of one process of `hrmd run` → the line that sums it up when it ends.

Invariant: what earlier processes won or lost is not in it: a position that was carried in counts from its last price.
"""

from __future__ import annotations

from daemon.core.events import (
    Decision,
    Event,
    Fill,
    Halt,
    PositionRestated,
    RunCounted,
    TradingState,
    TradingStateChanged,
)
from daemon.portfolio.book import Portfolio
from daemon.report.text import rupees, signed_rupees
from daemon.report.trades import ZERO, TradeBook

TOTALLED: tuple[type[Event], ...] = (Decision, Fill, Halt, PositionRestated, RunCounted, TradingStateChanged)
"""The events that are counted."""


class RunTotals:
    """Counts; of a run of weeks it keeps no more than of a minute."""

    def __init__(self, portfolio: Portfolio, state: TradingState) -> None:
        """`portfolio` and trading `state` as the process finds them; the run moves the portfolio itself."""
        self.decisions = self.fills = self.trades = self.halts = 0
        self.costs = ZERO
        self._counted: RunCounted | None = None
        self._portfolio = portfolio
        self._began_at = portfolio.equity
        self._state = state
        self._ending = False
        self._book = TradeBook()
        for held in portfolio.positions():
            if held.quantity:
                self._book.carry(held.symbol, held.quantity, held.average_price, held.opened_ts)

    def record(self, event: Event) -> None:
        """Count `event`; types not in `TOTALLED` are passed over."""
        match event:
            case Decision():
                self.decisions += 1
            case Fill():
                self.fills += 1
                self.costs += event.costs
                self.trades += self._book.add(event) is not None
            case PositionRestated():
                self._book.restate(event)
            case Halt():
                self._ending = self._ending or event.shutdown
            case RunCounted():
                self._counted = event
            case TradingStateChanged():
                halted = event.state is TradingState.HALTED and self._state is not TradingState.HALTED
                self.halts += halted and not self._ending  # the end of the process is no halt of trading
                self._state = event.state

    @property
    def all_rejected(self) -> dict[str, int] | None:
        """Why no tick was taken of a feed that came to its end; None where one was, or where it was stopped."""
        told = self._counted
        return None if told is None or told.accepted or self._ending else told.rejected

    def words(self) -> dict[str, str | int]:
        """For the log; `net_pnl` is after costs, positions at their last prices."""
        return {
            "net_pnl": signed_rupees(self._portfolio.equity - self._began_at),
            "costs": rupees(self.costs),
            "trades": self.trades,
            "fills": self.fills,
            "decisions": self.decisions,
            "halts": self.halts,
        }
