"""`hrmd login` before anybody logs in: whose app it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli import main


@pytest.mark.parametrize("app_id", [None, "SANDBOX-100", " sandbox-100 ", "''"])
def test_nobody_logs_in_at_fyers_with_the_sandboxs_app(
    app_id: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what to set; no address is printed, nothing is asked, nothing is written."""
    monkeypatch.chdir(tmp_path)
    given = [] if app_id is None else ["--set", f"broker.fyers.app_id={app_id}"]
    assert main(["login", "--paste", *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: broker.fyers.app_id: ")
    assert "https://api-t1.fyers.in/api/v3" in line
    assert "expected the id of your own app" in line
    assert list(tmp_path.iterdir()) == []


def test_openalgo_needs_no_login_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says where to log in; where its ticks come from Fyers a token is wanted all the same."""
    assert main(["login", "--paste", "--set", "broker.name=openalgo", "--set", "feed.source=openalgo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "OpenAlgo API v1 needs no hrmd login" in line
    assert main(["login", "--paste", "--set", "broker.name=openalgo", "--set", "feed.source=fyers"]) == 2
    assert "broker.fyers.app_id" in capsys.readouterr().err
