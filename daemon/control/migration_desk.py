"""A person's word on a migration → the command on the bus and on disk, and what became of it; and the view of it.

Invariant: an answer is what the keeper made of this very command; nothing moves that the journal doesn't have.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from daemon.control.manual_desk import ManualDesk
from daemon.control.view import MigrationTicket, NotTradingError
from daemon.core.aside import Aside
from daemon.core.clock import Clock
from daemon.core.events import (
    AdvanceMigration,
    MigrationChanged,
    MigrationStage,
    RollBackMigration,
    SessionMeasured,
    ShadowResult,
)
from daemon.core.threads import ThreadWorker, Worker
from daemon.report.migration import MigrationAnswer, MigrationSession, MigrationStep, MigrationView
from daemon.shadow.migrating import MigrationKeeper
from daemon.supervision.migration import BACK, NEXT, Migration, to_set
from daemon.supervision.migration_gates import Facts, said

EPOCH = dt.date(1970, 1, 1)
READ_S: Final = 3.0
"""How long a disk may take to give the candidate's artifact; less than whoever asks waits."""


class MigrationDesk:
    """Implements `daemon.control.view.MigrationDesk`."""

    def __init__(
        self, clock: Clock, desk: ManualDesk, keeper: MigrationKeeper,
        thread: Callable[[str], Worker] = ThreadWorker, read_s: float = READ_S,
    ) -> None:  # fmt: skip
        """`thread` reads the candidate's artifact, for `read_s` at most."""
        self._disk, self._read_s = Aside("candidate", thread), read_s
        self._clock = clock
        self._desk = desk
        self._keeper = keeper

    async def advance(self, ticket: MigrationTicket) -> MigrationAnswer:
        """To the next stage, or why not; raises `NotTradingError` and `NotDurableError`."""
        self._check_open()
        try:
            await self._disk.ask(self._keeper.read_candidate, self._read_s)  # as it lies on the disk now
        except TimeoutError as error:
            raise NotTradingError(f"the candidate's artifact can't be read: {error.strerror}; try it again") from None
        return await self._give(AdvanceMigration(ts=self._clock.now_ns(), who=ticket.who, reason=ticket.reason))

    async def roll_back(self, ticket: MigrationTicket) -> MigrationAnswer:
        """Back, or why not; raises as `advance` does."""
        self._check_open()
        return await self._give(RollBackMigration(ts=self._clock.now_ns(), who=ticket.who, reason=ticket.reason))

    def _check_open(self) -> None:
        if not self._desk.open:
            raise NotTradingError("hrmd has not begun to trade, or is ending")

    async def _give(self, command: AdvanceMigration | RollBackMigration) -> MigrationAnswer:
        await self._desk.command(command)
        answer, migration = self._keeper.answer_to(command), self._keeper.migration
        if isinstance(answer, MigrationChanged):
            return MigrationAnswer(
                moved=True, stage=answer.stage, before=answer.before, who=answer.who, reason=answer.reason,
                gates=answer.gates, ts=answer.ts,
            )  # fmt: skip
        return MigrationAnswer(
            moved=False, stage=migration.stage, before=migration.stage, who=command.who, reason=answer,
            gates=migration.gates(self._keeper.facts()), ts=command.ts,
        )  # fmt: skip


def view_of(keeper: MigrationKeeper, ts: int) -> MigrationView:
    """Where it stands at `ts`, UTC ns."""
    migration, facts = keeper.migration, keeper.facts()
    gates, stage = migration.gates(facts), migration.stage
    agent, decider = migration.signed
    if stage in (MigrationStage.NONE, MigrationStage.BASELINE, MigrationStage.TRAINING):  # nobody signed for one yet
        agent = facts.candidate.agent if facts.candidate is not None else ""
        decider = facts.candidate.decider if facts.candidate is not None else decider
    return MigrationView(
        ts=ts, stage=stage, since_ts=migration.since_ts or None, next=NEXT[stage],
        ready=not facts.halted and all(gate.passed for gate in gates), halted=facts.halted,
        in_charge=said(facts.in_charge), former=said(migration.former) if not migration.blank else "",
        candidate=agent, decider=said(decider) if agent else "", canary=_canary(migration), trouble=keeper.trouble,
        gates=gates, changes=_changes(migration, agent, facts), back=_back(migration), sessions=_sessions(migration),
        history=[
            MigrationStep(
                ts=one.ts, before=one.before, stage=one.stage, candidate=one.candidate, who=one.who, reason=one.reason,
                gates=one.gates,
            )
            for one in migration.history
        ],
    )  # fmt: skip


