"""Each check of the daemon's health: fine, worth a look, to be mended, not known yet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.core.events import Action
from daemon.settings.health import HealthSettings
from daemon.supervision.health import Check, CheckStatus, Limits, Overall, overall
from daemon.supervision.health_checks import SharedLimits, all_checks
from daemon.supervision.health_readings import (
    AlertsReading,
    BrokerReading,
    BudgetReading,
    JournalReading,
    Measurements,
    ModelFile,
    Place,
    Readings,
    Stuck,
    TokenReading,
)
from daemon.supervision.health_window import Figures, Overdue
from daemon.supervision.memory import GB, MemoryLimits
from tests.samples import RELIANCE, SBIN, decide

OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL
FIGURES = Figures(
    decisions=100, failed=0, latency_p50_ms=4.0, latency_p99_ms=20.0, reasoned=100, cut_short=0, mean_segments=1.8,
    mean_convergence=0.2,
)  # fmt: skip
READINGS = Readings(
    journal=JournalReading("", 0, 10), strategy="hrm", first="hrm", silent_s=1.0, confirmed_days=300,
    token=TokenReading("valid", holds=True, ending=False, text="expires on 06 Jan 06:00 IST", left_s=9000.0),
    broker=BrokerReading("", failing=False, age_s=12.0), recorder="",
)  # fmt: skip
SEEN = Measurements(
    figures=FIGURES, failing={}, overdue=None, owed_limit_s=5.05, journal_lag_s=0.0, stuck=None, loop_lag_ms=3.0,
    memory_bytes=GB // 2, models=[ModelFile("hrm", "tiny.safetensors", "a" * 64, found="a" * 64)], models_age_s=7.0,
    places=[Place("/var/journal", 50 * GB), Place("/var/tapes", 40 * GB)], places_age_s=2.0,
)  # fmt: skip
NAMES = [
    "running", "journal", "ladder", "canary", "decisions", "owed", "stages", "restarts", "orders", "positions", "exits",
    "held_over", "cash", "budget", "broker", "token", "recorder", "feed", "clock", "ticks", "errors", "latency",
    "reasoning", "convergence", "baseline", "model", "memory", "loop", "disk", "calendar", "alerts",
]  # fmt: skip


def checks(
    readings: dict[str, Any] | None = None, seen: dict[str, Any] | None = None, **before: CheckStatus
) -> dict[str, Check]:
    """All checks, by name, of a well daemon but for what is given."""
    found = all_checks(
        msgspec.structs.replace(READINGS, **(readings or {})), msgspec.structs.replace(SEEN, **(seen or {})),
        HealthSettings(), SharedLimits(MemoryLimits(3, 4), Limits(1, 5), Limits(50, 100)), before,
    )  # fmt: skip
    return {check.name: check for check in found}


def figures(**changes: Any) -> dict[str, Any]:
    """Another window of decisions."""
    return {"figures": msgspec.structs.replace(FIGURES, **changes)}


def test_a_well_daemon() -> None:
    """Every check is there, in its order, and all is well with nothing to do."""
    found = checks()
    assert list(found) == NAMES
    assert overall(found.values()) is Overall.HEALTHY
    assert not any(check.do for check in found.values())
    assert all(check.text for check in found.values())


def test_a_daemon_of_which_nothing_is_known_yet() -> None:
    """Before the first tick, on paper, without a model: nothing is held against it."""
    nothing = Figures(0, 0, 0.0, 0.0, 0, 0, 0.0, 0.0)
    seen = {"figures": nothing, "loop_lag_ms": None, "models": None, "models_age_s": None, "places": None,
            "places_age_s": None}  # fmt: skip
    readings = {"journal": None, "broker": None, "token": None, "recorder": None, "silent_s": None,
                "confirmed_days": None}  # fmt: skip
    found = checks(readings, seen)
    assert {check.status for check in found.values()} == {OK}
    for name in ("latency", "errors", "reasoning", "convergence", "loop", "ticks", "model", "disk", "calendar"):
        assert found[name].value is None, name
    assert found["latency"].text == "too few decisions to say (0 of 50)"
    assert found["model"].text == "no file was looked at yet"


SAID: list[tuple[str, dict[str, Any], CheckStatus, str]] = [
    ("running", {"idle": "recovering: not done yet"}, FAIL, "recovering: not done yet"),
    ("running", {"barred": "trading is HALTED: news"}, OK, "trading is HALTED: news"),
    ("running", {"ended": True, "idle": "stopping: x"}, FAIL, "the feed has ended"),
    ("journal", {"journal": JournalReading("journal j: full", 3, 1)}, FAIL, "journal j: full"),
    ("ladder", {"strategy": "flat"}, FAIL, "no strategy is left on the ladder"),
    ("ladder", {"strategy": "rules", "why": "3 failed"}, WARN, "rules decides instead of hrm: 3 failed"),
    ("ladder", {"why": "again"}, OK, "hrm decides"),
    ("orders", {"unknown": 2}, FAIL, "orders whose fate is unknown: 2"),
    ("positions", {"halted": 1}, FAIL, "symbols on which broker and journal differ: 1"),
    ("exits", {"exits": {SBIN: "10 held (stop)"}}, OK, "nothing is held that is to be closed"),
    ("held_over", {"unsettled": {SBIN: "split", RELIANCE: "x"}}, FAIL, f"{SBIN}: split; {RELIANCE}: x"),
    ("cash", {"cash_differs": True}, FAIL, "the broker's cash and the journal's differ"),
    ("broker", {"broker": BrokerReading("the broker's positions have not been read for 50 s (no: you)", True, 50.0)},
     FAIL, "the broker's positions have not been read for 50 s (no: you)"),
    ("broker", {"calls": "past calls can't be recorded in var/calls (x)"}, WARN,
     "past calls can't be recorded in var/calls (x)"),
    ("broker", {"broker": BrokerReading("", True, 35.0)}, WARN, "the last question to the broker failed"),
    ("broker", {"calls": "past calls can't be recorded in var/calls (x)",
                "broker": BrokerReading("", True, 35.0)}, WARN,
     "the last question to the broker failed; past calls can't be recorded in var/calls (x)"),
    ("broker", {"calls": "past calls can't be recorded in var/calls (x)",
                "broker": BrokerReading("the broker's book has not been read for 50 s (no: you)", True, 50.0)}, FAIL,
     "the broker's book has not been read for 50 s (no: you); past calls can't be recorded in var/calls (x)"),
    ("budget", {"budget": BudgetReading(None, "no lease yet", "http://x refuses")}, WARN,
     "no lease yet (http://x refuses)"),
    ("budget", {"budget": BudgetReading(None, "no lease since 10:15:00: late", "")}, FAIL,
     "no lease since 10:15:00: late"),
    ("budget", {"budget": BudgetReading(Decimal(500), "", "no answer")}, WARN, "the lease ends soon (no answer)"),
    ("budget", {"budget": BudgetReading(Decimal(500), "", "")}, OK, "500 is leased"),
    ("token", {"token": TokenReading("expired", False, False, "expired on …", 0.0)}, FAIL,
     "the broker's access is expired: hrmd login"),
    ("token", {"token": TokenReading("expiring", True, True, "expires on …", 900.0)}, WARN,
     "the broker's access expires on …"),
    ("recorder", {"recorder": "recording to /tapes: full"}, FAIL, "ticks are not being recorded"),
    ("feed", {"stale": {None: "no ticks for 10 s"}}, FAIL, "the feed is stale: no ticks for 10 s"),
    ("feed", {"stale": {None: "no link yet"}}, WARN, "no link yet"),
    ("feed", {"stale": {SBIN: "feed 800, quote 900"}}, FAIL, f"stale symbols: 1, such as {SBIN}: feed 800, quote 900"),
    ("clock", {"clock_trouble": "the machine's clock is 3.0 s behind the daemon's time"}, FAIL,
     "the machine's clock is 3.0 s behind the daemon's time"),
    ("clock", {"clock_held": "the venue has not yet said what time it is"}, WARN,
     "the venue has not yet said what time it is"),
    ("ticks", {"silent_s": 60.0}, OK, "ticks come"),
    ("ticks", {"silent_s": 61.0}, FAIL, "no tick for 61 s of the session"),
    ("model", {"loaded": False}, FAIL, "hrm is in charge and not loaded"),
    ("calendar", {"doubts": ["calendar: 2027 is not confirmed"], "confirmed_days": -4}, WARN,
     "calendar: 2027 is not confirmed"),
    ("calendar", {"confirmed_days": 14}, OK, "holidays are confirmed for 14 more days"),
    ("calendar", {"confirmed_days": 13}, WARN, "holidays are confirmed for 13 more days"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "readings", "status", "text"), SAID)
def test_what_stations_say(name: str, readings: dict[str, Any], status: CheckStatus, text: str) -> None:
    """One check speaks, with what to do where something is to be done; no other one does."""
    found = checks(readings)
    assert (found[name].status, found[name].text) == (status, text)
    assert bool(found[name].do) is (status is not OK)
    assert {other for other, check in found.items() if check.status is not OK} <= {name}


MEASURED: list[tuple[str, dict[str, Any], CheckStatus, float]] = [
    ("journal", {"journal_lag_s": 1.9}, OK, 1.9),
    ("journal", {"journal_lag_s": 2.0}, WARN, 2.0),
    ("journal", {"journal_lag_s": 10.0}, FAIL, 10.0),
    ("stages", {"stuck": Stuck("risk", 3, 4.9)}, OK, 4.9),
    ("stages", {"stuck": Stuck("risk", 3, 5.0)}, WARN, 5),
    ("stages", {"stuck": Stuck("execution", 3, 15.0)}, FAIL, 15),
    ("errors", figures(decisions=101, failed=1), OK, 100 / 101),
    ("errors", figures(failed=1), WARN, 1),
    ("errors", figures(failed=5), FAIL, 5),
    ("latency", figures(latency_p99_ms=49.9), OK, 49.9),
    ("latency", figures(latency_p99_ms=50.0), WARN, 50),
    ("latency", figures(latency_p99_ms=100.0), FAIL, 100),
    ("reasoning", figures(cut_short=19), OK, 19),
    ("reasoning", figures(cut_short=100), WARN, 100),
    ("convergence", figures(mean_convergence=0.59), OK, 0.59),
    ("convergence", figures(mean_convergence=0.6), WARN, 0.6),
    ("memory", {"memory_bytes": 29 * GB // 10}, OK, 2.9),
    ("memory", {"memory_bytes": 3 * GB}, WARN, 3),
    ("memory", {"memory_bytes": 4 * GB}, FAIL, 4),
    ("loop", {"loop_lag_ms": 249.0}, OK, 249),
    ("loop", {"loop_lag_ms": 250.0}, WARN, 250),
    ("loop", {"loop_lag_ms": 1000.0}, FAIL, 1000),
    ("disk", {"places": [Place("/a", 5 * GB)]}, OK, 5),
    ("disk", {"places": [Place("/a", 49 * GB // 10), Place("/b", 90 * GB)]}, WARN, 4.9),
    ("disk", {"places": [Place("/a", 90 * GB), Place("/b", GB // 2)]}, FAIL, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "seen", "status", "value"), MEASURED)
def test_what_is_measured(name: str, seen: dict[str, Any], status: CheckStatus, value: float) -> None:
    """Against the limits of the settings, which it names."""
    found = checks(seen=seen)
    assert (found[name].status, found[name].value) == (status, pytest.approx(value))
    assert found[name].limit is not None
    assert bool(found[name].do) is (status is not OK)
    assert {other for other, check in found.items() if check.status is not OK} <= {name}


def test_trading_that_was_stopped_by_itself_is_worth_a_look() -> None:
    """Whoever stops it himself knows."""
    why = "trading is HALTED: funds differ"
    found = checks({"barred": why, "barred_by_itself": True})["running"]
    assert (found.status, found.text, found.do) == (WARN, why, "see to the reason, then hrmd ctl resume")


@pytest.mark.parametrize(("seconds", "status"), [(14.9, OK), (15.0, WARN), (60.0, FAIL)])
def test_a_position_that_is_to_be_closed_and_is_not(seconds: float, status: CheckStatus) -> None:
    """The oldest is named, with why it is held yet; how long it has been so is no other trouble."""
    held = {SBIN: "10 held (enough), the last answer was: no margin", RELIANCE: "-5 held (square-off time)"}
    found = checks({"exits": held}, {"exits_s": {SBIN: seconds, RELIANCE: 1.0}})["exits"]
    assert (found.status, found.value, bool(found.do)) == (status, seconds, status is not OK)
    outline = f"positions that are to be closed and are not: 2, the oldest for {seconds:.0f} s"
    assert (found.text, found.outline) == (f"{outline}: {SBIN}, {held[SBIN]}", outline)


def test_a_check_knows_what_it_was() -> None:
    """So that a value at its limit doesn't flap."""
    seen = figures(latency_p99_ms=47.0)
    assert checks(seen=seen)["latency"].status is OK
    assert checks(seen=seen, latency=WARN)["latency"].status is WARN
    assert checks(seen=figures(latency_p99_ms=44.0), latency=WARN)["latency"].status is OK


