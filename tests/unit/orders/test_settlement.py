"""Contracts that are held when they end, on paper: at what they are settled, and that nothing is made up."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    SETTLEMENT,
    ContractClosing,
    Event,
    Fill,
    OrderAccepted,
    OrderIntent,
    Side,
    SymbolHalted,
    SymbolResumed,
)
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.settlement import Settlement
from daemon.settings.market import InstrumentSettings, MarketSettings
from tests.samples import DAY, ticks

CALENDAR = MarketCalendar()
FUTURE, CALL, PUT = "NSE:NIFTY26JANFUT", "NSE:NIFTY26JAN26000CE", "NSE:NIFTY26JAN26000PE"
STOCK, SHARE, INDEX, OTHER = "NSE:SBIN26JANFUT", "NSE:SBIN-EQ", "NSE:NIFTY50-INDEX", "NSE:NIFTYBANK-INDEX"
INSTRUMENTS = InstrumentBook(
    MarketSettings(instruments=[InstrumentSettings(symbol=STOCK, kind="future", lot_size=750)]), dt.date(2026, 1, 5)
)
LAST = dt.date(2026, 1, 27)
NOON, CLOSE = ist_ns(LAST, "12:00"), ist_ns(LAST, "15:30")


def settlement(**more: Any) -> Settlement:
    """Of NSE."""
    return Settlement(INSTRUMENTS, CostSchedule(), CALENDAR, **more)


def ended(held: dict[str, int], *seen: tuple[str, str, float], traded: int = -1) -> list[Event]:
    """What comes of `held` after ticks of (symbol, time of day, price) on the last day."""
    it = settlement()
    assert it.on_time(NOON, held) == []
    for symbol, clock, price in seen:
        it.on_ticks(ticks([ist_ns(LAST, clock)], [price], (symbol,), traded=[traded]))
    assert it.on_time(CLOSE - 1, held) == []
    return it.on_time(CLOSE, held)


def fill(events: list[Event]) -> Fill:
    """The one that there is."""
    (found,) = (event for event in events if isinstance(event, Fill))
    return found


def test_a_future_ends_at_the_average_of_the_last_half_hour() -> None:
    """Of its underlying: not before 15:00, not another index, not its own price; told, ordered, accepted, filled."""
    seen = [
        (INDEX, "14:59", 25000.0), (INDEX, "15:00", 26000.0), (OTHER, "15:10", 60000.0), (INDEX, "15:20", 26001.0),
        (FUTURE, "15:29", 26100.0),
    ]  # fmt: skip
    events = ended({FUTURE: 65}, *seen)
    closing, intent, _, done = events
    assert isinstance(closing, ContractClosing)
    assert isinstance(intent, OrderIntent)
    assert [type(event) for event in events[2:]] == [OrderAccepted, Fill]
    assert (closing.quantity, intent.strategy, intent.side, intent.quantity) == (65, SETTLEMENT, Side.SELL, 65)
    assert "NIFTY closed at 26000.50" in closing.reason
    assert (fill([done]).price, fill([done]).costs, fill([done]).ts) == (Decimal("26000.50"), 0, CLOSE)


@pytest.mark.parametrize(
    ("symbol", "quantity", "price", "costs"),
    [(CALL, 65, "100.30", "8.15"), (CALL, -65, "100.30", "0"), (PUT, 65, "0", "0"), (PUT, -65, "0", "0")],
)
def test_an_option_ends_at_what_it_is_worth(symbol: str, quantity: int, price: str, costs: str) -> None:
    """Intrinsic value; who holds one that is worth something pays STT of 0.125 % on that, who sold it pays none."""
    done = fill(ended({symbol: quantity}, (INDEX, "15:20", 26100.3)))
    assert (done.price, done.costs) == (Decimal(price), Decimal(costs))
    assert done.side.sign * done.quantity == -quantity


def test_a_share_counts_by_what_traded() -> None:
    """And a contract on it would end in delivery, which is said."""
    it = settlement()
    held = {STOCK: -750}
    it.on_time(NOON, held)
    at = ist_ns(LAST, "15:10")
    it.on_ticks(ticks([at, at + 1, at + 2], [800.0, 804.0, 900.0], (SHARE,), traded=[300, 100, 0]))
    events = it.on_time(CLOSE, held)
    assert fill(events).price == Decimal("801.00")
    assert isinstance(events[0], ContractClosing)
    assert "delivery" in events[0].reason


def test_since_the_closing_auction_the_last_quarter_counts() -> None:
    """Which on that day is from 15:00 on, too: the cash market's continuous trading ends at 15:15."""
    it, symbol, day = settlement(), "NSE:NIFTY26AUGFUT", dt.date(2026, 8, 25)
    it.on_time(ist_ns(day, "12:00"), {symbol: 65})
    for clock, price in (("14:59", 25000.0), ("15:00", 26000.0), ("15:14", 26001.0), ("15:20", 27000.0)):
        it.on_ticks(ticks([ist_ns(day, clock)], [price], (INDEX,)))
    events = it.on_time(ist_ns(day, "15:15"), {symbol: 65})
    assert fill(events).price == Decimal("26000.50")
    assert isinstance(events[0], ContractClosing)
    assert "of the last 15 minutes" in events[0].reason


