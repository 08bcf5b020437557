"""`hrmd history download`: what it refuses before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["NSE:SBIN-EQ", "--from", "2026-01-05", "--interval", "7m"], "--interval 7m: expected one of 1m, 3m"),
        (["NSE:SBIN-EQ", "--from", "monday"], "--from monday: expected a date"),
        (["NSE:NIFTY-FUT1", "--from", "2026-01-05"], "hrmd instruments show NSE:NIFTY-FUT1 tells it"),
        (["NSE:SBIN-EQ", "--from", "2026-01-05", "--to", "2026-01-04"], "not before --from 2026-01-05"),
        (["NSE:SBIN-EQ", "--from", "2016-01-05", "--to", "2016-02-05"], "bars of minutes from 2017-07-03 on"),
        (["NSE:SBIN-EQ", "--from", "9999-01-05", "--to", "9999-02-05"], "--from 9999-01-05: expected a day up to 2"),
        (["NSE:SBIN-EQ", "--from", "9999-01-05"], "--from 9999-01-05: expected a day up to 2"),
        (["SBIN", "--from", "2026-01-05"], "symbol SBIN: expected one such as NSE:SBIN-EQ"),
    ],
)
def test_refused(capsys: Capture, tmp_path: Path, arguments: list[str], why: str) -> None:
    """One line, exit 2, nothing written, and no word about a token."""
    out = tmp_path / "bars.parquet"
    code = main(["history", "download", *arguments, "-o", str(out), "--set", "broker.fyers.token_file=/nowhere"])
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert why in capsys.readouterr().err


def test_a_directory_is_no_file(capsys: Capture, tmp_path: Path) -> None:
    """It is said before anything is downloaded for it."""
    assert main(["history", "download", "NSE:SBIN-EQ", "--from", "2026-01-05", "-o", str(tmp_path), "--force"]) == 2
    assert "is a directory; name a file to write" in capsys.readouterr().err


def test_a_file_that_is_there(capsys: Capture, tmp_path: Path) -> None:
    """Isn't overwritten without --force."""
    out = tmp_path / "bars.parquet"
    out.write_text("")
    assert main(["history", "download", "NSE:SBIN-EQ", "--from", "2026-01-05", "-o", str(out)]) == 2
    assert "--force overwrites it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["history", "login"])
def test_nothing_goes_out_in_the_clear(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Whoever shows a token or the app's secret to an address beyond this machine is refused before it does."""
    monkeypatch.setenv("FYERS_SECRET_KEY", "secret")
    clear = ["--set", "broker.fyers.api_url=http://api-t1.fyers.in/api/v3"]
    arguments = ["history", "download", "NSE:SBIN-EQ", "--from", "2026-01-05", "-o", str(tmp_path / "bars.parquet")]
    assert main([*(arguments if command == "history" else ["login", "--paste"]), *clear]) == 2
    assert "broker.fyers.api_url: expected https:// or wss://" in capsys.readouterr().err
