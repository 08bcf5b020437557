"""Records of running daemons: written, found, left behind, and not believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.control.rendezvous import Running, announce, running_daemons, state_directory

ONE = Running(pid=4711, url="http://127.0.0.1:8642", token_file="/srv/a/control.token", directory="/srv/a")
HOLD = """
import os, sys
from daemon.control.rendezvous import Running, announce
held = announce(Running(int(sys.argv[1]), "http://127.0.0.1:1", "/t", "/d"), os.environ)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's, whose state is in a directory of the test's own."""
    return {"XDG_STATE_HOME": str(tmp_path)}


def found(environment: dict[str, str]) -> list[Running]:
    """What `hrmd ctl` would find, and no service of this machine."""
    return running_daemons(environment, Path("/nowhere"))


@pytest.mark.slow
def test_a_daemon_is_found_while_it_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """By another process; its record is readable by its user alone, and gone with it."""
    announcement = announce(ONE, environment)
    record = tmp_path / "hrmd" / "daemons" / "4711.json"
    assert record.stat().st_mode & 0o777 == 0o600
    look = "import os; from pathlib import Path; from daemon.control.rendezvous import running_daemons; "
    look += "print(running_daemons(os.environ, Path('/nowhere')))"
    seen = subprocess.run([sys.executable, "-c", look], env=os.environ | environment, capture_output=True, text=True)
    assert seen.stdout == f"[{ONE!r}]\n"
    announcement.close()
    announcement.close()
    assert not record.exists()
    assert found(environment) == []


@pytest.mark.slow
def test_a_killed_daemon_is_not_found_and_the_next_one_clears_up(environment: dict[str, str], tmp_path: Path) -> None:
    """Its record stays, but nobody holds it."""
    command = [sys.executable, "-c", HOLD, "99"]
    with subprocess.Popen(
        command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"held\n"
        assert [one.pid for one in found(environment)] == [99]
        daemon.send_signal(signal.SIGKILL)
    left = tmp_path / "hrmd" / "daemons" / "99.json"
    assert left.exists()
    assert found(environment) == []
    announcement = announce(ONE, environment)
    assert not left.exists()
    assert [one.pid for one in found(environment)] == [4711]
    announcement.close()


def test_a_record_that_can_not_be_taken_away_keeps_nobody_from_ending(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A disk that may only be read by now, or whose folder is gone; nobody is found by it, for nobody holds it."""
    announcement = announce(ONE, environment)
    folder = tmp_path / "hrmd" / "daemons"
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    announcement.close()
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    assert found(environment) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff", b'{"pid": "x", "url": 1}'])
def test_a_record_that_is_none(environment: dict[str, str], tmp_path: Path, content: bytes) -> None:
    """Whatever stands in it, others are found."""
    announcement = announce(ONE, environment)
    other = announce(Running(5, ONE.url, ONE.token_file, ONE.directory), environment)
    (tmp_path / "hrmd" / "daemons" / "5.json").write_bytes(content)
    assert found(environment) == [ONE]
    other.close()
    announcement.close()


def test_a_record_that_others_may_write_is_not_believed(environment: dict[str, str], tmp_path: Path) -> None:
    """It could send the token anywhere."""
    announcement = announce(ONE, environment)
    (tmp_path / "hrmd" / "daemons" / "4711.json").chmod(0o666)
    assert found(environment) == []
    announcement.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_root_follows_another_user_to_that_user_s_token_only(environment: dict[str, str], tmp_path: Path) -> None:
    """A record can't make root read, and send, a file that its writer could not read."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.write_text("x")
    os.chown(theirs, 12345, 12345)
    ours.write_text("x")
    for token_file, expected in ((theirs, 1), (ours, 0), (tmp_path / "none", 0)):
        announcement = announce(Running(7, ONE.url, str(token_file), "/d"), environment)
        os.chown(tmp_path / "hrmd" / "daemons" / "7.json", 12345, 12345)
        assert len(found(environment)) == expected, token_file
        announcement.close()


def test_where_the_state_is() -> None:
    """Systemd's directory, then XDG's, then the home."""
    assert state_directory({"STATE_DIRECTORY": "/a:/b", "XDG_STATE_HOME": "/c"}) == Path("/a")
    assert state_directory({"XDG_STATE_HOME": "/c", "HOME": "/h"}) == Path("/c/hrmd")
    assert state_directory({"HOME": "/h"}) == Path("/h/.local/state/hrmd")
