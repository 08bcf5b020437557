"""What is done in C++ is what the plain form does, bit for bit, however the ticks were cut."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bars.compiled_builder import CompiledBarBuilder
from daemon.core.events import TICK_COLUMNS, TickBatch
from daemon.feed.compiled_filter import CompiledTickFilter
from daemon.feed.tick_filter import TickFilter
from daemon.native.kernel import Kernel, column_kernel
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
    assert (compiled.accepted, compiled.rejected, compiled.repaired) == (plain.accepted, plain.rejected, plain.repaired)


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
