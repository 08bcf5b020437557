"""Positions and cash, worked out by hand."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from daemon.core.clock import DAY_NS
from daemon.core.errors import Fault
from daemon.core.events import Fill, PositionChanged, PositionRestated, Side
from daemon.portfolio.book import Portfolio, Position

CASH = Decimal(100_000)


def fill(side: Side, quantity: int, price: str, *, costs: str = "0", ts: int = 1, symbol: str = "SBIN") -> Fill:
    """A fill whose id follows from what it is."""
    return Fill(
        ts=ts, fill_id=f"{symbol}{ts}{side}{quantity}", order_id="o", symbol=symbol, side=side, quantity=quantity,
        price=Decimal(price), costs=Decimal(costs),
    )  # fmt: skip


def booked(*fills: Fill) -> Portfolio:
    """A portfolio after `fills`."""
    portfolio = Portfolio(CASH)
    for item in fills:
        portfolio.apply(item)
    return portfolio


def test_a_purchase() -> None:
    """Buying makes a long position at its price and takes price and costs out of the cash."""
    changed = Portfolio(CASH).apply(fill(Side.BUY, 10, "400.05", costs="1.25", ts=7))
    assert changed == PositionChanged(
        ts=7, symbol="SBIN", quantity=10, average_price=Decimal("400.05"), realised_pnl=Decimal(0),
        costs=Decimal("1.25"), cash=Decimal("95998.25"), opened_ts=7,
    )  # fmt: skip


def test_adding_averages_the_price() -> None:
    """10 at 400 and 20 at 430 stand at 420; the position opened with the first."""
    portfolio = booked(fill(Side.BUY, 10, "400", ts=1), fill(Side.BUY, 20, "430", ts=2))
    (position,) = portfolio.positions()
    assert (position.quantity, position.average_price, position.opened_ts) == (30, Decimal(420), 1)


def test_a_short_wins_when_the_price_falls() -> None:
    """Sold at 400, bought back at 390: 100 before costs."""
    portfolio = booked(fill(Side.SELL, 10, "400", ts=1, costs="2.00"), fill(Side.BUY, 10, "390", ts=2, costs="1.50"))
    assert portfolio.realised_pnl == 100
    assert portfolio.equity == portfolio.cash == CASH + 100 - Decimal("3.50")
    assert portfolio.costs == Decimal("3.50")


def test_a_partial_close_keeps_the_rest() -> None:
    """Closing 4 of 10 realises 4 parts and leaves average and opening where they were."""
    portfolio = booked(fill(Side.BUY, 10, "400", ts=1), fill(Side.SELL, 4, "410", ts=2))
    (position,) = portfolio.positions()
    assert (position.quantity, position.average_price) == (6, Decimal(400))
    assert (position.realised_pnl, position.opened_ts) == (Decimal(40), 1)


def test_a_cost_that_divides_badly_comes_out_whole() -> None:
    """A third of 100.01 is rounded to the paisa, and the last part takes what is left: nothing is lost."""
    buys = [fill(Side.BUY, 1, "33.35", ts=1), fill(Side.BUY, 2, "33.30", ts=2)]
    sells = [fill(Side.SELL, 1, "40", ts=ts) for ts in (3, 4, 5)]
    portfolio = booked(*buys, *sells[:1])
    assert portfolio.realised_pnl == Decimal("6.68")
    for item in sells[1:]:
        portfolio.apply(item)
    assert portfolio.realised_pnl == Decimal("20.05")
    assert portfolio.equity - CASH == Decimal("20.05")


def test_a_flip_closes_one_position_and_opens_another() -> None:
    """Selling 30 against a long of 10 realises 10 and opens a short of 20 at the new price and time."""
    portfolio = booked(fill(Side.BUY, 10, "400", ts=1, costs="1.00"))
    changed = portfolio.apply(fill(Side.SELL, 30, "410", ts=2, costs="1.00"))
    assert changed is not None
    assert (changed.quantity, changed.average_price, changed.opened_ts) == (-20, Decimal(410), 2)
    assert portfolio.realised_pnl == 100
    portfolio.apply(fill(Side.BUY, 20, "410", ts=3, costs="0.50"))
    assert portfolio.costs == Decimal("2.50")
    (position,) = portfolio.positions()
    assert (position.quantity, position.average_price, position.opened_ts) == (0, 0, 0)


def test_the_same_fill_twice_counts_once() -> None:
    """A fill id that was booked changes nothing and is answered by None."""
    portfolio = booked(fill(Side.BUY, 10, "400", costs="1.00"))
    assert portfolio.apply(fill(Side.BUY, 10, "400", costs="1.00")) is None
    assert (portfolio.quantity("SBIN"), portfolio.costs) == (10, Decimal("1.00"))


@pytest.mark.parametrize("quantity", [0, -5])
def test_a_fill_of_nothing_is_a_fault(quantity: int) -> None:
    """A quantity that isn't positive is refused before anything is booked."""
    portfolio = Portfolio(CASH)
    with pytest.raises(Fault, match=rf"SBIN: quantity {quantity} is not positive"):
        portfolio.apply(fill(Side.BUY, quantity, "400"))
    assert portfolio.positions() == []


