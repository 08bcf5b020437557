"""Each gate at its border, and every way forwards and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.events import (
    BeginCanary,
    CanaryChanged,
    CanaryState,
    Decider,
    EndCanary,
    GateReading,
    LoadModel,
    MigrationChanged,
    MigrationStage,
    ModelLoaded,
    ModelRefused,
    SwapStrategy,
)
from daemon.settings.canary import CanarySettings
from daemon.settings.migration import MigrationSettings
from daemon.supervision.comparison import Comparison, Evidence
from daemon.supervision.migration_gates import (
    baseline_gates,
    full_gates,
    gradual_gates,
    none_gates,
    parallel_gates,
    training_gates,
)
from tests.migrations import (
    CANDIDATE,
    FACTS,
    NEXT,
    PPO,
    Process,
    Witnessed,
    at_full,
    at_gradual,
    at_parallel,
    canary,
    measured,
    on_paper,
)

LIMITS = MigrationSettings(baseline_sessions=3, parallel_sessions=3, gradual_sessions=3, probation_sessions=3)
SIGNED = ("next", NEXT)
HRM1 = Decider("hrm", "0001", "/models/one.safetensors")


def gate(readings: tuple[GateReading, ...], name: str) -> GateReading:
    """By name; once."""
    (found,) = [reading for reading in readings if reading.name == name]
    return found


def evidence(*differences_bp: float) -> Evidence:
    """Of so many sessions."""
    comparison = Comparison(CanarySettings())
    comparison.see_all(differences_bp)
    return comparison.evidence


def paper(*, sessions: int = 3, mean_bp: float = 0.0, facts: Any = FACTS, **changes: Any) -> tuple[GateReading, ...]:
    """The gates of the parallel stage on equal sessions."""
    results = [on_paper(day, **changes) for day in range(sessions)]
    return parallel_gates(LIMITS, results, evidence(*[mean_bp] * sessions), SIGNED, PPO, facts)


@pytest.mark.parametrize(("name", "passed"), [("ppo", True), ("rules", True), ("flat", False), ("", False)])
def test_somebody_is_there_to_be_measured(name: str, passed: bool) -> None:
    """Flat has no baseline."""
    assert gate(none_gates(msgspec.structs.replace(FACTS, in_charge=Decider(name))), "in charge").passed is passed


@pytest.mark.parametrize(("count", "passed"), [(2, False), (3, True), (4, True)])
def test_enough_sessions_of_the_baseline(count: int, passed: bool) -> None:
    """From the limit on; the figures of the sessions are shown and hold nothing up."""
    sessions = [measured(day, net_bp=day * 2.0, latency_p99_ms=10.0 + day, failed=1) for day in range(count)]
    readings = baseline_gates(LIMITS, sessions, PPO, FACTS)
    found = gate(readings, "sessions")
    assert (found.passed, found.value, found.limit) == (passed, count, 3)
    assert found.text == f"{count} whole sessions in charge, at least 3"
    shown = {name: gate(readings, name) for name in ("profit", "decisions", "failed", "latency", "trades")}
    assert [reading.value for reading in shown.values()] == [count - 1.0, 100 * count, 1.0, 9.0 + count, 4 * count]
    assert all(reading.passed and reading.limit is None for reading in shown.values())


def test_the_baseline_is_of_one_and_the_same() -> None:
    """After a step down another one decides: who was measured isn't there."""
    facts = msgspec.structs.replace(FACTS, in_charge=Decider("rules"))
    found = gate(baseline_gates(LIMITS, [], PPO, facts), "in charge")
    assert (found.passed, found.text) == (False, "rules decides, the baseline began with ppo aaaa")


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"trained_to": "2026-01-04"}, set()),
        ({"trained_to": "2026-01-05"}, {"trained to"}),
        ({"trained_to": ""}, {"trained to"}),
        ({"metrics": {}}, {"metrics"}),
        ({"trouble": "/models/next.safetensors: no such file"}, {"artifact"}),
        ({"dropped": "hung, 4 times"}, {"candidate"}),
        ({"decider": PPO}, {"another"}),
        ({"taught": False, "decider": PPO}, {"another"}),
        ({"taught": False, "metrics": {}, "trained_to": "", "decider": Decider("rules")}, set()),
    ],
)
def test_what_a_candidate_must_say(changes: dict[str, Any], failing: set[str]) -> None:
    """An artifact, its metrics, and a training that ended before today; rules have none of it."""
    facts = msgspec.structs.replace(FACTS, candidate=msgspec.structs.replace(CANDIDATE, **changes))
    assert {reading.name for reading in training_gates(facts) if not reading.passed} == failing


