"""The daemon as it runs in production: started, asked, halted, flattened, resumed, and ended by systemd."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from daemon.core.events import (
    Fill,
    Flatten,
    Halt,
    OrderIntent,
    PositionChanged,
    Resume,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.reader import JournalReader
from tests.integration.daemons import PATIENCE_S, hrmd, running
from tests.samples import LIVELY, journaled, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000")
"""On a fast tape a slow machine's hiccup is minutes of market time: no reason to stop trading in a test."""


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session of a swinging price, a tick each second."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(375, every_s=1))


def held(journal: Path) -> int:
    """The position that the journal ends with; it must be the sum of the fills."""
    total = sum(fill.side.sign * fill.quantity for fill in journaled(journal, Fill))
    positions = journaled(journal, PositionChanged)
    assert (positions[-1].quantity if positions else 0) == total
    return int(total)


def pending(journal: Path) -> list[str]:
    """Orders without an end."""
    reader = JournalReader(journal)
    try:
        return reader.pending()
    finally:
        reader.close()


def test_a_day_in_the_life(tape: Path, tmp_path: Path) -> None:
    """Healthy, trading, halted, flat, trading again, and ended with nothing pending; systemd heard of it all."""
    with running(tmp_path, tape, *CALM, "feed.speed=300") as daemon:
        well = (200, {"healthy": True, "state": "healthy", "reasons": [], "warnings": []})
        daemon.until("it is healthy", lambda: daemon.get("/healthz", token=False) == well)
        assert daemon.get("/status", token=False)[0] == 401
        daemon.until("a position", lambda: daemon.status()["open_positions"])
        status = daemon.status()
        assert status["trading_state"] == "ACTIVE"
        assert status["strategy"] == "rules"
        assert "paper" in status["mode"]

        assert "halt accepted" in daemon.ctl("halt", "--reason", "a test")
        daemon.until("halted", lambda: daemon.status()["trading_state"] == "HALTED")
        halted = daemon.status()
        assert halted["trading_reason"] == "a test"
        daemon.until("ten more decisions", lambda: daemon.status()["decisions"] >= halted["decisions"] + 10)

        daemon.ctl("flatten")
        daemon.until("flat", lambda: not daemon.status()["open_positions"])
        assert daemon.get("/positions")[1][0]["quantity"] == 0

        daemon.ctl("resume")
        daemon.until("a new position", lambda: daemon.status()["open_positions"])
        daemon.until("a watchdog", lambda: "WATCHDOG=1" in daemon.heard())
        assert json.loads(daemon.ctl("status", "--json"))["trading_state"] == "ACTIVE"
        assert daemon.terminate() == 0
        notices = daemon.heard()

    assert [notice.partition("=")[0] for notice in notices[:2]] == ["EXTEND_TIMEOUT_USEC", "READY"]
    first = next(number for number, notice in enumerate(notices) if notice.startswith("STOPPING=1\n"))
    after = {notice.partition("\n")[0] for notice in notices[first:]}
    assert after <= {"STOPPING=1", "WATCHDOG=1"}  # a slow end is still alive, and never ready again
    assert pending(daemon.journal) == []
    stopped = next(line for line in daemon.log if line["event"] == "stopped")
    assert bool(held(daemon.journal)) == bool(stopped["positions"])
    assert [event.reason for event in journaled(daemon.journal, Halt)] == ["a test", "SIGTERM received"]
    assert len(journaled(daemon.journal, Flatten, Resume)) == 2
    assert [event.state for event in journaled(daemon.journal, TradingStateChanged)] == [
        TradingState.HALTED, TradingState.ACTIVE, TradingState.HALTED,
    ]  # fmt: skip
    opened_while_halted(daemon.journal)


def opened_while_halted(journal: Path) -> None:
    """Between halt and resume no fill opened anything."""
    state = TradingState.ACTIVE
    entries: dict[str, TradingState] = {}
    for event in journaled(journal, TradingStateChanged, OrderIntent, Fill):
        if isinstance(event, TradingStateChanged):
            state = event.state
        elif isinstance(event, OrderIntent) and not event.reduces:
            entries[event.order_id] = state
        elif isinstance(event, Fill) and event.order_id in entries:
            assert entries[event.order_id] is TradingState.ACTIVE


def test_a_tape_that_ends_ends_the_run(tmp_path: Path) -> None:
    """Exit 0 at the end of the day, nothing pending, and the decisions can be made again."""
    short = write_tape(tmp_path / "short.parquet", *wave(4, every_s=1))
    with running(tmp_path, short, *CALM, "feed.speed=20000") as daemon:
        assert daemon.process.wait(PATIENCE_S) == 0
        assert daemon.process.stdout is not None
        assert daemon.process.stdout.read() == ""
    assert pending(daemon.journal) == []
    done = hrmd("verify", str(daemon.journal), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["decisions"] > 0


def test_a_killed_daemon_leaves_a_readable_journal(tape: Path, tmp_path: Path) -> None:
    """Killed with a position: the fills that were there are there, and every order of theirs was journaled before."""
    with running(tmp_path, tape, *CALM, "feed.speed=200") as daemon:
        daemon.until("a position", lambda: daemon.status()["open_positions"])
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(PATIENCE_S)
    fills, intents = journaled(daemon.journal, Fill), journaled(daemon.journal, OrderIntent)
    assert {fill.order_id for fill in fills} <= {intent.order_id for intent in intents}
    assert intents


def test_a_port_that_is_taken_is_one_line(tape: Path, tmp_path: Path) -> None:
    """The second daemon on a port ends with exit 2 and says which setting to change."""
    with running(tmp_path, tape, *CALM) as daemon:
        port = daemon.url().rpartition(":")[2]
        (tmp_path / "second").mkdir()
        with running(tmp_path / "second", tape, *CALM, f"control.port={port}") as second:
            assert second.process.wait(PATIENCE_S) == 2
        line = (tmp_path / "second" / "log.jsonl").read_text().splitlines()[-1]
        assert line.startswith(f"error: control.port: 127.0.0.1:{port} can't be listened on")
        assert daemon.terminate() == 0


def test_without_a_tape_there_is_nothing_to_run() -> None:
    """Exit 2, one line that names the setting."""
    done = hrmd("run", "--set", "strategy.name=rules")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: feed.tape: expected at least one tape")
    assert done.stderr.count("\n") == 1
