from __future__ import annotations

import configparser
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.control.connections import LIMITS
from daemon.core.errors import UsageError
from daemon.run.notify import Notifier
from daemon.run.service import START_TOLD_S

UNIT = Path(__file__).parents[3] / "systemd" / "hrmd.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A real datagram socket that listens as systemd does, and its name as `$NOTIFY_SOCKET` has it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if request.param == "path":
        address = name = str(tmp_path / "notify")
    else:
        name = f"@hrmd-{secrets.token_hex(8)}"
        address = "\0" + name[1:]
    listener.bind(address)
    listener.settimeout(5)
    with listener:
        yield name, listener


def test_messages_arrive(manager: tuple[str, socket.socket]) -> None:
    """READY, patience, STATUS, WATCHDOG and STOPPING reach a socket in the file system and an abstract one."""
    name, listener = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    assert notifier.starting("recovering: the broker\nis away", 60)
    assert listener.recv(4096) == b"EXTEND_TIMEOUT_USEC=60000000\nSTATUS=recovering: the broker is away"
    assert notifier.ready("trading on paper")
    assert listener.recv(4096).decode() == f"READY=1\nSTATUS=trading on paper\nMAINPID={os.getpid()}"
    assert notifier.status("first line\nREADY=0")
    assert listener.recv(4096) == b"STATUS=first line READY=0"
    assert notifier.watchdog()
    assert listener.recv(4096) == b"WATCHDOG=1"
    assert notifier.stopping()
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_nothing_is_sent_without_a_manager() -> None:
    """Outside systemd every message is a no-op, and no watchdog is due."""
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    assert notifier.watchdog_interval_s is None
    assert not any([notifier.ready(), notifier.status("x"), notifier.watchdog(), notifier.stopping()])


def test_a_socket_that_went_away_does_not_raise(tmp_path: Path) -> None:
    """The manager may have gone: that is its affair."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000"})
    assert not notifier.ready()
    assert not notifier.watchdog()


def test_watchdog_is_due_at_half_of_what_is_allowed() -> None:
    """sd_watchdog_enabled(3) recommends half; a zero or missing value is no watchdog."""
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier.from_environment(environment).watchdog_interval_s == 15.0
    assert Notifier.from_environment({"NOTIFY_SOCKET": "/x"}).watchdog_interval_s is None
    foreign = environment | {"WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier.from_environment(foreign).watchdog_interval_s is None


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"NOTIFY_SOCKET": "relative"}, "NOTIFY_SOCKET=relative"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC=soon"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, "WATCHDOG_USEC=0"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_PID": "-1"}, "WATCHDOG_PID=-1"),
    ],
)
def test_impossible_values_are_refused(environment: dict[str, str], named: str) -> None:
    """What systemd never sets names the variable and its value."""
    with pytest.raises(UsageError, match=named):
        Notifier.from_environment(environment)


def unit() -> configparser.ConfigParser:
    """The unit file; keys keep their case."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)  # a filter may be given in two lines
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the way configparser documents
    parser.read(UNIT, encoding="utf-8")
    return parser


def test_unit_file_has_what_the_daemon_relies_on() -> None:
    """Notification, watchdog, restarts, confinement, state and the token's credential."""
    service = unit()["Service"]
    expected = {
        "Type": "notify", "Restart": "on-failure", "RestartPreventExitStatus": "2", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "StateDirectory": "hrmd", "LoadCredential": "control-token:/etc/hrmd/control-token",
    }  # fmt: skip
    assert {name: service[name] for name in expected} == expected
    assert int(service["WatchdogSec"]) > 0
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(service["TimeoutStartSec"]) > 2 * START_TOLD_S
    assert int(service["LimitNOFILE"]) > 2 * LIMITS.connections
    assert "XDG_CACHE_HOME=%C" in service["Environment"].split()
    assert service["CacheDirectory"] == "hrmd"
    assert service["ExecStart"].startswith("/opt/hrmd/.venv/bin/hrmd run -c /etc/hrmd/settings.yaml")


def test_unit_file_takes_what_the_daemon_never_needs() -> None:
    """But not what the runtimes do need: they ask /proc/cpuinfo for the processor's instructions."""
    service = unit()["Service"]
    for name in ("PrivateUsers", "RemoveIPC", "MemoryDenyWriteExecute"):
        assert service[name] == "yes"
    assert (service["ProtectProc"], service["LimitCORE"], service["MemoryMax"]) == ("invisible", "0", "2G")
    assert int(service["TasksMax"]) > 0
    assert "ProcSubset" not in service


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit_file(tmp_path: Path) -> None:
    """The manager knows every key; the program, which isn't installed here, is replaced by one that is."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/hrmd/.venv/bin/hrmd", str(shutil.which("true"))))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
