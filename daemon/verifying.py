"""A journal → whether its decisions can be made again: the recorded events through the recorded settings.

Bars, complexities, positions and swaps are put, in the journal's order, into a fresh `MarketView`; each recorded
decision is then made again at its recorded depth. Invariant: on the platform that wrote the journal, with the recorded
model, every field but the time and the measured latency must come out bit for bit.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from pydantic import ValidationError

from daemon.clock import ReplayClock
from daemon.errors import CheckFailed, UsageError
from daemon.events import Bar, Complexity, Decision, PositionChanged, StrategySwapped
from daemon.journal import JournalReader
from daemon.market.calendar import MarketCalendar
from daemon.market.legs import Legs
from daemon.settings import Settings
from daemon.strategy_actor import FLAT
from daemon.strategy_ladder import build_strategies, pin_runtime, view_settings
from strategies.base import LATE, SINGLE_CYCLE, MarketView, Moment, Strategy, hold

STAMPED = ("ts", "latency_ns")
"""Fields that the run's clock gives, not the strategy."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared."""

    journal: str
    decisions: int
    model: str


def verify_journal(path: Path) -> Verification:
    """Make the latest run's decisions again. Raises `CheckFailed` at the first difference, or `UsageError`."""
    reader = JournalReader(path)
    metadata = reader.metadata()
    try:
        settings = Settings(**msgspec.json.decode(metadata.get("settings", "")))
    except (ValidationError, msgspec.DecodeError, TypeError):
        raise UsageError(
            f"{path}: its settings are not those of this version of hrmd ({metadata.get('version')})"
        ) from None
    strategies = build_strategies(pin_runtime(settings, metadata.get("runtime", "")), ReplayClock())
    view = MarketView(view_settings(settings), MarketCalendar())
    legs = Legs(msgspec.json.decode(metadata.get("legs", "{}"), type=dict[str, str]))
    active: str = settings.strategy.name
    asked: list[tuple[Moment, str]] = []
    count = 0
    for event in reader.events(Bar, Complexity, PositionChanged, StrategySwapped, Decision):
        if isinstance(event, Bar):
            legs.on_bar(event)
            view.on_bar(event)
        elif isinstance(event, PositionChanged):
            view.on_position(legs.seen(event))
        elif isinstance(event, StrategySwapped):
            active = event.new
        elif isinstance(event, Complexity) and not legs.holds(event.symbol):
            asked.append((view.moment(event), active))
        elif isinstance(event, Decision):
            moment, name = _asked(asked, event, path)
            again = _decide_again(strategies.get(name), moment, event)
            _compare(event, again, count, path)
            count += 1
    reader.close()
    return Verification(journal=str(path), decisions=count, model=metadata.get("model", ""))


def _asked(asked: list[tuple[Moment, str]], decision: Decision, path: Path) -> tuple[Moment, str]:
    """The moment that a decision answers; earlier ones were never answered (a crash, a newer bar)."""
    while asked:
        moment, name = asked.pop(0)
        if (moment.symbol, moment.ts) == (decision.symbol, decision.ts_bar):
            return moment, name
    raise CheckFailed(f"{path}: {decision.symbol} at {decision.ts_bar}: a decision that no bar asked for")


def _decide_again(strategy: Strategy | None, moment: Moment, recorded: Decision) -> Decision:
    if strategy is None:
        return hold(moment, FLAT, "no strategy is in charge")
    if recorded.halt_reason == LATE:
        return recorded  # the clock decided it, nothing was thought
    decide_at = getattr(strategy, "decide_at", None)
    if decide_at is not None and recorded.segments:
        single_cycle = recorded.halt_reason == SINGLE_CYCLE
        decision: Decision = decide_at(moment, recorded.segments, single_cycle=single_cycle)
        return msgspec.structs.replace(decision, halt_reason=recorded.halt_reason, reason=recorded.reason)
    return strategy.decide(moment)


def _compare(recorded: Decision, again: Decision, number: int, path: Path) -> None:
    for field in recorded.__struct_fields__:
        if field in STAMPED:
            continue
        was, now = getattr(recorded, field), getattr(again, field)
        if was != now:
            raise CheckFailed(
                f"{path}: decision {number + 1} ({recorded.symbol}, bar {recorded.ts_bar}): {field} was {was!r}, "
                f"is now {now!r}"
            )
