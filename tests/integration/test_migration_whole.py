"""A whole migration in processes: rules in charge, an HRM that is put in charge by settings, and the ways back."""

from __future__ import annotations

import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.events import (
    CanaryChanged,
    CanaryState,
    Complexity,
    Decision,
    Fill,
    MigrationChanged,
    MigrationStage,
    StrategySwapped,
)
from daemon.journal.reader import JournalReader
from daemon.recovery.account import recover
from tests.integration.daemons import Daemon, hrmd, running
from tests.integration.test_migration import kept, step, view
from tests.integration.test_run import CALM
from tests.samples import DAY, wave, write_tape

pytestmark = pytest.mark.nightly

SBIN, INFY = "NSE:SBIN-EQ", "NSE:INFY-EQ"
RULES = (
    *CALM, "feed.speed=4000", "market.symbol_master.use=never", "market.max_overnight_percent=20",
    "shadow.agents=[{name: next, strategy: hrm, artifact: shipped}]", "performance.runtime=torch",
    "shadow.budget_ms=60000", "hierarchical_reasoning_model.act.deadline_ms=2000", "strategy.interval=5m",
    "migration.candidate=next", "migration.baseline_sessions=1",
    "migration.parallel_sessions=1", "migration.gradual_sessions=1", "migration.probation_sessions=1",
    "migration.max_latency_ms=10000", "migration.max_failed_percent=100", f"canary.symbols=[{INFY}]",
    "supervisor.triggers.novel_bars=null", "canary.alpha=0.49", "canary.bound_bp=0.05", "canary.max_loss_bp=10000",
)  # fmt: skip
"""Rules that follow ripples which don't pay their costs, an HRM that leaves them alone: a session or two prove it."""
HRM = (*RULES, "strategy.name=hrm", "model_management.artifact=shipped")
"""What the operator sets to put the candidate in charge."""
FORTNIGHTS = 4


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Two instruments that move by 20 paise, ten sessions each: one fortnight after the other."""
    folder, found = tmp_path_factory.mktemp("tapes"), []
    seconds, wide = wave(375, 1, 30)
    prices = [round(800 + (price - 800) / 40, 1) for price in wide]
    for fortnight in range(FORTNIGHTS):
        times = [ts + (14 * fortnight + day) * DAY for day in range(12) for ts in seconds]
        pair = [
            write_tape(folder / f"{symbol[4:8]}{fortnight}.parquet", times, prices * 12, symbol)
            for symbol in (SBIN, INFY)
        ]
        found.append((pair[0], pair[1]))
    return found


def both(tapes: tuple[Path, Path], changes: tuple[str, ...]) -> tuple[str, ...]:
    """On two tapes."""
    return (*changes, f"feed.tape=[{tapes[0]}, {tapes[1]}]")


def advance(daemon: Daemon, stage: str) -> None:
    """Once every gate is passed."""
    daemon.until(f"ready for {stage}", lambda: view(daemon)["ready"])
    code, answer = step(daemon, "advance", "--sign", "asha")
    assert (code, answer["stage"]) == (0, stage), answer["reason"]


@pytest.fixture(scope="module")
def proved(tapes: list[tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of rules in charge and an HRM in gradual, every gate passed, over a process that was killed there."""
    folder = tmp_path_factory.mktemp("proved")
    with running(folder, tapes[0][0], *both(tapes[0], RULES)) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 1)
        for stage in ("baseline", "training", "parallel", "gradual"):
            advance(daemon, stage)
        daemon.until("the canary decides", lambda: decides(daemon, "canary:next", INFY))
        daemon.process.kill()
        daemon.process.wait()
    (folder / "notify").unlink()
    with running(folder, tapes[1][0], *both(tapes[1], RULES)) as daemon:
        daemon.until("the canary decides", lambda: decides(daemon, "canary:next", INFY))
        assert decides(daemon, "rules", SBIN)
        daemon.until("proof", lambda: view(daemon)["ready"])
        assert daemon.get("/canary")[1]["state"] == "running"
        assert daemon.terminate() == 0
    (folder / "notify").unlink()
    return folder


def decides(daemon: Daemon, who: str, symbol: str) -> bool:
    """Whether `who` has lately decided on `symbol`."""
    rows = daemon.get("/decisions?limit=6")[1]
    return any((row["strategy"], row["symbol"]) == (who, symbol) for row in rows)


def decides_all(daemon: Daemon, who: str) -> bool:
    """Whether nobody else has lately decided on anything."""
    rows = daemon.get("/decisions?limit=6")[1]
    return len(rows) == 6 and {row["strategy"] for row in rows} == {who}


def going_on(proved: Path, directory: Path) -> Path:
    """The journal of `proved`, for a test of its own."""
    for path in proved.iterdir():
        shutil.copy(path, directory / path.name)
    return directory


def check_journal(journal: Path) -> None:
    """In every run each bar is decided once, but for the last close; positions are what the venue filled."""
    reader = JournalReader(journal)
    try:
        for run in reader.metadata_of_all("tapes"):
            events = list(reader.of_runs([run], Complexity, Decision))
            asked = Counter((one.symbol, one.ts) for one in events if isinstance(one, Complexity))
            decided = Counter((one.symbol, one.ts_bar) for one in events if isinstance(one, Decision))
            assert set(decided.values()) == {1}
            newest = max(ts for _, ts in decided)
            assert {bar for bar in asked if bar[1] < newest} <= set(decided)
    finally:
        reader.close()
    filled: Counter[str] = Counter()
    for fill in kept(journal, Fill):
        filled[fill.symbol] += fill.side.sign * fill.quantity
    account = recover(journal, Decimal(1))
    assert account is not None
    held = {one.symbol: one.quantity for one in account.portfolio.positions() if one.quantity}
    assert held == {symbol: quantity for symbol, quantity in filled.items() if quantity}
    assert filled


