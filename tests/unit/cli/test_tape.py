"""`hrmd tape` from the user's side: what it prints, and how it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.cli import main
from daemon.cli.tape import sparkline
from daemon.tape.format import TapeReader

SMALL = ["--sessions", "1", "--ticks", "300"]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run a command with `--json`; its one document."""
    assert main([*arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail as bad usage; its one line."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


@pytest.fixture
def tape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Simulate a small tape."""
    path = tmp_path / "sim.parquet"
    assert main(["tape", "simulate", "--out", str(path), *SMALL]) == 0
    capsys.readouterr()
    return path


def test_simulate_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document names symbols, sessions and seed, and a second run with the seed makes the same ticks."""
    made = []
    for name in ("a.parquet", "b.parquet"):
        document = run_json(
            capsys, "tape", "simulate", "--out", str(tmp_path / name), *SMALL, "--seed", "4",
            "--symbol", "NSE:SBIN-EQ=820", "--symbol", "NIFTY=25000", "--start", "2026-01-24",
        )  # fmt: skip
        made.append((tmp_path / name).read_bytes())

    assert document["rows"] == 600
    assert document["symbols"] == ["NSE:SBIN-EQ", "NIFTY"]
    assert document["sessions"] == ["2026-01-27"]  # the 24th is a Saturday, the 26th Republic Day
    assert (document["seed"], document["simulated"]) == (4, True)
    assert made[0] == made[1]


def test_simulated_tapes_say_so(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the tape's own notes, in the JSON and on the terminal."""
    assert TapeReader([tape]).notes["simulated"] == "true"
    assert run_json(capsys, "tape", "info", str(tape))["simulated"] is True
    assert main(["tape", "info", str(tape)]) == 0
    assert "simulated (seed 1): not market prices" in capsys.readouterr().out


def test_info_on_the_terminal(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Symbols with a picture of their prices, the span in Indian time, and the quality counts."""
    assert main(["tape", "info", str(tape)]) == 0

    printed = capsys.readouterr().out
    assert "600 ticks" in printed
    assert "NSE:RELIANCE-EQ" in printed
    assert any(bar in printed for bar in "▁▂▃▄▅▆▇█")
    assert "2026-01-05 09:15" in printed
    assert "outside_session" in printed
    assert "volume_fell" in printed


def test_info_reads_the_settings(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts are those of a replay with the same settings: here no symbol is listed, and none inferred."""
    survey = run_json(
        capsys, "tape", "info", str(tape), "--set", "market.unlisted=reject", "--set", "market.instruments=[]"
    )

    assert survey["rejected"]["unknown_symbol"] == survey["rows"] == 600
    assert main(["tape", "info", str(tape), "--set", "market.unlisted=reject", "--set", "market.instruments=[]"]) == 0


def test_info_without_any_valid_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tape of broken stamps can be looked at, too."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"ts_event": pa.array([0]), "symbol": ["NSE:SBIN-EQ"], "ltp": [1.0]}), path)

    assert main(["tape", "info", str(path)]) == 0
    assert "no valid time, 0 sessions" in capsys.readouterr().out


def test_info_of_nameless_and_timeless_ticks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an import could not read is there, and visible."""
    source = tmp_path / "t.csv"
    source.write_text("ts_event,symbol,ltp\n1767584700,NSE:SBIN-EQ,1\n0,,1\n")
    path = tmp_path / "t.parquet"
    assert main(["tape", "import", str(source), "--out", str(path)]) == 0
    assert "1 ticks have no valid time: kept as time 0, a replay counts them bad_time" in capsys.readouterr().out

    assert main(["tape", "info", str(path)]) == 0
    assert "(none)" in capsys.readouterr().out


def test_import_reports_each_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it was read from, what was unreadable, and what was skipped."""
    source = tmp_path / "m.jsonl"
    source.write_text(
        '{"type": "cn"}\n{"ltp": 1.5, "when": 1767584700, "symbol": "NSE:SBIN-EQ", "vol_traded_today": "x"}\n'
    )
    out = tmp_path / "t.parquet"

    report = run_json(capsys, "tape", "import", str(source), "--map", "ts_event=when", "--out", str(out))

    assert report["columns"] == {"ts_event": "when", "symbol": "symbol", "ltp": "ltp"}
    assert report["unreadable"] == {"volume": 1}
    assert report["skipped"] == {"control_message": 1}
    assert main(["tape", "import", str(source), "--map", "ts_event=when", "--out", str(out), "--force"]) == 0
    printed = capsys.readouterr().out
    assert "1 ticks of NSE:SBIN-EQ" in printed
    assert "1 lines skipped: control_message" in printed
    assert "numbers, read as s since 1970 UTC" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--symbol", "NSE:SBIN-EQ"], "--symbol NSE:SBIN-EQ: expected SYMBOL=START_PRICE"),
        (["--symbol", "=5"], "--symbol =5: expected SYMBOL=START_PRICE"),
        (["--symbol", "NSE:SBIN-EQ=much"], "expected SYMBOL=START_PRICE, such as NSE:SBIN-EQ=820"),
        (["--symbol", "NSE:SBIN-EQ=nan"], "expected SYMBOL=START_PRICE"),
        (["--symbol", "no such thing=5"], "unknown symbol no such thing"),
        (["--symbol", "NSE:SBIN-EQ=0.5"], "a price of at least 100 ticks of 0.05"),
        (["--symbol", "NSE:SBIN-EQ=5", "--symbol", "NSE:SBIN-EQ=6"], "NSE:SBIN-EQ is named twice"),
        (["--start", "tomorrow"], "--start tomorrow: expected a date such as 2026-01-05"),
        (["--start", "2199-01-05"], "2199-01-05: the market calendar ends on 2099-12-31"),
        (["--ticks", "0"], "--ticks"),
        (["--ticks", "100000000000"], "'--ticks': Input should be less than or equal to 10000000"),
    ],
)
def test_simulate_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """One line repeats the option and says what would be right; nothing is written."""
    assert message in refusal(capsys, "tape", "simulate", "--out", str(tmp_path / "t.parquet"), *SMALL, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cant_be_written(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing tape is safe without `--force`, a source always is, and a directory has to exist."""
    gone = str(tmp_path / "gone" / "t.parquet")

    assert "exists already; --force" in refusal(capsys, "tape", "simulate", "--out", str(tape), *SMALL)
    assert "does not exist" in refusal(capsys, "tape", "simulate", "--out", gone, *SMALL)
    assert "is the source itself" in refusal(capsys, "tape", "import", str(tape), "--out", str(tape), "--force")
    assert main(["tape", "simulate", "--out", str(tape), "--force", *SMALL]) == 0


def test_what_is_no_tape_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and one line, also for options that are none."""
    assert "no such tape" in refusal(capsys, "tape", "info", str(tmp_path / "gone.parquet"))
    assert "expected TAPE_COLUMN=SOURCE_COLUMN" in refusal(
        capsys, "tape", "import", "x.csv", "--out", "y", "--map", "ts"
    )


def test_special_sessions_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A simulated day has no pause: 2021-02-24, the day of the outage, is left out."""
    document = run_json(
        capsys, "tape", "simulate", "--out", str(tmp_path / "t.parquet"), "--start", "2021-02-24", *SMALL
    )

    assert document["sessions"] == ["2021-02-25"]


def test_sparklines() -> None:
    """From the lowest to the highest bar, at most as wide as asked; a flat line is low, nothing is nothing."""
    assert sparkline([1.0, 2.0, 8.0], 10) == "▁▂█"
    assert sparkline(list(range(100)), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0], 8) == "▁▁"
    assert sparkline([], 8) == ""


def test_a_tape_of_days_that_nobody_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is simulated and looked at like any other; stderr says what isn't known, stdout stays one document."""
    tape = tmp_path / "t.parquet"
    start = ("--start", "2026-12-31", "--sessions", "2", "--ticks", "200")
    assert main(["tape", "simulate", "--out", str(tape), *start, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["sessions"] == ["2026-12-31", "2027-01-01"]
    assert printed.err.count("calendar: 2027 is not confirmed") == 1
    assert main(["tape", "info", str(tape), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 800


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_tape_that_is_not_made_to_its_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal that closes, as Ctrl-C: nobody looks for a hidden file of gigabytes."""
    words = [sys.executable, "-m", "daemon", "tape", "simulate", "--out", str(tmp_path / "x.parquet"),
             "--sessions", "240", "--ticks", "100000"]  # fmt: skip
    process = subprocess.Popen(
        ["env", "--default-signal=HUP", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size > 4096 for part in tmp_path.iterdir()):  # its first rows are there
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said.splitlines()[-1], list(tmp_path.iterdir())) == (130, "error: interrupted", [])
