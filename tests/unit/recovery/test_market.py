"""What a journal tells of who may decide: automatic steps, and a lock."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import UsageError
from daemon.core.events import (
    CanaryChanged,
    CanaryState,
    Event,
    LockStrategy,
    Mitigation,
    MitigationTaken,
    StrategySwapped,
    SwapStrategy,
)
from daemon.journal.writer import Journal
from daemon.recovery.market import Recalled, Rung, recall
from tests.samples import OPEN, settings_of

LOCKED = LockStrategy(ts=OPEN, locked=True, reason="I watch it")
FREE = LockStrategy(ts=OPEN, locked=False, reason="seen")
STEP = MitigationTaken(OPEN, Mitigation.RENEW, "hrm", "error_rate", "x")

RUNS = CanaryChanged(
    ts=OPEN, agent="next", strategy="hrm", model_hash="", state=CanaryState.RUNNING, symbols=("A",), size=0.5,
    sessions=1, mean_bp=2.0, better=1.1, worse=0.9, who="anna", reason="a test", judged=((1, 2.0),),
)  # fmt: skip
OVER = msgspec.structs.replace(RUNS, state=CanaryState.ROLLED_BACK)
NOTED = {"canary": msgspec.json.encode(RUNS).decode()}


def told(path: Path, *runs: tuple[dict[str, str], list[Event]]) -> Recalled:
    """What the runs, with their notes and events, leave."""
    for notes, events in runs:
        journal = Journal(path, safe=False)
        journal.describe({"tapes": "[]", **notes})
        for event in events:
            journal.append(event)
        journal.close()
    return recall(path, settings_of(), ("5m",), OPEN, live=True)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([({}, [LOCKED])], "I watch it"),
        ([({}, [LOCKED, FREE])], None),
        ([({}, [LOCKED]), ({}, [STEP])], "I watch it"),
        ([({"strategy_lock": "noted"}, [STEP])], "noted"),
        ([({}, [LOCKED]), ({"strategy_lock": ""}, [STEP])], None),
        ([({"strategy_lock": "noted"}, [FREE])], None),
        ([({}, [STEP])], None),
    ],
)
def test_the_newest_word_on_the_lock_holds(
    tmp_path: Path, runs: list[tuple[dict[str, str], list[Event]]], reason: str | None
) -> None:
    """Of whatever run; what was cut off a run is noted, and what it says later counts more."""
    lock = told(tmp_path / "j.sqlite", *runs).lock
    assert (lock.reason if lock is not None and lock.locked else None) == reason


def test_steps_of_all_runs_are_told(tmp_path: Path) -> None:
    """Oldest first."""
    assert told(tmp_path / "j.sqlite", ({}, [STEP]), ({}, [STEP, LOCKED])).steps == [STEP, STEP]


def swap(name: str) -> SwapStrategy:
    """A person's word."""
    return SwapStrategy(ts=OPEN, name=name, reason=f"{name}, please")


def swapped(old: str, new: str) -> StrategySwapped:
    """What was done."""
    return StrategySwapped(ts=OPEN, old=old, new=new, reason=f"{old} is odd")


@pytest.mark.parametrize(
    ("events", "rung"),
    [
        ([swap("rules")], Rung("rules", "rules, please", "hrm")),
        ([swapped("hrm", "ppo"), swap("flat")], Rung("flat", "flat, please", "ppo")),
        ([swapped("hrm", "ppo"), swap("ppo")], Rung("ppo", "hrm is odd", "hrm")),
        ([swapped("hrm", "ppo"), swap("hrm")], None),
        ([swap("hrm")], None),
        ([swap("rules"), swapped("hrm", "rules")], Rung("rules", "hrm is odd", "hrm")),
        ([swap("hrm"), swapped("hrm", "flat")], Rung("flat", "hrm is odd", "hrm")),
        ([swapped("hrm", "rules"), swap("nobody")], Rung("rules", "hrm is odd", "hrm")),
    ],
)
def test_a_word_that_was_on_disk_and_not_yet_done_counts(
    tmp_path: Path, events: list[Event], rung: Rung | None
) -> None:
    """A process may end between them; nobody is put in charge again over a later step down."""
    notes = {"settings": settings_of().model_dump_json()}
    assert told(tmp_path / "j.sqlite", (notes, events)).rung == rung


@pytest.mark.parametrize(
    ("runs", "newest"),
    [
        ([({}, [RUNS])], RUNS),
        ([({}, [RUNS, OVER])], OVER),
        ([({}, [RUNS]), ({}, [STEP])], RUNS),
        ([(NOTED, [STEP])], RUNS),
        ([(NOTED, [OVER])], OVER),
        ([({}, [OVER]), (NOTED, [STEP])], RUNS),
        ([({}, [STEP])], None),
        ([({}, [RUNS]), ({"tapes": '["x"]'}, [OVER])], RUNS),
    ],
    ids=["runs", "over", "an earlier run", "noted", "noted, then over", "newer note", "none", "of a tape"],
)
def test_the_newest_word_on_a_canary_holds(
    tmp_path: Path, runs: list[tuple[dict[str, str], list[Event]]], newest: CanaryChanged | None
) -> None:
    """As of the lock; what was played on a tape is nothing to the market."""
    assert told(tmp_path / "j.sqlite", *runs).canary == newest


def test_a_note_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """In a line that names the run."""
    with pytest.raises(UsageError, match="the canary that run 1 begins with can't be read"):
        told(tmp_path / "j.sqlite", ({"canary": "{"}, [STEP]))