def test_without_a_candidate() -> None:
    """One line that names the setting."""
    (found,) = training_gates(msgspec.structs.replace(FACTS, candidate=None))
    assert not found.passed
    assert "migration.candidate" in found.text


@pytest.mark.parametrize(
    ("name", "good", "bad", "limit"),
    [
        ("sessions", {"sessions": 3}, {"sessions": 2}, 3),
        ("failed", {"failed": 1}, {"failed": 2}, 1.0),
        ("failed", {"decisions": 1, "failed": 0}, {"decisions": 0, "failed": 0}, 1.0),
        ("latency", {"thinking_p99_ms": 50.0}, {"thinking_p99_ms": 50.1}, 50.0),
        ("latency", {"thinking_p99_ms": 0.1}, {"thinking_p99_ms": 0.0}, 50.0),
        ("mean difference", {"mean_bp": 0.0}, {"mean_bp": -0.01}, 0.0),
        ("mean difference", {"sessions": 1}, {"sessions": 0}, 0.0),
    ],
)
def test_the_borders_on_paper(name: str, good: dict[str, Any], bad: dict[str, Any], limit: float) -> None:
    """At its limit a value passes, beyond it not, and what was never measured doesn't."""
    assert gate(paper(**good), name).passed
    found = gate(paper(**bad), name)
    assert (found.passed, found.limit) == (False, limit)


def test_what_is_shown_on_paper() -> None:
    """Agreement has no limit; the comparison says no only where it says "roll back"."""
    readings = paper()
    assert (gate(readings, "agreement").value, gate(readings, "agreement").passed) == (75.0, True)
    assert gate(paper(compared=0, agreed=0), "agreement").text == "nothing to compare yet"
    assert gate(readings, "comparison").passed
    lost = parallel_gates(LIMITS, [on_paper(1)], evidence(*[-40.0] * 20), SIGNED, PPO, FACTS)
    assert not gate(lost, "comparison").passed
    assert "roll back (worse by more than 0 bp" in gate(lost, "comparison").text


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (None, "is none, signed was next: hrm bbbb; roll back to change it"),
        (msgspec.structs.replace(CANDIDATE, decider=Decider("hrm", "cccc")), "is next: hrm cccc, signed was"),
        (msgspec.structs.replace(CANDIDATE, agent="other"), "is other: hrm bbbb, signed was"),
    ],
)
def test_another_candidate_than_was_signed(candidate: Any, text: str) -> None:
    """Evidence of one says nothing of another."""
    found = gate(paper(facts=msgspec.structs.replace(FACTS, candidate=candidate)), "candidate")
    assert not found.passed
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"sessions": 3}, set()),
        ({"sessions": 2}, {"sessions"}),
        ({"sessions": 3, "better": 19.99}, {"proof"}),
        ({"sessions": 3, "state": CanaryState.ROLLED_BACK}, {"canary"}),
        ({"sessions": 2, "state": CanaryState.PROMOTED}, set()),
        ({"sessions": 2, "better": 1.0, "state": CanaryState.PROMOTED}, {"sessions"}),
    ],
)
def test_the_borders_of_the_canary(changes: dict[str, Any], failing: set[str]) -> None:
    """Proof is 1 / alpha; a promotion by proof ends the sessions, one by hand doesn't stand for them."""
    readings = gradual_gates(LIMITS, canary(**changes), CanarySettings(), SIGNED, FACTS)
    assert {reading.name for reading in readings if not reading.passed} == failing


