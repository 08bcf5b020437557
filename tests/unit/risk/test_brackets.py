"""Stop and target of what is held: placed as it fills, one cancels the other, and out of the way of every exit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.core.events import (
    ITSELF,
    PROTECTION,
    Action,
    Bracket,
    CancelOrder,
    ManualOrderAnswered,
    OrderAmended,
    OrderDenied,
    OrderIntent,
    OrderType,
    PositionRestated,
    ProtectionFailed,
    Side,
    TradingState,
)
from daemon.core.ids import IN_NO_JOURNAL
from daemon.risk.brackets import Brackets, Leg, Missing, Plan, plan
from tests.bracket_desk import BracketDesk
from tests.samples import DAY, OPEN, SBIN, intend

STOP, TARGET = ("stop", "SELL", 100, "790"), ("target", "SELL", 100, "820")
BOTH = {"stop_price": 790.0, "target_price": 820.0}


@pytest.fixture
def desk() -> BracketDesk:
    """At noon and 800 rupees."""
    desk = BracketDesk()
    desk.at(800.0)
    desk.pass_s()
    return desk


def hold(desk: BracketDesk, quantity: int | None = None) -> None:
    """Long, with a stop and a target."""
    desk.decide(Action.BUY_LONG, **BOTH)
    desk.fill(desk.orders()[0], quantity)


def hold_bare(desk: BracketDesk) -> None:
    """Long, without either."""
    desk.decide(Action.BUY_LONG)
    desk.fill(*desk.orders())


def test_what_fills_is_protected_part_by_part(desk: BracketDesk) -> None:
    """Nothing before the first fill; then as much as is held, at the prices of the decision, in its name."""
    desk.decide(Action.BUY_LONG, **BOTH)
    (entry,) = desk.orders()
    assert desk.legs() == []
    desk.fill(entry, 30)
    assert desk.legs() == [("stop", "SELL", 30, "790"), ("target", "SELL", 30, "820")]
    desk.fill(entry)
    assert desk.legs() == [STOP, TARGET]
    legs = [desk.intents[order_id] for order_id in desk.orders(strategy=PROTECTION)]
    assert {leg.decision for leg in legs} == {desk.intents[entry].decision} != {""}
    assert all(leg.reduces for leg in legs)


def test_a_short_position_is_protected_from_above(desk: BracketDesk) -> None:
    """And its prices are put on the grid where they are no worse for us."""
    desk.decide(Action.SELL_SHORT, stop_price=810.03, target_price=780.07)
    desk.fill(desk.orders()[0])
    assert desk.legs() == [("stop", "BUY", 100, "810"), ("target", "BUY", 100, "780.05")]


@pytest.mark.parametrize("first", ["stop", "target"])
def test_one_cancels_the_other(desk: BracketDesk, first: str) -> None:
    """Whichever is done; nothing is placed again, nothing counts any more."""
    hold(desk)
    desk.fill(desk.leg(first))
    assert desk.legs() == []
    desk.settle()
    assert (desk.position, desk.working) == (0, {})
    entry = desk.actor.book.of(SBIN)
    assert (entry.working_buys, entry.working_sells) == (0, 0)
    assert desk.said(ProtectionFailed) == []


def test_a_part_of_the_target_makes_the_stop_smaller(desk: BracketDesk) -> None:
    """The stop is taken off first: two for more than is held never stand."""
    hold(desk)
    desk.fill(desk.leg("target"), 40)
    assert desk.legs() == [("target", "SELL", 60, "820")]
    desk.settle(1)
    assert desk.legs() == [("stop", "SELL", 60, "790"), ("target", "SELL", 60, "820")]


@pytest.mark.parametrize(("theirs", "closed"), [(0, 0), (60, 60)])
def test_no_stop_is_placed_for_what_the_broker_does_not_hold(desk: BracketDesk, theirs: int, closed: int) -> None:
    """It would open the opposite position; and where an exit has nothing to close, no stop makes room for it."""
    hold(desk)
    desk.differ(theirs)
    desk.decide(Action.CLOSE_LONG)
    desk.settle(4)
    assert desk.position == 100 - closed
    assert desk.legs() == ([] if closed else [STOP, TARGET])


def test_what_is_left_of_the_entry_goes_when_the_stop_is_done(desk: BracketDesk) -> None:
    """An entry that waits would buy again what the stop has sold."""
    desk.decide(Action.BUY_LONG, limit_price=799.0, **BOTH)
    (entry,) = desk.orders()
    desk.fill(entry, 40)
    desk.fill(desk.leg("stop"))
    assert entry in desk.leaving


def test_an_exit_of_the_strategy_waits_until_they_are_off_the_market(desk: BracketDesk) -> None:
    """In the strategy's name and for what the stop has left; it goes out the moment the last of them is gone."""
    hold(desk)
    stop, target = desk.leg("stop"), desk.leg("target")
    desk.decide(Action.CLOSE_LONG)
    assert desk.leaving == {stop, target}
    desk.fill(stop, 30)
    desk.let_go(target)
    assert desk.orders() == []
    desk.let_go(stop)
    (order_id,) = desk.orders()
    intent = desk.intents[order_id]
    assert (intent.quantity, intent.side, intent.type) == (70, Side.SELL, OrderType.MARKET)
    assert intent.strategy == "rules"
    assert intent.decision
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_an_exit_that_the_venue_ends_again_and_again_gives_the_stop_its_place_back(desk: BracketDesk) -> None:
    """As where somebody's own order would meet it: between two tries the position has its stop."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG)
    for order_id in sorted(desk.leaving):
        desk.let_go(order_id)
    for pause_s in (1, 2):
        (order_id,) = desk.orders(type=OrderType.MARKET)
        desk.let_go(order_id)
        assert desk.legs() == []
        desk.pass_s(pause_s)
    for pause_s in (4, 8, 16, 16):
        (order_id,) = desk.orders(type=OrderType.MARKET)
        desk.let_go(order_id)
        assert desk.legs() == [STOP, TARGET]
        desk.pass_s(pause_s - 1)
        assert (desk.legs(), desk.orders(type=OrderType.MARKET)) == ([STOP, TARGET], [])
        desk.pass_s()
        for leg in ("stop", "target"):
            assert desk.orders() == []
            desk.let_go(desk.leg_leaving(leg))
    desk.settle()
    assert (desk.position, desk.working) == (0, {})
    assert desk.said(ProtectionFailed) == []


def test_an_exit_that_is_put_off_may_be_had_by_the_stop(desk: BracketDesk) -> None:
    """Then there is nothing left to exit."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG)
    for order_id in sorted(desk.leaving):
        desk.let_go(order_id)
    for _ in range(3):
        desk.let_go(*desk.orders(type=OrderType.MARKET))
        desk.pass_s(2)
    desk.fill(desk.leg("stop"))
    desk.settle(24)
    assert (desk.position, desk.working) == (0, {})
    assert len(desk.orders()) == 0
    assert desk.actor.closing.owed.of == {}


