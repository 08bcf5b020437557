"""A canary on `hrmd run` as a process: by hand, over kill -9, broken, and promoted."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import (
    BeginCanary,
    CanaryChanged,
    CanaryState,
    Complexity,
    Decision,
    EndCanary,
    Fill,
    ModelLoaded,
    OrderIntent,
    StrategySwapped,
)
from models.agent import HRMAgent
from tests.integration.daemons import PATIENCE_S, Daemon, hrmd, running
from tests.integration.test_model_switch import OURS, store
from tests.integration.test_run import CALM
from tests.samples import journaled, settings_of, wave, write_tape

SBIN, INFY = "NSE:SBIN-EQ", "NSE:INFY-EQ"
PROGRAM = ("-m", "tests.integration.own_candidate", "run")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tapes of a session, and two models."""
    folder = tmp_path_factory.mktemp("canary")
    times, prices = wave(375)
    write_tape(folder / "a.parquet", times, prices)
    write_tape(folder / "b.parquet", times, prices, INFY)
    hrm = settings_of(*OURS).hierarchical_reasoning_model
    for seed, name in enumerate(("one", "two")):
        HRMAgent.untrained(hrm, seed).save_model(folder / f"{name}.safetensors")
    return folder


def shared(place: Path, *changes: str) -> tuple[str, ...]:
    """Two instruments, of which a candidate gets one."""
    tapes = f"feed.tape=[{place}/a.parquet, {place}/b.parquet]"
    return (*CALM, tapes, f"canary.symbols=[{INFY}]", "canary.max_loss_bp=10000", "market.symbol_master.use=never",
            "market.max_overnight_percent=20", *changes)  # fmt: skip


def canary(daemon: Daemon) -> dict[str, Any]:
    """What `/canary` says."""
    document: dict[str, Any] = daemon.get("/canary")[1]
    return document


def refused(daemon: Daemon, *words: str) -> str:
    """The one line that a command of `hrmd ctl canary` ends with."""
    done = hrmd("ctl", "canary", *words, "--url", daemon.url(), "--token-file", str(daemon.token_file))
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.strip().splitlines()
    return line


def decides(daemon: Daemon, who: str, symbol: str, since: int = 0) -> bool:
    """Whether `who` has decided on `symbol`, on a bar after `since`."""
    rows = daemon.get("/decisions?limit=20")[1]
    return any((row["strategy"], row["symbol"]) == (who, symbol) and int(row["ts"]) > since for row in rows)


def check_each_bar_once(journal: Path) -> list[Decision]:
    """None undecided, but for those of the last close, which may be cut off; none decided twice."""
    decisions = journaled(journal, Decision)
    asked = Counter((event.symbol, event.ts) for event in journaled(journal, Complexity))
    decided = Counter((one.symbol, one.ts_bar) for one in decisions)
    assert set(decided.values()) == set(asked.values()) == {1}
    newest = max(one.ts_bar for one in decisions)
    assert set(decided) >= {bar for bar in asked if bar[1] < newest}
    return decisions


def test_a_canary_outlives_kill_9(place: Path, tmp_path: Path) -> None:
    """Begun by hand, who and why in the journal; the next process goes on with the same, and verifies."""
    changes = shared(place, "feed.speed=120", "shadow.agents=[{name: eager, strategy: rules, rules: {fast: 3}}]")
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 4)
        assert "agent: expected one of eager, got 'nobody'" in refused(daemon, "begin", "nobody")
        assert "no canary runs" in refused(daemon, "promote")
        assert canary(daemon)["state"] == "none"
        assert "canary begin accepted" in daemon.ctl("canary", "begin", "eager", "--why", "looks good")
        daemon.until("its decisions", lambda: decides(daemon, "canary:eager", INFY))
        assert "a canary of eager runs" in refused(daemon, "begin", "eager")
        assert "to put eager in charge set strategy.name: rules" in refused(daemon, "promote")
        before = json.loads(daemon.ctl("canary", "--json"))
        assert "eager: running" in daemon.ctl("canary")
        health = {check["name"]: check["text"] for check in daemon.get("/health")[1]["checks"]}
        assert health["canary"].startswith("eager decides on 1 instruments at 0.5 of the size")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(PATIENCE_S)
    (command,) = journaled(daemon.journal, BeginCanary)
    assert (command.agent, command.reason) == ("eager", "looks good")
    assert command.who
    assert not [one for one in journaled(daemon.journal, Decision)
                if one.strategy.startswith("canary:") and one.symbol != INFY]  # fmt: skip
    assert hrmd("verify", str(daemon.journal)).returncode == 0
    (tmp_path / "notify").unlink()
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        daemon.until("its decisions", lambda: decides(daemon, "canary:eager", INFY))
        after = canary(daemon)
        same = ("state", "agent", "symbols", "size", "began_ts", "sessions", "better", "worse", "against")
        assert [after[name] for name in same] == [before[name] for name in same]
        assert after["reason"] == "as before the restart: looks good"
        daemon.ctl("canary", "rollback", "--why", "enough")
        daemon.until("rolled back", lambda: canary(daemon)["state"] == "rolled back")
        since = daemon.status()["decisions"]
        daemon.until("the rules decide", lambda: daemon.status()["decisions"] >= since + 4)
        assert decides(daemon, "rules", INFY)
        assert daemon.terminate() == 0
    check_each_bar_once(daemon.journal)
    (command,) = journaled(daemon.journal, EndCanary)
    assert (command.promote, command.reason) == (False, "enough")
    assert hrmd("verify", str(daemon.journal)).returncode == 0