def test_a_canary_that_never_began() -> None:
    """Nothing is passed but who it would be."""
    readings = gradual_gates(LIMITS, None, CanarySettings(), SIGNED, FACTS)
    assert [reading.name for reading in readings if not reading.passed] == ["canary", "sessions", "proof"]
    assert gate(readings, "canary").text == "the canary is not begun"


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"net_bp": 3.5}, set()),
        ({"net_bp": 3.49}, {"profit"}),
        ({"failed": 2}, {"failed"}),
        ({"latency_p99_ms": 50.01}, {"latency"}),
    ],
)
def test_the_borders_of_probation(changes: dict[str, Any], failing: set[str]) -> None:
    """The baseline made 5 bp a session: 30 % below is 3.5."""
    facts = msgspec.structs.replace(FACTS, in_charge=NEXT)
    sessions = [measured(day, NEXT, **changes) for day in range(3)]
    readings = full_gates(LIMITS, canary(CanaryState.PROMOTED), sessions, [measured(9)], NEXT, facts)
    assert {reading.name for reading in readings if not reading.passed} == failing


def test_a_loss_may_grow_by_its_share_too() -> None:
    """A baseline of −10 bp leaves room to −13."""
    facts = msgspec.structs.replace(FACTS, in_charge=NEXT)
    for net_bp, passed in ((-13.0, True), (-13.01, False)):
        readings = full_gates(
            LIMITS, None, [measured(1, NEXT, net_bp=net_bp)], [measured(2, net_bp=-10.0)], NEXT, facts
        )
        assert gate(readings, "profit").passed is passed
    assert not gate(readings, "promotion").passed


# -- the way ----------------------------------------------------------------------------------------------------------


def test_the_whole_way() -> None:
    """Signed step by step; the canary begins, is promoted, and at the end it is done."""
    process = at_full()
    assert [event.stage.value for event in process.said(MigrationChanged)] == [
        "baseline", "training", "parallel", "gradual", "full",
    ]  # fmt: skip
    assert {event.who for event in process.said(MigrationChanged)} == {"asha"}
    (begin,) = process.said(BeginCanary)
    assert (begin.agent, begin.who, begin.reason) == ("next", "asha", "migration: it is time")
    assert [event.promote for event in process.said(EndCanary)] == [True]
    process.publish(measured(5, NEXT), measured(6, NEXT))
    done = process.advance()
    assert isinstance(done, MigrationChanged)
    assert (done.stage, done.decider, done.former) == (MigrationStage.NONE, NEXT, PPO)


def test_a_failed_gate_is_refused_with_its_numbers() -> None:
    """One line, and nothing changes."""
    process = Process(Witnessed())
    process.advance()
    process.publish(measured(1))
    assert process.advance() == (
        "advance: 1 of 7 gates of stage baseline are not passed: sessions: 1 whole sessions in charge, at least 2"
    )
    assert process.migration.stage is MigrationStage.BASELINE


@pytest.mark.parametrize("changes", [{"whole": False}, {"strategy": "rules"}, {"model_hash": "x"}, {"since_ts": -1}])
def test_sessions_that_do_not_count(changes: dict[str, Any]) -> None:
    """In part, of another, or begun before the stage."""
    process = Process(Witnessed())
    process.advance()
    process.publish(measured(1, **changes))
    assert process.migration.baseline == {}


def test_nobody_advances_while_it_does_not_trade() -> None:
    """But back it goes."""
    process = at_gradual()
    process.witness.change(halted="HALTED (lunch)")
    said = process.advance()
    assert said == "advance: trading is HALTED (lunch); a stage begins while it trades (hrmd ctl resume)"
    assert isinstance(process.roll_back(), MigrationChanged)


