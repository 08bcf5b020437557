"""The daemon as a service, in this process: start, notifications, signals, end."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from daemon.cli import main
from daemon.control.rendezvous import Running, running_daemons
from daemon.core.clock import NS_PER_S
from daemon.core.errors import SettingsError, UsageError
from daemon.core.events import Bar, Decision, Halt, HealthReport, OrderIntent
from daemon.journal.reader import JournalReader
from daemon.machine import Machine
from daemon.market.calendar import ist_ns
from daemon.run.output_tables import bars_table
from daemon.run.service import Service, order_prefix
from daemon.tape.recorded import RecordedDirectory
from strategies.hrm import HRMStrategy
from tests.samples import HRM, LIVELY, OPEN, SBIN, journaled, play, settings_of, wave, write_tape
from tests.unit.core.readings import FakeReadings
from tests.unit.orders.live import until

CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=20000", "control.port=0")
"""A session is over in a second."""


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


def test_a_daemon_is_found_while_it_runs(tape: Path, tmp_path: Path) -> None:
    """Its record says where it listens, which token it takes and where it was started; it is gone with the daemon."""
    subject = service(tape, tmp_path)
    found: list[list[Running]] = []
    subject.app.bus.tap((Bar,), lambda _: found.append(running_daemons(os.environ, tmp_path)))
    asyncio.run(run(subject))
    (one,) = found[0]
    assert (one.pid, one.token_file, one.directory) == (os.getpid(), f"{tmp_path}/token", os.getcwd())
    assert one.url.startswith("http://127.0.0.1:")
    assert running_daemons(os.environ, tmp_path) == []


def test_a_daemon_that_can_not_say_where_it_is_runs_all_the_same(
    tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state directory that can't be made is a warning."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with capture_logs() as logs:
        asyncio.run(run(service(tape, tmp_path)))
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings.count("hrmd ctl can't find this daemon by itself") == 1
    assert journaled(tmp_path / "j.sqlite", Bar)


def test_a_signal_ends_the_run_in_order(tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience while it starts, READY once the path runs, WATCHDOG while it does, STOPPING at the signal."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    subject = service(tape, tmp_path, "feed.speed=3000")
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
    assert notices[:2] == ["EXTEND_TIMEOUT_USEC=60000000", "READY=1"]
    assert "WATCHDOG=1" in notices
    assert notices[-1] == "STOPPING=1"
    assert [event.reason for event in journaled(tmp_path / "j.sqlite", Halt)] == ["SIGTERM received"]
    reader = JournalReader(tmp_path / "j.sqlite")
    assert reader.pending() == []
    reader.close()


def test_the_end_of_the_tape_ends_the_run(tape: Path, tmp_path: Path) -> None:
    """Without control and without systemd, as under `hrmd run` in a terminal; order ids carry the run's prefix."""
    subject = service(tape, tmp_path, "control.enabled=false")
    asyncio.run(run(subject))
    assert subject.view.health().reasons[0] == "the feed has ended"
    orders = [event.order_id for event in journaled(tmp_path / "j.sqlite", OrderIntent)]
    assert {order_id[:-7] for order_id in orders} == {orders[0][:-7]}
    assert not (tmp_path / "token").exists()


def test_settings_under_which_nothing_is_opened_are_told(tape: Path, tmp_path: Path) -> None:
    """Once, as it starts."""
    with capture_logs() as logs:
        asyncio.run(run(service(tape, tmp_path, "control.enabled=false", "strategy.interval=1d")))
    (line,) = [line for line in logs if line["event"] == "no position will be opened"]
    assert line["reason"].startswith("rules never opens anything: of strategy.interval 1d, no bar closes before")


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


