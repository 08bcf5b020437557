"""Bars, fills and decisions as they come → what the control API shows of them later: bars, trades, equity, reasoning.

Of this process; positions that an earlier one left are taken up at their average price, without its costs. Invariant:
what is kept is bounded, and nothing here changes the daemon or waits.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from decimal import Decimal

from daemon.app import App
from daemon.control.rows import Asked, EquityRow, HrmMetrics, Page, Ring, TradeRow
from daemon.core.clock import NS_PER_MS
from daemon.core.events import Bar, Decision, Event, Fill, PositionRestated, Side
from daemon.report.trades import TradeBook
from daemon.run.process import memory_in_use
from daemon.run.worth import equity_of

KEPT_BARS = 1000
"""Of each symbol and interval."""
KEPT_TRADES = 5000
KEPT_EQUITY = 5000
LOOKED_AT = 100
"""Decisions, for how the model reasons."""
PAISA = Decimal("0.01")


class Past:
    """What was, as far as it is kept."""

    def __init__(self, app: App) -> None:
        self.trades: Ring[TradeRow] = Ring(KEPT_TRADES)
        self.equity: Ring[EquityRow] = Ring(KEPT_EQUITY)
        self._app = app
        self._interval = app.settings.strategy.interval
        self._all: Ring[Bar] = Ring(KEPT_BARS)
        self._bars: dict[tuple[str, str], Ring[Bar]] = {}
        self._book = TradeBook()
        for position in app.account.portfolio.positions():
            if position.quantity:
                self._book.add(
                    Fill(
                        ts=position.opened_ts, fill_id="", order_id="", symbol=position.symbol,
                        side=Side.BUY if position.quantity > 0 else Side.SELL, quantity=abs(position.quantity),
                        price=position.average_price, costs=Decimal(0),
                    )
                )  # fmt: skip

    def record(self, event: Event) -> None:
        """One event."""
        match event:
            case Bar():
                self._all.add(event)
                self._bars.setdefault((event.symbol, event.interval), Ring(KEPT_BARS)).add(event)
                if event.interval == self._interval:
                    self._worth(event.ts_close)
            case Fill():
                trade = self._book.add(event)
                if trade is not None:
                    self.trades.add(TradeRow.of(trade))
            case PositionRestated():
                self._book.restate(event)

    def bars_page(self, asked: Asked) -> Page:
        """Of one symbol and interval as many as are kept of it; otherwise of the newest of all."""
        if asked.symbol and asked.interval:
            ring = self._bars.get((asked.symbol, asked.interval))
            return ring.page(asked) if ring is not None else Page([])
        return self._all.page(
            asked,
            lambda bar: (
                (not asked.symbol or bar.symbol == asked.symbol)
                and (not asked.interval or bar.interval == asked.interval)
            ),
        )

    def _worth(self, ts: int) -> None:
        """Once for all bars that close together; the first of them is told before its own price counts."""
        newest = self.equity.rows[-1] if self.equity.rows else None
        if newest is not None and newest.ts >= ts:
            return
        app, portfolio = self._app, self._app.portfolio.portfolio
        equity = equity_of(app).quantize(PAISA)
        self.equity.add(EquityRow(ts=ts, equity=equity, net_pnl=(equity - portfolio.starting_cash).quantize(PAISA)))


def reasoning(decisions: Iterable[Decision], max_segments: int, ts: int) -> HrmMetrics:
    """How a model reasons over its newest decisions."""
    seen = [decision for decision in decisions if decision.segments][-LOOKED_AT:]
    memory = memory_in_use() / 1_000_000
    if not seen:
        return HrmMetrics(
            ts=ts, decisions=0, efficiency=None, reasoning_depth=None, convergence=None, convergence_stability=None,
            latency_ms=None, memory_mb=memory, complexity=None,
        )  # fmt: skip
    depth = statistics.fmean(decision.segments for decision in seen)
    settled = [decision.convergence for decision in seen]
    mean = statistics.fmean(settled)
    spread = statistics.pstdev(settled)
    return HrmMetrics(
        ts=ts,
        decisions=len(seen),
        efficiency=max(0.0, 1 - depth / max_segments),
        reasoning_depth=depth,
        convergence=mean,
        convergence_stability=mean / (mean + spread) if mean + spread else 1.0,
        latency_ms=statistics.fmean(decision.latency_ns for decision in seen) / NS_PER_MS,
        memory_mb=memory,
        complexity=statistics.fmean(decision.complexity for decision in seen),
    )
