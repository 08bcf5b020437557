"""A disk that hangs under a whole daemon: exits leave, somebody is told, and the end comes in its time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from daemon.core.errors import JournalHangs, Unavailable
from daemon.recovery.resuming import UNWRITTEN_RECORD
from tests.integration.daemons import PATIENCE_S, Daemon, hrmd, running
from tests.integration.test_run import CALM, held
from tests.samples import wave, write_tape
from tests.unit.alerting.services import Service, service, urls_file

FROZEN = ("-m", "tests.integration.frozen_disk")
FROZEN_START = ("-m", "tests.integration.frozen_start")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session of a swinging price, a tick each second."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(375, every_s=1))


def is_held(daemon: Daemon) -> int:
    """How much, by what the daemon believes."""
    return sum(abs(row["quantity"]) for row in daemon.get("/positions")[1])


def told(hook: Service) -> str:
    """All that somebody was told so far."""
    return "\n".join(f"{one['title']}\n{one['message']}" for one in list(hook.got))


def settings(directory: Path, hook: Service) -> tuple[str, ...]:
    """A fast tape that is recorded, and who is told."""
    return (
        *CALM, "feed.speed=60", "feed.record.when=always", f"feed.record.path={directory / 'tapes'}",
        f"alerts.urls_file={urls_file(directory, hook.url)}", "alerts.warn_after_s=0",
    )  # fmt: skip


def test_exits_leave_and_the_end_comes_without_the_disk(tape: Path, tmp_path: Path) -> None:
    """HALTED and told; what is held is closed; SIGTERM ends it with a code of its own, and its last word is sent."""
    with service() as hook, running(tmp_path, tape, *settings(tmp_path, hook), program=FROZEN) as daemon:
        daemon.until("a position", lambda: is_held(daemon))
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.until("the trouble", lambda: daemon.status()["trading_state"] == "HALTED")
        daemon.until("the alert", lambda: "its disk has given no answer for more than 5 s" in told(hook))
        where = ("--url", daemon.url(), "--token-file", str(daemon.token_file))
        asked = hrmd("ctl", "flatten", *where)
        assert "its disk has given no answer" in asked.stderr + asked.stdout
        daemon.until("what was held is closed", lambda: not is_held(daemon))
        assert daemon.terminate() == JournalHangs.exit_code == 4
        assert "the daemon has ended" in told(hook)
        assert "events are not on it" in told(hook)
        assert any(line["event"] == "the recording was not brought to its end" for line in daemon.log)


def test_a_halt_on_a_disk_that_hangs_holds_at_once_and_outlives_a_kill(
    tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said to be in force and not on the disk; the process after the kill begins HALTED, by a word in memory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with service() as hook:
        with running(tmp_path, tape, *settings(tmp_path, hook), program=FROZEN) as daemon:
            daemon.until("it trades", lambda: daemon.status()["trading_state"] == "ACTIVE")
            daemon.process.send_signal(signal.SIGUSR1)
            asked = hrmd("ctl", "halt", "--url", daemon.url(), "--token-file", str(daemon.token_file))
            assert (asked.returncode, daemon.status()["trading_state"]) == (3, "HALTED")
            assert "error: halt is in force but not on disk yet, a restart may not know of it: " in asked.stderr
            daemon.process.kill()
            daemon.process.wait(PATIENCE_S)
        again = tmp_path / "again"
        again.mkdir()
        with running(again, tape, *settings(again, hook), f"journal.path={daemon.journal}") as daemon:
            status = daemon.until("it has begun", lambda: daemon.status()["trading_reason"] and daemon.status())
            assert (status["trading_state"], UNWRITTEN_RECORD in status["trading_reason"]) == ("HALTED", True)


@pytest.mark.nightly
def test_a_disk_that_goes_on_has_all_of_it(tape: Path, tmp_path: Path) -> None:
    """The end is in order, and nothing is missing."""
    with service() as hook, running(tmp_path, tape, *settings(tmp_path, hook), program=FROZEN) as daemon:
        daemon.until("a position", lambda: is_held(daemon))
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.until("the trouble", lambda: daemon.status()["trading_state"] == "HALTED")
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.until("the disk", lambda: daemon.get("/health")[1]["state"] != "unhealthy")
        now = sum(row["quantity"] for row in daemon.get("/positions")[1])
        assert daemon.terminate() == 0
        assert held(daemon.journal) == now
        assert "the daemon has ended" not in told(hook)


def test_a_start_on_a_disk_that_hangs_says_so_and_is_tried_again(tape: Path, tmp_path: Path) -> None:
    """One line and one alert that name the directory, and the exit code after which systemd starts it again."""
    with service() as hook:
        daemon = Daemon(tmp_path, tape, *settings(tmp_path, hook), program=FROZEN_START)
        try:
            assert daemon.process.wait(PATIENCE_S) == Unavailable.exit_code == 3
        finally:
            daemon.process.kill()
            daemon.process.wait()
        reason = f"{tmp_path}: its disk gives no answer, and the start waits for it"
        assert [line["reason"] for line in daemon.log if line["event"] == "the start stands still"] == [reason]
        assert reason in told(hook)
        assert "it is started again every few seconds" in told(hook)
