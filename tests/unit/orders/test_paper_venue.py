"""The paper venue, rule by rule: what it takes, when it fills, at what price, and what it never gives away."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon.core.events import (
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderType,
    Side,
    TickBatch,
)
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.paper_book import Delays
from daemon.orders.paper_venue import PaperVenue
from daemon.settings.market import MarketSettings
from daemon.settings.orders import PaperSettings

DAY = dt.date(2021, 4, 1)
T0 = ist_ns(DAY, "10:00")
SECOND = 1_000_000_000
DAY_S = 86_400
CALENDAR = MarketCalendar()
COSTS = CostSchedule()
NAN = float("nan")


def venue(**settings: Any) -> PaperVenue:
    """A venue without spread and slippage unless the test sets them; everything inferred, lots of 2021."""
    paper = PaperSettings(**{"spread_bp": 0, "slippage_bp": 0, **settings})
    return PaperVenue(paper, InstrumentBook(MarketSettings(), as_of=DAY), COSTS, CALENDAR)


def order(
    side: Side = Side.BUY, quantity: int = 10, *, limit: str | None = None, stop: str | None = None,
    symbol: str = "SBIN", order_id: str = "A", kind: OrderType | None = None,
) -> OrderIntent:  # fmt: skip
    """An intent whose type follows from its prices."""
    kinds = {
        (False, False): OrderType.MARKET, (True, False): OrderType.LIMIT,
        (False, True): OrderType.SL_MARKET, (True, True): OrderType.SL_LIMIT,
    }  # fmt: skip
    return OrderIntent(
        ts=T0, order_id=order_id, symbol=symbol, side=side, quantity=quantity,
        type=kind or kinds[limit is not None, stop is not None],
        limit_price=None if limit is None else Decimal(limit), stop_price=None if stop is None else Decimal(stop),
        reduces=False, strategy="test", reason="", reference_price=Decimal(100),
    )  # fmt: skip


def ticks(*rows: dict[str, Any], symbols: tuple[str, ...] = ("SBIN",)) -> TickBatch:
    """A batch from rows of `s` (received so many seconds after T0), `ltp`, and what else a row knows."""

    def column(name: str, missing: Any, kind: Any) -> Any:
        return np.array([row.get(name, missing) for row in rows], dtype=kind)

    stamps = np.array([T0 + round(row["s"] * SECOND) for row in rows], dtype=np.int64)
    events = np.array([T0 + round(row.get("event_s", row["s"]) * SECOND) for row in rows], dtype=np.int64)
    return TickBatch(
        symbols=symbols, code=column("code", 0, np.int32), ts_event=events, ts_recv=stamps,
        ltp=column("ltp", NAN, np.float64), last_qty=column("last_qty", -1, np.int64),
        volume=column("volume", -1, np.int64), bid=column("bid", NAN, np.float64), ask=column("ask", NAN, np.float64),
        bid_qty=column("bid_qty", -1, np.int64), ask_qty=column("ask_qty", -1, np.int64), oi=column("oi", -1, np.int64),
        traded=column("traded", -1, np.int64), lower_band=column("lower_band", NAN, np.float64),
        upper_band=column("upper_band", NAN, np.float64),
    )  # fmt: skip


def prices(fills: list[Fill]) -> list[tuple[float, int, str]]:
    """Seconds after T0, quantity and price of each fill."""
    return [((fill.ts - T0) / SECOND, fill.quantity, str(fill.price)) for fill in fills]


def test_market_order_fills_at_the_first_tick_strictly_after_it_is_active() -> None:
    """A tick at the very moment the order arrives is too early."""
    paper = venue()
    assert paper.submit(order(), T0 + SECOND) == OrderAccepted(ts=T0 + SECOND, order_id="A", venue_id="PAPER-1")
    fills = paper.on_ticks(ticks({"s": 0.5, "ltp": 99}, {"s": 1, "ltp": 98}, {"s": 1.1, "ltp": 100}))
    assert prices(fills) == [(1.1, 10, "100.00")]
    assert paper.working() == []


def test_what_a_stalled_feed_catches_up_with_fills_no_order() -> None:
    """A price from before the order, received after it, is gone; a stamp of whole seconds may be a second behind."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "ltp": 100}))
    paper.submit(order(), T0 + 4 * SECOND)
    caught_up = [{"s": 20 + event / 1000, "event_s": event - 0.5, "ltp": 100 + event} for event in range(8)]
    assert prices(paper.on_ticks(ticks(*caught_up))) == [(20.004, 10, "104.00")]


