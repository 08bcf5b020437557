"""Settings → whether a session has a bar at whose close anything may be opened.

Entries end `strategy.no_entries_minutes` before a session does, and a strategy may need some of its bars first. Pure;
invariant: what is said never to open anything opens nothing in a session of the usual length, whatever the ticks are.
"""

from __future__ import annotations

import math

from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from models.config import History
from strategies.rules import SESSION_MINUTES


def opens_nothing(settings: Settings) -> str:
    """Why the strategy in charge never opens anything, and what would let it; "" where it may."""
    strategy = settings.strategy
    closes, (needed, key) = _closes(settings, strategy.interval), _needed(settings, strategy.interval)
    if closes >= needed:
        return ""
    fitting = [name for name in INTERVALS if name in settings.bars.intervals and _may_open(settings, name)]
    instead = f"strategy.interval {fitting[-1]}" if fitting else "a smaller strategy.no_entries_minutes"
    if fitting and fitting[-1] != fitting[0]:
        instead += " or shorter"
    bars = "no bar closes" if not closes else "1 bar closes" if closes == 1 else f"{closes} bars close"
    why = f", and {strategy.name} needs {needed} ({key})" if closes else ""
    return (
        f"{strategy.name} never opens anything: of strategy.interval {strategy.interval}, {bars} before a session's "
        f"entries end ({strategy.no_entries_minutes} minutes before its close: strategy.no_entries_minutes){why}; "
        f"expected {instead}"
    )


def _may_open(settings: Settings, interval: str) -> bool:
    return _closes(settings, interval) >= _needed(settings, interval)[0]


def _minutes(interval: str) -> int:
    return min(INTERVALS[interval] // 60, SESSION_MINUTES)


def _closes(settings: Settings, interval: str) -> int:
    """Bars of a session that close while entries are still made."""
    return max(0, SESSION_MINUTES - settings.strategy.no_entries_minutes - 1) // _minutes(interval)


def _needed(settings: Settings, interval: str) -> tuple[int, str]:
    """How many of a session's bars must have closed before the strategy in charge opens anything, and what says so."""
    name, rules = settings.strategy.name, settings.strategy.rules
    features = settings.hierarchical_reasoning_model.features
    if name == "hrm" and features.history is History.SESSION:
        return features.min_bars, "hierarchical_reasoning_model.features.min_bars"
    if name == "rules" and (first := math.ceil(rules.not_before_minutes / _minutes(interval))) > 1:
        return first, f"strategy.rules.not_before_minutes {rules.not_before_minutes}"
    return 1, ""
