"""`hrmd tape record` and `hrmd tape seal` from the user's side."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.market.calendar import ist_ns
from daemon.tape.format import TapeReader
from daemon.tape.recorded import RecordedDirectory, reel_path
from daemon.tape.reel import ReelWriter
from tests.samples import OPEN, tick, wave, write_tape

DAY = "2026-01-05"


def left_behind(directory: Path, *, torn: bytes = b"") -> Path:
    """A reel that a crash left."""
    directory.mkdir(exist_ok=True)
    path = reel_path(directory, DAY, 1)
    writer = ReelWriter(path)
    writer.append([tick(OPEN, 800.0)])
    writer.abandon()
    with path.open("ab") as stream:
        stream.write(torn)
    return path


def test_a_feed_is_recorded_without_trading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every tick of the feed is on the day's tape at its end, and one JSON document says so."""
    tape = write_tape(tmp_path / "t.parquet", *wave(10))
    changes = (f"feed.tape=[{tape}]", f"feed.record.path={tmp_path}/tapes", "feed.speed=20000", "log.format=json")
    assert main(["tape", "record", "--json", *[part for change in changes for part in ("--set", change)]]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"path": f"{tmp_path}/tapes", "recorded": 120, "lost": 0}
    assert TapeReader([tmp_path / "tapes" / f"{DAY}.parquet"]).rows == 120


def test_a_tape_is_not_recorded_into_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its ticks would be there twice: it is refused, and stays as it was."""
    left_behind(tmp_path / "tapes")
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 0
    day = tmp_path / "tapes" / f"{DAY}.parquet"
    before = day.read_bytes()
    changes = (f"feed.tape=[{day}]", f"feed.record.path={tmp_path}/tapes", "feed.speed=20000")
    assert main(["tape", "record", *[part for change in changes for part in ("--set", change)]]) == 2
    assert f"holds the tape {DAY}.parquet that is played" in capsys.readouterr().err
    assert day.read_bytes() == before
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 0  # nobody holds the place any more


def test_made_up_ticks_are_not_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the recording's tape they would pass for the market's."""
    tape = write_tape(tmp_path / "t.parquet", *wave(10), notes={"simulated": "true"})
    changes = (f"feed.tape=[{tape}]", f"feed.record.path={tmp_path}/tapes", "feed.speed=20000")
    assert main(["tape", "record", *[part for change in changes for part in ("--set", change)]]) == 2
    assert "simulated ticks aren't recorded" in capsys.readouterr().err
    assert not list((tmp_path / "tapes").glob("*.parquet"))


def test_a_day_that_nobody_confirmed_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, on the tape of its day, and the log says once that the year is not confirmed."""
    times, prices = wave(10)
    offset = ist_ns(dt.date(2027, 3, 2), "09:15") - OPEN
    tape = write_tape(tmp_path / "t.parquet", [ts + offset for ts in times], prices)
    changes = (f"feed.tape=[{tape}]", f"feed.record.path={tmp_path}/tapes", "feed.speed=20000", "log.format=json")
    assert main(["tape", "record", "--json", *[part for change in changes for part in ("--set", change)]]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["recorded"] == 120
    assert TapeReader([tmp_path / "tapes" / "2027-03-02.parquet"]).rows == 120
    assert printed.err.count("calendar: 2027 is not confirmed") == 1


def test_without_a_feed_there_is_nothing_to_record(capsys: pytest.CaptureFixture[str]) -> None:
    """The setting is named."""
    assert main(["tape", "record"]) == 2
    assert capsys.readouterr().err.startswith("error: feed.tape: expected at least one tape")


def test_what_a_crash_left_is_sealed_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The day, its ticks and what was torn off; then there is nothing left to do."""
    left_behind(tmp_path / "tapes", torn=b"T torn")
    assert main(["tape", "seal", str(tmp_path / "tapes"), "--json"]) == 0
    (day,) = json.loads(capsys.readouterr().out)
    assert (day["day"], day["ticks"], day["added"], list(day["torn"].values())) == (DAY, 1, 1, [6])
    assert TapeReader([Path(day["tape"])]).rows == 1
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 0
    assert "there is nothing to seal" in capsys.readouterr().out


def test_sealing_shows_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people."""
    left_behind(tmp_path / "tapes")
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 0
    assert DAY in capsys.readouterr().out


def test_a_day_that_cant_be_sealed_keeps_no_other_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reel that is none is named, and stays; the days after it are sealed."""
    left_behind(tmp_path / "tapes")
    bad = reel_path(tmp_path / "tapes", "2026-01-02", 1)
    bad.write_bytes(b"garbage")
    for days in ([DAY], []):
        assert main(["tape", "seal", str(tmp_path / "tapes"), "--json"]) == 2
        told = capsys.readouterr()
        assert [one["day"] for one in json.loads(told.out)] == days
        assert "2026-01-02" in told.err
        assert "not a reel of a recording" in told.err
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 2
    assert "nothing to seal" not in capsys.readouterr().out
    assert bad.exists()


def test_a_recording_that_runs_is_not_sealed_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is a directory that isn't there; both are one line, and the reel stays."""
    path = left_behind(tmp_path / "tapes")
    held = RecordedDirectory(tmp_path / "tapes")
    assert main(["tape", "seal", str(tmp_path / "tapes")]) == 2
    assert "another process records in" in capsys.readouterr().err
    held.release()
    assert path.exists()
    assert main(["tape", "seal", str(tmp_path / "missing")]) == 2
    assert "missing: no such directory" in capsys.readouterr().err


def test_a_directory_that_is_no_recording_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever names another place than that of the settings is told so: reels lie somewhere else, unsealed."""
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "notes.txt").touch()
    assert main(["tape", "seal", str(tmp_path / "wrong")]) == 2
    assert "wrong: nothing was ever recorded there; expected the one" in capsys.readouterr().err
    assert main(["tape", "seal", str(tmp_path / "wrong"), "--set", f"feed.record.path={tmp_path}/wrong"]) == 0


def test_a_timer_leaves_a_recording_that_runs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--if-free`: the process that records seals by itself, so that is no failure; without one all is sealed."""
    path = left_behind(tmp_path / "tapes")
    held = RecordedDirectory(tmp_path / "tapes")
    where = ["--set", f"feed.record.path={tmp_path}/tapes"]
    assert main(["tape", "seal", "--if-free", *where]) == 0
    assert "another process records here" in capsys.readouterr().err
    assert path.exists()
    held.release()
    assert main(["tape", "seal", "--if-free", "--json", *where]) == 0
    assert [day["day"] for day in json.loads(capsys.readouterr().out)] == [DAY]
    assert not path.exists()


def test_nothing_was_ever_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The settings' directory isn't there yet, and isn't made by looking."""
    assert main(["tape", "seal", "--set", f"feed.record.path={tmp_path}/tapes"]) == 0
    assert "there is nothing to seal" in capsys.readouterr().out
    assert not (tmp_path / "tapes").exists()
