"""The way from the one in charge to a candidate: events and a person's commands → stages, what was seen, what is owed.

```
none → baseline → training → parallel → gradual → full → none (done)
         rolled back by a person: to baseline (from baseline: to none)
         the canary was rolled back: from gradual or full to parallel, by itself
```

Pure: what isn't an event comes as `Facts`. Invariant: a stage is left forwards only by a person's command, or from
gradual by a person's start with settings that put the candidate in charge, and only while every gate of it is passed;
and a state that was restored from its events is the state.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from daemon.core.events import (
    ITSELF,
    AdvanceMigration,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    Decider,
    EndCanary,
    Event,
    GateReading,
    LoadModel,
    MigrationChanged,
    MigrationStage,
    MigrationStanding,
    ModelLoaded,
    RollBackMigration,
    SessionMeasured,
    ShadowResult,
    SwapStrategy,
)
from daemon.settings.canary import CanarySettings
from daemon.settings.migration import MigrationSettings
from daemon.supervision.comparison import Comparison, Evidence
from daemon.supervision.migration_gates import (
    Facts,
    baseline_gates,
    full_gates,
    gradual_gates,
    none_gates,
    parallel_gates,
    said,
    training_gates,
)

KEY: Final = "migration-"
"""How keys of our commands to load a model begin."""
HRM: Final = "hrm"
"""The strategy whose model can be changed while the daemon runs."""
KEPT: Final = 500
"""Sessions of a kind, and changes, that are remembered; a stage asks for tens."""
BP: Final = 10_000
NOBODY: Final = Decider("")
NEXT: Final = {
    MigrationStage.NONE: MigrationStage.BASELINE,
    MigrationStage.BASELINE: MigrationStage.TRAINING,
    MigrationStage.TRAINING: MigrationStage.PARALLEL,
    MigrationStage.PARALLEL: MigrationStage.GRADUAL,
    MigrationStage.GRADUAL: MigrationStage.FULL,
    MigrationStage.FULL: MigrationStage.NONE,
}
BACK: Final = dict.fromkeys(MigrationStage, MigrationStage.BASELINE) | {MigrationStage.BASELINE: MigrationStage.NONE}
ON_TRIAL: Final = (MigrationStage.GRADUAL, MigrationStage.FULL)
HEARD: Final[tuple[type[Event], ...]] = (
    MigrationStanding, MigrationChanged, SessionMeasured, ShadowResult, CanaryChanged, BeginCanary, EndCanary,
    SwapStrategy, LoadModel, ModelLoaded,
)  # fmt: skip
"""What `apply` takes, and a journal has to give for it to be restored."""

T = TypeVar("T")


class Owed(StrEnum):
    """A command that the newest change asks for and nobody has answered yet."""

    NOTHING = ""
    BEGIN = "begin"
    """The canary."""
    PROMOTE = "promote"
    END = "end"
    RESTORE = "restore"
    """Who was in charge before."""
    ASKED = "asked"
    """The answer to the command that loads his model; one that never came, or was a refusal, is asked for again by the
    next process."""


class Migration:
    """See the module."""

    def __init__(self, settings: MigrationSettings, canary: CanarySettings, starting_cash: Decimal) -> None:
        """`starting_cash`: of which differences are basis points."""
        self.history: list[MigrationChanged] = []
        self.baseline: dict[int, SessionMeasured] = {}
        self.results: dict[int, ShadowResult] = {}
        self.probation: dict[int, SessionMeasured] = {}
        """Whole sessions by day: of the one in charge, of the candidate on paper, and of it in charge."""
        self.canary: CanaryChanged | None = None
        self.owed = Owed.NOTHING
        self._given = False
        """Whether this process has given it: it is owed until it is answered, and the next process gives it again."""
        self.refused = ""
        """What the canary said to it instead of doing it, "" where nothing yet."""
        self._settings = settings
        self._canary_settings = canary
        self._starting_cash = starting_cash

    # -- where it stands ----------------------------------------------------------------------------------------------

    @property
    def stage(self) -> MigrationStage:
        """Of now."""
        return self.history[-1].stage if self.history else MigrationStage.NONE

    @property
    def since_ts(self) -> int:
        """When the stage began, UTC ns; 0 where nothing ever did."""
        return self.history[-1].ts if self.history else 0

    @property
    def former(self) -> Decider:
        """Who was in charge when the baseline began."""
        return self.history[-1].former if self.history else NOBODY

    @property
    def signed(self) -> tuple[str, Decider]:
        """The candidate as its training was signed: the agent, and who decides under that name."""
        return (self.history[-1].candidate, self.history[-1].decider) if self.history else ("", NOBODY)

    @property
    def blank(self) -> bool:
        """Whether nothing ever happened."""
        return not self.history

    def evidence(self) -> Evidence:
        """What the sessions on paper say, in the order in which they came."""
        comparison = Comparison(self._canary_settings)
        comparison.see_all(self.difference_bp(result) for result in self.results.values())
        return comparison.evidence

    def difference_bp(self, result: ShadowResult) -> float:
        """The candidate's profit less that of the one in charge."""
        return self.bp(result.net_pnl - result.real_net_pnl)

    def bp(self, rupees: Decimal) -> float:
        """Of the starting cash."""
        return float(rupees * BP / self._starting_cash)

    def gates(self, facts: Facts) -> tuple[GateReading, ...]:
        """Those of the present stage, as they stand."""
        settings, baseline = self._settings, list(self.baseline.values())
        match self.stage:
            case MigrationStage.NONE:
                return none_gates(facts)
            case MigrationStage.BASELINE:
                return baseline_gates(settings, baseline, self.former, facts)
            case MigrationStage.TRAINING:
                return training_gates(facts)
            case MigrationStage.PARALLEL:
                results = list(self.results.values())
                return parallel_gates(settings, results, self.evidence(), self.signed, self.former, facts)
            case MigrationStage.GRADUAL:
                return gradual_gates(settings, self.canary, self._canary_settings, self.signed, facts)
            case MigrationStage.FULL:
                probation = list(self.probation.values())
                return full_gates(settings, self.canary, probation, baseline, self.signed[1], facts)

    # -- a person's commands ------------------------------------------------------------------------------------------

    def advance(self, command: AdvanceMigration, facts: Facts) -> MigrationChanged | str:
        """The change, or in one line why not."""
        if facts.halted:
            return f"advance: trading is {facts.halted}; a stage begins while it trades (hrmd ctl resume)"
        gates, stage = self.gates(facts), self.stage
        failed = [f"{gate.name}: {gate.text}" for gate in gates if not gate.passed]
        if failed:
            count = f"{len(failed)} of {len(gates)} gates"
            return f"advance: {count} of stage {stage.value} are not passed: {'; '.join(failed)}"
        (agent, decider), former = self.signed, self.former
        if stage is MigrationStage.NONE:
            agent, decider, former = "", NOBODY, facts.in_charge
        elif stage is MigrationStage.TRAINING and facts.candidate is not None:
            agent, decider = facts.candidate.agent, facts.candidate.decider
        return MigrationChanged(
            ts=command.ts, stage=NEXT[stage], before=stage, candidate=agent, decider=decider, former=former,
            gates=gates, who=command.who, reason=command.reason,
        )  # fmt: skip

    def roll_back(self, command: RollBackMigration, facts: Facts) -> MigrationChanged | str:
        """The change, or in one line why not; a daemon that doesn't trade is no reason."""
        if self.stage is MigrationStage.NONE:
            return "rollback: no migration goes on"
        why_not = self._why_not_restored(facts) if self._in_charge_by_now else ""
        if why_not:
            return f"rollback: {why_not}"
        return self._back(command.ts, BACK[self.stage], facts, command.who, command.reason)

    def _back(self, ts: int, stage: MigrationStage, facts: Facts, who: str, reason: str) -> MigrationChanged:
        agent, decider = self.signed
        return MigrationChanged(
            ts=ts, stage=stage, before=self.stage, candidate=agent, decider=decider, former=self.former,
            gates=self.gates(facts), who=who, reason=reason,
        )  # fmt: skip

    @property
    def _in_charge_by_now(self) -> bool:
        """Whether the candidate was promoted, by a person or by the canary."""
        return self.stage in ON_TRIAL and self.canary is not None and self.canary.state is CanaryState.PROMOTED

    def _why_not_restored(self, facts: Facts) -> str:
        """Why the former can't be put in charge by this process, "" where it can."""
        former = self.former
        if former.strategy not in facts.within_reach:
            able = ", ".join(facts.within_reach)
            return f"{said(former)} can't be put in charge here ({able}): set strategy.name: {former.strategy}, restart"
        now = facts.models.get(former.strategy, Decider(former.strategy))
        if former.strategy != HRM and not now.same_as(former):
            return f"{said(former)} was in charge, {said(now)} is loaded: set its artifact ({former.file}) and restart"
        return ""

    # -- what is to be done by itself ---------------------------------------------------------------------------------

    def due(self, ts: int, facts: Facts) -> list[Event]:
        """What is to be published now, in this order; once that was heard there is nothing more."""
        changed = self.history[-1] if self.history else None
        if changed is None:
            return []
        if self.stage in ON_TRIAL and self.canary is not None and self.canary.state is CanaryState.ROLLED_BACK:
            reason = f"the canary was rolled back: {self.canary.reason}"
            return [self._back(ts, MigrationStage.PARALLEL, facts, ITSELF, reason)]
        gates = self.gates(facts) if self._put_in_charge else ()
        if self._put_in_charge and all(gate.passed for gate in gates):
            return [self._by_settings(ts, gates)]
        if self._given:
            return []
        reason = f"migration: {changed.reason}"
        match self.owed:
            case Owed.BEGIN:
                return [BeginCanary(ts=ts, agent=changed.candidate, who=changed.who, reason=reason)]
            case Owed.PROMOTE | Owed.END:
                promote = self.owed is Owed.PROMOTE
                return [EndCanary(ts=ts, promote=promote, who=changed.who, reason=reason)]
            case Owed.RESTORE:
                return self._restoring(ts, changed, facts)
        return []

    def _restoring(self, ts: int, changed: MigrationChanged, facts: Facts) -> list[Event]:
        """The former's model where another is loaded on its strategy, and the former in charge."""
        former, reason = changed.former, f"migration rolled back by {changed.who}: {changed.reason}"
        now = facts.models.get(former.strategy, Decider(former.strategy))
        swap = SwapStrategy(ts=ts, name=former.strategy, reason=reason, who=changed.who)
        if former.strategy != HRM or now.same_as(former):
            return [swap]
        key = f"{KEY}{ts}"
        model = former.file or "previous"
        return [LoadModel(ts=ts, key=key, model=model, who=changed.who, reason=reason), swap]

    @property
    def _put_in_charge(self) -> bool:
        """Whether settings did in gradual what the step to full is for."""
        return self.stage is MigrationStage.GRADUAL and self.canary is not None and self.canary.by_settings

    def _by_settings(self, ts: int, gates: tuple[GateReading, ...]) -> MigrationChanged:
        """To full, signed by who put the candidate into the settings."""
        (agent, decider), canary = self.signed, self.canary
        assert canary is not None, "it was promoted"
        return MigrationChanged(
            ts=ts, stage=MigrationStage.FULL, before=self.stage, candidate=agent, decider=decider, former=self.former,
            gates=gates, who=canary.who, reason=canary.reason,
        )  # fmt: skip

    def look_at(self, facts: Facts) -> str:
        """What settings and stage ask of a person, in a line; "" where they are at one."""
        (agent, decider), former = self.signed, self.former
        if self._put_in_charge:
            failed = [f"{gate.name}: {gate.text}" for gate in self.gates(facts) if not gate.passed]
            return (
                f"{agent} was put in charge of everything by the settings, and gates of stage gradual are not passed "
                f"({'; '.join(failed)}): go back (hrmd ctl migration rollback), then put {to_set(former)} back"
            ) if failed else ""  # fmt: skip
        on_share = self.canary is not None and self.canary.state is CanaryState.RUNNING
        if self.stage is MigrationStage.FULL and on_share and self.refused:
            return f"{agent} decides on its share only: set {to_set(decider)}, then start again"
        if self.stage is MigrationStage.FULL and self._in_charge_by_now and not facts.in_charge.same_as(decider):
            return (
                f"{said(facts.in_charge)} decides, and not {agent} ({said(decider)}): put it in charge again, or go "
                "back (hrmd ctl migration rollback)"
            )
        untold = f"not begun: {facts.no_share}" if self._given and facts.no_share else ""  # as beside another that runs
        if self.owed is Owed.BEGIN and (why := self.refused or untold):
            return f"{agent} decides on no share, its canary is {why}; mend that and start again"
        back = bool(self.history) and self.history[-1].before in ON_TRIAL and self.stage is MigrationStage.BASELINE
        if back and facts.in_charge.same_as(former) and facts.named.strategy and not facts.named.same_as(former):
            return (
                f"the settings put {said(facts.named)} in charge where the journal is gone: put {to_set(former)} back"
            )
        return ""

    # -- what happened ------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take in an event of `HEARD`; of others nothing is kept."""
        match event:
            case MigrationStanding():
                self._take(event)
            case MigrationChanged():
                self._changed(event)
            case SessionMeasured():
                self._measured(event)
            case ShadowResult():
                if self.stage is MigrationStage.PARALLEL and self._counts(event):
                    _keep(self.results, event.day, event)
            case CanaryChanged():
                self._canary_changed(event)
            case BeginCanary():
                if self._given:  # it is another one: what was to end is over, or this is refused
                    self._paid(Owed.END)
                self._given |= self.owed is Owed.BEGIN
            case EndCanary():
                self._given |= self.owed is (Owed.PROMOTE if event.promote else Owed.END)
            case LoadModel() if event.key.startswith(KEY):
                self._paid(Owed.RESTORE, Owed.ASKED)
            case ModelLoaded() if event.key:  # ours, or another that somebody wanted instead
                self._paid(Owed.ASKED)
            case SwapStrategy():
                self._paid(Owed.RESTORE)

    def take_up(self) -> None:
        """A process begins: whoever was to answer the one before is gone."""
        self._given, self.refused = False, ""
        self._paid(Owed.ASKED, Owed.RESTORE)
        if self.canary is None or self.canary.state is not CanaryState.RUNNING:
            self._paid(Owed.END)

    def standing(self, ts: int) -> MigrationStanding:
        """All of it, for the journal."""
        return MigrationStanding(
            ts=ts, history=tuple(self.history), baseline=tuple(self.baseline.values()),
            results=tuple(self.results.values()), probation=tuple(self.probation.values()), canary=self.canary,
            owed=self.owed.value,
        )  # fmt: skip

    def _take(self, event: MigrationStanding) -> None:
        self.history = list(event.history)
        self.baseline = {one.day: one for one in event.baseline}
        self.results = {one.day: one for one in event.results}
        self.probation = {one.day: one for one in event.probation}
        self.canary = event.canary
        self.owed = next((one for one in Owed if one == event.owed), Owed.NOTHING)  # another version may owe others

    def _changed(self, event: MigrationChanged) -> None:
        promoted, canary = self._in_charge_by_now, self.canary
        self.history.append(event)
        del self.history[:-KEPT]
        self.owed, self._given, self.refused = Owed.NOTHING, False, ""
        match event.stage:
            case MigrationStage.BASELINE:
                if event.before is MigrationStage.NONE:
                    self.baseline.clear()
                elif event.before in ON_TRIAL:
                    self.owed = Owed.RESTORE if promoted else Owed.END
            case MigrationStage.PARALLEL:
                self.results.clear()
            case MigrationStage.GRADUAL:
                self.canary, self.owed = None, Owed.BEGIN
            case MigrationStage.FULL:
                self.probation.clear()
                ended = canary is not None and canary.state is CanaryState.PROMOTED
                self.owed = Owed.NOTHING if ended else Owed.PROMOTE

    def _measured(self, event: SessionMeasured) -> None:
        """A session counts that began after the stage and was seen whole, of the one that the stage is about."""
        if not event.whole or event.since_ts < self.since_ts:
            return
        of = Decider(event.strategy, event.model_hash)
        if self.stage is MigrationStage.BASELINE and of.same_as(self.former):
            _keep(self.baseline, event.day, event)
        elif self.stage is MigrationStage.FULL and of.same_as(self.signed[1]):
            _keep(self.probation, event.day, event)

    def _counts(self, event: ShadowResult) -> bool:
        agent, decider = self.signed
        of = Decider(event.strategy, event.model_hash)
        return event.whole and event.since_ts >= self.since_ts and event.agent == agent and of.same_as(decider)

    def _canary_changed(self, event: CanaryChanged) -> None:
        agent, decider = self.signed
        if self._given and self.owed is Owed.BEGIN and event.agent == agent and not event.strategy:
            self.refused = event.reason
        if event.agent != agent or not Decider(event.strategy, event.model_hash).same_as(decider):
            return
        if self.stage in ON_TRIAL:
            self.canary = event
            self._paid(Owed.BEGIN)  # who answers at once is heard before the command is
            if event.state is not CanaryState.RUNNING:
                self._paid(Owed.PROMOTE)
            self.refused = event.reason if self._given else ""
        elif event.state is not CanaryState.RUNNING:
            self._paid(Owed.END, Owed.RESTORE if event.state is CanaryState.PROMOTED else Owed.NOTHING)

    def _paid(self, what: Owed, then: Owed = Owed.NOTHING) -> None:
        if self.owed is what:
            self.owed, self._given, self.refused = then, False, ""


def to_set(decider: Decider) -> str:
    """The settings that put it in charge at a start."""
    key = {HRM: "artifact", "ppo": "ppo_artifact"}.get(decider.strategy)
    model = f", model_management.{key}: {decider.file or 'null'}" if key is not None else ""
    return f"strategy.name: {decider.strategy}{model}"


def _keep(sessions: dict[int, T], day: int, session: T) -> None:
    """A session that was played twice counts once, as it was the last time."""
    sessions[day] = session
    while len(sessions) > KEPT:
        del sessions[next(iter(sessions))]
