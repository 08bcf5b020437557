"""The backup and the restore of the operations page, as they are written there, on a daemon that trades meanwhile."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from daemon.core.events import Decision
from tests.integration.daemons import ROOT, running
from tests.samples import LIVELY, journaled, wave, write_tape

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=60")


def block(title: str, root: Path) -> str:
    """The commands under a heading, in a root of their own, without the manager of services and its user."""
    (text,) = re.findall(r"```sh\n(.*?)```", PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0], re.S)
    lines = [line for line in text.splitlines() if not line.startswith(("systemctl", "hrmd ctl"))]
    script = "\n".join(lines).replace("-o hrmd -g hrmd ", "").replace("-C / ", f"-C {root} ")
    script = script.replace("/opt/hrmd/.venv/bin/", f"{Path(sys.executable).parent}/")
    return re.sub(r"(?<![\w/])/var/", f"{root}/var/", script)


def run(script: str) -> None:
    """Each line must succeed."""
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of a swinging price."""
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", *wave(375, every_s=1))


def test_a_copy_of_a_running_daemon_is_gone_on_from(tape: Path, tmp_path: Path) -> None:
    """Whole, with what was decided until then; a daemon that gets it back in place begins there."""
    root = tmp_path / "root"
    state, backups = root / "var/lib/hrmd/var", root / "var/backups/hrmd"
    state.mkdir(parents=True)
    (root / "etc/hrmd").mkdir(parents=True)
    (root / "etc/hrmd/settings.yaml").write_text("{}\n", encoding="utf-8")
    journal = state / "journal.sqlite"
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(first, tape, *CALM, f"journal.path={journal}") as daemon:
        daemon.until("decided", lambda: daemon.status()["decisions"] > 3)
        run(block("Back up", root))
        daemon.until("went on", lambda: daemon.status()["decisions"] > 6)
        assert daemon.terminate() == 0
    (copy,) = backups.glob("journal-*.sqlite")
    (archive,) = backups.glob("files-*.tar.gz")
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    kept = journaled(copy, Decision)
    assert len(kept) >= 3
    assert kept == journaled(journal, Decision)[: len(kept)]
    names = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert "etc/hrmd/settings.yaml" in names
    assert not [name for name in names if "journal.sqlite" in name]

    run(block("Restore", root).replace("journal-2026-01-05.sqlite", copy.name))
    assert (state / "before/journal.sqlite").exists()
    with running(second, tape, *CALM, f"journal.path={journal}") as daemon:
        (recovered,) = daemon.until("recovered", lambda: [it for it in daemon.log if it["event"] == "recovered"])
        assert recovered["records"] > 0
        assert daemon.terminate() == 0
