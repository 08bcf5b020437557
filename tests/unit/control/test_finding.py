"""Which daemon `hrmd ctl` means: what was typed, what is set, who runs, and the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.control.finding import OTHERS, PLACE, Address, Target, control_place, find, loopback_address
from daemon.control.rendezvous import Running, announce
from daemon.core.errors import SettingsError, UsageError
from daemon.settings.layers import Layers, read_layers
from daemon.settings.loading import build_settings
from daemon.settings.run import ControlSettings


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user's, who is in `tmp_path/here`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return {"XDG_STATE_HOME": str(tmp_path)}


@contextmanager
def running(environment: dict[str, str], *daemons: tuple[int, int, Path]) -> Iterator[None]:
    """Daemons by process number, port and directory."""
    with ExitStack() as stack:
        for pid, port, directory in daemons:
            one = Running(pid, f"http://127.0.0.1:{port}", str(directory / "control.token"), str(directory))
            stack.callback(announce(one, environment).close)
        yield


DEFAULTS = Target(Address("127.0.0.1", 8642), Path("var/control.token"))


def test_nobody_runs_and_nothing_is_set(environment: dict[str, str]) -> None:
    """The defaults, in the working directory."""
    assert find(None, None, None, None, environment) == DEFAULTS


def test_a_daemon_that_was_started_elsewhere(environment: dict[str, str], tmp_path: Path) -> None:
    """It is found, and said; one that was started here needs no remark."""
    with running(environment, (1, 7001, tmp_path / "there")):
        target = find(None, None, None, None, environment)
    assert (target.address, target.token_file) == (Address("127.0.0.1", 7001), tmp_path / "there" / "control.token")
    assert target.remark == f"to the daemon at http://127.0.0.1:7001 (process 1, started in {tmp_path / 'there'})"
    with running(environment, (1, 7001, tmp_path / "here")):
        assert find(None, None, None, None, environment).remark == ""


def test_of_several_daemons_the_one_from_here_or_none(environment: dict[str, str], tmp_path: Path) -> None:
    """Halting the wrong one would be worse than a question."""
    elsewhere = [(1, 7001, tmp_path / "a"), (2, 7002, tmp_path / "b")]
    with running(environment, *elsewhere), pytest.raises(UsageError) as refused:
        find(None, None, None, None, environment)
    assert str(refused.value) == (
        f"several daemons run: http://127.0.0.1:7001 (process 1, started in {tmp_path}/a); "
        f"http://127.0.0.1:7002 (process 2, started in {tmp_path}/b); name one with --url"
    )
    with running(environment, *elsewhere, (3, 7003, tmp_path / "here")):
        target = find(None, None, None, None, environment)
        assert target.address.port == 7003
        assert "process 3" in target.remark
        assert find(None, None, "http://127.0.0.1:7002", None, environment).token_file == tmp_path / "b/control.token"
        assert find(None, None, None, tmp_path / "a/control.token", environment).address.port == 7001


def test_what_is_set_goes_before_who_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """A file, a variable or an override of `control`; other settings say nothing about the place."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("control: {port: 7100}\n")
    other = tmp_path / "other.yaml"
    other.write_text("log: {level: debug}\n")
    with running(environment, (1, 7001, tmp_path / "there")):
        assert find(mine, None, None, None, environment).address.port == 7100
        assert find(None, ["control.port=7200"], None, None, environment).address.port == 7200
        variables = environment | {"HRMD_CONTROL__TOKEN_FILE": "/t"}
        assert find(None, None, None, None, variables) == Target(Address("127.0.0.1", 8642), Path("/t"))
        assert find(other, ["log.level=info"], None, None, environment).address.port == 7001
        assert find(None, ["control.port=0"], None, None, environment).address.port == 7001
    with pytest.raises(UsageError, match=r"control\.port: 0 lets the daemon pick"):
        find(None, ["control.port=0"], None, None, environment)


