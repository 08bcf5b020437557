"""The migration of a running daemon: hears commands and evidence, publishes what changes, and what that asks for.

A tap, so that nothing can come between a command and its answer. Invariant: what the journal tells is all that the next
process needs; after every snapshot of the account it is told again, so that no shortening loses it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError
from daemon.core.events import (
    ITSELF,
    AccountSnapshot,
    AdvanceMigration,
    Decider,
    Event,
    MigrationChanged,
    MigrationStage,
    MigrationStanding,
    ModelLoaded,
    ModelRefused,
    RollBackMigration,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.reader import JournalReader, is_blank
from daemon.market.calendar import ist_date
from daemon.shadow.agents import Agent
from daemon.shadow.desk import Desk
from daemon.strategy.actor import StrategyActor
from daemon.strategy.artifacts import said_on_disk
from daemon.strategy.build import artifact_of
from daemon.supervision.migration import HEARD, KEY, Migration
from daemon.supervision.migration_gates import Candidate, Facts
from daemon.supervision.supervisor import Ladder
from strategies.base import model_hash_of

log = structlog.get_logger("migration")

ANSWERS = 32
"""Commands whose answer is remembered until whoever gave them has asked for it."""

Command = AdvanceMigration | RollBackMigration


class Witness(Protocol):
    """Whom the keeper asks what is so now."""

    def facts(self) -> Facts:
        """At once, from memory."""

    def read_candidate(self) -> None:
        """Look at the candidate's artifact again; from the disk, and safe on a thread."""


class Stations:
    """The stations of a running daemon, which it changes in nothing."""

    def __init__(
        self, bus: Bus, clock: Clock, candidate: str | None, ladder: Ladder, stage: StrategyActor,
        desks: Sequence[Desk], why_no_share: Callable[[str], str],
    ) -> None:  # fmt: skip
        """`candidate`: the shadow agent that the settings name; `why_no_share`: why an agent's canary can't begin."""
        self._clock = clock
        self._wanted = candidate
        self._ladder = ladder
        self._stage = stage
        self._desks = desks
        self._why_no_share = why_no_share
        self._halted = ""
        self.read_candidate()
        bus.tap((TradingStateChanged,), self._on_state)

    def read_candidate(self) -> None:
        """See `Witness`."""
        agents = [desk.agent for desk in self._desks if desk.agent.name == self._wanted]
        self._candidate = candidate_of(agents[0]) if agents else None

    def facts(self) -> Facts:
        """See `Witness`."""
        ladder, succession = self._ladder, self._stage.succession
        models = {rung: decider_of(rung, succession.newest(rung)) for rung in self._stage.strategies}
        dropped = {desk.agent.name: desk.dropped for desk in self._desks}
        candidate = self._candidate
        if candidate is not None:
            candidate = msgspec.structs.replace(candidate, dropped=dropped.get(candidate.agent, ""))
        return Facts(
            in_charge=models.get(ladder.active, Decider(ladder.active)), models=models,
            within_reach=ladder.within_reach, candidate=candidate, halted=self._halted,
            today=ist_date(self._clock.now_ns()).isoformat(), named=models.get(ladder.own, Decider(ladder.own)),
            no_share="" if candidate is None else self._why_no_share(candidate.agent),
        )  # fmt: skip

    def _on_state(self, event: TradingStateChanged) -> None:
        active = event.state is TradingState.ACTIVE
        self._halted = "" if active else f"{event.state.value} ({event.reason})"


