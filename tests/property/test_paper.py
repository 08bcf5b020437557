"""The paper venue over random markets: batches don't matter, nothing is filled early, late, twice or too well."""

import datetime as dt
import itertools
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.events import Fill, OrderIntent, OrderType, Side, TickBatch
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.paper_venue import PaperVenue
from daemon.settings.market import MarketSettings
from daemon.settings.orders import PaperSettings
from tests.depth import examples

DAY = dt.date(2021, 4, 1)
T0 = ist_ns(DAY, "15:29") + 30_000_000_000
CLOSE = ist_ns(DAY, "15:30")
SECOND = 1_000_000_000
SYMBOLS = ("SBIN", "NIFTY", "TCS")
LOTS = {"SBIN": 1, "NIFTY": 75, "TCS": 1}
BOOK = InstrumentBook(MarketSettings(), as_of=DAY)
CALENDAR = MarketCalendar()
COSTS = CostSchedule()


def grid(ticks: int) -> float:
    """A price near 100 on the tick grid."""
    return float(Decimal(100) + ticks * Decimal("0.05"))


@st.composite
def markets(draw: st.DrawFn) -> TickBatch:
    """Up to 40 ticks around the close: stamps repeat, go back, pass the close; quotes are known, unknown, one-sided."""
    n = draw(st.integers(1, 40))

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=n, max_size=n))

    near = st.integers(-6, 6)
    ltp = column(near.map(grid))
    quote = st.one_of(st.just(float("nan")), st.just(0.0), near.map(grid))
    size = st.sampled_from([-1, 0, 1, 40, 100, 200])
    stamps = T0 + np.array(column(st.integers(0, 40)), dtype=np.int64) * SECOND
    if draw(st.booleans()):
        stamps.sort()
    bands = {}
    if draw(st.booleans()):
        end, unknown = st.sampled_from([3, 5]), st.just(float("nan"))
        lower = column(st.one_of(unknown, end.map(lambda ticks: grid(-ticks))))
        upper = column(st.one_of(unknown, end.map(grid)))
        bands = {"lower_band": np.array(lower), "upper_band": np.array(upper)}
    return TickBatch(
        symbols=SYMBOLS, code=np.array(column(st.integers(0, 2)), dtype=np.int32), ts_event=stamps, ts_recv=stamps,
        ltp=np.array(ltp), last_qty=np.full(n, -1), volume=np.full(n, -1),
        bid=np.array(column(quote)), ask=np.array(column(quote)),
        bid_qty=np.array(column(size), dtype=np.int64), ask_qty=np.array(column(size), dtype=np.int64),
        oi=np.full(n, -1), traded=np.array(column(st.sampled_from([-1, 0, 5])), dtype=np.int64), **bands,
    )  # fmt: skip


@st.composite
def intents(draw: st.DrawFn) -> list[tuple[OrderIntent, int]]:
    """Up to five orders of all types with the moments they become active."""
    orders = []
    for number in range(draw(st.integers(1, 5))):
        symbol = draw(st.sampled_from(SYMBOLS))
        side, kind = draw(st.sampled_from(list(Side))), draw(st.sampled_from(list(OrderType)))
        stop = draw(st.integers(-4, 4))
        limit = stop + side.sign * draw(st.integers(0, 3))
        order = OrderIntent(
            ts=T0, order_id=f"o{number}", symbol=symbol, side=side,
            quantity=draw(st.integers(1, 4)) * LOTS[symbol] * 10, type=kind,
            limit_price=Decimal(str(grid(limit))), stop_price=Decimal(str(grid(stop))), reduces=False, strategy="test",
            reason="", reference_price=Decimal(100),
        )  # fmt: skip
        orders.append((order, T0 + draw(st.integers(0, 25)) * SECOND))
    return orders


def run(
    market: TickBatch, orders: list[tuple[OrderIntent, int]], cuts: list[int], paper: PaperSettings
) -> tuple[list[Fill], PaperVenue]:
    """All fills of `orders` on `market`, fed in the slices that `cuts` make."""
    venue = PaperVenue(paper, BOOK, COSTS, CALENDAR)
    for order, active_from in orders:
        venue.submit(order, active_from)
    fills: list[Fill] = []
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(market)]):
        fills += venue.on_ticks(market.slice(start, stop))
    return fills, venue


PAPERS = st.builds(
    PaperSettings, spread_bp=st.sampled_from([0, 7]), slippage_bp=st.sampled_from([0, 3]),
    limit_fill=st.sampled_from(["through", "touch"]),
)  # fmt: skip


@settings(max_examples=examples(300))
@given(market=markets(), orders=intents(), paper=PAPERS, cut=st.data())
def test_cutting_changes_nothing(
    market: TickBatch, orders: list[tuple[OrderIntent, int]], paper: PaperSettings, cut: st.DataObject
) -> None:
    """Any cutting of the ticks gives the same fills and leaves the same orders, down to the single tick."""
    cuts = cut.draw(st.lists(st.integers(0, len(market)), max_size=6))
    fills, venue = run(market, orders, [], paper)
    for edges in (cuts, list(range(1, len(market)))):
        others, other_venue = run(market, orders, edges, paper)
        assert others == fills
        assert other_venue.working() == venue.working()
        for symbol in SYMBOLS:
            assert other_venue.last_price(symbol) == venue.last_price(symbol)


