"""What a symbol's ticks leave behind, read from all of them or from the last one alone."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.clock import DAY_NS
from daemon.core.events import Side, TickBatch
from daemon.orders.paper_book import WHOLE, BookTicks, SymbolBook, tells_all
from tests.samples import MINUTE, OPEN, ticks

QUOTE = st.sampled_from([np.nan, 0.0, 99.0])
ROW = st.tuples(st.sampled_from([1, 60_000_000_000, DAY_NS]), QUOTE, QUOTE, st.sampled_from([-1, 0, 5]))
BAND = st.sampled_from([None, np.nan, 90.0])


def batch_of(rows: list[tuple[int, float, float, int]], band: float | None) -> TickBatch:
    """Ticks so long after each other, with their bid, ask and quantity at the ask, and one band for all."""
    times = (OPEN + np.cumsum([later for later, *_ in rows])).tolist()
    _, bid, ask, quantity = (np.array(column) for column in zip(*rows, strict=True))
    lower = None if band is None else np.full(len(rows), band)
    plain = ticks(times, [100.0] * len(rows))
    return msgspec.structs.replace(plain, bid=bid, ask=ask, ask_qty=quantity, lower_band=lower)


def left(book: SymbolBook) -> str:
    """All that is remembered."""
    return repr((book.quoted_ts, book.empty, book.lower, book.upper))


@given(st.lists(ROW, min_size=1, max_size=5), st.lists(ROW, min_size=1, max_size=6), BAND, BAND)
def test_the_last_tick_is_enough_where_it_tells_all(
    before: list[tuple[int, float, float, int]], rows: list[tuple[int, float, float, int]], told: float | None,
    band: float | None,
) -> None:  # fmt: skip
    """Whatever was known before, over days, with bands and without."""
    whole, last = SymbolBook(), SymbolBook()
    batch = batch_of([*before, *rows], band)
    for book in (whole, last):
        book.remember(batch_of(before, told), slice(None))
    rest = batch.slice(len(before), len(batch))
    whole.remember(rest, slice(None))
    if tells_all([rest]):
        last.remember_quoted(int(rest.ts_recv[-1]))
        assert left(last) == left(whole)


def test_an_unquoted_end_or_a_band_needs_them_all() -> None:
    """Neither is in the last tick."""
    quoted, empty = (1, 99.0, 100.0, 5), (1, np.nan, np.nan, -1)
    plain = batch_of([empty, quoted], None)
    assert tells_all([plain])
    assert not tells_all([batch_of([(1, 99.0, 0.0, 0)], None)])
    assert not tells_all([batch_of([quoted, empty], None)])
    assert not tells_all([batch_of([empty, quoted], 90.0)])
    assert not tells_all([batch_of([quoted], 90.0), plain])  # what a batch before it told is of the same day


def test_quotes_that_are_told_no_more_leave_it_to_trades() -> None:
    """Where a share was quoted today nobody is known to sell until something trades; without any quote one is."""
    minutes = [0, 1, 2, 3, 24 * 60]
    traded, silent = (np.array(values, np.int64) for values in ([5, 0, 7, 0, 0], [0] * 5))
    plain = ticks([OPEN + minute * MINUTE for minute in minutes], [100.0] * 5)
    quote = np.array([101.0, *[np.nan] * 4])
    told = msgspec.structs.replace(plain, bid=quote - 2, ask=quote, traded=traded)
    for side in Side:
        assert BookTicks(told, slice(None), SymbolBook()).displayed(side).tolist() == [WHOLE, 0, WHOLE, 0, WHOLE]
    untold = msgspec.structs.replace(plain, traded=silent)
    assert BookTicks(untold, slice(None), SymbolBook()).displayed(Side.BUY).tolist() == [WHOLE] * 5
    book = SymbolBook()
    book.remember(told.slice(0, 1), slice(None))
    assert BookTicks(told.slice(1, 5), slice(None), book).displayed(Side.BUY).tolist() == [0, WHOLE, 0, WHOLE]
