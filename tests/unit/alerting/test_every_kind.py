"""Every kind of alert, in each severity that it may have: told once while its cause lasts, and once that it is over.

Causes come as in a running daemon: readings become checks of health (`all_checks`), and events go over the bus; the
desk's own book and sender do the rest. A kind that the tables lack fails a test.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from daemon.alerting.conditions import Condition, condition, of_checks, of_loss, of_state
from daemon.alerting.desk import Earlier
from daemon.alerting.kinds import KINDS
from daemon.core.events import AlertChanged, Event, Mitigation, MitigationTaken, Severity, TradingState
from daemon.settings.alerts import AlertKind
from daemon.supervision.baseline import Standing
from daemon.supervision.health import CheckStatus
from daemon.supervision.health_readings import AlertsReading, BaselineReading, ModelFile
from daemon.supervision.health_window import Overdue
from tests.samples import SBIN, decide
from tests.unit.alerting.test_conditions import TOLD
from tests.unit.alerting.test_desk import CLOSE, T0, Room
from tests.unit.supervision.test_health_checks import MEASURED, SAID, checks

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
SEVERITIES = {CheckStatus.WARN: WARNING, CheckStatus.FAIL: CRITICAL}
Cause = tuple[AlertKind, Severity, list[Condition]]


def seen(name: str, severity: Severity, readings: dict[str, Any], measured: dict[str, Any] | None = None) -> Cause:
    """A daemon of which this is read and measured."""
    return AlertKind(name), severity, of_checks(checks(readings, measured).values())


def beside(kind: AlertKind, severity: Severity, found: list[Condition]) -> Cause:
    """What the desk is told beside health (`daemon.run.alerts`)."""
    return kind, severity, found


def baseline(dropped: str = "", *, trips: bool = False) -> dict[str, Any]:
    """The strategy in charge earns 30 % less than the baseline, or the baseline is dropped."""
    standing = Standing(sessions=40, percent=30.0, proof=25.0, needed=20.0, warns=True, trips=trips)
    return {"baseline": BaselineReading("base", dropped, standing)}


def services(*failing: str) -> dict[str, Any]:
    """Of two services, those that can't be told."""
    return {"alerts": AlertsReading(2, dict.fromkeys(failing, "it answered 500"), 1, 0)}


DAMAGED = ModelFile("hrm", "tiny.safetensors", "a" * 64, trouble="it is cut short")
FAILED = decide(SBIN, failed=True, reason="ArithmeticError")
LASTING: list[Cause] = [
    *(seen(name, SEVERITIES[status], readings) for name, readings, status, _ in SAID if status in SEVERITIES),
    *(seen(name, SEVERITIES[status], {}, found) for name, found, status, _ in MEASURED if status in SEVERITIES),
    seen("decisions", CRITICAL, {}, {"failing": {SBIN: FAILED}}),
    seen("owed", CRITICAL, {}, {"overdue": Overdue(count=2, oldest_s=9.0, symbol=SBIN)}),
    *(
        seen("exits", kind, {"exits": {SBIN: "10 held (out)"}}, {"exits_s": {SBIN: since}})
        for kind, since in ((WARNING, 15.0), (CRITICAL, 60.0))
    ),
    seen("restarts", WARNING, {"restarted": ["bars crashed: KeyError"]}),
    seen("baseline", WARNING, baseline()),
    seen("baseline", WARNING, baseline("hung, 4 times today")),
    seen("baseline", CRITICAL, baseline(trips=True)),
    seen("model", WARNING, {}, {"models": [DAMAGED]}),
    seen("alerts", WARNING, services("1: Telegram")),
    seen("alerts", CRITICAL, services("1: Telegram", "2: Mail")),
    beside(AlertKind.HALT, WARNING, of_state(TradingState.REDUCING, "news", "asha")),
    beside(AlertKind.HALT, CRITICAL, of_state(TradingState.HALTED, "news", "asha")),
    beside(AlertKind.LOSS_LIMIT, CRITICAL, of_loss(Decimal(-20_000), Decimal(0), Decimal(20_000), None)),
    beside(AlertKind.LOSS_LIMIT, CRITICAL, of_loss(Decimal(-1), Decimal(5_000), Decimal(20_000), Decimal(5_000))),
    beside(AlertKind.RUNNING, CRITICAL, [condition(AlertKind.RUNNING, CRITICAL, "recovering: the broker is away")]),
]
BACK = MitigationTaken(ts=T0, step=Mitigation.BACK, strategy="hrm", trigger="latency", evidence="p99 9 ms")
HAPPENED: list[tuple[AlertKind, Severity, Event]] = [
    *((kind, Severity(severity), event) for event, kind, severity, _ in TOLD),
    (AlertKind.MITIGATION, Severity.INFO, BACK),
]