def no_fill_is_early_late_or_too_large(
    market: TickBatch, orders: list[tuple[OrderIntent, int]], fills: list[Fill], venue: PaperVenue
) -> None:
    """Fills come strictly after the order is active and before the close, on ticks that exist, up to its quantity."""
    active = {order.order_id: start for order, start in orders}
    wanted = {order.order_id: order for order, _ in orders}
    assert len({fill.fill_id for fill in fills}) == len(fills)
    for fill in fills:
        order = wanted[fill.order_id]
        assert active[fill.order_id] < fill.ts < CLOSE
        own = market.ts_recv[market.code == SYMBOLS.index(fill.symbol)]
        assert fill.ts in own
        assert (fill.side, fill.symbol) == (order.side, order.symbol)
        assert fill.quantity % LOTS[fill.symbol] == 0
        assert fill.price % Decimal("0.05") == 0
        assert fill.costs > 0
    working = {item.order_id: item.filled for item in venue.working()}
    for order_id, order in wanted.items():
        done = sum(fill.quantity for fill in fills if fill.order_id == order_id)
        assert done == working.get(order_id, order.quantity)
        assert 0 <= done <= order.quantity


def no_fill_flatters(market: TickBatch, orders: list[tuple[OrderIntent, int]], fills: list[Fill]) -> None:
    """A market fill is never better than the quote or last price of its moment; a limit fill is at the limit."""
    wanted = {order.order_id: order for order, _ in orders}
    for fill in fills:
        order = wanted[fill.order_id]
        if order.type in (OrderType.LIMIT, OrderType.SL_LIMIT):
            assert fill.price == order.limit_price
            continue
        rows = (market.code == SYMBOLS.index(fill.symbol)) & (market.ts_recv == fill.ts)
        quotes = market.ask[rows] if fill.side is Side.BUY else market.bid[rows]
        usable = (quotes > 0) & (fill.symbol != "NIFTY")
        bases = np.where(usable, quotes, market.ltp[rows])
        assert any(fill.side.sign * (float(fill.price) - base) >= -1e-9 for base in bases)


def displayed_quantity_is_given_once(
    market: TickBatch, orders: list[tuple[OrderIntent, int]], fills: list[Fill]
) -> None:
    """Market fills of one moment never exceed what all ticks of that moment displayed together."""
    wanted = {order.order_id: order for order, _ in orders}
    for moment in {(fill.ts, fill.symbol, fill.side) for fill in fills}:
        ts, symbol, side = moment
        rows = (market.code == SYMBOLS.index(symbol)) & (market.ts_recv == ts)
        quotes, sizes = (market.ask, market.ask_qty) if side is Side.BUY else (market.bid, market.bid_qty)
        known = (quotes[rows] > 0) & (sizes[rows] >= 0)
        if symbol == "NIFTY" or not known.all():
            continue
        taken = sum(
            fill.quantity for fill in fills
            if (fill.ts, fill.symbol, fill.side) == moment
            and wanted[fill.order_id].type in (OrderType.MARKET, OrderType.SL_MARKET)
        )  # fmt: skip
        assert taken <= sizes[rows].sum()


def nothing_trades_with_nobody_or_outside_the_band(market: TickBatch, fills: list[Fill]) -> None:
    """Every fill has a tick of its moment on which its other side isn't empty and whose band holds its price."""
    for fill in fills:
        rows = np.flatnonzero((market.code == SYMBOLS.index(fill.symbol)) & (market.ts_recv == fill.ts))
        if fill.symbol == "NIFTY":
            continue
        quotes, sizes = (market.ask, market.ask_qty) if fill.side is Side.BUY else (market.bid, market.bid_qty)
        assert not ((quotes[rows] == 0) & (sizes[rows] == 0)).all()
        ends = market.upper_band if fill.side is Side.BUY else market.lower_band
        if ends is not None and not np.isnan(ends[rows]).any():
            assert (fill.side.sign * (float(fill.price) - ends[rows]) <= 1e-9).any()


@settings(max_examples=examples(300))
@given(market=markets(), orders=intents(), paper=PAPERS)
def test_every_fill_is_one_that_could_be_had(
    market: TickBatch, orders: list[tuple[OrderIntent, int]], paper: PaperSettings
) -> None:
    """In time, on a tick that exists, of what was there, within the band and at no better a price."""
    fills, venue = run(market, orders, [], paper)
    no_fill_is_early_late_or_too_large(market, orders, fills, venue)
    no_fill_flatters(market, orders, fills)
    displayed_quantity_is_given_once(market, orders, fills)
    nothing_trades_with_nobody_or_outside_the_band(market, fills)
