"""Contracts that end: nothing is opened in them, what is held is closed, and what is over is left alone."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    Action,
    ContractClosing,
    Event,
    OrderDenied,
    OrderIntent,
    Resume,
    Side,
    SymbolHalted,
    TimeAdvanced,
    TradingState,
)
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.instruments import InstrumentBook
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.derivatives import DerivativeSettings
from daemon.settings.market import InstrumentSettings, MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import decide, intend, position_of, tick

CALENDAR = MarketCalendar()
FUTURE, OPTION, STOCK = "NSE:NIFTY26JANFUT", "NSE:NIFTY26JAN26000CE", "NSE:SBIN26JANFUT"
INSTRUMENTS = InstrumentBook(
    MarketSettings(instruments=[InstrumentSettings(symbol=STOCK, kind="future", lot_size=750)]), dt.date(2026, 1, 5)
)
LAST = dt.date(2026, 1, 27)
"""A Tuesday after a holiday: the session before is Friday's."""
WIDE: dict[str, Any] = {"max_order_notional": Decimal(10**8), "max_gross_notional": Decimal(10**9)}


def guard_of(**rules: Any) -> ExpiryGuard:
    """By the rules, on NSE's calendar."""
    return ExpiryGuard(DerivativeSettings(**rules), INSTRUMENTS, CALENDAR)


def at(day: dt.date, clock: str) -> int:
    """UTC ns of a time of day in India."""
    return ist_ns(day, clock)


class Desk:
    """A risk actor with a guard, and what it said since it was last asked."""

    def __init__(self, now: int, symbol: str, held: int = 0, price: float = 100.0, **rules: Any) -> None:
        self.clock, self.bus, self.said = ReplayClock(now), Bus(), list[Event]()
        self.bus.tap((OrderIntent, OrderDenied, ContractClosing, SymbolHalted), self.said.append)
        risk, book = RiskSettings(**WIDE), RiskBook()
        gate = RiskGate(risk, INSTRUMENTS, CALENDAR, 30, guard_of(**rules))
        builder = IntentBuilder(risk, ExecutionSettings(), INSTRUMENTS, "P")
        self.actor = RiskActor(self.bus, book, builder, gate, self.clock, CALENDAR, 20)
        if held:  # as an earlier process left it, on the same day
            book.restore([position_of(held, "100", symbol)], [], [], 0, Decimal(0))
            self.actor.restore(TradingState.ACTIVE, "")
        self.tell(tick(now, price, symbol))

    def tell(self, *events: Event) -> list[Event]:
        """Hand events over; what was said to them."""
        for event in events:
            if isinstance(event, TimeAdvanced):
                self.clock.advance(event.ts)
            self.actor.handle(event)
        said, self.said[:] = list(self.said), []
        return said


def test_the_last_day_of_an_index_contract() -> None:
    """Open to new positions until an hour before the close, and closed from then on."""
    guard = guard_of()
    assert guard.denial(FUTURE, at(LAST, "14:29")) is None
    assert guard.denial(FUTURE, at(LAST, "14:30")) == (
        "expiry", "a contract that isn't about to end", "it expires today",
    )  # fmt: skip
    assert (guard.due(FUTURE, at(LAST, "14:29")), guard.due(FUTURE, at(LAST, "14:30"))) == ("", "it expires today")
    assert guard.due(FUTURE, at(LAST - dt.timedelta(days=4), "15:20")) == ""
    assert guard_of(expiry_square_off_minutes=120).due(FUTURE, at(LAST, "13:30")) == "it expires today"
    assert guard.over(FUTURE, at(LAST, "15:29")) == ""
    assert guard.over(FUTURE, at(dt.date(2026, 1, 28), "09:00"))


@pytest.mark.parametrize(
    ("days", "day", "guarded"),
    [(1, 27, True), (1, 23, False), (2, 23, True), (2, 22, False), (3, 22, True)],
)
def test_delivery_is_guarded_by_sessions(days: int, day: int, guarded: bool) -> None:
    """Sessions count, not days: of 2026-01-24 to 26 none is one; an index contract has no such guard."""
    guard, now = guard_of(delivery_days=days), at(dt.date(2026, 1, day), "09:20")
    assert bool(guard.due(STOCK, now)) is guarded
    assert bool(guard.denial(STOCK, now)) is guarded
    assert not guard.due(FUTURE, now)


