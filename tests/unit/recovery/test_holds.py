"""What is held by one process at a time: by whom, under which names, and how it is let go of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.core.errors import UsageError
from daemon.journal.writer import Journal
from daemon.recovery import holds
from daemon.recovery.holds import Hold, api_host, hold_account, hold_all, hold_journal
from daemon.settings.orders import FyersSettings

API = "http://127.0.0.1:18999/api/v3"
HOLDER = """
import sys
from pathlib import Path
from daemon.recovery.holds import hold_account, hold_all, hold_journal
held = {"journal": lambda name: hold_journal(Path(name)), "account": hold_account,
        "all": lambda name: hold_all(Path(name), None)}[sys.argv[1]](*sys.argv[2:])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds it, with another directory and another home for temporary files."""
    environment = os.environ | {"PYTHONPATH": str(Path(holds.__file__).parents[2]), "TMPDIR": "/", "HOME": "/"}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments], cwd="/", env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def killed(process: subprocess.Popen[str]) -> None:
    """Gone without a word."""
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_journal_has_one_process(tmp_path: Path) -> None:
    """Under any of its names; the refusal names who has it; a killed holder holds nothing."""
    journal, link = tmp_path / "var" / "j.sqlite", tmp_path / "link"
    link.symlink_to(tmp_path / "var")
    with other("journal", str(journal)) as process:
        for name in (journal, link / "j.sqlite", tmp_path / "var" / ".." / "var" / "j.sqlite"):
            with pytest.raises(UsageError, match=rf"^journal .*: is held by another process \(process {process.pid}\)"):
                hold_journal(name)
        hold_journal(tmp_path / "var" / "other.sqlite").release()
        killed(process)
        hold_journal(journal).release()


@pytest.mark.slow
def test_a_file_that_is_written_has_one_process(tmp_path: Path) -> None:
    """Though somebody took its lock for stale, and under another name: two writers would damage it."""
    journal, link = tmp_path / "j.sqlite", tmp_path / "link.sqlite"
    Journal(journal, safe=True).close()
    with other("all", str(journal)) as process:
        link.hardlink_to(journal)
        Path(f"{journal}.lock").unlink()
        for name in (journal, link):
            with pytest.raises(UsageError, match=r"^journal .*link.sqlite|j.sqlite: another process writes this file"):
                hold_all(name, None)
        killed(process)
        for hold in hold_all(link, None):
            hold.release()


@pytest.mark.slow
def test_an_account_has_one_daemon() -> None:
    """Wherever either of them stands; another app, or another API, is another account; a killed holder holds none."""
    with other("account", "APP-100", API) as process:
        for app, api in (("APP-100", API), (" app-100", "http://LOCALHOST:18999"), ("APP-100", "http://[::1]:18999/x")):
            with pytest.raises(UsageError, match=rf"another hrmd trades on it \(process {process.pid}\); one daemon"):
                hold_account(app, api)
        hold_account("APP-101", API).release()
        hold_account("APP-100", "http://127.0.0.1:18998/api/v3").release()
        killed(process)
        hold_account("APP-100", API).release()


@pytest.mark.parametrize(
    ("one", "other_one", "same"),
    [
        ("https://api-t1.fyers.in/api/v3", "https://API-T1.fyers.in.:443/api/v2", True),
        ("https://api-t1.fyers.in/api/v3", "https://api-t2.fyers.in/api/v3", False),
        ("http://localhost:1/", "http://127.0.0.1:1", True),
        ("http://localhost:1/", "http://127.0.0.1:2", False),
    ],
)
def test_what_one_api_is(one: str, other_one: str, same: bool) -> None:
    """Its host and its port, however they are written."""
    assert (api_host(one) == api_host(other_one)) is same


def test_what_is_let_go_of_can_be_held_again(tmp_path: Path) -> None:
    """By release, twice if need be, or by forgetting it; and what could be held before a refusal is let go of."""
    takes: tuple[Callable[[], Hold], ...] = (
        lambda: hold_journal(tmp_path / "j"),
        lambda: hold_account("APP-100", API),
    )
    for take in takes:
        first = take()
        with pytest.raises(UsageError, match=r"one daemon an account|one process a journal"):
            take()
        first.release()
        first.release()
        forgotten = take()
        del forgotten
        take().release()


def test_both_or_neither(tmp_path: Path) -> None:
    """A run whose account is taken leaves the journal alone; a run on paper holds a journal only."""
    fyers = FyersSettings(api_url=API)
    account = hold_account(fyers.app_id, API)
    with pytest.raises(UsageError, match="one daemon an account"):
        hold_all(tmp_path / "j", (fyers.app_id, API))
    (paper,) = hold_all(tmp_path / "j", None)
    paper.release()
    account.release()
    assert hold_all(None, None) == []


def test_a_place_that_can_not_be_written_is_named() -> None:
    """In one line."""
    with pytest.raises(UsageError, match=r"^journal /proc/version/j: can't be opened"):
        hold_journal(Path("/proc/version/j"))
