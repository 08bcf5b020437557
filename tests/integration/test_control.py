"""What the control API promises of a whole process: an answered command outlives a kill, every signal is orderly."""

from __future__ import annotations

import contextlib
import getpass
import os
import pty
import signal
import socket
import subprocess
import sys
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.control.connections import LIMITS
from daemon.core.events import Halt, Resume, TradingState
from daemon.recovery.account import recover
from tests.integration.daemons import MAIN, PATIENCE_S, ROOT, Daemon, running
from tests.samples import LIVELY, journaled, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=60")
KILLS = 4


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session of a swinging price, a tick each second."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(375, every_s=1))


def post_and_kill(daemon: Daemon, command: str) -> int:
    """The status of the answer; the process is killed in the moment in which it arrives."""
    headers = {"Authorization": f"Bearer {daemon.token_file.read_text().strip()}"}
    request = urllib.request.Request(f"{daemon.url()}/control/{command}", headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        daemon.process.send_signal(signal.SIGKILL)
        status: int = answer.status
    daemon.process.wait(PATIENCE_S)
    return status


def state_left(daemon: Daemon) -> TradingState:
    """The trading state in which the next process begins."""
    account = recover(daemon.journal, Decimal(1_000_000))
    assert account is not None
    return account.state


def test_a_halt_that_was_answered_outlives_a_kill(tape: Path, tmp_path: Path) -> None:
    """Killed as soon as 202 is there: the next process is halted, every time, and says why."""
    for number in range(KILLS):
        directory = tmp_path / str(number)
        directory.mkdir()
        with running(directory, tape, *CALM) as daemon:
            daemon.until("trading", lambda daemon=daemon: daemon.status()["ticks_accepted"])
            assert post_and_kill(daemon, "halt") == 202
        assert state_left(daemon) is TradingState.HALTED
    (directory / "notify").unlink()
    with running(directory, tape, *CALM) as again:
        again.until("ready", lambda: any(notice.startswith("READY=1") for notice in again.heard()))
        assert (again.status()["trading_state"], again.status()["trading_reason"]) == ("HALTED", "by the operator")
        assert again.status()["trading_who"] == "an operator"
        again.ctl("resume")
        again.until("trading", lambda: again.status()["trading_state"] == "ACTIVE")
        assert again.terminate() == 0
    (resume,) = journaled(again.journal, Resume)
    assert resume.who == getpass.getuser()
    ended = journaled(again.journal, Halt)[-1]
    assert (ended.who, ended.shutdown) == ("SIGTERM", True)


def test_a_flood_of_silent_connections_leaves_the_way_free(tape: Path, tmp_path: Path) -> None:
    """More than there is room for: the files that are open stay few, and the right token halts."""
    with running(tmp_path, tape, *CALM) as daemon, contextlib.ExitStack() as flood:
        host, port = daemon.url().removeprefix("http://").split(":")
        files = Path(f"/proc/{daemon.process.pid}/fd")
        before = len(list(files.iterdir()))
        for _ in range(LIMITS.connections + 100):
            flood.enter_context(socket.create_connection((host, int(port))))
        daemon.until("served", lambda: daemon.get("/healthz", token=False)[0] == 200)
        assert len(list(files.iterdir())) <= before + LIMITS.connections + 10
        assert "halt accepted" in daemon.ctl("halt")
        assert daemon.terminate() == 0


def test_a_hangup_ends_the_run_in_order(tape: Path, tmp_path: Path) -> None:
    """SIGHUP is SIGTERM by another name: exit 0, the journal ends with the halt that says so."""
    with running(tmp_path, tape, *CALM) as daemon:
        daemon.until("trading", lambda: daemon.status()["ticks_accepted"])
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.wait(PATIENCE_S) == 0
        assert any(notice.startswith("STOPPING=1") for notice in daemon.heard())
    assert [event.reason for event in journaled(daemon.journal, Halt)] == ["SIGHUP received"]


def test_a_terminal_that_is_gone_is_no_reason_to_crash(tape: Path, tmp_path: Path) -> None:
    """The terminal closes: it hangs up, and no log line can be written any more; the end is orderly all the same."""
    journal, port = tmp_path / "j.sqlite", tmp_path / "control.token"
    changes = (*CALM, f"feed.tape=[{tape}]", f"journal.path={journal}", f"control.token_file={port}", "control.port=0")
    arguments = [argument for change in changes for argument in ("--set", change)]
    terminal, line = pty.openpty()
    command = [sys.executable, "-c", MAIN, "run", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=line, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        os.close(line)
        said = b""
        while b"running" not in said:
            said += os.read(terminal, 65_536)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE_S) == 0
    assert [event.reason for event in journaled(journal, Halt)] == ["SIGHUP received"]
