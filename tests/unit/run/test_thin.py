"""What is said of orders that came to more than all that traded meanwhile."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import Bar, Fill, Side
from daemon.market.calendar import ist_ns
from daemon.run.thin import ThinBars
from tests.samples import SBIN

OPEN = ist_ns(dt.date(2026, 1, 5), "09:15")
MINUTE = 60 * NS_PER_S


def fill(second: float, quantity: int) -> Fill:
    """So long after the open."""
    return Fill(
        ts=OPEN + int(second * NS_PER_S), fill_id=f"{second}", order_id="R1", symbol=SBIN, side=Side.BUY,
        quantity=quantity, price=Decimal(800), costs=Decimal(1),
    )  # fmt: skip


def bar(minute: int, volume: int, high: float = 800.0) -> Bar:
    """The first one is minute 0."""
    start = OPEN + minute * MINUTE
    return Bar(
        symbol=SBIN, interval="1m", ts_open=start, ts_close=start + MINUTE, open=800.0, high=high, low=800.0,
        close=800.0, volume=volume, ticks=1, gap=False,
    )  # fmt: skip


def words(*events: Fill | Bar) -> str:
    """What is said of them."""
    thin = ThinBars()
    for event in events:
        if isinstance(event, Fill):
            thin.fill(event)
        else:
            thin.bar(event)
    return thin.words()


def test_what_is_filled_beyond_all_that_traded_is_told() -> None:
    """The fills of a bar count together; one after its end, before it is told of, is the next one's."""
    told = words(fill(1, 60), fill(2, 50), fill(60.5, 7), bar(0, 100), bar(1, 5), bar(2, 0))
    first = f"the first: {SBIN} on 05 Jan 2026 09:15, 110 filled where 100 traded"
    assert told.startswith(f"more was filled in 2 bars than traded in the market ({first})")


@pytest.mark.parametrize("volume", [110, 1000])
def test_what_the_market_traded_is_not_told(volume: int) -> None:
    """As much as traded is to be had."""
    assert words(fill(1, 60), fill(2, 50), bar(0, volume)) == ""


@pytest.mark.parametrize(
    "told", [pytest.param(bar(0, -1), id="nobody counts"), pytest.param(bar(0, 0, 801.0), id="it moved")]
)
def test_where_nobody_knows_what_traded_nothing_is_told(told: Bar) -> None:
    """Another note says of a tape that its volume stands still."""
    assert words(fill(1, 60), told) == ""
