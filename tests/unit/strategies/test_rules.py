"""The rules strategy: when it enters, holds and leaves, and what it says."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import pytest

from daemon.core.events import Action, Regime, Side
from daemon.market.calendar import ist_ns
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.settings.strategy import RulesSettings
from strategies.rules import SLOW_SPANS, RulesStrategy
from tests.unit.strategies.moments import falling, marred, moment_of, rising

RULES = RulesSettings(
    fast=3, slow=8, min_bars=10, quantity=25, trade_in=["trending", "volatile"], not_before_minutes=0, min_trend=0,
    pays=0, once=False,
)  # fmt: skip
"""The cross and the regime alone."""
STRATEGY = RulesStrategy(RULES)


@pytest.mark.parametrize("regime", [Regime.TRENDING, Regime.VOLATILE])
def test_it_buys_a_rise_and_sells_a_fall(regime: Regime) -> None:
    """In the regimes that the settings name, with the settings' quantity."""
    up, down = STRATEGY.decide(moment_of(rising(30), regime)), STRATEGY.decide(moment_of(falling(30), regime))
    assert (up.action, up.quantity, up.reason) == (Action.BUY_LONG, 25, "fast average over slow")
    assert (down.action, down.quantity, down.reason) == (Action.SELL_SHORT, 25, "fast average under slow")
    assert (up.strategy, up.failed) == ("rules", False)


@pytest.mark.parametrize(
    ("closes", "quantity", "action", "reason"),
    [
        (rising(30), 40, Action.HOLD, "no cross"),
        (falling(30), 40, Action.CLOSE_LONG, "fast average crossed under slow"),
        (falling(30), -40, Action.HOLD, "no cross"),
        (rising(30), -40, Action.CLOSE_SHORT, "fast average crossed over slow"),
    ],
)
@pytest.mark.parametrize("regime", list(Regime))
@pytest.mark.parametrize("may_enter", [True, False])
def test_a_position_is_left_when_the_averages_cross_back(
    closes: list[float], quantity: int, action: Action, reason: str, regime: Regime, may_enter: bool
) -> None:
    """In any regime and at any time of day; the whole position, and never a second entry on top of it."""
    found = STRATEGY.decide(moment_of(closes, regime, position=quantity, may_enter=may_enter))
    assert (found.action, found.reason) == (action, reason)
    assert found.quantity == (40 if action is not Action.HOLD else 1)


def test_the_regime_keeps_it_out() -> None:
    """A regime that is not named means HOLD, and says so; one that is named does not."""
    found = STRATEGY.decide(moment_of(rising(30), Regime.RANGING))
    assert (found.action, found.reason) == (Action.HOLD, "regime is ranging")
    in_ranging = RulesStrategy(RULES.model_copy(update={"trade_in": ["ranging"]}))
    assert in_ranging.decide(moment_of(rising(30), Regime.RANGING)).action is Action.BUY_LONG


def test_a_regime_that_is_not_known_is_none_that_was_named() -> None:
    """Before it is known nothing is opened; who trades in all three needs to know none."""
    unknown = moment_of(rising(30), Regime.UNKNOWN)
    assert STRATEGY.decide(unknown).reason == "regime is unknown"
    in_all = RulesStrategy(RULES.model_copy(update={"trade_in": ["volatile", "ranging", "trending"]}))
    assert in_all.decide(unknown).action is Action.BUY_LONG


def test_no_entries_late() -> None:
    """When a session is nearly over nothing is opened."""
    found = STRATEGY.decide(moment_of(rising(30), may_enter=False))
    assert (found.action, found.reason) == (Action.HOLD, "no entries this late")


def test_a_flat_market_has_no_cross() -> None:
    """Equal averages are no signal."""
    found = STRATEGY.decide(moment_of([128.0] * 40))
    assert found.action is Action.HOLD
    assert found.confidence < 1e-9


def test_not_enough_bars() -> None:
    """Below `min_bars` it holds and says how many there are; with them it decides."""
    found = STRATEGY.decide(moment_of(rising(9)))
    assert (found.action, found.reason) == (Action.HOLD, "not enough bars: 9 of 10")
    assert STRATEGY.decide(moment_of(rising(10))).action is Action.BUY_LONG


