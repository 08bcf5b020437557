"""Market orders with protection: where their limit lies, and what stays as it was."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.events import OrderType, Side
from daemon.fyers.requests import protected
from daemon.market.instruments import Instrument, Kind
from daemon.orders.protection import Bounds
from tests.unit.sandbox.desk import order

NIFTY = Instrument("NSE:NIFTY26JANFUT", Kind.FUTURE, "NSE", 65, Decimal("0.10"), True)
HALF = Decimal("0.5")


@pytest.mark.parametrize(
    ("side", "last", "limit"),
    [(Side.BUY, "25000", "25125.0"), (Side.SELL, "25000", "24875.0"), (Side.BUY, "25000.3", "25125.3"),
     (Side.SELL, "25000.3", "24875.3"), (Side.SELL, "0.1", "0.1")],
)  # fmt: skip
def test_where_the_limit_lies(side: Side, last: str, limit: str) -> None:
    """Half a per cent beyond the last price, rounded to the tick towards it, at least a tick."""
    found = protected(order(side=side), Decimal(last), HALF, NIFTY)
    assert (found.type, found.limit_price) == (OrderType.LIMIT, Decimal(limit))


def test_a_stop_is_protected_from_its_own_price_on() -> None:
    """It trades when that is reached, wherever the price is now."""
    stop = order(side=Side.SELL, kind=OrderType.SL_MARKET, stop_price="24800")
    found = protected(stop, Decimal(25_000), HALF, NIFTY)
    assert (found.type, found.stop_price, found.limit_price) == (
        OrderType.SL_LIMIT, Decimal(24_800), Decimal("24676.0"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("exchange", "kind", "sent"),
    [("NSE", Kind.OPTION, OrderType.SL_LIMIT), ("BSE", Kind.EQUITY, OrderType.SL_LIMIT),
     ("BSE", Kind.FUTURE, OrderType.SL_LIMIT), ("NSE", Kind.FUTURE, OrderType.SL_MARKET),
     ("NSE", Kind.EQUITY, OrderType.SL_MARKET)],
)  # fmt: skip
def test_a_stop_at_market_has_a_limit_where_the_exchange_wants_one(exchange: str, kind: Kind, sent: OrderType) -> None:
    """Whatever is set: NSE takes none in options, BSE none at all. An order at market stays one."""
    instrument = Instrument("X:X", kind, exchange, 65, Decimal("0.05"), True)
    stop = order(side=Side.SELL, kind=OrderType.SL_MARKET, stop_price="90")
    found = protected(stop, Decimal(100), HALF, instrument, protects=False)
    assert (found.type, found.limit_price) == (sent, Decimal("89.55") if sent is OrderType.SL_LIMIT else None)
    assert protected(order(), Decimal(100), HALF, instrument, protects=False) == order()


def test_a_priced_order_stays() -> None:
    """Whoever named a price meant it."""
    limit = order(kind=OrderType.LIMIT, limit_price="800")
    assert protected(limit, Decimal(25_000), HALF, NIFTY) is limit


@given(st.decimals("0.05", "99999", places=2), st.decimals("0.01", "10", places=2), st.sampled_from(list(Side)))
def test_never_worse_than_the_protection(last: Decimal, percent: Decimal, side: Side) -> None:
    """On the grid, and not beyond the percentage, except that a price is at least a tick."""
    limit = protected(order(side=side), last, percent, NIFTY).limit_price
    assert limit is not None
    assert NIFTY.on_grid(limit)
    worst = last * (1 + side.sign * percent / 100)
    assert (worst - limit) * side.sign >= 0 or limit == NIFTY.tick_size


def test_protection_ends_at_the_days_band() -> None:
    """Beyond it the exchange would refuse the order."""
    for side, expected in ((Side.BUY, "25050.0"), (Side.SELL, "24950.0")):
        found = protected(order(side=side), Decimal(25_000), HALF, NIFTY, Bounds(Decimal(24_950), Decimal(25_050)))
        assert found.limit_price == Decimal(expected)
    assert protected(order(), Decimal(25_000), HALF, NIFTY, Bounds(None, None)) == protected(
        order(), Decimal(25_000), HALF, NIFTY
    )


def test_protection_widens_each_time_that_it_kept_an_exit_in() -> None:
    """Twice as far each time, up to a fifth; at least a tick for each."""
    for rested, limit in ((1, "99.0"), (2, "98.0"), (4, "92.0"), (6, "80.0"), (9, "80.0")):
        found = protected(order(side=Side.SELL), Decimal(100), HALF, NIFTY, Bounds(rested=rested))
        assert found.limit_price == Decimal(limit)
    found = protected(order(side=Side.SELL), Decimal("0.5"), HALF, NIFTY, Bounds(rested=2))
    assert found.limit_price == Decimal("0.3")
    wide = protected(order(), Decimal(100), Decimal(20), NIFTY, Bounds(rested=3))
    assert wide.limit_price == Decimal("120.0")
