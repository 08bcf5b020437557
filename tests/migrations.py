"""Sessions, canaries and a daemon's state, for the tests of the migration."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    AccountSnapshot,
    AdvanceMigration,
    CanaryChanged,
    CanaryState,
    Decider,
    Event,
    MigrationChanged,
    RollBackMigration,
    SessionMeasured,
    ShadowResult,
    TradingState,
)
from daemon.journal.schema import JOURNALED
from daemon.settings.canary import CanarySettings
from daemon.settings.migration import MigrationSettings
from daemon.shadow.migrating import MigrationKeeper
from daemon.supervision.migration import HEARD, Migration
from daemon.supervision.migration_gates import Candidate, Facts

PPO = Decider("ppo", "aaaa", "/models/ppo.safetensors")
NEXT = Decider("hrm", "bbbb", "/models/next.safetensors")
CASH = Decimal(1_000_000)
CANDIDATE = Candidate(
    agent="next", decider=NEXT, taught=True, trained_to="2025-12-31", metrics={"validation_bp": 7.5}
)  # fmt: skip
FACTS = Facts(
    in_charge=PPO, models={"hrm": NEXT, "ppo": PPO, "rules": Decider("rules")},
    within_reach=("hrm", "ppo", "rules", "flat"), candidate=CANDIDATE, halted="", today="2026-01-05",
)  # fmt: skip
SMALL = MigrationSettings(baseline_sessions=2, parallel_sessions=2, gradual_sessions=2, probation_sessions=2)
SNAPSHOT = AccountSnapshot(
    ts=0, starting_cash=CASH, cash=CASH, holdings=(), orders=(), state=TradingState.ACTIVE, state_reason="",
    flatten_reason="", day=0, day_start_net=Decimal(0),
)  # fmt: skip


def measured(day: int, who: Decider = PPO, **changes: Any) -> SessionMeasured:
    """A whole session of the one in charge."""
    values: dict[str, Any] = {
        "ts": day + 1, "strategy": who.strategy, "model_hash": who.model_hash, "day": day, "since_ts": day,
        "whole": True, "decisions": 100, "failed": 0, "latency_p99_ms": 12.0, "trades": 4,
        "net_pnl": Decimal(500), "net_bp": 5.0,
    }  # fmt: skip
    return SessionMeasured(**(values | changes))


def on_paper(day: int, who: Decider = NEXT, **changes: Any) -> ShadowResult:
    """A whole session of the candidate beside the one in charge."""
    values: dict[str, Any] = {
        "ts": day + 1, "agent": "next", "strategy": who.strategy, "model_hash": who.model_hash, "day": day,
        "since_ts": day, "whole": True, "dropped": "", "decisions": 100, "skipped": 0, "failed": 0, "compared": 80,
        "agreed": 60, "depth": 2.0, "latency_ms": 9.0, "orders": 4, "fills": 4, "trades": 2, "net_pnl": Decimal(700),
        "real_net_pnl": Decimal(500), "real_decisions": 100, "real_trades": 4, "thinking_p99_ms": 20.0,
    }  # fmt: skip
    return ShadowResult(**(values | changes))


def canary(state: CanaryState = CanaryState.RUNNING, who: Decider = NEXT, **changes: Any) -> CanaryChanged:
    """Where the candidate's canary stands."""
    values: dict[str, Any] = {
        "ts": 0, "agent": "next", "strategy": who.strategy, "model_hash": who.model_hash, "state": state,
        "symbols": ("NSE:SBIN-EQ",), "size": 0.25, "sessions": 2, "mean_bp": 3.0, "better": 20.0, "worse": 0.1,
        "who": "asha", "reason": "said",
    }  # fmt: skip
    return CanaryChanged(**(values | changes))


class Witnessed:
    """A daemon that is as a test says."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.now = facts

    def facts(self) -> Facts:
        """As it was said."""
        return self.now

    def read_candidate(self) -> None:
        """Nothing on a disk."""

    def change(self, **changes: Any) -> None:
        """From here on it is so."""
        self.now = msgspec.structs.replace(self.now, **changes)


class Process:
    """A keeper on a bus with a journal in memory; `restart` goes on with what the journal tells."""

    def __init__(
        self, witness: Witnessed, journal: list[Event] | None = None, settings: MigrationSettings = SMALL,
        before: Callable[[Bus], None] = lambda bus: None,
    ) -> None:  # fmt: skip
        """`before` is who listens before the keeper does."""
        self.witness, self.settings = witness, settings
        self.journal: list[Event] = [] if journal is None else journal
        self.bus, self.clock = Bus(), ReplayClock(1)
        self.migration = Migration(settings, CanarySettings(), CASH)
        for event in self.journal:
            if isinstance(event, HEARD):
                self.migration.apply(event)
        self.bus.tap(JOURNALED, self.journal.append)
        before(self.bus)
        self.keeper = MigrationKeeper(self.bus, self.clock, self.migration, witness)
        self.keeper.start(0)

    def restart(self, lost: int = 0) -> Process:
        """Another process, on the journal less its `lost` newest events."""
        return Process(self.witness, self.journal[: len(self.journal) - lost], self.settings)

    def publish(self, *events: Event) -> None:
        """In this order."""
        for event in events:
            self.bus.publish(event)

    def advance(self, who: str = "asha") -> MigrationChanged | str:
        """A person's word; what became of it."""
        command = AdvanceMigration(ts=0, who=who, reason="it is time")
        self.bus.publish(command)
        return self.keeper.answer_to(command)

    def roll_back(self, who: str = "ravi") -> MigrationChanged | str:
        """A person's word; what became of it."""
        command = RollBackMigration(ts=0, who=who, reason="it loses")
        self.bus.publish(command)
        return self.keeper.answer_to(command)

    def said(self, *kinds: type[Event]) -> list[Any]:
        """What the journal has of some kinds."""
        return [event for event in self.journal if isinstance(event, kinds)]


def at_parallel(witness: Witnessed | None = None) -> Process:
    """A migration that has come to where the candidate decides on paper."""
    process = Process(witness or Witnessed())
    process.advance()
    process.publish(measured(1), measured(2))
    process.advance()
    process.advance()
    return process


def at_gradual(witness: Witnessed | None = None) -> Process:
    """One further."""
    process = at_parallel(witness)
    process.publish(on_paper(3), on_paper(4))
    process.advance()
    return process


def at_full(witness: Witnessed | None = None) -> Process:
    """One further, promoted."""
    process = at_gradual(witness)
    process.publish(canary())
    process.advance()
    process.publish(canary(CanaryState.PROMOTED))
    process.witness.change(in_charge=NEXT)
    return process
