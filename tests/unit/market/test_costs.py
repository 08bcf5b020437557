"""The cost schedule against figures worked out by hand and against published ones."""

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.errors import UsageError
from daemon.core.events import Side
from daemon.market.calendar import ist_ns
from daemon.market.costs import Charges, CostSchedule
from daemon.market.instruments import Instrument, InstrumentBook
from daemon.settings.market import MarketSettings


@pytest.fixture(scope="module")
def costs() -> CostSchedule:
    """The packaged schedule."""
    return CostSchedule()


def instrument(symbol: str) -> Instrument:
    """What the grammar makes of `symbol`."""
    found = InstrumentBook(MarketSettings()).resolve(symbol)
    assert found is not None
    return found


def at(day: str, clock: str = "10:00") -> int:
    """A moment in India."""
    return ist_ns(dt.date.fromisoformat(day), clock)


def round_trip_bp(costs: CostSchedule, symbol: str, quantity: int, price: str, day: str) -> float:
    """Costs of buying and selling at one price, basis points of one leg."""
    amount = sum(
        (costs.charges(instrument(symbol), side, quantity, Decimal(price), at(day)).total for side in Side), Decimal(0)
    )
    return float(amount / (quantity * Decimal(price)) * 10_000)


@pytest.mark.parametrize(
    ("quantity", "price", "day", "expected"),
    [
        (65, "24250", "2026-04-01", 5.95),  # STT 0.05 %
        (65, "24250", "2026-03-31", 2.95),  # STT 0.02 %, the lot of 2026
        (75, "24250", "2025-06-02", 2.91),  # STT 0.02 %, the lot of 2025
        (75, "14500", "2021-04-01", 2.13),  # STT 0.01 %, lot and level of 2021
        (65, "24250", "2023-03-31", 2.00),  # STT 0.01 %, exchange charge of 2023
    ],
)
def test_nifty_future_round_trip(costs: CostSchedule, quantity: int, price: str, day: str, expected: float) -> None:
    """A NIFTY round trip costs what design notes and brokers' calculators say, in basis points."""
    assert round_trip_bp(costs, "NIFTY", quantity, price, day) == pytest.approx(expected, abs=0.006)
    assert round_trip_bp(costs, "NSE:NIFTY26APRFUT", quantity, price, day) == pytest.approx(expected, abs=0.006)


def test_equity_intraday_round_trip(costs: CostSchedule) -> None:
    """An intraday round trip of Rs 5 lakh costs about 4.5 bp."""
    assert round_trip_bp(costs, "RELIANCE", 250, "2000", "2026-05-04") == pytest.approx(4.49, abs=0.01)


def test_components_of_a_future_sold(costs: CostSchedule) -> None:
    """65 NIFTY sold at 24,250 in April 2026, each component by hand; total is their sum."""
    charges = costs.charges(instrument("NIFTY"), Side.SELL, 65, Decimal(24250), at("2026-04-01"))
    assert charges == Charges(
        brokerage=Decimal("20.00"), stt=Decimal("788.13"), exchange=Decimal("27.27"), sebi=Decimal("1.58"),
        stamp=Decimal("0.00"), ipft=Decimal("1.58"), gst=Decimal("8.79"),
    )  # fmt: skip
    assert charges.total == Decimal("847.35")


def test_components_of_a_share_bought(costs: CostSchedule) -> None:
    """10 shares bought at 2,000: brokerage is 0.03 % below its cap, no STT on the buy side, stamp duty."""
    charges = costs.charges(instrument("SBIN"), Side.BUY, 10, Decimal(2000), at("2021-04-01"))
    assert charges == Charges(
        brokerage=Decimal("6.00"), stt=Decimal("0.00"), exchange=Decimal("0.69"), sebi=Decimal("0.02"),
        stamp=Decimal("0.60"), ipft=Decimal("0.00"), gst=Decimal("1.21"),
    )  # fmt: skip


def test_options_are_charged_on_the_premium(costs: CostSchedule) -> None:
    """65 options sold at a premium of 100 in 2026: STT 0.15 %, exchange 0.03503 %, IPFT Rs 50 per crore."""
    charges = costs.charges(instrument("NSE:NIFTY26APR24000CE"), Side.SELL, 65, Decimal(100), at("2026-04-02"))
    assert (charges.stt, charges.exchange, charges.ipft, charges.brokerage) == (
        Decimal("9.75"), Decimal("2.28"), Decimal("0.03"), Decimal("20.00"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "before", "on", "component"),
    [
        ("NIFTY", "2026-03-31", "2026-04-01", "stt"),
        ("NIFTY", "2024-09-30", "2024-10-01", "exchange"),
        ("SBIN", "2020-06-30", "2020-07-01", "stamp"),
        ("SBIN", "2017-06-30", "2017-07-01", "gst"),
        ("SBIN", "2023-03-31", "2023-04-01", "ipft"),
    ],
)
def test_rates_change_at_midnight_in_india(
    costs: CostSchedule, symbol: str, before: str, on: str, component: str
) -> None:
    """The last nanosecond of a rate's last day has the old rate, the first of the next day the new."""
    thing, midnight = instrument(symbol), at(on, "00:00")
    old, evening, morning, new = (
        getattr(costs.charges(thing, Side.SELL, 1000, Decimal(1500), ts), component)
        for ts in (at(before), midnight - 1, midnight, at(on))
    )
    assert old == evening != morning == new


