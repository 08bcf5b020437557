"""Bars, complexities and moments for the tests of strategies, made from closes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from daemon.core.events import Bar, Complexity, PositionChanged, Regime
from daemon.market.calendar import MarketCalendar
from strategies.base import MarketView, Moment, ViewSettings
from tests.unit.feed.ticks import OPEN_NS, SECOND

CALENDAR = MarketCalendar()
MINUTE = 60 * SECOND

VIEW = ViewSettings(
    interval="5m", coarse_interval="30m", window=24, coarse_window=4, max_position=200, no_entries_minutes=30
)


def make_bar(
    n: int, close: float, *, symbol: str = "AAA", interval: str = "5m", volume: int = 10, **more: float
) -> Bar:
    """Make the n-th bar after the open; it is one wide unless `high` and `low` say otherwise."""
    length = {"5m": 5, "30m": 30, "1m": 1}[interval] * MINUTE
    return Bar(
        symbol=symbol,
        interval=interval,
        ts_open=OPEN_NS + n * length,
        ts_close=OPEN_NS + (n + 1) * length,
        open=close,
        high=more.get("high", close + 0.5),
        low=more.get("low", close - 0.5),
        close=close,
        volume=volume,
        ticks=1,
    )


def complexity_at(ts: int, *, symbol: str = "AAA", regime: Regime = Regime.TRENDING, score: float = 0.5) -> Complexity:
    """Make a complexity of the decision interval."""
    return Complexity(
        symbol=symbol, interval="5m", ts=ts, volatility=0.5, trend_strength=0.5, momentum=0.5, regime_change=0.0,
        correlation_breakdown=0.0, event_impact=0.0, score=score, regime=regime,
    )  # fmt: skip


def position(quantity: int, average: str = "100", *, symbol: str = "AAA", ts: int = OPEN_NS) -> PositionChanged:
    """Make a position."""
    from decimal import Decimal

    return PositionChanged(
        ts=ts, symbol=symbol, quantity=quantity, average_price=Decimal(average), realised_pnl=Decimal(0),
        costs=Decimal(0), cash=Decimal(0), opened_ts=ts,
    )  # fmt: skip


def moment_of(closes: Sequence[float], regime: Regime = Regime.TRENDING, **changes: Any) -> Moment:
    """Make the moment at the last of some five-minute bars; keywords replace its fields."""
    view = MarketView(msgspec.structs.replace(VIEW, window=200), CALENDAR)
    for n, close in enumerate(closes):
        view.on_bar(make_bar(n, close))
    moment = view.moment(complexity_at(OPEN_NS + len(closes) * 5 * MINUTE, regime=regime))
    return msgspec.structs.replace(moment, **changes)


def marred(moment: Moment, where: Any, value: float) -> Moment:
    """The same with another value `where` in its bars."""
    bars = moment.bars.copy()
    bars[where] = value
    return msgspec.structs.replace(moment, bars=bars)


def rising(count: int) -> list[float]:
    """Closes that rise."""
    return np.linspace(100, 120, count).tolist()


def falling(count: int) -> list[float]:
    """Closes that fall."""
    return np.linspace(120, 100, count).tolist()
