"""A migration that goes on when the session begins: the candidate has shown what the gates ask for.

The journal of an earlier run tells so: on paper, so that the next step is to decide on a share, or on a share, so that
it is to decide everything. An operator may let it take the steps, and go back.
Invariant: where it stands is what the journal's newest change says, whatever was killed in between.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.core.clock import DAY_NS, india_day
from daemon.core.events import (
    CanaryChanged,
    CanaryState,
    Decider,
    MigrationChanged,
    MigrationStage,
    MigrationStanding,
    ShadowResult,
)
from daemon.journal.writer import Journal
from tests.simulation.brains import CANDIDATE
from tests.simulation.plan import FIRST

NAMED = "m0"
"""The model in charge when a session begins."""
FORMER = Decider("hrm", NAMED, f"/{NAMED}")
FOLLOWS = Decider("hrm", CANDIDATE, f"/{CANDIDATE}")
SESSIONS, PROVES_BP = 8, 60.0
"""So many sessions, each by so much more than the one in charge, prove it better."""


def write_what_was_shown(journal: Path, now_ns: int, begins: MigrationStage) -> None:
    """An earlier run, in which somebody signed for it to get so far, and it has shown enough to go further."""
    ts = now_ns - DAY_NS
    written = Journal(journal, safe=False)
    written.describe({"tapes": "[]", "version": "of the day before"})
    history, canary = [_signed(ts - 9 * DAY_NS, MigrationStage.TRAINING, MigrationStage.PARALLEL)], None
    if begins is MigrationStage.GRADUAL:
        history.append(_signed(ts - 8 * DAY_NS, MigrationStage.PARALLEL, MigrationStage.GRADUAL))
        canary = _judged(ts)
    standing = MigrationStanding(
        ts=ts, history=tuple(history), baseline=(), results=(_shown(ts),), probation=(), canary=canary, owed=""
    )  # fmt: skip
    written.append(standing)
    if canary is not None:
        written.append(canary)
    written.close()


def _signed(ts: int, before: MigrationStage, stage: MigrationStage) -> MigrationChanged:
    return MigrationChanged(
        ts=ts, stage=stage, before=before, candidate=CANDIDATE, decider=FOLLOWS, former=FORMER, gates=(),
        who="an operator", reason="it was shown",
    )  # fmt: skip


def _judged(ts: int) -> CanaryChanged:
    """It has decided on a share for as many sessions as prove it better, and goes on until somebody ends it."""
    days = tuple((india_day(ts) - ago, PROVES_BP) for ago in reversed(range(SESSIONS)))
    return CanaryChanged(
        ts=ts, agent=CANDIDATE, strategy="hrm", model_hash=CANDIDATE, state=CanaryState.RUNNING,
        symbols=(FIRST,), size=0.5, sessions=SESSIONS, mean_bp=PROVES_BP, better=25.0, worse=0.0,
        who="an operator", reason="it is judged", against=f"hrm {NAMED}", began_ts=ts - 8 * DAY_NS, judged=days,
    )  # fmt: skip


def _shown(ts: int) -> ShadowResult:
    return ShadowResult(
        ts=ts, agent=CANDIDATE, strategy="hrm", model_hash=CANDIDATE, day=india_day(ts), since_ts=ts - DAY_NS // 4,
        whole=True, dropped="", decisions=100, skipped=0, failed=0, compared=100, agreed=60, depth=1.0, latency_ms=1.0,
        orders=10, fills=10, trades=5, net_pnl=Decimal(100), real_net_pnl=Decimal(0), real_decisions=100,
        real_trades=5, thinking_p99_ms=2.0, real_strategy="hrm", real_model_hash=NAMED,
    )  # fmt: skip
