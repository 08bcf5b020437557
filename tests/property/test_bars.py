"""`BarBuilder` on random ticks: how they were cut changes nothing, and nothing appears or disappears."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby, pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.bars.builder import BarBuilder
from daemon.core.events import Bar, TickBatch
from daemon.market.calendar import MarketCalendar
from daemon.settings.values import INTERVALS
from tests.depth import examples
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

CALENDAR = MarketCalendar()
SESSION_S = 375 * 60
DAY_S = 86_400
GRACE_S = 2
SYMBOLS = ("AAA", "BBB")

seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(0, 400), max_size=12)
moments = st.lists(st.floats(0, 3 * SESSION_S), max_size=12)
interval_sets = st.sets(st.sampled_from(list(INTERVALS)), min_size=1).map(sorted)


def of_session(trading_s: float) -> float:
    """Seconds after the first open of a time counted in trading seconds over three days (Monday to Wednesday)."""
    day, rest = divmod(min(trading_s, 3 * SESSION_S - 1e-3), SESSION_S)
    return day * DAY_S + rest


def random_ticks(seed: int) -> TickBatch:
    """Make up to 400 accepted ticks of two symbols in three sessions, some delayed, some without a quantity."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    recv = np.cumsum(rng.exponential(3 * SESSION_S / n / rng.choice([1, 1, 50]), n))
    delay = np.where(rng.random(n) < 0.2, rng.exponential(rng.choice([1.0, 90.0]), n), 0.0)
    code = rng.integers(0, 2, n)
    ts_recv = np.array([of_session(value) for value in recv])
    ts_event = np.array([of_session(max(0.0, value)) for value in np.floor(recv - delay)])
    for symbol in (0, 1):
        ts_event[code == symbol] = np.maximum.accumulate(ts_event[code == symbol])
    return make_batch(
        SYMBOLS,
        code=code,
        ts_event=ts_event,
        ts_recv=ts_recv,
        ltp=np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n))), 2),
        traded=np.where(rng.random(n) < rng.choice([0.0, 0.3, 1.0]), -1, rng.integers(0, 50, n)),
    )


def plain(seconds: dict[str, int]) -> BarBuilder:
    """The builder in Python."""
    return BarBuilder(CALENDAR, seconds, GRACE_S * SECOND)


def play(
    batch: TickBatch, names: list[str], cut_at: list[int], look_at: list[float],
    made: Callable[[dict[str, int]], BarBuilder] = plain,
) -> tuple[list[Bar], BarBuilder]:  # fmt: skip
    """Feed a batch in pieces, looking at the clock at the given trading seconds as a feed does; then close the days."""
    builder = made({name: INTERVALS[name] for name in names})
    bars: list[Bar] = []
    looks = sorted(OPEN_NS + round(of_session(look) * SECOND) for look in look_at)
    at_look = [int(np.searchsorted(batch.ts_recv, look, side="right")) for look in looks]
    edges = sorted({0, len(batch), *at_look, *(cut for cut in cut_at if cut <= len(batch))})
    due = [look for look, position in zip(looks, at_look, strict=True) if position == 0]
    for start, stop in pairwise(edges):
        for look in due:
            bars += builder.on_time(look)
        builder.on_ticks(batch.slice(start, stop))
        due = [look for look, position in zip(looks, at_look, strict=True) if position == stop]
    bars += builder.on_time(OPEN_NS + 4 * DAY_S * SECOND)
    return bars, builder


def keyed(bars: list[Bar]) -> dict[tuple[str, str, int], Bar]:
    """Bars by symbol, interval and start; no two may share one."""
    table = {(bar.symbol, bar.interval, bar.ts_open): bar for bar in bars}
    assert len(table) == len(bars)
    return table


def aggregated(bars: list[Bar]) -> Bar:
    """One bar of several, by the definition of a bar."""
    known = [bar.volume for bar in bars if bar.volume >= 0]
    return Bar(
        symbol=bars[0].symbol, interval="", ts_open=bars[0].ts_open, ts_close=bars[-1].ts_close, open=bars[0].open,
        high=max(bar.high for bar in bars), low=min(bar.low for bar in bars), close=bars[-1].close,
        volume=sum(known) if known else -1, ticks=sum(bar.ticks for bar in bars),
    )  # fmt: skip


@settings(max_examples=examples(150))
@given(seeds, interval_sets, cuts, moments)
@example(0, ["1d"], [], [])
def test_cuts_and_looks_change_nothing(seed: int, names: list[str], cut_at: list[int], look_at: list[float]) -> None:
    """Any cuts of the stream and looks at the clock give the bars of one tick at a time and one look at the end."""
    batch = random_ticks(seed)
    pieces, one = play(batch, names, cut_at, look_at)
    single, other = play(batch, names, list(range(len(batch))), [])
    assert keyed(pieces) == keyed(single)
    assert one.late == other.late
    assert one.built == len(pieces)


@settings(max_examples=examples(100))
@given(seeds, moments)
def test_every_tick_and_every_unit_is_in_one_bar(seed: int, look_at: list[float]) -> None:
    """In every interval the bars hold all ticks that are not late, and all their volume; and a bar encloses itself."""
    batch = random_ticks(seed)
    bars, builder = play(batch, list(INTERVALS), [], look_at)
    end = OPEN_NS + ((batch.ts_event - OPEN_NS) // (60 * SECOND) + 1) * 60 * SECOND
    timely = batch.ts_recv <= end + GRACE_S * SECOND
    assert builder.late == np.count_nonzero(~timely)
    for name in INTERVALS:
        for code, symbol in enumerate(SYMBOLS):
            mine = [bar for bar in bars if bar.interval == name and bar.symbol == symbol]
            traded = batch.traded[timely & (batch.code == code)]
            assert sum(bar.ticks for bar in mine) == len(traded)
            assert sum(max(0, bar.volume) for bar in mine) == np.maximum(traded, 0).sum()
    for bar in bars:
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert 0 < bar.ts_close - bar.ts_open <= INTERVALS[bar.interval] * SECOND
        assert bar.ticks > 0


@settings(max_examples=examples(100))
@given(seeds, moments)
def test_longer_bars_are_the_shorter_ones_together(seed: int, look_at: list[float]) -> None:
    """A bar of every longer interval is the aggregation of the one-minute bars inside it."""
    bars, _ = play(random_ticks(seed), list(INTERVALS), [], look_at)
    minutes = sorted((bar for bar in bars if bar.interval == "1m"), key=lambda bar: (bar.symbol, bar.ts_open))
    for bar in bars:
        inside = [m for m in minutes if m.symbol == bar.symbol and bar.ts_open <= m.ts_open < bar.ts_close]
        whole = aggregated(inside)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.ticks) == (
            whole.open, whole.high, whole.low, whole.close, whole.volume, whole.ticks,
        )  # fmt: skip
        assert inside[-1].ts_close <= bar.ts_close


@settings(max_examples=examples(100))
@given(seeds, interval_sets, moments)
def test_bars_of_a_symbol_come_in_order(seed: int, names: list[str], look_at: list[float]) -> None:
    """Within a symbol and interval bars rise in time and never overlap."""
    bars, _ = play(random_ticks(seed), names, [], look_at)
    ordered = sorted(bars, key=lambda bar: (bar.symbol, bar.interval))  # stable: keeps the order of publication
    for _, group in groupby(ordered, key=lambda bar: (bar.symbol, bar.interval)):
        for before, after in pairwise(group):
            assert before.ts_close <= after.ts_open