@pytest.mark.parametrize("symbol", ["SBIN", "NIFTY"])
def test_brokerage_is_capped_by_order(costs: CostSchedule, symbol: str) -> None:
    """The fills of one order pay the brokerage of the order done at once."""
    thing, price, ts = instrument(symbol), Decimal("400.05"), at("2026-05-04")
    whole = costs.charges(thing, Side.BUY, 650, price, ts).brokerage
    parts, turnover = Decimal(0), Decimal(0)
    for quantity in (65, 130, 195, 260):
        parts += costs.charges(thing, Side.BUY, quantity, price, ts, turnover).brokerage
        turnover += quantity * price
    assert parts == whole == Decimal("20.00")


def test_before_the_schedule(costs: CostSchedule) -> None:
    """A trade before the first rate is refused, with the first date."""
    with pytest.raises(UsageError, match=r"SBIN: a trade on 2009-12-31 .* begins on 2010-01-01"):
        costs.charges(instrument("SBIN"), Side.BUY, 1, Decimal(100), at("2009-12-31"))


def test_a_flat_brokerage_is_flat(costs: CostSchedule) -> None:
    """A lot of an option that is worth nothing any more costs its order's Rs 20 too, in however many fills."""
    option, ts = instrument("NSE:NIFTY26JAN26000CE"), at("2026-01-20")
    assert costs.charges(option, Side.SELL, 65, Decimal("0.05"), ts).brokerage == 20
    assert costs.charges(option, Side.SELL, 65, Decimal("0.05"), ts, Decimal("3.25")).brokerage == 0
    assert costs.charges(instrument("SBIN"), Side.SELL, 1, Decimal(100), ts).brokerage == Decimal("0.03")


def test_an_exercise_pays_on_what_the_option_is_worth(costs: CostSchedule) -> None:
    """65 that end 200 in the money: 0.15 % of 13,000 since April 2026, 0.125 % before; until 2019-08 of the whole."""
    call, put = (instrument(f"NSE:NIFTY26JAN26000{right}") for right in ("CE", "PE"))
    worth = Decimal(200)
    assert costs.exercise(call, 65, worth, at("2026-04-28")).total == Decimal("19.50")
    assert costs.exercise(put, 65, worth, at("2026-03-30")).total == Decimal("16.25")
    assert costs.exercise(call, 65, worth, at("2019-08-29")).total == Decimal("2128.75")
    assert costs.exercise(put, 65, worth, at("2019-08-29")).total == Decimal("2096.25")
    with pytest.raises(UsageError, match="an exercise on 2009-08-27 lies before"):
        costs.exercise(call, 65, worth, at("2009-08-27"))


@pytest.mark.parametrize(
    ("symbol", "price", "stt", "exchange", "stamp"),
    [
        ("BSE:SENSEX26APR85000CE", "100", "15.00", "3.25", "0.00"),
        ("BSE:SENSEX26APRFUT", "85000", "4250.00", "0.00", "0.00"),
        ("BSE:SBIN-A", "800", "20.00", "3.00", "0.00"),
        ("NSE:USDINR26APRFUT", "90", "0.00", "0.03", "0.00"),
        ("MCX:GOLD26APRFUT", "150000", "1500.00", "315.00", "0.00"),
    ],
)
def test_other_exchanges_have_rates_of_their_own(
    costs: CostSchedule, symbol: str, price: str, stt: str, exchange: str, stamp: str
) -> None:
    """What 100 units cost when they are sold; STT and stamp duty are the country's, the charge is the exchange's."""
    charges = costs.charges(instrument(symbol), Side.SELL, 100, Decimal(price), at("2026-05-04"))
    assert (charges.stt, charges.exchange, charges.stamp) == (Decimal(stt), Decimal(exchange), Decimal(stamp))


@pytest.mark.parametrize("symbol", ["BSE:SBIN-A", "MCX:GOLD26APRFUT", "NSE:USDINR26APRFUT", "BSE:SENSEX26APRFUT"])
def test_what_no_source_covers_is_refused(costs: CostSchedule, symbol: str) -> None:
    """With the first date that one does."""
    with pytest.raises(UsageError, match=r"lies before the cost schedule, which begins on 20(22-12|24-10)-01"):
        costs.charges(instrument(symbol), Side.BUY, 100, Decimal(100), at("2022-11-30"))


def test_an_exchange_without_rates_is_refused(costs: CostSchedule) -> None:
    """A share of MCX is nothing that anybody priced."""
    with pytest.raises(UsageError, match="MCX:X-EQ: no charges of MCX equity are known"):
        costs.charges(instrument("MCX:X-EQ"), Side.BUY, 1, Decimal(100), at("2026-05-04"))
