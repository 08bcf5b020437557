from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from daemon.alerting.conditions import WATCHED, Condition, condition, of_checks, of_event, of_loss, of_state
from daemon.alerting.kinds import KINDS
from daemon.core.events import (
    ActorRestarted,
    CanaryChanged,
    CanaryState,
    ContractClosing,
    Decider,
    Event,
    FundsDiffer,
    Halt,
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
from daemon.settings.alerts import AlertKind
from daemon.supervision.health import bad, doubtful, good
from tests.unit.supervision.test_health_checks import NAMES

CANARY = CanaryChanged(
    ts=1, agent="fast", strategy="rules", model_hash="", state=CanaryState.RUNNING, symbols=("S",), size=0.5,
    sessions=0, mean_bp=0.0, better=1.0, worse=1.0, who="asha", reason="looks good",
)  # fmt: skip
MIGRATION = MigrationChanged(
    ts=1, stage=MigrationStage.PARALLEL, before=MigrationStage.TRAINING, candidate="fast", decider=Decider("rules"),
    former=Decider("hrm"), gates=(), who="asha", reason="trained",
)  # fmt: skip
SWAP = StrategySwapped(ts=1, old="hrm", new="rules", reason="hung", who="hrmd")
TOLD: list[tuple[Event, AlertKind, str, str]] = [
    (TradingStateChanged(ts=1, state=TradingState.HALTED, reason="news", who="asha"), AlertKind.HALT, "critical",
     "trading is HALTED (by asha): news"),
    (TradingStateChanged(ts=1, state=TradingState.REDUCING, reason="", who="hrmd"), AlertKind.HALT, "warning",
     "trading is REDUCING"),
    (SWAP, AlertKind.LADDER, "warning", "rules decides instead of hrm: hung"),
    (msgspec.structs.replace(SWAP, new="flat"), AlertKind.LADDER, "critical", "flat decides instead of hrm: hung"),
    (MitigationTaken(ts=1, step=Mitigation.LESS_DEPTH, strategy="hrm", trigger="latency", evidence="p99 120 ms"),
     AlertKind.MITIGATION, "warning", "hrm: less_depth, for latency: p99 120 ms"),
    (OrderUnknown(ts=1, order_id="H1", reason="no answer"), AlertKind.ORDERS, "critical",
     "order H1 is UNKNOWN: no answer"),
    (Reconciled(ts=1, orders=3, trades=2, missed_fills=2, unknown=0), AlertKind.MISSED_FILLS, "warning",
     "2 fills that only the broker's book told of were booked"),
    (SymbolHalted(ts=1, symbol="S", reason="10 against 0"), AlertKind.POSITIONS, "critical",
     "S is halted: 10 against 0"),
    (ContractClosing(ts=1, symbol="F", quantity=65, reason="it expires today"), AlertKind.EXPIRY, "warning",
     "F: it expires today; 65 held, which are closed"),
    (ProtectionFailed(ts=1, symbol="S", quantity=-5, reason="no stop"), AlertKind.PROTECTION, "critical",
     "S: no stop; -5 held, which are closed"),
    (SymbolHalted(ts=1, symbol="S", reason="a split", overnight=True), AlertKind.HELD_OVER, "critical",
     "S is halted: a split"),
    (FundsDiffer(ts=1, broker=Decimal(1), journal=Decimal(2), reason="1 less"), AlertKind.CASH, "critical", "1 less"),
    (ActorRestarted(ts=1, actor="bars", error="KeyError", restarts=1), AlertKind.RESTARTS, "warning",
     "bars crashed and runs again (1): KeyError"),
    (CANARY, AlertKind.CANARY, "info", "fast: running (by asha): looks good"),
    (msgspec.structs.replace(CANARY, state=CanaryState.ROLLED_BACK, sessions=3), AlertKind.CANARY, "warning",
     "fast: rolled back (by asha): looks good"),
    (MIGRATION, AlertKind.MIGRATION, "info", "fast: training → parallel (by asha): trained"),
    (msgspec.structs.replace(MIGRATION, stage=MigrationStage.NONE), AlertKind.MIGRATION, "warning",
     "fast: training → none (by asha): trained"),
]  # fmt: skip
PASSED_OVER: list[Event] = [
    TradingStateChanged(ts=1, state=TradingState.ACTIVE, reason="resumed"),
    msgspec.structs.replace(SWAP, new="hrm"),
    Reconciled(ts=1, orders=3, trades=2, missed_fills=0, unknown=1),
    FundsDiffer(ts=1, broker=Decimal(1), journal=Decimal(1), reason=""),
    msgspec.structs.replace(CANARY, sessions=1),
    MitigationTaken(ts=1, step=Mitigation.STEP_DOWN, strategy="hrm", trigger="errors", evidence="x"),
    Halt(ts=1, reason="x"),
]


def test_every_check_of_health_has_a_kind() -> None:
    """So that none that fails goes untold."""
    checks = [bad(name, "it is ill", "mend it") for name in NAMES]
    assert [one.key for one in of_checks(checks)] == NAMES


def test_a_check_is_as_grave_as_its_status() -> None:
    """A good one is no cause; what to do is said."""
    found = of_checks(
        [good("feed", "fine"), doubtful("latency", "p99 60 ms", "look"), bad("disk", "full", "make room")]
    )
    assert [(it.kind, it.severity, it.text) for it in found] == [
        (AlertKind.LATENCY, Severity.WARNING, "p99 60 ms → look"),
        (AlertKind.DISK, Severity.CRITICAL, "full → make room"),
    ]


def test_what_another_check_tells_is_no_alert_of_its_own() -> None:
    """A clock that jumped makes the feed stale: one cause, one alert; unless nobody tells of the cause."""
    feed = msgspec.structs.replace(
        doubtful("feed", "the feed is stale: the clock jumped", "see clock"), part_of="clock"
    )
    clock = bad("clock", "the clock jumped", "set it")
    assert [it.kind for it in of_checks([feed, clock])] == [AlertKind.CLOCK]
    assert [it.kind for it in of_checks([feed, good("clock", "fine")])] == [AlertKind.FEED]
    told = of_checks([feed, clock], muted=[AlertKind.CLOCK])
    assert [it.kind for it in told] == [AlertKind.FEED, AlertKind.CLOCK], (
        "who hears nothing of clocks hears of the feed"
    )


@pytest.mark.parametrize(("event", "kind", "severity", "text"), TOLD)
def test_an_event_is_told_as_what_it_means(event: Event, kind: AlertKind, severity: str, text: str) -> None:
    """Its kind, how grave it is, one line; and never graver or milder than the list of kinds says."""
    found = of_event(event, "hrm")
    assert found is not None
    assert (found.kind, found.severity.value, found.text) == (kind, severity, text)
    assert found.severity in KINDS[kind].severities
    assert type(event) in WATCHED


@pytest.mark.parametrize("event", PASSED_OVER)
def test_an_event_that_is_no_cause_is_passed_over(event: Event) -> None:
    """Things that are well again, or that another alert tells of."""
    assert of_event(event, "hrm") is None


def test_events_and_states_share_the_key_of_their_check() -> None:
    """Otherwise one cause would be told twice."""
    unknown = of_event(OrderUnknown(ts=1, order_id="H1", reason="x"), "hrm")
    assert unknown is not None
    assert unknown.key == of_checks([bad("orders", "x", "")])[0].key
    swapped = of_event(SWAP, "hrm")
    assert swapped is not None
    assert swapped.key == of_checks([doubtful("ladder", "x", "")])[0].key
    halted = of_event(TradingStateChanged(ts=1, state=TradingState.HALTED, reason="x", who="asha"), "hrm")
    assert of_state(TradingState.HALTED, "x", "asha") == [halted]
    assert of_state(TradingState.ACTIVE, "", "") == []


@pytest.mark.parametrize(
    ("pnl", "high", "drawdown", "text"),
    [
        ("-19999.99", "0", None, ""),
        ("-20000", "0", None, "the day's loss ₹20,000.00 has reached risk.max_daily_loss ₹20,000.00: nothing is "
                              "opened"),
        ("1000", "6000", "5000.01", ""),
        ("1000", "6000", "5000", "₹5,000.00 below the day's high: risk.max_day_drawdown ₹5,000.00 is reached, nothing "
                                 "is opened"),
    ],
)  # fmt: skip
def test_the_loss_limit(pnl: str, high: str, drawdown: str | None, text: str) -> None:
    """At the limit itself, as risk has it."""
    found = of_loss(Decimal(pnl), Decimal(high), Decimal(20_000), None if drawdown is None else Decimal(drawdown))
    assert [it.text for it in found] == ([text] if text else [])


def test_a_text_is_one_short_line() -> None:
    """Line ends are spaces, and what is too long is cut."""
    found: Condition = condition(AlertKind.MODEL, Severity.WARNING, "a\nb" + "c" * 1000)
    assert found.text.startswith("a bccc")
    assert len(found.text) == 600


def test_the_list_of_kinds_is_whole() -> None:
    """Every kind has its row."""
    assert set(KINDS) == set(AlertKind)