def test_an_unknown_expiry_is_not_opened() -> None:
    """And the line says how to tell it."""
    book = InstrumentBook(MarketSettings(), dt.date(2024, 1, 5))
    guard = ExpiryGuard(DerivativeSettings(), book, CALENDAR)
    denial = guard.denial("NSE:FINNIFTY24JANFUT", at(dt.date(2024, 1, 5), "10:00"))
    assert denial is not None
    assert denial[0] == "expiry"
    assert "expiry: DATE" in denial[1]
    assert guard.denial("NSE:NIFTY50-INDEX", 1) is guard.denial("NSE:SBIN-EQ", 1) is None


@pytest.mark.parametrize(
    ("symbol", "held", "day", "clock", "reason"),
    [
        (OPTION, 65, LAST, "14:30", "it expires today"),
        (FUTURE, -65, LAST, "14:30", "it expires today"),
        (STOCK, 750, dt.date(2026, 1, 23), "09:20", "it ends in delivery on 2026-01-27"),
    ],
)
def test_what_is_held_of_it_is_closed(symbol: str, held: int, day: dt.date, clock: str, reason: str) -> None:
    """After a restart too: it depends on the calendar and the time alone. It is said once."""
    desk = Desk(at(day, clock), symbol, held)
    desk.actor.book.day = 0
    said = desk.tell(TimeAdvanced(ts=at(day, clock)))
    (closing,) = [event for event in said if isinstance(event, ContractClosing)]
    (exit_,) = [event for event in said if isinstance(event, OrderIntent)]
    assert (closing.symbol, closing.quantity, closing.reason) == (symbol, held, reason)
    assert (exit_.quantity, exit_.reduces, exit_.side) == (abs(held), True, Side.SELL if held > 0 else Side.BUY)
    assert desk.tell(TimeAdvanced(ts=at(day, clock) + NS_PER_S)) == []


def test_an_hour_before_nothing_is_opened() -> None:
    """The same decision a minute earlier is an order."""
    for clock, denied in (("14:29", False), ("14:30", True)):
        now = at(LAST, clock)
        desk = Desk(now, FUTURE)
        said = desk.tell(decide(Action.BUY_LONG, 65, symbol=FUTURE, ts=now, price=100.0))
        assert any(isinstance(event, OrderDenied) and event.check == "expiry" for event in said) is denied


def test_what_is_over_is_never_traded() -> None:
    """It is flagged at the start, and neither the close of a day nor a person's resume sends an order for it."""
    day = dt.date(2026, 1, 28)
    desk = Desk(at(day, "09:20"), FUTURE, 65)
    said = desk.tell(TimeAdvanced(ts=at(day, "09:20")))
    (halted,) = said
    assert isinstance(halted, SymbolHalted)
    assert "expired on 2026-01-27 with 65 held" in halted.reason
    assert desk.actor.closing.flatten_reason == ""
    said = desk.tell(Resume(ts=at(day, "09:30"), reason="seen"), TimeAdvanced(ts=at(day, "15:12")))
    assert not [event for event in said if isinstance(event, OrderIntent)]
    denial = desk.actor._gate.check(
        intend("X", Side.SELL, 65, symbol=FUTURE, reduces=True, ts=at(day, "10:00")), desk.actor.book, at(day, "10:00")
    )
    assert denial == ("expiry", "a contract that still trades", "expired on 2026-01-27")


def test_what_is_over_takes_no_room() -> None:
    """The exchange has settled it, though the journal holds it: a sold option's strike would fill limits for ever."""
    day, option = dt.date(2026, 1, 28), "NSE:NIFTY26JAN26000PE"
    desk = Desk(at(day, "09:20"), option, -65)
    book = desk.actor.book
    desk.tell(TimeAdvanced(ts=at(day, "09:20")))
    assert book.gross_notional("") == book.net_notional("", Side.BUY) == 0
    book.cash = Decimal(1_000_000)
    gate = RiskGate(RiskSettings(), INSTRUMENTS, CALENDAR, 30, guard_of(), on_paper=True)
    assert gate.free(book) == book.equity


