"""A future that is traded for an index, as the one who decides on the index sees it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.core.events import Bar, PositionChanged
from daemon.market.legs import Legs

INDEX, FUTURE, OTHER = "NSE:NIFTY50-INDEX", "NSE:NIFTY26JANFUT", "NSE:SBIN-EQ"


def closed(symbol: str, close: float) -> Bar:
    """A bar that closed there."""
    return Bar(symbol, "5m", 0, 300, close, close, close, close, -1, 1)


def held(symbol: str, average: str = "25110.5") -> PositionChanged:
    """A long position."""
    return PositionChanged(
        ts=1, symbol=symbol, quantity=65, average_price=Decimal(average), realised_pnl=Decimal(0), costs=Decimal(0),
        cash=Decimal(0), opened_ts=1,
    )  # fmt: skip


@pytest.fixture
def legs() -> Legs:
    """Before any bar."""
    return Legs({FUTURE: INDEX})


def test_a_position_is_seen_at_the_index_s_price(legs: Legs) -> None:
    """Moved by the basis of the newest closes, exactly."""
    for symbol, close in ((INDEX, 24_900.0), (FUTURE, 25_000.0), (OTHER, 5.0), (INDEX, 25_000.1), (FUTURE, 25_100.3)):
        legs.on_bar(closed(symbol, close))
    seen = legs.seen(held(FUTURE))
    assert (seen.symbol, seen.quantity, seen.average_price) == (INDEX, 65, Decimal("25010.3"))


def test_without_bars_there_is_no_basis(legs: Legs) -> None:
    """Half of it is none."""
    legs.on_bar(closed(INDEX, 25_000.0))
    assert legs.seen(held(FUTURE)).average_price == Decimal("25110.5")


def test_the_basis_is_known_once_both_have_closed(legs: Legs) -> None:
    """Of what is no leg there is none to know."""
    assert (legs.shown(FUTURE), legs.shown(OTHER)) == (INDEX, OTHER)
    known = []
    for symbol in (OTHER, FUTURE, INDEX):
        legs.on_bar(closed(symbol, 5.0))
        known.append(legs.measured(FUTURE))
    assert (known, legs.measured(OTHER)) == ([False, False, True], True)


def test_others_pass(legs: Legs) -> None:
    """Whatever isn't traded for an index is left alone."""
    assert legs.seen(held(OTHER)) == held(OTHER)
    assert (legs.holds(FUTURE), legs.holds(INDEX), legs.holds(OTHER)) == (True, False, False)