def test_back_from_none() -> None:
    """There is nothing."""
    assert Process(Witnessed()).roll_back() == "rollback: no migration goes on"


def test_back_from_parallel_changes_nobody_in_charge() -> None:
    """The baseline stays, what was seen on paper doesn't count again."""
    process = at_parallel()
    process.publish(on_paper(3))
    process.roll_back()
    assert process.migration.stage is MigrationStage.BASELINE
    assert not process.said(EndCanary, SwapStrategy, LoadModel)
    assert len(process.migration.baseline) == 2
    process.advance()
    process.advance()
    assert process.migration.results == {}


def test_back_from_gradual_ends_the_canary() -> None:
    """And its answer moves nothing more."""
    process = at_gradual()
    process.publish(canary())
    process.roll_back()
    assert [event.promote for event in process.said(EndCanary)] == [False]
    process.publish(canary(CanaryState.ROLLED_BACK))
    assert process.migration.stage is MigrationStage.BASELINE


def test_a_canary_that_is_rolled_back_takes_the_migration_with_it() -> None:
    """To parallel, by itself and loudly, with the reason; what was seen on paper begins anew."""
    process = at_gradual()
    process.publish(canary(), canary(CanaryState.ROLLED_BACK, reason="worse by more than 0 bp a session"))
    changed = process.said(MigrationChanged)[-1]
    assert (changed.stage, changed.who) == (MigrationStage.PARALLEL, "hrmd")
    assert process.keeper.trouble == "the canary was rolled back: worse by more than 0 bp a session"
    assert process.migration.results == {}
    assert isinstance(process.advance(), str)


def test_a_canary_of_another_is_nobody_elses() -> None:
    """Another model under the same name, another agent."""
    process = at_gradual()
    process.publish(canary(CanaryState.ROLLED_BACK, PPO), canary(CanaryState.PROMOTED, agent="other"))
    assert (process.migration.stage, process.migration.canary) == (MigrationStage.GRADUAL, None)


def test_back_from_full_puts_the_former_in_charge() -> None:
    """Another strategy: by the way that a person has."""
    process = at_full()
    process.roll_back()
    (swap,) = process.said(SwapStrategy)
    assert (swap.name, swap.who, swap.reason) == ("ppo", "ravi", "migration rolled back by ravi: it loses")
    assert not process.said(LoadModel)
    assert process.migration.owed == ""


def test_it_is_said_where_another_decides_after_all() -> None:
    """The new model failed at its first decision, and the one before came back."""
    process = at_full()
    process.witness.change(in_charge=NEXT)
    assert process.keeper.trouble == ""
    process.witness.change(in_charge=HRM1)
    assert process.keeper.trouble == (
        "hrm 0001 decides, and not next (hrm bbbb): put it in charge again, or go back (hrmd ctl migration rollback)"
    )
    process.roll_back()
    assert "and not next" not in process.keeper.trouble


def older_hrm() -> Process:
    """An HRM in charge that another HRM followed."""
    witness = Witnessed(msgspec.structs.replace(FACTS, in_charge=HRM1, models={"hrm": HRM1}))
    process = Process(witness)
    process.advance()
    process.publish(measured(1, HRM1), measured(2, HRM1))
    process.advance()
    process.advance()
    process.publish(on_paper(3), on_paper(4))
    process.advance()
    process.publish(canary())
    process.advance()
    process.publish(canary(CanaryState.PROMOTED))
    witness.change(in_charge=NEXT, models={"hrm": NEXT})
    return process