@pytest.mark.nightly
def test_one_that_raises_is_rolled_back(place: Path, tmp_path: Path) -> None:
    """Within `max_failed_decisions` closes; what it holds is the rules' to close, and the ladder stays where it is."""
    changes = shared(place, "feed.speed=120", "shadow.agents=[{name: own, strategy: rules}]")
    with running(tmp_path, place / "a.parquet", *changes, program=PROGRAM) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 4)
        daemon.ctl("canary", "begin", "own")
        daemon.until("rolled back", lambda: canary(daemon)["state"] == "rolled back")
        assert "ArithmeticError" in canary(daemon)["reason"]
        daemon.until("the rules close it", lambda: any(
            (row["symbol"], row["strategy"], row["state"]) == (INFY, "rules", "FILLED")
            for row in daemon.get("/orders")[1]
        ))  # fmt: skip
        assert daemon.status()["strategy"] == "rules"
        assert daemon.terminate() == 0
    decisions = check_each_bar_once(daemon.journal)
    failed = [one for one in decisions if one.failed]
    assert len(failed) == settings_of().supervisor.max_failed_decisions
    assert {one.strategy for one in failed} == {"canary:own"}
    assert not journaled(daemon.journal, StrategySwapped)
    intents = [it for it in journaled(daemon.journal, OrderIntent) if it.symbol == INFY]
    first = next(n for n, it in enumerate(intents) if it.strategy == "canary:own" and not it.reduces)
    assert intents[first + 1].strategy == "rules"
    filled = {fill.order_id for fill in journaled(daemon.journal, Fill)}
    assert filled >= {it.order_id for it in intents[first : first + 2]}


@pytest.mark.nightly
def test_one_is_promoted_by_the_model_switch(place: Path, tmp_path: Path) -> None:
    """By a person: every bar is decided once, all of them by the new model from one on; a restart has it."""
    for name in ("two", "one"):
        store(place, tmp_path, "install", str(place / f"{name}.safetensors"))
    hrm = tuple(change for change in OURS if change not in CALM)
    changes = shared(
        place, *hrm, "model_management.artifact=store", f"model_management.store={tmp_path}/models", "feed.speed=120",
        f"shadow.agents=[{{name: next, strategy: hrm, artifact: {place}/two.safetensors}}]",
    )  # fmt: skip
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 4)
        one = daemon.status()["inference"]["model_hash"]
        daemon.ctl("canary", "begin", "next")
        daemon.until("its decisions", lambda: decides(daemon, "canary:next", INFY))
        daemon.ctl("canary", "promote", "--why", "it is better")
        daemon.until("promoted", lambda: canary(daemon)["state"] == "promoted")
        since = daemon.status()["decisions"]
        daemon.until("more decisions", lambda: daemon.status()["decisions"] >= since + 6)
        two = daemon.status()["inference"]["model_hash"]
        assert one != two
        assert daemon.terminate() == 0
    decisions = check_each_bar_once(daemon.journal)
    (loaded,) = journaled(daemon.journal, ModelLoaded)
    assert (loaded.before, loaded.model_hash) == (one, two)
    assert {it.model_hash for it in decisions if it.strategy == "canary:next"} == {two}
    assert {it.model_hash for it in decisions if it.strategy == "hrm" and it.ts_bar > loaded.after_bar} == {two}
    assert {it.model_hash for it in decisions if it.strategy == "hrm" and it.ts_bar <= loaded.after_bar} == {one}
    last = journaled(daemon.journal, CanaryChanged)[-1]
    assert last.state is CanaryState.PROMOTED
    assert "canary next: it is better" in last.reason
    done = hrmd("verify", str(daemon.journal), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["decisions"] == len(decisions)
    (tmp_path / "notify").unlink()
    with running(tmp_path, place / "a.parquet", *changes) as daemon:
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 2)
        assert daemon.status()["inference"]["model_hash"] == two
        assert canary(daemon)["state"] == "promoted"
