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
    ],
)
def test_refused(capsys: Capture, tmp_path: Path, arguments: list[str], why: str) -> None:
    """One line, exit 2, nothing written."""
    (tmp_path / "token").write_text("t")
    out = tmp_path / "bars.parquet"
    code = main(
        ["history", "download", *arguments, "-o", str(out), "--set", f"broker.fyers.token_file={tmp_path}/token"]
    )
    assert (code, list(tmp_path.iterdir())) == (2, [tmp_path / "token"])
    assert why in capsys.readouterr().err


def test_a_file_that_is_there(capsys: Capture, tmp_path: Path) -> None:
    """Isn't overwritten without --force."""
    out = tmp_path / "bars.parquet"
    out.write_text("")
    assert main(["history", "download", "NSE:SBIN-EQ", "--from", "2026-01-05", "-o", str(out)]) == 2
    assert "--force overwrites it" in capsys.readouterr().err
