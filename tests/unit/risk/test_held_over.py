"""A position held over what may be a corporate action: nothing touches it until somebody knows what it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    Action,
    Event,
    Flatten,
    ManualOrder,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderType,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    Resume,
    Side,
    SymbolHalted,
    SymbolResumed,
    TimeAdvanced,
    TradingState,
)
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import OvernightLimit
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import CLOSE, DAY, MINUTE, OPEN, RELIANCE, SBIN, decide, fill_of, intend, position_of, tick

EVENING = CLOSE - MINUTE
MORNING = OPEN + DAY
CALENDAR = MarketCalendar()


class Night:
    """Risk with 100 shares of SBIN bought at 800 the day before, and a first morning tick to come."""

    def __init__(self, quantity: int = 100, *, evening: bool = True) -> None:
        self.bus, self.clock = Bus(), ReplayClock(EVENING)
        self.said: list[Event] = []
        self.bus.tap((OrderIntent, OrderDenied, SymbolHalted, SymbolResumed), self.said.append)
        risk, book = RiskSettings(), InstrumentBook(MarketSettings())
        self.actor = RiskActor(
            self.bus, RiskBook(), IntentBuilder(risk, ExecutionSettings(), book, "P"),
            RiskGate(risk, book, CALENDAR, 30), self.clock, CALENDAR, 0, None, OvernightLimit(book, 20.0),
        )  # fmt: skip
        intent = intend(quantity=abs(quantity), side=Side.BUY if quantity > 0 else Side.SELL, ts=OPEN + MINUTE)
        self.tell(TimeAdvanced(ts=OPEN + MINUTE), fill_of(intent), position_of(quantity))
        if evening:
            self.tell(tick(EVENING, 800.0))
        self.said.clear()

    @property
    def book(self) -> RiskBook:
        """What risk knows."""
        return self.actor.book

    def tell(self, *events: Event) -> list[Event]:
        """Hand events over; what was said to them."""
        for event in events:
            ts = getattr(event, "ts", None)
            if isinstance(ts, int):
                self.clock.advance(max(ts, self.clock.now_ns()))
            self.actor.handle(event)
        said, self.said[:] = list(self.said), []
        return said

    def open_at(self, price: float) -> list[Event]:
        """The first tick of the morning, and the moment after it."""
        return self.tell(tick(MORNING, price), TimeAdvanced(ts=MORNING + 1))


def kinds(said: list[Event]) -> list[type[Event]]:
    """Of each."""
    return [type(event) for event in said]


def adjusted(**changes: Any) -> PriceAdjusted:
    """A split 1:5 of SBIN on the second day."""
    values: dict[str, Any] = {
        "ts": MORNING, "symbol": SBIN, "date": "2026-01-06", "kind": "split", "numerator": 1, "denominator": 5,
        "shares": True, "by_broker": True,
    }  # fmt: skip
    return PriceAdjusted(**(values | changes))


RESTATED = PositionRestated(
    ts=MORNING, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5
)  # fmt: skip


def by_hand(side: Side, quantity: int) -> ManualOrder:
    """An order by hand."""
    return ManualOrder(ts=MORNING, key="k", symbol=SBIN, side=side, quantity=quantity, type=OrderType.MARKET,
                       limit_price=None, reason="by hand")  # fmt: skip


def test_a_night_without_a_jump_is_closed_as_ever() -> None:
    """A tenth down: yesterday's position is sold at the open."""
    assert kinds(Night().open_at(720.0)) == [OrderIntent]


@pytest.mark.parametrize("quantity", [100, -100])
def test_nothing_is_closed_before_the_first_price_of_the_day(quantity: int) -> None:
    """At the open nobody knows yet whether as many are held: an exit of yesterday's quantity may be half of one."""
    night = Night(quantity)
    assert night.tell(TimeAdvanced(ts=MORNING), tick(MORNING, 1400.0, RELIANCE), TimeAdvanced(ts=MORNING + 1)) == []
    said = night.tell(adjusted(), RESTATED, tick(MORNING + 2, 160.0), TimeAdvanced(ts=MORNING + 3))
    closing = [event for event in said if isinstance(event, OrderIntent)]
    assert [(event.quantity, event.reduces) for event in closing] == [(500, True)]


