"""What is done in C++ is what the plain form does, bit for bit, however the ticks were cut."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bars.compiled_builder import CompiledBarBuilder
from daemon.bars.compiled_complexity import CompiledComplexityDetector, detector_of
from daemon.bars.complexity import ComplexityDetector
from daemon.core.events import TICK_COLUMNS, Bar, TickBatch
from daemon.feed.compiled_filter import CompiledTickFilter
from daemon.feed.tick_filter import TickFilter
from daemon.market.scheduled_events import ScheduledEvents
from daemon.native.kernel import Kernel, column_kernel
from daemon.settings.bars import ComplexitySettings
from tests.depth import examples
from tests.property.test_bars import CALENDAR, GRACE_S, cuts, interval_sets, moments, play, random_ticks, seeds
from tests.property.test_tick_filter import MAX_JUMP_PERCENT, DailySession, ListedInstruments, random_tape
from tests.unit.feed.ticks import SECOND


@cache
def kernel() -> Kernel:
    """The machine's own; skips where it can't have one."""
    found = column_kernel(None)
    if found is None:
        pytest.skip("no compiler")
    return found


def columns(batch: TickBatch) -> list[bytes]:
    """All of a batch, bit for bit."""
    return [np.ascontiguousarray(getattr(batch, name)).tobytes() for name in TICK_COLUMNS]


@given(seeds, st.integers(1, 900), st.sampled_from([0.0, 0.003, 0.03, 0.3]), st.lists(st.integers(0, 900), max_size=5))
@settings(max_examples=examples(150))
def test_the_filter_accepts_counts_and_measures_the_same(seed: int, n: int, faults: float, cut_at: list[int]) -> None:
    """Tapes with every kind of fault."""
    tape = random_tape(seed, n, faults)
    listed, sessions = ListedInstruments(), DailySession()
    plain = TickFilter(listed, sessions, MAX_JUMP_PERCENT)
    compiled = CompiledTickFilter(listed, sessions, MAX_JUMP_PERCENT, 100.0, kernel())
    for start, stop in pairwise(sorted({0, n, *(cut for cut in cut_at if cut < n)})):
        wanted, traded = plain.apply(tape.slice(start, stop))
        found, measured = compiled.apply(tape.slice(start, stop))
        assert columns(found) == columns(wanted)
        assert measured.tolist() == traded.tolist()
        for sieve in (plain, compiled):
            assert sieve.rows is None or len(sieve.rows) == len(wanted)
    assert (compiled.accepted, compiled.rejected, compiled.repaired) == (plain.accepted, plain.rejected, plain.repaired)


@given(seeds, st.integers(1, 600), st.sampled_from([0.0, 0.03, 0.3]), st.integers(0, 600), st.integers(0, 600))
@settings(max_examples=examples(100))
def test_what_came_since_a_mark_is_as_if_it_had_not_come(seed: int, n: int, faults: float, at: int, to: int) -> None:
    """The filters go back, and judge what comes then as one that never saw the rest."""
    tape, at = random_tape(seed, n, faults), min(at, n)
    listed, sessions = ListedInstruments(), DailySession()
    for make in (
        lambda: TickFilter(listed, sessions, MAX_JUMP_PERCENT),
        lambda: CompiledTickFilter(listed, sessions, MAX_JUMP_PERCENT, 100.0, kernel()),
    ):
        sieve, other = make(), make()
        sieve.apply(tape.slice(0, at))
        mark = sieve.mark()
        sieve.apply(tape.slice(min(to, n), n))
        sieve.back_to(mark)
        other.apply(tape.slice(0, at))
        found, wanted = sieve.apply(tape.slice(at, n))[0], other.apply(tape.slice(at, n))[0]
        assert columns(found) == columns(wanted)
        assert (sieve.accepted, sieve.rejected, sieve.repaired) == (other.accepted, other.rejected, other.repaired)


@given(seeds, interval_sets, cuts, moments)
@settings(max_examples=examples(100))
def test_the_bars_are_the_same(seed: int, names: list[str], cut_at: list[int], look_at: list[float]) -> None:
    """Ticks of two symbols over three sessions, some late, some without a quantity."""
    batch = random_ticks(seed)

    def compiled(seconds: dict[str, int]) -> CompiledBarBuilder:
        return CompiledBarBuilder(CALENDAR, seconds, GRACE_S * SECOND, kernel())

    wanted, plain = play(batch, names, cut_at, look_at)
    found, builder = play(batch, names, cut_at, look_at, compiled)
    assert found == wanted
    assert (builder.late_of, builder.built) == (plain.late_of, plain.built)


WINDOWS = ComplexitySettings(
    volatility_window=3, trend_window=4, momentum_window=2, baseline_window=10, correlation_window=6
)
PERIOD = 300 * SECOND


def bar_of(symbol: str, period: int, opened: float, close: float) -> Bar:
    """Of five minutes, the n-th since some time."""
    start = 10**18 + period * PERIOD
    return Bar(
        symbol=symbol, interval="5m", ts_open=start, ts_close=start + PERIOD, open=opened, high=max(opened, close),
        low=min(opened, close), close=close, volume=1, ticks=1,
    )  # fmt: skip


@given(seeds, st.integers(1, 10), st.sampled_from([0.0, 0.02, 0.3]), st.sampled_from([1e-12, 1e-3, 1.0]))
@settings(max_examples=examples(25))
def test_complexity_is_the_same(seed: int, symbols: int, missing: float, size: float) -> None:
    """Instruments in any order, of which some stand still, miss bars, begin anew or are only remembered."""
    rng = np.random.default_rng(seed)
    plain = ComplexityDetector(WINDOWS, ScheduledEvents())
    compiled = CompiledComplexityDetector(WINDOWS, ScheduledEvents(), kernel())
    names, price = [f"S{n}" for n in range(symbols)], dict.fromkeys((f"S{n}" for n in range(symbols)), 100.0)
    for period in range(30):
        if rng.random() < 0.3:
            rng.shuffle(names)
        for symbol in names:
            chance = rng.random(4)
            if chance[0] < missing:
                continue
            if chance[1] < 0.01:
                plain.forget(symbol)
                compiled.forget(symbol)
            before = price[symbol]
            price[symbol] = before * (1.0 if chance[2] < 0.3 else float(np.exp(rng.normal() * size)))
            bar = bar_of(symbol, period, before, price[symbol])
            if chance[3] < 0.05:
                plain.remember(bar)
                compiled.remember(bar)
            else:
                assert compiled.on_bar(bar) == plain.on_bar(bar)


def test_a_short_window_that_is_the_longer_one_is_left_to_the_plain_form() -> None:
    """What C++ reads of a history is all there."""
    odd = ComplexitySettings(volatility_window=9, correlation_window=5)
    assert type(detector_of(odd, ScheduledEvents(), kernel())) is ComplexityDetector
    assert type(detector_of(WINDOWS, ScheduledEvents())) is ComplexityDetector
    assert type(detector_of(WINDOWS, ScheduledEvents(), kernel())) is CompiledComplexityDetector
