"""What a replay did, in one struct: the JSON of `hrmd replay --json` and what the terminal and the page show.

Invariant: everything in it can be counted again from the journal, except `wall_s`, `ticks_per_s`,
`hrm_metrics.inference_ms` and the shadows' `thinking_ms`, which are measurements of this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from daemon.report.chance import SensitivityRow, TradeOrder
from daemon.report.results import Bootstrap, BuyAndHold, MonthResult, SymbolResult
from daemon.report.side_by_side import ShadowRow
from daemon.report.trades import PAISA, Direction, Trade

PRICE_DIGITS = Decimal("0.0001")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, known before the first tick. `max_segments` is the HRM's limit, 0 for other strategies."""

    tapes: list[str]
    symbols: list[str]
    strategy: str
    interval: str
    model: str
    simulated: bool
    latency: str
    starting_equity: Decimal
    max_segments: int = 0
    notes: list[str] = []


class TickCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the tape's rows. `repaired` were accepted with their cumulative volume ignored."""

    accepted: int
    rejected: dict[str, int]
    repaired: int = 0
    first_ts: int | None = None
    last_ts: int | None = None

    @property
    def total(self) -> int:
        """All rows read: accepted plus rejected."""
        return self.accepted + sum(self.rejected.values())


class EquityPoint(msgspec.Struct, frozen=True):
    """Cash plus positions at their last prices, at `ts` (UTC nanoseconds), rupees."""

    ts: int
    equity: Decimal


class InferenceMs(msgspec.Struct, frozen=True):
    """How long inference took, milliseconds of this machine's time."""

    p50: float
    p99: float
    max: float


class HrmMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How the hierarchical model reasoned.

    `computation_efficiency` is the share of the maximum depth that was saved: 1 - mean(segments) / max_segments.
    `convergence` is the mean over decisions. `inference_ms` is None where nothing was timed.
    """

    avg_reasoning_depth: float
    max_segments: int
    depth_histogram: dict[int, int]
    halt_reasons: dict[str, int]
    deadline_misses: int
    inference_ms: InferenceMs | None
    computation_efficiency: float
    convergence: float


class RegimeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions taken in a regime, and the closed trades that were entered in it."""

    decisions: int
    trades: int
    net_pnl: Decimal
    avg_reasoning_depth: float | None


class OpenTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade that was under way at the end, at the last price; none of the closed ones, nor of `win_rate`."""

    symbol: str
    direction: Direction
    quantity: int
    entry_ts: int
    entry_price: Decimal
    last_price: Decimal
    """Averages over the whole quantity, what was closed of it included."""
    costs: Decimal
    net_pnl: Decimal

    @classmethod
    def of(cls, trade: Trade) -> OpenTrade:
        """As the trade stands."""
        return cls(
            symbol=trade.symbol,
            direction=trade.direction,
            quantity=trade.quantity,
            entry_ts=trade.entry_ts,
            entry_price=trade.entry_price.quantize(PRICE_DIGITS),
            last_price=trade.exit_price.quantize(PRICE_DIGITS),
            costs=trade.costs,
            net_pnl=trade.net_pnl.quantize(PAISA),
        )


class ReplaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it. Ratios are plain numbers (0.01 is 1 %); rupees are exact; None means "can't be said"."""

    tapes: list[str]
    symbols: list[str]
    strategy: str
    interval: str
    model: str
    simulated: bool
    latency: str
    first_ts: int | None
    last_ts: int | None
    sessions: int
    ticks: int
    ticks_accepted: int
    ticks_repaired: int
    ticks_rejected: dict[str, int]
    bars: int
    decisions: int
    actions: dict[str, int]
    failed_decisions: int
    orders: int
    denied: dict[str, int]
    rejected_orders: int
    fills: int
    trades: int
    starting_equity: Decimal
    net_pnl: Decimal
    costs: Decimal
    total_return: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    win_rate: float | None
    profit_factor: float | None
    average_trade: Decimal | None
    exposure: float | None
    equity: list[EquityPoint]
    """At the end of each session, the starting equity not among them."""
    by_regime: dict[str, RegimeResult]
    hrm_metrics: HrmMetrics | None
    open_trades: list[OpenTrade]
    """Positions that were still on at the end; they count in `net_pnl`, `equity` and `exposure`."""
    decisions_sha256: str
    wall_s: float
    ticks_per_s: float
    notes: list[str]
    deciders: dict[str, int] = {}
    """How many decisions each strategy made; more than the one asked for where the ladder, or somebody, swapped it."""
    shadow: list[ShadowRow] = []
    """The one in charge and the agents beside it; empty where there was none."""
    by_month: list[MonthResult] = []
    by_symbol: dict[str, SymbolResult] = {}
    costs_by_kind: dict[str, Decimal] = {}
    """Brokerage, taxes and fees; they add up to `costs`. Empty where nobody split them."""
    buy_and_hold: BuyAndHold | None = None
    bootstrap: Bootstrap | None = None
    """None where the sessions are too few."""
    trade_order: TradeOrder | None = None
    """None where the trades are too few, or the account was ruined."""
    ruined_ts: int | None = None
    """The first close of a bar at which the account was worth nothing (UTC ns); None where it never was."""
    sensitivity: list[SensitivityRow] = []
    """The same replay under other costs and latencies, where it was asked for."""


def equity_curve(summary: ReplaySummary) -> Sequence[float]:
    """The starting equity and each session's close, rupees."""
    return [float(summary.starting_equity), *(float(point.equity) for point in summary.equity)]