class MigrationKeeper:
    """See the module."""

    def __init__(self, bus: Bus, clock: Clock, migration: Migration, witness: Witness) -> None:
        self.migration = migration
        self._bus = bus
        self._clock = clock
        self.facts, self.read_candidate = witness.facts, witness.read_candidate
        self._giving = False
        self._trouble = ""
        """What went wrong last, "" where nothing."""
        self._answers: deque[tuple[Command, MigrationChanged | str]] = deque(maxlen=ANSWERS)
        bus.tap(tuple(kind for kind in HEARD if kind is not MigrationStanding), self._hear)
        bus.tap((AdvanceMigration, RollBackMigration), self._obey)
        bus.tap((ModelLoaded, ModelRefused), self._restored, where=lambda event: event.key.startswith(KEY))
        bus.tap((AccountSnapshot,), self._keep)

    @property
    def goes_on(self) -> bool:
        """Whether there is a migration whose sessions count."""
        return self.migration.stage is not MigrationStage.NONE

    @property
    def trouble(self) -> str:
        """What a person has to look at, "" where nothing."""
        return self._trouble or self.migration.look_at(self.facts())

    def start(self, ts: int) -> None:
        """A process begins: this run's journal knows where it stands, and what was owed is given."""
        if not self.migration.blank:
            self._bus.publish(self.migration.standing(ts))
            log.info("migration", stage=self.migration.stage.value, candidate=self.migration.signed[0])
        self.migration.take_up()
        self._give()
        if self.trouble:
            log.error("migration", trouble=self.trouble)

    def answer_to(self, command: Command) -> MigrationChanged | str:
        """What became of a command that was published: the change, or why there was none."""
        return next((answer for asked, answer in self._answers if asked is command), "it was not heard")

    # -- taps ---------------------------------------------------------------------------------------------------------

    def _obey(self, command: Command) -> None:
        facts = self.facts()
        if isinstance(command, AdvanceMigration):
            answer = self.migration.advance(command, facts)
        else:
            answer = self.migration.roll_back(command, facts)
        self._answers.append((command, answer))
        if isinstance(answer, MigrationChanged):
            self._bus.publish(answer)
        else:
            log.warning("migration refused", who=command.who, reason=answer)

    def _hear(self, event: Event) -> None:
        self.migration.apply(event)
        if isinstance(event, MigrationChanged):
            self._trouble = ""
            by_itself = event.who == ITSELF
            (log.error if by_itself else log.warning)(
                "migration", stage=event.stage.value, before=event.before.value, candidate=event.candidate,
                who=event.who, reason=event.reason,
            )  # fmt: skip
            self._trouble = event.reason if by_itself else ""
        self._give()

    def _give(self) -> None:
        """What is owed by now; an answer that comes while it is given is looked at when it was."""
        if self._giving:
            return
        self._giving = True
        try:
            while due := self.migration.due(self._clock.now_ns() or self.migration.since_ts, self.facts()):
                for event in due:
                    self._bus.publish(event)
        finally:
            self._giving = False

    def _restored(self, event: ModelLoaded | ModelRefused) -> None:
        """Who was in charge before has to be so again, and no other."""
        former = self.migration.former
        if isinstance(event, ModelRefused):
            self._trouble = f"the model of before is not in charge: {event.reason}; hrmd ctl model load {former.file}"
        elif event.model_hash != former.model_hash:
            found, wanted = event.model_hash[:12], former.model_hash[:12]
            self._trouble = f"{event.file} holds {found} now, {wanted} was in charge before; find it and load it"
        if self._trouble:
            log.error("migration", trouble=self._trouble)

    def _keep(self, event: AccountSnapshot) -> None:
        if not self.migration.blank:
            self._bus.publish(self.migration.standing(event.ts))


def decider_of(rung: str, strategy: object) -> Decider:
    """Who decides on a rung."""
    file = getattr(strategy, "artifact", None)
    path = str(file.resolve()) if isinstance(file, Path) else ""
    return Decider(rung, model_hash_of(strategy), path)


def candidate_of(agent: Agent) -> Candidate:
    """A shadow agent, with what its artifact says on the disk."""
    decider = decider_of(agent.strategy.name, agent.strategy)
    if decider.strategy not in ("hrm", "ppo"):
        return Candidate(agent=agent.name, decider=decider, taught=False)
    try:
        path = Path(decider.file) if decider.file else artifact_of(decider.strategy, agent.settings)
        if path is None:
            return Candidate(agent=agent.name, decider=decider, taught=True, trouble="has no artifact: seeded weights")
        decider = msgspec.structs.replace(decider, file=str(path.resolve()))
        said = said_on_disk(decider.strategy, path)
    except (HrmdError, OSError) as error:
        return Candidate(agent=agent.name, decider=decider, taught=True, trouble=str(error))
    trouble = "" if said.trained else f"{path}: was never trained"
    if said.sha256 != decider.model_hash:
        trouble = f"{path}: holds {said.sha256[:12]}, the agent decides with {decider.model_hash[:12]}: restart"
    return Candidate(
        agent=agent.name, decider=decider, taught=True, trouble=trouble, trained_to=said.trained_to,
        metrics=dict(said.metrics),
    )  # fmt: skip


def restore(migration: Migration, journal: Path, *, live: bool) -> None:
    """Bring it to where the journal's runs left it; `live`: those of no tape. Raises `UsageError`."""
    if is_blank(journal):
        return
    reader = JournalReader(journal)
    try:
        runs = [run for run, tapes in reader.metadata_of_all("tapes").items() if (tapes == "[]") is live]
        for event in reader.of_runs(runs, *HEARD):
            migration.apply(event)
    finally:
        reader.close()
