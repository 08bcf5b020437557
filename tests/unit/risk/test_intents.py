"""A decision becomes what we want at the venue: cut, never raised; closed, never more than held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.core.events import Action, OrderIntent, OrderType, Side
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder, units_of
from daemon.risk.lease import Lease
from daemon.settings.market import InstrumentSettings, MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, decide, fill_of, intend, tick
from tests.unit.market.masters import DAY, master_of

FUTURE = "NSE:NIFTY26JANFUT"
INSTRUMENTS = MarketSettings(instruments=[InstrumentSettings(symbol=FUTURE, kind="future", lot_size=75)])
NOON = OPEN + 60 * MINUTE


def builder(order_type: str = "MARKET", **limits: Any) -> IntentBuilder:
    """A builder under the default limits and those given."""
    execution = ExecutionSettings(order_type=order_type)  # type: ignore[arg-type]
    return IntentBuilder(RiskSettings(**limits), execution, InstrumentBook(INSTRUMENTS), "P")


def book_at(price: float = 800.0, position: int = 0, symbol: str = SBIN) -> RiskBook:
    """A book with one tick and perhaps a position."""
    book = RiskBook()
    book.on_ticks(tick(NOON, price, symbol))
    if position:
        side = Side.BUY if position > 0 else Side.SELL
        book.on_fill(fill_of(intend("held", side, abs(position), symbol=symbol)))
    return book


def build(decision: Any, book: RiskBook, order_type: str = "MARKET", **limits: Any) -> OrderIntent:
    """The intent, which must be one."""
    intent = builder(order_type, **limits).build(decision, book)
    assert intent is not None
    return intent


@pytest.mark.parametrize(("action", "side"), [(Action.BUY_LONG, Side.BUY), (Action.SELL_SHORT, Side.SELL)])
def test_an_entry_carries_the_decision(action: Action, side: Side) -> None:
    """Side, quantity, price, time, strategy and reason travel on, under a fresh id."""
    make = builder()
    intents = [make.build(decide(action, 50), book_at()) for _ in range(2)]
    first, second = intents
    assert first is not None
    assert second is not None
    assert (first.order_id, second.order_id) == ("P0000001", "P0000002")
    assert (first.side, first.quantity, first.type, first.reduces) == (side, 50, OrderType.MARKET, False)
    assert (first.ts, first.strategy, first.reason) == (NOON, "rules", "a test")
    assert first.reference_price == 800


def test_hold_wants_nothing() -> None:
    """HOLD makes no intent."""
    assert builder().build(decide(Action.HOLD), book_at()) is None


@pytest.mark.parametrize(
    ("limits", "quantity"),
    [
        ({"max_order_quantity": 70}, 70),
        ({"max_position_quantity": 60}, 60),
        ({"max_order_notional": 79_999}, 99),
        ({"max_gross_notional": 39_999}, 49),
    ],
)
@pytest.mark.parametrize("action", [Action.BUY_LONG, Action.SELL_SHORT])
def test_an_entry_is_cut_to_each_limit(action: Action, limits: dict[str, Any], quantity: int) -> None:
    """What is left is the most that the limit allows."""
    assert build(decide(action, 1000), book_at(), **limits).quantity == quantity


@pytest.mark.parametrize(
    ("share", "limits", "quantity"),
    [
        (1.0, {}, 625),
        (0.5, {}, 312),
        (0.25, {"max_order_quantity": 400}, 100),
        (0.25, {"max_position_quantity": 200}, 50),
        (0.0001, {}, 1),
    ],
)
@pytest.mark.parametrize("units", [1, 100_000])
def test_a_share_is_of_what_the_limits_allow(share: float, limits: dict[str, Any], quantity: int, units: int) -> None:
    """Half of 500,000 rupees at 800 is 312 shares, however many units the decision names."""
    decision = msgspec.structs.replace(decide(Action.BUY_LONG, units), share=share)
    assert build(decision, book_at(), **limits).quantity == quantity
    told = units_of(RiskSettings(**limits), InstrumentBook(INSTRUMENTS), decision.symbol, 800.0, share)
    assert told == quantity  # what a model is told the cost of


def test_a_share_that_is_less_than_a_lot_is_for_one_where_it_fits() -> None:
    """A tenth of the room of three lots is a lot; where not one fits it is denied, as ever."""
    decision = msgspec.structs.replace(decide(Action.BUY_LONG, 50_000, symbol=FUTURE), share=0.1, price=100.0)
    book = book_at(100.0, symbol=FUTURE)
    assert build(decision, book, max_order_notional=22_500).quantity == 75
    assert build(decision, book, max_order_notional=7_000).quantity == 75
    gate = RiskGate(RiskSettings(max_order_notional=Decimal(7_000)), InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    denial = gate.check(build(decision, book, max_order_notional=7_000), book, NOON)
    assert denial is not None
    assert denial[0] == "order_notional"


def test_an_entry_is_cut_to_what_the_position_leaves() -> None:
    """Held and working units of the same side take room, those of the other side give none."""
    book = book_at(position=30)
    book.order_opened(intend("w", Side.BUY, 20))
    assert build(decide(Action.BUY_LONG, 100), book, max_position_quantity=100).quantity == 50
    assert build(decide(Action.SELL_SHORT, 500), book, max_position_quantity=100).quantity == 100


def test_an_entry_is_cut_to_what_is_leased_of_a_shared_budget() -> None:
    """Where that is less than the daemon's own limit; without a lease the gate says so, of the whole wish."""
    book = book_at()
    book.lease = Lease("banks", lambda: 0)
    assert build(decide(Action.BUY_LONG, 100), book).quantity == 100
    book.lease.renew(NOON, Decimal(40_000), 1, "")
    assert build(decide(Action.BUY_LONG, 100), book).quantity == 50
    assert build(decide(Action.BUY_LONG, 100), book, max_gross_notional=20_000).quantity == 25