def check(intent: OrderIntent, book: RiskBook | None = None, price: float = 100.0, **rules: Any) -> Any:
    """Ask a gate at noon of a day in January; `risk` among the rules are limits."""
    limits = rules.pop("risk", WIDE)
    book = book or RiskBook(INSTRUMENTS)
    book.on_ticks(tick(intent.ts, price, intent.symbol))
    return RiskGate(RiskSettings(**limits), INSTRUMENTS, CALENDAR, 30, guard_of(**rules)).check(intent, book, intent.ts)


NOON = at(dt.date(2026, 1, 6), "12:00")


def order(side: Side, symbol: str = OPTION, quantity: int = 65, price: str = "100") -> OrderIntent:
    """An entry at noon."""
    return intend("T", side, quantity, symbol=symbol, ts=NOON, reference_price=Decimal(price))


def test_options_are_sold_only_where_that_is_allowed() -> None:
    """A bought one counts its premium; a sold one its strike, against every limit on rupees."""
    assert check(order(Side.BUY)) is None
    assert check(order(Side.SELL)) == ("option_selling", "options that are held (derivatives.sell_options)", "65")
    assert check(order(Side.SELL), sell_options=True) is None
    narrow = {"max_order_notional": Decimal(100_000), "max_gross_notional": Decimal(10**9)}
    assert check(order(Side.BUY), risk=narrow) is None
    assert check(order(Side.SELL), risk=narrow, sell_options=True) == ("order_notional", "100000", "1690000.00")


def test_the_margin_of_each_kind() -> None:
    """A bought option its premium, a sold one a share of its strike's worth, a future a share of its value."""
    gate = RiskGate(RiskSettings(margin_rate=0.25), INSTRUMENTS, CALENDAR, 30, guard_of(sold_option_margin_rate=0.15))
    assert gate.margin(order(Side.BUY)) == 6_500
    assert gate.margin(order(Side.SELL)) == Decimal(65 * 26_000) * Decimal("0.15")
    assert gate.margin(order(Side.BUY, FUTURE, 65, "26000")) == Decimal(65 * 26_000) * Decimal("0.25")
    own = RiskGate(RiskSettings(), INSTRUMENTS, CALENDAR, 30, guard_of(future_margin_rate=0.12))
    assert own.margin(order(Side.SELL, FUTURE, 65, "26000")) == Decimal(65 * 26_000) * Decimal("0.12")
    assert own.margin(order(Side.BUY, "NSE:SBIN-EQ", 100, "800")) == 16_000


def test_own_limits_let_a_lot_of_an_index_through() -> None:
    """By the family or the contract; a share is still held to the general ones, and so is an order beyond its own."""
    wide = {"max_gross_notional": Decimal(10**8)}
    lot = order(Side.BUY, FUTURE, 65, "26000")
    assert check(lot, price=26_000.0, risk=wide)[0] == "order_notional"
    for name in ("NSE:NIFTY-FUT", FUTURE):
        risk = {**wide, "limits": {name: {"max_order_notional": 2_000_000}}}
        assert check(lot, price=26_000.0, risk=risk) is None
        assert check(order(Side.BUY, FUTURE, 130, "26000"), price=26_000.0, risk=risk) == (
            "order_notional", "2000000", "3380000.00",
        )  # fmt: skip
        assert check(order(Side.BUY, "NSE:SBIN-EQ", 1000, "800"), price=800.0, risk=risk)[0] == "order_notional"
        made = IntentBuilder(RiskSettings(**risk), ExecutionSettings(), INSTRUMENTS, "P").build(
            decide(Action.BUY_LONG, 130, symbol=FUTURE, ts=NOON, price=26_000.0), RiskBook()
        )
        assert made is not None
        assert made.quantity == 65, "cut to what its own limit leaves"


def test_a_sold_option_counts_its_strike_in_the_gross() -> None:
    """What it may cost is its underlying's to say, not the premium's."""
    book = RiskBook(INSTRUMENTS)
    assert check(order(Side.SELL), book, sell_options=True) is None
    book.order_opened(order(Side.SELL))
    assert book.gross_notional("") == 65 * 26_000