def test_where_the_clocks_are_apart_the_quickest_tick_says_by_how_much() -> None:
    """Of a clock that is far ahead of the exchange's nothing waits longer; another day may have another clock."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "event_s": -40, "ltp": 99}))
    paper.submit(order(), T0 + 5 * SECOND)
    assert prices(paper.on_ticks(ticks({"s": 6, "event_s": -34, "ltp": 100}))) == [(6, 10, "100.00")]
    paper.on_ticks(ticks({"s": 10, "event_s": 10, "ltp": 100}))
    paper.submit(order(order_id="B"), T0 + 4 * DAY_S * SECOND)
    late = {"s": 4 * DAY_S + 1, "event_s": 4 * DAY_S - 9, "ltp": 102}
    assert prices(paper.on_ticks(ticks(late))) == [(4 * DAY_S + 1, 10, "102.00")]


@pytest.mark.parametrize("apart_s", [-2, 400 * DAY_S, 3000 * DAY_S])
def test_a_past_day_that_is_played_anew_fills_as_ever(apart_s: int) -> None:
    """By the exchange's stamps it is years ago: so are all its ticks."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "event_s": -apart_s, "ltp": 99}))
    paper.submit(order(), T0 + 5 * SECOND)
    stalled = {"s": 20, "event_s": 3 - apart_s, "ltp": 100}
    later = {"s": 21, "event_s": 20.5 - apart_s, "ltp": 101}
    assert prices(paper.on_ticks(ticks(stalled, later))) == [(21, 10, "101.00")]


def test_a_clock_that_jumped_keeps_no_order_waiting_for_long() -> None:
    """A minute ahead from then on: an hour later that is known."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "ltp": 100}))
    paper.on_ticks(ticks(*({"s": 60 * n, "event_s": 60 * (n - 1), "ltp": 100} for n in range(1, 62))))
    paper.submit(order(), T0 + 3660 * SECOND)
    assert prices(paper.on_ticks(ticks({"s": 3661, "event_s": 3601, "ltp": 101}))) == [(3661, 10, "101.00")]


@pytest.mark.parametrize("cut", range(4))
def test_how_ticks_are_cut_changes_nothing_over_a_night(cut: int) -> None:
    """Nor is the quickest tick of another day anything to go by."""
    delays = Delays()
    seconds, late = (0, 1, 4 * DAY_S, 4 * DAY_S + 1), (3, 5, 9, 7)
    batch = ticks(*({"s": s, "event_s": s - by, "ltp": 100} for s, by in zip(seconds, late, strict=True)))
    told = []
    for part in (batch.slice(0, cut), batch.slice(cut, 4)):
        if len(part):
            told += ((delays.sent_ts(part) - T0) // SECOND).tolist()
            delays.remember(part)
    assert told == [0, -1, 4 * DAY_S, 4 * DAY_S + 1]


@pytest.mark.parametrize("event_s", [2, 3])
def test_what_a_stalled_feed_catches_up_with_reaches_no_stop(event_s: int) -> None:
    """The stop was not there when the price was."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "ltp": 100}))
    paper.submit(order(Side.SELL, stop="90"), T0 + 5 * SECOND)
    paper.on_ticks(ticks({"s": 20, "event_s": event_s, "ltp": 89}))
    assert not paper.working()[0].triggered
    paper.on_ticks(ticks({"s": 21, "event_s": 20, "ltp": 89}))
    assert paper.working()[0].triggered


def test_a_fill_says_all_there_is_to_say() -> None:
    """Ids, symbol, side and the statutory costs travel with the fill."""
    paper = venue()
    paper.submit(order(), T0)
    (fill,) = paper.on_ticks(ticks({"s": 1, "ltp": 2000}))
    assert fill == Fill(
        ts=T0 + SECOND, fill_id="A-1", order_id="A", symbol="SBIN", side=Side.BUY, quantity=10,
        price=Decimal("2000.00"), costs=Decimal("8.52"),
    )  # fmt: skip


@pytest.mark.parametrize(("side", "expected"), [(Side.BUY, "100.20"), (Side.SELL, "99.80")])
def test_without_a_quote_market_pays_half_the_spread_and_slippage(side: Side, expected: str) -> None:
    """100 with a spread of 20 bp and 8 bp of slippage costs 18 bp, rounded to the tick against us."""
    paper = venue(spread_bp=20, slippage_bp=8)
    paper.submit(order(side), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": 100}))) == [(1, 10, expected)]


@pytest.mark.parametrize(("side", "expected"), [(Side.BUY, "100.60"), (Side.SELL, "99.45")])
def test_with_a_quote_market_pays_the_quote_and_slippage(side: Side, expected: str) -> None:
    """The other side of the book plus 5 bp; the assumed spread isn't charged on top."""
    paper = venue(spread_bp=50, slippage_bp=5)
    paper.submit(order(side), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 99.5, "ask": 100.5}))) == [(1, 10, expected)]


@pytest.mark.parametrize(("side", "wide", "assumed"), [(Side.BUY, "101.30", "100.60"), (Side.SELL, "98.60", "99.40")])
def test_a_dearer_market_has_a_wider_book(side: Side, wide: str, assumed: str) -> None:
    """99.5 to 100.4 three times as wide is 98.6 to 101.3, where the half spread of an unquoted one is 60 bp."""
    paper = venue(spread_bp=40, spread_times=3)
    paper.submit(order(side), T0)
    quoted = paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 99.5, "ask": 100.4}))
    assert prices(quoted) == [(1, 10, wide)]
    paper.submit(order(side, order_id="B"), T0 + 90 * SECOND)
    assert prices(paper.on_ticks(ticks({"s": 91, "ltp": 100}))) == [(91, 10, assumed)]