@pytest.mark.parametrize("lives", [1, 2])
def test_an_exit_that_was_refused_is_owed_by_the_next_process(desk: BracketDesk, lives: int) -> None:
    """Whatever was wanted of a position without a stop; once done it is owed by nobody."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.reject(*desk.orders())
    for _ in range(lives):
        desk.restart()
    (order_id,) = desk.orders()
    assert (desk.intents[order_id].side, desk.intents[order_id].quantity) == (Side.SELL, 100)
    desk.fill(order_id)
    assert desk.actor.closing.owed.of == {}
    desk.restart()
    desk.pass_s(2)
    desk.decide(Action.BUY_LONG)
    desk.fill(*desk.orders())
    desk.restart()
    desk.settle()
    assert desk.position == 100


def test_an_exit_that_waits_for_room_is_owed_by_the_next_process(desk: BracketDesk) -> None:
    """It was killed while the venue took stop and target off; none of them may trade what the exit trades."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG, reason="enough")
    assert desk.orders() == []
    desk.restart()
    assert desk.orders() == []
    for leg in ("stop", "target"):
        assert desk.orders(type=OrderType.MARKET) == []
        desk.let_go(desk.leg_leaving(leg))
    (order_id,) = desk.orders()
    assert desk.intents[order_id].reason == "enough"
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_an_exit_that_waits_for_the_broker_is_owed_by_the_next_process(desk: BracketDesk) -> None:
    """The broker says that it holds less, until after the restart."""
    hold_bare(desk)
    desk.differ(0)
    desk.decide(Action.CLOSE_LONG)
    assert desk.orders() == []
    desk.restart()
    (order_id,) = desk.orders()
    assert desk.intents[order_id].side is Side.SELL