def test_more_bars_may_be_asked_for_than_the_averages_use() -> None:
    """`min_bars` beyond the slow average's window is waited for and then met."""
    patient = RulesStrategy(RULES.model_copy(update={"min_bars": 50}))
    assert patient.window == SLOW_SPANS * 8 == 32
    assert patient.decide(moment_of(rising(49))).reason == "not enough bars: 49 of 50"
    assert patient.decide(moment_of(rising(50))).action is Action.BUY_LONG


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bars_that_are_not_finite(bad: float) -> None:
    """A price that is no number is no reason to trade."""
    moment = marred(moment_of(rising(30)), np.s_[-3, 3], bad)
    found = STRATEGY.decide(moment)
    assert (found.action, found.reason, found.failed) == (Action.HOLD, "bars are not finite", False)


def test_a_range_that_is_not_a_number_gives_no_confidence() -> None:
    """High and low enter the confidence alone; without them it is 0, and so it is where bars have no width."""
    moment = moment_of(rising(30))
    for value in (np.nan, 100.0):
        assert STRATEGY.decide(marred(moment, np.s_[:, 1:3], value)).confidence == 0.0


@pytest.mark.parametrize("count", [10, 31, 32, 80])
def test_the_averages_are_exponential(count: int) -> None:
    """Confidence is the gap of two pandas averages over the last fourteen bars' mean width, at most 1."""
    rng = np.random.default_rng(count)
    closes = 100 + np.cumsum(rng.normal(0, 0.2, count))
    recent = pd.Series(closes[-32:])
    gap = recent.ewm(span=3).mean().iloc[-1] - recent.ewm(span=8).mean().iloc[-1]
    found = STRATEGY.decide(moment_of(closes.tolist(), may_enter=True))
    assert found.confidence == pytest.approx(min(1.0, abs(gap) / 1.0))
    assert found.action is (Action.BUY_LONG if gap > 0 else Action.SELL_SHORT)


def test_the_same_moment_twice_is_the_same_decision() -> None:
    """There is no state beyond the moment."""
    moments = [moment_of(rising(30)), moment_of(falling(30)), moment_of(rising(20))]
    assert [STRATEGY.decide(m) for m in moments] == [RulesStrategy(RULES).decide(m) for m in reversed(moments)][::-1]


def only(**changes: float) -> RulesStrategy:
    """The cross, and one thing that the session must have."""
    return RulesStrategy(RULES.model_copy(update=changes))


def flat_then(*more: float) -> list[float]:
    """Twenty closes that swing by 0.1 around 100, and then those given."""
    return [100.0, 100.1] * 10 + list(more)


def test_no_entries_early() -> None:
    """Not before the session is so old; a position is left at any time."""
    late_riser = only(not_before_minutes=100)
    found = late_riser.decide(moment_of(rising(19)))
    assert (found.action, found.reason) == (Action.HOLD, "no entries in the first 100 minutes")
    assert late_riser.decide(moment_of(rising(20))).action is Action.BUY_LONG
    assert late_riser.decide(moment_of(falling(12), position=5)).action is Action.CLOSE_LONG


def test_the_session_must_have_a_trend() -> None:
    """Counted in standard errors of its own bars: one jump is one, however large it is."""
    jump = flat_then(110.0)
    returns = np.diff(np.log(jump))
    assert returns.sum() / np.sqrt((returns**2).sum()) == pytest.approx(1.0, abs=0.01)
    assert only(min_trend=0.9).decide(moment_of(jump)).action is Action.BUY_LONG
    found = only(min_trend=1.1).decide(moment_of(jump))
    assert (found.action, found.reason[:47]) == (Action.HOLD, "the session's trend is 1.0 standard errors and ")
    assert only(min_trend=5.3).decide(moment_of(rising(30))).action is Action.BUY_LONG  # √29, less a hair
    assert only(min_trend=5.4).decide(moment_of(rising(30))).action is Action.HOLD


@pytest.mark.parametrize(("cost_bp", "action"), [(9.9, Action.SELL_SHORT), (10.1, Action.HOLD)])
def test_the_rest_of_the_session_must_pay(cost_bp: float, action: Action) -> None:
    """Half of a session that fell by 40 bp falls by 40 more at that pace: four times a cost of 10, not more."""
    closes = (100 * np.exp(-0.004 * np.arange(38) / 37)).tolist()
    moment = moment_of(closes, minutes_to_close=185.0)
    found = only(pays=4.0, cost_bp=cost_bp).decide(moment)
    assert found.action is action
    if action is Action.HOLD:
        assert found.reason == "the session's trend is 6.1 standard errors and promises 40 bp"


def test_the_end_of_a_session_promises_little() -> None:
    """The same trend is worth an entry early and none late."""
    patient = only(pays=4.0, cost_bp=6.0)
    closes = (100 * np.exp(0.004 * np.arange(65) / 64)).tolist()
    assert patient.decide(moment_of(closes[:30])).action is Action.BUY_LONG
    assert patient.decide(moment_of(closes)).action is Action.HOLD


