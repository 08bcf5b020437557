from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.alerting.digest import Counts, Stands, count_day, digest
from daemon.core.clock import DAY_NS
from daemon.core.events import Action, AlertChanged, Event, Severity
from daemon.journal.writer import Journal
from tests.samples import OPEN, decide, fill_of, intend, position_of

STANDS = Stands(
    date="2021-04-05", mode="paper · tape ×20 · simulated ticks",
    day_pnl=Decimal("-1250.50"), net_pnl=Decimal("2138.04"), strategy="rules", rung=1,
    state="ACTIVE", health="degraded", open_positions=1, standing=("ladder",),
)  # fmt: skip


def written(path: Path, tapes: str, *events: Event) -> None:
    """A run."""
    journal = Journal(path, safe=False)
    journal.describe({"tapes": tapes})
    for event in events:
        journal.append(event)
    journal.close()


def alert(kind: str, ts: int = OPEN, *, raised: bool = True) -> AlertChanged:
    """One."""
    return AlertChanged(ts=ts, key=kind, kind=kind, severity=Severity.WARNING, raised=raised, text="x")


def test_a_day_is_counted_over_restarts(tmp_path: Path) -> None:
    """What two processes of the day did, not what was before it, and not what was played from a tape."""
    path, order = tmp_path / "j.sqlite", intend()
    written(
        path, "[]", decide(Action.HOLD, ts=OPEN - DAY_NS), alert("feed", OPEN - DAY_NS), decide(Action.HOLD, ts=OPEN)
    )
    written(
        path, "[]", decide(Action.HOLD, ts=OPEN + 1), order, fill_of(order, costs=Decimal("12.5"), ts=OPEN + 2),
        position_of(100, ts=OPEN + 2), position_of(0, ts=OPEN + 3), alert("disk"), alert("disk", raised=False),
        alert("halt"), alert("halt"), alert("digest"),
    )  # fmt: skip
    written(path, '["t.parquet"]', decide(Action.HOLD, ts=OPEN), alert("token"))
    counts = count_day(path, OPEN, runs_live=True)
    assert counts == Counts(2, 1, 0, 1, 1, Decimal("12.5"), {"disk": 1, "halt": 2})
    assert count_day(path, OPEN, runs_live=False).alerts == {"token": 1}


def test_the_digest_says_the_day() -> None:
    """Profit first; a daemon without a journal says what it knows."""
    counts = Counts(75, 4, 1, 4, 2, Decimal("120.1"), {"halt": 2, "disk": 1})
    message = digest(STANDS, counts)
    assert message.title == "hrmd: 2021-04-05: −₹1,250.50"
    assert message.body.splitlines() == [
        "paper · tape ×20 · simulated ticks: day −₹1,250.50, since the start +₹2,138.04",
        "rules decides (rung 1), trading is ACTIVE, degraded, open positions: 1",
        "decisions 75, orders 4 (denied 1), fills 4, trades closed 2, costs ₹120.10",
        "alerts: disk ×1, halt ×2",
        "still standing: ladder",
    ]
    assert digest(STANDS, None).body.count("\n") == 2