def stages(journal: Path) -> list[tuple[str, str]]:
    """(stage, who) of every step."""
    return [(event.stage.value, event.who) for event in kept(journal, MigrationChanged)]


UP_TO_GRADUAL = [("baseline", "asha"), ("training", "asha"), ("parallel", "asha"), ("gradual", "asha")]


def test_the_operator_puts_it_in_charge(proved: Path, tapes: list[tuple[Path, Path]], tmp_path: Path) -> None:
    """By a start with its settings: promoted and full by it, and done after probation; who is in the journal."""
    going_on(proved, tmp_path)
    with running(tmp_path, tapes[2][0], *both(tapes[2], HRM)) as daemon:
        daemon.until("it decides", lambda: decides_all(daemon, "hrm"))
        found = daemon.get("/canary")[1]
        assert (found["state"], found["who"]) == ("promoted", "the operator")
        assert (view(daemon)["stage"], view(daemon)["trouble"]) == ("full", "")
        advance(daemon, "none")
        assert daemon.terminate() == 0
    assert stages(daemon.journal) == [*UP_TO_GRADUAL, ("full", "the operator"), ("none", "asha")]
    assert kept(daemon.journal, CanaryChanged)[-1].by_settings
    assert not kept(daemon.journal, StrategySwapped)
    check_journal(daemon.journal)
    assert hrmd("verify", str(daemon.journal)).returncode == 0


def test_back_from_full(proved: Path, tapes: list[tuple[Path, Path]], tmp_path: Path) -> None:
    """The rules decide again at once and after a start with the same settings, and which to put back is said."""
    going_on(proved, tmp_path)
    with running(tmp_path, tapes[2][0], *both(tapes[2], HRM)) as daemon:
        daemon.until("it decides", lambda: decides_all(daemon, "hrm"))
        code, back = step(daemon, "rollback", "--sign", "ravi")
        assert (code, back["stage"], back["before"]) == (0, "baseline", "full")
        daemon.until("the rules decide", lambda: decides_all(daemon, "rules"))
        assert "put strategy.name: rules back" in view(daemon)["trouble"]
        daemon.process.kill()
        daemon.process.wait()
    (tmp_path / "notify").unlink()
    with running(tmp_path, tapes[3][0], *both(tapes[3], HRM)) as daemon:
        daemon.until("the rules decide", lambda: decides_all(daemon, "rules"))
        assert view(daemon)["stage"] == "baseline"
        assert daemon.terminate() == 0
    assert stages(daemon.journal)[-2:] == [("full", "the operator"), ("baseline", "ravi")]
    check_journal(daemon.journal)


def test_back_from_gradual(proved: Path, tapes: list[tuple[Path, Path]], tmp_path: Path) -> None:
    """The rules decide everything, and nothing has to be set."""
    going_on(proved, tmp_path)
    with running(tmp_path, tapes[2][0], *both(tapes[2], RULES)) as daemon:
        daemon.until("the canary decides", lambda: decides(daemon, "canary:next", INFY))
        assert step(daemon, "rollback", "--sign", "ravi")[1]["stage"] == "baseline"
        daemon.until("the rules decide", lambda: decides_all(daemon, "rules"))
        assert (daemon.get("/canary")[1]["state"], view(daemon)["trouble"]) == ("rolled back", "")
        assert daemon.terminate() == 0
    check_journal(daemon.journal)


def test_other_settings_than_the_candidates(proved: Path, tapes: list[tuple[Path, Path]], tmp_path: Path) -> None:
    """Another model in charge ends the canary, and the migration goes back to parallel and says so."""
    going_on(proved, tmp_path)
    changes = (*HRM, "model_management.artifact=null")
    with running(tmp_path, tapes[2][0], *both(tapes[2], changes)) as daemon:
        daemon.until("it decides", lambda: decides_all(daemon, "hrm"))
        assert view(daemon)["stage"] == "parallel"
        assert "the canary was rolled back: can't go on after the restart" in view(daemon)["trouble"]
        assert daemon.terminate() == 0
    assert kept(daemon.journal, CanaryChanged)[-1].state is CanaryState.ROLLED_BACK
    assert kept(daemon.journal, MigrationChanged)[-1].stage is MigrationStage.PARALLEL


def test_a_failing_candidate_takes_the_migration_back_to_parallel(
    tapes: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    """By itself, at the canary's end; from then on the one in charge decides everything."""
    agents = ("shadow.agents=[{name: own, strategy: rules}]", "migration.candidate=own", "canary.alpha=0.0000001")
    changes = both(tapes[0], (*HRM, *agents, "migration.min_mean_bp=-1000"))
    with running(tmp_path, tapes[0][0], *changes, program=("-m", "tests.integration.own_candidate", "run")) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 1)
        for stage in ("baseline", "training", "parallel", "gradual"):
            advance(daemon, stage)
        daemon.until("back in parallel", lambda: view(daemon)["stage"] == "parallel")
        assert view(daemon)["trouble"].startswith("the canary was rolled back: ")
        daemon.until("the HRM decides", lambda: decides_all(daemon, "hrm"))
        assert daemon.terminate() == 0
    assert stages(daemon.journal) == [*UP_TO_GRADUAL, ("parallel", "hrmd")]
    last = kept(daemon.journal, CanaryChanged)[-1]
    assert (last.state, "ArithmeticError" in last.reason) == (CanaryState.ROLLED_BACK, True)
    decisions = kept(daemon.journal, Decision)
    assert {one.strategy for one in decisions if one.symbol == INFY} == {"hrm", "canary:own"}
    assert {one.strategy for one in decisions if one.symbol == SBIN} == {"hrm"}
    check_journal(daemon.journal)