def test_a_tape_without_a_usable_tick_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says why they were turned away, and the exit code of other bad input."""
    dark = write_tape(tmp_path / "dark.parquet", [OPEN + 10 * 3600 * NS_PER_S + step for step in range(5)], [100.0] * 5)
    changes = (*CALM, f"feed.tape=[{dark}]", f"journal.path={tmp_path}/j", f"control.token_file={tmp_path}/token",
               "feed.speed=100000")  # fmt: skip
    assert main(["run", *[argument for change in changes for argument in ("--set", change)]]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"error: {dark}: no tick could be used (5 outside_session)"


def test_inference_is_measured(tmp_path: Path) -> None:
    """What a model takes is on the metrics; who it is and what it remembered in the status."""
    tape = write_tape(tmp_path / "t.parquet", *wave(100))
    changes = ("performance.decision_cache_size=10", "feed.speed=60000", "control.enabled=false")
    subject = service(tape, tmp_path, *HRM, *changes)
    asyncio.run(run(subject))
    status = subject.view.status()
    assert b"hrmd_inference_seconds" in subject.metrics.render(status)
    (strategy,) = [item for item in subject.app.strategy.strategies.values() if isinstance(item, HRMStrategy)]
    assert status.inference is not None
    assert (status.inference.runtime, status.inference.model_hash) == (strategy.runtime, strategy.agent.model_hash)
    asked = status.inference.cache_hits + status.inference.cache_misses
    decided = sum(bool(one.segments) for one in journaled(tmp_path / "j.sqlite", Decision))
    assert 0 < decided <= asked <= 2 * decided  # an entry is asked about again at what its own order costs


def test_a_port_that_is_taken_stops_the_start(tape: Path, tmp_path: Path) -> None:
    """A usage error that names the setting, and no journal of a run that never was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subject = service(tape, tmp_path, f"control.port={listener.getsockname()[1]}")
        with pytest.raises(UsageError, match=r"control\.port"):
            asyncio.run(run(subject))
    assert not (tmp_path / "j.sqlite").exists()


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


def test_a_place_that_can_not_be_recorded_to_leaves_no_journal(tape: Path, tmp_path: Path) -> None:
    """Nor does a path that can't be built keep the place of the recording."""
    record = ("feed.record.when=always", f"feed.record.path={tmp_path}/tapes")
    with pytest.raises(UsageError, match=r"feed\.record\.path"):
        service(tape, tmp_path, record[0], f"feed.record.path={tape}")
    assert not (tmp_path / "j.sqlite").exists()
    with pytest.raises(UsageError):
        service(tape, tmp_path, *record, "market.unlisted=reject", f"feed.tape=[{tmp_path}/missing]")
    with pytest.raises(UsageError, match=r"holds the tape .* that is played"):
        service(tape, tmp_path, record[0], f"feed.record.path={tape.parent}")
    assert not (tmp_path / "j.sqlite").exists()
    RecordedDirectory(tmp_path / "tapes").release()


async def test_a_journal_is_of_one_process(tape: Path, tmp_path: Path) -> None:
    """A second daemon, or a replay, is refused before it reads a record, and what it was refused stays whole."""
    first = service(tape, tmp_path)
    for number in range(2):
        with pytest.raises(UsageError, match=rf"journal .*j\.sqlite: is held by another process .*{os.getpid()}"):
            service(tape, tmp_path, f"control.port={18_000 + number}")
    assert main(["replay", str(tape), "--journal", f"{tmp_path}/j.sqlite"]) == 2
    first.app.stop("enough")
    await run(first)
    await run(service(tape, tmp_path))
    assert JournalReader(tmp_path / "j.sqlite").run == 2


def test_order_prefixes_are_unique_and_fit_the_venues_tag() -> None:
    """Alphanumeric, with seven digits at most 30 characters, never the same twice."""
    prefixes = [order_prefix(Machine()) for _ in range(50)]
    assert len(set(prefixes)) == 50
    assert all(prefix.isalnum() and len(prefix) + 7 <= 30 for prefix in prefixes)


def test_what_it_gets_is_on_a_tape(tape: Path, tmp_path: Path) -> None:
    """The ticks that the day's bars were made of make the same bars in a replay; the status speaks of the tape."""
    places = (f"feed.record.path={tmp_path}/tapes", "feed.record.when=always", "feed.record.flush_s=0.05")
    subject = service(tape, tmp_path, *places, "control.enabled=false")
    live: list[Bar] = []
    subject.app.bus.tap((Bar,), live.append)
    asyncio.run(run(subject))
    recorder = subject.view.status().recorder
    assert recorder is not None
    assert (recorder.recorded, recorder.lost, recorder.trouble) == (480, 0, "")
    replay, _ = play(tmp_path / "tapes" / "2026-01-05.parquet", *LIVELY, bars=tmp_path / "bars.parquet")
    assert replay.app.feed.tick_filter.accepted == 480
    assert pq.read_table(tmp_path / "bars.parquet") == bars_table(live)
    assert len(live) > 40


