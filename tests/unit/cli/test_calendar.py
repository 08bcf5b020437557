"""`hrmd calendar`: a year is shown, NSE's list is taken, and what is refused leaves the file as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from tests.samples import hill, write_tape
from tests.unit.market.test_holiday_list import DAYS, rows

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of 2027."""
    path = tmp_path / "holidays.json"
    path.write_text(json.dumps({"CM": rows(DAYS)}))
    return path


def calendar(*arguments: str | Path, file: Path | None = None) -> int:
    """The exit code of `hrmd calendar …` with that calendar file."""
    change = [] if file is None else ["--set", f"market.calendar_file={file}"]
    return main(["calendar", *map(str, arguments), *change])


def shown(capsys: Capture, *arguments: str, file: Path | None = None) -> dict[str, Any]:
    """What `hrmd calendar show --json` says."""
    assert calendar("show", *arguments, "--json", file=file) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_year_of_the_table(capsys: Capture) -> None:
    """Its holidays by name, its special sessions with their hours, nothing in doubt; as a table, too."""
    found = shown(capsys, "2026")
    assert (found["sessions"], found["doubt"], found["confirmed_to"]) == (246, "", "2026-12-31")
    assert {"date": "2026-11-24", "weekday": "Tue", "name": "Guru Nanak Jayanti", "parts": []} in found["holidays"]
    assert found["special_sessions"] == [
        {"date": "2026-02-01", "weekday": "Sun", "name": "Budget Sunday", "parts": [["09:15", "15:30"]]}
    ]
    assert calendar("show", "2026") == 0
    printed = capsys.readouterr().out
    assert "NSE in 2026: 246 sessions" in printed
    assert "09:15-15:30" in printed


def test_a_year_that_nobody_confirmed(capsys: Capture) -> None:
    """The holidays of fixed date, and the doubt."""
    found = shown(capsys, "2027")
    assert "2027 is not confirmed" in found["doubt"]
    assert [day["date"][5:] for day in found["holidays"]] == ["01-26", "04-14", "05-01", "08-15", "10-02", "12-25"]
    assert calendar("show", "2027") == 0
    assert found["doubt"] in capsys.readouterr().out


def test_a_new_year_is_taken(capsys: Capture, tmp_path: Path, listed: Path) -> None:
    """Shown first with --dry-run, then written, then nothing changes any more; and the calendar has it."""
    file = tmp_path / "calendar.yaml"
    assert calendar("update", "--from", listed, "--dry-run", file=file) == 0
    assert "+ 2027-03-22 Mon Holi" in capsys.readouterr().out
    assert not file.exists()
    assert calendar("update", "--from", listed, file=file) == 0
    assert f"{file}: written" in capsys.readouterr().out
    assert "  2027-03-22: Holi\n" in file.read_text()
    assert calendar("update", "--from", listed, "--json", file=file) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["written"], again["changes"], again["confirmed_to"]) == (False, [], "2027-12-31")
    assert calendar("update", "--from", listed, file=file) == 0
    assert f"{file}: nothing changes" in capsys.readouterr().out
    found = shown(capsys, "2027", file=file)
    assert (found["doubt"], len(found["holidays"]), found["sessions"]) == ("", 5, 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "2009"], "2009: expected a year from 2010 to 2099"),
        (["show", "2100"], "2100: expected a year from 2010 to 2099"),
        (["show", "next"], "Invalid value for 'year'"),
        (["update"], "Missing option '--from'"),
        (["update", "--from", "nowhere.csv"], "--from nowhere.csv: No such file"),
    ],
)
def test_what_can_not_be_meant(capsys: Capture, tmp_path: Path, arguments: list[str], message: str) -> None:
    """One line, exit 2."""
    assert calendar(*arguments, file=tmp_path / "calendar.yaml" if "update" in arguments else None) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err


def test_without_a_place_for_it(capsys: Capture, listed: Path) -> None:
    """The setting is named."""
    assert calendar("update", "--from", listed) == 2
    assert "market.calendar_file: is not set" in capsys.readouterr().err


def test_nonsense_leaves_the_file_as_it_was(capsys: Capture, tmp_path: Path, listed: Path) -> None:
    """A list that is none, and a file that isn't a calendar."""
    file = tmp_path / "calendar.yaml"
    assert calendar("update", "--from", listed, file=file) == 0
    before = file.read_text()
    listed.write_text(json.dumps({"CM": rows(DAYS)[:3]}))
    assert calendar("update", "--from", listed, file=file) == 2
    assert "3 holidays of 2027; expected 5 to 30" in capsys.readouterr().err
    assert file.read_text() == before
    file.write_text("risk: {}\n")
    listed.write_text(json.dumps(rows(DAYS)))
    assert calendar("update", "--from", listed, file=file) == 2
    assert "calendar.yaml: risk: no such key" in capsys.readouterr().err
    assert file.read_text() == "risk: {}\n"


@pytest.mark.parametrize("command", [["calendar", "show"], ["run"], ["tape", "record"], ["sandbox", "--port", "0"],
                                     ["replay", "t.parquet"]])  # fmt: skip
def test_a_bad_file_stops_every_command_that_needs_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """In one line that names setting and file, exit 2."""
    monkeypatch.chdir(tmp_path)
    write_tape(tmp_path / "t.parquet", *hill())
    (tmp_path / "bad.yaml").write_text("holiday: []\n")
    changes = ("market.calendar_file=bad.yaml", "feed.tape=[t.parquet]", "strategy.name=rules")
    assert main([*command, *[word for change in changes for word in ("--set", change)]]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith("error: market.calendar_file: bad.yaml: holiday: no such key (did you mean holidays?)")


def test_check_names_a_bad_file(capsys: Capture, tmp_path: Path) -> None:
    """Exit 1, as everything that check finds."""
    changes = (f"market.calendar_file={tmp_path}/none.yaml", "strategy.name=rules", "control.enabled=false")
    assert main(["check", "--json", *[word for change in changes for word in ("--set", change)]]) == 1
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["calendar"]["state"] == "fail"
    assert found["calendar"]["text"] == f"market.calendar_file: {tmp_path}/none.yaml: No such file or directory"
