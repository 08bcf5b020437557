"""The column kernel: there where it can be, and never wrong about what it is given."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon.bars.compiled_builder import CompiledBarBuilder
from daemon.core.events import TickBatch
from daemon.feed.compiled_filter import CompiledTickFilter
from daemon.native.kernel import Kernel, column_kernel
from tests.property.test_bars import CALENDAR
from tests.property.test_tick_filter import MIDNIGHT_IST, DailySession, ListedInstruments, random_tape
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """The machine's own, or skip where it can't have one."""
    found = column_kernel(None)
    if found is None:
        pytest.skip("no compiler")
    return found


def test_without_a_compiler_ticks_are_gone_through_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says why, and nothing else changes."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with capture_logs() as said:
        assert column_kernel(tmp_path) is None
    assert [line["reason"] for line in said] == ["native needs a C++ compiler: CXX=no-such-compiler is not there"]


BATCH = make_batch(
    ("AAA",), code=[0, 0], ts_event=[1.0, 2.0], ts_recv=[1.0, 2.0], ltp=[5.0, 6.0], traded=[1, 1], volume=[1, 2]
)  # fmt: skip


@pytest.mark.parametrize("column", ["code", "ts_event", "ts_recv", "ltp", "traded"])
def test_a_short_column_makes_no_bar(kernel: Kernel, column: str) -> None:
    """Nothing is read beyond its end, and nothing counts."""
    builder = CompiledBarBuilder(CALENDAR, {"1m": 60}, SECOND, kernel)
    with pytest.raises(ValueError, match="refused"):
        builder.on_ticks(msgspec.structs.replace(BATCH, **{column: getattr(BATCH, column)[:1]}))
    assert builder.on_time(OPEN_NS + 3600 * SECOND) == []


@pytest.mark.parametrize("column", ["code", "ts_event", "ltp", "volume", "bid", "oi"])
def test_a_column_of_another_form_is_not_judged(kernel: Kernel, column: str) -> None:
    """Short, or of narrower numbers: no tick is accepted or counted."""
    for wrong in (getattr(BATCH, column)[:1], np.zeros(2, np.int16)):
        if column == "ts_event" and len(wrong) == 2:
            continue  # the calendar looks at it before
        sieve = CompiledTickFilter(ListedInstruments(), DailySession(), 10.0, 100.0, kernel)
        with pytest.raises(ValueError, match="refused"):
            sieve.apply(msgspec.structs.replace(BATCH, **{column: wrong}))
        assert sieve.accepted == sum(sieve.rejected.values()) == 0


def test_more_bars_than_there_was_room_for(kernel: Kernel) -> None:
    """Four hundred minutes in one batch."""
    minutes = np.arange(375.0)
    batch = make_batch(
        ("AAA",), code=np.zeros(375), ts_event=60 * minutes, ts_recv=60 * minutes, ltp=100.0 + minutes,
        traded=np.ones(375),
    )  # fmt: skip
    builder = CompiledBarBuilder(CALENDAR, {"1m": 60}, SECOND, kernel)
    builder.on_ticks(batch)
    assert [bar.open for bar in builder.on_time(OPEN_NS + 86_400 * SECOND)] == (100.0 + minutes).tolist()


def test_stamps_that_can_be_no_times_and_strangers(kernel: Kernel) -> None:
    """The smallest and the largest number, and a code that no symbol has, are counted and nothing else."""
    tape = random_tape(3, 50, 0.0)
    stamps, codes = tape.ts_event.copy(), tape.code.copy()
    stamps[:2] = (-(2**63), 2**63 - 1)
    codes[2:4] = (-1, 9)
    columns = {name: getattr(tape, name) for name in TickBatch.__struct_fields__}
    sieve = CompiledTickFilter(ListedInstruments(), DailySession(), 10.0, 100.0, kernel)
    accepted, _ = sieve.apply(TickBatch(**(columns | {"ts_event": stamps, "code": codes})))
    assert len(accepted) == sieve.accepted <= 46
    assert sieve.rejected["unknown_symbol"] >= 2
    assert sieve.accepted + sum(sieve.rejected.values()) == 50
    assert int(accepted.ts_event[0]) > MIDNIGHT_IST
