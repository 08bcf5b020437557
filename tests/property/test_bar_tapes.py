"""A tape that is made of bars builds the same bars again, and its fills flatter nobody, whatever came first."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bars.builder import BarBuilder
from daemon.core.events import Bar, Fill, OrderIntent, OrderType, Side, TickBatch
from daemon.feed.replay import Tapes
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.paper_venue import PaperVenue
from daemon.run.surveying import survey_tapes
from daemon.settings.orders import PaperSettings
from daemon.settings.values import INTERVALS
from daemon.tape.bar_importer import import_bars
from daemon.tape.bar_ticks import TICKS_OF_A_BAR, Bars, ticks_of
from tests.depth import examples
from tests.samples import OPEN, RELIANCE, SBIN, intend, settings_of, ticks

SECOND = 1_000_000_000
CALENDAR = MarketCalendar()
BOOK = InstrumentBook(settings_of().market)


def sessions() -> list[Session]:
    """Ordinary days, and one of the shorter ones from August 2026 on."""
    days = (dt.date(2026, 1, 5), dt.date(2026, 1, 6), dt.date(2026, 8, 3))
    return [session for day in days if (session := CALENDAR.session(day)) is not None]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, pa.Table]:
    """(interval, bars of two symbols with holes): prices up to half apart, any volumes and none, in any order."""
    interval = draw(st.sampled_from(["1m", "3m", "5m", "15m", "30m", "60m"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = INTERVALS[interval] * SECOND
    columns: dict[str, list[Any]] = {
        name: [] for name in ("ts", "symbol", "open", "high", "low", "close", "volume")
    }  # fmt: skip
    spread = draw(st.sampled_from([0.0, 0.01, 0.2]))
    volumes: list[int | None] = draw(st.sampled_from([[None], [0, 1, 2, 3, 5], [10**9, 7], [None, 4]]))
    for symbol in (SBIN, RELIANCE):
        for session in sessions():
            starts = np.arange(session.open_ns, session.close_ns, length)
            for start in starts[random.random(len(starts)) < 0.7].tolist():
                prices = np.round(100 * np.exp(random.uniform(-spread, spread, 4)), 2)
                columns["ts"].append(start)
                columns["symbol"].append(symbol)
                for name, price in zip(("low", "open", "close", "high"), sorted(prices), strict=True):
                    columns[name].append(price)
                if random.random() < 0.5:
                    columns["open"][-1], columns["close"][-1] = columns["close"][-1], columns["open"][-1]
                columns["volume"].append(random.choice(np.array(volumes, dtype=object)))
    table = pa.table(columns | {"ts": pa.array(columns["ts"], pa.timestamp("ns", "UTC"))})
    return interval, table.take(random.permutation(len(table))) if draw(st.booleans()) else table


def built(path: Path, interval: str) -> list[Bar]:
    """The bars of that interval that a replay would build."""
    tapes = Tapes([path], [], 1000)
    sift = tapes.tick_filter(settings_of().feed, BOOK, CALENDAR)
    builder = BarBuilder(CALENDAR, tapes.intervals([interval]), 1_000_000_000)
    bars = []
    for batch in tapes.batches():
        accepted, _ = sift.apply(batch)
        builder.on_ticks(accepted)
    bars += builder.on_time(OPEN + 400 * 86_400 * SECOND)
    assert builder.late == 0
    return bars


@settings(max_examples=examples(40))
@given(tables())
def test_the_same_bars_are_built_again(found: tuple[str, pa.Table]) -> None:
    """Open, high, low, close and volume of every bar, exactly; and nothing of the tape is rejected."""
    interval, table = found
    with tempfile.TemporaryDirectory() as directory:
        source, tape = Path(directory, "b.parquet"), Path(directory, "t.parquet")
        pq.write_table(table, source)
        report = import_bars([source], tape, interval, {})
        bars = built(tape, interval)
        survey = asyncio.run(survey_tapes(settings_of(), [tape]))
    expected = sorted(
        (row["symbol"], row["ts"], row["open"], row["high"],
         row["low"], row["close"], -1 if row["volume"] is None else row["volume"])
        for row in table.set_column(0, "ts", table["ts"].cast(pa.int64())).to_pylist()
    )  # fmt: skip
    assert sorted((b.symbol, b.ts_open, b.open, b.high, b.low, b.close, b.volume) for b in bars) == expected
    assert (report.bars, report.left_out) == (len(table), {})
    assert sum(survey.rejected.values()) == 0
    assert survey.accepted == TICKS_OF_A_BAR * len(table)


# -- fills ------------------------------------------------------------------------------------------------------------

STEP = 300 * SECOND
PAPER = PaperSettings(spread_bp=0, slippage_bp=0)


@st.composite
def markets(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """A few bars (open, high, low, close) in ticks of five paise around 100 rupees."""
    bars = []
    for _ in range(draw(st.integers(1, 4))):
        prices = sorted(draw(st.lists(st.integers(-8, 8), min_size=4, max_size=4)))
        first, last = (prices[1], prices[2]) if draw(st.booleans()) else (prices[2], prices[1])
        bars.append((first, prices[3], prices[0], last))
    return bars


def rupees(steps: int) -> float:
    """A price on the grid."""
    return float(Decimal(100) + steps * Decimal("0.05"))


def as_bars(market: list[tuple[int, int, int, int]]) -> TickBatch:
    """As the tape has them."""
    start = OPEN + np.arange(len(market)) * STEP
    first, high, low, last = (np.array([rupees(value) for value in column]) for column in zip(*market, strict=True))
    code, volume = np.zeros(len(market), dtype=np.int32), np.full(len(market), 400)
    bars = Bars(
        code=code, start=start, end=start + STEP, open=first, high=high, low=low, close=last, volume=volume
    )  # fmt: skip
    found = ticks_of(bars, (SBIN,))
    return msgspec.structs.replace(found, ts_recv=found.ts_event, traded=found.last_qty)


def as_path(market: list[tuple[int, int, int, int]], low_first: bool) -> TickBatch:
    """What may have happened: through every price on the way, one extreme first, each price traded."""
    ts, prices = [], []
    for number, (first, high, low, last) in enumerate(market):
        corners = [first, low, high, last] if low_first else [first, high, low, last]
        way = [first]
        for corner in corners[1:]:
            step = 1 if corner > way[-1] else -1
            way += list(range(way[-1] + step, corner + step, step)) if corner != way[-1] else []
        at = np.linspace(5, 299, len(way))
        ts += [OPEN + number * STEP + round(second * SECOND) for second in at]
        prices += [rupees(value) for value in way]
    return ticks(ts, prices, traded=[5] * len(ts))


@st.composite
def orders(draw: st.DrawFn) -> OrderIntent:
    """Any order."""
    side, kind = draw(st.sampled_from(list(Side))), draw(st.sampled_from(list(OrderType)))
    stop = draw(st.integers(-9, 9))
    limit = stop + side.sign * draw(st.integers(0, 4))
    return intend(
        side=side, quantity=10, type=kind, ts=OPEN,
        limit_price=Decimal(str(rupees(limit))), stop_price=Decimal(str(rupees(stop))),
    )  # fmt: skip


def fill_of(order: OrderIntent, market: TickBatch, active: int, until: int, bar_s: int) -> Fill | None:
    """What came of an order that was on the market from `active` to `until`."""
    venue = PaperVenue(PAPER, BOOK, CostSchedule(), CALENDAR, bar_s)
    venue.submit(order, active)
    rows = int(np.searchsorted(market.ts_recv, until))
    fills = venue.on_ticks(market.slice(0, rows)) if rows else []
    return fills[0] if fills else None


@settings(max_examples=examples(600))
@given(markets(), orders(), st.integers(1, 1150), st.integers(1, 1200), st.booleans())
def test_a_bar_never_flatters(
    market: list[tuple[int, int, int, int]], order: OrderIntent, active_s: int, lives_s: int, low_first: bool
) -> None:
    """Against both orders of the extremes: no better price, and no fill at a limit that was not sure to be there."""
    active, until = OPEN + active_s * SECOND, OPEN + (active_s + lives_s) * SECOND
    of_bars = fill_of(order, as_bars(market), active, until, 300)
    of_path = fill_of(order, as_path(market, low_first), active, until, 0)
    if of_bars is None:
        return
    bar = market[(of_bars.ts - OPEN) // STEP]
    assert rupees(bar[2]) <= float(of_bars.price) <= rupees(bar[1]) or order.type in (
        OrderType.LIMIT, OrderType.SL_LIMIT,
    )  # fmt: skip
    if order.type is OrderType.LIMIT:
        assert of_path is not None
        assert of_path.price == of_bars.price == order.limit_price
    elif order.type is OrderType.SL_LIMIT:
        assert of_bars.price == order.limit_price
    elif of_path is not None and (of_path.ts - OPEN) // STEP == (of_bars.ts - OPEN) // STEP:
        assert order.side.sign * (of_bars.price - of_path.price) >= 0


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.10"), (Side.SELL, "100.10")])
def test_what_is_decided_at_a_close_fills_at_the_next_open(side: Side, price: str) -> None:
    """Half the spread and the slippage are paid on top, as on ticks."""
    market = as_bars([(0, 4, -4, 1), (2, 8, -8, 3)])
    order = intend(side=side, quantity=10, ts=OPEN + STEP)
    fill = fill_of(order, market, OPEN + STEP + SECOND, OPEN + 2 * STEP, 300)
    assert fill is not None
    assert (fill.price, fill.ts) == (Decimal(price), OPEN + STEP + 5 * SECOND)


def test_an_order_inside_a_bar_pays_its_worse_extreme() -> None:
    """Where the price was then nobody knows."""
    market = as_bars([(0, 4, -6, 1)])
    for side, price in ((Side.BUY, 4), (Side.SELL, -6)):
        fill = fill_of(intend(side=side, quantity=10, ts=OPEN), market, OPEN + 60 * SECOND, OPEN + STEP, 300)
        assert fill is not None
        assert float(fill.price) == rupees(price)


def test_a_stop_comes_before_a_target() -> None:
    """Long, with a stop below and a target above, both within the bar: the stop is filled, and first."""
    venue = PaperVenue(PAPER, BOOK, CostSchedule(), CALENDAR, 300)
    below, above = Decimal(str(rupees(-3))), Decimal(str(rupees(3)))
    venue.submit(intend("target", Side.SELL, 10, type=OrderType.LIMIT, limit_price=above, ts=OPEN), OPEN)
    venue.submit(intend("stop", Side.SELL, 10, type=OrderType.SL_MARKET, stop_price=below, ts=OPEN), OPEN)
    fills = venue.on_ticks(as_bars([(0, 4, -4, 1)]))
    assert [fill.order_id for fill in fills] == ["stop", "target"]
    assert float(fills[0].price) == rupees(-4)


def test_an_extreme_helps_only_who_was_there_all_the_while() -> None:
    """A limit order that came after the open, or was gone before the end, may have missed it."""
    market = as_bars([(0, 4, -4, 1)])
    limit = Decimal(str(rupees(-2)))
    order = intend(side=Side.BUY, quantity=10, type=OrderType.LIMIT, limit_price=limit, ts=OPEN)
    assert fill_of(order, market, OPEN, OPEN + STEP, 300) is not None
    assert fill_of(order, market, OPEN + 60 * SECOND, OPEN + STEP, 300) is None
    assert fill_of(order, market, OPEN, OPEN + STEP - SECOND, 300) is None