@pytest.mark.parametrize("who", ["the strategy", "a person"])
def test_an_exit_that_was_taken_back_is_not_owed_by_the_next_process(desk: BracketDesk, who: str) -> None:
    """By an entry on the side of what is held, however it is answered, or by whoever takes its order off the market."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.reject(*desk.orders())
    desk.pass_s(2)
    (again,) = desk.orders()
    if who == "a person":
        desk.cancel_by_hand(again)
    else:
        desk.actor.book.stale[SBIN] = "no ticks"
        desk.decide(Action.BUY_LONG)
        desk.reject(again)
    desk.restart()
    desk.pass_s(20)
    assert desk.orders() == []


@pytest.mark.parametrize("bare", [True, False])
def test_what_the_broker_lacked_of_an_exit_is_closed_once_it_agrees(desk: BracketDesk, bare: bool) -> None:
    """Also where stop and target had to leave the market first: the part that went out isn't all of it."""
    if bare:
        hold_bare(desk)
    else:
        hold(desk)
    desk.differ(60)
    desk.decide(Action.CLOSE_LONG)
    for leg in sorted(desk.leaving):
        desk.let_go(leg)
    (order_id,) = desk.orders()
    assert desk.intents[order_id].quantity == 60
    desk.fill(order_id)
    desk.pass_s(2)
    assert (desk.position, desk.orders()) == (40, [])
    desk.agree()
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_who_cancels_an_order_of_his_own_takes_no_strategys_exit_back(desk: BracketDesk) -> None:
    """A limit order by hand for a part of what is held, while the exit of the rest is refused."""
    hold_bare(desk)
    desk.by_hand(Side.SELL, 40, OrderType.LIMIT, 815)
    (mine,) = desk.orders()
    desk.decide(Action.CLOSE_LONG)
    desk.reject(*desk.orders(type=OrderType.MARKET))
    desk.cancel_by_hand(mine)
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


@pytest.mark.parametrize("ends", ["refused", "killed"])
def test_an_exit_that_a_person_takes_back_stays_so_however_its_order_ends(desk: BracketDesk, ends: str) -> None:
    """The venue refuses it meanwhile, or the process is killed before it has done more than write the wish down."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    (order_id,) = desk.orders()
    if ends == "refused":
        desk.ask_off(order_id)
        desk.reject(order_id)
    else:
        desk.reject(order_id)
        desk.pass_s(2)
        (order_id,) = desk.orders()
        desk.journal.append(CancelOrder(ts=desk.clock.now_ns(), order_id=order_id, reason="mine", who="asha"))
        desk.restart()
        desk.actor.asked_off([order_id])
        desk.let_go(order_id)
    desk.pass_s(20)
    assert (desk.position, desk.orders()) == (100, [])


@pytest.mark.parametrize("ends", ["refused", "cancelled", "left behind"])
def test_an_exit_that_the_strategy_takes_back_on_its_way_is_not_tried_again(desk: BracketDesk, ends: str) -> None:
    """It wants to be long again while the order still works: if that trades it does, but no other one is sent."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    (order_id,) = desk.orders()
    desk.actor.book.stale[SBIN] = "no ticks"
    desk.decide(Action.BUY_LONG)
    if ends == "refused":
        desk.reject(order_id)
    elif ends == "cancelled":
        desk.let_go(order_id)
    else:
        desk.at(799.0)
        desk.pass_s(6)
        assert desk.leaving == {order_id}
        desk.let_go(order_id)
    desk.pass_s(20)
    assert (desk.position, desk.orders()) == (100, [])


