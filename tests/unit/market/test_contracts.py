"""Instruments by a symbol master: aliases, indices as their futures, lots and ticks, and what is unknown."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.errors import SettingsError
from daemon.market.instruments import InstrumentBook, Kind
from daemon.settings.market import InstrumentSettings, MarketSettings
from tests.unit.market.masters import DAY, master_of

JAN, FEB = "NSE:NIFTY26JANFUT", "NSE:NIFTY26FEBFUT"


def book_on(day: str = "2026-01-05", *, on_paper: bool = False, **market: object) -> InstrumentBook:
    """A book over the master of January's first Monday, as of another day of it."""
    return InstrumentBook(
        MarketSettings.model_validate(market), dt.date.fromisoformat(day), master_of(), on_paper=on_paper
    )


@pytest.mark.parametrize(
    ("symbol", "day", "traded"),
    [
        ("NSE:NIFTY-FUT1", "2026-01-05", JAN),
        ("NSE:NIFTY-FUT1", "2026-01-27", FEB),
        ("NSE:NIFTY-FUT2", "2026-01-05", FEB),
        ("NIFTY-FUT1", "2026-01-05", JAN),
        ("NSE:NIFTY50-INDEX", "2026-01-05", JAN),
        ("NIFTY", "2026-01-05", JAN),
        ("NSE:NIFTYBANK-INDEX", "2026-01-05", "NSE:BANKNIFTY26JANFUT"),
        ("NSE:SBIN-EQ", "2026-01-05", "NSE:SBIN-EQ"),
        ("SBIN", "2026-01-05", "NSE:SBIN-EQ"),
        (FEB, "2026-01-05", FEB),
        ("NSE:SBIN-FUT1", "2026-01-05", "NSE:SBIN-FUT1"),
        ("NSE:NIFTY-FUT9", "2026-01-05", "NSE:NIFTY-FUT9"),
    ],
)
def test_traded_as(symbol: str, day: str, traded: str) -> None:
    """The contract of the day, the index's future, the exchange's own name; itself where there is none."""
    assert book_on(day).traded_as(symbol) == traded


def test_lots_and_ticks_are_the_master_s() -> None:
    """A contract as it is; an index and an alias show the lot of their contract but are not traded themselves."""
    book = book_on()
    for symbol, kind, lot, tick, tradeable in (
        (JAN, Kind.FUTURE, 65, "0.10", True),
        ("NSE:BANKNIFTY26JANFUT", Kind.FUTURE, 30, "0.20", True),
        ("NSE:NIFTY-FUT1", Kind.FUTURE, 65, "0.10", False),
        ("NSE:NIFTY50-INDEX", Kind.INDEX, 65, "0.10", False),
        ("NSE:SBIN-EQ", Kind.EQUITY, 1, "0.05", True),
    ):
        found = book.resolve(symbol)
        assert found is not None
        assert (found.symbol, found.kind, found.lot_size, found.tick_size, found.tradeable) == (
            symbol, kind, lot, Decimal(tick), tradeable,
        )  # fmt: skip


@pytest.mark.parametrize("symbol", ["NSE:TCS-EQ", "NSE:NIFTY25DECFUT", "NSE:NIFTY-FUT9", "BSE:SENSEX-INDEX", "?"])
def test_unknown_to_the_exchange(symbol: str) -> None:
    """What isn't in the master is no instrument, whatever its name looks like."""
    assert book_on().resolve(symbol) is None


def test_on_paper_everything_trades_under_its_own_name() -> None:
    """No exchange must know the symbol; the lot is that of the contract."""
    book = book_on(on_paper=True)
    for symbol in ("NSE:NIFTY50-INDEX", "NSE:NIFTY-FUT1", "NIFTY"):
        found = book.resolve(symbol)
        assert found is not None
        assert (found.lot_size, found.tradeable, book.traded_as(symbol)) == (65, True, symbol)


def test_an_index_that_is_not_to_be_traded() -> None:
    """`index_as_future: false` leaves it quoted."""
    book = book_on(index_as_future=False)
    found = book.resolve("NSE:NIFTY50-INDEX")
    assert found is not None
    assert not found.tradeable
    assert book.traded_as("NSE:NIFTY50-INDEX") == "NSE:NIFTY50-INDEX"


def test_what_a_feed_must_deliver() -> None:
    """Contracts for aliases, futures beside their indices, each once."""
    wanted = ["NSE:NIFTY50-INDEX", "NSE:NIFTY-FUT1", "NSE:NIFTY-FUT2", "NSE:SBIN-EQ"]
    assert book_on().needed_for(wanted) == ["NSE:NIFTY50-INDEX", JAN, FEB, "NSE:SBIN-EQ"]


def test_only_the_listed() -> None:
    """`unlisted: reject` knows the listed, their aliases, and the contracts that stand for them."""
    listed = [{"symbol": "NSE:NIFTY50-INDEX", "aliases": ["NIFTY"], "kind": "index"}]
    book = book_on(instruments=listed, unlisted="reject")
    assert book.resolve(JAN) is not None
    assert book.resolve("NIFTY") is not None
    assert book.resolve(FEB) is None
    assert book.resolve("NSE:SBIN-EQ") is None
    assert book.traded_as("NIFTY") == JAN


def test_settings_that_contradict_the_exchange() -> None:
    """A listed lot that isn't the contract's is refused with both numbers."""
    listed = InstrumentSettings(symbol=JAN, kind="future", lot_size=75)
    with pytest.raises(SettingsError, match="lot_size is 75, but 65 in the symbol master of 2026-01-05"):
        InstrumentBook(MarketSettings(instruments=[listed]), DAY, master_of())
    InstrumentBook(MarketSettings(instruments=[InstrumentSettings(symbol=JAN, kind="future")]), DAY, master_of())


def test_without_a_master_an_alias_is_a_future_by_name() -> None:
    """On paper: the lot of the table, traded under its own name."""
    book = InstrumentBook(MarketSettings(), DAY)
    found = book.resolve("NSE:NIFTY-FUT1")
    assert found is not None
    assert (found.kind, found.lot_size, found.tradeable) == (Kind.FUTURE, 65, True)
    assert book.traded_as("NSE:NIFTY-FUT1") == "NSE:NIFTY-FUT1"
