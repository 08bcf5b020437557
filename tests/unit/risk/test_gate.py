"""Every check of the gate, at its limit and one beyond."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.core.clock import NS_PER_S
from daemon.core.events import PROTECTION, OrderIntent, OrderType, Side, TradingState
from daemon.core.pairs import STOP
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.instruments import InstrumentBook
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.lease import Lease
from daemon.settings.market import InstrumentSettings, MarketSettings
from daemon.settings.risk import RiskSettings
from tests.samples import CLOSE, MINUTE, OPEN, RELIANCE, SBIN, fill_of, intend, position_of, tick

NOON = OPEN + 60 * MINUTE
FUTURE = "NSE:NIFTY26JANFUT"


@pytest.fixture(scope="module")
def calendar() -> MarketCalendar:
    """NSE's."""
    return MarketCalendar()


@pytest.fixture
def book() -> RiskBook:
    """A fresh tick of each symbol, nothing held."""
    book = RiskBook()
    for symbol, price in ((SBIN, 800.0), (RELIANCE, 1000.0), (FUTURE, 100.0), ("NIFTY", 24_000.0)):
        book.on_ticks(tick(NOON, price, symbol))
    return book


Check = Any


@pytest.fixture
def check(book: RiskBook, calendar: MarketCalendar) -> Check:
    """Ask a gate under the given limits about an intent on `book`."""
    listed = [InstrumentSettings(symbol=FUTURE, kind="future", lot_size=75)]

    def ask(intent: OrderIntent, market: dict[str, Any] | None = None, **limits: Any) -> tuple[str, str, str] | None:
        instruments = InstrumentBook(MarketSettings(instruments=listed, **(market or {})))
        return RiskGate(RiskSettings(**limits), instruments, calendar, 30).check(intent, book, intent.ts)

    return ask


def hold(book: RiskBook, quantity: int, symbol: str = SBIN) -> None:
    """Put a position into the book, as fills do."""
    side = Side.BUY if quantity > 0 else Side.SELL
    book.on_fill(fill_of(intend("held", side, abs(quantity), symbol=symbol)))


def test_an_ordinary_order_passes(check: Check) -> None:
    """Within all limits nothing is said."""
    assert check(intend()) is None
    assert check(intend(side=Side.SELL)) is None


def test_an_unknown_symbol_is_denied(check: Check) -> None:
    """The denial names the symbol."""
    assert check(intend(symbol="?"), {"unlisted": "reject"}) == ("instrument", "a known symbol", "?")


def test_what_can_not_be_traded_is_denied(check: Check) -> None:
    """An index, where it may not stand for its future."""
    denial = check(intend(symbol="NIFTY"), {"index_as_future": False})
    assert denial == ("instrument", "a tradeable instrument", "NIFTY is an index")


@pytest.mark.parametrize(
    ("quantity", "passes"), [(75, True), (150, True), (74, False), (76, False), (0, False), (-75, False)]
)
def test_whole_lots_only(check: Check, quantity: int, passes: bool) -> None:
    """A multiple of the lot passes, nothing else, and nothing that is not positive."""
    denial = check(intend(symbol=FUTURE, quantity=quantity, reference_price=Decimal(100)))
    assert denial == (None if passes else ("lot_size", "a multiple of 75", str(quantity)))


def test_what_is_held_in_another_lot_can_be_closed(check: Check, book: RiskBook) -> None:
    """A stop of all of it too; while whole lots are held an exit is of whole lots."""
    stop = intend(
        "stop", Side.SELL, 100, symbol=FUTURE, reduces=True, type=OrderType.SL_MARKET, stop_price=Decimal(99),
        strategy=PROTECTION, reason=STOP, reference_price=Decimal(100),
    )  # fmt: skip
    hold(book, 150, FUTURE)
    assert check(stop) == ("lot_size", "a multiple of 75", "100")
    hold(book, -50, FUTURE)
    assert check(stop) is None
    assert check(intend("x", Side.BUY, 100, symbol=FUTURE, reference_price=Decimal(100)))[0] == "lot_size"


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_no_entries_unless_active(check: Check, book: RiskBook, state: TradingState) -> None:
    """The denial names the state."""
    book.state = state
    assert check(intend()) == ("trading_state", "ACTIVE", state.value)


