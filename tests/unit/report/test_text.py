from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "₹0.00"), (999, "₹999.00"), (1000, "₹1,000.00"), (123456.5, "₹1,23,456.50"), (-12345678, "−₹1,23,45,678.00"),
     (Decimal("0.005"), "₹0.00"), (Decimal("-0.004"), "₹0.00"), (1e-9, "₹0.00")],
)  # fmt: skip
def test_rupees(value: text.Number, shown: str) -> None:
    """Lakh grouping, to the paisa, half to even, no negative nothing."""
    assert text.rupees(value) == shown


@given(st.decimals(-(10**14), 10**14, places=2))
def test_rupees_keep_the_value(value: Decimal) -> None:
    """Grouping loses nothing."""
    shown = text.rupees(value).replace(",", "").replace("₹", "").replace("−", "-")
    assert Decimal(shown) == value


def test_signs() -> None:
    """Gains carry a plus, losses a true minus, nothing neither."""
    assert [text.signed_rupees(value) for value in (5, -5, 0)] == ["+₹5.00", "−₹5.00", "₹0.00"]
    shares = (0.0123, -0.0123, 0.0, None)
    assert [text.signed_percent(share) for share in shares] == ["+1.23 %", "−1.23 %", "0.00 %", "-"]
    assert [text.tone(value) for value in (1, -1, 0)] == ["green", "red", "default"]


def test_numbers() -> None:
    """Counts, prices and ratios; what can't be said is a dash."""
    assert text.whole(-1234567) == "−1,234,567"
    assert text.price(Decimal("24250.5")) == "24,250.50"
    assert (text.ratio(None), text.ratio(-1.234)) == ("-", "−1.23")
    assert text.percent(0.5, 0) == "50 %"


def test_times_are_in_india() -> None:
    """03:45 UTC is the opening, 09:15."""
    opening = 1_617_594_300_000_000_000
    assert text.ist_time(opening) == "09:15:00"
    assert text.ist_minute(opening) == "05 Apr 2021 09:15"
    assert text.ist_short(opening) == "05 Apr 09:15"
    assert text.ist_date(opening) == "05 Apr 2021"


def test_words() -> None:
    """Names of reasons are read as words."""
    assert text.words("backward_time") == "backward time"