def titles(kind: AlertKind, severity: Severity, *, over: bool) -> list[str]:
    """What somebody reads of one alert from its beginning to its end."""
    words = kind.value.replace("_", " ")
    return [f"{severity.value.upper()}: {words}", *([f"cleared: {words}"] if over else [])]


def told(room: Room) -> list[str]:
    """Titles of all that was sent; alerts that were sent in one piece are told apart."""
    return [":".join(line.removeprefix("hrmd: ").split(":")[:2]) for line in room.told()]


def name(it: object) -> str:
    """Of a case: kind and severity."""
    return str(it) if isinstance(it, str) else "-"


@pytest.mark.parametrize(("kind", "severity", "found"), LASTING, ids=name)
def test_what_lasts_is_told_once_and_that_it_is_over(
    kind: AlertKind, severity: Severity, found: list[Condition]
) -> None:
    """An hour of it is one alert; a minute without it is its end, and an hour without it is no other one."""
    assert [(it.kind, it.severity) for it in found] == [(kind, severity)]
    room = Room(minimum="info")
    room.look()
    room.now = found
    for _ in range(60):
        room.look(60)
    room.now = []
    for _ in range(60):
        room.look(60)
    assert told(room) == titles(kind, severity, over=not KINDS[kind].news)


@pytest.mark.parametrize(("kind", "severity", "event"), HAPPENED, ids=name)
def test_what_happens_is_told_once(kind: AlertKind, severity: Severity, event: Event) -> None:
    """However often it is said before somebody looks; what lasts no longer than the event is over after a while."""
    room = Room(minimum="info")
    room.bus.publish(event)
    room.bus.publish(event)
    room.look()
    for _ in range(60):
        room.look(60)
    assert told(room) == titles(kind, severity, over=not KINDS[kind].news)


def test_what_gets_graver_is_told_once_more() -> None:
    """Latency at 50 ms, at 100 ms, at 50 ms again, and gone: three messages."""
    room = Room()
    mild, grave = (
        next(found for kind, severity, found in LASTING if (kind, severity) == (AlertKind.LATENCY, one))
        for one in (WARNING, CRITICAL)
    )
    for found in (mild, grave, mild, []):
        room.now = found
        for _ in range(20):
            room.look(60)
    assert told(room) == ["WARNING: latency", "CRITICAL: latency", "cleared: latency"]


def test_a_process_that_was_broken_off_is_told_once() -> None:
    """By the next one; that it is over is no news."""
    room = Room(Earlier(in_order=False))
    for _ in range(60):
        room.look(60)
    assert told(room) == titles(AlertKind.BROKEN_OFF, CRITICAL, over=False)


async def test_the_day_is_told_once() -> None:
    """After the close, however often somebody looks."""
    room = Room(minimum="info")
    await room.desk.tell_the_day()
    room.clock.advance(CLOSE + 3600 * 10**9)
    for _ in range(3):
        await room.desk.tell_the_day()
    told = [it for it in room.published if isinstance(it, AlertChanged)]
    assert [(it.kind, it.severity) for it in told] == [(AlertKind.DIGEST, Severity.INFO)]
    room.told()
    assert [it.title for it in room.heard.messages] == ["hrmd: 2021-04-05: +₹5.00"]


def test_no_kind_and_no_severity_is_left_out() -> None:
    """Neither here nor in the list of kinds."""
    fired = {(kind, severity) for kind, severity, _ in [*LASTING, *HAPPENED]}
    fired |= {(AlertKind.BROKEN_OFF, CRITICAL), (AlertKind.DIGEST, Severity.INFO)}
    assert fired == {(kind, severity) for kind, sort in KINDS.items() for severity in sort.severities}
    assert set(KINDS) == set(AlertKind)
