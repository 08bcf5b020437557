"""A lot that no limit lets through is told of at its first price."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.market.instruments import InstrumentBook
from daemon.risk.book import RiskBook
from daemon.risk.lots import LotWatch, lot_words
from daemon.settings.market import InstrumentSettings, MarketSettings
from daemon.settings.risk import RiskSettings
from tests.samples import MINUTE, OPEN, SBIN, tick

FUTURE = "NSE:NIFTY26JANFUT"
BOOK = InstrumentBook(MarketSettings(instruments=[InstrumentSettings(symbol=FUTURE, kind="future", lot_size=75)]))


def test_a_lot_beyond_the_limit_is_told_of_once() -> None:
    """With its value, the limit and the setting; an instrument that fits is nothing to speak of."""
    watch, book = LotWatch(BOOK), RiskBook()
    assert watch.look((FUTURE, SBIN), book, RiskSettings()) == [], "nothing has a price yet"
    for symbol, price in ((FUTURE, 24_800.0), (SBIN, 800.0)):
        book.on_ticks(tick(OPEN + MINUTE, price, symbol))
    (line,) = watch.look((FUTURE, SBIN), book, RiskSettings())
    assert line == (
        "NSE:NIFTY26JANFUT: every entry will be denied: a lot of 75 is worth 1,860,000.00, "
        "risk.max_order_notional is 500,000 and risk.max_gross_notional is 1,500,000; "
        "risk.limits can give NSE:NIFTY-FUT its own"
    )
    assert watch.look((FUTURE, SBIN), book, RiskSettings()) == []


@pytest.mark.parametrize("lot", [70, 71])
def test_a_lot_of_exactly_the_limit_is_let_through(lot: int) -> None:
    """One unit more is not."""
    said = lot_words(FUTURE, lot, Decimal(100), RiskSettings(max_order_quantity=70))
    assert bool(said) is (lot == 71)
