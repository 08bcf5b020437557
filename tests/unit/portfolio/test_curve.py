"""What an account was worth, at each close and at each session's end."""

from __future__ import annotations

from decimal import Decimal

from daemon.core.events import Event, PositionRestated, Side
from daemon.portfolio.book import Portfolio
from daemon.portfolio.curve import EquityCurve
from tests.samples import CLOSE, DAY, MINUTE, OPEN, RELIANCE, fill_of, intend
from tests.unit.portfolio.test_actor import CASH, bar


def new(*, by_bar: bool = False) -> EquityCurve:
    """Of an account that holds nothing."""
    return EquityCurve(Portfolio(CASH), "5m", by_bar=by_bar)


def tell(curve: EquityCurve, *events: Event) -> None:
    """In this order."""
    for event in events:
        curve.record(event)


def test_equity_follows_the_bars_of_the_decision_interval() -> None:
    """Other intervals value nothing."""
    curve = new()
    tell(curve, fill_of(intend(quantity=10), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 810.0))
    tell(curve, bar(OPEN + 6 * MINUTE, 900.0, interval="1m"))
    assert curve.by_session() == [(OPEN + 5 * MINUTE, CASH + 100)]


def test_without_bars_there_is_no_session() -> None:
    """Nothing was valued, nothing can be said."""
    curve = new()
    tell(curve, fill_of(intend()))
    assert curve.by_session() == []


def test_each_session_keeps_the_equity_it_ended_with() -> None:
    """All symbols' last bars count for their own day; the next day's first bar changes only its own."""
    curve = new()
    tell(
        curve, fill_of(intend(quantity=10), costs=Decimal(0)),
        fill_of(intend("R", Side.SELL, 10, symbol=RELIANCE), costs=Decimal(0)),
        bar(CLOSE, 810.0), bar(CLOSE, 790.0, RELIANCE), bar(OPEN + DAY + 5 * MINUTE, 820.0),
        bar(OPEN + DAY + 5 * MINUTE, 790.0, RELIANCE),
    )  # fmt: skip
    assert curve.by_session() == [(CLOSE, CASH + 200), (OPEN + DAY + 5 * MINUTE, CASH + 300)]


def test_a_fill_before_the_first_bar_belongs_to_its_own_day() -> None:
    """What was carried over and closed at the next open is the next day's profit, not the last one's."""
    curve = new()
    tell(curve, fill_of(intend(quantity=10), costs=Decimal(0)), bar(CLOSE, 800.0))
    closing = intend("x", Side.SELL, 10, ts=OPEN + DAY, reference_price=Decimal(700))
    tell(curve, fill_of(closing, costs=Decimal(0)))
    assert curve.by_session()[0] == (CLOSE, CASH)
    tell(curve, bar(OPEN + DAY + 5 * MINUTE, 700.0))
    assert curve.by_session() == [(CLOSE, CASH), (OPEN + DAY + 5 * MINUTE, CASH - 1000)]


def test_a_late_bar_of_the_same_day_turns_no_clock_back() -> None:
    """The session's time is that of its newest bar."""
    curve = new()
    tell(curve, bar(OPEN + 10 * MINUTE, 800.0), bar(OPEN + 5 * MINUTE, 800.0))
    assert curve.by_session() == [(OPEN + 10 * MINUTE, CASH)]


def test_bars_that_close_together_make_one_point() -> None:
    """The last of them speaks for all; without being asked for none is kept."""
    curve = new(by_bar=True)
    tell(curve, fill_of(intend(quantity=10), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 790.0, RELIANCE))
    tell(curve, bar(OPEN + 5 * MINUTE, 810.0), bar(OPEN + 10 * MINUTE, 820.0))
    assert curve.by_bar == [(OPEN + 5 * MINUTE, CASH + 100), (OPEN + 10 * MINUTE, CASH + 200)]
    assert new().by_bar == []


def test_a_ruin_inside_a_session_is_kept() -> None:
    """All bars of a close are looked at together; what comes back is ruined all the same, and once."""
    curve = new()
    few = CASH / 100
    tell(
        curve, fill_of(intend(quantity=int(few)), costs=Decimal(0)),
        fill_of(intend("R", Side.SELL, int(few), symbol=RELIANCE), costs=Decimal(0)),
        bar(OPEN + 5 * MINUTE, 690.0), bar(OPEN + 5 * MINUTE, 700.0, RELIANCE),
    )  # fmt: skip
    assert curve.ruin is None
    tell(curve, bar(OPEN + 10 * MINUTE, 590.0), bar(OPEN + 10 * MINUTE, 700.0, RELIANCE))
    tell(curve, bar(CLOSE, 900.0), bar(CLOSE, 700.0, RELIANCE))
    assert curve.by_session()[0][1] > CASH
    assert curve.ruin == (OPEN + 10 * MINUTE, CASH - int(few) * 110)
    tell(curve, bar(OPEN + DAY + 5 * MINUTE, 100.0))
    assert curve.ruin == (OPEN + 10 * MINUTE, CASH - int(few) * 110)


def test_a_ruin_is_looked_for_before_what_is_held_changes() -> None:
    """A fill after the last close is of no price of that close."""
    curve, units = new(), int(CASH / 1000)
    tell(curve, fill_of(intend(quantity=units), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 800.0))
    dear = fill_of(intend("B", quantity=20 * units), price=Decimal(860), ts=OPEN + 6 * MINUTE, costs=Decimal(0))
    tell(curve, dear, bar(OPEN + 10 * MINUTE, 870.0))
    assert curve.ruin is None


def test_a_price_that_a_split_divides_has_an_end_in_the_curve() -> None:
    """400.10 a share, three for one, and no price of the new ones yet: its thirds are no amount of money."""
    curve = new(by_bar=True)
    bought = intend(quantity=10, reference_price=Decimal("400.10"))
    tell(
        curve, fill_of(bought, costs=Decimal(0)), bar(CLOSE, 400.2, bought.symbol),
        PositionRestated(
            ts=OPEN + DAY, symbol=bought.symbol, date="2026-01-06", kind="split", numerator=1, denominator=7
        ),
        bar(OPEN + DAY + 5 * MINUTE, 790.0, RELIANCE),
    )  # fmt: skip
    assert [str(equity) for _, equity in curve.by_session()] == [f"{CASH + 1}.00", f"{CASH + 1}.0000"]
    assert str(curve.by_bar[-1][1]) == f"{CASH + 1}.0000"
