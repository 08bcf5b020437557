"""`hrmd check`: every finding, ready and not."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.journal.writer import Journal
from daemon.settings.loading import load_settings
from tests.samples import SBIN, hill, write_tape

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ready(tmp_path: Path) -> list[str]:
    """Settings under which everything is there."""
    tape = write_tape(tmp_path / "t.parquet", *hill())
    return [
        f"feed.tape=[{tape}]", "strategy.name=rules", f"journal.path={tmp_path}/var/j.sqlite", "control.port=0",
        f"control.token_file={tmp_path}/token",
    ]  # fmt: skip


def check(capsys: Capture, *changes: str) -> tuple[int, dict[str, tuple[bool, str]]]:
    """(exit code, findings by name) of the command with `--json`."""
    arguments = [argument for change in changes for argument in ("--set", change)]
    code = main(["check", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    return code, {item["name"]: (item["ok"], item["text"]) for item in found}


def test_every_setting_is_shown_with_who_set_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In lines and as JSON; nothing else is looked at."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("risk: {max_daily_loss: 7}\n")
    monkeypatch.setenv("HRMD_BARS__INTERVALS", '["5m", "30m"]')
    arguments = ["check", "--show", "-c", str(mine), "--set", "log.level=debug"]
    assert main(arguments) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shown = {key: " ".join(rest.split()) for key, rest in lines}
    assert shown["risk.max_daily_loss"] == f"7 {mine}"
    assert shown["bars.intervals"] == '["5m", "30m"] environment variable HRMD_BARS__INTERVALS'
    assert shown["log.level"] == "debug --set"
    assert shown["performance.cache_dir"] == "null default"
    assert shown["hierarchical_reasoning_model.architecture.base.h_dim"] == "512 default"
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["origins"].keys() == shown.keys()
    assert document["settings"]["risk"]["max_daily_loss"] == "7"
    load_settings(None, [f"{key}={json.dumps(document['settings'][key])}" for key in document["settings"]])


def test_settings_that_are_refused_are_not_shown(capsys: Capture) -> None:
    """One line, exit 2."""
    assert main(["check", "--show", "--set", "risk.max_daily_los=5"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "did you mean risk.max_daily_loss?" in printed.err


def test_everything_is_there(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """Exit 0; nothing was made by looking."""
    code, found = check(capsys, *ready)
    assert code == 0
    assert all(ok for ok, _ in found.values())
    assert list(found) == ["settings", "feed", "model", "events", "journal", "control", "alerts", "calendar"]
    assert found["feed"][1] == f"54 ticks of {SBIN}"
    assert found["control"][1] == "127.0.0.1:0 is free"
    assert not (tmp_path / "var").exists()
    assert main(["check", *[argument for change in ready for argument in ("--set", change)]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines if "calendar" not in line] == ["ok  "] * 7


def test_the_model_says_what_it_is(capsys: Capture, ready: list[str]) -> None:
    """Untrained weights are named as that."""
    _, found = check(capsys, *ready, "strategy.name=hrm", "model_management.artifact=null")
    assert "hrm untrained" in found["model"][1]


def test_bars_that_end_with_the_session_are_told(capsys: Capture, ready: list[str]) -> None:
    """Nothing could be opened on them; no reason not to start."""
    assert main(["check", *(word for change in [*ready, "strategy.interval=1d"] for word in ("--set", change))]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "strategy" in line]
    assert line.startswith("warn strategy   rules never opens anything: of strategy.interval 1d, no bar closes before")


@pytest.mark.parametrize(
    ("change", "name", "why"),
    [
        ("feed.tape=[/nowhere.parquet]", "feed", "/nowhere.parquet: no such tape"),
        ("feed.tape=[]", "feed", "feed.tape: name at least one tape"),
        ("complexity_detection.events_file=/nowhere.yaml", "events", "/nowhere.yaml"),
        ("journal.path=/proc/version/j.sqlite", "journal", "/proc/version is not a directory"),
        ("journal.path=/tmp", "journal", "/tmp: can't be opened"),
    ],
)
def test_what_is_missing_is_named(capsys: Capture, ready: list[str], change: str, name: str, why: str) -> None:
    """Exit 1, only that finding fails, and it says what to mend."""
    code, found = check(capsys, *ready, change)
    assert code == 1
    assert [item for item, (ok, _) in found.items() if not ok] == [name]
    assert why in found[name][1]


def test_a_model_that_can_not_be_used(capsys: Capture, ready: list[str]) -> None:
    """The artifact is loaded."""
    code, found = check(capsys, *ready, "strategy.name=hrm", "model_management.artifact=/nowhere.safetensors")
    assert (code, found["model"][0]) == (1, False)
    assert "/nowhere.safetensors" in found["model"][1]


def test_a_journal_that_is_there_is_looked_at(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """A journal can take another run, another file can't."""
    (tmp_path / "var").mkdir()
    Journal(tmp_path / "var" / "j.sqlite", safe=True).close()
    assert check(capsys, *ready)[0] == 0
    (tmp_path / "text").write_text("no journal at all " * 50)
    _, found = check(capsys, *ready, f"journal.path={tmp_path}/text")
    assert found["journal"] == (False, f"journal {tmp_path}/text: can't be opened (file is not a database)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_can_not_be_written(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """Said before the daemon starts."""
    (tmp_path / "locked").mkdir(mode=0o500)
    _, found = check(capsys, *ready, f"journal.path={tmp_path}/locked/j")
    assert found["journal"] == (False, f"journal.path: {tmp_path}/locked can't be written to")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(capsys: Capture, ready: list[str], host: str) -> None:
    """Whoever listens there keeps the daemon from starting, over IPv4 and IPv6."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        _, found = check(capsys, *ready, f"control.host={host}", f"control.port={port}")
    ok, text = found["control"]
    assert not ok
    assert text.startswith(f"control.port: {host}:{port}: Address already in use")


def test_control_switched_off(capsys: Capture, ready: list[str]) -> None:
    """Then its port doesn't matter."""
    _, found = check(capsys, *ready, "control.enabled=false")
    assert found["control"] == (True, "disabled")


def test_live_looks_at_the_broker_too(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """A broker that isn't there and a token that isn't either: exit 1, a table that says what to do, JSON as well."""
    changes = [*ready, "broker.name=fyers", "broker.fyers.api_url=http://127.0.0.1:1/api/v3",
               f"broker.fyers.token_file={tmp_path}/none"]  # fmt: skip
    arguments = [argument for change in changes for argument in ("--set", change)]
    assert main(["check", "--live", *arguments]) == 1
    shown = capsys.readouterr()
    assert "hrmd login" in shown.out
    assert "not ready: token, static ip" in shown.err
    assert main(["check", "--live", "--json", *arguments]) == 1
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert "feed" not in found
    assert (found["token"]["state"], found["token"]["do"], found["model"]["state"]) == ("fail", "hrmd login", "ok")


def test_a_live_feed_needs_no_tape_but_a_token(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """What `hrmd run` would say, before it is started."""
    pytest.importorskip("fyers_apiv3")
    token = tmp_path / "fyers.token"
    live = (*ready, "feed.source=fyers", f"feed.symbols=[{SBIN}]", f"broker.fyers.token_file={token}")
    code, found = check(capsys, *live)
    assert code == 1
    assert "hrmd login" in found["feed"][1]
    token.write_text("aaa.bbb.ccc")
    token.chmod(0o600)
    assert check(capsys, *live)[1]["feed"] == (True, "1 symbols, real ticks")
    assert check(capsys, *live, "broker.fyers.socket_url=ws://127.0.0.1:1/")[1]["feed"] == (
        True,
        "1 symbols, rehearsed ticks",
    )


def test_a_limit_that_holds_for_nothing_is_told(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """A mistyped symbol is a warning; a family of what the tape has is none."""
    times, _ = hill()
    tape = write_tape(tmp_path / "f.parquet", times, [100.0] * len(times), "NSE:NIFTY26JANFUT")
    limits = "risk.limits={NSE:SBINN-EQ: {max_order_quantity: 10}, NSE:NIFTY-FUT: {max_order_quantity: 650}}"
    code, found = check(capsys, *ready, f"feed.tape=[{tape}]", limits)
    said = "risk.limits: NSE:SBINN-EQ: not among the symbols, so it holds for nothing"
    assert (code, found["limits"]) == (0, (True, said))


def test_a_lot_that_no_limit_lets_through_is_told(capsys: Capture, ready: list[str], tmp_path: Path) -> None:
    """With what would let it through; limits of its own do."""
    future = "NSE:NIFTY26JANFUT"
    times, _ = hill()
    tape = write_tape(tmp_path / "f.parquet", times, [26_000.0] * len(times), future)
    code, found = check(capsys, *ready, f"feed.tape=[{tape}]")
    assert code == 0
    assert "a lot of 65 is worth 1,690,000.00" in found["limits"][1]
    assert "risk.limits can give NSE:NIFTY-FUT its own" in found["limits"][1]
    wide = ("risk.max_gross_notional=5000000", 'risk.limits={"NSE:NIFTY-FUT": {max_order_notional: 2000000}}')
    assert "limits" not in check(capsys, *ready, f"feed.tape=[{tape}]", *wide)[1]
    typo = "risk.limits={NSE:SBIN-EQX: {max_order_quantity: 10}}"
    assert (
        "risk.limits: NSE:SBIN-EQX: no such symbol" in check(capsys, *ready, f"feed.tape=[{tape}]", typo)[1]["feed"][1]
    )
