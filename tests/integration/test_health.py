"""The daemon's own health, as whoever watches the process sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import HealthReport
from daemon.settings.loading import load_settings
from models.agent import HRMAgent
from tests.integration.daemons import Daemon, hrmd, running
from tests.integration.test_run import CALM
from tests.integration.test_thinking import HANGING
from tests.samples import MINUTE, OPEN, journaled, wave, write_tape


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session."""
    return write_tape(tmp_path_factory.mktemp("day") / "wave.parquet", *wave(375, every_s=1))


def healthz(daemon: Daemon, code: int) -> Callable[[], Any]:
    """What `/healthz` says without a token, once it answers with `code` and the daemon trades."""

    def look() -> Any:
        got, said = daemon.get("/healthz", token=False)
        recovers = any(reason.startswith("recovering") for reason in said.get("reasons", []))
        return said if got == code and not recovers else None

    return look


def test_a_model_that_hangs_for_ever_is_never_green(day: Path, tmp_path: Path) -> None:
    """Nobody steps in for hours: health does, before the first decision comes, and systemd's watchdog gets nothing."""
    changes = ("strategy.name=hrm", "supervisor.hang_grace_s=36000", "supervisor.health.owed_grace_s=0.5")
    with running(tmp_path, day, *CALM, *changes, "feed.speed=60", program=HANGING) as daemon:
        said = daemon.until("ill", healthz(daemon, 503))
        assert said["state"] == "unhealthy"
        assert said["reasons"][0].startswith("hrm owes decisions: 1, the oldest for ")
        assert "NSE:" not in json.dumps(said)
        assert daemon.status()["decisions"] == 0
        line = daemon.until(
            "the log", lambda: next((x for x in daemon.log if "watchdog is not fed" in x["event"]), None)
        )
        assert line["symbol"] == "NSE:SBIN-EQ"
        fed = daemon.heard().count("WATCHDOG=1")
        ts = int(daemon.status()["ts"])
        daemon.until("two more minutes of the market", lambda: int(daemon.status()["ts"]) > ts + 2 * MINUTE)
        assert daemon.heard().count("WATCHDOG=1") == fed > 0
        where = ("--url", daemon.url(), "--token-file", str(daemon.token_file))
        told = hrmd("ctl", "health", *where, "--json")
        (owed,) = [check for check in json.loads(told.stdout)["checks"] if check["name"] == "owed"]
        assert (told.returncode, owed["status"], owed["limit"]) == (1, "fail", 0.55)
        assert owed["text"].endswith("on NSE:SBIN-EQ")
        assert daemon.terminate() == 0
    reports = journaled(daemon.journal, HealthReport)
    assert [(one.healthy, [(c.check, c.now) for c in one.changes if c.check == "owed"]) for one in reports
            if any(c.check == "owed" for c in one.changes)] == [(False, [("owed", "fail")])]  # fmt: skip


def test_a_model_that_hangs_is_told_at_its_first_decision(day: Path, tmp_path: Path) -> None:
    """With a grace: unhealthy after one decision; when the rules have taken over, degraded, and why."""
    changes = ("strategy.name=hrm", "supervisor.hang_grace_s=0.5", "supervisor.max_hangs_per_day=0", "feed.speed=20")
    with running(tmp_path, day, *CALM, *changes, program=HANGING) as daemon:
        said = daemon.until("ill", healthz(daemon, 503))
        assert said["reasons"][0] == "symbols whose last decision failed: 1 (hrm hung too often)"
        assert daemon.status()["decisions"] <= 2
        well = daemon.until("degraded", healthz(daemon, 200))
        assert (well["state"], well["reasons"]) == ("degraded", [])
        assert "rules decides instead of hrm" in well["warnings"]
        assert any("hung: no answer within 0.55 s" in warning for warning in daemon.get("/health")[1]["warnings"])
        assert daemon.terminate() == 0


def test_a_model_that_is_swapped_on_disk_is_noticed(day: Path, tmp_path: Path) -> None:
    """Degraded with the reason, while the model that is loaded goes on; with the old file back all is well."""
    file = tmp_path / "mine.safetensors"
    shape = load_settings().hierarchical_reasoning_model
    one, other = (HRMAgent.untrained(shape, seed, instruments=["SIM"], timeframes=["5m"]) for seed in (1, 2))
    one.save_model(file)
    whole = file.read_bytes()
    changes = (
        "strategy.name=hrm", f"model_management.artifact={file}", "performance.runtime=torch", "feed.speed=60",
        "supervisor.health.model_check_minutes=0.003", "supervisor.health.every_s=0.05",
    )  # fmt: skip
    with running(tmp_path, day, *CALM, *changes) as daemon:
        first = daemon.until("a look at the file", lambda: model(daemon) if "mine" in model(daemon)["text"] else None)
        assert (first["status"], first["text"].startswith("hrm: mine.safetensors (")) == ("ok", True)
        other.save_model(file)
        daemon.until("noticed", lambda: model(daemon)["status"] == "warn")
        said = daemon.until("degraded", healthz(daemon, 200))
        assert said["state"] == "degraded"
        assert any("mine.safetensors holds another model" in warning for warning in said["warnings"])
        decided = daemon.status()["decisions"]
        daemon.until("decisions go on", lambda: daemon.status()["decisions"] > decided)
        file.write_bytes(whole[:-50])
        daemon.until("damaged", lambda: "the file of hrm is damaged or gone" in model(daemon)["text"])
        file.write_bytes(whole)
        daemon.until("well again", lambda: model(daemon)["status"] == "ok")
        daemon.until("said", lambda: [it for it in daemon.log if it.get("check") == "model" and it["status"] == "ok"])
        assert daemon.terminate() == 0
    told = [c.now for one in journaled(daemon.journal, HealthReport) for c in one.changes if c.check == "model"]
    assert told == ["warn", "ok"]
    assert journaled(daemon.journal, HealthReport)[0].ts > OPEN


def model(daemon: Daemon) -> dict[str, Any]:
    """The check of the model's file."""
    checks: list[dict[str, Any]] = daemon.get("/health")[1]["checks"]
    return next(check for check in checks if check["name"] == "model")