def test_back_to_an_older_model_loads_it() -> None:
    """Its file by name; a file that holds another one by now, or none, is said."""
    process = older_hrm()
    process.roll_back()
    (load,) = process.said(LoadModel)
    assert (load.model, load.who) == ("/models/one.safetensors", "ravi")
    assert [event.name for event in process.said(SwapStrategy)] == ["hrm"]
    loaded = ModelLoaded(
        ts=1, key=load.key, name="one", model_hash="0001", before="bbbb", after_bar=0, runtime="", file="/models/one",
        closes=False, reason="",
    )  # fmt: skip
    process.publish(loaded)
    assert process.keeper.trouble == ""
    process.publish(msgspec.structs.replace(loaded, model_hash="0002"))
    assert process.keeper.trouble == "/models/one holds 0002 now, 0001 was in charge before; find it and load it"
    process.publish(ModelRefused(ts=1, key=load.key, model="m", reason="no such file"))
    assert "no such file" in process.keeper.trouble


@pytest.mark.parametrize("refused", [False, True])
def test_an_older_model_that_did_not_come_is_asked_for_again_by_the_next_process(refused: bool) -> None:
    """Else the candidate would decide on after a person went back. What was loaded since, by whomever, ends it."""
    process = older_hrm()
    process.roll_back()
    (load,) = process.said(LoadModel)
    if refused:
        process.publish(ModelRefused(ts=1, key=load.key, model="m", reason="hrmd ended before it was loaded"))
    again = process.restart()
    assert len(again.said(LoadModel)) == len(again.said(SwapStrategy)) == 2
    loaded = ModelLoaded(
        ts=2, key="a person's", name="two", model_hash="0002", before="bbbb", after_bar=0, runtime="",
        file="/models/two", closes=False, reason="",
    )  # fmt: skip
    again.publish(msgspec.structs.replace(loaded, key=""))  # one that failed gave way: nobody answered
    assert len(again.restart().said(LoadModel)) == 3
    again.publish(loaded)
    assert len(again.restart().said(LoadModel)) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"within_reach": ("hrm", "rules", "flat")},
            "rollback: ppo aaaa can't be put in charge here (hrm, rules, flat)",
        ),
        ({"models": {"ppo": Decider("ppo", "dddd")}}, "rollback: ppo aaaa was in charge, ppo dddd is loaded"),
    ],
)
def test_back_to_who_is_not_there_is_refused(changes: dict[str, Any], text: str) -> None:
    """In one line that says what to do, and nothing changes."""
    process = at_full()
    process.witness.change(**changes)
    said = process.roll_back()
    assert isinstance(said, str)
    assert said.startswith(text)
    assert process.migration.stage is MigrationStage.FULL


def test_a_promotion_that_comes_after_the_rollback_is_undone() -> None:
    """It was on its way when a person said no."""
    process = at_gradual()
    process.publish(canary())
    process.advance()
    process.roll_back()
    process.publish(canary(CanaryState.PROMOTED))
    assert [event.name for event in process.said(SwapStrategy)] == ["ppo"]
    process.publish(canary(CanaryState.PROMOTED))
    assert len(process.said(SwapStrategy)) == 1


@pytest.mark.parametrize(
    ("come_to", "then", "owed", "answer"),
    [(at_parallel, "advance", BeginCanary, canary()), (at_gradual, "advance", EndCanary, canary(CanaryState.PROMOTED)),
     (at_gradual, "roll_back", EndCanary, canary(CanaryState.ROLLED_BACK)), (at_full, "roll_back", SwapStrategy, None)],
)  # fmt: skip
def test_a_crash_between_a_change_and_what_it_asks_for(come_to: Any, then: str, owed: Any, answer: Any) -> None:
    """Each process asks for it once until there is an answer, and none after that; a swap is its own."""
    process = come_to()
    process.publish(on_paper(3), on_paper(4), *([canary()] if come_to is at_gradual else []))
    getattr(process, then)()
    assert isinstance(process.journal[-1], owed)
    asked = len(process.said(owed))
    again = process.restart(lost=1)
    assert isinstance(again.journal[-1], owed)
    assert len(again.said(owed)) == asked
    for more in (1, 2) if answer is not None else ():
        again = again.restart()
        assert len(again.said(owed)) == asked + more
    if answer is not None:
        asked += 2
        again.publish(answer)
    assert again.migration.owed == ""
    assert len(again.restart().said(owed)) == asked


