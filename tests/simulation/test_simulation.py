"""Simulated sessions of the whole system: they keep every promise, and a seed is the same session every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.simulation.coverage import PAIRS, Coverage
from tests.simulation.minimise import minimise
from tests.simulation.plan import Action, Do, Plan, plan_of
from tests.simulation.plants import PLANTS
from tests.simulation.runner import Part, Tally, apart, run_many
from tests.simulation.scenes import Scene
from tests.simulation.session import PREFIX, Result, hold, sweep

ROOT = Path(__file__).parents[2]
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
SESSIONS = 26
TWICE = (5, 11, 22, 39)
"""Seeds with a kill, a power cut, their restarts, a full disk, and a clock that is hours wrong."""


@pytest.mark.nightly
def test_sessions_keep_every_promise() -> None:
    """Whatever breaks one is told with the command that shows it again."""
    tally = run_many(1, SESSIONS, len(os.sched_getaffinity(0)))
    told = [
        f"python -m tests.simulation --seed {it.plan.seed} --aim {it.plan.aim}: {it.broken[0]}" for it in tally.broken
    ]
    assert told == []
    assert tally.sessions == SESSIONS
    assert min(tally.counts[kind] for kind in ("Fill", "killed", "torn", "OrderUnknown", "Halt", "ticks recorded")) > 0


def test_a_seed_is_the_same_session_in_every_process() -> None:
    """Event for event, row for row of the journal, step for step of the loop; however texts are hashed."""
    code = (
        "from tests.simulation.session import simulate\nfrom tests.simulation.plan import plan_of\nimport os, sys\n"
        f"for seed in {TWICE}: print(simulate(plan_of(seed)).digest)\nsys.stdout.flush(); os._exit(0)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True,
            text=True, check=True, timeout=300,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(set(said[0].split())) == len(TWICE)


def test_the_journal_of_a_seed_is_the_same_byte_for_byte() -> None:
    """The digest holds its rows, so two that are equal are of equal journals; another seed's is another."""
    first, again, other = apart(plan_of(4)), apart(plan_of(4)), apart(plan_of(5))
    assert first.digest == again.digest != other.digest
    assert first.log == again.log


def test_a_start_on_another_day_does_nothing_until_the_clock_is_right() -> None:
    """A clock fourteen hours behind is of yesterday: each start says so and ends, and none counts for that day."""
    leap = Action(at=70.0, do=Do.CLOCK_LEAPS, seconds=60.0, number=0)
    seen = apart(Plan(seed=5, actions=(leap, Action(at=80.0, do=Do.KILL, seconds=5.0)), scene=Scene.MIDDAY))
    refused = [line for line in seen.log if "the broker's answers are of 2026-01-05: set it right" in line]
    assert (seen.broken, len(refused) > 3) == ([], True)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    """Plans that once broke a promise, cut to what it took."""
    assert [str(it) for it in apart(msgspec.json.decode(path.read_bytes(), type=Plan)).broken] == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if rank > 2 else name for rank, name in enumerate(PLANTS)]
)
def test_a_planted_bug_is_found(name: str) -> None:
    """By the least plan that shows it; without the bug nothing is broken there."""
    plan = msgspec.json.decode((Path(__file__).parent / "planted" / f"{name}.json").read_bytes(), type=Plan)
    assert apart(plan, name).broken
    assert [str(it) for it in apart(plan).broken] == []


def test_a_plan_is_cut_to_what_it_takes() -> None:
    """Two actions of sixteen break it, together."""
    plan = Plan(seed=1, actions=tuple(Action(at=float(n), do=Do.HALT, number=n) for n in range(16)))

    def breaks(tried: Plan) -> bool:
        return {3, 11} <= {action.number for action in tried.actions}

    assert [action.number for action in minimise(plan, breaks).actions] == [3, 11]


def test_a_plan_is_its_seeds_and_its_aims() -> None:
    """And nothing else's."""
    assert plan_of(7) == plan_of(7) != plan_of(8)
    aimed = plan_of(7, "disk.full@halted:none:fresh")
    assert [(it.do, it.when) for it in aimed.actions if it.when] == [(Do.DISK_FULL, "halted:none:fresh")] * 2


def test_a_long_run_goes_on_where_it_was_stopped() -> None:
    """Its sessions, kinds and pairs are added up over the parts; no seed comes twice."""
    first = Tally()
    for seed in range(7, 10):
        first.add(_result(seed, Counter(Fill=2)))
    part = msgspec.json.decode(msgspec.json.encode(Part.of(7, first)), type=Part)
    assert part.next_seed == 10
    again = part.tally()
    assert again.rate == 0.0
    again.add(_result(10, Counter(Fill=1, Halt=1)))
    assert (again.sessions, again.counts, again.coverage.seen[PAIRS[0]]) == (4, {"Fill": 7, "Halt": 1}, 4)
    assert Part.of(7, again).next_seed == 11


def _result(seed: int, counts: dict[str, int]) -> Result:
    """Of a session that kept every promise."""
    return Result(
        plan=Plan(seed=seed, actions=()), broken=[], pairs=[PAIRS[0]], counts=counts, digest="", lives=1, cpu_s=0.5,
        active_s=45.0, log=[],
    )  # fmt: skip


def test_what_stopped_runs_left_is_swept_up(tmp_path: Path) -> None:
    """What nobody holds goes; what somebody holds stays, whatever its number says; so does what has just begun."""
    held, gone, young = (tmp_path / f"{PREFIX}{it}" for it in ("4194304-held", f"{os.getpid()}-gone", "1-young"))
    other = tmp_path / "somebody's"
    for directory in (held, gone, young, other):
        directory.mkdir()
        if directory != young:
            os.utime(directory, (0, 0))
    lock = hold(held)  # as by a process of another container: no process here has that number
    assert sweep(tmp_path) == [gone]
    assert {it.name for it in tmp_path.iterdir()} == {held.name, young.name, other.name}
    os.close(lock)
    assert sweep(tmp_path) == [held]


def test_a_session_crosses_open_close_and_night() -> None:
    """Each is met, and each is lived through without a fault."""
    for scene in (Scene.OPENING, Scene.CLOSING, Scene.NIGHT, Scene.ASLEEP, Scene.AWAKE):
        result = apart(Plan(seed=3, actions=(), scene=scene))
        assert [str(it) for it in result.broken] == []
        assert result.lives == (2 if scene is Scene.NIGHT else 1)
        assert result.counts["Decision"] > 0


@pytest.mark.nightly
def test_what_was_not_seen_is_sought() -> None:
    """Each pair once before any is sought again; what was seen isn't."""
    coverage = Coverage()
    coverage.add(PAIRS[1:3])
    aims = [coverage.next_aim() for _ in range(len(PAIRS) - 2)]
    assert sorted(aims) == sorted((PAIRS[0], *PAIRS[3:]))
    coverage.add(PAIRS)
    assert coverage.next_aim() == ""
