"""Names of futures and options, as Fyers' symbol master writes them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.errors import SettingsError
from daemon.market.contracts import read_contract
from daemon.market.instruments import InstrumentBook, Kind
from daemon.settings.market import InstrumentSettings, MarketSettings

DAY = dt.date(2026, 1, 5)


@pytest.mark.parametrize(
    ("symbol", "name", "expiry", "strike", "right", "on_index"),
    [
        ("NSE:NIFTY26JANFUT", "NIFTY", dt.date(2026, 1, 27), None, "", True),
        ("NSE:NIFTY26JAN26000CE", "NIFTY", dt.date(2026, 1, 27), 26_000, "CE", True),
        ("NSE:NIFTY2611326000PE", "NIFTY", dt.date(2026, 1, 13), 26_000, "PE", True),
        ("NSE:NIFTY25D0226000CE", "NIFTY", dt.date(2025, 12, 2), 26_000, "CE", True),
        ("NSE:NIFTY25AUGFUT", "NIFTY", dt.date(2025, 8, 28), None, "", True),
        ("NSE:NIFTY25SEPFUT", "NIFTY", dt.date(2025, 9, 30), None, "", True),
        ("NSE:NIFTY26MARFUT", "NIFTY", dt.date(2026, 3, 30), None, "", True),
        ("NSE:BANKNIFTY24MAR48000CE", "BANKNIFTY", dt.date(2024, 3, 27), 48_000, "CE", True),
        ("NSE:RELIANCE26JAN1400CE", "RELIANCE", dt.date(2026, 1, 27), 1_400, "CE", False),
        ("NSE:M&M26JAN3712.5PE", "M&M", dt.date(2026, 1, 27), Decimal("3712.5"), "PE", False),
        ("BSE:SENSEX26JAN85000CE", "SENSEX", dt.date(2026, 1, 29), 85_000, "CE", True),
        ("BSE:SENSEX502610885000CE", "SENSEX50", dt.date(2026, 1, 8), 85_000, "CE", True),
        ("BSE:SENSEX2611585000CE", "SENSEX", dt.date(2026, 1, 14), 85_000, "CE", True),
        ("NSE:NIFTY2920626000CE", "NIFTY", dt.date(2029, 2, 6), 26_000, "CE", True),
        ("NSE:NIFTYNXT5026JAN70000CE", "NIFTYNXT50", dt.date(2026, 1, 27), 70_000, "CE", True),
        ("NSE:FINNIFTY24JANFUT", "FINNIFTY", None, None, "", True),
        ("NSE:NIFTY2613226000CE", "NIFTY", None, 26_000, "CE", True),
        ("MCX:GOLD26FEBFUT", "GOLD", None, None, "", False),
    ],
)
def test_a_name_is_read_whole(
    symbol: str, name: str, expiry: dt.date | None, strike: Decimal | None, right: str, on_index: bool
) -> None:
    """By the rule of its time or, weekly, as it says; a holiday (2026-03-31, 2026-01-15) moves it."""
    found = read_contract(symbol)
    assert found is not None
    assert (found.name, found.expiry, found.strike, found.right, found.on_index) == (
        name, expiry, strike, right, on_index,
    )  # fmt: skip


@pytest.mark.parametrize(
    "symbol", ["NSE:SBIN-EQ", "NSE:NIFTY50-INDEX", "NSE:NIFTY-FUT1", "NSE:NIFTY26XXXFUT", "NSE:NIFTY26J0625000CE", "A"]
)
def test_what_is_no_contract(symbol: str) -> None:
    """Nor does anything of it end."""
    assert read_contract(symbol) is None


def test_the_book_knows_how_a_contract_ends() -> None:
    """Cash for an index, shares for a share; an index on paper has the name of its future's family."""
    book = InstrumentBook(MarketSettings(), DAY)
    option, share, index = map(book.resolve, ("NSE:NIFTY26JAN26000CE", "NSE:SBIN26JANFUT", "NSE:NIFTY50-INDEX"))
    assert option is not None
    assert share is not None
    assert index is not None
    assert (option.kind, option.lot_size, option.delivered, option.family()) == (
        Kind.OPTION,
        65,
        False,
        "NSE:NIFTY-OPT",
    )
    assert (share.delivered, share.family()) == (True, "NSE:SBIN-FUT")
    assert (index.is_contract, index.family()) == (False, "NSE:NIFTY-FUT")


def test_a_told_expiry_goes_before_the_name() -> None:
    """Where the table has no rule."""
    listed = InstrumentSettings(
        symbol="NSE:FINNIFTY24JANFUT", kind="future", lot_size=40, expiry=dt.date(2024, 1, 30)
    )  # fmt: skip
    found = InstrumentBook(MarketSettings(instruments=[listed]), dt.date(2024, 1, 5)).resolve(listed.symbol)
    assert found is not None
    assert found.expiry == dt.date(2024, 1, 30)


def test_currencies_and_commodities_are_not_tradeable() -> None:
    """Nobody here knows what one unit of their quantity is, whatever lot is listed."""
    for symbol in ("NSE:USDINR26JANFUT", "MCX:GOLD26FEBFUT"):
        listed = InstrumentSettings(symbol=symbol, kind="future", lot_size=1000)
        found = InstrumentBook(MarketSettings(instruments=[listed]), DAY).resolve(symbol)
        assert found is not None
        assert not found.tradeable


def test_a_start_on_an_expired_contract_is_refused() -> None:
    """In one line that says when it expired; one that expires today still trades."""
    with pytest.raises(SettingsError, match=r"feed.symbols: NSE:NIFTY25DECFUT: expired on 2025-12-30; .*NIFTY-FUT1"):
        InstrumentBook(MarketSettings(), DAY).check_expiries(["NSE:SBIN-EQ", "NSE:NIFTY25DECFUT"])
    InstrumentBook(MarketSettings(), dt.date(2025, 12, 30)).check_expiries(["NSE:NIFTY25DECFUT"])