def test_what_nobody_knows_the_charges_of_is_not_opened(check: Check, book: RiskBook) -> None:
    """No fill of it could be booked; what is held is closed."""
    bse = {"symbol": "BSE:SBIN-A", "ts": ist_ns(dt.date(2020, 10, 22), "10:00")}
    denial = check(intend(**bse))
    assert denial[:2] == ("charges", "a trade whose charges are known")
    assert "a trade on 2020-10-22 lies before the cost schedule, which begins on 2022-12-01" in denial[2]
    hold(book, 10, "BSE:SBIN-A")
    assert check(intend(side=Side.SELL, quantity=10, reduces=True, **bse)) is None


def test_entries_need_a_session(check: Check, book: RiskBook) -> None:
    """Before the open and after the close nothing is opened; the denial says when it was, as a clock does."""
    for ts, when in ((OPEN - 1, "2026-01-05 09:14 IST"), (CLOSE, "2026-01-05 15:30 IST")):
        book.on_ticks(tick(ts, 800.0))
        assert check(intend(ts=ts)) == ("session", "inside a trading session", when)


def test_entries_end_before_the_close(check: Check, book: RiskBook) -> None:
    """A nanosecond before the last half hour an entry passes, at it none does."""
    book.on_ticks(tick(CLOSE - 30 * MINUTE, 800.0))
    assert check(intend(ts=CLOSE - 30 * MINUTE - 1)) is None
    assert check(intend(ts=CLOSE - 30 * MINUTE)) == (
        "session", "more than 30 minutes before the close", "30.0 minutes before the close",
    )  # fmt: skip


def test_a_feed_that_says_it_is_stale_opens_nothing(check: Check, book: RiskBook) -> None:
    """Of the symbol or of all; what closes goes through."""
    book.stale["NSE:TCS-EQ"] = "no recent tick"
    assert check(intend()) is None
    book.stale[SBIN] = "feed 800, quote 900"
    assert check(intend()) == ("stale_feed", "a feed that can be relied on", "feed 800, quote 900")
    book.stale = {None: "no ticks for 10.1 s"}
    assert check(intend())[2] == "no ticks for 10.1 s"
    hold(book, 100)
    assert check(intend(side=Side.SELL, reduces=True)) is None


def test_a_broker_out_of_sight_opens_nothing(check: Check, book: RiskBook) -> None:
    """In no symbol; exits leave."""
    hold(book, 10)
    book.unread = "not read for 46 s"
    denied = ("broker_unread", "a broker whose book and positions can be read", "not read for 46 s")
    assert check(intend()) == denied
    assert check(intend(symbol=RELIANCE)) == denied
    assert check(intend(side=Side.SELL, quantity=10, reduces=True)) is None


def test_a_stale_feed_opens_nothing(check: Check) -> None:
    """Sixty seconds after the last tick an entry passes, a nanosecond later not; a symbol without a tick never."""
    assert check(intend(ts=NOON + 60 * NS_PER_S)) is None
    denial = check(intend(ts=NOON + 61 * NS_PER_S))
    assert denial == ("stale_feed", "a tick within 60 s", "61.0 s")
    assert check(intend(symbol="NSE:TCS-EQ")) == ("stale_feed", "a tick within 60 s", "no tick of NSE:TCS-EQ so far")


def test_the_daily_loss_stops_entries(check: Check, book: RiskBook) -> None:
    """A paisa above the limit passes; at it, costs and open losses counted, nothing does."""
    book.start_day()
    book.on_position(position_of(0, realised_pnl=Decimal("-900"), costs=Decimal("99.99")))
    assert check(intend(), max_daily_loss=1000) is None
    book.on_position(position_of(0, realised_pnl=Decimal("-900"), costs=Decimal("100")))
    assert check(intend(), max_daily_loss=1000) == ("daily_loss", "above -1000", "-1000.00")
    book.on_position(position_of(10, "900"))
    assert check(intend(), max_daily_loss=1000) == ("daily_loss", "above -1000", "-1000.00")


def test_a_new_day_forgives_the_loss(check: Check, book: RiskBook) -> None:
    """What was lost before `start_day` doesn't count."""
    book.on_position(position_of(0, realised_pnl=Decimal("-5000")))
    assert check(intend(), max_daily_loss=1000) is not None
    book.start_day()
    assert check(intend(), max_daily_loss=1000) is None


def test_order_quantity(check: Check) -> None:
    """The limit itself passes."""
    assert check(intend(quantity=200), max_order_quantity=200) is None
    assert check(intend(quantity=201), max_order_quantity=200) == ("order_quantity", "200", "201")


