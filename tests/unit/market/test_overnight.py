"""How far a share's price may go between two sessions, and what a holding becomes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import OvernightLimit, shares_after
from daemon.settings.market import MarketSettings
from tests.samples import SBIN

LIMIT = OvernightLimit(InstrumentBook(MarketSettings()), 20.0)


@pytest.mark.parametrize(
    ("symbol", "before", "after", "broken"),
    [
        (SBIN, 5000.0, 1000.0, True),
        (SBIN, 1000.0, 5000.0, True),
        (SBIN, 1000.0, 800.0, False),
        (SBIN, 1000.0, 1200.0, False),
        (SBIN, 1000.0, 799.9, True),
        (SBIN, 0.2, 0.15, False),  # one tick
        (SBIN, 0.0, 100.0, False),
        ("SBIN", 5000.0, 1000.0, True),
        ("NSE:NIFTY50-INDEX", 5000.0, 1000.0, False),
        ("NSE:NIFTY26JANFUT", 5000.0, 1000.0, False),
        ("NSE:NIFTY26JAN800CE", 5.0, 50.0, False),
        ("nobody knows", 5000.0, 1000.0, False),
    ],
)
def test_the_limit_is_a_shares(symbol: str, before: float, after: float, broken: bool) -> None:
    """A fifth and a tick either way; an index, a future, an option and what is unknown have none."""
    assert LIMIT.broken(symbol, before, after) is broken


@given(quantity=st.integers(-10_000, 10_000), numerator=st.integers(1, 50), denominator=st.integers(1, 50))
def test_no_share_is_made_up_or_lost(quantity: int, numerator: int, denominator: int) -> None:
    """Whole shares and the rest are exactly what the ratio makes; long stays long."""
    whole, rest = shares_after(quantity, numerator, denominator)
    assert abs(whole) + rest == Fraction(abs(quantity) * denominator, numerator)
    assert 0 <= rest < 1
    assert whole * quantity >= 0
