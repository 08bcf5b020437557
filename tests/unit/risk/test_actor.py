"""The risk stage: answers, square-off, flatten, and the states of trading."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock, VenueTime, india_day
from daemon.core.events import (
    ITSELF,
    Action,
    BrokerStatus,
    CancelOrder,
    DayProfitPeaked,
    Event,
    FeedState,
    FeedStatus,
    Flatten,
    FundsDiffer,
    FundsReported,
    Halt,
    ManualOrder,
    ManualOrderAnswered,
    ModelLoaded,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderType,
    Reduce,
    Resume,
    SettingChanged,
    Side,
    SymbolHalted,
    SymbolResumed,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.funds import FundsCheck
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import (
    CLOSE,
    DAY,
    MINUTE,
    OPEN,
    RELIANCE,
    SBIN,
    cancel_of,
    decide,
    fill_of,
    intend,
    position_of,
    tick,
)

NOON = OPEN + 60 * MINUTE
ANSWERS = (OrderIntent, OrderApproved, OrderDenied, ManualOrderAnswered, TradingStateChanged)


class Desk:
    """A risk actor, and what it said since it was last asked."""

    def __init__(self, calendar: MarketCalendar, now: int = NOON, **limits: Any) -> None:
        self.clock = ReplayClock(now)
        self.bus = Bus()
        self.undated, self.apart_ns = "", 0
        self._said: list[Event] = []
        self.bus.tap(ANSWERS, self._said.append)
        risk, instruments = RiskSettings(**limits), InstrumentBook(MarketSettings())
        self.actor = RiskActor(
            self.bus, RiskBook(), IntentBuilder(risk, ExecutionSettings(), instruments, "P"),
            RiskGate(risk, instruments, calendar, 30), self.clock, calendar, 15,
            venue_time=VenueTime(lambda: self.undated, lambda ts: ts + self.apart_ns),
        )  # fmt: skip

    def tell(self, *events: Event) -> list[Event]:
        """Hand events over; what was said to them."""
        for event in events:
            if isinstance(event, TimeAdvanced):
                self.clock.advance(event.ts)
            self.actor.handle(event)
        said, self._said[:] = list(self._said), []
        return said

    def hold(self, quantity: int, symbol: str = SBIN) -> None:
        """Open a position by a decision and its fill."""
        action = Action.BUY_LONG if quantity > 0 else Action.SELL_SHORT
        now = self.clock.now_ns()
        said = self.tell(
            tick(now, 800.0, symbol), TimeAdvanced(ts=now), decide(action, abs(quantity), symbol=symbol, ts=now)
        )
        intents = [event for event in said if isinstance(event, OrderIntent)]
        self.tell(fill_of(intents[-1]), position_of(quantity, symbol=symbol))


@pytest.fixture(scope="module")
def calendar() -> MarketCalendar:
    """NSE's."""
    return MarketCalendar()


@pytest.fixture
def desk(calendar: MarketCalendar) -> Desk:
    """A fresh one with a fresh tick at noon."""
    desk = Desk(calendar)
    desk.tell(tick(NOON, 800.0))
    return desk


def closings(said: list[Event]) -> list[tuple[str, Side, int, str]]:
    """(symbol, side, quantity, reason) of the exits among what was said, each of which must be approved."""
    intents = [event for event in said if isinstance(event, OrderIntent)]
    approved = {event.order_id for event in said if isinstance(event, OrderApproved)}
    assert all(intent.reduces and intent.order_id in approved for intent in intents)
    return [(intent.symbol, intent.side, intent.quantity, intent.reason) for intent in intents]


def test_a_decision_is_answered_at_once(desk: Desk) -> None:
    """Intent and approval leave in the same step and under the same id."""
    intent, approval = desk.tell(decide(Action.BUY_LONG))
    assert isinstance(intent, OrderIntent)
    assert approval == OrderApproved(ts=intent.ts, order_id=intent.order_id)


def test_hold_is_no_order(desk: Desk) -> None:
    """Neither is closing what isn't there."""
    assert desk.tell(decide(Action.HOLD), decide(Action.CLOSE_LONG)) == []


@pytest.mark.parametrize("opens", [Action.BUY_LONG, Action.SELL_SHORT])
def test_what_is_closed_is_not_opened_again_by_the_rest_of_its_entry(desk: Desk, opens: Action) -> None:
    """The part that is held is closed, what still waits of the entry is taken off, once; an order by hand stays."""
    closes = Action.CLOSE_LONG if opens is Action.BUY_LONG else Action.CLOSE_SHORT
    entry, _ = desk.tell(decide(opens, 100))
    assert isinstance(entry, OrderIntent)
    desk.tell(fill_of(entry, 40), position_of(40 * entry.side.sign))
    by_hand = ManualOrder(
        ts=NOON, key="k", symbol=SBIN, side=entry.side, quantity=5, type=OrderType.LIMIT,
        limit_price=Decimal(800), reduce_only=False, who="a test", reason="mine",
    )  # fmt: skip
    desk.tell(by_hand)
    off: list[str] = []
    desk.bus.tap((CancelOrder,), lambda event: off.append(event.order_id))
    assert closings(desk.tell(decide(closes, ts=NOON + MINUTE, reason="over"))) == [
        (SBIN, Side.SELL if opens is Action.BUY_LONG else Side.BUY, 40, "over")
    ]
    assert off == [entry.order_id]
    desk.tell(decide(closes, ts=NOON + 2 * MINUTE))
    assert off == [entry.order_id]


def test_a_denial_says_why_and_takes_no_room(desk: Desk) -> None:
    """Check, limit and value travel; the order counts for nothing afterwards."""
    desk.actor.book.state = TradingState.HALTED
    intent, denial = desk.tell(decide(Action.BUY_LONG))
    assert isinstance(intent, OrderIntent)
    assert denial == OrderDenied(
        ts=intent.ts, order_id=intent.order_id, symbol=SBIN, check="trading_state", limit="ACTIVE", value="HALTED"
    )
    assert desk.actor.book.of(SBIN).working_buys == 0


def test_what_left_the_market_makes_room(desk: Desk) -> None:
    """A rejected and a cancelled order no longer count."""
    for gone in ("rejected", "cancelled"):
        intent = desk.tell(decide(Action.BUY_LONG))[0]
        assert isinstance(intent, OrderIntent)
        assert desk.actor.book.of(SBIN).working_buys == 100
        rejection = OrderRejected(ts=NOON, order_id=intent.order_id, code=-99, reason="no")
        desk.tell(rejection if gone == "rejected" else cancel_of(intent))
        assert desk.actor.book.of(SBIN).working_buys == 0


def test_states_change_once_and_are_said(desk: Desk) -> None:
    """Each command that changes the state is told with its reason, one that doesn't is not."""
    commands = (Halt, Halt, Reduce, Resume, Resume)
    said = desk.tell(*(kind(ts=NOON, reason=f"r{number}") for number, kind in enumerate(commands)))
    states = [(event.state, event.reason) for event in said if isinstance(event, TradingStateChanged)]
    assert states == [(TradingState.HALTED, "r0"), (TradingState.REDUCING, "r2"), (TradingState.ACTIVE, "r3")]


@pytest.mark.parametrize(("quantity", "side"), [(100, Side.SELL), (-100, Side.BUY)])
def test_square_off_comes_before_the_close(desk: Desk, quantity: int, side: Side) -> None:
    """Nothing a nanosecond before the last quarter of an hour, everything at it, and once."""
    desk.hold(quantity)
    desk.hold(quantity, RELIANCE)
    assert desk.tell(TimeAdvanced(ts=CLOSE - 15 * MINUTE - 1)) == []
    said = desk.tell(TimeAdvanced(ts=CLOSE - 15 * MINUTE))
    assert closings(said) == [(SBIN, side, 100, "square-off time"), (RELIANCE, side, 100, "square-off time")]
    assert desk.tell(TimeAdvanced(ts=CLOSE - 14 * MINUTE)) == []