def test_a_wider_book_fills_no_limit_order_that_it_does_not_reach() -> None:
    """An ask of 100.4 goes through a limit of 100.5; three times as wide it is 101.3."""
    for times, filled in ((1, True), (3, False)):
        paper = venue(spread_times=times)
        paper.submit(order(limit="100.5"), T0)
        row = {"s": 1, "ltp": 101, "bid": 99.5, "ask": 100.4}
        assert bool(paper.on_ticks(ticks(row))) is filled


def test_market_takes_what_is_displayed_and_waits_for_more() -> None:
    """Displayed quantity fills in parts, a tick each, and the charges are those of one order: 52.42."""
    paper = venue()
    paper.submit(order(quantity=1000), T0)
    fills = paper.on_ticks(
        ticks(
            {"s": 1, "ltp": 400, "bid": 399, "ask": 400, "ask_qty": 300},
            {"s": 1, "ltp": 400, "bid": 399, "ask": 400, "ask_qty": 900},
            {"s": 2, "ltp": 401, "bid": 399, "ask": 401, "ask_qty": 0},
            {"s": 3, "ltp": 401, "bid": 399, "ask": 402, "ask_qty": 250},
        )
    )
    assert prices(fills) == [(1, 300, "400.00"), (3, 250, "402.00")]
    assert [fill.fill_id for fill in fills] == ["A-1", "A-2"]
    (working,) = paper.working()
    assert (working.filled, working.quantity) == (550, 1000)
    fills += paper.on_ticks(ticks({"s": 4, "ltp": 401, "ask": 401, "ask_qty": -1}))
    assert prices(fills)[2:] == [(4, 450, "401.00")]
    assert [str(fill.costs) for fill in fills] == ["32.23", "7.23", "12.96"]
    assert paper.cancel("A", T0 + 5 * SECOND) is None


def test_two_orders_share_what_is_displayed() -> None:
    """The older order is served first, the younger gets what is left of the same tick."""
    paper = venue()
    paper.submit(order(quantity=80, order_id="old"), T0)
    paper.submit(order(quantity=80, order_id="new"), T0)
    row = {"ltp": 400, "bid": 399, "ask": 400, "ask_qty": 100}
    fills = paper.on_ticks(ticks({"s": 1, **row}, {"s": 2, **row | {"ask": 401}}))
    assert [(fill.order_id, fill.quantity) for fill in fills] == [("old", 80), ("new", 20), ("new", 60)]


@pytest.mark.parametrize("cut", range(1, 6))
def test_what_was_taken_is_not_displayed_again(cut: int) -> None:
    """The tape knows nothing of us: while the price stands only what is added to it is there, then all of it."""
    paper = venue()
    shown = [(400, 100), (400, 100), (NAN, -1), (400, 130), (400, 20), (400, 60), (401, 100), (400, 100)]
    rows = [{"ltp": 400, "bid": 399, "ask": ask, "ask_qty": quantity} for ask, quantity in shown]
    batch = ticks(*({"s": second, **row} for second, row in enumerate(rows, 1)))
    paper.submit(order(quantity=390), T0)
    fills = paper.on_ticks(batch.slice(0, cut)) + paper.on_ticks(batch.slice(cut, len(batch)))
    expected = [(1, 100, "400.00"), (4, 30, "400.00"), (6, 40, "400.00"), (7, 100, "401.00"), (8, 100, "400.00")]
    assert prices(fills) == expected


def test_what_one_order_took_the_next_one_does_not_find() -> None:
    """However many ticks nobody looked at came between, until another price was displayed."""
    paper = venue()
    row = {"ltp": 400, "bid": 399, "ask": 400, "ask_qty": 100}
    paper.submit(order(quantity=100, order_id="old"), T0)
    assert len(paper.on_ticks(ticks({"s": 1, **row}))) == 1
    paper.on_ticks(ticks({"s": 2, **row}))
    paper.submit(order(quantity=100, order_id="new"), T0 + 2 * SECOND)
    assert paper.on_ticks(ticks({"s": 3, **row})) == []
    paper.cancel("new", T0 + 3 * SECOND)
    paper.on_ticks(ticks({"s": 4, **row | {"ask": 400.05}}, {"s": 5, **row}))
    paper.submit(order(quantity=100, order_id="newest"), T0 + 5 * SECOND)
    assert prices(paper.on_ticks(ticks({"s": 6, **row}))) == [(6, 100, "400.00")]


def test_displayed_quantity_is_cut_to_lots() -> None:
    """Less than a lot on display gives nothing; otherwise whole lots."""
    paper = venue()
    paper.submit(order(quantity=150, symbol="NSE:NIFTY21APRFUT"), T0)
    row = {"ltp": 14500, "bid": 14499, "ask": 14500}
    batch = ticks({"s": 1, "ask_qty": 74, **row}, {"s": 2, "ask_qty": 149, **row}, symbols=("NSE:NIFTY21APRFUT",))
    assert prices(paper.on_ticks(batch)) == [(2, 75, "14500.00")]


