"""The metrics of a daemon that runs: whatever rules and dashboard ask for is there, and promtool has nothing to say."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.integration.daemons import Daemon, running
from tests.integration.test_run import CALM
from tests.samples import wave, write_tape
from tests.unit.test_monitoring import asked, names

OF_A_BROKER = {"hrmd_token_seconds_left"}
"""Those that a daemon on paper doesn't have."""


def scraped(daemon: Daemon) -> str:
    """As Prometheus gets it."""
    headers = {"Authorization": f"Bearer {daemon.token_file.read_text().strip()}"}
    with urllib.request.urlopen(urllib.request.Request(daemon.url() + "/metrics", headers=headers)) as answer:
        text: str = answer.read().decode()
    return text


def test_a_running_daemon_has_what_is_asked_for(tmp_path: Path) -> None:
    """With a model, a shadow agent and a recorder, as soon as it has decided; money and queues with their values."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=1))
    changes = (
        *CALM, "strategy.name=hrm", "feed.speed=100", "feed.record.when=always", f"feed.record.path={tmp_path}/tapes",
        "shadow.agents=[{name: fast, strategy: rules}]", "supervisor.triggers.baseline=fast",
    )  # fmt: skip
    with running(tmp_path, tape, *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 5)
        daemon.until("all of it", lambda: asked() - OF_A_BROKER <= names(scraped(daemon)))
        text = scraped(daemon)
        assert daemon.terminate() == 0
    for start in ('hrmd_inbox_events{stage="risk"} ', 'hrmd_exposure_rupees{kind="gross"} ', "hrmd_depth_saved_ratio ",
                  'hrmd_build_info{', "process_cpu_seconds_total "):  # fmt: skip
        assert any(line.startswith(start) for line in text.splitlines()), start
    assert "NSE:" not in text
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
