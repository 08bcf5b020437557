"""Whatever comes in whatever order, over restarts and crashes: arrows, gates and the journal hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.events import (
    ITSELF,
    BeginCanary,
    CanaryState,
    Decider,
    EndCanary,
    Event,
    MigrationChanged,
    MigrationStage,
    SwapStrategy,
)
from daemon.settings.canary import CanarySettings
from daemon.supervision.migration import BACK, HEARD, NEXT, ON_TRIAL, Migration
from tests.migrations import (
    CANDIDATE,
    CASH,
    FACTS,
    PPO,
    SNAPSHOT,
    Process,
    Witnessed,
    canary,
    measured,
    on_paper,
)
from tests.migrations import NEXT as CANDIDATES

OTHER = Decider("hrm", "cccc", "/models/other.safetensors")
whos = st.sampled_from([PPO, CANDIDATES, OTHER])
days = st.integers(1, 6)
onwards = st.tuples(st.just("onwards"), st.sampled_from(["", "", "", "HALTED (lunch)"]), st.booleans())
steps = st.one_of(
    onwards, onwards, onwards, st.just(("advance",)), st.just(("rollback",)),
    st.tuples(st.just("session"), days, whos, st.booleans(), st.sampled_from([-9.0, 5.0])),
    st.tuples(st.just("paper"), days, st.just(CANDIDATES), st.booleans(), st.sampled_from([0, 0, 5]), st.sampled_from(
        [-900, 400, 700])),
    st.tuples(st.just("canary"), st.sampled_from(CanaryState), whos, st.integers(0, 3), st.sampled_from([1.0, 20.0])),
    st.tuples(st.just("halted"), st.sampled_from(["", "HALTED (by a test)"])),
    st.tuples(st.just("in charge"), whos), st.tuples(st.just("candidate"), st.sampled_from([None, CANDIDATES, OTHER])),
    st.tuples(st.just("snapshot"), st.booleans()), st.tuples(st.just("restart"), st.integers(0, 4)),
)  # fmt: skip

histories = st.builds(
    lambda begun, later: [("onwards", "", False)] * begun + later, st.integers(0, 6), st.lists(steps, max_size=40)
)


class Driver:
    """Processes one after the other on one journal; some of it may be shortened away."""

    def __init__(self) -> None:
        self.process = Process(Witnessed())
        self.durable = 0
        """What is on disk for certain."""

    def take(self, step: tuple[Any, ...]) -> None:
        """Do what a step says."""
        process = self.process
        match step:
            case ("onwards", halted, shortens):
                self.onwards(process, halted)
                if shortens:
                    self.take(("snapshot", True))
            case ("advance",):
                process.advance()
            case ("rollback",):
                process.roll_back()
            case ("session", day, who, whole, bp):
                process.publish(measured(day, who, whole=whole, net_bp=bp))
            case ("paper", day, who, whole, failed, net):
                process.publish(on_paper(day, who, whole=whole, failed=failed, net_pnl=Decimal(net)))
            case ("canary", state, who, sessions, better):
                process.publish(canary(state, who, sessions=sessions, better=better))
            case ("halted", why):
                process.witness.change(halted=why)
            case ("in charge", who):
                process.witness.change(in_charge=who)
            case ("candidate", None):
                process.witness.change(candidate=None)
            case ("candidate", who):
                one = CANDIDATE if who == CANDIDATES else type(CANDIDATE)(agent="next", decider=who, taught=True)
                process.witness.change(candidate=one)
            case ("snapshot", shortens):
                process.publish(SNAPSHOT)
                if shortens:
                    newest = max(n for n, event in enumerate(process.journal) if event is SNAPSHOT)
                    del process.journal[:newest]
                    self.durable = len(process.journal)
            case ("restart", lost):
                self.process = process.restart(min(lost, len(process.journal) - self.durable))

    def onwards(self, process: Process, halted: str) -> None:
        """All as it should be, so that the next step is taken where it isn't `halted`."""
        full = process.migration.stage is MigrationStage.FULL
        process.witness.change(halted=halted, candidate=CANDIDATE, in_charge=CANDIDATES if full else PPO)
        state = CanaryState.PROMOTED if full else CanaryState.RUNNING
        for day in (7, 8):
            process.publish(measured(day), measured(day, CANDIDATES), on_paper(day))
        process.publish(canary(state, sessions=9))
        process.advance()


def restored(journal: list[Event]) -> Migration:
    """What the next process would know."""
    migration = Migration(Process(Witnessed()).settings, CanarySettings(), CASH)
    for event in journal:
        if isinstance(event, HEARD):
            migration.apply(event)
    return migration


def known(migration: Migration) -> tuple[Any, ...]:
    """All that it knows."""
    sessions = (migration.baseline, migration.results, migration.probation)
    return (migration.history, [list(one.items()) for one in sessions], migration.canary, migration.owed)


def check_arrow(event: MigrationChanged) -> None:
    """Forwards with every gate passed and a person's name; back as it is allowed to."""
    if event.who == ITSELF:
        assert event.before in ON_TRIAL
        assert event.stage is MigrationStage.PARALLEL
    elif event.who == "asha":
        assert event.stage is NEXT[event.before]
        assert event.gates
        assert all(gate.passed for gate in event.gates)
    else:
        assert event.stage is BACK[event.before]


@given(histories)
def test_arrows_gates_and_the_journal(history: list[tuple[Any, ...]]) -> None:
    """No stage without its arrow and its gates, what is owed is given, and the journal tells all of it."""
    driver, stage = Driver(), MigrationStage.NONE
    for step in history:
        seen: list[MigrationChanged] = []
        driver.process.bus.tap((MigrationChanged,), seen.append)
        driver.take(step)
        process = driver.process
        for event in seen:
            assert event.before is stage
            check_arrow(event)
            assert not (event.who == "asha" and process.witness.now.halted)
            stage = event.stage
        if step[0] == "restart":
            stage = process.migration.stage
        migration = process.migration
        assert migration.stage is stage
        assert known(restored(process.journal)) == known(migration)
        assert migration.owed in ("", "begin", "promote", "end")  # which the canary is yet to answer
        assert not migration.due(0, process.witness.facts())
        rolled_back = migration.canary is not None and migration.canary.state is CanaryState.ROLLED_BACK
        assert not (stage in ON_TRIAL and rolled_back)


@given(histories)
def test_a_candidate_begins_and_ends_as_the_stage_says(history: list[tuple[Any, ...]]) -> None:
    """The canary begins in gradual and is promoted in full, and who leaves both by a person's word is ended."""
    driver = Driver()
    driver.process.witness.now = FACTS
    for step in [step for step in history if step[0] not in ("snapshot", "restart")]:
        driver.take((*step[:2], False) if step[0] == "onwards" else step)
    stage = MigrationStage.NONE
    left = ended = 0
    for event in driver.process.journal:
        match event:
            case MigrationChanged():
                stage = event.stage
                left += event.before in ON_TRIAL and stage is MigrationStage.BASELINE
            case BeginCanary():
                assert stage is MigrationStage.GRADUAL
                assert event.agent == "next"
            case EndCanary(promote=True):
                assert stage is MigrationStage.FULL
            case EndCanary():
                assert stage is MigrationStage.BASELINE
                ended += 1
            case SwapStrategy():
                assert event.name == "ppo"
                ended += 1
    assert ended >= left
