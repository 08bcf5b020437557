"""The symbol master: what a row says, which contract is in front on which day, and which files are not believed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.errors import UsageError
from daemon.market.symbol_master import SymbolMaster
from tests.unit.market.masters import DAY, master_of, put, texts_of

JAN, FEB, MAR, APR = (f"NSE:NIFTY26{month}FUT" for month in ("JAN", "FEB", "MAR", "APR"))


def test_rows() -> None:
    """A share, an index and a future, each with what the exchange says of it."""
    master = master_of()
    share, index, future = (master.listing(name) for name in ("NSE:M&M-EQ", "NSE:NIFTY50-INDEX", JAN))
    assert share is not None
    assert index is not None
    assert future is not None
    assert (share.lot_size, share.tick_size, share.expiry, share.is_index) == (1, Decimal("0.05"), None, False)
    assert (index.lot_size, index.is_index, index.name) == (0, True, "NIFTY")
    assert (future.lot_size, future.tick_size, future.name) == (65, Decimal("0.10"), "NIFTY")
    assert future.is_future
    assert future.expiry == dt.date(2026, 1, 27)
    assert master.listing("NSE:NONE-EQ") is None
    assert master.rows == 11


@pytest.mark.parametrize(
    ("on", "roll_days", "front"),
    [
        ("2026-01-05", 0, JAN),
        ("2026-01-26", 1, JAN),
        ("2026-01-27", 0, JAN),
        ("2026-01-27", 1, FEB),
        ("2026-01-22", 5, JAN),
        ("2026-01-23", 5, FEB),
        ("2026-01-28", 0, FEB),
        ("2026-03-31", 0, MAR),
        ("2026-03-31", 1, None),
    ],
)
def test_the_front_contract(on: str, roll_days: int, front: str | None) -> None:
    """Until so many days before its expiry, then the next; none where the file ends."""
    assert master_of().future("NSE", "NIFTY", 1, dt.date.fromisoformat(on), roll_days) == front


def test_the_next_contracts() -> None:
    """The second and third behind the front; no fourth, no zeroth, none on what has none."""
    master = master_of()
    assert [master.future("NSE", "NIFTY", month, DAY, 1) for month in (1, 2, 3, 4, 0)] == [JAN, FEB, MAR, None, None]
    assert master.future("NSE", "SBIN", 1, DAY, 1) is None
    assert master.future("BSE", "NIFTY", 1, DAY, 1) is None


def test_a_master_of_another_day_has_another_front() -> None:
    """The master of the day decides."""
    day = dt.date(2026, 2, 2)
    assert master_of(day).future("NSE", "NIFTY", 1, day, 1) == FEB
    assert master_of(day).future("NSE", "NIFTY", 3, day, 1) == APR


def broken(name: str, was: str, becomes: str) -> dict[str, bytes]:
    """The day's files with one text replaced in one of them."""
    texts = texts_of()
    assert was.encode() in texts[name]
    return {**texts, name: texts[name].replace(was.encode(), becomes.encode(), 1)}


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({}, r"NSE_CM\.csv of 2026-01-05: is not there"),
        ({"NSE_CM": texts_of()["NSE_CM"]}, r"NSE_FO\.csv of 2026-01-05: is not there"),
        ({**texts_of(), "NSE_FO": b""}, "expected at least 18 columns, got 1"),
        ({**texts_of(), "NSE_FO": b"<html>no</html>"}, "expected at least 18 columns, got 1"),
        (broken("NSE_CM", "NSE:SBIN-EQ,10", "NSE:SBIN-EQ,10,10"), "columns in every row"),
        (broken("NSE_CM", "NSE:SBIN-EQ", "BSE:SBIN-A"), "row 1: expected a symbol of NSE in column 10"),
        (broken("NSE_CM", "NSE:SBIN-EQ", "NSE:RELIANCE-EQ"), "a symbol stands in it twice"),
        (broken("NSE_FO", JAN, "NSE:NIFTY26FEBFUT"), "a symbol stands in it twice"),
        (broken("NSE_FO", JAN, "NSE:NIFTY26APRFUT"), "named after its expiry, got the expiry 2026-01-27"),
        (broken("NSE_FO", "1769508000", ""), "NSE:NIFTY26JANFUT: expected a future on 'NIFTY' named after its expiry"),
        ({name: text.replace(b"2026-01-05", b"2025-12-30") for name, text in texts_of().items()}, "more than 5 days"),
        ({name: text.replace(b"2026-01-05", b"yesterday") for name, text in texts_of().items()}, "in column 8"),
    ],
)  # fmt: skip
def test_what_is_not_believed(texts: dict[str, bytes], why: str) -> None:
    """One line that names the file and what is wrong."""
    with pytest.raises(UsageError, match=why) as caught:
        SymbolMaster(texts, DAY, 1, 5)
    assert "\n" not in str(caught.value)


def test_too_few_rows() -> None:
    """A file that was cut off is not a market that shrank."""
    with pytest.raises(UsageError, match=r"holds 5 rows, expected at least 6 \(market\.symbol_master\.min_rows\)"):
        SymbolMaster(texts_of(), DAY, 6, 5)


@pytest.mark.parametrize(("was", "becomes"), [(",11,65,", ",11,0,"), (",11,65,", ",11,x,"), (",65,0.10,", ",65,0,")])
def test_a_lot_or_tick_that_can_not_be(was: str, becomes: str) -> None:
    """Nothing is guessed for a contract."""
    master = SymbolMaster(broken("NSE_FO", was, becomes), DAY, 1, 5)
    with pytest.raises(UsageError, match="NSE:NIFTY26JANFUT: expected a lot and a tick above 0"):
        master.listing(JAN)


def test_copies(tmp_path: Path) -> None:
    """Read from the folder of their day; another day's say which file is missing."""
    put(tmp_path)
    assert SymbolMaster.cached(tmp_path, DAY, 1, 5).rows == 11
    with pytest.raises(UsageError, match=r"2026-01-06/NSE_CM\.csv can't be read"):
        SymbolMaster.cached(tmp_path, dt.date(2026, 1, 6), 1, 5)
