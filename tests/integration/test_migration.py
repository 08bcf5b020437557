"""A migration in a daemon of its own process: refused with numbers, signed, killed, gone on with, and rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import BeginCanary, EndCanary, MigrationChanged
from daemon.journal.reader import JournalReader
from tests.integration.daemons import Daemon, hrmd, running
from tests.integration.test_run import CALM
from tests.samples import wave, write_tape

OURS = (
    *CALM, "feed.speed=3000", "market.symbol_master.use=never",
    "shadow.agents=[{name: next, strategy: hrm, artifact: shipped}]", "performance.runtime=torch",
    "migration.candidate=next", "migration.baseline_sessions=1", "migration.parallel_sessions=1",
    "migration.min_mean_bp=-1000", "migration.max_latency_ms=10000", "migration.max_failed_percent=100",
    "shadow.budget_ms=60000", "strategy.interval=5m",
    "canary.alpha=0.0000001",
)  # fmt: skip
"""Of a busy machine no speed is asked."""


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten sessions in two weeks."""
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", *wave(375, 12, 30))


def step(daemon: Daemon, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, answer) of a word on the migration."""
    where = ("--url", daemon.url(), "--token-file", str(daemon.token_file), "--json")
    done = hrmd("ctl", "migration", *words, *where)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def view(daemon: Daemon) -> dict[str, Any]:
    """Where it stands."""
    document: dict[str, Any] = daemon.get("/migration")[1]
    return document


def kept(journal: Path, *kinds: type[Any]) -> list[Any]:
    """Of all runs of a journal."""
    reader = JournalReader(journal)
    try:
        return list(reader.of_runs(list(reader.metadata_of_all("tapes")), *kinds))
    finally:
        reader.close()


@pytest.mark.nightly
def test_over_a_kill_and_back(tape: Path, tmp_path: Path) -> None:
    """Up to where the canary begins, with a process that dies in between, and back again."""
    with running(tmp_path, tape, *OURS) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 1)
        assert step(daemon, "rollback")[1]["reason"] == "rollback: no migration goes on"
        code, begun = step(daemon, "advance", "--sign", "asha", "--reason", "the new one is to come")
        assert (code, begun["stage"], begun["before"]) == (0, "baseline", "none")
        code, refused = step(daemon, "advance", "--sign", "asha")
        assert (code, refused["moved"], refused["stage"]) == (1, False, "baseline")
        assert "sessions: 0 whole sessions in charge, at least 1" in refused["reason"]
        daemon.until("a whole session", lambda: view(daemon)["ready"])
        code, closed = step(daemon, "advance", "--sign", "asha")
        assert (code, closed["stage"]) == (0, "training")
        before = view(daemon)
        daemon.process.kill()
        daemon.process.wait()
    (tmp_path / "notify").unlink()
    with running(tmp_path, tape, *OURS) as daemon:
        after = daemon.until("it stands", lambda: view(daemon))
        assert after["stage"] == "training"
        assert after["history"] == before["history"]
        assert [one["who"] for one in after["history"]] == ["asha", "asha"]
        assert after["sessions"] == before["sessions"]
        assert after["sessions"][0]["decisions"] >= 70
        daemon.until("it trades", lambda: daemon.status()["decisions"] >= 1)
        assert step(daemon, "advance", "--sign", "ravi")[1]["stage"] == "parallel"
        daemon.until("a whole session on paper", lambda: view(daemon)["ready"])
        daemon.ctl("halt")
        daemon.until("it halts", lambda: view(daemon)["halted"])
        code, halted = step(daemon, "advance", "--sign", "ravi")
        assert (code, halted["reason"].partition("(")[0]) == (1, "advance: trading is HALTED ")
        daemon.ctl("resume")
        daemon.until("it trades again", lambda: not view(daemon)["halted"])
        assert step(daemon, "advance", "--sign", "ravi")[1]["stage"] == "gradual"
        check_report(daemon, tmp_path)
        code, back = step(daemon, "rollback", "--sign", "asha", "--reason", "a test")
        assert (code, back["stage"], back["before"]) == (0, "baseline", "gradual")
        assert daemon.terminate() == 0
    (begin,), (end,) = kept(daemon.journal, BeginCanary), kept(daemon.journal, EndCanary)
    assert (begin.agent, begin.who, end.promote, end.who) == ("next", "ravi", False, "asha")
    assert [event.stage.value for event in kept(daemon.journal, MigrationChanged)] == [
        "baseline", "training", "parallel", "gradual", "baseline",
    ]  # fmt: skip


def check_report(daemon: Daemon, directory: Path) -> None:
    """It has who signed, both agents' session, the gates' numbers, the way back and a place to sign."""
    daemon.ctl("migration", "report", "-o", str(directory / "report.md"))
    report = (directory / "report.md").read_text()
    assert "By asha: the new one is to come" in report
    assert "| sessions | yes | 1 | 1 | 1 whole sessions in charge, at least 1 |" in report
    assert "| 2026-01-0" in report
    assert "trained on data to 2019-01-03, before 2026-01-0" in report
    assert "**Not ready**" in report
    assert "the canary ends, rules decides everything again" in report
    assert "Signature: ____" in report
    shown = daemon.ctl("migration", "status")
    assert "the canary is running" in shown
    assert "migration: stage gradual" in daemon.ctl("status")


def test_a_candidate_that_no_agent_is(tape: Path) -> None:
    """One line that names the setting and the agents; exit 2."""
    done = hrmd("run", "--set", f"feed.tape=[{tape}]", "--set", "migration.candidate=nobody")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        ": expected migration.candidate among the names of shadow.agents (it is 'nobody', they are none)"
    )


@pytest.mark.nightly
def test_without_a_candidate_training_is_not_left(tape: Path, tmp_path: Path) -> None:
    """A baseline can be measured without; the gate then names the setting."""
    changes = [change for change in OURS if not change.startswith(("migration.candidate", "shadow.agents"))]
    with running(tmp_path, tape, *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 1)
        step(daemon, "advance", "--sign", "asha")
        daemon.until("a whole session", lambda: view(daemon)["ready"])
        assert step(daemon, "advance", "--sign", "asha")[1]["stage"] == "training"
        code, refused = step(daemon, "advance", "--sign", "asha")
        assert code == 1
        assert "no candidate: name a shadow agent in migration.candidate and restart" in refused["reason"]