def test_marks_value_what_is_open() -> None:
    """A mark moves unrealised and equity; a float counts as it is written; strangers are ignored."""
    portfolio = booked(fill(Side.BUY, 10, "400"), fill(Side.SELL, 5, "2000", symbol="TCS"))
    assert portfolio.unrealised("SBIN") == 0
    portfolio.mark("SBIN", 410.05)
    portfolio.mark("TCS", Decimal(1990))
    portfolio.mark("INFY", 1)
    assert (portfolio.unrealised("SBIN"), portfolio.unrealised("TCS")) == (Decimal("100.50"), 50)
    assert (portfolio.unrealised("INFY"), portfolio.quantity("INFY")) == (0, 0)
    assert portfolio.equity == CASH + Decimal("150.50")
    assert portfolio.positions()[1] == Position(
        "TCS", -5, Decimal(2000), Decimal(1990), Decimal(50), Decimal(0), Decimal(0), 1
    )


@pytest.mark.parametrize(
    ("price", "mark"),
    [(410.05 + 1e-12, "410.05"), (float(np.float32(410.05)), "410.05"), (82.3125, "82.3125"), (5e-324, "0")],
)
def test_a_mark_has_four_places_at_most(price: float, mark: str) -> None:
    """What a binary fraction adds to a price is no money."""
    portfolio = booked(fill(Side.BUY, 10, "400"))
    portfolio.mark("SBIN", price)
    assert portfolio.positions()[0].mark == Decimal(mark)
    assert portfolio.equity == CASH + 10 * (Decimal(mark) - 400)


@pytest.mark.parametrize(
    ("side", "quantity", "left", "cost", "realised"),
    [
        (Side.SELL, 4, 46, 46 * 80, 320),
        (Side.BUY, 4, 54, 50 * 80 + 4 * 160, 0),
        (Side.SELL, 10, 40, 40 * 160, 4000),
    ],
)
def test_a_split_that_is_known_after_a_trade(side: Side, quantity: int, left: int, cost: int, realised: int) -> None:
    """Ten at 400, split 1:5: what is left of them cost 80; what the books had closed altogether is worth the newest."""
    portfolio = booked(fill(Side.BUY, 10, "400"), fill(side, quantity, "160", ts=DAY_NS))
    split = PositionRestated(
        ts=DAY_NS + 2, symbol="SBIN", date="1970-01-02", kind="split", numerator=1, denominator=5, carried=10
    )
    restated = portfolio.restate(split)
    assert restated is not None
    changed = restated[0]
    assert (changed.quantity, round(changed.average_price * left, 2)) == (left, cost)
    assert changed.realised_pnl == realised
    assert portfolio.positions()[0].mark == 160


def test_less_than_a_share_is_no_more_held() -> None:
    """101 shares, two for three: 67 and a third; the third's cost is a loss, and cash stays."""
    portfolio = booked(fill(Side.BUY, 101, "300", symbol="X"))
    restated = portfolio.restate(
        PositionRestated(ts=2, symbol="X", date="2026-01-06", kind="split", numerator=3, denominator=2)
    )
    assert restated is not None
    changed, rest = restated
    assert (changed.quantity, changed.average_price, rest) == (67, Decimal(450), Fraction(1, 3))
    assert (changed.realised_pnl, changed.cash) == (Decimal(-150), Decimal(100_000 - 30_300))
    again = PositionRestated(ts=3, symbol="X", date="2026-01-07", kind="split", numerator=100, denominator=1)
    emptied = portfolio.restate(again)
    assert emptied is not None
    assert (emptied[0].quantity, emptied[0].opened_ts, portfolio.restate(again)) == (0, 0, None)