def test_order_notional_at_the_worst_price(check: Check, book: RiskBook) -> None:
    """Of reference, limit and last price the highest counts."""
    assert check(intend(quantity=100), max_order_notional=80_000) is None
    assert check(intend(quantity=101), max_order_notional=80_000) == ("order_notional", "80000", "80800.00")
    limited = intend(quantity=100, limit_price=Decimal("800.05"))
    assert check(limited, max_order_notional=80_000) == ("order_notional", "80000", "80005.00")
    book.on_ticks(tick(NOON, 801.0))
    assert check(intend(quantity=100), max_order_notional=80_000) == ("order_notional", "80000", "80100.00")


@pytest.mark.parametrize("side", list(Side))
def test_position_counts_what_works(check: Check, book: RiskBook, side: Side) -> None:
    """Held plus working plus asked for may reach the limit and not pass it, on either side."""
    hold(book, side.sign * 50)
    book.order_opened(intend("T0", side, 30))
    assert check(intend(side=side, quantity=20), max_position_quantity=100) is None
    assert check(intend(side=side, quantity=21), max_position_quantity=100) == ("position", "100", "101")


def test_a_reversal_counts_what_it_leads_to(check: Check, book: RiskBook) -> None:
    """Short 50, buying 150 leads to long 100; a working exit must not be counted on to make room."""
    hold(book, -50)
    assert check(intend(quantity=150), max_position_quantity=100) is None
    assert check(intend(quantity=151), max_position_quantity=100) == ("position", "100", "101")
    hold(book, 150)  # now long 100, and an exit of it works that may never fill
    book.order_opened(intend("X", Side.SELL, 100, reduces=True))
    assert check(intend(quantity=1), max_position_quantity=100) == ("position", "100", "101")


def test_gross_notional_over_all_symbols(check: Check, book: RiskBook) -> None:
    """Held and working orders of other symbols count at their last prices, short ones too."""
    hold(book, -20, RELIANCE)  # 20,000
    book.order_opened(intend("T0", Side.SELL, 10, symbol=RELIANCE))  # 10,000
    assert check(intend(quantity=10), max_gross_notional=38_000) is None
    assert check(intend(quantity=11), max_gross_notional=38_000) == ("gross_notional", "38000", "38800.00")


def test_gross_counts_the_own_position_that_is_there(check: Check, book: RiskBook) -> None:
    """An entry against a larger position that may stay doesn't lower the gross."""
    hold(book, 100)
    assert check(intend(side=Side.SELL, quantity=10), max_gross_notional=79_999) == (
        "gross_notional", "79999", "80000.00",
    )  # fmt: skip


def exit_of(quantity: int, side: Side = Side.SELL, ts: int = NOON) -> OrderIntent:
    """An order that only closes."""
    return intend("X", side, quantity, reduces=True, ts=ts)


def test_exits_pass_every_limit_on_new_risk(check: Check, book: RiskBook) -> None:
    """Late, stale, over the daily loss, over every size, reducing: what closes goes through."""
    hold(book, 100)
    book.on_position(position_of(100, "800", realised_pnl=Decimal("-50000")))
    tight = {
        "max_order_quantity": 1, "max_position_quantity": 1, "max_order_notional": 1, "max_gross_notional": 1,
        "max_daily_loss": 1,
    }  # fmt: skip
    for state in TradingState:
        book.state = state
        for ts in (NOON, NOON + 3600 * NS_PER_S, CLOSE - 1, CLOSE + 1):
            assert check(exit_of(100, ts=ts), **tight) is None


def test_exits_when_halted_by_setting(check: Check, book: RiskBook) -> None:
    """With `exits_when_halted` off HALTED sends nothing; REDUCING still closes."""
    hold(book, 100)
    book.state = TradingState.HALTED
    denial = check(exit_of(100), exits_when_halted=False)
    assert denial == ("trading_state", "ACTIVE or REDUCING", "HALTED")
    book.state = TradingState.REDUCING
    assert check(exit_of(100), exits_when_halted=False) is None


