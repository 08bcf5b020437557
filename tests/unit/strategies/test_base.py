"""`MarketView`: what a strategy sees at the close of a bar, and nothing of what comes after."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from daemon.core.events import Action, PriceAdjusted, PriceJumped, Regime
from daemon.market.calendar import ist_ns
from strategies.base import CLOSE, VOLUME, MarketView, Moment, decision, hold
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies.moments import CALENDAR, MINUTE, VIEW, complexity_at, make_bar, moment_of, position


def seen(view: MarketView, n: int, symbol: str = "AAA") -> Moment:
    """The moment at the close of the n-th bar."""
    return view.moment(complexity_at(OPEN_NS + (n + 1) * 5 * MINUTE, symbol=symbol))


def test_a_moment_holds_the_newest_window_oldest_first() -> None:
    """However many bars came, the newest `window` are there, in order, the last one closing now."""
    view = MarketView(VIEW, CALENDAR)
    for n in range(500):
        view.on_bar(make_bar(n % 75, 100.0 + n))
        closes = view.moment(complexity_at(OPEN_NS + MINUTE)).bars[:, CLOSE]
        assert closes.tolist() == [100.0 + m for m in range(max(0, n - 23), n + 1)]


def test_a_bar_is_a_row_of_five() -> None:
    """Open, high, low, close, volume; a volume that is not known is NaN; the price is the newest close."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0, high=103.0, low=99.0))
    view.on_bar(make_bar(1, 101.0, volume=-1))
    moment = seen(view, 1)
    assert moment.bars[0].tolist() == [100.0, 103.0, 99.0, 100.0, 10.0]
    assert np.isnan(moment.bars[1, VOLUME])
    assert moment.price == 101.0


def test_a_moment_is_a_snapshot() -> None:
    """Bars and positions that come later change nothing in it."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    moment = seen(view, 0)
    for n in range(1, 200):
        view.on_bar(make_bar(n % 75, 200.0))
    view.on_position(position(50))
    with pytest.raises(ValueError, match="read-only"):
        moment.bars[0, CLOSE] = 0.0
    assert moment.bars[:, CLOSE].tolist() == [100.0]
    assert moment.position == 0


def test_coarse_bars_are_the_closed_ones() -> None:
    """Only bars of the coarse interval, at most its window; none is an empty array; others are ignored."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    view.on_bar(make_bar(0, 77.0, interval="1m"))
    assert seen(view, 0).coarse.shape == (0, 5)
    for n in range(6):
        view.on_bar(make_bar(n, 100.0 + n, interval="30m"))
    moment = seen(view, 0)
    assert moment.coarse[:, CLOSE].tolist() == [102.0, 103.0, 104.0, 105.0]
    assert moment.bars[:, CLOSE].tolist() == [100.0]


