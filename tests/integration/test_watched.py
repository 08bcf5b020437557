"""What looks at the daemon may crash: it is started again, and said, and the daemon trades on."""

from __future__ import annotations

from pathlib import Path

from daemon.core.events import ActorRestarted, Decision
from tests.integration.daemons import running
from tests.integration.test_run import CALM
from tests.samples import journaled, wave, write_tape


def test_a_crash_of_the_watch_is_a_restart_that_health_tells(tmp_path: Path) -> None:
    """Two looks crash, of health or of what feeds the watchdog; decisions go on, and the watchdog is fed again."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=1))
    changes = ("strategy.name=hrm", "feed.speed=60", "supervisor.health.every_s=0.1")
    program = ("-m", "tests.integration.own_strategies", "odd")
    with running(tmp_path, tape, *CALM, *changes, program=program) as daemon:
        daemon.until("two crashes", lambda: sum(line["event"] == "actor crashed" for line in daemon.log) == 2)
        (told,) = daemon.until(
            "health says so",
            lambda: [one for one in daemon.get("/health")[1]["checks"] if one["name"] == "restarts"
                     and one["status"] == "warn"],
        )  # fmt: skip
        assert told["text"].endswith("ZeroDivisionError: a bug of ours")
        assert daemon.get("/healthz", token=False)[1]["state"] == "degraded"
        fed = daemon.heard().count("WATCHDOG=1")
        daemon.until("the watchdog is fed", lambda: daemon.heard().count("WATCHDOG=1") > fed)
        before = daemon.status()["decisions"]
        daemon.until("more decisions", lambda: daemon.status()["decisions"] > before + 1)
        assert daemon.terminate() == 0
    crashed = journaled(daemon.journal, ActorRestarted)
    assert len(crashed) == 2
    assert {one.actor for one in crashed} <= {"health", "pulse"}
    assert {one.error for one in crashed} == {"ZeroDivisionError: a bug of ours"}
    assert journaled(daemon.journal, Decision)[-1].ts > crashed[-1].ts
