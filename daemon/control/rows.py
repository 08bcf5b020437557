"""What the control API shows beside status, orders and positions: bars, trades, equity, log lines, the model's figures.

Plain structs, the JSON of the API; `Ring` keeps the newest of such rows and gives them page by page. Invariant: a row's
number never changes, so going through the pages while new rows come shows none twice and leaves none out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from daemon.core.events import Bar

if TYPE_CHECKING:
    from daemon.report.trades import Trade

T = TypeVar("T")

PAISA = Decimal("0.01")


class Listing(StrEnum):
    """What is shown page by page."""

    ORDERS = "orders"
    DECISIONS = "decisions"
    BARS = "bars"
    TRADES = "trades"
    EQUITY = "equity"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a listing: the newest `limit` rows with numbers below `before`, of one symbol or interval."""

    limit: int
    before: int | None = None
    symbol: str = ""
    interval: str = ""


class Page(msgspec.Struct, frozen=True):
    """Rows, newest first; `before` asks for the page after this one, None where this is the last."""

    rows: list[Any]
    before: int | None = None


class Ring(Generic[T]):
    """The newest `size` rows, numbered from 0 as they come."""

    def __init__(self, size: int) -> None:
        self.rows: deque[T] = deque(maxlen=size)
        self.count = 0

    def add(self, row: T) -> None:
        """One more; the oldest goes where there is no room."""
        self.rows.append(row)
        self.count += 1

    def page(self, asked: Asked, wanted: Callable[[T], bool] | None = None) -> Page:
        """The newest rows that are `wanted`, as far as asked for."""
        first = self.count - len(self.rows)
        number = self.count if asked.before is None else min(asked.before, self.count)
        found: list[Any] = []
        while number > first:
            number -= 1
            row = self.rows[number - first]
            if wanted is not None and not wanted(row):
                continue
            if len(found) == asked.limit:
                return Page(found, number + 1)
            found.append(row)
        return Page(found)


class BarRow(msgspec.Struct, frozen=True, kw_only=True):
    """One bar; prices in rupees, exact as text."""

    symbol: str
    interval: str
    open_ts: int
    close_ts: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int | None
    """None where the instrument has none."""
    ticks: int
    gap: bool
    """Whether ticks may be missing from it."""

    @classmethod
    def of(cls, bar: Bar) -> BarRow:
        """The row that shows `bar`."""
        exact = {name: Decimal(repr(getattr(bar, name))) for name in ("open", "high", "low", "close")}
        return cls(
            symbol=bar.symbol, interval=bar.interval, open_ts=bar.ts_open, close_ts=bar.ts_close, ticks=bar.ticks,
            volume=None if bar.volume < 0 else bar.volume, gap=bar.gap, **exact,
        )  # fmt: skip


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One round trip that is closed; prices are averages over `quantity`."""

    symbol: str
    direction: Literal["LONG", "SHORT"]
    quantity: int
    entry_ts: int
    exit_ts: int
    entry_price: Decimal
    exit_price: Decimal
    gross_pnl: Decimal
    costs: Decimal
    net_pnl: Decimal

    @classmethod
    def of(cls, trade: Trade) -> TradeRow:
        """The row that shows `trade`."""
        return cls(
            symbol=trade.symbol, direction=trade.direction.value, quantity=trade.quantity, entry_ts=trade.entry_ts,
            exit_ts=trade.exit_ts, entry_price=trade.entry_price.quantize(PAISA / 100),
            exit_price=trade.exit_price.quantize(PAISA / 100), gross_pnl=trade.gross_pnl.quantize(PAISA),
            costs=trade.costs, net_pnl=trade.net_pnl.quantize(PAISA),
        )  # fmt: skip


class EquityRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the account was worth when bars of the decision interval closed."""

    ts: int
    equity: Decimal
    net_pnl: Decimal


class RiskGauge(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one limit of risk is used."""

    name: str
    """Of the limit, in words, such as "daily loss"."""
    used: Decimal
    """So much of it is used."""
    limit: Decimal
    share: float
    """Used by limit: from 1 on nothing that adds to it is let through."""
    unit: str
    """₹, units, or "" of counts."""


class RiskView(msgspec.Struct, frozen=True, kw_only=True):
    """What risk counts with now."""

    day_pnl: Decimal
    """Realised and unrealised since the day began, after costs; rupees."""
    free: Decimal | None
    """Rupees for new margin, as the broker said; null where it said nothing."""
    gauges: list[RiskGauge]
    """One for each limit that is set."""
    reached: str
    """That the day has lost what it may and nothing is opened; "" while it hasn't."""


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log; secrets are `***`."""

    timestamp: str
    """By the machine's clock, RFC 3339, UTC."""
    level: str
    event: str
    """What happened, in words."""
    fields: dict[str, Any]
    """Everything else that the line says."""


class HrmMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How the model reasons, over its newest `decisions`; None where it made none."""

    ts: int
    decisions: int
    """So many decisions, at most 100, were looked at."""
    efficiency: float | None
    """The share of the segments that it could have used and didn't."""
    reasoning_depth: float | None
    """Mean segments."""
    convergence: float | None
    """Mean of how far the last segment moved the H state, relative."""
    convergence_stability: float | None
    """0 to 1: 1 where every decision ends equally settled (1 / (1 + coefficient of variation))."""
    latency_ms: float | None
    """Mean, from the bar's close to the decision."""
    memory_mb: float
    """Held by the whole process."""
    complexity: float | None
    """The market's, mean, 0 to 1."""
