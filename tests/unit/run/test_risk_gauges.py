"""How much of each limit is used, by the gate's own numbers."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import Side
from daemon.market.instruments import InstrumentBook
from daemon.risk.book import RiskBook
from daemon.risk.lease import Lease
from daemon.run.risk_gauges import risk_view
from daemon.settings.market import MarketSettings
from daemon.settings.risk import OwnLimits, RiskSettings
from tests.samples import RELIANCE, fill_of, intend, position_of, tick

OPEN = 1_767_584_700 * NS_PER_S
LIMITS = RiskSettings(max_daily_loss=Decimal(1000), max_gross_notional=Decimal(160_000), max_position_quantity=200)

INSTRUMENTS = InstrumentBook(MarketSettings(), dt.date(2026, 1, 5))


def book() -> RiskBook:
    """100 bought at 800, one order approved."""
    made = RiskBook()
    made.on_ticks(tick(OPEN, 800.0))
    made.start_day()
    order = intend(ts=OPEN)
    made.order_opened(order)
    made.on_fill(fill_of(order))
    made.on_position(position_of(100))
    return made


def shares(view_of: RiskBook, limits: RiskSettings = LIMITS) -> dict[str, float]:
    """By name."""
    return {one.name: one.share for one in risk_view(view_of, limits, INSTRUMENTS, OPEN + NS_PER_S // 2).gauges}


def test_a_loss_a_position_and_orders_use_their_limits() -> None:
    """100 shares that fell by 5 rupees are half of 1,000 lost, half of the quantity, and 79,500 of 160,000."""
    held = book()
    held.on_ticks(tick(OPEN + 1, 795.0))
    view = risk_view(held, LIMITS, INSTRUMENTS, OPEN + NS_PER_S // 2)
    assert view.day_pnl == Decimal("-500.00")
    assert shares(held) == {
        "daily loss": 0.5, "gross exposure": 0.4969, "largest position": 0.5, "orders today": 0.0002,
        "orders in a minute": 0.0083, "orders in a second": 0.125,
    }  # fmt: skip


def test_a_day_that_lost_what_it_may_says_so() -> None:
    """At its limit, not a paisa before; so does a fall from the day's high."""
    held = book()
    said = []
    for price in (790.01, 790.0):
        held.on_ticks(tick(OPEN + 1, price))
        said.append(risk_view(held, LIMITS, INSTRUMENTS, OPEN).reached)
    assert said == ["", "the day's loss ₹1,000.00 has reached risk.max_daily_loss ₹1,000.00: nothing is opened"]


def test_a_profit_is_no_loss() -> None:
    """The gauge stands at nothing; the fall from the day's high is another one, where it is limited."""
    held = book()
    held.on_ticks(tick(OPEN + 1, 810.0))
    held.note_high()
    held.on_ticks(tick(OPEN + 2, 806.0))
    limits = LIMITS.model_copy(update={"max_day_drawdown": Decimal(800), "max_net_notional": Decimal(806_000)})
    found = shares(held, limits)
    assert (found["daily loss"], found["fall from the day's high"], found["net exposure"]) == (0.0, 0.5, 0.1)


def test_what_is_sold_short_is_held_too() -> None:
    """The largest position counts without its sign."""
    made = RiskBook()
    made.on_ticks(tick(OPEN, 800.0))
    order = intend(side=Side.SELL, ts=OPEN)
    made.order_opened(order)
    made.on_fill(fill_of(order))
    assert shares(made)["largest position"] == 0.5


@pytest.mark.parametrize("side", list(Side))
def test_net_exposure_is_what_the_gate_compares(side: Side) -> None:
    """With what works, on the worse side."""
    made = RiskBook()
    made.on_ticks(tick(OPEN, 800.0))
    order = intend(side=side, ts=OPEN)
    made.order_opened(order)
    made.on_fill(fill_of(order, 50))
    made.order_opened(intend("T2", Side.BUY if side is Side.SELL else Side.SELL, 60, ts=OPEN))
    limits = LIMITS.model_copy(update={"max_net_notional": Decimal(160_000)})
    assert shares(made, limits)["net exposure"] == 0.5


def test_a_position_stands_beside_the_limit_of_its_own() -> None:
    """The one that has used most of what it may have, not the largest number."""
    held = book()
    held.on_fill(fill_of(intend("R", quantity=50, symbol=RELIANCE)))
    own = LIMITS.model_copy(update={"limits": {RELIANCE: OwnLimits(max_order_quantity=50, max_position_quantity=50)}})
    found = next(it for it in risk_view(held, own, INSTRUMENTS, OPEN).gauges if it.name == "largest position")
    assert (found.used, found.limit, found.share) == (50, 50, 1.0)


def test_what_is_leased_of_a_shared_budget_is_the_limit_where_it_is_less() -> None:
    """The gate denies beyond it."""
    held = book()
    held.lease = Lease("a", lambda: 0)
    held.lease.renew(OPEN, Decimal(80_000), 1, "renewed")
    assert shares(held)["gross exposure"] == 1.0
