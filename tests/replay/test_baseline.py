"""A strategy that earns less than its baseline is left in a replay, too, and on evidence of an earlier process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import BaselineWeighed, Decision, MitigationTaken, StrategySwapped
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.verifying import verify_journal
from daemon.tape.simulator import SimulatedSymbol
from tests.samples import LIVELY, SBIN, journaled, play, settings_of, write_simulated

BESIDE = (
    *LIVELY, "shadow.agents=[{name: small, strategy: rules, rules: {quantity: 1}}]",
    "supervisor.triggers.baseline=small", "canary.alpha=0.49", "canary.bound_bp=0.01",
)  # fmt: skip
"""Two sessions are proof, of an error rate that nobody would take."""


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three sessions, a tape each, on which lively rules lose their charges."""
    directory = tmp_path_factory.mktemp("days")
    columns, symbols = ("ts_recv", "last_qty", "volume"), [SimulatedSymbol(SBIN, 820.0)]
    return [write_simulated(directory / f"{day}.parquet", symbols, columns, (day,), 2000) for day in range(3)]


def test_a_replay_leaves_it_after_the_session_that_proved_it(days: list[Path], tmp_path: Path) -> None:
    """The third session is nobody's; two replays are equal, and every decision can be made again."""
    told = []
    for name in ("a", "b"):
        journal = tmp_path / name
        play(days, *BESIDE, journal=journal)
        told.append(journaled(journal, Decision, MitigationTaken, StrategySwapped, BaselineWeighed))
        verify_journal(journal)
    assert told[0] == told[1]
    weighed = [one for one in told[0] if isinstance(one, BaselineWeighed)]
    assert [one.sessions for one in weighed] == [1, 2, 0]
    assert weighed[1].ours_bp < weighed[1].baseline_bp < 0
    steps = [one for one in told[0] if isinstance(one, MitigationTaken)]
    assert [(one.step, one.trigger) for one in steps] == [("flat", "baseline"), ("halt", "flat")]
    last = [one.strategy for one in told[0] if isinstance(one, Decision) and one.ts > steps[0].ts]
    assert len(last) > 100
    assert set(last) == {"flat"}


def test_without_a_baseline_nothing_is_weighed(days: list[Path], tmp_path: Path) -> None:
    """The same sessions, the same losses."""
    play(days, *BESIDE, "supervisor.triggers.baseline=null", journal=tmp_path / "j")
    assert journaled(tmp_path / "j", BaselineWeighed, MitigationTaken) == []


def test_three_processes_come_to_the_same(days: list[Path], tmp_path: Path) -> None:
    """A session each, on one journal: the second process ends what the first began to see, the third is nobody's."""
    journal = tmp_path / "j"
    heard = []
    for number, day in enumerate(days):
        plan = RunPlan(
            tapes=[day], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=journal, durable=False,
            restarts=True, order_prefix=f"T{number}", recover=True,
        )  # fmt: skip
        asyncio.run(App(settings_of(*BESIDE), plan).run())
        heard.append(journaled(journal, MitigationTaken, Decision))
    steps = [[one.step for one in run if isinstance(one, MitigationTaken)] for run in heard]
    assert steps[0] == []
    assert ["flat", "halt"] in steps[1:]
    final = [one.strategy for one in heard[2] if isinstance(one, Decision)]
    assert final[-1] == "flat"
    assert final.count("rules") <= 1
