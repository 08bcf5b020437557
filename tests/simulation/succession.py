"""A migration that goes on when the session begins: the candidate has shown on paper what the gates ask for.

The journal of an earlier run tells so. An operator may let it take the next step, to decide on a share, and go back.
Invariant: where it stands is what the journal's newest change says, whatever was killed in between.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.core.clock import DAY_NS, india_day
from daemon.core.events import Decider, MigrationChanged, MigrationStage, MigrationStanding, ShadowResult
from daemon.journal.writer import Journal
from tests.simulation.brains import CANDIDATE

NAMED = "m0"
"""The model in charge when a session begins."""
FORMER = Decider("hrm", NAMED, f"/{NAMED}")
FOLLOWS = Decider("hrm", CANDIDATE, f"/{CANDIDATE}")


def write_what_was_shown(journal: Path, now_ns: int) -> None:
    """An earlier run, in which somebody signed for the training and the candidate has traded on paper since."""
    ts = now_ns - DAY_NS
    written = Journal(journal, safe=False)
    written.describe({"tapes": "[]", "version": "of the day before"})
    history, results = (_signed(ts),), (_shown(ts),)
    standing = MigrationStanding(
        ts=ts, history=history, baseline=(), results=results, probation=(), canary=None, owed=""
    )  # fmt: skip
    written.append(standing)
    written.close()


def _signed(ts: int) -> MigrationChanged:
    return MigrationChanged(
        ts=ts - DAY_NS, stage=MigrationStage.PARALLEL, before=MigrationStage.TRAINING, candidate=CANDIDATE,
        decider=FOLLOWS, former=FORMER, gates=(), who="an operator", reason="trained",
    )  # fmt: skip


def _shown(ts: int) -> ShadowResult:
    return ShadowResult(
        ts=ts, agent=CANDIDATE, strategy="hrm", model_hash=CANDIDATE, day=india_day(ts), since_ts=ts - DAY_NS // 4,
        whole=True, dropped="", decisions=100, skipped=0, failed=0, compared=100, agreed=60, depth=1.0, latency_ms=1.0,
        orders=10, fills=10, trades=5, net_pnl=Decimal(100), real_net_pnl=Decimal(0), real_decisions=100,
        real_trades=5, thinking_p99_ms=2.0, real_strategy="hrm", real_model_hash=NAMED,
    )  # fmt: skip