def test_square_off_asks_again_for_what_the_venue_refused(desk: Desk) -> None:
    """A rejected exit is sent again at the next moment, as a new order."""
    desk.hold(100)
    first = desk.tell(TimeAdvanced(ts=CLOSE - 15 * MINUTE))[0]
    assert isinstance(first, OrderIntent)
    desk.tell(OrderRejected(ts=CLOSE, order_id=first.order_id, code=-99, reason="no"))
    again = desk.tell(TimeAdvanced(ts=CLOSE - 10 * MINUTE))
    assert closings(again) == [(SBIN, Side.SELL, 100, "square-off time")]
    assert getattr(again[0], "order_id") != first.order_id  # noqa: B009


def test_what_a_session_left_is_closed_at_the_start_of_the_next(desk: Desk) -> None:
    """Nothing after the close; at the next open the rest goes, and is not asked for twice."""
    desk.hold(-100)
    assert desk.tell(TimeAdvanced(ts=CLOSE)) == []
    said = desk.tell(TimeAdvanced(ts=OPEN + DAY))
    assert closings(said) == [(SBIN, Side.BUY, 100, "carried over from an earlier session")]
    assert desk.tell(TimeAdvanced(ts=OPEN + DAY + MINUTE)) == []
    desk.tell(OrderCancelled(ts=OPEN + DAY, order_id=getattr(said[0], "order_id"), filled=0, reason="x"))  # noqa: B009
    assert len(closings(desk.tell(TimeAdvanced(ts=OPEN + DAY + 2 * MINUTE)))) == 1


def test_no_day_begins_before_anybody_knows_that_it_has(desk: Desk) -> None:
    """Nothing is closed, bought or sold by hand, and the loss counts on; once it is known all goes its way."""
    desk.hold(100)
    tomorrow = NOON + DAY
    desk.undated, day = "the venue has not yet said what day it is", desk.actor.book.day
    said = desk.tell(TimeAdvanced(ts=tomorrow), tick(tomorrow, 700.0), TimeAdvanced(ts=tomorrow + NS_PER_S))
    said += desk.tell(decide(Action.BUY_LONG, ts=tomorrow, symbol=RELIANCE))
    assert (said, desk.actor.book.day, desk.actor.closing.flatten_reason) == ([], day, "")
    (answered,) = desk.tell(by_hand(Side.SELL, 100))
    assert isinstance(answered, ManualOrderAnswered)
    assert (answered.approved, answered.check, answered.value) == (False, "day", desk.undated)
    desk.undated = ""
    assert closings(desk.tell(TimeAdvanced(ts=tomorrow + 2 * NS_PER_S)))[0][3] == "carried over from an earlier session"


@pytest.mark.parametrize("ahead_h", [3, 6, -3])
def test_a_session_ends_by_the_venue_s_time(calendar: MarketCalendar, ahead_h: int) -> None:
    """On a clock hours ahead, beyond its own close, or behind: squared off when it is time there, and not before."""
    ahead = ahead_h * 60 * MINUTE
    desk = Desk(calendar, CLOSE - 31 * MINUTE)
    desk.hold(100)
    desk.apart_ns = -ahead
    assert desk.tell(TimeAdvanced(ts=CLOSE - 16 * MINUTE + ahead)) == []
    said = desk.tell(TimeAdvanced(ts=CLOSE - 15 * MINUTE + ahead))
    assert closings(said) == [(SBIN, Side.SELL, 100, "square-off time")]


def test_carrying_over_stops_no_later_trading(desk: Desk) -> None:
    """Once the old position is gone the strategy's new one stays."""
    desk.hold(100)
    said = desk.tell(TimeAdvanced(ts=OPEN + DAY))
    intent = said[0]
    assert isinstance(intent, OrderIntent)
    desk.tell(fill_of(intent), position_of(0), TimeAdvanced(ts=OPEN + DAY + MINUTE))
    desk.hold(50)
    assert desk.tell(TimeAdvanced(ts=OPEN + DAY + 2 * MINUTE)) == []


def test_what_is_opened_as_soon_as_it_is_closed_stays(desk: Desk) -> None:
    """Before time has passed, too: a closing is over with what it closed, as it is for a process that starts then."""
    desk.hold(100)
    (left,) = [it for it in desk.tell(TimeAdvanced(ts=OPEN + DAY)) if isinstance(it, OrderIntent)]
    said = desk.tell(fill_of(left), position_of(0), tick(OPEN + DAY, 800.0), decide(Action.BUY_LONG, 50, ts=OPEN + DAY))
    (entry,) = [it for it in said if isinstance(it, OrderIntent)]
    desk.tell(fill_of(entry), position_of(50))
    assert desk.tell(TimeAdvanced(ts=OPEN + DAY + MINUTE)) == []
    assert desk.actor.closing.why(SBIN) == ""


