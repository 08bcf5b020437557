"""Whether settings let anything be opened: against a day's bars, one after the other, and in words."""

from __future__ import annotations

import itertools

import pytest

from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.openings import opens_nothing

ALL = "bars.intervals=[1m, 3m, 5m, 15m, 30m, 60m, 1d]"


def settings_of(*changes: str) -> Settings:
    """Rules on all intervals unless something else is said."""
    return load_settings(None, [ALL, "strategy.name=rules", *changes])


SETTINGS = settings_of()


@pytest.mark.parametrize("interval", INTERVALS)
def test_it_is_so_exactly_where_no_bar_of_a_session_will_do(interval: str) -> None:
    """Each bar's close, 375 minutes long: late enough for the rules, and early enough for an entry."""
    length = INTERVALS[interval] // 60
    closes = [min(start + length, 375) for start in range(0, 375, length)]
    for no_entries, not_before in itertools.product((20, 30, 60, 314, 315, 316, 374, 375), (0, 180, 300, 344, 345)):
        rules = SETTINGS.strategy.rules.model_copy(update={"not_before_minutes": not_before})
        update = {"interval": interval, "no_entries_minutes": no_entries, "rules": rules}
        settings = SETTINGS.model_copy(update={"strategy": SETTINGS.strategy.model_copy(update=update)})
        fitting = [close for close in closes if close >= not_before and 375 - close > no_entries]
        assert bool(opens_nothing(settings)) is not bool(fitting), (no_entries, not_before)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["strategy.interval=1d"],
            "rules never opens anything: of strategy.interval 1d, no bar closes before a session's entries end (30 "
            "minutes before its close: strategy.no_entries_minutes); expected strategy.interval 60m or shorter",
        ),
        (
            ["strategy.name=hrm", "strategy.interval=30m", "hierarchical_reasoning_model.features.min_bars=20"],
            "hrm never opens anything: of strategy.interval 30m, 11 bars close before a session's entries end (30 "
            "minutes before its close: strategy.no_entries_minutes), and hrm needs 20 "
            "(hierarchical_reasoning_model.features.min_bars); expected strategy.interval 15m or shorter",
        ),
        (
            ["strategy.no_entries_minutes=375"],
            "rules never opens anything: of strategy.interval 5m, no bar closes before a session's entries end (375 "
            "minutes before its close: strategy.no_entries_minutes); expected a smaller strategy.no_entries_minutes",
        ),
    ],
)
def test_it_says_what_is_wrong_and_what_would_be_right(changes: list[str], told: str) -> None:
    """In one line, with the settings that say so."""
    if "strategy.interval=30m" in changes:
        assert opens_nothing(settings_of(*changes, "hierarchical_reasoning_model.features.history=rolling")) == ""
    assert opens_nothing(settings_of(*changes)) == told