def test_exits_close_no_more_than_is_open(check: Check, book: RiskBook) -> None:
    """Held less what is already being closed, on both sides; the wrong side closes nothing."""
    hold(book, 100)
    book.order_opened(intend("X0", Side.SELL, 40, reduces=True))
    assert check(exit_of(60)) is None
    assert check(exit_of(61)) == ("reduces", "at most the 60 that are open", "61")
    assert check(exit_of(1, Side.BUY)) == ("reduces", "at most the 0 that are open", "1")
    hold(book, -200)
    assert check(exit_of(100, Side.BUY)) is None
    assert check(exit_of(101, Side.BUY)) == ("reduces", "at most the 100 that are open", "101")


def approve(book: RiskBook, order_id: str, ts: int = NOON, **changes: Any) -> OrderIntent:
    """An order that passed before."""
    intent = intend(order_id, ts=ts, **changes)
    book.order_opened(intent)
    return intent


def test_a_halted_symbol_takes_no_new_risk(book: RiskBook, check: Check) -> None:
    """With the reason; other symbols trade on, and the symbol too when both agree again."""
    book.halted[SBIN] = "position: the broker holds 5, the journal 0"
    denial = check(intend())
    assert denial == ("symbol_halted", "a symbol on which broker and journal agree", book.halted[SBIN])
    assert check(intend(symbol=RELIANCE)) is None
    hold(book, 100)
    assert check(intend(side=Side.SELL, reduces=True)) is None


def test_an_unknown_order_blocks_its_symbol(book: RiskBook, check: Check) -> None:
    """Until its fate is known; exits go through, other symbols too, and orders that nobody opened don't count."""
    approve(book, "U1", NOON - MINUTE, quantity=7)
    book.order_unknown("nobody")
    book.order_unknown("U1")
    assert check(intend()) == ("unknown_order", "no order of the symbol whose fate is unknown", "U1")
    assert check(intend(symbol=RELIANCE)) is None
    book.order_gone("U1")
    assert check(intend()) is None


@pytest.mark.parametrize(
    ("name", "age_ns", "per"),
    [("second", NS_PER_S - 1, "max_orders_per_second"), ("minute", MINUTE - 1, "max_orders_per_minute"),
     ("day", 59 * MINUTE, "max_orders_per_day")],
)  # fmt: skip
def test_orders_by_time(book: RiskBook, check: Check, name: str, age_ns: int, per: str) -> None:
    """So many in a second, a minute, a day; one fewer passes, and so does one that is older."""
    for number in range(3):
        approve(book, f"N{number}", NOON - age_ns, quantity=number + 1)
    assert check(intend(), **{per: 3}) == (f"orders_per_{name}", "3", "3")
    assert check(intend(), **{per: 4}) is None
    if name != "day":
        assert check(intend(ts=NOON + 1), **{per: 3}) is None


def test_the_same_order_again_is_denied(book: RiskBook, check: Check) -> None:
    """Same symbol, side, quantity, type and prices within the window; not one that was refused, nor a day later."""
    twin = approve(book, "D1", NOON - NS_PER_S + 1)
    assert check(intend()) == ("duplicate", "none like it within 1 s", "D1")
    assert check(intend(quantity=99)) is None
    assert check(intend(side=Side.SELL)) is None
    assert check(intend(), duplicate_window_s=0) is None
    assert check(intend(ts=NOON + 1)) is None
    book.order_gone(twin.order_id)
    assert check(intend()) is None


def test_the_same_order_is_known_for_as_long_as_a_window_may_be(book: RiskBook, check: Check) -> None:
    """Orders that came between don't shorten it; one beyond an hour is refused as a setting."""
    approve(book, "D1", NOON - 50 * MINUTE)
    approve(book, "D2", NOON - 1, quantity=7)
    assert check(intend(), duplicate_window_s=3600) == ("duplicate", "none like it within 3600 s", "D1")
    assert check(intend(), duplicate_window_s=49 * 60) is None
    with pytest.raises(ValidationError, match="duplicate_window_s"):
        RiskSettings(duplicate_window_s=3601)


@pytest.mark.parametrize(("price", "passes"), [("840", True), ("840.05", False), ("760", True), ("759.95", False)])
def test_the_price_band(check: Check, price: str, passes: bool) -> None:
    """Five per cent around the last price of 800, of limit and stop alike."""
    for name in ("limit_price", "stop_price"):
        denial = check(intend(quantity=1, **{name: Decimal(price)}))
        assert (denial is None) is passes
        assert passes or denial[0] == "price_band"