def test_a_tape_is_not_recorded_again(tape: Path, tmp_path: Path) -> None:
    """By default only what a live feed gives."""
    subject = service(tape, tmp_path, f"feed.record.path={tmp_path}/tapes")
    assert subject.view.status().recorder is None
    assert not (tmp_path / "tapes").exists()


@pytest.mark.parametrize(("on_failure", "halted"), [("alert", False), ("halt", True)])
def test_a_disk_that_fails_is_no_reason_to_stop_unless_it_is_said_to_be(
    tape: Path, tmp_path: Path, on_failure: str, halted: bool
) -> None:
    """The recording's directory disappears: health says so, and trading goes on or halts, as the settings have it."""
    places = (f"feed.record.path={tmp_path}/tapes", "feed.record.when=always", "feed.record.flush_s=0.01")
    subject = service(tape, tmp_path, *places, f"feed.record.on_failure={on_failure}", "control.enabled=false")
    (tmp_path / "tapes").rename(tmp_path / "unplugged")
    asyncio.run(run(subject))
    recorder = subject.view.status().recorder
    assert recorder is not None
    assert recorder.lost > 0
    assert "ticks are not being recorded" in subject.view.health().reasons
    reasons = [event.reason for event in journaled(tmp_path / "j.sqlite", Halt)]
    assert bool(reasons) is halted
    assert all("No such file" in reason for reason in reasons)


@pytest.mark.slow
async def test_a_start_on_a_holiday_names_the_next_session(tmp_path: Path) -> None:
    """Live, by the machine's clock; nobody has to answer for that."""
    pytest.importorskip("fyers_apiv3")
    token = tmp_path / "fyers.token"
    token.write_text("aaa.bbb.ccc")
    token.chmod(0o600)
    nobody = "127.0.0.1:1/"
    changes = (
        "feed.source=fyers", f"feed.symbols=[{SBIN}]", f"broker.fyers.token_file={token}",
        f"broker.fyers.calls_file={tmp_path}/calls", "feed.record.when=never", f"journal.path={tmp_path}/j.sqlite",
        f"control.token_file={tmp_path}/token", f"broker.fyers.socket_url=ws://{nobody}",
        f"broker.fyers.symbol_token_url=http://{nobody}", f"broker.fyers.index_map_url=http://{nobody}",
        f"broker.fyers.data_url=http://{nobody}", "feed.rehearse=false",
    )  # fmt: skip
    moment = ist_ns(dt.date(2026, 11, 24), "10:00")
    subject = Service(settings_of(*CALM, *changes), machine=Machine(readings=FakeReadings(moment)))
    with capture_logs() as logs:
        running = asyncio.create_task(run(subject))
        await until(lambda: [line for line in logs if line["event"] == "the market is closed"])
        assert subject.view.status().session == "no session today (Guru Nanak Jayanti); next: Wed 25 Nov 2026 09:15 IST"
        subject.app.stop("a test")
        await running
    (line,) = [line for line in logs if line["event"] == "the market is closed"]
    assert line["session"] == subject.view.status().session


def test_changes_of_health_are_on_record(tape: Path, tmp_path: Path) -> None:
    """In the journal and in the log, once, with what is to be done; a look at every pulse says nothing more."""
    places = (f"feed.record.path={tmp_path}/tapes", "feed.record.when=always", "feed.record.flush_s=0.01")
    subject = service(tape, tmp_path, *places, "control.enabled=false", "feed.speed=300")
    (tmp_path / "tapes").rename(tmp_path / "unplugged")
    reports: list[HealthReport] = []
    subject.app.bus.tap((HealthReport,), reports.append)

    def stop(report: HealthReport) -> None:
        if any(change.check == "recorder" for change in report.changes):
            subject.app.stop("seen")

    subject.app.bus.tap((HealthReport,), stop)
    with capture_logs() as logs:
        asyncio.run(run(subject))
    assert journaled(tmp_path / "j.sqlite", HealthReport) == reports
    told = [change for report in reports for change in report.changes if change.check == "recorder"]
    assert [(change.before, change.now, change.text) for change in told] == [
        ("ok", "fail", "ticks are not being recorded")
    ]
    (line,) = [line for line in logs if line["event"] == "health" and line["check"] == "recorder"]
    assert (line["log_level"], line["do"].startswith("make room, or mend the disk: recording to ")) == ("error", True)