def test_an_entry_is_cut_to_what_other_symbols_leave_of_the_gross() -> None:
    """A position elsewhere takes its worth from the room."""
    book = book_at()
    book.on_ticks(tick(NOON, 1000.0, RELIANCE))
    book.on_fill(fill_of(intend("r", Side.SELL, 40, symbol=RELIANCE)))
    assert build(decide(Action.BUY_LONG, 100), book, max_gross_notional=80_000).quantity == 50


def test_an_entry_that_does_not_fit_is_denied_by_name() -> None:
    """Where not one lot fits the least is asked for, and the gate says which limit it breaks."""
    book = book_at()
    book.on_ticks(tick(NOON, 1000.0, RELIANCE))
    book.on_fill(fill_of(intend("r", Side.SELL, 40, symbol=RELIANCE)))
    intent = build(decide(Action.BUY_LONG, 100), book, max_gross_notional=40_000)
    gate = RiskGate(RiskSettings(max_gross_notional=Decimal(40_000)), InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    assert intent.quantity == 1
    denial = gate.check(intent, book, intent.ts)
    assert denial is not None
    assert denial[0] == "gross_notional"


def test_less_than_a_lot_is_denied_as_such() -> None:
    """A decision for fewer units than one lot is never raised to one."""
    book = book_at(100.0, symbol=FUTURE)
    intent = build(decide(Action.BUY_LONG, 74, symbol=FUTURE, price=100.0), book)
    gate = RiskGate(RiskSettings(), InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    assert intent.quantity == 74
    assert gate.check(intent, book, intent.ts) == ("lot_size", "a multiple of 75", "74")


def test_an_entry_is_cut_to_whole_lots() -> None:
    """160 are two lots of 75."""
    book = book_at(100.0, symbol=FUTURE)
    assert build(decide(Action.BUY_LONG, 160, symbol=FUTURE, price=100.0), book).quantity == 150


def test_without_a_price_nothing_is_opened() -> None:
    """A price of zero buys nothing, rather than everything."""
    assert builder().build(decide(Action.BUY_LONG, 10, price=0.0), book_at(0.0)) is None


@pytest.mark.parametrize("action", [Action.BUY_LONG, Action.SELL_SHORT])
def test_a_limit_entry_passes_the_gate_at_full_size(action: Action) -> None:
    """The notional is that of the limit price: an order cut to the limit must not then be denied by it."""
    book = book_at()
    intent = build(decide(action, 100_000), book, "LIMIT")
    gate = RiskGate(RiskSettings(), InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    assert gate.check(intent, book, intent.ts) is None
    assert intent.quantity > 600
    assert intent.limit_price is not None


def test_a_limit_is_marketable_and_on_the_grid() -> None:
    """Five basis points beyond the last price, rounded away from it."""
    buy = build(decide(Action.BUY_LONG), book_at(), "LIMIT")
    sell = build(decide(Action.SELL_SHORT), book_at(), "LIMIT")
    assert (buy.type, buy.limit_price) == (OrderType.LIMIT, Decimal("800.40"))
    assert (sell.type, sell.limit_price) == (OrderType.LIMIT, Decimal("799.60"))
    odd = build(decide(Action.BUY_LONG, price=800.03), book_at(), "LIMIT")
    assert odd.limit_price == Decimal("800.45")
    penny = build(decide(Action.SELL_SHORT, price=0.02), book_at(0.02), "LIMIT")
    assert penny.limit_price == Decimal("0.05")


@pytest.mark.parametrize(
    ("action", "wanted", "limit"),
    [(Action.BUY_LONG, 799.08, "799.05"), (Action.SELL_SHORT, 801.02, "801.05")],
)
@pytest.mark.parametrize("order_type", ["MARKET", "LIMIT"])
def test_an_entry_waits_at_the_price_of_its_decision(
    action: Action, wanted: float, limit: str, order_type: str
) -> None:
    """On the grid and no worse than asked for, whatever the setting says; an exit never waits."""
    intent = build(decide(action, limit_price=wanted), book_at(), order_type)
    assert (intent.type, intent.limit_price, intent.reduces) == (OrderType.LIMIT, Decimal(limit), False)
    out = build(decide(Action.CLOSE_LONG, limit_price=wanted), book_at(position=100))
    assert (out.type, out.limit_price) == (OrderType.MARKET, None)


def test_an_entry_that_waits_has_no_second_beside_it() -> None:
    """A strategy that says the same at every bar gets one order, not one a bar."""
    book, make = book_at(), builder()
    first = make.build(decide(Action.BUY_LONG, limit_price=799.0), book)
    assert first is not None
    book.order_opened(first)
    assert make.build(decide(Action.BUY_LONG, limit_price=798.0), book) is None
    assert make.build(decide(Action.SELL_SHORT, limit_price=801.0), book) is not None


def test_a_price_on_an_index_moves_to_its_future() -> None:
    """By the difference of the two, or it would be far from the market."""
    future = "NSE:NIFTY26JANFUT"
    instruments = InstrumentBook(MarketSettings(), DAY, master_of())
    make = IntentBuilder(RiskSettings(), ExecutionSettings(), instruments, "P")
    decision = decide(Action.BUY_LONG, 75, symbol="NSE:NIFTY50-INDEX", price=26_000.0, limit_price=25_990.0)
    intent = make.build(decision, book_at(26_100.0, symbol=future))
    assert intent is not None
    assert (intent.symbol, intent.limit_price) == (future, Decimal("26090.0"))


@pytest.mark.parametrize("name", ["NSE:NIFTY50-INDEX", "NSE:NIFTY-FUT1", "NSE:NIFTY-FUT", "NSE:NIFTY26JANFUT"])
def test_limits_of_what_a_contract_is_traded_for_hold_for_it(name: str) -> None:
    """The index and the alias are what the settings' author sees; what goes out is the contract of the day."""
    own = {"max_order_quantity": 65, "max_position_quantity": 65}
    others = {"NSE:SBIN-EQ": {"max_order_quantity": 1}}
    wide = {"max_order_notional": 10**8, "max_gross_notional": 10**8}
    limits = RiskSettings.model_validate({**wide, "limits": {name: own, **others}})
    instruments, book = InstrumentBook(MarketSettings(), DAY, master_of()), book_at(26_100.0, symbol=FUTURE)
    decision = decide(Action.BUY_LONG, 650, symbol="NSE:NIFTY50-INDEX", price=26_000.0)
    intent = IntentBuilder(limits, ExecutionSettings(), instruments, "P").build(decision, book)
    assert intent is not None
    assert (intent.symbol, intent.quantity) == (FUTURE, 65)
    two = intend("T", symbol=FUTURE, quantity=130, reference_price=Decimal(26_100))
    assert RiskGate(limits, instruments, MarketCalendar(), 30).check(two, book, NOON) == ("order_quantity", "65", "130")


@pytest.mark.parametrize("name", ["NSE:NIFTY50-INDEX", "NSE:NIFTY-FUT1", "NIFTY", "NSE:NIFTY26JANFUT"])
def test_a_freeze_quantity_of_what_a_contract_is_traded_for_holds_for_it(name: str) -> None:
    """As a limit does."""
    found = InstrumentBook(MarketSettings(freeze_quantities={name: 130}), DAY, master_of()).resolve(FUTURE)
    assert found is not None
    assert found.freeze_quantity == 130


def test_exits_go_to_the_market_whatever_the_setting() -> None:
    """A resting exit could be left behind by the market and carried into the night."""
    held = book_at(position=100)
    closing = builder("LIMIT").closing(SBIN, held, NOON, "square-off")
    assert build(decide(Action.CLOSE_LONG), held, "LIMIT").type is OrderType.MARKET
    assert closing is not None
    assert (closing.type, closing.limit_price) == (OrderType.MARKET, None)


@pytest.mark.parametrize(
    ("action", "position", "side"), [(Action.CLOSE_LONG, 100, Side.SELL), (Action.CLOSE_SHORT, -100, Side.BUY)]
)
def test_closing_takes_all_that_is_not_yet_being_closed(action: Action, position: int, side: Side) -> None:
    """The rest beside a working exit, then nothing; the other side's close finds nothing."""
    book = book_at(position=position)
    assert build(decide(action, 1), book).quantity == 100
    book.order_opened(intend("x", side, 40, reduces=True))
    rest = build(decide(action, 1), book)
    assert (rest.side, rest.quantity, rest.reduces) == (side, 60, True)
    closing = builder().closing(SBIN, book, NOON, "flatten")
    assert closing is not None
    assert (closing.side, closing.quantity, closing.strategy, closing.reason) == (side, 60, "risk", "flatten")
    book.order_opened(rest)
    assert builder().build(decide(action), book) is None
    assert builder().closing(SBIN, book, NOON, "flatten") is None
    other = Action.CLOSE_SHORT if action is Action.CLOSE_LONG else Action.CLOSE_LONG
    assert builder().build(decide(other), book) is None


def test_nothing_held_nothing_closed() -> None:
    """Closing a flat symbol makes no intent."""
    assert builder().closing(SBIN, book_at(), NOON, "flatten") is None
    assert builder().build(decide(Action.CLOSE_LONG), book_at()) is None


def test_an_unknown_symbol_is_left_to_the_gate() -> None:
    """The intent is made in units and paise, and the gate denies it."""
    make = IntentBuilder(
        RiskSettings(), ExecutionSettings(order_type="LIMIT"), InstrumentBook(MarketSettings(unlisted="reject")), "P"
    )
    intent = make.build(decide(Action.BUY_LONG, 7, symbol="?"), book_at(symbol="?"))
    assert intent is not None
    assert (intent.quantity, intent.limit_price) == (7, Decimal("800.40"))


def test_a_decision_on_an_index_is_an_intent_on_its_future() -> None:
    """In the future's lots, at its own last price; without one at the decision's, for the gate to deny as stale."""
    instruments = InstrumentBook(MarketSettings(), DAY, master_of())
    made = IntentBuilder(RiskSettings(), ExecutionSettings(), instruments, "T")
    book = RiskBook()
    decision = decide(Action.BUY_LONG, 100, symbol="NSE:NIFTY50-INDEX", price=800.0)
    blind = made.build(decision, book)
    book.of("NSE:NIFTY26JANFUT").last_price = 804.0
    seeing = made.build(decision, book)
    assert blind is not None
    assert seeing is not None
    assert (seeing.symbol, seeing.quantity, seeing.reference_price) == ("NSE:NIFTY26JANFUT", 65, Decimal("804.0"))
    assert (blind.symbol, blind.reference_price) == ("NSE:NIFTY26JANFUT", Decimal("800.0"))


def test_a_candidate_has_its_share_of_the_limits() -> None:
    """Its entries are cut to it, those of others and what closes are not."""
    book = book_at()
    book.candidate = ("canary:next", 0.25)
    limits = {"max_order_quantity": 400, "max_position_quantity": 400}
    assert build(decide(Action.BUY_LONG, 300), book, **limits).quantity == 300
    intent = build(decide(Action.BUY_LONG, 300, strategy="canary:next"), book, **limits)
    assert intent.quantity == 100
    gate = RiskGate(RiskSettings(**limits), InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    assert gate.check(intent, book, NOON) is None
    held = book_at(position=350)
    held.candidate = ("canary:next", 0.25)
    assert build(decide(Action.CLOSE_LONG, 1, strategy="canary:next"), held, **limits).quantity == 350


@pytest.mark.parametrize(
    ("quantity", "held", "candidate", "said"),
    [
        (101, 0, ("canary:next", 0.25), ("canary_size", "0.25 of max_order_quantity 400", "101")),
        (60, 50, ("canary:next", 0.25), ("canary_size", "0.25 of max_position_quantity 400", "110")),
        (1, 0, ("", 0.0), ("canary_size", "0 of max_order_quantity 400", "1")),
        (1, 0, ("canary:other", 0.5), ("canary_size", "0 of max_order_quantity 400", "1")),
    ],
    ids=["an order", "a position", "after its end", "another one's"],
)
def test_beyond_its_share_a_candidate_is_denied(
    quantity: int, held: int, candidate: tuple[str, float], said: tuple[str, str, str]
) -> None:
    """The denial names the limit; one that doesn't run any more has no share at all."""
    book = book_at(position=held)
    book.candidate = candidate
    limits = RiskSettings(max_order_quantity=400, max_position_quantity=400)
    gate = RiskGate(limits, InstrumentBook(INSTRUMENTS), MarketCalendar(), 30)
    assert gate.check(intend(quantity=quantity, strategy="canary:next", ts=NOON), book, NOON) == said
    assert gate.check(intend(quantity=quantity, ts=NOON), book, NOON) is None
