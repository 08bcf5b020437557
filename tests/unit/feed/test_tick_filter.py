"""What the tick filter accepts, rejects and measures, rule by rule."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from daemon.core.events import TickBatch
from daemon.feed.tick_filter import BELIEVED_AFTER, TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import Instrument, Kind
from tests.unit.feed.ticks import OPEN_NS, SECOND, listed, make_batch

DAY_S = 86_400


class ListedInstruments:
    """Knows the shares AAA and BBB, and the option CE."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolve(self, symbol: str) -> Instrument | None:
        """Return what is known."""
        self.asked.append(symbol)
        kinds = {"AAA": Kind.EQUITY, "BBB": Kind.EQUITY, "CE": Kind.OPTION}
        return listed(symbol, kinds[symbol]) if symbol in kinds else None


def make_filter() -> TickFilter:
    """Make a filter with the real calendar that lets prices jump by 20 %."""
    return TickFilter(ListedInstruments(), MarketCalendar(), 20.0)


def outcome(*batches: TickBatch) -> tuple[list[float], dict[str, int]]:
    """Tell the accepted prices, and the rejections that are not 0."""
    tick_filter = make_filter()
    prices = [price for batch in batches for price in tick_filter.apply(batch)[0].ltp.tolist()]
    return prices, {reason: count for reason, count in tick_filter.rejected.items() if count}


def test_good_ticks_pass_untouched() -> None:
    """Where all are accepted no column is copied."""
    batch = make_batch(ltp=[1.0, 1.1, 1.2], bid=[0.9, 1.0, 1.1])

    accepted, _ = make_filter().apply(batch)

    assert accepted.ltp is batch.ltp
    assert accepted.bid is batch.bid


def test_an_empty_batch_passes() -> None:
    """Nothing in, nothing out."""
    accepted, traded = make_filter().apply(make_batch(ltp=[1.0]).slice(0, 0))

    assert len(accepted) == len(traded) == 0


@pytest.mark.parametrize("price", [1e300, 1e7, 1e-5, 1e-300, 5e-324, 0.0, -1.0, np.nan, np.inf])
def test_a_price_that_nothing_can_have_is_no_price(price: float) -> None:
    """Also as the first of the day, when there is nothing to compare with, and as a quote."""
    assert outcome(make_batch(ltp=[price])) == ([], {"bad_price": 1})
    if price >= 1e7:
        assert outcome(make_batch(ltp=[100.0, 100.0], ask=[100.05, price])) == ([100.0], {"bad_price": 1})


@pytest.mark.parametrize("name", ["volume", "last_qty"])
def test_a_quantity_that_nobody_trades_is_none(name: str) -> None:
    """It would overflow the sum of a bar, and no later volume of the day would ever exceed it."""
    batch = make_batch(ltp=[100.0, 100.05, 100.1], **{name: [10, 2**62, 20]})
    assert outcome(batch) == ([100.0, 100.1], {"bad_quantity": 1})


def test_unknown_symbols() -> None:
    """They are rejected whatever else is wrong with them, and each symbol is looked up once."""
    instruments = ListedInstruments()
    tick_filter = TickFilter(instruments, MarketCalendar(), 20.0)
    batch = make_batch(("???", "AAA", ""), code=[0, 1, 2, 1], ltp=[np.nan, 1.0, 1.0, 1.1])

    for _ in range(2):
        accepted, _ = tick_filter.apply(batch)

    assert tick_filter.rejected["unknown_symbol"] == 4
    assert accepted.code.tolist() == []  # the second time they are old
    assert instruments.asked == ["???", "AAA"]