def test_few_decisions_are_not_judged() -> None:
    """One failure of a few says nothing; a rules run has no depth to speak of."""
    found = checks(seen=figures(decisions=49, failed=49, latency_p99_ms=9000.0, reasoned=49, cut_short=49))
    assert {found[name].status for name in ("errors", "latency", "reasoning", "convergence")} == {OK}
    found = checks(seen=figures(reasoned=0, mean_segments=0.0))
    assert found["reasoning"].text == "too few decisions that reason (0 of 50)"
    assert found["latency"].value == 20


def test_a_decision_that_is_owed() -> None:
    """It fails at once, and names who owes it; the symbol only for who holds the token."""
    found = checks(seen={"overdue": Overdue(3, SBIN, 7.2)})["owed"]
    assert (found.status, found.value, found.limit) == (FAIL, 7.2, 5.05)
    assert found.text == f"hrm owes decisions: 3, the oldest for 7 s, on {SBIN}"
    assert found.said_to_all == "hrm owes decisions: 3, the oldest for 7 s"


def test_decisions_that_failed() -> None:
    """The count and the first one; for all how they failed, without symbols and reasons."""
    hung = decide(Action.HOLD, strategy="hrm", failed=True, halt_reason="hung", reason="hung: no answer within 2 s")
    raised = msgspec.structs.replace(hung, symbol=RELIANCE, halt_reason="", reason="lost 5,000")
    found = checks(seen={"failing": {SBIN: hung, RELIANCE: raised}})["decisions"]
    assert found.status is FAIL
    assert found.text == f"symbols whose last decision failed: 2, such as {SBIN}: hrm hung: no answer within 2 s"
    assert found.said_to_all == "symbols whose last decision failed: 2 (hrm answered what is of no use, hrm hung)"


