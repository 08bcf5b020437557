"""Simulated sessions are reproducible, look like a market, and are clean unless faults are asked for."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from daemon.core.events import TICK_COLUMNS, TickBatch
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.instruments import Instrument
from daemon.tape.simulator import FAULTS, UNKNOWN_SYMBOL, SimulatedSymbol, simulate
from tests.unit.feed.ticks import listed

SHARES = (SimulatedSymbol("AAA", 1450.0), SimulatedSymbol("BBB", 820.0))
INDEX = SimulatedSymbol("INDEX", 25_000.0, is_index=True)


class AllButUnknown:
    """Knows every symbol but the faulty one."""

    def resolve(self, symbol: str) -> Instrument | None:
        """Return what is known."""
        return None if symbol == UNKNOWN_SYMBOL else listed(symbol)


def sessions(count: int) -> list[Session]:
    """List ordinary sessions from 2026-01-05 on."""
    calendar = MarketCalendar()
    days = (calendar.session(dt.date(2026, 1, 5) + dt.timedelta(days=i)) for i in range(count))
    return [day for day in days if day is not None]


def joined(batches: list[TickBatch]) -> TickBatch:
    """Put batches together."""
    columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in TICK_COLUMNS}
    return TickBatch(symbols=batches[0].symbols, **columns)


@pytest.mark.parametrize("ticks", [1, 2, 7, 5_000])
def test_the_filter_accepts_every_simulated_tick(ticks: int) -> None:
    """Without faults there is nothing to reject, of shares or an index, from one tick a session on."""
    tick_filter = TickFilter(AllButUnknown(), MarketCalendar(), 20.0)

    for batch in simulate((*SHARES, INDEX), sessions(2), ticks, seed=3):
        tick_filter.apply(batch)

    assert tick_filter.accepted == 2 * 3 * ticks
    assert sum(tick_filter.rejected.values()) == sum(tick_filter.repaired.values()) == 0


def test_the_same_seed_gives_the_same_ticks() -> None:
    """Every column is equal; another seed gives others."""
    first, again, other = (joined(list(simulate(SHARES, sessions(2), 500, seed))) for seed in (5, 5, 6))

    for name in TICK_COLUMNS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.ltp, other.ltp)


def test_each_fault_is_found_as_what_it_is() -> None:
    """The filter counts exactly the faults that were added, by reason, and accepts all the good ticks."""
    tick_filter = TickFilter(AllButUnknown(), MarketCalendar(), 20.0)

    for batch in simulate((*SHARES, INDEX), sessions(2), 5_000, seed=3, fault_rate=0.01):
        tick_filter.apply(batch)

    each = 2 * 3 * 50
    assert tick_filter.rejected == {reason: each for reason in FAULTS if reason != "volume_fell"} | {"bad_quantity": 0}
    assert tick_filter.repaired == {"volume_fell": 2 * 2 * 50, "false_volume": 0}  # an index has no volume
    assert tick_filter.accepted == 2 * 3 * 5_000 + 2 * 2 * 50


def test_prices_and_quotes_are_a_market_s() -> None:
    """On the tick grid, bid below ask, trades at one of them, volume growing by each trade."""
    tape = joined(list(simulate((SimulatedSymbol("AAA", 1450.0, 0.1),), sessions(1), 5_000, seed=3)))

    steps = tape.ltp / 0.1
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert (tape.bid < tape.ask).all()
    assert ((tape.ltp == tape.bid) | (tape.ltp == tape.ask)).all()
    assert np.array_equal(np.diff(tape.volume), tape.last_qty[1:])
    assert min(tape.last_qty.min(), tape.bid_qty.min(), tape.ask_qty.min()) >= 1
    assert (np.diff(tape.ts_recv) >= 0).all()
    assert (tape.ts_recv >= tape.ts_event).all()
    assert tape.ltp[0] == pytest.approx(1450.0, rel=0.001)


def test_an_index_has_one_tick_a_second_and_no_book() -> None:
    """However many ticks are asked for."""
    (day,) = sessions(1)
    tape = joined(list(simulate((INDEX,), [day], 50_000, seed=3)))

    assert len(tape) == (day.close_ns - day.open_ns) // 1_000_000_000 == len(set(tape.ts_event.tolist()))
    assert (tape.volume == -1).all()
    assert np.isnan(tape.bid).all()


def test_the_day_has_its_shape() -> None:
    """The first half hour is busier than noon, ticks come in bursts, and large moves follow large moves."""
    days = sessions(5)
    tape = joined(list(simulate(SHARES[:1], days, 20_000, seed=3)))
    second = np.concatenate([(tape.ts_event - day.open_ns) // 1_000_000_000 for day in days[:1]])
    second = second[(second >= 0) & (second < 22_500)]
    per_second = np.bincount(second, minlength=22_500)

    assert per_second[:1800].mean() > 2 * per_second[9_000:10_800].mean()
    noon = per_second[7_200:14_400]
    assert noon.var() > 1.25 * noon.mean()  # Poisson has 1
    minutes = np.abs(np.diff(np.log(tape.ltp[::50])))
    assert np.corrcoef(minutes[:-1], minutes[1:])[0, 1] > 0.05


def test_symbols_move_together() -> None:
    """Half of the variance is the market's: five-minute returns of two shares correlate, not perfectly."""
    tape = joined(list(simulate(SHARES, sessions(12), 5_000, seed=3)))
    buckets = tape.ts_event // (300 * 1_000_000_000)
    closes = []
    for code in (0, 1):
        rows = np.flatnonzero(tape.code == code)
        last = rows[np.flatnonzero(np.diff(buckets[rows], append=-1))]
        closes.append(dict(zip(buckets[last].tolist(), np.log(tape.ltp[last]).tolist(), strict=True)))
    common = sorted(set(closes[0]) & set(closes[1]))
    returns = [np.diff([close[bucket] for bucket in common]) for close in closes]

    assert 0.2 < np.corrcoef(returns)[0, 1] < 0.9


def test_chunks_are_bounded() -> None:
    """A long session comes in several batches."""
    batches = list(simulate(SHARES[:1], sessions(1), 150_000, seed=3))

    assert [len(batch) for batch in batches] == [131_072, 150_000 - 131_072]
