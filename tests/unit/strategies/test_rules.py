"""The rules strategy: when it enters, holds and leaves, and what it says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from daemon.events import Action, Regime
from daemon.settings import RulesSettings
from strategies.rules import SLOW_SPANS, RulesStrategy
from tests.unit.strategies.moments import falling, moment_of, rising

RULES = RulesSettings(fast=3, slow=8, min_bars=10, quantity=25, trade_in=["trending", "volatile"])
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
    all_regimes = RulesStrategy(RULES.model_copy(update={"trade_in": ["ranging"]}))
    assert all_regimes.decide(moment_of(rising(30), Regime.RANGING)).action is Action.BUY_LONG


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
    moment = moment_of(rising(30))
    moment.bars[-3, 3] = bad
    found = STRATEGY.decide(moment)
    assert (found.action, found.reason, found.failed) == (Action.HOLD, "bars are not finite", False)


def test_a_range_that_is_not_a_number_gives_no_confidence() -> None:
    """High and low enter the confidence alone; without them it is 0, and so it is where bars have no width."""
    moment = moment_of(rising(30))
    moment.bars[:, 1:3] = np.nan
    assert STRATEGY.decide(moment).confidence == 0.0
    moment.bars[:, 1:3] = 100.0
    assert STRATEGY.decide(moment).confidence == 0.0


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