def test_an_exit_of_less_than_a_lot_fills() -> None:
    """What is held may be of another lot; of 100 first a lot, then the rest, where there is as much."""
    paper, future = venue(), "NSE:NIFTY21APRFUT"
    exit_ = msgspec.structs.replace(order(Side.SELL, 100, symbol=future), reduces=True)
    assert isinstance(paper.submit(exit_, T0), OrderAccepted)
    row = {"ltp": 14500, "bid": 14499, "ask": 14500}
    shown = [(14499, 24), (14499, 80), (14498, 24), (14498, 25)]
    batch = ticks(
        *({"s": 1 + n, **row, "bid": bid, "bid_qty": bids} for n, (bid, bids) in enumerate(shown)), symbols=(future,)
    )
    assert prices(paper.on_ticks(batch)) == [(2, 75, "14499.00"), (4, 25, "14498.00")]


def test_an_empty_side_of_the_book_gives_nothing() -> None:
    """At the upper circuit there are bids and no offers: a buyer waits, a seller fills."""
    locked = {"ltp": 100, "bid": 100, "ask": 0, "bid_qty": 500, "ask_qty": 0}
    paper = venue()
    paper.submit(order(Side.BUY, order_id="B"), T0)
    paper.submit(order(Side.SELL, order_id="S"), T0)
    fills = paper.on_ticks(ticks({"s": 1, **locked}))
    assert [(fill.order_id, fill.price) for fill in fills] == [("S", Decimal(100))]


def test_no_book_at_all_is_an_unknown_book() -> None:
    """A feed that writes 0 on both sides and no quantities knows no quotes: the last price counts."""
    paper = venue()
    paper.submit(order(), T0)
    row = {"s": 1, "ltp": 100, "bid": 0, "ask": 0}
    assert prices(paper.on_ticks(ticks(row))) == [(1, 10, "100.00")]


def test_quotes_with_no_quantity_on_either_side_are_of_unknown_quantity() -> None:
    """A source that writes 0 for the quantities it doesn't know: there is no quote without one."""
    paper = venue()
    paper.submit(order(), T0)
    row = {"s": 1, "ltp": 100, "bid": 99.95, "ask": 100.05, "bid_qty": 0, "ask_qty": 0}
    assert prices(paper.on_ticks(ticks(row))) == [(1, 10, "100.05")]


@pytest.mark.parametrize(
    "book",
    [
        {"bid": 100, "ask": 0, "bid_qty": 500, "ask_qty": 0},
        {"bid": 100, "ask": 0},
        {"bid": 100, "bid_qty": 500, "ask_qty": 0},
        {"bid": 100},
        {"ask_qty": 0},
        {"bid": 100, "ask": 100, "bid_qty": 500, "ask_qty": 0},
        {"bid": 0, "ask": 0, "bid_qty": 0, "ask_qty": 0},
    ],
)
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("limit", "stop"), [(None, None), ("105", None), (None, "100")])
def test_where_nobody_is_nothing_fills(book: dict[str, float], side: Side, limit: str | None, stop: str | None) -> None:
    """By price, by quantity or beside a quote of the other side; market, limit and stop wait, whatever is traded."""
    if side is Side.SELL:
        turned = {"bid": "ask", "ask": "bid", "bid_qty": "ask_qty", "ask_qty": "bid_qty"}
        book = {turned[name]: value for name, value in book.items()}
        limit = "95" if limit else None
    paper = venue(limit_fill="touch")
    paper.submit(order(side, limit=limit, stop=stop), T0)
    rows = [{"s": second, "ltp": 100, "traded": 5, **book} for second in range(1, 600, 50)]
    assert paper.on_ticks(ticks(*rows)) == []
    assert prices(paper.on_ticks(ticks({"s": 700, "ltp": 100, "bid": 100, "ask": 100})))[0][:2] == (700, 10)


def test_a_tick_without_quotes_is_waited_out_while_there_are_quotes() -> None:
    """Between quotes a trade tells nothing of the book; a minute without any, and the last price counts again."""
    paper = venue()
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 100, "ask": 0}))
    paper.submit(order(), T0 + SECOND)
    assert paper.on_ticks(ticks({"s": 2, "ltp": 100}, {"s": 60.9, "ltp": 100})) == []
    assert prices(paper.on_ticks(ticks({"s": 61, "ltp": 101}))) == [(61, 10, "101.00")]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_without_quotes_a_price_that_is_repeated_is_no_offer(cut: int) -> None:
    """Nobody traded and nothing moved: what the last one paid, however long ago, is to be had no more."""
    paper = venue()
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "traded": 5}))
    paper.submit(order(), T0 + SECOND)
    silent = ticks(*({"s": second, "ltp": 100, "traded": 0} for second in (2, 30, 200)))
    assert paper.on_ticks(silent.slice(0, cut)) + paper.on_ticks(silent.slice(cut, 3)) == []
    assert prices(paper.on_ticks(ticks({"s": 300, "ltp": 101, "traded": 5}))) == [(300, 10, "101.00")]


