"""OpenAlgo's messages, as its documentation has them, and as records of ours."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from daemon.calls.records import WireError
from daemon.core.clock import IST_OFFSET_NS, NS_PER_S
from daemon.core.events import OrderType, Side
from daemon.market.instruments import Instrument, InstrumentBook, Kind
from daemon.market.records import Quote
from daemon.openalgo import wire
from daemon.openalgo.symbols import SHARES, Names
from daemon.orders.venue import OrderStatus
from daemon.settings.market import MarketSettings
from tests.unit.market.masters import DAY, master_of

ORDER: dict[str, Any] = {
    "action": "BUY", "symbol": "YESBANK", "exchange": "NSE", "orderid": "250408001002736", "product": "MIS",
    "quantity": "5", "price": 16.5, "pricetype": "LIMIT", "order_status": "open", "trigger_price": 0.0,
    "timestamp": "08-Apr-2025 14:13:45",
}  # fmt: skip
TRADE: dict[str, Any] = {
    "action": "SELL", "symbol": "NHPC", "exchange": "NSE", "orderid": "7", "product": "MIS", "quantity": 3.0,
    "average_price": Decimal("83.74"), "timestamp": "14:28:49", "trade_value": Decimal("251.22"),
}  # fmt: skip
PLACED = 1_744_101_825 * NS_PER_S  # 14:13:45 in India


def test_an_order() -> None:
    """Of the book: texts and numbers as they come."""
    (order,) = wire.orders({"data": {"orders": [ORDER]}})
    assert (order.venue_id, order.tag, order.symbol, order.side) == ("250408001002736", "", "NSE:YESBANK-EQ", Side.BUY)
    assert (order.type, order.quantity, order.filled, order.limit_price) == (OrderType.LIMIT, 5, 0, Decimal("16.5"))
    assert (order.status, order.product, order.ts) == (OrderStatus.PENDING, "INTRADAY", PLACED)


def test_words_in_any_letters() -> None:
    """Brokers' adapters hand some on as they come."""
    order = wire.read_order({**ORDER, "pricetype": "Limit", "action": "buy", "product": "mis"})
    assert (order.type, order.side, order.product) == (OrderType.LIMIT, Side.BUY, "INTRADAY")


@pytest.mark.parametrize(
    ("said", "status", "final"),
    [
        ("complete", OrderStatus.FILLED, True), ("cancelled", OrderStatus.CANCELLED, True),
        ("rejected", OrderStatus.REJECTED, True), ("trigger pending", OrderStatus.PENDING, False),
        ("Open", OrderStatus.PENDING, False), ("put order req received", OrderStatus.OTHER, False),
    ],
)  # fmt: skip
def test_states(said: str, status: OrderStatus, *, final: bool) -> None:
    """What nobody documented is no end."""
    order = wire.read_order({**ORDER, "order_status": said})
    assert (order.status, order.status.final) == (status, final)
    assert order.filled == (5 if status is OrderStatus.FILLED else 0)


@pytest.mark.parametrize(
    "text",
    [
        "08-Apr-2025 14:13:45", "2025-04-08 14:13:45", "2025-04-08 14:13:45+05:30", "2025-04-08T08:43:45+00:00",
        "14:13:45 08-04-2025",
    ],
)  # fmt: skip
def test_times_in_the_forms_of_many_brokers(text: str) -> None:
    """In India where no zone is told."""
    assert wire.parse_time({"timestamp": text}) == PLACED