@pytest.mark.parametrize("why", ["carried over from an earlier session", "model new"])
def test_one_that_can_t_be_sold_costs_no_other_its_new_position(desk: Desk, why: str) -> None:
    """Its market has stopped and its exit waits for days; what is opened meanwhile in others is not closed for it."""
    desk.hold(100)
    morning = OPEN + DAY if why != "model new" else NOON + MINUTE
    said = desk.tell(TimeAdvanced(ts=morning), *([] if morning > NOON + DAY // 2 else [loaded(closes=True)]))
    assert [it[::3] for it in closings(said)] == [(SBIN, why)]
    desk.hold(50, RELIANCE)
    assert desk.tell(TimeAdvanced(ts=morning + 5 * MINUTE)) == []
    assert desk.actor.closing.why(SBIN) == why
    assert desk.actor.closing.why(RELIANCE) == ""


@pytest.mark.parametrize("by_itself", [True, False])
def test_what_goes_on_by_itself_calls_off_no_closing(desk: Desk, by_itself: bool) -> None:
    """A token came again: nobody has said that what was carried over, and couldn't be sold, may stay; a person has."""
    desk.hold(100)
    (left,) = [it for it in desk.tell(TimeAdvanced(ts=OPEN + DAY)) if isinstance(it, OrderIntent)]
    desk.tell(OrderRejected(ts=OPEN + DAY, order_id=left.order_id, code=-16, reason="the token was refused"))
    desk.tell(Halt(ts=OPEN + DAY + 1, reason="the token ended", automatic=True))
    desk.tell(Resume(ts=OPEN + DAY + 2, reason="on", automatic=by_itself))
    assert desk.actor.closing.why(SBIN) == ("carried over from an earlier session" if by_itself else "")
    assert len(closings(desk.tell(TimeAdvanced(ts=OPEN + DAY + MINUTE)))) == int(by_itself)


def test_flatten_closes_reduces_and_keeps_at_it(desk: Desk) -> None:
    """All positions, at once and again until they are gone; no new risk until resumed."""
    desk.hold(100)
    desk.hold(-50, RELIANCE)
    said = desk.tell(Flatten(ts=NOON, reason="enough"))
    state, *orders = said
    assert state == TradingStateChanged(ts=NOON, state=TradingState.REDUCING, reason="enough")
    assert closings(orders) == [(SBIN, Side.SELL, 100, "enough"), (RELIANCE, Side.BUY, 50, "enough")]
    first = orders[0]
    assert isinstance(first, OrderIntent)
    desk.tell(fill_of(first, 30), cancel_of(first, 30))
    assert closings(desk.tell(TimeAdvanced(ts=NOON + MINUTE))) == [(SBIN, Side.SELL, 70, "enough")]
    assert isinstance(desk.tell(decide(Action.BUY_LONG))[-1], OrderDenied)


def test_flatten_waits_for_the_entry_that_crossed_its_way(desk: Desk) -> None:
    """An entry that was on its way to the venue when the command came is closed once it fills."""
    entry = desk.tell(decide(Action.BUY_LONG))[0]
    assert isinstance(entry, OrderIntent)
    assert len(desk.tell(Flatten(ts=NOON, reason="enough"))) == 1  # the state; there is nothing to close yet
    assert desk.tell(TimeAdvanced(ts=NOON + MINUTE)) == []
    desk.tell(fill_of(entry))
    assert closings(desk.tell(TimeAdvanced(ts=NOON + 2 * MINUTE))) == [(SBIN, Side.SELL, 100, "enough")]


def test_flatten_ends_when_nothing_is_left(desk: Desk) -> None:
    """Flat, and resumed by hand: the next position is not closed for an old command."""
    desk.hold(100)
    closing = desk.tell(Flatten(ts=NOON, reason="enough"))[1]
    assert isinstance(closing, OrderIntent)
    desk.tell(fill_of(closing), position_of(0), TimeAdvanced(ts=NOON + MINUTE))
    desk.actor.book.state = TradingState.ACTIVE
    desk.hold(20)
    assert desk.tell(TimeAdvanced(ts=NOON + 2 * MINUTE)) == []


@pytest.mark.parametrize(
    ("order_id", "resumed", "closes"),
    [("H695b3e48f83177L0000009", False, True), ("H695b3e48f83177L0000009", True, False), ("X9", False, False)],
)
def test_an_order_that_was_given_up_is_closed_when_it_comes_after_a_flatten(
    desk: Desk, order_id: str, resumed: bool, closes: bool
) -> None:
    """The venue's book never showed it, and then it filled; what a person buys in the broker's app is his own."""
    desk.tell(Flatten(ts=NOON, reason="enough"), TimeAdvanced(ts=NOON + MINUTE))
    assert desk.actor.closing.flatten_reason == ""
    if resumed:
        desk.tell(Resume(ts=NOON + MINUTE, reason="go on"))
    late = fill_of(msgspec.structs.replace(intend("T1", quantity=100, ts=NOON), order_id=order_id))
    said = desk.tell(late, position_of(100), TimeAdvanced(ts=NOON + 2 * MINUTE))
    assert closings(said) == [(SBIN, Side.SELL, 100, "enough")] * closes


def loaded(*, closes: bool) -> ModelLoaded:
    """Another model was put in charge."""
    return ModelLoaded(
        ts=NOON, key="k", name="new", model_hash="b", before="a", after_bar=NOON, runtime="", file="", closes=closes,
        reason="model new",
    )  # fmt: skip


def test_a_model_that_takes_nothing_over(desk: Desk) -> None:
    """What is held is closed, trading goes on, and what is opened afterwards stays."""
    desk.hold(100)
    closing, *_ = orders = desk.tell(loaded(closes=True))
    assert closings(orders) == [(SBIN, Side.SELL, 100, "model new")]
    assert isinstance(closing, OrderIntent)
    desk.tell(fill_of(closing), position_of(0), TimeAdvanced(ts=NOON + MINUTE))
    assert desk.actor.book.state is TradingState.ACTIVE
    desk.hold(20)
    assert desk.tell(TimeAdvanced(ts=NOON + 2 * MINUTE)) == []


def test_a_model_that_takes_over(desk: Desk) -> None:
    """What is held is its own now."""
    desk.hold(100)
    assert desk.tell(loaded(closes=False), TimeAdvanced(ts=NOON + MINUTE)) == []


def test_a_switch_with_nothing_held_closes_nothing_later(desk: Desk) -> None:
    """The next position is the new model's own."""
    assert desk.tell(loaded(closes=True)) == []
    desk.hold(20)
    assert desk.tell(TimeAdvanced(ts=NOON + 2 * MINUTE)) == []


def test_flatten_leaves_a_halt_halted(desk: Desk) -> None:
    """Closing does not loosen the state."""
    desk.hold(100)
    desk.tell(Halt(ts=NOON, reason="stop"))
    assert closings(desk.tell(Flatten(ts=NOON, reason="enough"))) == [(SBIN, Side.SELL, 100, "enough")]
    assert desk.actor.book.state is TradingState.HALTED


def test_resume_ends_flattening(desk: Desk) -> None:
    """What is still held after a resume is the strategy's again, and it may trade."""
    desk.hold(100)
    closing = desk.tell(Flatten(ts=NOON, reason="enough"))[1]
    assert isinstance(closing, OrderIntent)
    said = desk.tell(cancel_of(closing), Resume(ts=NOON, reason="go on"))
    assert said == [TradingStateChanged(ts=NOON, state=TradingState.ACTIVE, reason="go on")]
    assert desk.tell(TimeAdvanced(ts=NOON + MINUTE)) == []
    later = decide(Action.BUY_LONG, ts=NOON + MINUTE)
    assert isinstance(desk.tell(tick(NOON + MINUTE, 800.0), later)[-1], OrderApproved)


def test_only_a_person_calls_off_what_is_being_closed(desk: Desk) -> None:
    """A token was lost while an exit was wanted, and is there again: nobody said that what is held may stay."""
    desk.hold(100)
    closing, *_ = desk.tell(loaded(closes=True))
    assert isinstance(closing, OrderIntent)
    desk.tell(
        OrderRejected(ts=NOON, order_id=closing.order_id, code=-16, reason="Could not authenticate the user"),
        Halt(ts=NOON, reason="the token", automatic=True, who=ITSELF),
        Resume(ts=NOON, reason="a token that holds is there again", automatic=True, who=ITSELF),
    )
    assert desk.actor.book.state is TradingState.ACTIVE
    again = desk.tell(TimeAdvanced(ts=NOON + 2 * NS_PER_S))
    assert closings(again) == [(SBIN, Side.SELL, 100, "model new")]
    assert isinstance(again[0], OrderIntent)
    desk.tell(cancel_of(again[0]), Resume(ts=NOON, reason="keep it", who="asha"))
    assert desk.tell(TimeAdvanced(ts=NOON + MINUTE)) == []


def test_the_loss_counts_from_each_sessions_start(desk: Desk) -> None:
    """A lost day stops its own entries and not the next day's."""
    desk.tell(TimeAdvanced(ts=NOON), position_of(0, realised_pnl=Decimal(-20_000)))
    denied = desk.tell(decide(Action.BUY_LONG))[-1]
    assert isinstance(denied, OrderDenied)
    assert denied.check == "daily_loss"
    later = NOON + DAY
    said = desk.tell(TimeAdvanced(ts=later), tick(later, 800.0), decide(Action.BUY_LONG, ts=later))
    assert isinstance(said[-1], OrderApproved)


def test_outside_a_session_time_does_nothing(desk: Desk) -> None:
    """Before the first session there is no day to start."""
    desk.hold(100)
    fresh = OPEN - 30 * MINUTE
    desk.actor._session = None
    assert desk.tell(TimeAdvanced(ts=fresh)) == []


def by_hand(side: Side, quantity: int, limit: str | None = None, symbol: str = SBIN) -> ManualOrder:
    """An order by hand, now."""
    return ManualOrder(
        ts=NOON, key="k", symbol=symbol, side=side, quantity=quantity, reason="news",
        type=OrderType.LIMIT if limit else OrderType.MARKET, limit_price=Decimal(limit) if limit else None,
    )  # fmt: skip


def test_an_order_by_hand_passes_the_same_gate(desk: Desk) -> None:
    """Approved: intent, approval and answer in one step; the answer names the order."""
    order = by_hand(Side.BUY, 10, "800.05")
    intent, approval, answer = desk.tell(order)
    assert isinstance(intent, OrderIntent)
    assert (intent.strategy, intent.reduces, intent.limit_price) == ("manual", False, Decimal("800.05"))
    assert approval == OrderApproved(ts=NOON, order_id=intent.order_id)
    assert answer == ManualOrderAnswered(ts=NOON, order=order, order_id=intent.order_id, approved=True)


@pytest.mark.parametrize(
    ("order", "check"),
    [
        (by_hand(Side.BUY, 100_000), "order_quantity"), (by_hand(Side.BUY, 1, "800.03"), "tick_size"),
        (by_hand(Side.BUY, 1, "900"), "price_band"), (by_hand(Side.BUY, 1, symbol="NSE:TCS-EQ"), "stale_feed"),
        (by_hand(Side.BUY, 7, symbol="NSE:NIFTY26JANFUT"), "lot_size"),
    ],
)  # fmt: skip
def test_an_order_by_hand_is_denied_like_any_other(desk: Desk, order: ManualOrder, check: str) -> None:
    """The answer has the check, the limit and the value of the denial."""
    _, denial, answer = desk.tell(order)
    assert isinstance(denial, OrderDenied)
    assert isinstance(answer, ManualOrderAnswered)
    assert denial.check == answer.check == check
    assert (answer.approved, answer.limit, answer.value) == (False, denial.limit, denial.value)


def test_an_order_by_hand_that_only_closes_is_an_exit(desk: Desk) -> None:
    """It passes while trading is halted; one that would turn the position round doesn't."""
    desk.hold(10)
    desk.tell(Halt(ts=NOON, reason="enough"))
    intent = desk.tell(by_hand(Side.SELL, 4, "810"))[0]
    assert isinstance(intent, OrderIntent)
    assert intent.reduces
    assert isinstance(desk.tell(by_hand(Side.SELL, 6))[1], OrderApproved)
    assert isinstance(desk.tell(by_hand(Side.SELL, 1))[1], OrderDenied)


def test_square_off_takes_resting_orders_off_and_closes_what_they_held_back(desk: Desk) -> None:
    """An exit at a price is cancelled, once; when it is gone its part is closed as well."""
    desk.hold(10)
    resting = desk.tell(by_hand(Side.SELL, 10, "830"))[0]
    assert isinstance(resting, OrderIntent)
    asked: list[CancelOrder] = []
    desk.bus.tap((CancelOrder,), asked.append)
    late = CLOSE - 10 * MINUTE
    assert desk.tell(TimeAdvanced(ts=late)) == []
    assert desk.tell(TimeAdvanced(ts=late + 1)) == []
    assert [command.order_id for command in asked] == [resting.order_id]
    desk.tell(cancel_of(resting))
    assert closings(desk.tell(TimeAdvanced(ts=late + 2))) == [(SBIN, Side.SELL, 10, "square-off time")]


def test_an_exit_that_was_refused_is_tried_again_a_second_later(desk: Desk) -> None:
    """Not at once: a broker that says no is not hammered."""
    desk.hold(10)
    late = CLOSE - 10 * MINUTE
    exit_ = desk.tell(TimeAdvanced(ts=late))[0]
    assert isinstance(exit_, OrderIntent)
    desk.tell(OrderRejected(ts=late, order_id=exit_.order_id, code=-99, reason="no"))
    assert desk.tell(TimeAdvanced(ts=late + NS_PER_S - 1)) == []
    assert len(closings(desk.tell(TimeAdvanced(ts=late + NS_PER_S)))) == 1


def test_an_exit_by_hand_that_was_refused_is_left_to_whoever_placed_it(desk: Desk) -> None:
    """Nothing is sent again, and the log promises nothing."""
    desk.hold(10)
    exit_ = desk.tell(by_hand(Side.SELL, 10))[0]
    assert isinstance(exit_, OrderIntent)
    assert exit_.reduces
    with capture_logs() as logs:
        desk.tell(OrderRejected(ts=NOON, order_id=exit_.order_id, code=-99, reason="no"))
    assert [line["event"] for line in logs] == ["an exit by hand was refused"]
    assert closings(desk.tell(TimeAdvanced(ts=NOON + MINUTE))) == []


def test_what_is_to_be_closed_and_is_held_yet_is_told(desk: Desk) -> None:
    """With the venue's last answer, by whatever it is closed; what only the broker's book keeps is told elsewhere."""
    desk.hold(10)
    assert desk.actor.wanted_exits() == {}
    (exit_, _) = desk.tell(decide(Action.CLOSE_LONG, 10, ts=NOON, reason="enough"))
    assert isinstance(exit_, OrderIntent)
    assert desk.actor.wanted_exits() == {SBIN: "10 held (enough)"}
    desk.tell(OrderRejected(ts=NOON, order_id=exit_.order_id, code=-99, reason="1,200.50 more is needed"))
    assert desk.actor.wanted_exits() == {SBIN: "10 held (enough), the last answer was: 1,200.50 more is needed"}
    desk.tell(SymbolHalted(ts=NOON, symbol=SBIN, reason="positions differ", held=0))
    assert desk.actor.wanted_exits() == {}
    desk.tell(SymbolResumed(ts=NOON, symbol=SBIN, reason="they agree"), Flatten(ts=NOON, reason="out"))
    assert desk.actor.wanted_exits() == {SBIN: "10 held (out)"}
    desk.clock.advance(CLOSE)
    assert desk.actor.wanted_exits() == {}


def funds(cash: str, available: str = "1000000", settled: bool = True) -> FundsReported:
    """What the broker says of the money."""
    return FundsReported(
        ts=NOON, total=Decimal(cash), available=Decimal(available), cash=Decimal(cash), settled=settled
    )  # fmt: skip


@pytest.mark.parametrize("halts", [False, True])
def test_cash_that_differs_is_told_and_halts_by_setting(desk: Desk, halts: bool) -> None:
    """Where nobody said what it began with there is nothing to compare; then both numbers are told, and the end."""
    said: list[Event] = []
    desk.bus.tap((FundsDiffer, Halt), said.append)
    desk.actor.funds = FundsCheck(Decimal(0), Decimal(5), halts=halts)
    desk.tell(funds("1"))
    desk.actor.book.cash = Decimal(1000) + 100 * 800 + Decimal("1.23")
    desk.tell(fill_of(intend()))
    desk.tell(funds("1005"))
    assert said == []
    desk.tell(funds("900"))
    assert [type(event) for event in said] == ([FundsDiffer, Halt] if halts else [FundsDiffer])
    assert isinstance(said[0], FundsDiffer)
    assert (said[0].broker, said[0].journal) == (Decimal(900), Decimal(1000))
    desk.tell(funds("1000"))
    assert said[-1] == FundsDiffer(ts=NOON, broker=Decimal(1000), journal=Decimal(1000), reason="")


def test_what_was_approved_since_the_brokers_word_is_spoken_for(desk: Desk) -> None:
    """Two entries that each fit and together don't: the second is denied, until the broker's number has the first."""
    desk.tell(funds("0", "20000"))
    entry, approval = desk.tell(decide(Action.BUY_LONG, 100))
    assert isinstance(approval, OrderApproved)
    denial = desk.tell(decide(Action.BUY_LONG, 90, ts=NOON + 2 * NS_PER_S))[1]
    assert isinstance(denial, OrderDenied)
    assert (denial.check, denial.limit, denial.value) == ("funds", "4000.00 available", "14400.00")
    desk.tell(funds("0", "20000"))
    assert isinstance(desk.tell(decide(Action.BUY_LONG, 90, ts=NOON + 4 * NS_PER_S))[1], OrderDenied)
    assert isinstance(entry, OrderIntent)
    desk.tell(OrderAccepted(ts=NOON, order_id=entry.order_id, venue_id="V1"), funds("0", "15000"))
    assert isinstance(desk.tell(decide(Action.BUY_LONG, 90, ts=NOON + 6 * NS_PER_S))[1], OrderApproved)


def test_a_changed_quantity_counts_against_the_limits(desk: Desk) -> None:
    """Made larger at the venue: the larger number works; made smaller: the smaller one."""
    intent = desk.tell(decide(Action.BUY_LONG, 100))[0]
    assert isinstance(intent, OrderIntent)
    desk.tell(OrderAmended(ts=NOON, order_id=intent.order_id, quantity=150, change=50))
    assert desk.actor.book.of(SBIN).working_buys == 150
    desk.tell(OrderAmended(ts=NOON, order_id=intent.order_id, quantity=20, change=-130))
    assert desk.actor.book.of(SBIN).working_buys == 20
    desk.tell(OrderAmended(ts=NOON, order_id="stranger", quantity=20, change=-130))
    assert desk.actor.book.of(SBIN).working_buys == 20
    desk.tell(fill_of(intent, 20))
    assert desk.actor.book.of(SBIN).working_buys == 0
    desk.tell(OrderAmended(ts=NOON, order_id=intent.order_id, quantity=25, change=5))  # before its fill, we hear now
    assert desk.actor.book.of(SBIN).working_buys == 5


def test_an_exit_that_somebody_made_a_limit_rests_and_is_taken_off(desk: Desk) -> None:
    """It isn't on its way any more: flattening cancels it and closes what it held back."""
    desk.hold(10)
    (intent,) = [it for it in desk.tell(decide(Action.CLOSE_LONG, 10, ts=NOON)) if isinstance(it, OrderIntent)]
    assert desk.actor.book.resting() == []
    change = OrderAmended(
        ts=NOON, order_id=intent.order_id, quantity=10, change=0, type=OrderType.LIMIT, limit_price=Decimal(900)
    )
    desk.tell(change)
    assert desk.actor.book.resting() == [intent.order_id]


def test_flatten_goes_on_while_the_broker_disputes_that_we_are_flat(desk: Desk) -> None:
    """Until both books say flat."""
    desk.hold(10)
    desk.tell(Flatten(ts=NOON, reason="out"))
    exit_ = desk.actor.book.resting()
    assert exit_ == []
    desk.tell(position_of(0), SymbolHalted(ts=NOON, symbol=SBIN, reason="position: the broker holds 3, the journal 0"))
    desk.actor.book.of(SBIN).position = desk.actor.book.of(SBIN).working_sells = 0
    desk.tell(TimeAdvanced(ts=NOON + MINUTE))
    assert desk.actor.closing.flatten_reason == "out"
    desk.tell(SymbolResumed(ts=NOON, symbol=SBIN, reason="both hold 0"), TimeAdvanced(ts=NOON + 2 * MINUTE))
    assert desk.actor.closing.flatten_reason == ""


@pytest.mark.parametrize("how", ["flatten", "close", "square-off"])
@pytest.mark.parametrize(
    ("held", "theirs", "closed"), [(100, 0, 0), (100, -100, 0), (100, 40, 40), (100, 130, 100), (-100, -40, 40)]
)
def test_an_exit_takes_no_more_than_the_broker_holds(
    desk: Desk, how: str, held: int, theirs: int, closed: int
) -> None:  # fmt: skip
    """Somebody closed by hand what the journal still has: to close it once more would open the opposite position."""
    desk.hold(held)
    desk.tell(SymbolHalted(ts=NOON, symbol=SBIN, reason="positions differ", held=theirs))
    wish = {
        "flatten": Flatten(ts=NOON, reason="out"),
        "close": decide(Action.CLOSE_LONG if held > 0 else Action.CLOSE_SHORT, abs(held), ts=NOON),
        "square-off": TimeAdvanced(ts=CLOSE - 10 * MINUTE),
    }[how]
    said = [it for it in desk.tell(wish) if isinstance(it, OrderIntent)]
    assert [(it.side.sign * it.quantity) for it in said] == ([-closed if held > 0 else closed] if closed else [])
    left = held - closed if held > 0 else held + closed
    for intent in said:
        desk.tell(fill_of(intent), position_of(left))
    again = desk.tell(TimeAdvanced(ts=max(NOON + MINUTE, desk.clock.now_ns() + 5 * NS_PER_S)))
    assert [it for it in again if isinstance(it, OrderIntent)] == []
    resumed = desk.tell(
        SymbolResumed(ts=NOON, symbol=SBIN, reason="they agree"), TimeAdvanced(ts=desk.clock.now_ns() + 5 * NS_PER_S)
    )
    assert sum(it.quantity for it in resumed if isinstance(it, OrderIntent)) == abs(left)


@pytest.mark.parametrize("theirs", [0, 40])
def test_an_exit_that_is_cut_for_what_the_broker_holds_is_said_once_and_owed(desk: Desk, theirs: int) -> None:
    """However often it is decided on; an entry that is decided on meanwhile takes it back."""
    desk.hold(100)
    desk.tell(SymbolHalted(ts=NOON, symbol=SBIN, reason="positions differ", held=theirs))
    with capture_logs() as logs:
        for minute in range(3):
            desk.tell(decide(Action.CLOSE_LONG, 100, ts=NOON + minute * MINUTE, reason="enough"))
    (said,) = [line for line in logs if line["event"] == "an exit waits until broker and journal agree"]
    assert (said["symbol"], said["held"], said["closable"], said["why"]) == (SBIN, 100, theirs, "positions differ")
    assert [(it.side, it.reason) for it in desk.actor.closing.owed.of.values()] == [(Side.SELL, "enough")]
    desk.tell(decide(Action.BUY_LONG, 10, ts=NOON + 4 * MINUTE))
    assert desk.actor.closing.owed.of == {}


def test_what_the_broker_does_not_hold_keeps_nothing_else_from_being_traded(desk: Desk) -> None:
    """What was held over the night is to be closed; the rest of the day's positions are no business of that."""
    desk.hold(100)
    desk.tell(SymbolHalted(ts=NOON, symbol=SBIN, reason="positions differ", held=0))
    morning = OPEN + DAY
    desk.clock.advance(morning - 1)
    said = desk.tell(tick(morning, 800.0), TimeAdvanced(ts=morning))
    assert (desk.actor.closing.flatten_reason, list(desk.actor.closing.symbols)) == ("", [SBIN])
    desk.clock.advance(morning + 10 * MINUTE)
    said = desk.tell(
        tick(morning + 10 * MINUTE, 800.0, RELIANCE),
        decide(Action.BUY_LONG, 100, symbol=RELIANCE, ts=morning + 10 * MINUTE),
    )
    (entry,) = [it for it in said if isinstance(it, OrderIntent)]
    desk.tell(fill_of(entry), position_of(100, symbol=RELIANCE))
    later = desk.tell(TimeAdvanced(ts=morning + 11 * MINUTE))
    assert [it for it in later if isinstance(it, OrderIntent)] == []
    resumed = SymbolResumed(ts=NOON, symbol=SBIN, reason="they agree")
    closed = desk.tell(resumed, TimeAdvanced(ts=morning + 12 * MINUTE))
    assert [(it.symbol, it.quantity) for it in closed if isinstance(it, OrderIntent)] == [(SBIN, 100)]


def test_a_person_closes_what_he_says(desk: Desk) -> None:
    """He has the broker's app before him: an order by hand is for what it says."""
    desk.hold(100)
    desk.tell(SymbolHalted(ts=NOON, symbol=SBIN, reason="positions differ", held=0))
    assert [it.quantity for it in desk.tell(by_hand(Side.SELL, 100)) if isinstance(it, OrderIntent)] == [100]


def test_the_days_peak_is_told_where_a_limit_counts_from_it(calendar: MarketCalendar) -> None:
    """In steps of a fiftieth of the limit; without the limit never."""
    desk = Desk(calendar, max_day_drawdown=1000)
    told: list[DayProfitPeaked] = []
    desk.bus.tap((DayProfitPeaked,), told.append)
    desk.hold(100)
    for number, price in enumerate((800.1, 800.3, 800.4, 800.2, 801.0), 1):
        desk.tell(tick(NOON + number, price), TimeAdvanced(ts=NOON + number))
    assert [peak.high for peak in told] == [Decimal(30), Decimal(100)]
    assert desk.actor.book.day_high == 100


def test_a_broker_out_of_sight_is_remembered_until_it_is_seen(desk: Desk) -> None:
    """Its reason is what the denial says."""
    desk.tell(BrokerStatus(ts=NOON, readable=False, reason="HTTP 502"))
    assert desk.actor.book.unread == "HTTP 502"
    desk.tell(BrokerStatus(ts=NOON, readable=True, reason=""))
    assert desk.actor.book.unread == ""


def test_a_stale_feed_is_remembered_until_it_is_connected(desk: Desk) -> None:
    """The feed's own word counts, for its symbol or for all."""
    desk.tell(tick(NOON, 800.0))
    for symbol in (SBIN, None):
        desk.tell(FeedStatus(ts=NOON, state=FeedState.STALE, symbol=symbol, reason="silent"))
        denied = [event for event in desk.tell(decide(Action.BUY_LONG, ts=NOON)) if isinstance(event, OrderDenied)]
        assert [(event.check, event.value) for event in denied] == [("stale_feed", "silent")]
        desk.tell(FeedStatus(ts=NOON, state=FeedState.CONNECTED, symbol=symbol, reason="ticks again"))
        assert desk.actor.book.stale == {}
    assert any(isinstance(event, OrderApproved) for event in desk.tell(decide(Action.BUY_LONG, ts=NOON)))


def test_orders_by_hand_before_the_first_tick_of_a_rehearsal_are_denied(calendar: MarketCalendar) -> None:
    """Any kind of them, and a flattening too; with the first ticks the flattening is done."""
    desk = Desk(calendar, now=0)
    for kind, price in ((OrderType.MARKET, None), (OrderType.LIMIT, Decimal(800))):
        order = ManualOrder(ts=0, key=kind, symbol=SBIN, side=Side.BUY, quantity=5, type=kind, limit_price=price,
                            reason="a test")  # fmt: skip
        said = desk.tell(order)
        assert [type(event) for event in said] == [OrderIntent, OrderDenied, ManualOrderAnswered]
        assert isinstance(said[-1], ManualOrderAnswered)
        assert (said[-1].approved, said[-1].check, said[-1].value) == (False, "session", "none yet")
    desk.tell(fill_of(intend("held", ts=0)))
    assert not [event for event in desk.tell(Flatten(ts=0, reason="out")) if isinstance(event, OrderApproved)]
    said = desk.tell(tick(NOON, 800.0), TimeAdvanced(ts=NOON))
    assert [type(event) for event in said] == [OrderIntent, OrderApproved]


NIFTY_FUTURE = "NSE:NIFTY26JANFUT"
WIDE = {"max_order_quantity": 100_000, "max_position_quantity": 100_000, "max_order_notional": 10**9,
        "max_gross_notional": 10**9}  # fmt: skip


@pytest.mark.parametrize("how", ["flatten", "square-off", "strategy"])
def test_an_exit_that_the_market_has_left_behind_is_sent_again(desk: Desk, how: str) -> None:
    """It rests at the price that protects it, and would hold up every other exit of the position."""
    desk.hold(100)
    at = CLOSE - 10 * MINUTE if how == "square-off" else NOON
    events: dict[str, Event] = {
        "flatten": Flatten(ts=NOON, reason="why"), "square-off": TimeAdvanced(ts=at),
        "strategy": decide(Action.CLOSE_LONG),
    }  # fmt: skip
    desk.tell(tick(at, 800.0))
    asked: list[CancelOrder] = []
    desk.bus.tap((CancelOrder,), asked.append)
    (sent,) = [event for event in desk.tell(events[how]) if isinstance(event, OrderIntent)]
    desk.tell(tick(at + 6 * NS_PER_S, 800.0), TimeAdvanced(ts=at + 6 * NS_PER_S))
    assert not asked  # nobody buys, at the same price
    desk.tell(tick(at + 7 * NS_PER_S, 790.0), *(TimeAdvanced(ts=at + second * NS_PER_S) for second in (7, 8)))
    (off,) = asked
    assert off.order_id == sent.order_id
    said = desk.tell(off, cancel_of(sent), TimeAdvanced(ts=at + 9 * NS_PER_S))
    assert [(symbol, side, quantity) for symbol, side, quantity, _ in closings(said)] == [(SBIN, Side.SELL, 100)]
    assert [event.reference_price for event in said if isinstance(event, OrderIntent)] == [790]


@pytest.mark.parametrize("quantity", [100, -100])
def test_an_exit_without_a_tick_so_far_is_wanted_at_what_was_paid(desk: Desk, quantity: int) -> None:
    """As after a restart: of no price at all a protected order would make the least there is, or ask for no money."""
    side = Side.BUY if quantity > 0 else Side.SELL
    desk.tell(fill_of(intend("held", side, 100, symbol=RELIANCE)), position_of(quantity, symbol=RELIANCE))
    asked: list[CancelOrder] = []
    desk.bus.tap((CancelOrder,), asked.append)
    (sent,) = [event for event in desk.tell(Flatten(ts=NOON, reason="why")) if isinstance(event, OrderIntent)]
    assert sent.reference_price == 800
    desk.tell(TimeAdvanced(ts=NOON + 6 * NS_PER_S))
    assert not asked
    order = ManualOrder(ts=NOON, key="k", symbol=RELIANCE, side=sent.side, quantity=1, type=OrderType.MARKET,
                        limit_price=None, reason="a test")  # fmt: skip
    by_hand = [event for event in desk.tell(cancel_of(sent), order) if isinstance(event, OrderIntent)]
    assert {event.reference_price for event in by_hand} == {800}


def test_an_exit_that_rests_at_its_protection_is_sent_again_and_may_go_further(desk: Desk) -> None:
    """Where the price stands still, too: so for half a minute."""
    desk.actor.book.protects = True
    desk.hold(100)
    desk.tell(tick(NOON, 800.0))
    asked: list[CancelOrder] = []
    desk.bus.tap((CancelOrder,), asked.append)
    said, at = desk.tell(Flatten(ts=NOON, reason="why")), NOON
    for times in range(1, 10):
        at += 5 * NS_PER_S
        (sent,) = [event for event in said if isinstance(event, OrderIntent)]
        desk.tell(tick(at, 800.0), TimeAdvanced(ts=at))
        if len(asked) < times:
            break
        assert (asked[-1].order_id, desk.actor.book.rested[SBIN]) == (sent.order_id, times)
        said = desk.tell(asked[-1], cancel_of(sent), TimeAdvanced(ts=at))
    assert len(asked) == desk.actor.book.rested[SBIN] == 6
    desk.tell(fill_of(sent))
    assert not desk.actor.book.rested


def test_an_exit_that_rests_at_a_circuit_keeps_its_turn(desk: Desk) -> None:
    """There is nothing further to go to, and whoever goes is the last in the queue."""
    desk.actor.book.protects = True
    desk.hold(100)
    desk.tell(msgspec.structs.replace(tick(NOON, 720.0), lower_band=np.array([720.0])))
    asked: list[CancelOrder] = []
    desk.bus.tap((CancelOrder,), asked.append)
    desk.tell(Flatten(ts=NOON, reason="why"))
    for second in range(1, 60):
        desk.tell(TimeAdvanced(ts=NOON + second * NS_PER_S))
    assert not asked


def hold_future(calendar: MarketCalendar, quantity: int) -> Desk:
    """A desk that holds so many units of the future, which somebody bought in parts."""
    desk = Desk(calendar, **WIDE)
    desk.tell(tick(NOON, 100.0, NIFTY_FUTURE), TimeAdvanced(ts=NOON))
    bought = intend("bought", Side.BUY, quantity, symbol=NIFTY_FUTURE)
    desk.tell(fill_of(bought), position_of(quantity, symbol=NIFTY_FUTURE))
    return desk


def test_an_entry_is_cut_to_the_freeze_quantity(calendar: MarketCalendar) -> None:
    """1,800 units of NIFTY are 27 lots of 65."""
    desk = Desk(calendar, **WIDE)
    desk.tell(tick(NOON, 100.0, NIFTY_FUTURE))
    intent, answer = desk.tell(decide(Action.BUY_LONG, 4000, symbol=NIFTY_FUTURE, price=100.0))
    assert isinstance(intent, OrderIntent)
    assert intent.quantity == 1755
    assert isinstance(answer, OrderApproved)


@pytest.mark.parametrize("how", ["flatten", "square-off", "strategy", "hand"])
def test_an_exit_above_the_freeze_quantity_is_several_orders_of_one_reason(calendar: MarketCalendar, how: str) -> None:
    """They add up to the position, and nothing more is asked for while they work."""
    desk = hold_future(calendar, 61 * 65)
    late = CLOSE - 10 * MINUTE
    events: dict[str, Event] = {
        "flatten": Flatten(ts=NOON, reason="why"),
        "square-off": TimeAdvanced(ts=late),
        "strategy": decide(Action.CLOSE_LONG, symbol=NIFTY_FUTURE),
        "hand": ManualOrder(
            ts=NOON, key="k", symbol=NIFTY_FUTURE, side=Side.SELL, quantity=61 * 65, type=OrderType.MARKET,
            limit_price=None, reason="why",
        ),
    }  # fmt: skip
    said = desk.tell(events[how])
    orders = [event for event in said if isinstance(event, OrderIntent)]
    assert [order.quantity for order in orders] == [1755, 1755, 455]
    assert len({order.order_id for order in orders}) == 3
    assert len({order.reason for order in orders}) == 1
    assert len(closings(said)) == 3
    if how == "hand":
        answer = said[-1]
        assert isinstance(answer, ManualOrderAnswered)
        assert (answer.approved, answer.order_id) == (True, orders[0].order_id)
    assert [event for event in desk.tell(TimeAdvanced(ts=late)) if isinstance(event, OrderIntent)] == []


@pytest.mark.parametrize(("quantity", "check"), [(61 * 65 - 1, "lot_size"), (62 * 65, "reduces")])
def test_of_an_exit_by_hand_that_is_denied_nothing_leaves(calendar: MarketCalendar, quantity: int, check: str) -> None:
    """Its parts that could go by themselves neither: whoever is told that it is denied believes that he holds all."""
    desk = hold_future(calendar, 61 * 65)
    order = ManualOrder(
        ts=NOON, key="k", symbol=NIFTY_FUTURE, side=Side.SELL, quantity=quantity, type=OrderType.MARKET,
        limit_price=None, reason="why", reduce_only=True,
    )  # fmt: skip
    said = desk.tell(order)
    assert [type(event) for event in said] == [OrderIntent, OrderDenied, ManualOrderAnswered]
    answer = said[-1]
    assert isinstance(answer, ManualOrderAnswered)
    assert (answer.approved, answer.check, answer.value) == (False, check, str(quantity))


@pytest.mark.parametrize(("held", "parts"), [(75, [65, 10]), (30 * 65 + 10, [1755, 195, 10]), (25, [25])])
def test_a_position_of_another_lot_can_be_closed(calendar: MarketCalendar, held: int, parts: list[int]) -> None:
    """The lot changed while it was held: what is no whole lot goes by itself, for a broker may refuse it."""
    desk = hold_future(calendar, held)
    said = desk.tell(Flatten(ts=NOON, reason="why"))
    assert [event.quantity for event in said if isinstance(event, OrderIntent)] == parts
    assert len(closings(said)) == len(parts)


def test_an_entry_by_hand_above_the_freeze_quantity_is_denied(calendar: MarketCalendar) -> None:
    """It goes out as it was asked for, or not at all."""
    desk = Desk(calendar, **WIDE)
    desk.tell(tick(NOON, 100.0, NIFTY_FUTURE))
    order = ManualOrder(
        ts=NOON, key="k", symbol=NIFTY_FUTURE, side=Side.BUY, quantity=28 * 65, type=OrderType.MARKET,
        limit_price=None, reason="",
    )  # fmt: skip
    answer = desk.tell(order)[-1]
    assert isinstance(answer, ManualOrderAnswered)
    assert (answer.check, answer.limit, answer.value) == ("freeze_quantity", "at most 1755 in one order", "1820")


def test_a_restart_in_the_midst_of_an_exit_doubles_no_part(calendar: MarketCalendar) -> None:
    """What the parts before the crash are still good for isn't asked for again."""
    desk, fresh = hold_future(calendar, 61 * 65), Desk(calendar, **WIDE)
    parts = [event for event in desk.tell(Flatten(ts=NOON, reason="why")) if isinstance(event, OrderIntent)]
    position = position_of(61 * 65 - 1755, symbol=NIFTY_FUTURE)  # the first is filled, the second never left
    working = [(parts[2], parts[2].quantity)]
    fresh.actor.book.restore([position], working, [], india_day(NOON), Decimal(0))
    fresh.actor.restore(TradingState.REDUCING, "why")
    fresh.tell(tick(NOON, 100.0, NIFTY_FUTURE))
    assert closings(fresh.tell(TimeAdvanced(ts=NOON))) == [(NIFTY_FUTURE, Side.SELL, 1755, "why")]


def test_a_venue_with_a_smaller_limit_gets_smaller_parts(calendar: MarketCalendar) -> None:
    """The table may be of another month: what is refused as too large is halved until it is taken, and not for ever."""
    desk = hold_future(calendar, 61 * 65)
    said, now, taken = desk.tell(Flatten(ts=NOON, reason="why")), NOON, 0
    for second in range(3):
        for order in [event for event in said if isinstance(event, OrderIntent)]:
            assert order.quantity % 65 == 0
            if order.quantity <= 600:
                taken += order.quantity
                continue
            reason = f"Order quantity {order.quantity} exceeds the freeze quantity of 600"
            desk.tell(OrderRejected(ts=now, order_id=order.order_id, code=-99, reason=reason))
        now = NOON + (second + 1) * NS_PER_S
        said = desk.tell(TimeAdvanced(ts=now))
    assert said == []
    assert taken == 61 * 65


def test_an_exit_that_is_refused_for_one_reason_is_tried_ever_more_seldom(calendar: MarketCalendar) -> None:
    """At a locked circuit it stays wanted, for hours; a command is tried at once."""
    desk = Desk(calendar)
    desk.tell(tick(NOON, 800.0))
    desk.hold(10)
    said, tries = desk.tell(Flatten(ts=NOON, reason="why")), []
    for second in range(120):
        for order in [event for event in said if isinstance(event, OrderIntent)]:
            tries.append(second)
            desk.tell(OrderRejected(ts=NOON, order_id=order.order_id, code=-99, reason="circuit limit"))
        said = desk.tell(TimeAdvanced(ts=NOON + (second + 1) * NS_PER_S))
    assert tries[:5] == [0, 1, 3, 7, 15]
    assert max(after - before for before, after in pairwise(tries)) == 16
    assert len(closings(desk.tell(Flatten(ts=NOON, reason="again")))) == 1


def test_a_standing_denial_of_entries_is_journaled_once(calendar: MarketCalendar) -> None:
    """The same wish at every bar is asked, and answered, once; when there is room it goes."""
    desk = Desk(calendar, max_gross_notional=100)
    desk.tell(tick(NOON, 800.0))
    first = desk.tell(decide(Action.BUY_LONG))
    assert [type(event) for event in first] == [OrderIntent, OrderDenied]
    assert desk.tell(decide(Action.BUY_LONG), decide(Action.BUY_LONG)) == []
    assert len(desk.tell(decide(Action.SELL_SHORT))) == 2
    desk.tell(tick(NOON + 1, 9.0))
    assert isinstance(desk.tell(decide(Action.BUY_LONG, 1, price=9.0))[1], OrderApproved)


def test_a_contract_without_a_lot_is_denied_with_what_to_set(calendar: MarketCalendar) -> None:
    """Not taken as one unit; what is held of it can be closed."""
    future = "NSE:RELIANCE26JANFUT"
    desk = Desk(calendar, **WIDE)
    desk.tell(tick(NOON, 1450.0, future))
    denial = desk.tell(decide(Action.BUY_LONG, symbol=future, price=1450.0))[1]
    assert isinstance(denial, OrderDenied)
    assert (denial.check, denial.value) == ("missing_lot", future)
    assert "market.instruments" in denial.limit
    desk.tell(fill_of(intend("held", Side.BUY, 500, symbol=future)), position_of(500, symbol=future))
    assert closings(desk.tell(Flatten(ts=NOON, reason="why"))) == [(future, Side.SELL, 500, "why")]


def test_a_limit_stays_within_the_days_band(calendar: MarketCalendar) -> None:
    """A strategy's is moved to its end, one by hand is denied; a band that was told yesterday is none."""
    desk = Desk(calendar)
    banded = msgspec.structs.replace(tick(NOON, 800.0), upper_band=np.array([801.0]), lower_band=np.array([720.0]))
    desk.tell(banded, tick(NOON + 1, 800.0))
    answer = desk.tell(by_hand(Side.BUY, 1, "801.05"))[-1]
    assert isinstance(answer, ManualOrderAnswered)
    assert (answer.check, answer.limit, answer.value) == (
        "day_band",
        "within the day's price band of 720.0 to 801.0",
        "801.05",
    )
    builder = IntentBuilder(
        RiskSettings(), ExecutionSettings(order_type="LIMIT", limit_offset_bp=50), InstrumentBook(MarketSettings()), "L"
    )
    for ts, limit in ((NOON, "801.00"), (NOON + 24 * 60 * MINUTE, "804.00")):
        intent = builder.build(decide(Action.BUY_LONG, 1, ts=ts), desk.actor.book)
        assert intent is not None
        assert intent.limit_price == Decimal(limit)


def failed(kind: type[Event], order_id: str) -> Event:
    """The venue has thrown an order out, or cancelled it by itself."""
    if kind is OrderRejected:
        return OrderRejected(ts=NOON, order_id=order_id, code=-99, reason="no such luck")
    return OrderCancelled(ts=NOON, order_id=order_id, filled=0, reason="to prevent a self-trade")


@pytest.mark.parametrize("kind", [OrderRejected, OrderCancelled])
def test_an_exit_that_the_venue_cancels_is_tried_like_one_that_it_refuses(desk: Desk, kind: type[Event]) -> None:
    """After a second, not at every moment."""
    desk.hold(10)
    (intent,) = [it for it in desk.tell(Flatten(ts=NOON, reason="out")) if isinstance(it, OrderIntent)]
    assert closings(desk.tell(failed(kind, intent.order_id), TimeAdvanced(ts=NOON))) == []
    desk.clock.advance(NOON + NS_PER_S)
    assert len(closings(desk.tell(TimeAdvanced(ts=NOON + NS_PER_S)))) == 1


@pytest.mark.parametrize("kind", [OrderRejected, OrderCancelled])
def test_an_exit_of_a_strategy_that_failed_is_tried_again(desk: Desk, kind: type[Event]) -> None:
    """The next decision may be a long time off, and says perhaps only HOLD."""
    desk.tell(TimeAdvanced(ts=NOON))
    desk.hold(10)
    (intent,) = [it for it in desk.tell(decide(Action.CLOSE_LONG, 10, ts=NOON)) if isinstance(it, OrderIntent)]
    assert closings(desk.tell(failed(kind, intent.order_id), TimeAdvanced(ts=NOON))) == []
    later = NOON + NS_PER_S
    desk.clock.advance(later)
    ((symbol, side, quantity, _),) = closings(desk.tell(TimeAdvanced(ts=later)))
    assert (symbol, side, quantity) == (SBIN, Side.SELL, 10)
    assert closings(desk.tell(TimeAdvanced(ts=later))) == []


@pytest.mark.parametrize("why", ["asked", "by hand", "changed its mind", "closed"])
def test_an_exit_that_nobody_wants_any_more_is_not_tried_again(desk: Desk, why: str) -> None:
    """Its cancellation was asked for, a person placed it, the strategy decided anew, or somebody else has closed."""
    desk.tell(TimeAdvanced(ts=NOON))
    desk.hold(10)
    wish = by_hand(Side.SELL, 10) if why == "by hand" else decide(Action.CLOSE_LONG, 10, ts=NOON)
    (intent,) = [it for it in desk.tell(wish) if isinstance(it, OrderIntent)]
    if why == "asked":
        desk.tell(CancelOrder(ts=NOON, order_id=intent.order_id, reason="not that one"))
    desk.tell(failed(OrderCancelled, intent.order_id))
    if why == "changed its mind":
        desk.tell(decide(Action.BUY_LONG, 1, ts=NOON))
    elif why == "closed":
        desk.tell(fill_of(intend("X1", Side.SELL, 10)))
    desk.clock.advance(NOON + 5 * NS_PER_S)
    assert closings(desk.tell(TimeAdvanced(ts=NOON + 5 * NS_PER_S))) == []


def test_the_end_of_a_day_is_no_failed_exit(desk: Desk) -> None:
    """What found nobody until the close is not asked for on a closed market."""
    desk.tell(TimeAdvanced(ts=NOON))
    desk.hold(10)
    (intent,) = [it for it in desk.tell(decide(Action.CLOSE_LONG, 10, ts=NOON)) if isinstance(it, OrderIntent)]
    desk.tell(OrderCancelled(ts=CLOSE, order_id=intent.order_id, filled=0, reason="expired at the close"))
    assert desk.actor.closing.owed.of == {}


def closing_only(side: Side, quantity: int, *, reduce_only: bool = True, key: str = "k") -> ManualOrder:
    """An order of a person, at the market."""
    return ManualOrder(
        ts=NOON, key=key, symbol=SBIN, side=side, quantity=quantity, type=OrderType.MARKET, limit_price=None,
        reason="by hand", reduce_only=reduce_only,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "side", "quantity", "approved"),
    [(100, Side.SELL, 100, True), (100, Side.SELL, 40, True), (100, Side.SELL, 101, False), (100, Side.BUY, 1, False),
     (-100, Side.BUY, 100, True), (-100, Side.BUY, 101, False), (0, Side.SELL, 1, False)],
)  # fmt: skip
def test_an_order_that_only_closes_never_opens(
    desk: Desk, held: int, side: Side, quantity: int, approved: bool
) -> None:
    """One unit more than is held, or the wrong way, is denied rather than turned into an entry."""
    if held:
        desk.hold(held)
    (answer,) = [it for it in desk.tell(closing_only(side, quantity)) if isinstance(it, ManualOrderAnswered)]
    assert (answer.approved, answer.check) == (approved, "" if approved else "reduces")


def test_an_order_that_only_closes_knows_what_is_being_closed(desk: Desk) -> None:
    """A second one for the same units is denied; without the word it would have opened a short."""
    desk.hold(100)
    desk.tell(closing_only(Side.SELL, 100))
    (answer,) = [it for it in desk.tell(closing_only(Side.SELL, 100, key="k2")) if isinstance(it, ManualOrderAnswered)]
    assert (answer.approved, answer.check) == (False, "reduces")


def test_a_limit_that_changes_holds_from_the_next_order_on(desk: Desk) -> None:
    """At the gate and where orders are cut to size; the rest of the limits stays."""
    (before,) = [it for it in desk.tell(decide(Action.BUY_LONG, 200)) if isinstance(it, OrderIntent)]
    desk.tell(cancel_of(before))
    change = {"ts": NOON, "who": "anna", "before": "5000", "reason": "a bad day"}
    desk.tell(SettingChanged(key="risk.max_order_quantity", after="50", **change))
    said = desk.tell(closing_only(Side.BUY, 60, reduce_only=False))
    (answer,) = [it for it in said if isinstance(it, ManualOrderAnswered)]
    assert (answer.approved, answer.check, answer.limit) == (False, "order_quantity", "50")
    (cut,) = [it for it in desk.tell(decide(Action.BUY_LONG, 200)) if isinstance(it, OrderIntent)]
    assert cut.quantity == 50
    desk.tell(cancel_of(cut), SettingChanged(key="risk.max_day_drawdown", after="null", **change))
    desk.tell(SettingChanged(key="risk.max_order_notional", after='"8000"', **change))
    (cut,) = [it for it in desk.tell(decide(Action.BUY_LONG, 200)) if isinstance(it, OrderIntent)]
    assert cut.quantity == 10
