"""Tests of `hrmd bench replay` and `hrmd bench train`: what they count, never how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.benchmark.training import training_speed
from daemon.cli import main
from daemon.cli.replay_speed import replay_speed
from daemon.settings.loading import load_settings

Capture = pytest.CaptureFixture[str]


def test_a_tape_of_the_user_is_replayed_as_ever(tmp_path: Path, capsys: Capture) -> None:
    """The same ticks, decisions and fills as `hrmd replay` has; the round before those that count isn't one of them."""
    tape = tmp_path / "t.parquet"
    main(["tape", "simulate", "--out", str(tape), "--sessions", "1", "--ticks", "2000"])
    capsys.readouterr()
    main(["replay", str(tape), "--strategy", "rules", "--json"])
    replayed = json.loads(capsys.readouterr().out)
    told: list[str] = []
    speed = replay_speed(load_settings(None, ["strategy.name=rules"]), [tape], 1, 2, told.append)
    assert told == ["warming up", "round 1 of 2", "round 2 of 2", ""]
    assert speed.tapes == [str(tape)]
    for name in ("ticks", "bars", "decisions", "orders", "fills", "decisions_sha256", "strategy", "interval"):
        assert getattr(speed, name) == replayed[name]
    assert speed.ticks_per_s_worst <= speed.ticks_per_s <= speed.ticks_per_s_best
    assert speed.simulated


def test_without_a_tape_one_is_simulated(capsys: Capture) -> None:
    """Of so many ticks, by the strategy that is asked for."""
    main(["bench", "replay", "--ticks", "3000", "--rounds", "1", "--strategy", "rules"])
    said = capsys.readouterr().out
    assert said.startswith("3,000 simulated ticks, ")
    assert "decisions of rules on 5m bars" in said
    assert "the median of 1 round" in said


def test_training_is_counted_in_sessions() -> None:
    """One step before those that count; the settings' own network."""
    changes = ["training_params.batch_sessions=2", "deep_supervision.segments=1"]
    told: list[str] = []
    speed = training_speed(load_settings(None, changes), 2, told.append)
    assert told == ["step 0 of 2", "step 1 of 2", "step 2 of 2", ""]
    assert (speed.profile, speed.sessions, speed.segments, speed.parameters) == ("tiny", 2, 1, 41_141)
    assert speed.sessions_per_s == pytest.approx(2 / speed.step_s)
