"""A user's eight lines in charge of a daemon as a process, with the same class beside it in the shadow."""

from __future__ import annotations

from pathlib import Path

from daemon.core.events import Decision
from tests.integration.daemons import hrmd, running
from tests.own_classes import NAME, own, write_class
from tests.samples import journaled, wave, write_tape


def test_a_day_with_a_class_of_ones_own(tmp_path: Path) -> None:
    """It decides, its shadow does, and what was journaled is verified from the file."""
    write_class(tmp_path / "mine")
    tape = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=2))
    agents = f"shadow.agents=[{{name: slower, strategy: '{NAME}', parameters: {{bars: 8}}}}]"
    with running(tmp_path, tape, *own(tmp_path / "mine", NAME, agents), "feed.speed=300") as daemon:
        daemon.until("a decision of the shadow", lambda: daemon.get("/shadow")[1][1]["decisions"] >= 5)
        assert daemon.get("/shadow")[1][1]["strategy"] == NAME
        daemon.until("a position", lambda: daemon.status()["open_positions"])
    decisions = journaled(tmp_path / "j.sqlite", Decision)
    assert {decision.strategy for decision in decisions} == {NAME}
    assert not [decision for decision in decisions if decision.failed]
    verified = hrmd("verify", str(tmp_path / "j.sqlite"))
    assert (verified.returncode, f"{len(decisions)} decisions made again" in verified.stdout) == (0, True)
