"""Charges add up: however an order comes to be filled, it pays what it would have paid in one fill."""

import datetime as dt
from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.events import Side
from daemon.market.calendar import ist_ns
from daemon.market.costs import Charges, CostSchedule
from daemon.market.instruments import Instrument, InstrumentBook
from daemon.settings.market import MarketSettings
from tests.depth import examples

COSTS = CostSchedule()
BOOK = InstrumentBook(MarketSettings(), as_of=dt.date(2026, 4, 1))
SYMBOLS = ("SBIN", "NIFTY", "NSE:NIFTY26APR24000CE")
DAYS = tuple(ist_ns(dt.date.fromisoformat(day), "10:00") for day in ("2012-11-01", "2021-04-01", "2026-04-02"))
ZERO = Decimal(0)

fills_of_an_order = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(1, 600_000).map(lambda ticks: ticks * Decimal("0.05"))),
    min_size=1,
    max_size=40,
)
"""(units, price on the grid) of each fill."""


def thing(symbol: str) -> Instrument:
    """The instrument of that name."""
    found = BOOK.resolve(symbol)
    assert found is not None
    return found


def charged(symbol: str, side: Side, ts: int, fills: list[tuple[int, Decimal]]) -> list[Charges]:
    """What each fill of one order pays."""
    turnover, paid = ZERO, []
    for quantity, price in fills:
        paid.append(COSTS.charges(thing(symbol), side, quantity, price, ts, turnover))
        turnover += quantity * price
    return paid


@settings(max_examples=examples(300))
@given(
    symbol=st.sampled_from(SYMBOLS), side=st.sampled_from(Side), ts=st.sampled_from(DAYS), fills=fills_of_an_order,
    shuffle=st.randoms(use_true_random=False),
)  # fmt: skip
def test_an_order_in_parts_is_charged_as_the_order_at_once(
    symbol: str, side: Side, ts: int, fills: list[tuple[int, Decimal]], shuffle: object
) -> None:
    """Every component, to the paisa, in any order of the fills; nothing is ever paid back."""
    whole = COSTS.charges(thing(symbol), side, 1, sum((quantity * price for quantity, price in fills), ZERO), ts)
    parts = charged(symbol, side, ts, fills)
    shuffle.shuffle(fills)  # type: ignore[attr-defined]
    others = charged(symbol, side, ts, fills)
    for name in Charges.__struct_fields__:
        assert sum((getattr(part, name) for part in parts), ZERO) == getattr(whole, name), name
        assert sum((getattr(part, name) for part in others), ZERO) == getattr(whole, name), name
    assert sum((part.total for part in parts), ZERO) == whole.total
    assert all(amount >= ZERO for part in parts for amount in msgspec.structs.astuple(part))