def test_the_averages_must_agree_with_the_session() -> None:
    """A session far up whose averages have turned is not bought, and not sold either."""
    closes = [*rising(30), 119.0, 117.5, 116.0, 114.5, 113.0]
    found = only(min_trend=1.0).decide(moment_of(closes))
    assert (found.action, found.reason) == (Action.HOLD, "the averages point against the session")


def test_a_session_has_one_entry() -> None:
    """At the first bar at which all of it holds; from then on the chance is gone, taken or not."""
    closes = rising(30)
    first = next(n for n in range(10, 31) if n * 5 >= 60)
    single = only(once=True, min_trend=2.0, not_before_minutes=60)
    found = {n: single.decide(moment_of(closes[:n])) for n in range(10, 31)}
    assert [n for n, made in found.items() if made.action is Action.BUY_LONG] == [first] == [12]
    assert {made.reason for n, made in found.items() if n > first} == {"the session has had its entry"}


@pytest.mark.parametrize("seed", range(20))
def test_entries_are_those_of_a_plain_account(seed: int) -> None:
    """A loop over random sessions finds the same bars; earlier sessions are no part of it."""
    rng = np.random.default_rng(seed)
    closes = (100 * np.exp(np.cumsum(rng.normal(0.0003 * rng.choice([-1, 1]), 0.001, 66)))).tolist()
    strategy = RulesStrategy(RulesSettings(fast=3, slow=8, min_bars=2, min_trend=1.5, pays=5.0, not_before_minutes=90))
    expected: list[int] = []
    for n in range(2, 67):
        steps = [math.log(b / a) for a, b in itertools.pairwise(closes[:n])]
        move, error = abs(sum(steps)), math.sqrt(sum(step**2 for step in steps))
        promise = move / (n - 1) * (75 - n) * 1e4
        if n * 5 >= 90 and move >= 1.5 * error and promise >= 30.0:
            expected = [n]
            break
    entered = []
    for n in range(2, 67):
        moment = moment_of(closes[:n])
        yesterday = np.full((50, 5), 90.0 + seed)
        found = strategy.decide(msgspec.structs.replace(moment, bars=np.concatenate([yesterday, moment.bars])))
        if found.action in (Action.BUY_LONG, Action.SELL_SHORT):
            entered.append(n)
        elif n in expected:
            assert found.reason == "the averages point against the session"
            expected = []
    assert entered == expected


@pytest.mark.parametrize("seen", [10, 26, 27])
def test_a_session_that_was_not_seen_is_sat_out(seen: int) -> None:
    """After a late start, or a long halt, nobody knows whether the session had its entry."""
    moment = moment_of(rising(36), session_bars=seen)
    found = only(once=True, not_before_minutes=180).decide(moment)
    if seen < 27:
        assert (found.action, found.reason) == (Action.HOLD, f"too little was seen of the session: {seen} bars")
    else:
        assert found.action is Action.BUY_LONG


def test_a_session_without_a_move() -> None:
    """Closes that never change have no trend, and nothing is divided by their width."""
    moment = moment_of([100.0] * 20 + [128.0] * 30, session_bars=30, minute_of_session=150.0)
    found = only(min_trend=1.0, slow=40).decide(moment)
    assert (found.action, found.reason) == (
        Action.HOLD, "the session's trend is 0.0 standard errors and promises 0 bp",
    )  # fmt: skip


def test_a_bar_of_the_session_that_is_not_finite() -> None:
    """Nor is it one beyond the averages' window."""
    moment = marred(moment_of(rising(50)), np.s_[2, 3], math.nan)
    found = only(min_trend=1.0).decide(moment)
    assert (found.action, found.reason) == (Action.HOLD, "bars are not finite")


@pytest.mark.parametrize(
    ("symbol", "quantity", "price"), [("NIFTY", 65, 24_250), ("BANKNIFTY", 30, 55_000), ("RELIANCE", 350, 1_400)]
)
def test_the_shipped_cost_is_no_less_than_the_schedule_says(symbol: str, quantity: int, price: int) -> None:
    """A round trip of one lot, or of half a million rupees of shares, at the newest rates."""
    day = dt.date(2026, 6, 1)
    thing = InstrumentBook(MarketSettings(), as_of=day).resolve(symbol)
    assert thing is not None
    costs, ts = CostSchedule(), ist_ns(day, "10:00")
    both = sum((costs.charges(thing, side, quantity, Decimal(price), ts).total for side in Side), Decimal(0))
    assert 4.0 < float(both) / (quantity * price) * 1e4 <= RulesSettings().cost_bp