def _canary(migration: Migration) -> str:
    found = migration.canary
    if found is None:
        return ""
    proof = f"{found.mean_bp:+.2f} bp a session, proof that it is better {found.better:.2f}, worse {found.worse:.2f}"
    return f"{found.state.value} · {len(found.symbols)} symbols · {found.sessions} sessions · {proof}"


def _changes(migration: Migration, agent: str, facts: Facts) -> str:
    former, (_, decider) = said(migration.former), migration.signed
    match migration.stage:
        case MigrationStage.NONE:
            return "Sessions of the one in charge are measured. Who decides stays."
        case MigrationStage.BASELINE:
            return "The baseline is closed. Who decides stays."
        case MigrationStage.TRAINING:
            return f"The sessions of {agent or 'the candidate'} on paper count from here on. Who decides stays."
        case MigrationStage.PARALLEL:
            return (
                f"{agent} decides for real on a share of the instruments and of the size (canary), {former} the rest."
            )
        case MigrationStage.GRADUAL:
            changes = f"{agent} decides everything; {former} decides no more."
            if decider.strategy in facts.within_reach:
                return changes
            return f"{changes} This takes a start: stop, set {to_set(decider)}, start again; no advance is needed."
        case MigrationStage.FULL:
            return (
                f"Nothing: the migration is done. {agent} stays in charge; later, ctl strategy and ctl model go back."
            )


def _back(migration: Migration) -> str:
    command, stage, former = "`hrmd ctl migration rollback`", migration.stage, said(migration.former)
    to = f"{command} leads to stage {BACK[stage].value}"
    match stage:
        case MigrationStage.NONE:
            return "There is nothing to go back from."
        case MigrationStage.GRADUAL if migration.canary is None or not migration.canary.by_settings:
            return f"{to}: the canary ends, {former} decides everything again."
        case MigrationStage.GRADUAL | MigrationStage.FULL:
            return f"{to}: {former} is put in charge again."
        case _:
            return f"{to}. Who decides stays: {former}."


def _sessions(migration: Migration) -> list[MigrationSession]:
    """Those that count, oldest stage first."""
    return [
        *(_measured(one, MigrationStage.BASELINE) for one in migration.baseline.values()),
        *(_on_paper(one, migration) for one in migration.results.values()),
        *(_measured(one, MigrationStage.FULL) for one in migration.probation.values()),
    ]


def _measured(one: SessionMeasured, stage: MigrationStage) -> MigrationSession:
    of_candidate = stage is MigrationStage.FULL
    return MigrationSession(
        session=_date(one.day), stage=stage, in_charge_bp=None if of_candidate else one.net_bp,
        candidate_bp=one.net_bp if of_candidate else None, difference_bp=None, decisions=one.decisions,
        failed=one.failed, trades=one.trades, agreement=None, latency_p99_ms=one.latency_p99_ms,
    )  # fmt: skip


def _on_paper(one: ShadowResult, migration: Migration) -> MigrationSession:
    return MigrationSession(
        session=_date(one.day), stage=MigrationStage.PARALLEL, in_charge_bp=migration.bp(one.real_net_pnl),
        candidate_bp=migration.bp(one.net_pnl), difference_bp=migration.difference_bp(one), decisions=one.decisions,
        failed=one.failed, trades=one.trades, agreement=one.agreed / one.compared if one.compared else None,
        latency_p99_ms=one.thinking_p99_ms,
    )  # fmt: skip


def _date(day: int) -> str:
    return (EPOCH + dt.timedelta(days=day)).isoformat()
