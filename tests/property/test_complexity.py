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


def plainly(bars: list[Bar]) -> list[float]:
    """`correlation_breakdown` at each bar, as its definition says, from the returns at common times alone."""
    returns: dict[str, dict[int, float]] = {}
    closes: dict[str, tuple[int, float]] = {}
    found = []
    for bar in bars:
        day = bar.ts_open // (86_400 * SECOND)
        known = closes.get(bar.symbol)
        before = known[1] if known is not None and known[0] == day else bar.open
        closes[bar.symbol] = day, bar.close
        mine = returns.setdefault(bar.symbol, {})
        mine[bar.ts_close] = math.log(bar.close / before)
        for old in list(mine)[: -SETTINGS.correlation_window - 1]:
            del mine[old]
        changes = []
        for symbol, theirs in returns.items():
            pairs = [(mine[ts], change) for ts, change in theirs.items() if ts in mine][-SETTINGS.correlation_window :]
            if symbol != bar.symbol and len(pairs) == SETTINGS.correlation_window:
                short = pearson(pairs[-SETTINGS.volatility_window :])
                changes.append(abs(short - pearson(pairs)) / 2.0)
        found.append(math.fsum(changes) / len(changes) if changes else 0.0)
    return found


def pearson(pairs: list[tuple[float, float]]) -> float:
    """The correlation of pairs, 0 where one side doesn't vary."""
    n = len(pairs)
    mean_x, mean_y = math.fsum(x for x, _ in pairs) / n, math.fsum(y for _, y in pairs) / n
    xy = math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs)
    xx, yy = math.fsum((x - mean_x) ** 2 for x, _ in pairs), math.fsum((y - mean_y) ** 2 for _, y in pairs)
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy))) if min(xx, yy) > n * 1e-24 else 0.0


SETS = st.sampled_from([("AAA", "BBB", "CCC"), ("CCC", "BBB", "AAA"), ("AAA", "CCC"), ("BBB",)])


@settings(max_examples=examples(100))
@given(st.lists(st.tuples(SETS, st.lists(close_by, min_size=3, max_size=3)), min_size=5, max_size=30))
def test_correlations_are_those_of_the_common_times(rows: list[tuple[tuple[str, ...], list[float]]]) -> None:
    """Bit for bit, whoever has a bar and whoever hasn't, and in whatever order bars that close together come."""
    bars = []
    for period, (symbols, closes) in enumerate(rows):
        start = OPEN_NS + period * 300 * SECOND
        for symbol, close in zip(symbols, closes, strict=False):
            bars.append(
                Bar(symbol=symbol, interval="5m", ts_open=start, ts_close=start + 300 * SECOND, open=100.0,
                    high=max(100.0, close), low=min(100.0, close), close=close, volume=1, ticks=1)
            )  # fmt: skip
    assert [found.correlation_breakdown for found in measured(bars)] == plainly(bars)