@pytest.mark.parametrize(("price", "passes"), [("0.35", True), ("0.50", True), ("0.55", False), ("0.05", False)])
def test_a_few_ticks_of_a_cheap_price_are_within_the_band(
    book: RiskBook, check: Check, price: str, passes: bool
) -> None:
    """Of an option at 30 paise the next tick is 17 % away: a limit order could be at no other price."""
    option = "NSE:NIFTY2611326000CE"
    book.on_ticks(tick(OPEN + 60 * MINUTE, 0.3, option))
    denial = check(intend(symbol=option, quantity=65, limit_price=Decimal(price), reference_price=Decimal("0.3")))
    assert (denial is None) is passes
    assert passes or denial[0] == "price_band"


def test_net_exposure(book: RiskBook, check: Check) -> None:
    """Longs less shorts: a short elsewhere makes room for a long, a long takes it; without a limit all passes."""
    hold(book, 100, RELIANCE)
    assert check(intend(), max_net_notional=180_000) is None
    assert check(intend(), max_net_notional=179_999) == ("net_notional", "179999", "180000.00")
    assert check(intend(side=Side.SELL), max_net_notional=20_000) is None
    assert check(intend()) is None


def test_net_exposure_counts_what_works(book: RiskBook, check: Check) -> None:
    """Of the order's side in every symbol, for all of it may fill; of the other side nothing, for none of it may."""
    approve(book, "W", symbol=RELIANCE, quantity=100, reference_price=Decimal(1000))
    assert check(intend(), max_net_notional=180_000) is None
    assert check(intend(), max_net_notional=179_999) == ("net_notional", "179999", "180000.00")
    assert check(intend(side=Side.SELL), max_net_notional=79_999) == ("net_notional", "79999", "-80000.00")


def test_net_exposure_counts_exits_on_their_way_but_no_stops(book: RiskBook, check: Check) -> None:
    """A hedge that is being closed is none any more; one that has a stop still is."""
    hold(book, -100, RELIANCE)
    assert check(intend(), max_net_notional=20_000) is None
    stop = {"type": OrderType.SL_MARKET, "stop_price": Decimal(1010), "strategy": PROTECTION, "reason": STOP}
    approve(book, "S", symbol=RELIANCE, side=Side.BUY, reduces=True, **stop)
    assert check(intend(), max_net_notional=20_000) is None
    book.order_gone("S")
    approve(book, "C", symbol=RELIANCE, side=Side.BUY, reduces=True)
    assert check(intend(), max_net_notional=79_999) == ("net_notional", "79999", "80000.00")


def test_an_order_that_lessens_the_net_exposure_passes(book: RiskBook, check: Check) -> None:
    """However far beyond the limit, as after a change of it, the account is."""
    hold(book, -1000, RELIANCE)
    assert check(intend(), max_net_notional=100_000) is None
    assert check(intend(side=Side.SELL), max_net_notional=100_000) == ("net_notional", "100000", "-1080000.00")


def test_funds(book: RiskBook, check: Check) -> None:
    """A fifth of the order's value must be free at the broker, where it said what is."""
    book.available = Decimal(16_000)
    assert check(intend()) is None
    book.available = Decimal(15_999)
    assert check(intend()) == ("funds", "15999.00 available", "16000.00")
    assert check(intend(), margin_rate=0.1) is None


def test_the_drawdown_of_the_day(book: RiskBook, check: Check) -> None:
    """From the day's highest profit, though the day is still in profit; without a limit it passes."""
    book.start_day(1)
    book.on_position(position_of(0, realised_pnl=Decimal(5_000)))
    book.note_high()
    book.on_position(position_of(0, realised_pnl=Decimal(2_000)))
    book.note_high()
    assert check(intend(), max_day_drawdown=3_000) == ("day_drawdown", "less than 3000 below the day's high", "3000.00")
    assert check(intend(), max_day_drawdown=3_001) is None
    assert check(intend()) is None


def test_before_the_first_tick_of_a_rehearsal_there_is_no_time_to_trade_at(book: RiskBook, check: Check) -> None:
    """Neither an entry nor an exit: denied in words, where the calendar knows of no such day."""
    hold(book, 100)
    no_time = ("session", "a time of day, which the first tick tells", "none yet")
    assert check(intend(ts=0)) == no_time
    assert check(intend(ts=0, side=Side.SELL, reduces=True)) == no_time


def leased(amount: int | None) -> Lease:
    """A lease that doesn't end."""
    lease = Lease("banks", lambda: 0)
    if amount is not None:
        lease.renew(NOON, Decimal(amount), 1, "")
    return lease