def test_times_that_are_numbers_or_none() -> None:
    """Seconds or milliseconds; what can't be read is 0."""
    assert wire.parse_time({"timestamp": PLACED // 1_000_000}) == wire.parse_time({"timestamp": PLACED // NS_PER_S})
    assert wire.parse_time({"timestamp": PLACED // NS_PER_S}) == PLACED
    assert (wire.parse_time({"timestamp": "soon"}), wire.parse_time({})) == (0, 0)


def test_trades_are_told_apart_by_what_they_say() -> None:
    """Two that say the same are two, in whatever order and company they come; their day is the orders'."""
    other = {**TRADE, "orderid": "8"}
    first, _, second = wire.trades({"data": [TRADE, other, TRADE]}, PLACED)
    assert first.trade_id != second.trade_id
    assert {it.trade_id for it in wire.trades({"data": [TRADE, TRADE]}, PLACED)} == {first.trade_id, second.trade_id}
    assert (first.quantity, first.price, first.side) == (3, Decimal("83.74"), Side.SELL)
    assert (first.ts + IST_OFFSET_NS) % (24 * 3600 * NS_PER_S) == (14 * 3600 + 28 * 60 + 49) * NS_PER_S
    assert abs(first.ts - PLACED) < 3600 * NS_PER_S


def test_a_trade_whose_units_only_its_value_tells() -> None:
    """As the documentation shows one; without a value it can't be read, and 0 units are never booked."""
    (trade,) = wire.trades({"data": [{**TRADE, "quantity": 0.0}]}, PLACED)
    assert trade.quantity == 3
    with pytest.raises(WireError, match="quantity"):
        wire.trades({"data": [{**TRADE, "quantity": 0, "trade_value": 0}]}, PLACED)


def test_positions_and_what_the_day_bought_of_them() -> None:
    """Signed, under our product."""
    row = {"symbol": "NHPC", "exchange": "NSE", "product": "MIS", "quantity": "-3", "average_price": "83.74"}
    traded = [("INTRADAY", it) for it in wire.trades({"data": [TRADE]}, PLACED)]
    (held,) = wire.positions({"data": [row]}, traded)
    assert (held.symbol, held.product, held.quantity) == ("NSE:NHPC-EQ", "INTRADAY", -3)
    assert (held.bought, held.sold, held.sell_average) == (0, 3, Decimal("83.74"))


def test_funds_and_quotes() -> None:
    """Numbers that are texts; a symbol without a quote says why."""
    money = {"availablecash": "320.66", "utiliseddebits": "679.34", "m2mrealized": "3.27", "collateral": "0.00"}
    funds = wire.funds({"data": money})
    assert (funds.total, funds.available, funds.realised) == (Decimal("1000.00"), Decimal("320.66"), Decimal("3.27"))
    rows = [{"symbol": "TCS", "exchange": "NSE", "data": {"ltp": 3162.9, "bid": 0, "ask": 1, "volume": 7}},
            {"symbol": "X", "exchange": "NSE", "error": "not found"}]  # fmt: skip
    known, unknown = wire.quotes({"results": rows})
    assert known == Quote(symbol="NSE:TCS-EQ", last=Decimal("3162.9"), ask=Decimal(1), volume=7)
    assert unknown.error == "not found"


def test_candles() -> None:
    """Of a day of minutes."""
    row = {"timestamp": "2025-04-01 09:15:00+05:30", "open": 766.5, "high": 774, "low": 763.2, "close": 772.5,
           "volume": 318625}  # fmt: skip
    (candle,) = wire.candles({"data": [row]})
    assert candle.start_s == 1_743_479_100  # 09:15 in India
    assert (candle.open, candle.close, candle.volume) == (766.5, 772.5, 318625)


@pytest.mark.parametrize("change", [{"orderid": None}, {"quantity": "1.5"}, {"quantity": ""}, {"price": "cheap"},
                                    {"action": "HOLD"}, {"symbol": 5}])  # fmt: skip
def test_a_row_that_cannot_be_read(change: dict[str, Any]) -> None:
    """Is an error, and never half a record."""
    with pytest.raises(WireError):
        wire.read_order({**ORDER, **change})


def test_symbols_go_there_and_back() -> None:
    """Shares of NSE and known indices; where nobody tells when a contract ends nothing else has a name there."""
    for symbol in ("NSE:SBIN-EQ", "NSE:M&M-EQ", "NSE:NIFTY50-INDEX", "NSE:NIFTYBANK-INDEX", "BSE:SENSEX-INDEX"):
        named = SHARES.theirs(symbol)
        assert named is not None
        assert SHARES.ours(*named) == symbol
    for symbol in ("NSE:NIFTY26JANFUT", "BSE:SBIN-A", "NSE:UNHEARD-INDEX", "MCX:GOLD26FEBFUT"):
        assert SHARES.theirs(symbol) is None
    assert SHARES.ours("NIFTY29JAN26FUT", "NFO") == "NFO:NIFTY29JAN26FUT"


CONTRACTS = {
    "NSE:NIFTY26NOVFUT": ("NIFTY24NOV26FUT", "NFO"), "NSE:BAJAJ-AUTO26NOVFUT": ("BAJAJ-AUTO24NOV26FUT", "NFO"),
    "NSE:NIFTY26NOV24000CE": ("NIFTY24NOV2624000CE", "NFO"), "NSE:NIFTY26N1024000PE": ("NIFTY10NOV2624000PE", "NFO"),
    "NSE:VEDL26NOV292.5CE": ("VEDL24NOV26292.5CE", "NFO"), "BSE:SENSEX2611582000CE": ("SENSEX15JAN2682000CE", "BFO"),
    "NSE:360ONE26NOVFUT": ("360ONE24NOV26FUT", "NFO"),
}  # fmt: skip


def test_contracts_are_named_by_their_day_of_expiry() -> None:
    """The symbol master tells it: futures, options of the month and of a week, strikes with a fraction."""
    month = dt.date(2026, 11, 24)
    days = {"NSE:NIFTY26N1024000PE": dt.date(2026, 11, 10), "BSE:SENSEX2611582000CE": dt.date(2026, 1, 15)}

    def resolve(symbol: str) -> Instrument | None:
        known = Instrument(symbol, Kind.FUTURE, "NSE", 1, Decimal("0.05"), True, expiry=days.get(symbol, month))
        return known if symbol in CONTRACTS else None

    names = Names(resolve)
    for symbol, theirs in CONTRACTS.items():
        assert names.theirs(symbol) == theirs
        assert names.ours(*theirs) == symbol
    for unknown in ("NIFTY25NOV26FUT", "NIFTY31FEB26FUT", "NIFTY24NOV26"):  # of other days, and of none
        assert names.ours(unknown, "NFO") == f"NFO:{unknown}"


def test_the_instruments_tell_when_a_contract_ends() -> None:
    """A master's word before that of the settings, before the name's; currencies have no name, nor have guesses."""
    book = InstrumentBook(
        MarketSettings.model_validate(
            {"instruments": [
                {"symbol": "NSE:SBIN26JANFUT", "kind": "future", "lot_size": 750, "expiry": "2026-01-22"},
            ]}
        ), dt.date(2026, 1, 5),
    )  # fmt: skip
    names = Names(book.resolve)
    for symbol, theirs in {
        "NSE:NIFTY26JANFUT": ("NIFTY27JAN26FUT", "NFO"), "NSE:SBIN26JANFUT": ("SBIN22JAN26FUT", "NFO"),
        "NSE:NIFTY2610626000CE": ("NIFTY06JAN2626000CE", "NFO"),
        "NSE:NIFTY26JAN26000PE": ("NIFTY27JAN2626000PE", "NFO"),
        "BSE:SENSEX26JAN82000CE": ("SENSEX29JAN2682000CE", "BFO"),
    }.items():  # fmt: skip
        assert names.theirs(symbol) == theirs
        assert names.ours(*theirs) == symbol
    for unknown in ("NSE:USDINR26JANFUT", "NSE:USDINR2610985CE", "NSE:NIFTY-FUT1", "MCX:GOLD26FEBFUT"):
        assert names.theirs(unknown) is None
    with_master = Names(InstrumentBook(MarketSettings(), DAY, master_of(DAY)).resolve)
    assert with_master.theirs("NSE:NIFTY26JANFUT") == ("NIFTY27JAN26FUT", "NFO")
    assert with_master.theirs("NSE:SBIN26JANFUT") is None
