"""One false value on a tape costs its own tick, and what it was traded by, but nothing of the rest of the day."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.clock import MAX_SKEW_NS
from daemon.feed.tick_filter import MAX_QUANTITY, TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.tape.format import TapeReader, TapeWriter
from tests.depth import examples
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

N = 400
SYMBOL = "NSE:SBIN-EQ"
PRICES = 820.0 + 0.05 * (np.arange(N) % 7)
VOLUMES = 10 * np.arange(N)


def day(place: int, column: str, value: float) -> tuple[int, int, int]:
    """(ticks accepted, units traded, units traded in the last hundred ticks) of a day with one false value."""
    columns = {"ts_event": np.arange(N, dtype=float), "ltp": PRICES.copy(), "volume": VOLUMES.copy()}
    columns[column][place] = value
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.parquet"
        with TapeWriter(path, columns=["volume"]) as writer:
            writer.write(make_batch((SYMBOL,), **columns))
        tick_filter = TickFilter(InstrumentBook(MarketSettings()), MarketCalendar(), 20.0)
        traded = [tick_filter.apply(batch)[1] for batch in TapeReader([path]).batches(64)]
    quantities = np.concatenate(traded)
    return tick_filter.accepted, int(quantities.sum()), int(quantities[-100:].sum())


@settings(max_examples=examples(60))
@given(
    place=st.integers(0, 250) | st.just(N - 1),
    second=st.integers(-OPEN_NS // SECOND, 90 * 365 * 86_400) | st.integers(1, 9).map(lambda days: days * 86_400),
)
def test_a_false_time(place: int, second: int) -> None:
    """From 1970 to 2098; one just ahead of the others is believed, and costs those that are behind it."""
    accepted, traded, _ = day(place, "ts_event", second)

    assert accepted >= N - 1 - MAX_SKEW_NS // SECOND
    assert traded >= VOLUMES[-1] - 10 * (N - accepted + 1)


@settings(max_examples=examples(60))
@given(place=st.integers(0, N - 1), price=st.floats(-1e6, 1e12) | st.sampled_from([np.nan, np.inf, 0.0]))
def test_a_false_price(place: int, price: float) -> None:
    """Of the day's first tick it costs another one, for nobody knows yet which of the two is false."""
    accepted, traded, _ = day(place, "ltp", price)

    assert accepted >= N - 1 - (place == 0)
    assert traded >= VOLUMES[-1] - 20


@settings(max_examples=examples(60))
@given(place=st.integers(0, 250), volume=st.integers(0, 2**62))
def test_a_false_total(place: int, volume: int) -> None:
    """The tick stays unless no exchange trades so much, and what is traded later is what it was."""
    accepted, _, late = day(place, "volume", volume)

    assert accepted == N - (volume > MAX_QUANTITY)
    assert late == 1000