@pytest.mark.parametrize(("amount", "denied"), [(160_000, False), (159_999, True)])
def test_no_more_than_is_leased_of_a_shared_budget(check: Check, book: RiskBook, amount: int, denied: bool) -> None:
    """Everything that is held and may become so counts, as against the daemon's own limit."""
    hold(book, 100)
    book.lease = leased(amount)
    assert check(intend(quantity=100)) == (
        ("budget", f"{amount} leased of the shared budget", "160000.00") if denied else None
    )


def test_no_entry_without_a_lease_and_every_exit(check: Check, book: RiskBook) -> None:
    """The denial says since when there is none; what is held may be closed whatever the budget says."""
    hold(book, 100)
    book.lease = leased(None)
    assert check(intend(quantity=1)) == ("budget", "a lease of the shared budget", "no lease yet")
    book.lease = leased(0)
    assert check(intend(side=Side.SELL, quantity=100, reduces=True)) is None
    book.lease.drop(NOON, "the service is gone")
    denial = check(intend(quantity=1))
    assert denial is not None
    assert denial[2] == "no lease since 10:15:00: the service is gone"
    assert check(intend(side=Side.SELL, quantity=100, reduces=True)) is None


def test_what_is_held_counts_before_its_first_tick(check: Check, book: RiskBook) -> None:
    """After a restart: at what was paid, and an order that works at what it was wanted at."""
    book.restore(
        [position_of(1000, "1000", "NSE:TCS-EQ")],
        [(intend(quantity=100, symbol="NSE:INFY-EQ"), 100)],
        [],
        1,
        Decimal(0),
    )
    assert book.gross_notional(without="") == 1_000_000 + 80_000
    assert not book.priced
    assert check(intend(quantity=600)) == ("gross_notional", "1500000", "1560000.00")
    book.on_ticks(tick(NOON, 990.0, "NSE:TCS-EQ"))
    assert book.priced
    assert check(intend(quantity=500)) is None


@pytest.mark.parametrize(
    ("cash", "held", "price", "allowed"),
    [
        (16_000, 0, 800.0, 100),  # a fifth of 80,000
        (15_999, 0, 800.0, 99),
        (36_000, 100, 800.0, 125),  # what is held needs 16,000
        (36_000, 100, 600.0, 33),  # and has lost 20,000: 16,000 less 12,000, at a fifth of 600
        (36_000, 100, 400.0, 0),  # ruined
        (36_000, -100, 1000.0, 0),
    ],
)
def test_on_paper_nobody_lends_without_end(
    book: RiskBook, calendar: MarketCalendar, cash: int, held: int, price: float, allowed: int
) -> None:
    """The account's worth, less the margin of what is held, is what there is for more; a broker says it by itself."""
    instruments = InstrumentBook(MarketSettings())
    paper = RiskGate(RiskSettings(), instruments, calendar, 30, on_paper=True)
    if held:
        hold(book, held)
    book.cash = Decimal(cash) - held * 800
    book.on_ticks(tick(NOON + 1, price))
    for quantity, passes in ((allowed, allowed > 0), (allowed + 1, False)):
        order = intend(quantity=max(1, quantity), side=Side.SELL if held < 0 else Side.BUY,
                       reference_price=Decimal(str(price)))  # fmt: skip
        denial = paper.check(order, book, order.ts)
        assert (denial is None) is passes, denial
        assert denial is None or denial[0] == "funds"
    assert RiskGate(RiskSettings(), instruments, calendar, 30).free(book) is None


def test_nothing_is_sold_short_under_cnc(book: RiskBook, calendar: MarketCalendar) -> None:
    """The broker would refuse it, or sell the shares that lie in the depository; what is held can be sold."""
    gate = RiskGate(RiskSettings(), InstrumentBook(MarketSettings()), calendar, 30, delivers=True)

    def check(side: Side, quantity: int, *, reduces: bool = False) -> tuple[str, str, str] | None:
        intent = intend("T1", side, quantity, reduces=reduces)
        return gate.check(intent, book, intent.ts)

    denial = ("short_selling", "what is held (broker.live.product is CNC)", "10")
    assert check(Side.SELL, 10) == denial
    assert check(Side.BUY, 10) is None
    hold(book, 10)
    assert check(Side.SELL, 10, reduces=True) is check(Side.SELL, 10) is None
    assert check(Side.SELL, 11) == (*denial[:2], "11")