@pytest.mark.parametrize(
    "second", [-(OPEN_NS // SECOND), -(OPEN_NS // SECOND) - 5, -60 * 365 * DAY_S, 90 * 365 * DAY_S]
)
def test_bad_times(second: int) -> None:
    """Epoch 0, times before 1970 or 2000 and after 2099 are no times."""
    assert outcome(make_batch(ts_event=[1, second, 2], ts_recv=[1, 2, 2], ltp=[1.0, 1.1, 1.2])) == (
        [1.0, 1.2],
        {"bad_time": 1},
    )


def test_a_stamp_ahead_of_its_receipt() -> None:
    """Two and a half seconds are the clocks' difference, more is a fault."""
    batch = make_batch(ts_event=[10, 13.5, 15], ts_recv=[9, 11, 12], ltp=[1.0, 1.1, 1.2])

    assert outcome(batch) == ([1.0, 1.1], {"bad_time": 1})


def test_outside_the_session() -> None:
    """The open belongs to the session and the close does not; weekends have none."""
    close = 6 * 3600 + 15 * 60
    batch = make_batch(ts_event=[-1, 0, close - 1, close, 6 * DAY_S], ltp=[1.0, 1.1, 1.2, 1.1, 1.0])

    assert outcome(batch) == ([1.1, 1.2], {"outside_session": 3})


@pytest.mark.parametrize("price", [np.nan, np.inf, -np.inf, 0.0, -1.0, 121.0, 79.0])
def test_bad_prices(price: float) -> None:
    """What is no price, and what lies more than 20 % from the last accepted price."""
    assert outcome(make_batch(ltp=[100.0, price, 101.0])) == ([100.0, 101.0], {"bad_price": 1})


def test_a_jump_of_exactly_the_limit_is_allowed() -> None:
    """More than 20 % is a fault, 20 % is a circuit limit."""
    assert outcome(make_batch(ltp=[100.0, 120.0, 96.0])) == ([100.0, 120.0, 96.0], {})


def test_a_gap_over_night_is_no_jump() -> None:
    """The first price of a day has nothing to be compared with."""
    assert outcome(make_batch(ts_event=[0, DAY_S], ltp=[100.0, 10.0])) == ([100.0, 10.0], {})


def test_rejected_ticks_are_no_reference() -> None:
    """Neither the price nor the time of a rejected tick counts for the next."""
    batch = make_batch(ts_event=[10, 50, 5, 11], ts_recv=[60] * 4, ltp=[100.0, 200.0, 119.0, 95.0])

    assert outcome(batch) == ([100.0, 95.0], {"bad_price": 1, "backward_time": 1})


def test_backward_time_is_a_matter_of_the_symbol() -> None:
    """Other symbols may be older."""
    batch = make_batch(
        ("AAA", "BBB"), code=[0, 1, 0, 1], ts_event=[10, 5, 9, 6], ts_recv=[10] * 4, ltp=[1.0, 2.0, 1.1, 2.1]
    )

    assert outcome(batch) == ([1.0, 2.0, 2.1], {"backward_time": 1})


def test_duplicates_agree_in_all_that_the_exchange_sent() -> None:
    """Null equals null, our time of receipt does not matter, any other difference does."""
    same: dict[str, Any] = {"ts_event": [5, 5, 5, 5], "ltp": [1.0] * 4, "bid": [np.nan, np.nan, 0.9, 0.9]}
    batch = make_batch(ts_recv=[5, 6, 7, 8], ask_qty=[3, 3, 3, 4], **same)

    assert outcome(batch) == ([1.0, 1.0, 1.0], {"duplicate": 1})


@pytest.mark.parametrize("cuts", [(), (2,)])
@pytest.mark.parametrize("times", [1, 200])
def test_equal_trades_in_one_second_are_trades(cuts: tuple[int, ...], times: int) -> None:
    """A list of trades (time, price, quantity) has many: without a day's total nothing tells one that is told twice."""
    ts = np.repeat(np.arange(5, 5 + times), 3)
    same: dict[str, Any] = {"ts_event": ts, "ltp": np.ones(3 * times), "last_qty": np.full(3 * times, 25)}
    for columns, expected in ((same, [25] * 3 * times), (same | {"volume": 100 * ts}, None)):
        batch = make_batch(**columns)
        parts = [batch.slice(*edges) for edges in pairwise((0, *cuts, len(batch)))]
        accepted, rejected = outcome(*parts)
        assert len(accepted) == (3 * times if expected else times)
        assert rejected == ({} if expected else {"duplicate": 2 * times})
        assert expected in (None, traded(*parts))


def test_a_repetition_is_noticed_across_batches_and_tables_of_symbols() -> None:
    """What is remembered belongs to the symbol, not to its code in one batch."""
    first = make_batch(("AAA",), ts_event=[5], ltp=[1.0], volume=[7])
    second = make_batch(("BBB", "AAA"), code=[1, 0], ts_event=[5, 5], ltp=[1.0, 1.0], volume=[7, 7])

    assert outcome(first, second) == ([1.0, 1.0], {"duplicate": 1})


def traded(*batches: TickBatch) -> list[int]:
    """Tell the traded quantities of all accepted ticks."""
    tick_filter = make_filter()
    return [quantity for batch in batches for quantity in tick_filter.apply(batch)[1].tolist()]


def test_traded_is_the_growth_of_the_days_volume() -> None:
    """A day's first tick has an unknown past and counts 0; a volume that falls adds none until it is made up for."""
    ts = [0, 1, 2, 3, 4, DAY_S, DAY_S + 1]

    assert traded(make_batch(ts_event=ts, ltp=[1.0] * 7, volume=[50, 60, 40, 55, 75, 10, 12])) == [
        0,
        10,
        0,
        0,
        15,
        0,
        2,
    ]


def test_the_first_tick_of_a_day_counts_its_own_trade() -> None:
    """Where the last traded quantity is known it is what we saw happen."""
    batch = make_batch(ltp=[1.0, 1.0], volume=[50, 60], last_qty=[7, 3])

    assert traded(batch) == [7, 10]


def test_traded_without_cumulative_volume() -> None:
    """It is the last traded quantity, and −1 where there is none (an index)."""
    assert traded(make_batch(ltp=[1.0, 1.1, 1.2], last_qty=[5, -1, 6])) == [5, -1, 6]


def test_a_gap_in_the_volume_is_made_up_for_by_the_next() -> None:
    """Once a day has cumulative volume, ticks without it add nothing by themselves."""
    batch = make_batch(ltp=[1.0, 1.1, 1.2, 1.3], volume=[-1, 50, -1, 58], last_qty=[2, 4, 3, 5])

    assert traded(batch) == [2, 4, 0, 8]


def test_fallen_volumes_are_counted() -> None:
    """The tick is accepted, the repair is on record."""
    tick_filter = make_filter()

    tick_filter.apply(make_batch(ltp=[1.0] * 4, volume=[50, 40, 45, 50]))

    assert tick_filter.repaired == {"volume_fell": 2, "false_volume": 0}
    assert tick_filter.accepted == 4


def test_a_level_is_believed_when_enough_ticks_agree_on_it_for_long_enough() -> None:
    """Twenty ticks of one second are a burst; a minute of them is the price."""
    n = 2_000
    ltp = np.concatenate([np.full(500, 100.0), np.full(n - 500, 160.0)])

    prices, rejected = outcome(make_batch(ltp=ltp))

    assert rejected == {"bad_price": 60}
    assert len(prices) == n - 60


def test_a_burst_of_false_prices_is_never_believed() -> None:
    """However many come in one second."""
    ltp = np.concatenate([np.full(200, 100.0), np.full(300, 160.0), np.full(200, 100.0)])
    ts = np.concatenate([np.arange(200), np.full(300, 200), 201 + np.arange(200)])

    assert outcome(make_batch(ltp=ltp, ts_event=ts)) == ([100.0] * 400, {"bad_price": 300})


def test_after_a_silence_few_ticks_are_enough() -> None:
    """Nothing came for five minutes: the third tick that agrees is believed, and one false tick costs itself."""
    before = [100.0] * 30
    ts = [*range(30), 400, 401, 402, 403]

    assert outcome(make_batch(ltp=[*before, 130.0, 130.5, 131.0, 131.5], ts_event=ts)) == (
        [*before, 131.0, 131.5], {"bad_price": 2},
    )  # fmt: skip
    assert outcome(make_batch(ltp=[*before, 130.0, 100.0, 101.0, 102.0], ts_event=ts)) == (
        [*before, 100.0, 101.0, 102.0], {"bad_price": 1},
    )  # fmt: skip


def test_what_is_believed_before_the_level_is_settled_is_remembered_in_large_batches() -> None:
    """Two false ticks after the first good one outvote it, until the good ones outvote them."""
    ltp = [100.0, 160.0, 160.0, *[100.0] * 200]

    whole = outcome(make_batch(ltp=ltp))
    single = outcome(*(make_batch(ltp=[price], ts_event=[second]) for second, price in enumerate(ltp)))

    assert whole == single
    assert whole == ([100.0, 160.0, *[100.0] * 199], {"bad_price": 2})


@pytest.mark.parametrize(("symbol", "limit"), [("AAA", 0.0), ("CE", 0.0)])
def test_a_few_ticks_of_the_grid_are_never_a_jump(symbol: str, limit: float) -> None:
    """A share or an option of five paise may be twice as dear with the next trade."""
    prices = [0.05, 0.25, 0.05, 0.10, 0.30, 0.15]
    tick_filter = TickFilter(ListedInstruments(), MarketCalendar(), limit, limit)

    accepted, _ = tick_filter.apply(make_batch((symbol,), ltp=prices))

    assert accepted.ltp.tolist() == prices


def test_an_option_may_double() -> None:
    """What is a fault in a share is an ordinary minute of an option."""
    prices = [10.0, 19.5, 9.0, 900.0, 9.5]

    assert outcome(make_batch(("CE",), ltp=prices)) == ([10.0, 19.5, 9.0, 9.5], {"bad_price": 1})
    assert outcome(make_batch(("AAA",), ltp=[10.0, 19.5])) == ([10.0], {"bad_price": 1})


def quantities(volume: list[int], seconds: list[int] | None = None) -> tuple[list[int], dict[str, int]]:
    """(traded, repairs) of ticks with these totals."""
    tick_filter = make_filter()
    columns: dict[str, Any] = {"ltp": [100.0 + 0.05 * (i % 3) for i in range(len(volume))], "volume": volume}
    if seconds is not None:
        columns["ts_event"] = seconds
    return tick_filter.apply(make_batch(**columns))[1].tolist(), tick_filter.repaired


def test_yesterdays_total_in_the_first_tick_costs_few_ticks() -> None:
    """Twenty totals that agree below it are believed, with what was traded between them."""
    traded, repaired = quantities([9_000_000, *range(10, 410, 10)])

    assert traded == [0] * 20 + [190] + [10] * 20
    assert repaired == {"volume_fell": 20, "false_volume": 1}


def test_one_false_total_costs_one_bar() -> None:
    """What it added is on record; from the twentieth total that agrees on, traded is what it was."""
    totals = [*range(10, 210, 10), 5_000_000, *range(210, 510, 10)]

    traded, repaired = quantities(totals)

    assert traded[21:40] == [0] * 19
    assert traded[40] == 190
    assert traded[41:] == [10] * 10
    assert repaired["false_volume"] == 1


def test_a_total_that_was_never_filled_in_is_none() -> None:
    """The largest number of 32 bits is an empty field."""
    traded, repaired = quantities([10, 20, 2**32 - 1, 30, 2**31 - 1, 40])

    assert traded == [0, 10, 0, 10, 0, 10]
    assert repaired == {"volume_fell": 0, "false_volume": 2}


def test_zeros_are_no_total_that_the_day_begins_anew_from() -> None:
    """However many: what was traded before them isn't traded again after them, and real totals between them agree."""
    traded, repaired = quantities([10, 20, 1000, *[0] * 40, 1010, 1020])

    assert traded == [0, 10, 980, *[0] * 40, 10, 10]
    assert repaired == {"volume_fell": 40, "false_volume": 0}

    stale = [9_000_000, *(total for i in range(1, 31) for total in (0, 10 * i))]
    assert sum(quantities(stale)[0]) == 290


def test_a_quantity_that_was_never_filled_in_is_none() -> None:
    """Neither of the day's first tick nor where there are no totals."""
    tick_filter = make_filter()

    ticks = make_batch(ltp=[100.0] * 3, volume=[-1, -1, 10], last_qty=[5, 2**32 - 1, 2**31 - 1])

    assert tick_filter.apply(ticks)[1].tolist() == [5, -1, 0]
    assert tick_filter.repaired["false_volume"] == 2


def test_where_little_is_traded_time_speaks_for_a_total() -> None:
    """Three totals over five minutes are enough."""
    traded, repaired = quantities([100, 900, 110, 120, 130, 140], [0, 1, 10, 200, 310, 311])

    assert traded == [0, 800, 0, 0, 20, 10]
    assert repaired == {"volume_fell": 3, "false_volume": 1}


def test_columns_without_values_stay_without_memory() -> None:
    """A column that is one repeated value is not written out when rows are taken."""
    batch = make_batch(ltp=[1.0, -1.0, 1.1], oi=np.broadcast_to(np.int64(-1), (3,)))

    accepted, _ = make_filter().apply(batch)

    assert accepted.oi.strides == (0,)
    assert len(accepted.oi) == 2


def test_the_calendar_knows_the_opening_used_here() -> None:
    """The tests' times are those of an ordinary session."""
    session = MarketCalendar().session(dt.date(2026, 1, 5))

    assert session is not None
    assert session.open_ns == OPEN_NS


def test_a_false_first_price_does_not_cost_the_day() -> None:
    """When more ticks in a row agree on another level, that level is the price, and the faulty one is a jump."""
    prices = [1.0, *([100.0, 100.1] * BELIEVED_AFTER), 1.0, 100.0]
    ticks = make_batch(ltp=prices, ts_event=list(range(len(prices))))

    accepted, rejected = outcome(ticks)

    assert accepted[:3] == [1.0, 100.1, 100.0]
    assert accepted[-2:] == [100.1, 100.0]
    assert rejected == {"bad_price": 1 + 1}


def test_scattered_false_prices_are_never_believed() -> None:
    """Jumps that don't agree with each other stay rejected however many they are."""
    prices = [100.0, *([5.0, 500.0] * BELIEVED_AFTER)]
    ticks = make_batch(ltp=prices, ts_event=list(range(len(prices))))

    accepted, rejected = outcome(ticks)

    assert accepted == [100.0]
    assert rejected == {"bad_price": 2 * BELIEVED_AFTER}
