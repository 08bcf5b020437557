"""The daemon as a service, in this process: start, notifications, signals, end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.errors import SettingsError, UsageError
from daemon.events import Bar, Halt, OrderIntent
from daemon.journal import JournalReader
from daemon.service import Service, order_prefix
from tests.samples import HRM, LIVELY, journaled, settings_of, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=3000", "control.port=0")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minutes of a swinging price."""
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", *wave(40))


def service(tape: Path, directory: Path, *changes: str) -> Service:
    """One over the tape, with everything it writes in `directory`."""
    places = (f"feed.tape=[{tape}]", f"journal.path={directory}/j.sqlite", f"control.token_file={directory}/token")
    return Service(settings_of(*CALM, *places, *changes))


async def run(subject: Service) -> None:
    """Run to the end, but not for ever."""
    async with asyncio.timeout(100):
        await subject.run()


def test_a_signal_ends_the_run_in_order(tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY once the path runs, WATCHDOG while it does, STOPPING at the signal; nothing is pending afterwards."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    subject = service(tape, tmp_path)
    bars: list[Bar] = []

    def count(bar: Bar) -> None:
        bars.append(bar)
        if len(bars) == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    subject.app.bus.tap((Bar,), count)
    asyncio.run(run(subject))
    notices = []
    while True:
        try:
            notices.append(listener.recv(4096).decode().splitlines()[0])
        except BlockingIOError:
            break
    listener.close()
    assert notices[0] == "READY=1"
    assert "WATCHDOG=1" in notices
    assert notices[-1] == "STOPPING=1"
    assert [event.reason for event in journaled(tmp_path / "j.sqlite", Halt)] == ["SIGTERM received"]
    reader = JournalReader(tmp_path / "j.sqlite")
    assert reader.pending() == []
    reader.close()


def test_the_end_of_the_tape_ends_the_run(tape: Path, tmp_path: Path) -> None:
    """Without control and without systemd, as under `hrmd run` in a terminal; order ids carry the run's prefix."""
    subject = service(tape, tmp_path, "control.enabled=false", "feed.speed=20000")
    asyncio.run(run(subject))
    assert subject.view.health().reasons[0] == "the feed has ended"
    orders = [event.order_id for event in journaled(tmp_path / "j.sqlite", OrderIntent)]
    assert {order_id[:-7] for order_id in orders} == {orders[0][:-7]}
    assert not (tmp_path / "token").exists()


def test_the_command_is_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hrmd run` ends with 0 at the end of its tape, with logs on stderr alone."""
    short = write_tape(tmp_path / "s.parquet", *wave(3))
    changes = (
        *CALM, f"feed.tape=[{short}]", f"journal.path={tmp_path}/j", f"control.token_file={tmp_path}/token",
        "feed.speed=100000", "log.format=json",
    )  # fmt: skip
    assert main(["run", *[argument for change in changes for argument in ("--set", change)]]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert '"event":"control listens"' in printed.err


def test_inference_is_measured(tmp_path: Path) -> None:
    """What a model takes is on the metrics."""
    tape = write_tape(tmp_path / "t.parquet", *wave(100))
    subject = service(tape, tmp_path, *HRM, "feed.speed=60000", "control.enabled=false")
    asyncio.run(run(subject))
    assert b"inference" in subject.metrics.render(subject.view.status())
    assert journaled(tmp_path / "j.sqlite")


def test_a_port_that_is_taken_stops_the_start(tape: Path, tmp_path: Path) -> None:
    """A usage error that names the setting, and the journal is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subject = service(tape, tmp_path, f"control.port={listener.getsockname()[1]}")
        with pytest.raises(UsageError, match=r"control\.port"):
            asyncio.run(run(subject))
    assert journaled(tmp_path / "j.sqlite") == []


def test_without_a_tape_there_is_no_service() -> None:
    """The setting is named."""
    with pytest.raises(SettingsError, match=r"feed\.tape: expected at least one tape"):
        Service(settings_of(*CALM))


def test_a_live_feed_without_its_needs_is_no_service(tmp_path: Path) -> None:
    """One clear line, before anything is opened."""
    with pytest.raises(SettingsError, match=r"feed\.symbols: expected at least one"):
        Service(settings_of("feed.source=fyers", f"control.token_file={tmp_path}/t", f"journal.path={tmp_path}/j"))
    assert not (tmp_path / "j").exists()


def test_a_token_file_that_can_not_be_made_leaves_no_journal(tape: Path, tmp_path: Path) -> None:
    """The token is looked at before anything is opened."""
    with pytest.raises(UsageError):
        service(tape, tmp_path, "control.token_file=/proc/version/token")
    assert not (tmp_path / "j.sqlite").exists()


def test_order_prefixes_are_unique_and_fit_the_venues_tag() -> None:
    """Alphanumeric, with seven digits at most 30 characters, never the same twice."""
    prefixes = [order_prefix() for _ in range(50)]
    assert len(set(prefixes)) == 50
    assert all(prefix.isalnum() and len(prefix) + 7 <= 30 for prefix in prefixes)