def test_the_files_of_models() -> None:
    """Another model, and a damaged file, are worth a look: the loaded one goes on; how long ago it was looked at."""
    other = [ModelFile("hrm", "tiny.safetensors", "a" * 64, found="b" * 64)]
    found = checks(seen={"models": other})["model"]
    assert (found.status, found.age_s) == (WARN, 7.0)
    holds = "tiny.safetensors holds another model (bbbbbbbbbbbb) than hrm thinks with (aaaaaaaaaaaa)"
    assert found.text == f"{holds}; the loaded one goes on"
    gone = [*other, ModelFile("ppo", "ppo.safetensors", "c" * 64, trouble="/m/ppo.safetensors: no such file")]
    text = checks(seen={"models": gone})["model"].text
    assert "the file of ppo is damaged or gone: /m/ppo.safetensors: no such file" in text
    assert checks(seen={"models": []})["model"].status is OK


@pytest.mark.parametrize(("name", "readings", "status", "text"), [row for row in SAID if row[2] is not OK])
def test_nothing_said_to_all_holds_a_symbol_or_money(
    name: str, readings: dict[str, Any], status: CheckStatus, text: str
) -> None:
    """Whoever asks `/healthz` learns what is wrong, and not what is traded."""
    said = checks(readings)[name].said_to_all
    assert said
    for secret in ("NSE:", "800", "900", "3 failed", "(no: you)", "split"):
        assert secret not in said