def test_how_ticks_are_cut_changes_nothing() -> None:
    """One batch of two symbols, or a tick at a time."""
    start = ist_ns(LAST, "15:00")
    times = [start + second * NS_PER_S for second in range(60)]
    prices = [26000.05 + number * 0.35 for number in range(60)]
    whole, parts = settlement(), settlement()
    batch = ticks(times, prices, (INDEX, FUTURE), [number % 2 for number in range(60)])
    for it in (whole, parts):
        it.on_time(NOON, {FUTURE: 65})
    whole.on_ticks(batch)
    for row in range(60):
        parts.on_ticks(batch.slice(row, row + 1))
    assert whole.on_time(CLOSE, {FUTURE: 65}) == parts.on_time(CLOSE, {FUTURE: 65})


def test_without_the_underlying_its_own_last_price_counts() -> None:
    """Of that day; without one nothing is made up, however often it is asked."""
    assert fill(ended({FUTURE: 65}, (FUTURE, "10:00", 25990.0), (FUTURE, "14:00", 25995.5))).price == Decimal("25995.5")
    assert ended({FUTURE: 65}, (OTHER, "15:10", 60000.0)) == []
    it = settlement()
    it.on_time(NOON, {FUTURE: 65})
    assert [it.on_time(CLOSE + hour, {FUTURE: 65}) for hour in range(2)] == [[], []]


def test_what_is_closed_before_or_is_no_contract_is_left() -> None:
    """As is what ends another day."""
    it = settlement()
    it.on_time(NOON, {FUTURE: 65, SHARE: 10, "NSE:NIFTY26FEBFUT": 65})
    it.on_ticks(ticks([ist_ns(LAST, "15:10")], [26000.0], (INDEX,)))
    assert it.on_time(CLOSE, {FUTURE: 0, SHARE: 10, "NSE:NIFTY26FEBFUT": 65}) == []


def test_one_that_ended_while_no_process_was_there() -> None:
    """At the last price of its last day that an earlier one saw; a price of the day before is none."""
    morning = ist_ns(dt.date(2026, 1, 28), "09:15")
    seen = settlement(closes={FUTURE: (ist_ns(LAST, "15:15"), 26010.0), CALL: (ist_ns(LAST, "09:00") - 10**14, 50.0)})
    events = seen.on_time(morning, {FUTURE: 65, CALL: 65})
    assert (fill(events).symbol, fill(events).price) == (FUTURE, Decimal("26010.0"))
    assert seen.on_time(morning + 1, {FUTURE: 0, CALL: 65}) == []


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("before_a_restart", [False, True])
def test_what_a_corporate_action_made_another_of_is_not_settled(*, before_a_restart: bool, resumed: bool) -> None:
    """Its strike and quantity are of before: nothing is made up until a person says that they are right."""
    halted = SymbolHalted(ts=NOON, symbol=STOCK, reason="split", overnight=True)
    it = settlement(doubted=[STOCK]) if before_a_restart else settlement()
    if not before_a_restart:
        it.over_a_night(halted)
    if resumed:
        it.over_a_night(SymbolResumed(ts=NOON, symbol=STOCK, reason="right", overnight=True))
    it.on_time(NOON, {STOCK: 750})
    it.on_ticks(ticks([ist_ns(LAST, "15:20")], [160.0], (SHARE,)))
    assert bool(it.on_time(CLOSE, {STOCK: 750})) is resumed


def test_what_is_flagged_for_it_is_over_is_settled() -> None:
    """A process that wasn't there at the end finds it over, and settles it at what an earlier one saw."""
    it = settlement(closes={STOCK: (ist_ns(LAST, "15:00"), 801.0)})
    it.over_a_night(SymbolHalted(ts=CLOSE + DAY, symbol=STOCK, reason="over", overnight=True))
    assert fill(it.on_time(CLOSE + DAY, {STOCK: 750}) + it.on_time(CLOSE + DAY, {STOCK: 750})).price == 801