def test_what_is_typed_goes_before_everything(environment: dict[str, str], tmp_path: Path) -> None:
    """With both options nothing else is even read: a broken settings file keeps nobody from halting."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    target = find(broken, None, "http://[::1]:5/", Path("/t"), environment)
    assert target == Target(Address("::1", 5), Path("/t"))
    assert str(target.address) == "http://[::1]:5"


def test_a_record_that_points_off_the_machine_is_passed_over(environment: dict[str, str]) -> None:
    """The token never leaves it."""
    announcement = announce(Running(1, "http://192.0.2.1:80", "/t", "/d"), environment)
    assert find(None, None, None, None, environment) == DEFAULTS
    announcement.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://u@example.com", "http://127.0.0.1:1/?x", "ftp://::1"]
)
def test_an_address_that_is_none(url: str) -> None:
    """Refused in the words of whoever gave it."""
    with pytest.raises(UsageError, match=r"^--url x: expected http://127\.0\.0\.1:PORT"):
        loopback_address("--url x", url)


@pytest.mark.parametrize(
    ("file", "variables", "overrides"),
    [
        ("", {}, []),
        ("control: {port: 9000, token_file: /x}", {}, []),
        ("control: {port: 9000}", {"HRMD_CONTROL__PORT": "9001"}, []),
        ("control: {port: 9000}", {"HRMD_CONTROL__PORT": "9001"}, ["control.port=9002"]),
        ("", {"hrmd_control__host": "::1", "HRMD_CONTROL": '{"port": 5, "host": "localhost"}'}, []),
        ("control: {port: '9000'}", {}, ["control.enabled=false"]),
        ("", {}, ["control={port: 9003.0, host: localhost}"]),
        ("", {"HRMD_CONTROL__PORT": " 7 "}, []),
        ("", {"HRMD_CONTROL__TOKEN_FILE": "5"}, []),
        ("", {"HRMD_CONTROL__PORT": "65536"}, []),
        ("", {"HRMD_CONTROL__PORT": "null"}, []),
        ("", {"HRMD_CONTROL__PRT": "5"}, []),
        ("", {"HRMD_CONTRL__PORT": "5"}, []),
        ("", {"HRMD_CONTROL": "5"}, []),
        ("", {}, ["control.host=example.com"]),
        ("", {}, ["control.port=true"]),
        ("", {}, ["control.token_file=5"]),
        ("", {}, ["control.token_file=null"]),
        ("", {}, ["contrl.port=1"]),
        ("control: [1]", {}, []),
        ("control: {port: -1}", {}, []),
        ("contrl: {port: 1}", {}, []),
        ("risk: 5\ncontrol: {port: x}", {}, []),
    ],
)
def test_the_client_reads_control_as_the_daemon_does(
    tmp_path: Path, file: str, variables: dict[str, str], overrides: list[str]
) -> None:
    """The same place from the same layers, and the same line where there is none."""
    path = None
    if file:
        path = tmp_path / "mine.yaml"
        path.write_text(file)

    def said(read: Callable[[Layers], Any]) -> tuple[str, int, Path] | str:
        try:
            one = read(read_layers(path, overrides, variables))
        except SettingsError as error:
            return str(error)
        return one.host, one.port, one.token_file

    assert said(lambda layers: control_place(layers, path)) == said(lambda layers: build_settings(layers, path).control)


def test_a_mistake_elsewhere_does_not_keep_anyone_from_halting(tmp_path: Path) -> None:
    """The client needs one section."""
    layers = read_layers(None, ["risk.max_daily_loss=-1"], {})
    assert control_place(layers).port == 8642


def test_the_shipped_defaults_are_found_from_anywhere(environment: dict[str, str]) -> None:
    """The working directory has no say in it."""
    assert os.getcwd().endswith("here")
    assert read_layers(environment={}).values["control"]["port"] == "8642"


def test_every_setting_of_control_is_known_to_the_client() -> None:
    """Else a mistake elsewhere in the settings would keep somebody from halting."""
    assert set(ControlSettings.model_fields) == OTHERS.union(PLACE)


def test_a_unix_socket_is_an_address() -> None:
    """By its path; an empty one is none."""
    assert str(loopback_address("--url", "unix:/run/hrmd.sock")) == "unix:/run/hrmd.sock"
    with pytest.raises(UsageError, match="unix:PATH"):
        loopback_address("--url", "unix:")
