"""Another model on a running daemon: from one bar on, no bar undecided, and what is refused changes nothing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from daemon.core.events import Complexity, Decision, LoadModel, ModelLoaded, ModelRefused
from models.agent import HRMAgent
from tests.integration.daemons import PATIENCE_S, Daemon, hrmd, running
from tests.integration.test_run import CALM
from tests.samples import journaled, settings_of, wave, write_tape

OURS = (
    *CALM, "strategy.name=hrm", "performance.runtime=torch", "hierarchical_reasoning_model.features.min_bars=2",
    "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]",
    "hierarchical_reasoning_model.act.deadline_ms=2000", "market.max_overnight_percent=20",
)  # fmt: skip
"""A deadline that a busy machine keeps: what is tested is who decides, not how fast."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tapes of a session, three models that fit the settings and one that doesn't."""
    folder = tmp_path_factory.mktemp("switch")
    times, prices = wave(375)
    write_tape(folder / "a.parquet", times, prices)
    write_tape(folder / "b.parquet", times, prices, "NSE:INFY-EQ")
    hrm = settings_of(*OURS).hierarchical_reasoning_model
    for seed, name in enumerate(("one", "two", "three")):
        HRMAgent.untrained(hrm, seed).save_model(folder / f"{name}.safetensors")
    features = hrm.features.model_copy(update={"window": 30})
    HRMAgent.untrained(hrm.model_copy(update={"features": features}), 1).save_model(folder / "other.safetensors")
    return folder


def store(place: Path, directory: Path, *words: str) -> None:
    """A command of `hrmd model` on the store beside the journal."""
    changes = [part for change in (*OURS, f"model_management.store={directory}/models") for part in ("--set", change)]
    done = hrmd("model", *words, *changes)
    assert done.returncode == 0, done.stderr


def switch(daemon: Daemon, *words: str) -> tuple[int, dict[str, object]]:
    """(exit code, answer) of `hrmd ctl model`."""
    where = ("--url", daemon.url(), "--token-file", str(daemon.token_file), "--json")
    done = hrmd("ctl", "model", *words, *where)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def more_decisions(daemon: Daemon, count: int) -> None:
    """So many from now on."""
    before = daemon.status()["decisions"]
    daemon.until(f"{count} more decisions", lambda: daemon.status()["decisions"] >= before + count)


def check_who_decided(journal: Path, first: str) -> None:
    """Each bar once; all decisions up to a switch's bar by the model before it, all later ones by the new one."""
    decisions = journaled(journal, Decision)
    asked = Counter((event.symbol, event.ts) for event in journaled(journal, Complexity))
    decided = Counter((event.symbol, event.ts_bar) for event in decisions)
    assert set(decided.values()) == set(asked.values()) == {1}
    newest = max(decision.ts_bar for decision in decisions)
    assert set(decided) >= {bar for bar in asked if bar[1] < newest}  # those of the last close may be cut off
    switches = journaled(journal, ModelLoaded)
    for decision in decisions:
        in_charge = [event.model_hash for event in switches if event.after_bar < decision.ts_bar]
        assert decision.model_hash == ([first, *in_charge])[-1]


@pytest.mark.nightly
def test_models_are_switched_while_ticks_flow(place: Path, tmp_path: Path) -> None:
    """To a version, to a file, back; a bad one is refused; the journal verifies with all of them."""
    store(place, tmp_path, "install", str(place / "two.safetensors"))
    store(place, tmp_path, "install", str(place / "one.safetensors"))
    changes = (
        *OURS, "model_management.artifact=store", f"model_management.store={tmp_path}/models", "feed.speed=120",
        f"feed.tape=[{place}/a.parquet, {place}/b.parquet]",
    )  # fmt: skip
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 4)
        first = daemon.status()
        assert first["model"].startswith("untrained (one.safetensors")
        code, two = switch(daemon, "load", "two", "--reason", "a test")
        assert (code, two["loaded"], two["after_restart"]) == (0, True, "a restart loads it, too")
        assert daemon.status()["inference"]["model_hash"] == two["model_hash"]
        more_decisions(daemon, 4)
        code, refused = switch(daemon, "load", str(place / "other.safetensors"))
        assert (code, refused["loaded"]) == (1, False)
        assert "configuration differs from settings: features.window: 30 != 60" in str(refused["reason"])
        assert switch(daemon, "load", "nope")[0] == 1
        more_decisions(daemon, 4)
        code, three = switch(daemon, "load", str(place / "three.safetensors"))
        assert (code, three["before"]) == (0, two["model_hash"])
        assert three["after_restart"] == f"a restart loads the current one of {tmp_path}/models"
        more_decisions(daemon, 4)
        code, back = switch(daemon, "rollback")
        assert (code, back["model_hash"]) == (0, two["model_hash"])
        more_decisions(daemon, 4)
        assert daemon.terminate() == 0
    check_who_decided(daemon.journal, first["inference"]["model_hash"])
    commands = journaled(daemon.journal, LoadModel)
    assert [command.reason for command in commands] == ["a test", *["by the operator"] * 4]
    assert all(command.who for command in commands)
    assert [event.model for event in journaled(daemon.journal, ModelRefused)] == [
        str(place / "other.safetensors"), "nope",
    ]  # fmt: skip
    verified(place, daemon, two)
    restarted(place, tmp_path, changes, two)


def verified(place: Path, daemon: Daemon, two: dict[str, object]) -> None:
    """With all models; without one it says from where on it can't; with its file beside the journal it can again."""
    done = hrmd("verify", str(daemon.journal), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["decisions"] == len(journaled(daemon.journal, Decision))
    folder = daemon.journal.parent / "models" / "models" / str(two["model_hash"])
    shutil.move(folder, place / "away")
    done = hrmd("verify", str(daemon.journal))
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    decisions = journaled(daemon.journal, Decision)
    number = next(n for n, one in enumerate(decisions, 1) if one.model_hash == two["model_hash"])
    assert f"{number - 1} decisions made again, all equal; from decision {number} (" in line
    assert f"on they can't be: model {two['model_hash']} isn't found" in line
    shutil.copy(place / "away" / "two.safetensors", daemon.journal.parent / "found.safetensors")
    assert hrmd("verify", str(daemon.journal)).returncode == 0
    shutil.move(place / "away", folder)


def restarted(place: Path, directory: Path, changes: tuple[str, ...], two: dict[str, object]) -> None:
    """The next start decides by the model that was switched to."""
    (directory / "notify").unlink()
    with running(directory, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 2)
        assert daemon.status()["inference"]["model_hash"] == two["model_hash"]
        assert not [line for line in daemon.log if line["event"].startswith("another model than before")]
        code, three = switch(daemon, "load", str(place / "three.safetensors"))
        assert code == 0, three
        assert daemon.terminate() == 0
    (directory / "notify").unlink()
    with running(directory, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 2)
        (said,) = [line for line in daemon.log if line["event"].startswith("another model than before")]
        assert said["file"] == str(place / "three.safetensors")
        assert daemon.terminate() == 0


def test_a_daemon_on_an_empty_store_says_so(place: Path, tmp_path: Path) -> None:
    """One line, exit 2."""
    changes = (
        *OURS, "model_management.artifact=store", f"model_management.store={tmp_path}/models",
        "supervisor.strict=true",
    )  # fmt: skip
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        assert daemon.process.wait(PATIENCE_S) == 2
    line = (tmp_path / "log.jsonl").read_text().splitlines()[-1]
    assert line == f"error: {tmp_path}/models: has no current model; hrmd model install FILE puts one there"
