"""A daemon whose strategy leaks lets go of what it can, step by step, and goes on with the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.core.events import Decision, HealthReport, Mitigation, MitigationTaken, StrategySwapped
from tests.integration.daemons import running
from tests.integration.test_run import CALM
from tests.samples import journaled, wave, write_tape


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session."""
    return write_tape(tmp_path_factory.mktemp("day") / "wave.parquet", *wave(375, every_s=1))


@pytest.mark.nightly
def test_a_leak_is_fought_step_by_step_and_left(day: Path, tmp_path: Path) -> None:
    """Each step once, with its evidence; the rules decide then, and memory never makes the daemon go flat."""
    changes = (
        "strategy.name=hrm", "feed.speed=60", "performance.memory_warn_gb=0.5", "performance.memory_limit_gb=0.6",
        "supervisor.triggers.memory_rest_s=1.5", "supervisor.triggers.latency_trip_ms=5000",
        "supervisor.health.every_s=0.2",
    )  # fmt: skip
    program = ("-m", "tests.integration.own_strategies", "leaking")
    with running(tmp_path, day, *CALM, *changes, program=program) as daemon:
        daemon.until("the rules", lambda: daemon.status()["strategy"] == "rules")
        before = daemon.status()["decisions"]
        daemon.until("five decisions of theirs", lambda: daemon.status()["decisions"] >= before + 5)
        assert daemon.status()["strategy"] == "rules"
        (memory,) = [one for one in daemon.get("/health")[1]["checks"] if one["name"] == "memory"]
        assert memory["status"] == "fail"
        assert daemon.terminate() == 0
    taken = journaled(daemon.journal, MitigationTaken)
    assert [one.step for one in taken] == [
        Mitigation.FREE_MEMORY, Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN,
    ]  # fmt: skip
    assert {(one.trigger, one.strategy) for one in taken} == {("memory", "hrm")}
    used = [float(one.evidence.split()[0]) for one in taken]
    assert used == sorted(used)
    assert used[0] >= 0.6
    (swap,) = journaled(daemon.journal, StrategySwapped)
    assert (swap.new, swap.reason) == ("rules", taken[-1].evidence)
    assert journaled(daemon.journal, Decision)[-1].strategy == "rules"
    changed = [change for one in journaled(daemon.journal, HealthReport) for change in one.changes]
    assert [(one.before, one.now) for one in changed if one.check == "memory"] == [("ok", "warn"), ("warn", "fail")]