def test_a_sold_option_of_an_earlier_process_or_of_the_app_counts_its_strike_too() -> None:
    """Nobody asked this gate about it."""
    sold = position_of(-65, "100", OPTION)
    held = RiskBook(INSTRUMENTS)
    held.restore([sold], [], [], 0, Decimal(0))
    assert held.gross_notional("") == 65 * 26_000
    wide = {"max_gross_notional": Decimal(65 * 26_000 + 65 * 100)}
    other = "NSE:NIFTY26JAN26100CE"
    assert check(order(Side.BUY, other), held, risk=WIDE | wide) is None
    narrow = {"max_gross_notional": Decimal(65 * 26_000 + 65 * 100 - 1)}
    assert check(order(Side.BUY, other), held, risk=WIDE | narrow)[0] == "gross_notional"


def test_a_sold_option_counts_its_strike_in_the_net_where_it_adds_to_it() -> None:
    """Beside another sale its strike, beside a purchase no more than its premium."""
    held = RiskBook(INSTRUMENTS)
    held.restore([position_of(-65, "100", OPTION)], [], [], 0, Decimal(0))
    limits = WIDE | {"max_net_notional": Decimal(65 * 26_000)}
    sale = order(Side.SELL, FUTURE, 65, "26000")
    assert check(sale, held, price=26_000.0, risk=limits) == ("net_notional", "1690000", "-3380000.00")
    dear = order(Side.BUY, FUTURE, 130, "26000")
    assert check(dear, held, price=26_000.0, risk=limits) == ("net_notional", "1690000", "3373500.00")


def test_a_put_counts_the_other_way_in_the_net() -> None:
    """Sold it gains by a rise, as a future that is bought: together they are twice as much, not nothing."""
    put, limits = "NSE:NIFTY26JAN26000PE", WIDE | {"max_net_notional": Decimal(65 * 26_000)}

    def beside(symbol: str, quantity: int) -> RiskBook:
        book = RiskBook(INSTRUMENTS)
        book.restore([position_of(quantity, "100" if symbol == put else "26000", symbol)], [], [], 0, Decimal(0))
        return book

    sold, bought = order(Side.SELL, put), order(Side.BUY, put)
    future = order(Side.BUY, FUTURE, 65, "26000")
    twice = ("net_notional", "1690000", "3380000.00")
    assert check(sold, beside(FUTURE, 65), risk=limits, sell_options=True) == twice
    assert check(future, beside(put, -65), price=26_000.0, risk=limits) == twice
    assert check(sold, beside(FUTURE, -65), risk=limits, sell_options=True) is None
    assert check(bought, beside(FUTURE, 65), risk=limits) is None
    assert check(bought, beside(FUTURE, -65), risk=limits) == ("net_notional", "1690000", "-1696500.00")
    book = beside(FUTURE, 65)
    book.order_opened(sold)
    assert book.net_notional("", Side.BUY) == 2 * 65 * 26_000


def test_an_option_whose_strike_nobody_knows_is_not_sold() -> None:
    """What it may cost can't be said; what is held of it is sold like anything else."""
    own = InstrumentBook(
        MarketSettings(instruments=[InstrumentSettings(symbol="NSE:MYOPTION", kind="option", lot_size=65)]),
        dt.date(2026, 1, 5),
    )
    for allowed in (False, True):
        rules = DerivativeSettings(sell_options=allowed)
        book = RiskBook(own)
        book.on_ticks(tick(NOON, 100.0, "NSE:MYOPTION"))
        gate = RiskGate(RiskSettings(**WIDE), own, CALENDAR, 30, ExpiryGuard(rules, own, CALENDAR))
        sale = order(Side.SELL, "NSE:MYOPTION")
        assert (denial := gate.check(sale, book, NOON)) is not None
        assert denial[0] == "option_selling"
        book.restore([position_of(65, "100", "NSE:MYOPTION")], [], [], 0, Decimal(0))
        assert gate.check(sale, book, NOON) is None