def test_an_exit_that_the_end_of_the_process_takes_off_is_owed_by_the_next(desk: BracketDesk) -> None:
    """It rests where nobody is on the other side: nobody takes it back by stopping the daemon."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    (order_id,) = desk.orders()
    desk.ask_off(order_id, who=ITSELF)
    desk.let_go(order_id)
    desk.restart()
    (order_id,) = desk.orders()
    assert (desk.intents[order_id].side, desk.intents[order_id].quantity) == (Side.SELL, 100)


@pytest.mark.parametrize("how", ["taken off", "refused", "refused before"])
def test_an_exit_that_the_end_of_the_process_leaves_undone_gives_the_stop_its_place_back(
    desk: BracketDesk, how: str
) -> None:
    """No time advances any more, so nobody would try it again; one on its way has the place for as long as it works."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.let_go(desk.leg_leaving("stop"))
    desk.let_go(desk.leg_leaving("target"))
    (exit_,) = desk.orders()
    if how == "refused before":
        desk.reject(exit_, "RMS: no")
        assert desk.legs() == []
    desk.end()
    if how != "refused before":
        assert desk.orders() == [exit_]
    if how == "taken off":
        desk.ask_off(exit_, ITSELF)
        desk.let_go(exit_)
    elif how == "refused":
        desk.reject(exit_, "RMS: no")
    assert desk.legs() == [STOP, TARGET]
    desk.restart()
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_an_entry_the_other_way_that_is_denied_takes_no_exit_back(desk: BracketDesk) -> None:
    """A long is to be closed, then a short is wanted, which the limits don't allow: the long is closed all the same."""
    hold_bare(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.reject(*desk.orders())
    desk.actor.book.stale[SBIN] = "no ticks"
    desk.decide(Action.SELL_SHORT)
    assert len(desk.said(OrderDenied)) == 1
    desk.pass_s(2)
    (order_id,) = desk.orders()
    assert desk.intents[order_id].reduces


def test_an_exit_found_ended_after_a_restart_waits_until_stop_and_target_are_off(desk: BracketDesk) -> None:
    """Both at once could sell twice what is held."""
    hold(desk)
    exit_id = _exit_beside_both(desk)
    assert desk.orders(type=OrderType.MARKET) == [exit_id]
    desk.let_go(exit_id)
    desk.pass_s()
    assert desk.orders(type=OrderType.MARKET) == []
    stop, target = desk.leg_leaving("stop"), desk.leg_leaving("target")
    desk.let_go(stop)
    assert desk.orders(type=OrderType.MARKET) == []
    desk.let_go(target)
    assert len(desk.orders(type=OrderType.MARKET)) == 1


def _exit_beside_both(desk: BracketDesk) -> str:
    """A strategy's exit of an earlier process, whose stop and target were placed again since."""
    intent = intend(
        "Pold", Side.SELL, 100, ts=desk.clock.now_ns(), type=OrderType.MARKET, reduces=True, strategy="rules"
    )
    desk.intents["Pold"], desk.working["Pold"] = intent, 100
    desk.actor.book.order_opened(intent)
    return intent.order_id


def test_an_exit_that_the_stop_was_quicker_than_is_none(desk: BracketDesk) -> None:
    """It is gone with the position."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.fill(desk.leg_leaving("stop"))
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_an_entry_takes_the_exit_back(desk: BracketDesk) -> None:
    """Stop and target are placed again, for all that is held then."""
    hold(desk)
    desk.decide(Action.CLOSE_LONG)
    desk.decide(Action.BUY_LONG, 50, stop_price=785.0)
    desk.settle()
    assert desk.position == 150
    assert desk.legs() == [("stop", "SELL", 150, "785")]


def test_a_person_closes_by_hand(desk: BracketDesk) -> None:
    """A part at market: it waits like any exit, is answered when it goes, and the rest is protected."""
    hold(desk)
    desk.by_hand(Side.SELL, 40)
    assert desk.said(ManualOrderAnswered) == []
    desk.settle()
    (answer,) = desk.said(ManualOrderAnswered)
    assert answer.approved
    assert not answer.order.reduce_only
    assert desk.position == 60
    assert desk.legs() == [("stop", "SELL", 60, "790"), ("target", "SELL", 60, "820")]


def test_a_person_who_was_slower_than_the_stop_opens_nothing(desk: BracketDesk) -> None:
    """What was meant as an exit is denied when there is nothing left to close."""
    hold(desk)
    stop = desk.leg("stop")
    desk.by_hand(Side.SELL, 40)
    desk.fill(stop)
    desk.settle()
    (answer,) = desk.said(ManualOrderAnswered)
    assert (answer.approved, answer.check) == (False, "reduces")
    assert desk.position == 0


@pytest.mark.parametrize(("quantity", "kind"), [(150, OrderType.MARKET), (40, OrderType.LIMIT)])
def test_what_would_turn_it_round_or_rest_beside_the_target_is_denied(
    desk: BracketDesk, quantity: int, kind: OrderType
) -> None:
    """By hand or by a strategy; both stay where they are."""
    hold(desk)
    desk.by_hand(Side.SELL, quantity, kind, 805 if kind is OrderType.LIMIT else None)
    desk.decide(Action.SELL_SHORT, 10)
    assert [denial.check for denial in desk.said(OrderDenied)] == ["bracket", "bracket"]
    assert desk.legs() == [STOP, TARGET]


def test_an_entry_of_the_other_side_that_works_already_is_taken_off(desk: BracketDesk) -> None:
    """Filled, it would take what the stop is for."""
    desk.decide(Action.BUY_LONG, limit_price=795.0, **BOTH)
    desk.decide(Action.SELL_SHORT, 30, limit_price=805.0)
    buy, sell = desk.orders()
    desk.fill(buy)
    assert sell in desk.leaving
    desk.settle()
    assert desk.legs() == [STOP, TARGET]


@pytest.mark.parametrize(
    ("action", "prices", "limit"),
    [
        (Action.BUY_LONG, {"stop_price": 800.0}, "a stop below the price 800.0 of a BUY"),
        (Action.BUY_LONG, {"target_price": 799.0}, "a target above the price 800.0 of a BUY"),
        (Action.SELL_SHORT, {"stop_price": 799.0}, "a stop above the price 800.0 of a SELL"),
        (Action.SELL_SHORT, {"target_price": 801.0}, "a target below the price 800.0 of a SELL"),
        (Action.BUY_LONG, {"stop_price": 796.0, "limit_price": 795.0}, "a stop below the price 795.0"),
    ],
)
def test_prices_on_the_wrong_side_are_denied(
    desk: BracketDesk, action: Action, prices: dict[str, float], limit: str
) -> None:
    """Nothing is opened that couldn't be protected as it was meant."""
    desk.decide(action, **prices)
    (denial,) = desk.said(OrderDenied)
    assert denial.check == "bracket"
    assert limit in denial.limit


def test_a_stop_that_is_refused_again_and_again_closes_the_position(desk: BracketDesk) -> None:
    """It is tried three times, a second apart; then no position is better than one without a stop."""
    hold(desk)
    for _ in range(3):
        desk.reject(desk.leg("stop"), "RMS: no")
        desk.pass_s()
    (failed,) = desk.said(ProtectionFailed)
    assert (failed.quantity, failed.reason) == (100, "its stop can't be had: RMS: no")
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_parts_of_a_stop_that_are_refused_together_are_one_try(desk: BracketDesk) -> None:
    """Four orders, for the exchange takes no larger ones: a no to each is one of the three that close the position."""
    hold(desk)
    desk.actor.book.largest[SBIN] = 25
    desk.reject(desk.leg("stop"), "RMS: try later")
    for closed in (0, 1):
        desk.pass_s()
        assert (desk.said(ProtectionFailed), desk.legs()) == ([], [STOP, TARGET])
        stops = desk.orders(strategy=PROTECTION, reason="stop")
        assert len(stops) == 4
        for order_id in stops:
            desk.reject(order_id, "RMS: try later")
        assert len(desk.said(ProtectionFailed)) == closed
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_a_stop_that_never_leaves_the_machine_is_tried_for_as_long_as_it_takes(desk: BracketDesk) -> None:
    """A closing order would leave no sooner, and the venue has said nothing."""
    hold(desk)
    for _ in range(10):
        desk.reject(desk.leg("stop"), "not sent: no call is left this minute")
        desk.pass_s()
    assert desk.legs() == [STOP, TARGET]
    assert desk.said(ProtectionFailed) == []


def test_parts_of_one_entry_are_protected_together(desk: BracketDesk) -> None:
    """The first at once, the next a second later, or when the entry is done: two orders each, not two a fill."""
    desk.decide(Action.BUY_LONG, **BOTH)
    (entry,) = desk.orders()
    for _ in range(5):
        desk.fill(entry, 10)
    assert desk.legs() == [("stop", "SELL", 10, "790"), ("target", "SELL", 10, "820")]
    desk.pass_s()
    assert desk.legs() == [("stop", "SELL", 50, "790"), ("target", "SELL", 50, "820")]
    desk.fill(entry, 10)
    desk.let_go(entry)
    assert desk.legs() == [("stop", "SELL", 60, "790"), ("target", "SELL", 60, "820")]
    assert len(desk.orders(strategy=PROTECTION)) == 6


def test_what_somebody_placed_in_the_app_is_left_alone_then(desk: BracketDesk) -> None:
    """It keeps the part that it would close."""
    hold(desk)
    desk.adopt(Side.SELL, 30, 830)
    desk.settle(2)
    assert desk.legs() == [("stop", "SELL", 70, "790"), ("target", "SELL", 70, "820")]
    for _ in range(3):
        desk.reject(desk.leg("stop"), "RMS: no")
        desk.pass_s()
    desk.settle()
    assert desk.position == 30
    assert desk.orders() == ["Xapp"]


def test_a_target_of_ours_that_no_journal_knows_makes_room(desk: BracketDesk) -> None:
    """It left in a process that was killed before it could write: it is no reason to hold anything without a stop."""
    hold(desk)
    desk.adopt(Side.SELL, 100, 820, IN_NO_JOURNAL)
    desk.pass_s()
    assert "Xapp" in desk.leaving
    desk.settle(2)
    assert "Xapp" not in desk.working
    assert desk.legs() == [STOP, TARGET]


def test_a_target_that_is_refused_again_and_again_is_taken_by_us(desk: BracketDesk) -> None:
    """The position stays with its stop, and is closed when the price is there."""
    hold(desk)
    for _ in range(3):
        desk.reject(desk.leg("target"), "RMS: no margin for a second exit")
        desk.pass_s()
    assert desk.legs() == [STOP]
    desk.at(820.0)
    desk.pass_s()
    desk.settle()
    assert (desk.position, desk.working) == (0, {})
    assert desk.said(ProtectionFailed) == []


def test_a_stop_that_the_price_has_passed_is_not_waited_for(desk: BracketDesk) -> None:
    """Five seconds beyond it and not done: it is closed at market."""
    hold(desk)
    desk.at(789.0)
    desk.pass_s()
    desk.pass_s(4.0)
    assert desk.legs() == [STOP, TARGET]
    desk.at(791.0)
    desk.pass_s()
    desk.at(789.0)
    desk.pass_s(1.0)
    desk.pass_s(5.0)
    assert [event.reason for event in desk.said(ProtectionFailed)] == [
        "the price 789.0 is beyond the stop 790.0, which isn't done"
    ]
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_when_both_were_done_what_is_left_is_closed(desk: BracketDesk) -> None:
    """The venue knows of no pair: while nobody looked both may trade. Nothing stays turned round."""
    hold(desk)
    stop, target = desk.leg("stop"), desk.leg("target")
    desk.fill(target)
    desk.fill(stop)
    assert desk.position == -100
    (failed,) = desk.said(ProtectionFailed)
    assert (failed.quantity, failed.reason) == (-100, "its stop and its target were both done at the venue")
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_that_is_known_after_a_restart_too(desk: BracketDesk) -> None:
    """The process was killed between the two, and before it could do anything about it."""
    hold(desk)
    stop, target = desk.leg("stop"), desk.leg("target")
    desk.fill(target)
    desk.fill(stop)
    del desk.journal[desk.journal.index(desk.said(ProtectionFailed)[0]) :]
    desk.working.clear()
    desk.leaving.clear()
    desk.restart()
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_a_restart_finds_and_keeps_them(desk: BracketDesk) -> None:
    """What the venue has is not placed again; what it lost is."""
    hold(desk)
    before = set(desk.working)
    desk.restart()
    desk.settle()
    assert set(desk.working) == before
    desk.let_go(desk.leg("stop"))
    desk.restart()
    assert desk.legs() == [STOP, TARGET]


def test_an_orphan_is_taken_off_after_a_restart(desk: BracketDesk) -> None:
    """The stop was done and the process killed before it could cancel the target."""
    hold(desk)
    desk.fill(desk.leg("stop"))
    desk.leaving.clear()
    desk.restart()
    desk.settle()
    assert desk.working == {}


def test_halted_they_stay_and_grow(desk: BracketDesk) -> None:
    """They are exits; what still fills of an entry is protected, too."""
    desk.decide(Action.BUY_LONG, **BOTH)
    (entry,) = desk.orders()
    desk.fill(entry, 60)
    desk.halt()
    desk.fill(entry)
    assert desk.legs() == [STOP, TARGET]


def test_where_no_exit_may_leave_in_a_halt_they_stay_where_they_are(desk: BracketDesk) -> None:
    """A decision to close must not take the stop off and then be denied."""
    desk = BracketDesk(exits_when_halted=False)
    desk.at(800.0)
    desk.pass_s()
    hold(desk)
    desk.halt()
    desk.decide(Action.CLOSE_LONG)
    desk.by_hand(Side.SELL, 100)
    assert desk.legs() == [STOP, TARGET]


def withheld() -> BracketDesk:
    """A desk that is halted, where no exit may leave then: it holds shares with a stop and a target."""
    desk = BracketDesk(exits_when_halted=False)
    desk.at(800.0)
    desk.pass_s()
    hold(desk)
    desk.halt()
    return desk


@pytest.mark.parametrize("why", ["square-off", "no strategy is left"])
def test_what_would_close_all_leaves_them_where_no_exit_may_leave(why: str) -> None:
    """The position would be left with neither: no exit, and no stop."""
    desk = withheld()
    if why == "square-off":
        desk.pass_s(300 * 60 + 10)
    else:
        desk.flatten(automatic=True)
        desk.pass_s(10)
    assert (desk.leaving, desk.legs(), desk.position) == (set(), [STOP, TARGET], 100)
    assert desk.actor.book.state is TradingState.HALTED
    desk.resume()
    desk.pass_s()
    assert (len(desk.leaving) == 2) is (why == "square-off")


def test_a_person_who_flattens_gets_out_of_a_halt_that_withholds_exits() -> None:
    """He asks for what his halt held up: all is closed, and only closing is let through from then on."""
    desk = withheld()
    desk.flatten()
    assert desk.actor.book.state is TradingState.REDUCING
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def test_what_is_filled_while_no_exit_may_leave_is_protected_afterwards() -> None:
    """To be denied three times would be no reason to give the position up."""
    desk = BracketDesk(exits_when_halted=False)
    desk.at(800.0)
    desk.pass_s()
    desk.decide(Action.BUY_LONG, **BOTH)
    (entry,) = desk.orders()
    desk.halt()
    desk.fill(entry)
    for _ in range(9):
        desk.pass_s()
    assert (desk.legs(), desk.said(ProtectionFailed)) == ([], [])
    desk.resume()
    desk.pass_s()
    assert desk.legs() == [STOP, TARGET]


def test_square_off_takes_them_off_and_closes_at_once(desk: BracketDesk) -> None:
    """As soon as the last is gone, not at the next moment of the clock."""
    hold(desk)
    desk.pass_s(300 * 60 + 10)
    assert len(desk.leaving) == 2
    for order_id in sorted(desk.leaving):
        desk.let_go(order_id)
    (order_id,) = desk.orders()
    assert (desk.intents[order_id].reason, desk.intents[order_id].quantity) == ("square-off time", 100)
    desk.settle()
    assert (desk.position, desk.working) == (0, {})
    assert desk.said(ProtectionFailed) == []


def test_what_a_person_changes_is_meant(desk: BracketDesk) -> None:
    """A stop that was moved in the broker's app stays there, one that was taken off by hand stays off."""
    hold(desk)
    stop = desk.leg("stop")
    amended = OrderAmended(
        ts=desk.clock.now_ns(), order_id=stop, quantity=100, change=0, type=OrderType.SL_MARKET,
        stop_price=Decimal(795),
    )  # fmt: skip
    desk.amend(amended)
    desk.settle()
    assert desk.leg("stop") == stop
    desk.restart()
    desk.settle()
    assert desk.leg("stop") == stop
    desk.cancel_by_hand(desk.leg("target"))
    desk.restart()
    desk.settle()
    assert [kind for kind, *_ in desk.legs()] == ["stop"]
    assert desk.said(ProtectionFailed) == []


def test_a_newer_entry_brings_its_own(desk: BracketDesk) -> None:
    """For all that is held; one without any leaves them as they are."""
    hold(desk)
    desk.decide(Action.BUY_LONG, 20)
    desk.settle()
    assert desk.legs() == [("stop", "SELL", 120, "790"), ("target", "SELL", 120, "820")]
    desk.decide(Action.BUY_LONG, 30, stop_price=796.0)
    desk.settle()
    assert desk.legs() == [("stop", "SELL", 150, "796")]


def test_a_late_fill_of_a_cancelled_entry_is_protected(desk: BracketDesk) -> None:
    """It was on its way when the venue said that the order is gone."""
    desk.decide(Action.BUY_LONG, limit_price=799.0, **BOTH)
    (entry,) = desk.orders()
    desk.let_go(entry)
    desk.working[entry] = 100
    desk.fill(entry)
    assert desk.legs() == [STOP, TARGET]


def test_a_stop_that_was_reached_and_became_a_limit_order_is_left_to_it(desk: BracketDesk) -> None:
    """Its row in the venue's book is another then; nobody has moved anything."""
    hold(desk)
    stop = desk.leg("stop")
    desk.amend(
        OrderAmended(
            ts=desk.clock.now_ns(), order_id=stop, quantity=100, change=0, type=OrderType.LIMIT,
            limit_price=Decimal(789),
        )
    )  # fmt: skip
    desk.settle(2)
    assert set(desk.orders(strategy=PROTECTION, reason="stop")) == {stop}
    assert desk.actor.book.brackets.of[SBIN].target == Decimal(820)
    desk.fill(stop)
    desk.settle()
    assert (desk.position, desk.working) == (0, {})


def leg(order_id: str, remaining: int, price: int = 790, *, is_stop: bool = True, side: Side = Side.SELL) -> Leg:
    """One of a long position."""
    return Leg(order_id, side, is_stop, Decimal(price), remaining)


def test_a_plan_keeps_the_older_and_places_only_where_there_is_room() -> None:
    """What is too much goes, newest first; what replaces it waits until it is gone."""
    bracket = Bracket(Decimal(790), None)
    legs = [leg("a", 30), leg("b", 70)]
    assert plan(bracket, 100, 0, legs) == Plan()
    assert plan(bracket, 60, 0, legs) == Plan(("b",))
    assert plan(bracket, 60, 0, legs[:1]) == Plan((), (Missing(Side.SELL, True, Decimal(790), 30),))
    assert plan(bracket, 100, 80, []) == Plan((), (Missing(Side.SELL, True, Decimal(790), 20),))
    assert plan(bracket, 100, 0, [leg("a", 100, 780)]) == Plan(("a",))
    assert plan(bracket, -100, 0, legs) == Plan(("a", "b"))
    assert plan(None, 0, 0, legs) == Plan(("a", "b"))


def test_prices_of_after_a_split_do_not_count_anew() -> None:
    """Those of the day before do, once it is known; those of an entry of its own day are right as they are."""
    split = PositionRestated(
        ts=OPEN + DAY + 2, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5, carried=10
    )
    for ts, stop in ((OPEN, Decimal(158)), (OPEN + DAY, Decimal(790))):
        brackets = Brackets()
        brackets.on_fill(SBIN, intend("a", quantity=10, ts=ts, stop_loss=Decimal(790)), 0, 10)
        brackets.restate(split)
        assert brackets.of[SBIN].stop == stop


def test_intents_of_others_carry_nothing(desk: BracketDesk) -> None:
    """Without a stop and a target nothing of it is there."""
    desk.decide(Action.BUY_LONG)
    desk.settle()
    assert desk.position == 100
    assert desk.working == {}
    assert [intent.strategy for intent in desk.said(OrderIntent)] == ["rules"]