@pytest.mark.parametrize("state", [CanaryState.RUNNING, CanaryState.ROLLED_BACK])
def test_a_canary_that_answers_at_once(state: CanaryState) -> None:
    """Before anybody else has heard the command: it is given once, and the journal tells the same."""
    process = at_parallel()
    process.publish(on_paper(3), on_paper(4))
    quick = Process(process.witness, process.journal, before=lambda bus: answer_at_once(bus, state))
    quick.advance()
    assert len(quick.said(BeginCanary)) == 1
    stage = MigrationStage.GRADUAL if state is CanaryState.RUNNING else MigrationStage.PARALLEL
    assert quick.migration.stage is stage
    assert quick.restart().migration.standing(0) == quick.migration.standing(0)
    if state is CanaryState.RUNNING:
        quick.roll_back()
        assert len(quick.said(EndCanary)) == 1
        assert quick.migration.owed == ""
        assert quick.restart().migration.standing(0) == quick.migration.standing(0)


def answer_at_once(bus: Bus, state: CanaryState) -> None:
    """A canary that is a tap, too."""
    bus.tap((BeginCanary,), lambda event: bus.publish(canary(state)))
    bus.tap((EndCanary,), lambda event: bus.publish(canary(CanaryState.ROLLED_BACK)))


# -- put in charge by settings ---------------------------------------------------------------------------------------


def by_settings(**changes: Any) -> CanaryChanged:
    """The candidate's canary, ended by a start whose settings name it."""
    return msgspec.structs.replace(canary(CanaryState.PROMOTED, **changes), who="the operator", by_settings=True)


def started_with_it(**changes: Any) -> Process:
    """In gradual, and then a start whose settings name the candidate."""
    process = at_gradual()
    process.publish(canary())
    process.witness.change(in_charge=NEXT, models={"hrm": NEXT, "ppo": PPO}, named=NEXT)
    process.publish(by_settings(**changes))
    return process


def test_settings_that_name_the_candidate_are_the_step_to_full() -> None:
    """Where every gate of gradual is passed: signed by who set it, nothing more to promote, done after probation."""
    process = started_with_it()
    full = process.said(MigrationChanged)[-1]
    assert (full.stage, full.before, full.who) == (MigrationStage.FULL, MigrationStage.GRADUAL, "the operator")
    assert len(full.gates) == 4
    assert all(reading.passed for reading in full.gates)
    assert not process.said(EndCanary)
    assert process.keeper.trouble == ""
    process.publish(measured(5, NEXT), measured(6, NEXT))
    done = process.advance()
    assert isinstance(done, MigrationChanged)
    assert done.stage is MigrationStage.NONE


def test_a_crash_before_the_step_to_full_was_said() -> None:
    """The next start says it."""
    process = started_with_it()
    again = process.restart(lost=1)
    assert [event.stage for event in again.said(MigrationChanged)][-1] is MigrationStage.FULL
    assert len(again.restart().said(MigrationChanged)) == len(again.said(MigrationChanged))


@pytest.mark.parametrize(
    ("changes", "name"), [({"sessions": 1}, "sessions"), ({"better": 19.9}, "proof"), ({"better": 1.0}, "proof")]
)
def test_settings_stand_for_no_gate(changes: dict[str, Any], name: str) -> None:
    """It stays in gradual and says which gate over restarts; neither a person nor itself gets further, back it goes."""
    process = started_with_it(**changes).restart()
    assert process.migration.stage is MigrationStage.GRADUAL
    assert f"gates of stage gradual are not passed ({name}: " in process.keeper.trouble
    put_back = "put strategy.name: ppo, model_management.ppo_artifact: /models/ppo.safetensors back"
    assert process.keeper.trouble.endswith(put_back)
    assert isinstance(process.advance(), str)
    assert isinstance(process.roll_back(), MigrationChanged)
    assert process.migration.stage is MigrationStage.BASELINE
    assert [event.name for event in process.said(SwapStrategy)] == ["ppo"]


