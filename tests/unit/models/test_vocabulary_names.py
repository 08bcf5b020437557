"""A model that has learned an instrument under one name knows it under the others."""

from __future__ import annotations

import pytest

from models.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("learned", "asked"),
    [
        ("SBIN", "NSE:SBIN-EQ"),
        ("NSE:SBIN-EQ", "SBIN"),
        ("NSE:SBIN-EQ", "BSE:SBIN-A"),
        ("BAJAJ-AUTO", "NSE:BAJAJ-AUTO-EQ"),
        ("NIFTY", "NSE:NIFTY50-INDEX"),
        ("BANKNIFTY", "NSE:NIFTYBANK-INDEX"),
        ("NSE:NIFTY50-INDEX", "NIFTY"),
    ],
)
def test_an_instrument_is_found_under_its_other_names(learned: str, asked: str) -> None:
    """Files of bars are called by the share, ticks by exchange and series."""
    assert Vocabulary(("SIM", learned)).row(asked) == 2


def test_others_stay_unknown_and_a_name_of_its_own_comes_first() -> None:
    """Nothing is guessed, and both names may have a row."""
    both = Vocabulary(("SBIN", "NSE:SBIN-EQ", "5m"))
    assert [both.row(name) for name in ("SBIN", "NSE:SBIN-EQ", "BSE:SBIN-A", "NSE:RELIANCE-EQ", "15m")] == [
        1,
        2,
        1,
        0,
        0,
    ]
    assert both.grow(["BSE:SBIN-A"]).row("BSE:SBIN-A") == 4