def test_yesterdays_price_told_once_more_is_none_of_today() -> None:
    """A feed may begin the day with it, before the first trade; the next price shows the split."""
    night = Night()
    assert night.open_at(800.0) == []
    said = night.tell(tick(MORNING + MINUTE // 2, 160.0), TimeAdvanced(ts=MORNING + MINUTE // 2 + 1))
    assert kinds(said) == [SymbolHalted]
    assert "800 → 160 overnight" in said[0].reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("ticks", [(), (30,), (30, 70)])
def test_a_price_that_stays_is_believed_after_a_minute(ticks: tuple[int, ...]) -> None:
    """Whether or not it is told again; another one within the limit is believed at once."""
    night = Night()
    assert night.open_at(800.0) == []
    for second in ticks:
        night.tell(tick(MORNING + second * NS_PER_S, 800.0))
    assert kinds(night.tell(TimeAdvanced(ts=MORNING + 71 * NS_PER_S))) == [OrderIntent]
    other = Night()
    other.open_at(800.0)
    assert kinds(other.tell(tick(MORNING + 2, 800.05), TimeAdvanced(ts=MORNING + 3))) == [OrderIntent]


def test_what_follows_yesterdays_price_is_looked_at_however_long_that_was_told() -> None:
    """A share that nobody trades before 09:25: by then its exit waits at the venue, and the split is seen all the same.

    On the next day the minute begins anew.
    """
    night = Night()
    night.open_at(800.0)
    assert kinds(night.tell(TimeAdvanced(ts=MORNING + 71 * NS_PER_S))) == [OrderIntent]
    assert kinds(night.tell(tick(MORNING + 10 * MINUTE, 160.0))) == [SymbolHalted]
    assert night.book.day_pnl() == 0
    still = Night()
    still.open_at(800.0)
    assert not still.actor.held_over.is_unseen(SBIN, MORNING + MINUTE)
    still.tell(tick(MORNING + DAY, 800.0))
    assert still.actor.held_over.is_unseen(SBIN, MORNING + DAY + NS_PER_S)


@pytest.mark.parametrize(("seen_ts", "closed"), [(EVENING, False), (MORNING, True)])
def test_what_an_earlier_process_saw_today_needs_no_other_price(seen_ts: int, closed: bool) -> None:
    """A restart goes on closing at once what the market has priced today already."""
    night = Night(evening=False)
    night.actor.held_over.restore({SBIN: (seen_ts, 720.0)})
    assert (OrderIntent in kinds(night.tell(TimeAdvanced(ts=MORNING + 1)))) is closed


def test_a_trade_of_yesterday_that_is_told_today_is_held_over_the_night() -> None:
    """Though nobody watched the share: it isn't closed before its first price, and its jump is seen."""
    night = Night(0)
    night.tell(TimeAdvanced(ts=MORNING))
    late = fill_of(intend("late", quantity=100), ts=MORNING + 1, traded_ts=OPEN + MINUTE)
    assert OrderIntent not in kinds(night.tell(late, TimeAdvanced(ts=MORNING + 2)))
    (halted,) = night.open_at(160.0)
    assert isinstance(halted, SymbolHalted)
    assert "800 → 160 overnight (×0.2) with 100 held" in halted.reason


def test_who_flattens_before_the_first_price_is_obeyed() -> None:
    """A person knows what is held."""
    night = Night()
    night.tell(TimeAdvanced(ts=MORNING))
    assert night.actor.wanted_exits() == {}
    (intent,) = (it for it in night.tell(Flatten(ts=MORNING, reason="by hand")) if isinstance(it, OrderIntent))
    assert night.actor.wanted_exits() == {SBIN: "100 held (by hand)"}
    night.tell(OrderRejected(ts=MORNING + 1, order_id=intent.order_id, code=-99, reason="no margin"))
    assert night.actor.wanted_exits() == {SBIN: "100 held (by hand), the last answer was: no margin"}


@pytest.mark.parametrize("quantity", [100, -100])
def test_a_jump_is_said_and_nothing_is_closed(quantity: int) -> None:
    """Neither what was carried over, nor by a decision, nor is anything opened; other symbols trade on."""
    night = Night(quantity)
    (halted,) = night.open_at(160.0)
    assert isinstance(halted, SymbolHalted)
    assert f"800 → 160 overnight (×0.2) with {quantity} held" in halted.reason
    leave = Action.CLOSE_LONG if quantity > 0 else Action.CLOSE_SHORT
    for action in (leave, Action.BUY_LONG, Action.SELL_SHORT):
        said = night.tell(decide(action, 5, ts=MORNING + MINUTE, price=160.0))
        assert [event.check for event in said if isinstance(event, OrderDenied)] == ["symbol_halted"]
    said = night.tell(tick(MORNING + MINUTE, 50.0, RELIANCE), decide(Action.BUY_LONG, 5, symbol=RELIANCE, price=50.0,
                                                                  ts=MORNING + MINUTE))  # fmt: skip
    assert OrderDenied not in kinds(said)
    assert night.tell(TimeAdvanced(ts=MORNING + 375 * MINUTE - 1)) == []  # square-off


def test_the_jump_is_no_profit_or_loss_of_the_day() -> None:
    """Not while it is in doubt, and not when a person has said that the position is as it stands."""
    night = Night()
    night.open_at(160.0)
    assert night.book.day_pnl() == 0
    night.tell(Resume(ts=MORNING + MINUTE, reason="it is right"))
    assert night.book.day_pnl() == 0
    night.tell(tick(MORNING + 2 * MINUTE, 161.0))
    assert night.book.day_pnl() == 100


def test_a_person_resumes_it_and_a_machine_does_not() -> None:
    """`resume` by the operator, as of any halt."""
    night = Night()
    night.open_at(160.0)
    assert night.tell(Resume(ts=MORNING + MINUTE, reason="a master came", automatic=True)) == []
    assert night.tell(Flatten(ts=MORNING + MINUTE, reason="no strategy is left", automatic=True)) == []
    night.book.state = TradingState.ACTIVE
    assert kinds(night.tell(Resume(ts=MORNING + MINUTE, reason="seen"))) == [SymbolResumed]
    said = night.tell(decide(Action.CLOSE_LONG, 5, ts=MORNING + MINUTE, price=160.0))
    assert kinds(said) == [OrderIntent]


def test_a_person_closes_it_at_once() -> None:
    """By an order by hand, and by `flatten`, which waits for nobody."""
    night = Night()
    night.open_at(160.0)
    said = night.tell(by_hand(Side.SELL, 100))
    assert kinds(said) == [OrderIntent]
    night.tell(fill_of(said[0]))  # type: ignore[arg-type]
    assert night.book.unsettled == {}
    night = Night()
    night.open_at(160.0)
    assert kinds(night.tell(Flatten(ts=MORNING + MINUTE, reason="out"))) == [SymbolResumed, OrderIntent]


def test_a_false_first_price_is_taken_back() -> None:
    """When the price is back the position is closed as ever; once the bar has confirmed it, it isn't taken back."""
    night = Night()
    night.open_at(160.0)
    said = night.tell(tick(MORNING + 2, 799.0), TimeAdvanced(ts=MORNING + 3))
    assert kinds(said) == [SymbolResumed, OrderIntent]
    night = Night()
    night.open_at(160.0)
    jump = PriceJumped(ts=MORNING + 5 * MINUTE, symbol=SBIN, before=800.0, after=160.0)
    assert night.tell(jump, tick(MORNING + 6 * MINUTE, 790.0)) == []


@pytest.mark.parametrize("bars", [0, 1])
def test_an_old_price_that_is_told_once_more_says_nothing_of_a_named_action(bars: int) -> None:
    """The broker is to make 500 of them: until his books say so 100 may be too few, or turn the position round."""
    night = Night()
    assert kinds(night.tell(adjusted())) == [SymbolHalted]
    assert night.open_at(800.0) == []
    ts = MORNING + MINUTE // 2
    if bars:
        ts = MORNING + 10 * MINUTE
        night.tell(PriceJumped(ts=MORNING + 5 * MINUTE, symbol=SBIN, before=160.0, after=800.0))
    said = night.tell(tick(ts, 160.0), TimeAdvanced(ts=ts + 1))
    if bars:
        said += night.tell(PriceJumped(ts=ts + 2, symbol=SBIN, before=800.0, after=160.0), TimeAdvanced(ts=ts + 3))
    assert said == []
    assert SBIN in night.book.unsettled
    assert kinds(night.tell(RESTATED, TimeAdvanced(ts=ts + 4))) == [SymbolResumed, OrderIntent]


def test_an_old_price_that_was_told_through_a_whole_bar_is_taken_back_with_the_next_jump() -> None:
    """A split was named and counted, and the feed goes on telling the price of before it: 500 wait, and are closed."""
    night = Night()
    assert night.tell(adjusted(by_broker=False), RESTATED) == []
    assert kinds(night.open_at(800.0)) == [SymbolHalted]
    told = PriceJumped(ts=MORNING + 5 * MINUTE, symbol=SBIN, before=160.0, after=800.0)
    assert night.tell(told, tick(MORNING + 6 * MINUTE, 160.0)) == []
    true = PriceJumped(ts=MORNING + 10 * MINUTE, symbol=SBIN, before=800.0, after=160.0)
    said = night.tell(true, TimeAdvanced(ts=MORNING + 10 * MINUTE))
    assert kinds(said) == [SymbolResumed, OrderIntent]
    assert [event.quantity for event in said if isinstance(event, OrderIntent)] == [500]
    assert night.book.day_pnl() == 0


def test_a_crash_inside_the_day_is_none() -> None:
    """What fell yesterday or falls today is sold."""
    night = Night()
    assert night.tell(tick(EVENING + 1, 400.0)) == []
    assert kinds(night.open_at(399.0)) == [OrderIntent]
    assert SymbolHalted not in kinds(night.tell(tick(MORNING + MINUTE, 200.0)))


def test_on_paper_the_position_is_counted_anew() -> None:
    """Before the first tick: 500 at 160, closed whole, no profit and no loss."""
    night = Night()
    assert night.tell(adjusted(by_broker=False), RESTATED) == []
    said = night.open_at(160.0)
    assert [event.quantity for event in said if isinstance(event, OrderIntent)] == [500]
    entry = night.book.of(SBIN)
    assert (entry.position, entry.marked_position, entry.average_price) == (500, 500, Decimal(160))
    assert night.book.day_pnl() == 0


def test_with_a_broker_it_waits_for_his_books() -> None:
    """He is said to make it 500; once he has, it is closed whole."""
    night = Night()
    (halted,) = night.tell(adjusted())
    assert isinstance(halted, SymbolHalted)
    assert "split of 2026-01-06 (×0.2) with 100 held: the broker is to make it 500" in halted.reason
    assert night.open_at(160.0) == []
    assert night.book.day_pnl() == 0
    said = night.tell(RESTATED, TimeAdvanced(ts=MORNING + MINUTE))
    assert kinds(said) == [SymbolResumed, OrderIntent]
    assert night.book.day_pnl() == 0


def test_a_dividend_and_a_flat_book_wait_for_nothing() -> None:
    """Nobody's number of shares changes."""
    night = Night()
    assert night.tell(adjusted(kind="dividend", shares=False, numerator=97, denominator=100)) == []
    assert night.tell(adjusted(symbol=RELIANCE)) == []
    assert kinds(night.open_at(776.0)) == [OrderIntent]


def test_a_restart_over_the_night_knows_what_it_held() -> None:
    """The earlier process's last price is compared with; what was in doubt stays so."""
    night = Night(evening=False)
    assert kinds(night.open_at(160.0)) == [OrderIntent]
    night = Night(evening=False)
    night.actor.held_over.restore({SBIN: (EVENING, 800.0)})
    assert kinds(night.open_at(160.0)) == [SymbolHalted]
    fresh = Night()
    fresh.actor.restore(TradingState.ACTIVE, "", {SBIN: "in doubt"})
    assert fresh.open_at(790.0) == []
    assert fresh.book.unsettled == {SBIN: "in doubt"}


CALL, ON_INDEX = "NSE:SBIN26JAN800CE", "NSE:NIFTY26JAN26000CE"


@pytest.mark.parametrize(
    ("event", "doubted"),
    [
        (PriceJumped(ts=MORNING, symbol=SBIN, before=800.0, after=160.0), True),
        (PriceJumped(ts=MORNING, symbol=RELIANCE, before=800.0, after=160.0), False),
        (PriceAdjusted(ts=MORNING, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5,
                       shares=True, by_broker=False), True),
        (PriceAdjusted(ts=MORNING, symbol=SBIN, date="2026-01-06", kind="dividend", numerator=97, denominator=100,
                       shares=False, by_broker=False), True),
        (PriceAdjusted(ts=MORNING, symbol=SBIN, date="2026-01-06", kind="dividend", numerator=99, denominator=100,
                       shares=False, by_broker=False), False),
    ],
)  # fmt: skip
def test_a_contract_on_a_share_is_another_after_an_action_on_it(event: Event, doubted: bool) -> None:
    """Its strike, lot and name are the exchange's to change; one on an index is none of it, nor one that isn't held."""
    night = Night(0)
    for number, symbol in enumerate((CALL, ON_INDEX)):
        bought = intend(f"o{number}", symbol=symbol, quantity=750, reference_price=Decimal(15))
        night.tell(fill_of(bought, ts=EVENING), position_of(750, "15", symbol))
    said = [it for it in night.tell(event) if isinstance(it, SymbolHalted)]
    assert [it.symbol for it in said] == ([CALL] if doubted else [])
    assert all(f"of {SBIN} with 750 held: the exchange makes another contract of it" in it.reason for it in said)
    assert night.tell(event) == []


def test_a_future_that_an_action_names_itself_is_in_no_doubt() -> None:
    """Whichever of the two is said first."""
    future = "NSE:SBIN26JANFUT"
    share = PriceAdjusted(ts=MORNING, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5,
                          shares=True, by_broker=False)  # fmt: skip
    counted = PositionRestated(ts=MORNING, symbol=future, date="2026-01-06", kind="split", numerator=1, denominator=5)
    for events in ((share, counted), (counted, share)):
        night = Night(0)
        night.tell(fill_of(intend("f", symbol=future, quantity=750), ts=EVENING), position_of(750, "800", future))
        night.tell(*events)
        assert (night.book.unsettled, night.book.of(future).position) == ({}, 3750)
