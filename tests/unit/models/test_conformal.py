"""What wanted entries earned: measured alike, one at a time, and a bound that is missed as often as was asked."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from daemon.core.events import EntriesRecord
from models.config import EntrySettings
from models.conformal import after_bar, after_wanting, begun, bound, learned

RULE = EntrySettings(adaptive=True, confidence=0.35, bars=3, newest=50, fewest=20, rate=0.02)
DAY = [(100.0, 100.1), (100.1, 100.0)]
"""Open and close of two bars that each moved by 10 bp, near enough."""


def missed(earned: np.ndarray, rule: EntrySettings) -> np.ndarray:
    """Whether each lay under its bound, where there was one."""
    record, found = begun("m", rule), []
    for one in earned.tolist():
        low = bound(record, rule)
        if low is not None:
            found.append(one < low)
        record = learned(record, one, rule)
    return np.array(found)


@pytest.mark.parametrize("confidence", [0.2, 0.35, 0.6])
@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_what_is_exchangeable_lies_under_its_bound_as_often_as_asked(confidence: float, rate: float) -> None:
    """Skewed earnings, as entries have; with and without adapting."""
    rule = RULE.model_copy(update={"confidence": confidence, "rate": rate})
    earned = np.random.default_rng(3).exponential(1.0, 4_000) - 0.7
    assert missed(earned, rule).mean() == pytest.approx(1 - confidence, abs=0.04)


@pytest.mark.parametrize("kind", ["drifts", "jumps", "swings"])
def test_what_drifts_does_so_too_where_it_adapts(kind: str) -> None:
    """However earnings change; without adapting some of them are missed far more often, or less."""
    noise, at = np.random.default_rng(4).normal(0.0, 1.0, 4_000), np.arange(4_000)
    drift = {"drifts": -0.02 * at, "jumps": np.where(at < 2_000, 3.0, -3.0), "swings": 3.0 * np.sin(at / 15.0)}[kind]
    rule = RULE.model_copy(update={"rate": 0.05})
    told = missed(noise + drift, rule)
    allowed = (max(rule.confidence, 1 - rule.confidence) + rule.rate) / (rule.rate * len(told))
    assert abs(told.mean() - (1 - rule.confidence)) <= allowed
    if kind == "drifts":
        assert missed(noise + drift, rule.model_copy(update={"rate": 0.0})).mean() > 1 - rule.confidence + 0.05


def test_the_worst_series_can_not_break_it() -> None:
    """One that is always a little under its bound: the level gives way until there is no bound to miss."""
    record, misses = begun("m", RULE), 0
    for n in range(3_000):
        low = bound(record, RULE)
        earned = float(n) if low is None or math.isinf(low) else low - 1e-6
        misses += low is not None and earned < low
        record = learned(record, earned, RULE)
        assert -RULE.rate <= record.level <= 1 + RULE.rate
    assert misses / 2_980 == pytest.approx(1 - RULE.confidence, abs=(0.65 + RULE.rate) / (RULE.rate * 2_980))


def test_nothing_is_said_of_few() -> None:
    """Under `fewest` there is no bound; at a level of nothing none could be missed, at one of all every one is."""
    record = EntriesRecord(model="m", level=0.5, earned=tuple(map(float, range(19))))
    assert bound(record, RULE) is None
    record = learned(record, 19.0, RULE)
    assert record.level == 0.5
    assert bound(record, RULE) == 9.0
    assert bound(msgspec.structs.replace(record, level=0.0), RULE) == -math.inf
    assert bound(msgspec.structs.replace(record, level=1.0), RULE) == math.inf


@pytest.mark.parametrize("side", [1, -1])
def test_an_entry_is_filled_by_the_next_bar_and_settled_by_the_last_of_its_bars(side: int) -> None:
    """From that open to that close, after both costs, in usual moves; what comes later is no part of it."""
    record = after_wanting(begun("m", RULE), side, 3.0, 7, DAY, RULE)
    for move in ((101.0, 102.0), (102.0, 90.0), (90.0, 103.0)):
        assert not record.earned
        record = after_bar(record, 7, move, RULE)
    unit_bp = math.sqrt(math.pi / 2) * 1e4 * math.log(100.1 / 100.0) * math.sqrt(3)
    assert record.earned == pytest.approx([(side * 1e4 * math.log(103.0 / 101.0) - 6.0) / unit_bp])
    assert record == after_bar(record, 7, (1.0, 2.0), RULE)


def test_a_session_that_ends_settles_it() -> None:
    """At its last close, not at the next day's price; wanted at the last bar it was never filled."""
    record = after_bar(after_wanting(begun("m", RULE), 1, 3.0, 7, DAY, RULE), 7, (101.0, 101.0), RULE)
    record = after_bar(record, 8, (150.0, 160.0), RULE)
    assert len(record.earned) == 1
    assert record.earned[0] < 0  # the costs
    assert record.side == 0
    unfilled = after_bar(after_wanting(begun("m", RULE), 1, 3.0, 7, DAY, RULE), 8, (150.0, 160.0), RULE)
    assert unfilled == begun("m", RULE)


def test_one_at_a_time() -> None:
    """What is wanted again while one is open isn't another."""
    record = after_wanting(begun("m", RULE), 1, 3.0, 7, DAY, RULE)
    assert after_wanting(record, -1, 9.0, 7, DAY, RULE) == record
    assert after_wanting(begun("m", RULE), 1, 3.0, 7, [], RULE) == begun("m", RULE)


def test_no_more_are_kept_than_the_bound_is_made_of() -> None:
    """The memory of a daemon that runs for months stays what it is."""
    record = begun("m", RULE)
    for n in range(80):
        record = learned(record, float(n), RULE)
    assert record.earned == tuple(map(float, range(30, 80)))


def test_fewest_are_among_the_newest() -> None:
    """A bound that could never be is refused."""
    with pytest.raises(ValueError, match="fewest 60 is over newest 50"):
        EntrySettings(fewest=60)