@pytest.mark.parametrize(
    ("symbol", "tick"),
    [
        pytest.param("SBIN", {"ltp": 100, "traded": -1}, id="volume unknown"),
        pytest.param("SBIN", {"ltp": 100.05, "traded": 0}, id="price moved"),
        pytest.param("SBIN", {"ltp": 100, "traded": 0, "bid": 99, "ask": 100}, id="quoted"),
        pytest.param("NIFTY", {"ltp": 100, "traded": 0}, id="index"),
    ],
)
def test_a_price_that_is_news_is_an_offer(symbol: str, tick: dict[str, Any]) -> None:
    """By a trade, as far as anybody counts them, by its move, by a quote; an index is never traded itself."""
    paper = venue()
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "traded": 0}, symbols=(symbol,)))
    paper.submit(order(symbol=symbol, quantity=75), T0 + SECOND)
    assert len(paper.on_ticks(ticks({"s": 2, **tick}, symbols=(symbol,)))) == 1


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("limit", [None, "105"])
def test_a_circuit_stays_locked_without_quotes(side: Side, limit: str | None) -> None:
    """The feed goes on in its short form, for hours, with trades of the other side: what frees it is another price."""
    locked = {"bid": 100, "ask": 0} if side is Side.BUY else {"bid": 0, "ask": 100}
    paper = venue()
    paper.on_ticks(ticks({"s": 1, "ltp": 100, **locked}))
    paper.submit(order(side, limit=limit if limit is None or side is Side.BUY else "95"), T0 + SECOND)
    later = [{"s": second, "ltp": 100, "traded": 5} for second in range(2, 3600, 60)]
    assert paper.on_ticks(ticks(*later)) == []
    assert [paper.on_ticks(ticks(row)) for row in ({"s": 3601, "ltp": 100, "bid": 0, "ask": 0}, later[-1])] == [[], []]
    off = {"s": 3700, "ltp": 99.95 if side is Side.BUY else 100.05, "traded": 5}
    assert prices(paper.on_ticks(ticks(off)))[0][:2] == (3700, 10)


def test_a_circuit_is_of_its_day() -> None:
    """In the next session nobody knows, and the last price counts."""
    paper = venue()
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 100, "ask": 0}))
    paper.submit(order(), T0 + 4 * DAY_S * SECOND)
    assert len(paper.on_ticks(ticks({"s": 4 * DAY_S + 1, "ltp": 100}))) == 1


def test_an_order_that_waits_for_somebody_says_so_once() -> None:
    """A locked circuit lasts for hours."""
    paper = venue()
    paper.submit(order(Side.SELL), T0)
    locked = {"ltp": 100, "bid": 0, "ask": 100, "bid_qty": 0, "ask_qty": 500}
    with capture_logs() as logs:
        for second in range(1, 20):
            paper.on_ticks(ticks({"s": second, **locked}))
    assert [(entry["log_level"], entry["order"], entry["side"]) for entry in logs] == [("warning", "A", Side.SELL)]
    assert [item.order_id for item in paper.working()] == ["A"]


BAND = {"lower_band": 90, "upper_band": 110}


@pytest.mark.parametrize(("side", "ltp", "expected"), [(Side.BUY, 109.9, "110.0"), (Side.SELL, 90.1, "90.0")])
def test_nothing_trades_outside_the_days_band(side: Side, ltp: float, expected: str) -> None:
    """Spread and slippage end at the band, which holds on ticks that don't repeat it."""
    paper = venue(spread_bp=100, slippage_bp=100)
    paper.submit(order(side), T0)
    paper.on_ticks(ticks({"s": 0, "ltp": 100, **BAND}))
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": ltp}))) == [(1, 10, expected)]


@pytest.mark.parametrize(("side", "end"), [(Side.BUY, 110), (Side.SELL, 90)])
def test_at_the_end_of_the_band_an_unknown_book_gives_nothing(side: Side, end: float) -> None:
    """Where it is locked only a quote shows that somebody is there; one beyond the band is none."""
    paper = venue()
    paper.submit(order(side), T0)
    quoted = "ask" if side is Side.BUY else "bid"
    assert paper.on_ticks(ticks({"s": 1, "ltp": end, **BAND})) == []
    assert paper.on_ticks(ticks({"s": 2, "ltp": end, quoted: end + side.sign, **BAND})) == []
    assert prices(paper.on_ticks(ticks({"s": 3, "ltp": end, quoted: end, **BAND}))) == [(3, 10, f"{end}.00")]


@pytest.mark.parametrize(
    ("intent", "what"),
    [
        (order(limit="110.05"), "limit price 110.05"), (order(Side.SELL, limit="89.95"), "limit price 89.95"),
        (order(stop="110.05"), "stop price 110.05"), (order(Side.SELL, stop="89.95"), "stop price 89.95"),
    ],
)  # fmt: skip
def test_prices_outside_the_days_band_are_refused(intent: OrderIntent, what: str) -> None:
    """Both kinds of price; yesterday's band is none."""
    paper = venue()
    paper.on_ticks(ticks({"s": 0, "ltp": 100, **BAND}))
    reason = f"SBIN: {what} is outside the day's price band, 90 to 110"
    assert paper.submit(intent, T0) == OrderRejected(ts=T0, order_id="A", code=-99, reason=reason)
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "lower_band": 85, "upper_band": 115}))
    assert isinstance(paper.submit(intent, T0), OrderAccepted)
    later = msgspec.structs.replace(intent, order_id="B", limit_price=intent.limit_price and intent.limit_price * 2)
    assert isinstance(paper.submit(later, ist_ns(dt.date(2021, 4, 5), "10:00")), OrderAccepted)