def test_settings_of_before_again_are_no_step_to_full() -> None:
    """Who was promoted doesn't decide."""
    process = started_with_it()
    lost = [
        event for event in process.journal if not (isinstance(event, MigrationChanged) and event.before == "gradual")
    ]
    process.witness.change(in_charge=PPO, named=PPO)
    again = Process(process.witness, lost)
    assert again.migration.stage is MigrationStage.GRADUAL
    assert "candidate: ppo aaaa decides, promoted was hrm bbbb" in again.keeper.trouble


def test_back_from_full_says_which_settings_to_put_back() -> None:
    """Until they are: a start without the journal would put the candidate in charge."""
    process = started_with_it()
    assert isinstance(process.roll_back(), MigrationChanged)
    process.witness.change(in_charge=PPO)
    wanted = (
        "the settings put hrm bbbb in charge where the journal is gone: "
        "put strategy.name: ppo, model_management.ppo_artifact: /models/ppo.safetensors back"
    )
    assert process.keeper.trouble == process.restart().keeper.trouble == wanted
    process.witness.change(named=PPO)
    assert process.restart().keeper.trouble == ""


def test_a_canary_that_is_not_begun_is_said_and_begun_by_the_next_start() -> None:
    """Why not, in status, and nothing is asked again by this process."""
    process = at_parallel()
    process.publish(on_paper(3), on_paper(4))
    process.advance()
    assert process.keeper.trouble == ""
    no = msgspec.structs.replace(
        canary(CanaryState.ROLLED_BACK), strategy="", model_hash="", reason="not begun: it rains"
    )
    process.publish(msgspec.structs.replace(no, strategy="", model_hash=""))
    assert process.keeper.trouble == (
        "next decides on no share, its canary is not begun: it rains; mend that and start again"
    )
    assert (process.migration.stage, len(process.said(BeginCanary))) == (MigrationStage.GRADUAL, 1)
    again = process.restart()
    assert (again.keeper.trouble, len(again.said(BeginCanary))) == ("", 2)
    again.publish(canary())
    assert again.migration.owed == ""


def test_no_step_to_a_share_that_cannot_be_given() -> None:
    """As where somebody began another canary by hand; one that waits behind such a one says so, over a restart, too."""
    process, why = at_parallel(), "a canary of other runs; end it first (hrmd ctl canary rollback)"
    process.publish(on_paper(3), on_paper(4))
    process.witness.change(no_share=why)
    assert process.advance() == f"advance: 1 of 10 gates of stage parallel are not passed: share: {why}"
    assert process.said(BeginCanary) == []
    process.witness.change(no_share="")
    process.advance()
    process.witness.change(no_share=why)
    told = f"next decides on no share, its canary is not begun: {why}; mend that and start again"
    assert process.keeper.trouble == process.restart().keeper.trouble == told


def test_full_before_the_start_with_its_settings() -> None:
    """A step to full that this process can't promote says what to set."""
    process = at_gradual()
    process.publish(canary())
    process.advance()
    assert process.keeper.trouble == ""
    process.publish(canary())  # it can't
    assert process.keeper.trouble == (
        "next decides on its share only: set strategy.name: hrm, model_management.artifact: /models/next.safetensors, "
        "then start again"
    )
    process.witness.change(in_charge=NEXT, named=NEXT)
    process.publish(by_settings())
    assert (process.migration.stage, process.keeper.trouble) == (MigrationStage.FULL, "")


def test_a_finished_migration_is_left_alone() -> None:
    """What the canary says of itself at a later start puts nobody back."""
    process = at_full()
    process.publish(measured(5, NEXT), measured(6, NEXT))
    process.advance()
    process.publish(canary(CanaryState.PROMOTED), canary(CanaryState.ROLLED_BACK))
    assert process.migration.stage is MigrationStage.NONE
    assert not process.said(SwapStrategy)
