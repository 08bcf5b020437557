"""A start that comes to nothing, as under systemd: who is told, what, and how often."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.cli import main
from tests.samples import write_tape
from tests.unit.alerting.services import Service, service, urls_file
from tests.unit.run.test_service import CALM, wave


@pytest.fixture
def hook() -> Iterator[Service]:
    """Who is told."""
    with service() as made:
        yield made


@pytest.fixture
def managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody listens as systemd does, and keeps a directory from one start to the next."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield


def start(directory: Path, hook: Service, *changes: str) -> int:
    """`hrmd run` on a short tape, with somebody to be told."""
    tape = directory / "t.parquet"
    if not tape.exists():
        write_tape(tape, *wave(3))
    wanted = (
        *CALM, f"feed.tape=[{tape}]", f"journal.path={directory}/j", "control.enabled=false", "feed.speed=100000",
        f"alerts.urls_file={urls_file(directory, hook.url)}", "alerts.minimum=critical", *changes,
    )  # fmt: skip
    return main(["run", *[word for change in wanted for word in ("--set", change)]])


def refused(hook: Service) -> list[str]:
    """What was told of starts."""
    return [text for text in hook.texts() if "not started" in text]


@pytest.mark.usefixtures("managed")
def test_a_refused_start_is_told_once_for_a_reason_until_it_trades(tmp_path: Path, hook: Service) -> None:
    """Again where the reason is another one, and where it has traded since."""
    missing, worse = f"feed.tape=[{tmp_path}/none.parquet]", f"feed.tape=[{tmp_path}/other.parquet]"
    assert [start(tmp_path, hook, it) for it in (missing, missing, worse, missing)] == [2, 2, 2, 2]
    assert [text.count("none.parquet") for text in refused(hook)] == [1, 0, 1]
    assert refused(hook)[0].startswith("hrmd: CRITICAL: not started | ")
    assert refused(hook)[0].endswith("; nothing starts it again: mend it, and start it")
    assert start(tmp_path, hook) == 0
    assert start(tmp_path, hook, missing) == 2
    assert len(refused(hook)) == 4
    note = tmp_path / "refused-start"
    note.write_text(note.read_text().replace(note.read_text()[:10], "2026-01-05"))  # as if it were of another day
    assert start(tmp_path, hook, missing) == 2
    assert len(refused(hook)) == 5


@pytest.mark.usefixtures("managed")
def test_who_is_told_is_known_though_another_setting_is_wrong(tmp_path: Path, hook: Service) -> None:
    """A mistake in the file at night is no silence in the morning."""
    assert start(tmp_path, hook, "risk.max_daily_lose=1") == 2
    (told,) = refused(hook)
    assert "max_daily_lose: no such setting (did you mean risk.max_daily_loss?); nothing starts it again" in told
    assert start(tmp_path, hook, f"alerts.urls_file={tmp_path}/none", "risk.max_daily_lose=2") == 2
    assert len(refused(hook)) == 1


def test_who_starts_it_by_hand_reads_the_line(tmp_path: Path, hook: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """And needs no alert."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert start(tmp_path, hook, f"feed.tape=[{tmp_path}/none.parquet]") == 2
    assert hook.got == []


@pytest.mark.usefixtures("managed")
def test_a_service_that_never_comes_to_an_end_is_said(
    tmp_path: Path, hook: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process ends all the same, and the log knows that nobody was told."""
    hook.drips.set()
    assert start(tmp_path, hook, f"feed.tape=[{tmp_path}/none.parquet]", "alerts.send_s=0.1") == 2
    assert "an alert was not sent" in capsys.readouterr().err
