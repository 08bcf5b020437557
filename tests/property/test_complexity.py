"""`ComplexityDetector` on arbitrary prices: always finite, always in [0, 1], always the past alone."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bars.complexity import ComplexityDetector
from daemon.core.events import Bar, Complexity
from daemon.market.scheduled_events import ScheduledEvents
from daemon.settings.bars import ComplexitySettings
from tests.depth import examples
from tests.unit.feed.ticks import OPEN_NS, SECOND

SETTINGS = ComplexitySettings(
    volatility_window=4, trend_window=3, momentum_window=2, baseline_window=10, correlation_window=5
)
COMPONENTS = (
    "volatility", "trend_strength", "momentum", "regime_change", "correlation_breakdown", "event_impact", "score",
)  # fmt: skip

tick = st.integers(1, 10_000_000).map(lambda paise: paise / 100)
close_by = st.sampled_from([100.0, 100.05, 99.95])
prices = st.one_of(close_by, tick)
steps = st.lists(st.tuples(st.sampled_from(["AAA", "BBB", "CCC"]), prices, prices, st.integers(1, 90)), max_size=80)


def bars_of(rows: list[tuple[str, float, float, int]]) -> list[Bar]:
    """Bars of (symbol, open, close, periods since the bar before)."""
    bars, period = [], 0
    for symbol, opened, close, later in rows:
        period += later // 30  # often at the same time as the bar before
        start = OPEN_NS + period * 300 * SECOND
        bars.append(
            Bar(symbol=symbol, interval="5m", ts_open=start, ts_close=start + 300 * SECOND, open=opened,
                high=max(opened, close), low=min(opened, close), close=close, volume=1, ticks=1)
        )  # fmt: skip
    return bars


def measured(bars: list[Bar]) -> list[Complexity]:
    """Complexity at each bar."""
    detector = ComplexityDetector(SETTINGS, ScheduledEvents())
    return [detector.on_bar(bar) for bar in bars]


@settings(max_examples=examples(200))
@given(steps)
def test_everything_is_between_zero_and_one(rows: list[tuple[str, float, float, int]]) -> None:
    """Whatever prices do, no component leaves [0, 1] or is not a number."""
    for found in measured(bars_of(rows)):
        for name in COMPONENTS:
            assert math.isfinite(getattr(found, name)), name
            assert 0.0 <= getattr(found, name) <= 1.0, name


@settings(max_examples=examples(100))
@given(steps, st.integers(0, 80))
def test_it_depends_on_the_past_alone(rows: list[tuple[str, float, float, int]], known: int) -> None:
    """What comes later changes nothing that was said."""
    bars = bars_of(rows)
    assert measured(bars)[:known] == measured(bars[:known])


@settings(max_examples=examples(100))
@given(steps, st.sampled_from([0.25, 2.0, 64.0]))
def test_it_does_not_depend_on_the_unit_of_price(rows: list[tuple[str, float, float, int]], unit: float) -> None:
    """Prices in another unit (a power of two, so that nothing is rounded) give the same complexity."""
    scaled = [(symbol, opened * unit, close * unit, later) for symbol, opened, close, later in rows]
    assert measured(bars_of(scaled)) == measured(bars_of(rows))
