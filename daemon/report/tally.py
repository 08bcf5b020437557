"""Turns the events of a replay into its `ReplaySummary`, one event at a time (tap `Tally.record` on the bus).

Invariant: what it keeps grows with decisions and trades by a few bytes each, never with ticks or bars.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec
import numpy as np

from daemon.core.events import (
    SETTLEMENT,
    Action,
    Bar,
    Decision,
    Event,
    Fill,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    Regime,
)
from daemon.market.instruments import Kind
from daemon.report.chance import trade_order
from daemon.report.cost_kinds import CostKinds
from daemon.report.performance import Span, measure
from daemon.report.results import PriceSpan, SymbolBook, SymbolResult, bootstrap, buy_and_hold, by_month, month_of
from daemon.report.summary import (
    EquityPoint,
    HrmMetrics,
    InferenceMs,
    OpenTrade,
    RegimeResult,
    ReplaySummary,
    Run,
    TickCounts,
)
from daemon.report.text import whole
from daemon.report.trades import ZERO, Trade, TradeBook

TALLIED: tuple[type[Event], ...] = (
    Bar, Decision, OrderIntent, OrderDenied, OrderRejected, Fill, PositionRestated, PriceAdjusted,
    PriceJumped,
)  # fmt: skip
"""The events that `Tally.record` counts."""

DEADLINE = "deadline"
"""The halt reason that counts as a missed deadline."""

UNKNOWN_REGIME = Regime.UNKNOWN.value

SETTLED_TOLD = 5
"""So many contracts that ended while they were held are told one by one."""


class _RegimeTally:
    """Sums of one regime."""

    __slots__ = ("decisions", "net_pnl", "reasoned", "segments", "trades")

    def __init__(self) -> None:
        self.decisions = self.reasoned = self.segments = self.trades = 0
        self.net_pnl = ZERO

    def result(self) -> RegimeResult:
        depth = self.segments / self.reasoned if self.reasoned else None
        return RegimeResult(
            decisions=self.decisions, trades=self.trades, net_pnl=self.net_pnl, avg_reasoning_depth=depth
        )


_encode = msgspec.json.Encoder().encode


class Tally:
    """Counts what happened; `trades` are the round trips closed so far."""

    def __init__(self, kind_of: Callable[[str], Kind | None] = lambda _: None) -> None:
        """`kind_of` a symbol, by which its costs are split."""
        self.trades: list[Trade] = []
        self.open_trades: list[Trade] = []
        """What was still held at the end, by `summary`."""
        self._bars = self._orders = self._rejected_orders = self._fills = self._failed = 0
        self._costs = ZERO
        self._actions: Counter[str] = Counter()
        self._denied: Counter[str] = Counter()
        self._depths: Counter[int] = Counter()
        self._halts: Counter[str] = Counter()
        self._convergence = 0.0
        self._inference_ms = array("d")
        self._digest = hashlib.sha256()
        self._book = TradeBook()
        self._regimes: dict[str, _RegimeTally] = {}
        self._seen_regime: dict[str, str] = {}
        self._intended_regime: dict[str, str] = {}
        self._entry_regime: dict[str, str] = {}
        self._kinds = CostKinds(kind_of)
        self._symbols: dict[str, SymbolBook] = {}
        self._month_costs: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._spans: dict[tuple[str, str], PriceSpan] = {}
        self._settled: dict[str, str] = {}
        """By order id, what the exchange made of contracts that ended."""

    def wanted_nothing(self) -> str:
        """What has to be said where no decision asked for a trade, "" where one did, or none was made."""
        if set(self._actions) != {Action.HOLD.name}:
            return ""
        return f"no decision wanted a trade: {whole(self._actions.total())} times HOLD"

    def carry(self, symbol: str, quantity: int, average_price: Decimal, mark: Decimal, entry_ts: int) -> None:
        """Begin with a position (`quantity` signed) from before, which was worth `mark` rupees a unit."""
        self._book.carry(symbol, quantity, average_price, entry_ts)
        self._symbols.setdefault(symbol, SymbolBook()).cash -= quantity * mark
        self._entry_regime[symbol] = UNKNOWN_REGIME

    def record(self, event: Event) -> None:
        """Count `event`; types not in `TALLIED` are passed over."""
        match event:
            case Bar():
                self._bars += 1
                key = (event.interval, event.symbol)
                span = self._spans.get(key)
                if span is None:
                    span = self._spans[key] = PriceSpan(event.open, event.close)
                span.last = event.close
            case Decision():
                self._decide(event)
            case OrderIntent(strategy=strategy) if strategy == SETTLEMENT:
                self._settled[event.order_id] = f"{event.symbol}: {event.reason}"
            case OrderIntent():
                self._orders += 1
                if not event.reduces:
                    self._intended_regime[event.symbol] = self._seen_regime.get(event.symbol, UNKNOWN_REGIME)
            case OrderDenied():
                self._denied[event.check] += 1
            case OrderRejected():
                self._rejected_orders += 1
            case Fill():
                self._fill(event)
            case PositionRestated():
                self._book.restate(event)
            case PriceAdjusted():
                for (_, symbol), span in self._spans.items():
                    if symbol == event.symbol:
                        span.first, span.last = span.first * event.ratio, span.last * event.ratio
            case PriceJumped():
                for (_, symbol), span in self._spans.items():
                    span.jumped = span.jumped or symbol == event.symbol

    def inference(self, seconds: float) -> None:
        """A forward pass of the model took `seconds`, on the machine's clock."""
        self._inference_ms.append(seconds * 1000)

    def summary(
        self, run: Run, ticks: TickCounts, equity: Sequence[EquityPoint], sessions: Sequence[Span], wall_s: float,
        last_prices: Mapping[str, Decimal] | None = None, ruined_ts: int | None = None,
    ) -> ReplaySummary:  # fmt: skip
        """The summary of `run`, with `equity` at each session's end and the sessions' (open, close) times.

        `last_prices`: of symbols that are still held. `ruined_ts`: when the account was first worth nothing.
        """
        self.open_trades = self._book.open_trades(last_prices or {}, ticks.last_ts or 0)
        curve = [run.starting_equity, *(point.equity for point in equity)]
        values = [float(value) for value in curve]
        ruined = ruined_ts is not None
        performance = measure(values, self.trades, sessions, self.open_trades, ruined=ruined)
        spans = {symbol: span for (interval, symbol), span in self._spans.items() if interval == run.interval}
        settled = list(self._settled.values())
        more = [f"{len(settled) - SETTLED_TOLD} more contracts were settled"] if len(settled) > SETTLED_TOLD else []
        return ReplaySummary(
            **{name: getattr(run, name) for name in run.__struct_fields__ if name not in ("max_segments", "notes")},
            notes=[*run.notes, *settled[:SETTLED_TOLD], *more],
            **{name: getattr(performance, name) for name in performance.__struct_fields__},
            first_ts=ticks.first_ts,
            last_ts=ticks.last_ts,
            sessions=len(equity),
            ticks=ticks.total,
            ticks_accepted=ticks.accepted,
            ticks_repaired=ticks.repaired,
            ticks_rejected=ticks.rejected,
            bars=self._bars,
            decisions=self._actions.total(),
            actions=dict(self._actions),
            failed_decisions=self._failed,
            orders=self._orders,
            denied=dict(self._denied),
            rejected_orders=self._rejected_orders,
            fills=self._fills,
            trades=len(self.trades),
            open_trades=[OpenTrade.of(trade) for trade in self.open_trades],
            net_pnl=curve[-1] - curve[0],
            costs=self._costs,
            equity=list(equity),
            by_regime=self._by_regime(),
            hrm_metrics=self._hrm_metrics(run.max_segments),
            decisions_sha256=self._digest.hexdigest(),
            wall_s=wall_s,
            ticks_per_s=ticks.total / wall_s if wall_s > 0 else 0.0,
            by_month=by_month(run.starting_equity, equity, self.trades, self._month_costs),
            by_symbol=self._by_symbol(spans, last_prices or {}),
            costs_by_kind=self._kinds.result(),
            buy_and_hold=buy_and_hold(run.starting_equity, spans),
            bootstrap=bootstrap(values, ruined=ruined),
            ruined_ts=ruined_ts,
            trade_order=None if ruined else trade_order(self.trades),
        )

    def _by_symbol(self, spans: Mapping[str, PriceSpan], last_prices: Mapping[str, Decimal]) -> dict[str, SymbolResult]:
        """Of every symbol that had a bar or a fill; what is held is worth its last price, or that of its entry."""
        results = {}
        for symbol in sorted({*spans, *self._symbols}):
            closed = [trade for trade in self.trades if trade.symbol == symbol]
            still = next((trade for trade in self.open_trades if trade.symbol == symbol), None)
            last = last_prices.get(symbol, still.entry_price if still is not None else ZERO)
            book = self._symbols.get(symbol, SymbolBook())
            results[symbol] = book.result(self._book.open_quantity(symbol), last, closed, spans.get(symbol))
        return results

    def _by_regime(self) -> dict[str, RegimeResult]:
        """By name, what isn't known last."""
        names = sorted(self._regimes, key=lambda name: (name == UNKNOWN_REGIME, name))
        return {name: self._regimes[name].result() for name in names}

    def _decide(self, decision: Decision) -> None:
        self._digest.update(_encode(decision) + b"\n")
        self._actions[decision.action.name] += 1
        self._failed += decision.failed
        regime = decision.regime or UNKNOWN_REGIME
        self._seen_regime[decision.symbol] = regime
        tally = self._regimes.get(regime)
        if tally is None:
            tally = self._regimes[regime] = _RegimeTally()
        tally.decisions += 1
        if decision.segments:
            tally.reasoned += 1
            tally.segments += decision.segments
            self._depths[decision.segments] += 1
            self._halts[decision.halt_reason] += 1
            self._convergence += decision.convergence

    def _fill(self, fill: Fill) -> None:
        self._fills += 1
        self._costs += fill.costs
        self._kinds.add(fill, settled=fill.order_id in self._settled)
        self._month_costs[month_of(fill.ts)] += fill.costs
        book = self._symbols.setdefault(fill.symbol, SymbolBook())
        book.fills += 1
        book.costs += fill.costs
        book.cash -= fill.side.sign * fill.quantity * fill.price
        entered_in = self._intended_regime.get(fill.symbol, UNKNOWN_REGIME)
        if self._book.open_quantity(fill.symbol) == 0:
            self._entry_regime[fill.symbol] = entered_in
        trade = self._book.add(fill)
        if trade is None:
            return
        self.trades.append(trade)
        tally = self._regimes.setdefault(self._entry_regime[fill.symbol], _RegimeTally())
        tally.trades += 1
        tally.net_pnl += trade.net_pnl
        self._entry_regime[fill.symbol] = entered_in  # of what a reversing fill opened with its rest

    def _hrm_metrics(self, max_segments: int) -> HrmMetrics | None:
        count = self._depths.total()
        if not count:
            return None
        depth = sum(segments * times for segments, times in self._depths.items()) / count
        return HrmMetrics(
            avg_reasoning_depth=depth,
            max_segments=max_segments,
            depth_histogram=dict(sorted(self._depths.items())),
            halt_reasons=dict(self._halts.most_common()),
            deadline_misses=self._halts[DEADLINE],
            inference_ms=self._timings(),
            computation_efficiency=1 - depth / max_segments if max_segments else 0.0,
            convergence=self._convergence / count,
        )

    def _timings(self) -> InferenceMs | None:
        if not self._inference_ms:
            return None
        times = np.frombuffer(self._inference_ms)
        p50, p99, worst = np.percentile(times, (50, 99, 100), method="higher")
        return InferenceMs(p50=float(p50), p99=float(p99), max=float(worst))
