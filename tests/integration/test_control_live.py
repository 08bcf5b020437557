"""The control API of a whole process: settings that were changed outlive it, and the journal knows who did what."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from daemon.core.events import ControlAction, SettingChanged
from tests.integration.daemons import PATIENCE_S, Daemon, hrmd, running
from tests.samples import LIVELY, journaled, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=60")


def put(daemon: Daemon, token: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of PUT /api/config."""
    request = urllib.request.Request(
        f"{daemon.url()}/api/config", json.dumps(body).encode(), {"Authorization": f"Bearer {token}"}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        document: dict[str, Any] = json.loads(answer.read())
        return document


def test_a_limit_that_was_tightened_outlives_the_process(tmp_path: Path) -> None:
    """By a token made while it runs; the next process has the limit, and the journal who set it."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=1))
    tokens = f"control.tokens_file={tmp_path / 'tokens'}"
    with running(tmp_path, tape, *CALM, tokens) as daemon:
        daemon.until("trading", lambda: daemon.status()["ticks_accepted"])
        made = hrmd("token", "new", "anna", "--scope", "admin", "--set", tokens, "--json")
        put(daemon, json.loads(made.stdout)["token"], {"changes": {"risk.max_daily_loss": "777"}, "reason": "a test"})
        assert daemon.get("/bars?limit=1")[0] == 200
        assert daemon.terminate() == 0
    (change,) = journaled(daemon.journal, SettingChanged)
    assert (change.who, change.key, change.after, change.reason) == ("anna", "risk.max_daily_loss", '"777"', "a test")
    assert [(it.who, it.what, it.status) for it in journaled(daemon.journal, ControlAction)] == [
        ("anna", "PUT /api/config", 200)
    ]  # fmt: skip
    (tmp_path / "notify").unlink()
    with running(tmp_path, tape, *CALM, tokens) as again:
        rows = again.get("/api/config")[1]["changeable"]
        assert {row["key"]: row["value"] for row in rows}["risk.max_daily_loss"] == "777"
