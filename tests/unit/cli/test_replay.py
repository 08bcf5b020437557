"""`hrmd replay` and `hrmd verify` from the user's side: one document, one line for every mistake."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog

from daemon.cli import main
from daemon.core.events import Decision
from tests.samples import HRM, LIVELY, hill, journaled, wave, write_tape

ROOT = Path(__file__).parents[3]
SET = [argument for change in LIVELY for argument in ("--set", change)]
CONTRACT = {
    "ticks", "ticks_rejected", "bars", "decisions", "orders", "fills", "trades", "net_pnl", "costs", "total_return",
    "sharpe", "sortino", "calmar", "max_drawdown", "win_rate", "decisions_sha256", "wall_s", "ticks_per_s",
}  # fmt: skip
HRM_CONTRACT = {
    "avg_reasoning_depth", "halt_reasons", "deadline_misses", "inference_ms", "computation_efficiency", "convergence",
}  # fmt: skip

Capture = pytest.CaptureFixture[str]


def refusal(capsys: Capture, *arguments: str) -> str:
    """Run a command that must fail as bad usage; its one line."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert isinstance(line, str)
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine minutes up, nine down."""
    return write_tape(tmp_path_factory.mktemp("tape") / "hill.parquet", *hill(), notes={"simulated": "true"})


def test_json_is_one_document_with_the_contract(capsys: Capture, tape: Path) -> None:
    """All fields on stdout; logs on stderr, one JSON object a line."""
    assert main(["replay", str(tape), "--strategy", "rules", *SET, "--json", "--set", "log.format=json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    document = json.loads(printed.out)
    assert set(document) >= CONTRACT
    assert (document["ticks"], document["fills"], document["net_pnl"], document["simulated"]) == (54, 3, "117.65", True)
    assert document["hrm_metrics"] is None
    assert all(json.loads(line) for line in printed.err.splitlines())


def test_json_of_the_hrm_has_its_metrics(capsys: Capture, tmp_path: Path) -> None:
    """And says that the model is untrained."""
    tape = write_tape(tmp_path / "t.parquet", *wave(120))
    changes = [argument for change in HRM for argument in ("--set", change)]
    assert main(["replay", str(tape), *changes, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["hrm_metrics"]) >= HRM_CONTRACT
    assert set(document["hrm_metrics"]["inference_ms"]) == {"p50", "p99", "max"}
    assert "untrained" in document["model"]


def test_the_terminal_shows_a_summary_and_the_files(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """Readable, and each written file is named."""
    journal = tmp_path / "j.sqlite"
    assert main(["replay", str(tape), *SET, "--journal", str(journal), "--symbol", "NSE:SBIN-EQ"]) == 0
    out = capsys.readouterr().out
    assert f"wrote {journal}" in out
    assert "simulated" in out.lower()


def test_bars_on_which_nothing_can_be_opened_are_told(capsys: Capture, tape: Path) -> None:
    """Before the replay, and with what came of it."""
    assert main(["replay", str(tape), "--strategy", "rules", "--set", "strategy.interval=1d"]) == 0
    printed = capsys.readouterr()
    told = "rules never opens anything: of strategy.interval 1d, no bar closes"
    (line,) = [line for line in printed.err.splitlines() if told in line]
    assert "warning" in line
    assert told in " ".join(printed.out.split())


def test_verify_says_what_it_compared(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """In words and as JSON; after one row was changed it exits 1 with the difference."""
    journal = tmp_path / "j.sqlite"
    assert main(["replay", str(tape), *SET, "--journal", str(journal), "--json"]) == 0
    capsys.readouterr()
    assert main(["verify", str(journal)]) == 0
    assert capsys.readouterr().out == f"{journal}: 18 decisions made again, all equal\n"
    assert main(["verify", str(journal), "--json"]) == 0
    said = {
        "journal": str(journal), "decisions": 18, "passed_over": 0, "canary": "", "model": "", "near": 0, "off_by": 0.0,
        "equal": True, "difference": None,
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out) == said
    db = sqlite3.connect(journal)
    with db:
        db.execute("UPDATE events SET body = replace(body, '\"action\":0', '\"action\":1') WHERE type = 'Decision'")
    db.close()
    assert main(["verify", str(journal)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert (
        "decision 5 (NSE:SBIN-EQ, bar that closed 05 Jan 2026 09:20:00 IST): action was SELL_SHORT, is now BUY_LONG"
        in printed.err
    )


def test_verify_prints_one_document_whatever_is_logged(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """A model's runtime is a line of the log, on stderr, in a process that set up no log before."""
    journal = tmp_path / "j.sqlite"
    untrained = ["--set", "model_management.artifact=null", "--set", "performance.runtime=torch"]
    assert main(["replay", str(tape), *SET, "--strategy", "hrm", *untrained, "--journal", str(journal), "--json"]) == 0
    capsys.readouterr()
    structlog.reset_defaults()
    assert main(["verify", str(journal), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["journal"] == str(journal)
    assert "torch fp32" in printed.err


def test_the_model_that_is_named_decides(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """A policy of PPO by its own setting; where none would decide by it, that is said, and nothing is played."""
    policy = tmp_path / "mine.safetensors"
    shutil.copy(str(resources.files("models") / "artifacts" / "ppo.safetensors"), policy)
    assert main(["replay", str(tape), *SET, "--strategy", "ppo", "--model", str(policy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"].startswith("mine.safetensors (")
    policy.write_text("no model at all")
    assert str(policy) in refusal(capsys, "replay", str(tape), *SET, "--strategy", "ppo", "--model", str(policy))
    line = refusal(capsys, "replay", str(tape), *SET, "--strategy", "rules", "--model", str(policy))
    assert f"--model {policy}: strategy rules would not decide by it; expected --strategy hrm or ppo" in line


def damaged(kind: str, tmp_path: Path, tape: Path) -> Path:
    """A tape that is none, in one of the ways in which that happens."""
    path = tmp_path / f"{kind}.parquet"
    whole = tape.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "foreign":
            path.write_text("ts,price\n1,2\n")
        case "columns":
            pq.write_table(pa.table({"time": [1], "price": [2.0]}), path)
        case "types":
            pq.write_table(pa.table({"ts_event": ["1"], "symbol": ["S"], "ltp": [2.0]}), path)
        case "norows":
            pq.write_table(pq.read_table(tape).slice(0, 0), path)
        case "directory":
            path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("missing", "no such tape"), ("empty", "the file is empty"), ("truncated", "truncated"),
        ("foreign", "not a Parquet file"), ("columns", "no column ts_event"), ("types", "column ts_event is string"),
        ("norows", "holds no ticks"), ("directory", "can't be read"),
    ],
)  # fmt: skip
def test_a_tape_that_is_none(capsys: Capture, tmp_path: Path, tape: Path, kind: str, why: str) -> None:
    """The line names the file and what is wrong with it."""
    path = damaged(kind, tmp_path, tape)
    line = refusal(capsys, "replay", str(path), *SET)
    assert str(path) in line
    assert why in line


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--symbol", "NSE:TCS-EQ"], "symbol NSE:TCS-EQ: not on the tape; it has NSE:SBIN-EQ"),
        (["--strategy", "nonsense"], "--strategy nonsense: no such strategy; expected one of"),
        (["--set", "strategy.name=nonsense"], "strategy.name: expected one of"),
        (["--set", "strategy.nme=rules"], "strategy.nme: no such setting (did you mean strategy.name?)"),
        (["--set", "risk.max_daily_loss=-5"], "risk.max_daily_loss"),
        (["--set", "nonsense"], "expected a.b.c=VALUE"),
        (["--latency", "soon"], "--latency 'soon': expected zero, fixed:MS"),
        (["--latency", "fixed:-1"], "--latency 'fixed:-1'"),
        (["--latency", "recorded:/nowhere"], "/nowhere: no such journal"),
        (["--model", "/nowhere: a.safetensors"], "/nowhere: a.safetensors"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: no such settings file"),
        (["--journal", "/proc/nowhere/j"], "journal /proc/nowhere/j: can't be opened"),
        (["--bars-out", "/nowhere/b"], "/nowhere/b: its directory does not exist"),
        (["--fills-out", "/tmp"], "/tmp: is a directory"),
        (["--lookahead", "--workers", "2"], "--lookahead writes nothing: without outputs, --workers and --sensitivity"),
        (["--lookahead", "--bars-out", "b"], "--lookahead writes nothing: without outputs"),
        (["--nonsense"], "--nonsense"),
        (["--latency"], "--latency"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line(capsys: Capture, tape: Path, arguments: list[str], why: str) -> None:
    """Exit 2, the key or file at fault, nothing on stdout."""
    strategy = ["--set", "strategy.name=hrm"] if "--model" in arguments else []
    assert why in refusal(capsys, "replay", str(tape), *SET, *strategy, *arguments)


def test_a_journal_that_can_not_be_one_is_refused_before_anything_is_done(
    capsys: Capture, tape: Path, tmp_path: Path
) -> None:
    """A directory: no model is read for it, no log begins."""
    assert main(["replay", str(tape), "--strategy", "hrm", "--journal", str(tmp_path)]) == 2
    said = f"error: journal {tmp_path}: is a directory, expected a regular file\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("outputs", [("--journal",), ("--journal", "--ticks-out", "--bars-out", "--report")])
def test_a_tape_without_a_usable_tick_leaves_nothing(
    capsys: Capture, tape: Path, tmp_path: Path, outputs: tuple[str, ...]
) -> None:
    """No journal of a run that wasn't; one that was there keeps the runs it has."""
    dark, places = write_tape(tmp_path / "dark.parquet", [0, 1], [800.0, 801.0]), []
    for name in outputs:
        places += [name, str(tmp_path / name.strip("-"))]
    asked = ["replay", "--strategy", "rules", *SET]
    assert main([*asked, str(dark), *places]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("no tick could be used (2 bad_time)")
    assert [path.name for path in tmp_path.iterdir()] == ["dark.parquet"]
    assert main([*asked, str(tape), "--journal", str(tmp_path / "journal")]) == 0
    decisions = _decisions(tmp_path / "journal")
    assert main([*asked, str(dark), *places]) == 2
    assert decisions == _decisions(tmp_path / "journal") > 0


def test_broken_yaml_names_the_place(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """File, line and column."""
    config = tmp_path / "broken.yaml"
    config.write_text("risk:\n  max_daily_loss: [1\n")
    line = refusal(capsys, "replay", str(tape), "--config", str(config))
    assert str(config) in line
    assert "line 3" in line


def test_no_tape_and_no_such_command(capsys: Capture) -> None:
    """The command line's own mistakes look the same."""
    assert "tapes" in refusal(capsys, "replay").lower()
    assert "No such command 'nonsense'" in refusal(capsys, "nonsense")


def test_an_outputs_disk_is_not_the_tapes(capsys: Capture, tape: Path) -> None:
    """A replay never writes over what it reads."""
    before = tape.read_bytes()
    assert "is a tape of this replay" in refusal(capsys, "replay", str(tape), "--ticks-out", str(tape))
    assert tape.read_bytes() == before


def test_a_name_that_says_csv_is_no_place_for_parquet(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """Before the replay, not when somebody opens it."""
    line = refusal(capsys, "replay", str(tape), "--trades-out", str(tmp_path / "t.CSV"))
    assert line.endswith("t.CSV: Parquet is written, and this name says otherwise; expected one such as trades.parquet")


@pytest.mark.parametrize("option", ["bars", "fills", "trades", "decisions", "equity", "ticks"])
@pytest.mark.parametrize("there", ["journal", "tape", "text", "other table"])
def test_an_output_destroys_nothing_else(capsys: Capture, tape: Path, tmp_path: Path, option: str, there: str) -> None:
    """A day's journal, another tape, a model: named by a slip of the pen they stay; its own table is written anew."""
    place, asked = tmp_path / "there", ["replay", str(tape), "--strategy", "rules", *SET]
    if there == "journal":
        assert main([*asked, "--journal", str(place)]) == 0
    elif there == "other table":
        pq.write_table(pa.table({"ts": [1], "close": [800.0]}), place)
    else:
        place.write_bytes(tape.read_bytes() if there == "tape" else b"anything")
    capsys.readouterr()
    before = place.read_bytes()
    if (there, option) != ("tape", "ticks"):
        what = "no tape" if option == "ticks" else f"no table of {option}"
        line = refusal(capsys, *asked, f"--{option}-out", str(place))
        assert line == f"error: {place}: is there and holds {what}; name another place, or delete it first"
        assert place.read_bytes() == before


def test_what_a_replay_wrote_it_writes_anew(tape: Path, tmp_path: Path) -> None:
    """Whole and under its own name, a link followed to where it leads, also in the place of an older version's."""
    options = ("bars", "fills", "trades", "decisions", "equity", "ticks")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trades").symlink_to(tmp_path / "elsewhere" / "trades")
    asked = [part for name in options for part in (f"--{name}-out", str(tmp_path / name))]
    assert main(["replay", str(tape), "--strategy", "rules", *SET, *asked]) == 0
    first = {name: (tmp_path / name).read_bytes() for name in options}
    older = pq.read_table(tmp_path / "decisions").drop_columns(["cost_bp"])
    pq.write_table(older, tmp_path / "decisions")
    (tmp_path / "equity").write_bytes(b"")
    assert main(["replay", str(tape), "--strategy", "rules", *SET, *asked]) == 0
    assert {name: (tmp_path / name).read_bytes() for name in options} == first
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*options, "elsewhere"])
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["trades"]


def test_the_journal_that_is_compared_with_is_no_place_for_a_table(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """What a day left behind isn't lost to a slip of the pen."""
    journal = tmp_path / "day.sqlite"
    assert main(["replay", str(tape), "--strategy", "rules", *SET, "--journal", str(journal)]) == 0
    capsys.readouterr()
    before = journal.read_bytes()
    for how in (["--against", str(journal)], [str(tape), *SET, "--latency", f"recorded:{journal}"]):
        assert f"{journal}: is there and holds no table of fills" in refusal(
            capsys, "replay", *how, "--fills-out", str(journal)
        )
        assert journal.read_bytes() == before


@pytest.mark.parametrize("path", ["none", "text", "empty"])
def test_verify_refuses_what_is_no_journal(capsys: Capture, tmp_path: Path, path: str) -> None:
    """One line that names the file."""
    (tmp_path / "text").write_text("no journal at all, but text")
    (tmp_path / "empty").write_text("")
    line = refusal(capsys, "verify", str(tmp_path / path))
    assert str(tmp_path / path) in line


def hrmd(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """The real command in a process of its own."""
    command = [sys.executable, "-c", "import sys; from daemon.cli import main; sys.exit(main())", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.slow
def test_a_mistake_in_a_process_of_its_own() -> None:
    """Exit 2, one line, no traceback, nothing on stdout."""
    child = hrmd("replay", "/nowhere.parquet")
    out, err = child.communicate(timeout=100)
    assert (child.returncode, out) == (2, "")
    assert err == "error: /nowhere.parquet: no such tape; expected a Parquet file as `hrmd tape import` writes it\n"


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(tape: Path) -> None:
    """As under `hrmd replay --json | head`: quiet, whatever was still to be printed."""
    child = hrmd("replay", str(tape), *SET, "--json", "--set", "log.level=error")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(100) == 0
    child.stderr.close()


@pytest.mark.slow
def test_interrupting_a_replay_leaves_a_readable_journal(tmp_path: Path) -> None:
    """Ctrl-C: exit 130, the summary of what was done, and a journal without gaps that can be verified."""
    times, prices = wave(375, days=3, every_s=1)
    tape, journal = write_tape(tmp_path / "long.parquet", times, prices), tmp_path / "j.sqlite"
    changes = [argument for change in (*HRM, "strategy.interval=1m") for argument in ("--set", change)]
    child = hrmd("replay", str(tape), *changes, "--json", "--journal", str(journal))
    assert child.stderr is not None
    for line in child.stderr:
        if "connected" in line:
            break
    while not journal.exists() or not _decisions(journal):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=100)
    assert child.returncode == 130
    document = json.loads(out)
    assert document["notes"][-1] == "interrupted: the tape was not played to its end"
    decisions = journaled(journal, Decision)
    assert 0 < len(decisions) == document["decisions"] < 3 * 375
    db = sqlite3.connect(journal)
    count, last = db.execute("SELECT COUNT(*), MAX(seq) FROM events").fetchone()
    db.close()
    assert count == last
    assert main(["verify", str(journal)]) == 0


def _decisions(journal: Path) -> int:
    """How many decisions are on disk by now."""
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT COUNT(*) FROM events WHERE type = 'Decision'").fetchone()[0])
    except sqlite3.OperationalError:  # its tables are still being made
        return 0
    finally:
        db.close()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_disk_that_is_full_in_the_end_loses_no_result(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tape: Path, tmp_path: Path, form: list[str]
) -> None:
    """What it came to is told, the other tables are written, and one line names what isn't."""
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "bars":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    places = ["--bars-out", str(tmp_path / "bars"), "--fills-out", str(tmp_path / "fills")]
    assert main(["replay", str(tape), "--strategy", "rules", *SET, *places, *form]) == 3  # no mistake of who asked
    printed = capsys.readouterr()
    assert f"error: {tmp_path / 'bars'}: can't be written (No space left on device)" in printed.err
    assert ("net_pnl" if form else "net P&L") in printed.out
    assert pq.read_table(tmp_path / "fills").num_rows > 0
    assert os.listdir(tmp_path) == ["fills"]