def test_who_is_told_of_alerts() -> None:
    """Nobody is fine; a service that can't be told is worth a look, and where all are it is to be mended."""
    assert checks()["alerts"].text == "nobody is told of alerts"
    well = checks({"alerts": AlertsReading(2, {}, 0, 3)})["alerts"]
    assert (well.status, well.text) == (CheckStatus.OK, "services that are told of alerts: 2; alerts lost: 3")
    one = checks({"alerts": AlertsReading(2, {"1: JSON host": "it answered 500"}, 4, 0)})["alerts"]
    assert (one.status, one.value) == (CheckStatus.WARN, 4)
    assert one.text == "alerts can't be sent: 1: JSON host: it answered 500; waiting: 4"
    assert one.said_to_all == "services that can't be told of alerts: 1 of 2"
    assert checks({"alerts": AlertsReading(1, {"1: JSON host": "it hangs"}, 4, 0)})["alerts"].status is CheckStatus.FAIL


def test_ticks_that_wait_for_the_venue_s_time_are_a_matter_of_the_clock() -> None:
    """How grave it is, is said there."""
    found = checks({"stale": {None: "time?"}, "clock_held": "time?", "clock_trouble": "hours"})
    assert (found["feed"].status, found["feed"].text) == (WARN, "the feed is stale: time?")
    assert (found["feed"].part_of, found["clock"].part_of) == ("clock", "")
    assert (found["clock"].status, found["clock"].text) == (FAIL, "hours")