@pytest.mark.parametrize(("side", "expected"), [(Side.BUY, "101.00"), (Side.SELL, "99.00")])
def test_a_crossed_book_is_read_against_us(side: Side, expected: str) -> None:
    """With the bid above the ask a buyer pays the bid and a seller gets the ask."""
    paper = venue()
    paper.submit(order(side), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 101, "ask": 99}))) == [(1, 10, expected)]


@pytest.mark.parametrize(
    ("side", "quote", "expected"),
    [
        (Side.BUY, {"bid": 7.9, "ask": 8.0}, "100.00"), (Side.SELL, {"bid": 8000.0, "ask": 8001.0}, "100.00"),
        (Side.BUY, {"bid": 79.9, "ask": 80.0}, "80.00"), (Side.SELL, {"bid": 120.0, "ask": 120.1}, "120.00"),
    ],
)  # fmt: skip
def test_a_quote_too_good_to_be_true_is_not_believed(side: Side, quote: dict[str, float], expected: str) -> None:
    """Nobody buys at 8 what last traded at 100: further off than a price may jump the last price counts."""
    paper = venue()
    paper.submit(order(side), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": 100, **quote}))) == [(1, 10, expected)]


@pytest.mark.parametrize(
    ("side", "quote"), [(Side.BUY, {"bid": 9999.0, "ask": 10_000.0}), (Side.SELL, {"bid": 1.0, "ask": 1.05})]
)
def test_a_quote_that_no_price_can_have_is_waited_out(side: Side, quote: dict[str, float]) -> None:
    """A share doesn't trade at a hundred times its last price: the order waits for another tick, and says so once."""
    paper = venue()
    paper.submit(order(side), T0)
    with capture_logs() as logs:
        assert paper.on_ticks(ticks({"s": 1, "ltp": 100, **quote}, {"s": 2, "ltp": 100, **quote})) == []
    assert [line["event"] for line in logs] == ["the quotes are too far from the last price: the order waits"]
    assert prices(paper.on_ticks(ticks({"s": 3, "ltp": 100, "bid": 99.95, "ask": 100.05}))) != []


def test_a_dear_option_is_paid_for() -> None:
    """An option that hasn't traded for long may be quoted at ten times its last price, and costs that."""
    option = "NSE:NIFTY2140815000CE"
    paper = venue()
    paper.submit(order(quantity=75, symbol=option), T0)
    batch = ticks({"s": 1, "ltp": 1, "bid": 0.5, "ask": 10.0}, symbols=(option,))
    assert prices(paper.on_ticks(batch)) == [(1, 75, "10.00")]


def test_a_false_quote_fills_no_limit() -> None:
    """Neither does it fill what waits at a price that the market never reached."""
    paper = venue()
    paper.submit(order(Side.SELL, limit="110"), T0)
    assert paper.on_ticks(ticks({"s": 1, "ltp": 100, "bid": 8000.0, "ask": 8001.0})) == []
    assert prices(paper.on_ticks(ticks({"s": 2, "ltp": 100, "bid": 110.05, "ask": 110.1}))) == [(2, 10, "110")]


def test_an_index_has_no_book() -> None:
    """Quotes on an index are not offers; it fills around its value, in lots of its future."""
    paper = venue(spread_bp=2)
    paper.submit(order(quantity=75, symbol="NIFTY"), T0)
    row = {"s": 1, "ltp": 14500, "bid": 1, "ask": 2, "ask_qty": 1}
    assert prices(paper.on_ticks(ticks(row, symbols=("NIFTY",)))) == [(1, 75, "14501.45")]


@pytest.mark.parametrize(
    ("mode", "ltp", "fills"),
    [("through", 100.05, 0), ("through", 100.0, 0), ("through", 99.95, 1), ("touch", 100.05, 0), ("touch", 100.0, 1)],
)
def test_limit_buy_by_trades(mode: str, ltp: float, fills: int) -> None:
    """Trades through the limit fill it, trades at it only in `touch`; the price is the limit."""
    paper = venue(limit_fill=mode)
    paper.submit(order(limit="100"), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": ltp}))) == [(1, 10, "100")] * fills


@pytest.mark.parametrize(
    ("mode", "ltp", "fills"),
    [("through", 99.95, 0), ("through", 100.0, 0), ("through", 107.0, 1), ("touch", 99.95, 0), ("touch", 100.0, 1)],
)
def test_limit_sell_by_trades(mode: str, ltp: float, fills: int) -> None:
    """The mirror image; a gap through the limit still gives only the limit."""
    paper = venue(limit_fill=mode)
    paper.submit(order(Side.SELL, limit="100"), T0)
    assert prices(paper.on_ticks(ticks({"s": 1, "ltp": ltp}))) == [(1, 10, "100")] * fills


def test_an_old_trade_fills_no_limit() -> None:
    """A quote update that repeats the last trade is no trade through the limit; the next trade is."""
    paper = venue()
    paper.submit(order(limit="100"), T0)
    quotes = {"ltp": 99, "bid": 101, "ask": 102}
    fills = paper.on_ticks(ticks({"s": 1, "traded": 0, **quotes}, {"s": 2, "traded": 10, **quotes}))
    assert prices(fills) == [(2, 10, "100")]


@pytest.mark.parametrize(
    ("mode", "ask", "fills"), [("through", 100.0, 0), ("through", 99.95, 1), ("touch", 100.0, 1), ("touch", 100.05, 0)]
)
def test_limit_by_the_quote(mode: str, ask: float, fills: int) -> None:
    """An offer through (or at) the limit fills it at the limit, as far as it goes."""
    paper = venue(limit_fill=mode)
    paper.submit(order(limit="100", quantity=50), T0)
    batch = ticks({"s": 1, "ltp": 103, "bid": 99, "ask": ask, "ask_qty": 20})
    assert prices(paper.on_ticks(batch)) == [(1, 20, "100")] * fills


@pytest.mark.parametrize(
    ("side", "stop", "path", "fill_price"),
    [(Side.BUY, "101", [100, 101, 103, 102], "103.00"), (Side.SELL, "99", [100, 99, 97, 98], "97.00")],
)
def test_stop_triggers_and_fills_on_the_next_tick(side: Side, stop: str, path: list[float], fill_price: str) -> None:
    """The tick that reaches the stop arms it; the price is that of a later tick."""
    paper = venue()
    paper.submit(order(side, stop=stop), T0)
    assert not paper.working()[0].triggered
    batch = ticks(*({"s": index + 1, "ltp": ltp} for index, ltp in enumerate(path)))
    assert paper.on_ticks(batch.slice(0, 2)) == []
    assert paper.working()[0].triggered
    assert prices(paper.on_ticks(batch.slice(2, 4))) == [(3, 10, fill_price)]


def test_a_stop_needs_a_later_stamp_after_its_trigger() -> None:
    """A second tick of the same moment doesn't fill an order that this moment triggered."""
    paper = venue()
    paper.submit(order(stop="101"), T0)
    fills = paper.on_ticks(ticks({"s": 1, "ltp": 101}, {"s": 1, "ltp": 101}, {"s": 2, "ltp": 104}))
    assert prices(fills) == [(2, 10, "104.00")]


def test_stop_limit_becomes_a_limit_order() -> None:
    """Triggered at 101 with a limit of 102: it waits while the market is beyond, and fills at 102."""
    paper = venue()
    paper.submit(order(stop="101", limit="102"), T0)
    fills = paper.on_ticks(
        ticks({"s": 1, "ltp": 101}, {"s": 2, "ltp": 103}, {"s": 3, "ltp": 102}, {"s": 4, "ltp": 101.5})
    )
    assert prices(fills) == [(4, 10, "102")]


@pytest.mark.parametrize(
    ("intent", "code", "reason"),
    [
        (order(symbol="no such"), -300, "no such: no such instrument"),
        (order(symbol="INDIAVIX"), -300, "INDIAVIX: the index can't be traded"),
        (order(quantity=0), -50, "SBIN: quantity 0 is no positive multiple of the lot of 1"),
        (order(quantity=100, symbol="NIFTY"), -50, "NIFTY: quantity 100 is no positive multiple of the lot of 75"),
        (
            order(quantity=5025, symbol="NIFTY"), -99,
            "NIFTY: quantity 5025 is above the freeze quantity of 5000",
        ),
        (order(symbol="NSE:SBIN21APRFUT"), -300, "NSE:SBIN21APRFUT: its lot is not known"),
        (order(limit="100.02"), -50, "SBIN: limit price 100.02 is no positive multiple of the tick of 0.05"),
        (order(limit="-5"), -50, "SBIN: limit price -5 is no positive multiple of the tick of 0.05"),
        (order(stop="100.02"), -50, "SBIN: stop price 100.02 is no positive multiple of the tick of 0.05"),
        (order(kind=OrderType.LIMIT), -50, "SBIN: limit price None is no positive multiple of the tick of 0.05"),
        (order(kind=OrderType.SL_MARKET), -50, "SBIN: stop price None is no positive multiple of the tick of 0.05"),
        (order(stop="101", limit="100"), -50, "SBIN: limit 100 of a BUY lies on the wrong side of its stop 101"),
        (
            order(Side.SELL, stop="99", limit="100"), -50,
            "SBIN: limit 100 of a SELL lies on the wrong side of its stop 99",
        ),
    ],
)  # fmt: skip
def test_rejections(intent: OrderIntent, code: int, reason: str) -> None:
    """What the venue refuses it refuses with Fyers' code and a reason, and keeps nothing of it."""
    paper = venue()
    assert paper.submit(intent, T0) == OrderRejected(ts=T0, order_id="A", code=code, reason=reason)
    assert paper.working() == []
    assert paper.on_ticks(ticks({"s": 1, "ltp": 100})) == []


def test_each_order_pays_its_own_brokerage() -> None:
    """An exit in two orders costs twice the 20 rupees that it would have in one."""
    paper, rows = venue(), [{"s": 1, "ltp": 14500}]
    for number, quantity in enumerate((4950, 75)):
        paper.submit(order(Side.SELL, quantity, symbol="NSE:NIFTY21APRFUT", order_id=f"E{number}"), T0)
    fills = paper.on_ticks(ticks(*rows, symbols=("NSE:NIFTY21APRFUT",)))
    instrument = InstrumentBook(MarketSettings(), as_of=DAY).resolve("NSE:NIFTY21APRFUT")
    assert instrument is not None
    whole = COSTS.charges(instrument, Side.SELL, 5025, Decimal(14500), T0 + SECOND, Decimal(0))
    more = sum(fill.costs for fill in fills) - whole.total
    assert Decimal("23.55") <= more <= Decimal("23.65")  # 20 rupees, and 18 % GST on them, to the paisa of two fills


def test_the_same_client_id_is_taken_once() -> None:
    """An order id that was accepted is refused ever after, filled or not."""
    paper = venue()
    paper.submit(order(), T0)
    paper.on_ticks(ticks({"s": 1, "ltp": 100}))
    again = paper.submit(order(), T0 + SECOND)
    assert again == OrderRejected(ts=T0 + SECOND, order_id="A", code=-99, reason="SBIN: an order A was sent before")


@pytest.mark.parametrize("clock", ["09:14", "15:30"])
def test_a_closed_market_takes_no_orders(clock: str) -> None:
    """An order that arrives outside the session is refused."""
    moment = ist_ns(DAY, clock)
    answer = venue().submit(order(), moment)
    assert answer == OrderRejected(
        ts=moment, order_id="A", code=-99, reason="SBIN: the market is closed when the order arrives"
    )


def test_orders_expire_at_the_close() -> None:
    """A DAY order never fills from the close on, and says so once."""
    paper = venue()
    paper.submit(order(quantity=50), T0)
    close = ist_ns(DAY, "15:30")
    paper.on_ticks(ticks({"s": 1, "ltp": 100, "ask": 100, "ask_qty": 20}))
    late = (close - T0) / SECOND
    assert paper.on_ticks(ticks({"s": late, "ltp": 100}, {"s": late + 1, "ltp": 100})) == []
    assert paper.on_time(close - 1) == []
    expired = OrderCancelled(ts=close, order_id="A", filled=20, reason="expired at the close of the session")
    assert paper.on_time(close + SECOND) == [expired]
    assert paper.on_time(close + SECOND) == []


def test_cancel() -> None:
    """A cancelled order fills no more and tells what it had done; an unknown one is None."""
    paper = venue()
    paper.submit(order(limit="99"), T0)
    assert paper.cancel("A", T0 + 5) == OrderCancelled(ts=T0 + 5, order_id="A", filled=0, reason="cancelled")
    assert paper.cancel("A", T0 + 6) is None
    assert paper.cancel("never sent", T0) is None
    assert paper.on_ticks(ticks({"s": 1, "ltp": 98})) == []


def test_several_symbols_in_one_batch() -> None:
    """Each order looks at its own symbol's rows, and fills come in the order of the ticks."""
    symbols = ("SBIN", "RELIANCE", "TCS")
    paper = venue()
    paper.submit(order(symbol="RELIANCE", order_id="R"), T0)
    paper.submit(order(symbol="SBIN", order_id="S"), T0)
    paper.submit(order(symbol="INFY", order_id="I"), T0)
    batch = ticks(
        {"s": 1, "ltp": 3000, "code": 2}, {"s": 2, "ltp": 400, "code": 0}, {"s": 3, "ltp": 2000, "code": 1},
        {"s": 4, "ltp": 401, "code": 0}, symbols=symbols,
    )  # fmt: skip
    fills = paper.on_ticks(batch)
    assert [(fill.order_id, str(fill.price)) for fill in fills] == [("S", "400.00"), ("R", "2000.00")]
    assert [paper.last_price(symbol) for symbol in (*symbols, "INFY")] == [401, 2000, 3000, None]
    assert [item.order_id for item in paper.working()] == ["I"]


def test_last_price_without_orders() -> None:
    """Prices are remembered whether or not anything is working; a batch without a symbol's ticks leaves its price."""
    paper = venue()
    assert paper.on_ticks(ticks({"s": 1, "ltp": 100}, {"s": 2, "ltp": 101})) == []
    assert paper.on_ticks(ticks({"s": 3, "ltp": 7, "code": 1}, symbols=("SBIN", "TCS"))) == []
    assert paper.on_ticks(ticks().take(np.zeros(0, dtype=np.intp))) == []
    assert (paper.last_price("SBIN"), paper.last_price("TCS")) == (101, 7)


def test_a_price_that_is_none_fills_nothing() -> None:
    """A tick without a price can't be traded on."""
    paper = venue()
    paper.submit(order(), T0)
    assert paper.on_ticks(ticks({"s": 1, "ltp": NAN}, {"s": 2, "ltp": 0.0})) == []


def test_what_it_remembers_is_bounded() -> None:
    """A long run forgets the oldest ids, never that of an order that still works."""
    paper = venue()
    for number in range(20_050):
        accepted = paper.submit(order(order_id=f"N{number}", limit="1"), T0)
        assert isinstance(accepted, OrderAccepted)
        if number:
            paper.cancel(f"N{number}", T0)
    assert len(paper._seen) <= 20_000
    assert isinstance(paper.submit(order(order_id="N0"), T0), OrderRejected)
    assert isinstance(paper.submit(order(order_id="N20049"), T0), OrderRejected)
    assert accepted.venue_id == "PAPER-20050"
