"""The units are as strict as the documents say, systemd takes them, and installing twice is installing once."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from daemon.settings.loading import load_settings
from tests.command_lines import unknown

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = sorted(path.name for path in (*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.timer")))
SERVICES = [name for name in UNITS if name.endswith(".service")]
MOST_EXPOSED = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def install(destdir: Path, home: str) -> subprocess.CompletedProcess[str]:
    """`make install-system` for a home of its own."""
    return subprocess.run(
        ["make", "install-system", f"DESTDIR={destdir}", f"HRMD_HOME={home}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def make(target: str, destdir: Path, home: str = "/opt/hrmd") -> str:
    """`make TARGET DESTDIR=…`, and what it said."""
    done = subprocess.run(
        ["make", target, f"DESTDIR={destdir}", f"HRMD_HOME={home}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(directory: Path) -> dict[str, bytes]:
    """Every file below, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_installing_twice_is_installing_once(tmp_path: Path) -> None:
    """All units, user, directories; what a person has written into settings and token stays as it is."""
    make("install-system", tmp_path)
    first = files(tmp_path)
    assert set(first) == {
        *(f"etc/systemd/system/{name}" for name in UNITS), "etc/hrmd/settings.yaml", "etc/hrmd/control-token",
        "usr/lib/sysusers.d/hrmd.conf", "usr/lib/tmpfiles.d/hrmd.conf",
    }  # fmt: skip
    token = tmp_path / "etc/hrmd/control-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text(encoding="utf-8").strip()) >= 32
    (tmp_path / "etc/hrmd/settings.yaml").write_text("risk: {max_daily_loss: 1}\n", encoding="utf-8")
    make("install-system", tmp_path)
    assert files(tmp_path) == first | {"etc/hrmd/settings.yaml": b"risk: {max_daily_loss: 1}\n"}


@pytest.mark.slow
def test_uninstalling_leaves_what_is_the_users(tmp_path: Path) -> None:
    """Settings and secrets; given twice, and where nothing was installed, it is no error."""
    make("uninstall-system", tmp_path)
    make("install-system", tmp_path)
    make("uninstall-system", tmp_path)
    make("uninstall-system", tmp_path)
    assert set(files(tmp_path)) == {"etc/hrmd/settings.yaml", "etc/hrmd/control-token"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home", "why"),
    [
        ("/home/me/hrmd", "/home/me/hrmd is in a home directory"), ("/opt/my hrmd", "expected a whole path"),
        ("hrmd", "expected a whole path"), ("", "expected a whole path"),
    ],
    ids=["home", "space", "relative", "empty"],
)  # fmt: skip
def test_a_place_that_the_units_could_not_start_is_refused(tmp_path: Path, home: str, why: str) -> None:
    """In one line, before anything is written."""
    done = install(tmp_path / "root", home)
    assert (done.returncode, files(tmp_path)) == (2, {})
    assert done.stderr.startswith("error: HRMD_HOME: ")
    assert why in done.stderr.splitlines()[0]


@pytest.mark.slow
def test_a_python_in_a_home_is_refused(tmp_path: Path) -> None:
    """As pyenv and uv put them there: the environment only links to it."""
    link = tmp_path / "hrmd/.venv/bin/python"
    link.parent.mkdir(parents=True)
    link.symlink_to("/home/me/.pyenv/versions/3.11.7/bin/python3.11")
    done = install(tmp_path / "root", str(tmp_path / "hrmd"))
    assert done.returncode == 2
    assert "/home/me/.pyenv/versions/3.11.7/bin/python3.11 is in a home directory" in done.stderr


def test_the_example_of_settings_is_accepted() -> None:
    """It trades on paper, on live ticks."""
    settings = load_settings(SYSTEMD / "settings.example.yaml")
    assert (settings.broker.name, settings.broker.live.real_money, settings.feed.source) == ("paper", False, "fyers")


@pytest.mark.slow
@needs_systemd
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    """As installed for a home of its own, with a program in the place of hrmd's."""
    home = tmp_path / "home"
    program = home / ".venv/bin/hrmd"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    make("install-system", tmp_path / "root", str(home))
    at = tmp_path / "root/etc/systemd/system"
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(at / name) for name in UNITS)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_no_unit_is_more_exposed_than_stated(name: str) -> None:
    """`systemd-analyze security`, 0 (nothing left to take) to 10; the page states the daemon's own figure."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED
    if name == "hrmd.service":
        assert f"`systemd-analyze security hrmd` says {found[1]} " in (SYSTEMD / "README.md").read_text("utf-8")


@pytest.mark.slow
@needs_systemd
@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_timers_go_by_indian_time(name: str) -> None:
    """Whatever the machine's zone is; on weekdays the daemon starts before NSE's pre-open at 9:00."""
    times = re.findall(r"^OnCalendar=(.*)$", (SYSTEMD / name).read_text(encoding="utf-8"), re.M)
    assert times
    for time in times:
        assert time.endswith(" Asia/Kolkata")
        assert subprocess.run(["systemd-analyze", "calendar", time], capture_output=True, check=False).returncode == 0
    if name == "hrmd-market-open.timer":
        assert [time.split()[:3:2] for time in times] == [["Mon..Fri", "08:45:00"]]


def test_the_other_units_are_confined_as_the_daemon_is() -> None:
    """A line that the daemon has and a unit of the same program lacks was forgotten."""

    def confinement(name: str) -> set[str]:
        text = (SYSTEMD / name).read_text(encoding="utf-8")
        lines = text[text.index("UMask=") :].partition("[Install]")[0].splitlines()
        return {line for line in lines if line and not line.startswith("#")}

    daemon = confinement("hrmd.service")
    assert confinement("hrmd-record.service") == daemon
    network = {line for line in daemon if line.startswith(("RestrictAddressFamilies", "LimitNOFILE"))}
    assert daemon - network <= confinement("hrmd-seal.service")


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "hrmd-market-close.service"])
def test_what_a_unit_starts_is_a_command_of_hrmd(name: str) -> None:
    """With the options that it has."""
    (started,) = re.findall(r"^ExecStart=\S+/hrmd (.*)$", (SYSTEMD / name).read_text(encoding="utf-8"), re.M)
    assert unknown(started) == ""
