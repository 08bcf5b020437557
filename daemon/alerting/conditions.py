"""Checks of health, the state of trading and events → conditions, each the cause of one alert. Pure.

Invariant: whatever tells of the same cause has the same key, so that a check and an event of it are one alert.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Final

import msgspec

from daemon.core.events import (
    ITSELF,
    ActorRestarted,
    CanaryChanged,
    CanaryState,
    ContractClosing,
    Event,
    FundsDiffer,
    MigrationChanged,
    MigrationStage,
    Mitigation,
    MitigationTaken,
    OrderUnknown,
    ProtectionFailed,
    Reconciled,
    Severity,
    StrategySwapped,
    SymbolHalted,
    TradingState,
    TradingStateChanged,
)
from daemon.report.text import rupees
from daemon.settings.alerts import AlertKind
from daemon.supervision.health import Check, CheckStatus

WATCHED: tuple[type[Event], ...] = (
    TradingStateChanged, StrategySwapped, MitigationTaken, OrderUnknown, Reconciled, SymbolHalted, FundsDiffer,
    ActorRestarted, CanaryChanged, MigrationChanged, ContractClosing, ProtectionFailed,
)  # fmt: skip
"""The events that `of_event` knows."""
MAX_CHARS: Final = 600
_ADVICE: Final = " → "
"""Between what is wrong and what to do about it."""
_SEVERITY: Final = {CheckStatus.WARN: Severity.WARNING, CheckStatus.FAIL: Severity.CRITICAL}
_TOLD_ELSEWHERE: Final = (Mitigation.STEP_DOWN, Mitigation.FLAT, Mitigation.HALT)
_FLAT: Final = "flat"


class Condition(msgspec.Struct, frozen=True):
    """A cause to tell somebody, as it is now."""

    kind: AlertKind
    severity: Severity
    text: str
    key: str
    """Of the cause; the kind, unless one kind may have several at a time."""


def condition(kind: AlertKind, severity: Severity, text: str, detail: str = "") -> Condition:
    """In one line; `detail` tells causes of one kind apart."""
    line = " ".join(text.split())
    cut = line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 1]}…"
    return Condition(kind, severity, cut, f"{kind}:{detail}" if detail else str(kind))


def without_advice(text: str) -> str:
    """A condition's text when it is over: nobody has to do anything about it any more."""
    return text.partition(_ADVICE)[0]


def of_checks(checks: Iterable[Check], muted: Collection[AlertKind] = ()) -> list[Condition]:
    """Those that aren't as they should be, with what to do; what is part of another one isn't told by itself.

    But where that one is `muted`: then nobody would hear of either.
    """
    wrong = {check.name: check for check in checks if check.status is not CheckStatus.OK}
    return [
        condition(AlertKind(check.name), _SEVERITY[check.status], _ADVICE.join(filter(None, (check.text, check.do))))
        for check in wrong.values()
        if check.part_of not in wrong or check.part_of in muted
    ]


def of_state(state: TradingState, reason: str, who: str) -> list[Condition]:
    """Trading that is halted or only reduces."""
    if state is TradingState.ACTIVE:
        return []
    severity = Severity.CRITICAL if state is TradingState.HALTED else Severity.WARNING
    by = f" (by {who})" if who and who != ITSELF else ""
    return [condition(AlertKind.HALT, severity, f"trading is {state.value}{by}" + (f": {reason}" if reason else ""))]


def of_event(event: Event, first: str) -> Condition | None:
    """What happened, where somebody should know at once; `first` is the strategy that the settings put in charge."""
    match event:
        case TradingStateChanged():
            return next(iter(of_state(event.state, event.reason, event.who)), None)
        case StrategySwapped():
            return _swapped(event, first)
        case OrderUnknown():
            return condition(AlertKind.ORDERS, Severity.CRITICAL, f"order {event.order_id} is UNKNOWN: {event.reason}")
        case SymbolHalted():
            kind = AlertKind.HELD_OVER if event.overnight else AlertKind.POSITIONS
            return condition(kind, Severity.CRITICAL, f"{event.symbol} is halted: {event.reason}")
        case FundsDiffer():
            return condition(AlertKind.CASH, Severity.CRITICAL, event.reason) if event.reason else None
        case ActorRestarted():
            text = f"{event.actor} crashed and runs again ({event.restarts}): {event.error}"
            return condition(AlertKind.RESTARTS, Severity.WARNING, text)
        case _:
            return _news(event)


def _swapped(event: StrategySwapped, first: str) -> Condition | None:
    if event.new == first:
        return None
    severity = Severity.CRITICAL if event.new == _FLAT else Severity.WARNING
    by = f" (by {event.who})" if event.who and event.who != ITSELF else ""
    return condition(AlertKind.LADDER, severity, f"{event.new} decides instead of {first}{by}: {event.reason}")


def _news(event: Event) -> Condition | None:
    match event:
        case MitigationTaken():
            if event.step in _TOLD_ELSEWHERE:
                return None
            severity = Severity.INFO if event.step is Mitigation.BACK else Severity.WARNING
            text = f"{event.strategy}: {event.step.value}, for {event.trigger}: {event.evidence}"
            return condition(AlertKind.MITIGATION, severity, text, event.step.value)
        case Reconciled():
            if not event.missed_fills:
                return None
            text = f"{event.missed_fills} fills that only the broker's book told of were booked"
            return condition(AlertKind.MISSED_FILLS, Severity.WARNING, text)
        case CanaryChanged():
            return _canary(event)
        case ContractClosing():
            text = f"{event.symbol}: {event.reason}; {event.quantity} held, which are closed"
            return condition(AlertKind.EXPIRY, Severity.WARNING, text, event.symbol)
        case ProtectionFailed():
            text = f"{event.symbol}: {event.reason}; {event.quantity} held, which are closed"
            return condition(AlertKind.PROTECTION, Severity.CRITICAL, text, event.symbol)
        case MigrationChanged():
            stages = list(MigrationStage)
            back = stages.index(event.stage) < stages.index(event.before)
            text = f"{event.candidate}: {event.before.value} → {event.stage.value} (by {event.who}): {event.reason}"
            severity = Severity.WARNING if back else Severity.INFO
            return condition(AlertKind.MIGRATION, severity, text, event.stage.value)
    return None


def _canary(event: CanaryChanged) -> Condition | None:
    """When it begins and how it ends; not each session that it is judged by."""
    if event.state is CanaryState.RUNNING and event.sessions:
        return None
    severity = Severity.WARNING if event.state is CanaryState.ROLLED_BACK else Severity.INFO
    text = f"{event.agent}: {event.state.value} (by {event.who}): {event.reason}"
    return condition(AlertKind.CANARY, severity, text, f"{event.agent} {event.state.value}")


def of_loss(day_pnl: Decimal, day_high: Decimal, most: Decimal, drawdown: Decimal | None) -> list[Condition]:
    """The day's loss at its limit `most`, or its fall from the day's high at `drawdown`; rupees."""
    if day_pnl <= -most:
        text = f"the day's loss {rupees(-day_pnl)} has reached risk.max_daily_loss {rupees(most)}: nothing is opened"
    elif drawdown is not None and day_pnl <= day_high - drawdown:
        fallen = rupees(day_high - day_pnl)
        text = f"{fallen} below the day's high: risk.max_day_drawdown {rupees(drawdown)} is reached, nothing is opened"
    else:
        return []
    return [condition(AlertKind.LOSS_LIMIT, Severity.CRITICAL, text)]