def test_one_interval_for_both() -> None:
    """Where the coarse interval is the decision's own, a bar goes into both windows."""
    view = MarketView(msgspec.structs.replace(VIEW, coarse_interval="5m"), CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    assert len(seen(view, 0).bars) == len(seen(view, 0).coarse) == 1


def test_symbols_are_kept_apart() -> None:
    """Bars and positions belong to their symbol."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    view.on_bar(make_bar(0, 200.0, symbol="BBB"))
    view.on_position(position(10, symbol="BBB"))
    assert (seen(view, 0).price, seen(view, 0).position) == (100.0, 0)
    assert (seen(view, 0, "BBB").price, seen(view, 0, "BBB").position) == (200.0, 10)


def test_bars_held_counts_from_the_opening() -> None:
    """It rises with each bar, goes on when the position grows or shrinks, and starts anew after a flip or a close."""
    view = MarketView(VIEW, CALENDAR)
    held = []
    changes: dict[int, int] = {2: 10, 4: 30, 5: 20, 6: -10, 8: 0, 10: -5}
    for n in range(12):
        if n in changes:
            view.on_position(position(changes[n]))
        view.on_bar(make_bar(n, 100.0))
        held.append(seen(view, n).bars_held)
    assert held == [0, 0, 1, 2, 3, 4, 1, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(("quantity", "share"), [(50, 0.25), (-50, 0.25), (200, 1.0), (900, 1.0), (0, 0.0)])
def test_position_share(quantity: int, share: float) -> None:
    """The size of a position, whatever its side, as a share of the most that is allowed, at most 1."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    view.on_position(position(quantity))
    moment = seen(view, 0)
    assert (moment.position, moment.position_share) == (quantity, share)


def test_unrealised_profit_in_average_ranges() -> None:
    """Two points of profit at an average range of four is a half, with the sign of the position; flat has none."""
    view = MarketView(VIEW, CALENDAR)
    for n in range(20):  # the first six are outside the fourteen that count
        width = 50.0 if n < 6 else 2.0
        view.on_bar(make_bar(n, 102.0, high=102.0 + width, low=102.0 - width))
    for quantity, expected in ((10, 0.5), (-10, -0.5), (0, 0.0)):
        view.on_position(position(quantity, "100"))
        assert seen(view, 19).unrealised_atr == pytest.approx(expected)


def test_no_range_no_ratio() -> None:
    """Where no bar has any width, the profit is 0 and not a division by zero."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 102.0, high=102.0, low=102.0))
    view.on_position(position(10, "100"))
    assert seen(view, 0).unrealised_atr == 0.0


def at(day: dt.date, clock: str) -> Moment:
    """The moment of a bar that closes at a time of day in India."""
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    return view.moment(complexity_at(ist_ns(day, clock)))


@pytest.mark.parametrize(
    ("clock", "done", "left", "may_enter"),
    [
        ("09:20", 5, 370, True),
        ("14:55", 340, 35, True),
        ("15:00", 345, 30, False),
        ("15:05", 350, 25, False),
        ("15:30", 375, 0, False),
    ],
)
def test_minutes_of_the_session(clock: str, done: float, left: float, may_enter: bool) -> None:
    """Minutes since the open and to the close of the bar's own session; no entries in the last thirty."""
    moment = at(dt.date(2026, 1, 5), clock)
    assert (moment.minute_of_session, moment.minutes_to_close, moment.may_enter) == (done, left, may_enter)


def test_a_short_session_has_its_own_minutes() -> None:
    """On a muhurat evening of an hour minutes count from its open to its close."""
    day = dt.date(2021, 11, 4)
    session = CALENDAR.session(day)
    assert session is not None
    view = MarketView(VIEW, CALENDAR)
    view.on_bar(make_bar(0, 100.0))
    moment = view.moment(complexity_at(session.open_ns + 10 * MINUTE))
    assert (moment.minute_of_session, moment.minutes_to_close, moment.may_enter) == (10, 50, True)


def test_outside_a_session_nothing_may_be_entered() -> None:
    """A bar that closes in a pause or on a holiday leaves no time."""
    moment = at(dt.date(2026, 1, 4), "12:00")
    assert (moment.minutes_to_close, moment.minute_of_session, moment.may_enter) == (0, 0, False)


@pytest.mark.parametrize(("day", "weekday"), [(5, 0), (6, 1), (9, 4)])
def test_weekday_is_india_s(day: int, weekday: int) -> None:
    """Monday is 0."""
    assert at(dt.date(2026, 1, day), "09:20").weekday == weekday == dt.date(2026, 1, day).weekday()


def test_hold_and_decision_carry_the_moment() -> None:
    """Both say when, what and at which price and complexity; hold is one unit without confidence."""
    moment = moment_of([100.0, 101.0], Regime.VOLATILE)
    safe = hold(moment, "rules", "why", failed=True, model_hash="abc")
    assert (safe.action, safe.quantity, safe.confidence, safe.reason) == (Action.HOLD, 1, 0.0, "why")
    assert (safe.failed, safe.model_hash) == (True, "abc")
    made = decision(moment, "rules", Action.BUY_LONG, 7, 0.25, "so")
    for found in (safe, made):
        assert (found.ts, found.ts_bar, found.symbol, found.interval) == (moment.ts, moment.ts, "AAA", "5m")
        assert (found.price, found.complexity, found.regime) == (101.0, 0.5, "volatile")
    assert (made.quantity, made.confidence, made.failed, made.latency_ns) == (7, 0.25, False, 0)


def test_bars_of_the_present_session_are_counted() -> None:
    """`session_bars` and `session_coarse` count from the session's open, however long the memory is."""
    view = MarketView(VIEW, CALENDAR)
    day = 24 * 60 * MINUTE
    for n in range(10):
        view.on_bar(make_bar(n, 100.0))
    view.on_bar(make_bar(0, 100.0, interval="30m"))
    assert (seen(view, 9).session_bars, seen(view, 9).session_coarse) == (10, 1)
    tomorrow = make_bar(0, 101.0)
    tomorrow = msgspec.structs.replace(tomorrow, ts_open=tomorrow.ts_open + day, ts_close=tomorrow.ts_close + day)
    view.on_bar(tomorrow)
    moment = view.moment(complexity_at(tomorrow.ts_close))
    assert (len(moment.bars), moment.session_bars, moment.session_coarse) == (11, 1, 0)


def adjusted(*, shares: bool = True) -> PriceAdjusted:
    """A split 1:5 of AAA."""
    return PriceAdjusted(ts=OPEN_NS, symbol="AAA", date="2026-01-06", kind="split", numerator=1, denominator=5,
                         shares=shares, by_broker=False)  # fmt: skip


@pytest.mark.parametrize("shares", [True, False])
def test_bars_before_an_action_are_counted_in_the_new_price(shares: bool) -> None:
    """Prices a fifth, volumes five times where there are five times the shares; of this symbol, in both windows."""
    view = MarketView(msgspec.structs.replace(VIEW, coarse_interval="5m"), CALENDAR)
    for n in range(300):  # the window has wrapped
        view.on_bar(make_bar(n % 75, 100.0, high=103.0, low=99.0))
        view.on_bar(make_bar(n % 75, 100.0, symbol="BBB"))
    view.on_bar(make_bar(0, 100.0, volume=-1))
    before = seen(view, 0)
    view.on_adjusted(adjusted(shares=shares))
    for bars in (seen(view, 0).bars, seen(view, 0).coarse):
        assert bars[0].tolist() == [20.0, 20.6, 19.8, 20.0, 50.0 if shares else 10.0]
        assert np.isnan(bars[-1, VOLUME])
    assert before.bars[0, CLOSE] == 100.0
    assert seen(view, 0, "BBB").bars[0, CLOSE] == 100.0


def test_bars_before_a_jump_are_left_out() -> None:
    """Both windows begin anew; another symbol's don't."""
    view = MarketView(msgspec.structs.replace(VIEW, coarse_interval="5m"), CALENDAR)
    for symbol in ("AAA", "BBB"):
        for n in range(5):
            view.on_bar(make_bar(n, 100.0, symbol=symbol))
    view.on_jumped(PriceJumped(ts=OPEN_NS, symbol="AAA", before=100.0, after=20.0))
    view.on_bar(make_bar(5, 20.0))
    moment = seen(view, 5)
    assert (len(moment.bars), len(moment.coarse), moment.session_bars, moment.session_coarse) == (1, 1, 1, 1)
    assert len(seen(view, 4, "BBB").bars) == 5
