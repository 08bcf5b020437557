"""A daemon's day, lived by the machine's clock on a fast tape, comes out of a replay again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.core.events import Fill
from daemon.run.service import Service
from tests.samples import LIVELY, MINUTE, journaled, settings_of, wave, write_tape


def test_a_lived_day_comes_out_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty minutes in ten seconds: every decision, order, price and position, whatever the machine's clock said."""
    times, prices = wave(20)  # moved to the afternoon: the daemon goes on until the close
    tape = write_tape(tmp_path / "t.parquet", [ts + 315 * MINUTE for ts in times], prices)
    journal = tmp_path / "j.sqlite"
    settings = settings_of(
        *LIVELY, f"feed.tape=['{tape}']", "feed.source=tape", "feed.speed=120", f"journal.path={journal}",
        "control.enabled=false", "broker.name=paper",
    )  # fmt: skip
    asyncio.run(Service(settings).run())
    assert len(journaled(journal, Fill)) > 2
    capsys.readouterr()
    assert main(["replay", "--against", str(journal), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["lived"], document["equal"]) == (True, True)
    assert document["events"]["Fill"] == len(journaled(journal, Fill))
    assert main(["replay", "--against", str(journal), "--set", "broker.paper.slippage_bp=5", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["difference"]["kind"] == "Fill"
    assert document["causes"][0]["what"] == "settings"
