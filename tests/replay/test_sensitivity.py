"""The same replay under dearer markets and later orders."""

from __future__ import annotations

import asyncio
import multiprocessing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.core.clock import NS_PER_S, stopwatch_ns
from daemon.core.errors import TapeError
from daemon.report.chance import SensitivityRow
from daemon.run.latency import parse_latency
from daemon.run.outputs import ReplayOutputs
from daemon.run.replaying import Replay
from daemon.run.sensitivity import sensitivity
from daemon.tape.simulator import SimulatedSymbol
from tests.samples import LIVELY, SBIN, play, settings_of, wave, write_simulated, write_tape


def test_a_dearer_market_and_later_orders_cost_money(tmp_path: Path) -> None:
    """The first row is the replay itself; every row is what a replay of those settings says."""
    tape = write_tape(tmp_path / "t.parquet", *wave(40))
    _, summary = play(tape, *LIVELY)
    rows = sensitivity(settings_of(*LIVELY), [tape], [], "zero")
    assert [(row.market_costs, row.latency) for row in rows] == [
        (factor, late) for factor in (1.0, 2.0, 4.0) for late in ("zero", "fixed:500", "fixed:2000")
    ]
    assert (rows[0].net_pnl, rows[0].costs, rows[0].trades) == (summary.net_pnl, summary.costs, summary.trades)
    assert rows[0].net_pnl > rows[3].net_pnl > rows[6].net_pnl
    _, dear = play(tape, *LIVELY, "broker.paper.slippage_bp=4", "broker.paper.spread_bp=8", latency="fixed:2000")
    assert rows[-1].net_pnl == dear.net_pnl != Decimal(0)


def test_a_dearer_market_is_one_of_wider_quotes(tmp_path: Path) -> None:
    """A tape that tells its book has its spread from there: what lives from a narrow one is seen to."""
    tape = write_simulated(tmp_path / "t.parquet", [SimulatedSymbol(SBIN, 800.0)], ("volume", "bid", "ask"))
    asked = (*LIVELY, "broker.paper.slippage_bp=0", "broker.paper.spread_bp=0")
    rows = [row for row in sensitivity(settings_of(*asked), [tape], [], "zero") if row.latency == "zero"]
    assert rows[0].trades == rows[1].trades == rows[2].trades > 0
    assert rows[0].net_pnl > rows[1].net_pnl > rows[2].net_pnl


def test_who_is_asked_to_end_meanwhile_tells_what_was_played(tmp_path: Path) -> None:
    """The processes are ended, whatever they are at: what the replay itself came to isn't lost."""
    tape, settings = write_tape(tmp_path / "t.parquet", *wave(40)), settings_of(*LIVELY)

    async def run() -> Any:
        replay = Replay(settings, [tape], [], parse_latency("zero"), ReplayOutputs(report=tmp_path / "page"))
        replay.beside = partial(sensitivity, settings, [tape], [], "zero")
        before = set(multiprocessing.active_children())
        running = asyncio.create_task(replay.run())
        while not set(multiprocessing.active_children()) - before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        replay.stop()
        return replay, await running

    replay, summary = asyncio.run(run())
    assert replay.interrupted
    assert (summary.sensitivity, summary.trades > 0, (tmp_path / "page" / "index.html").exists()) == ([], True, True)


def test_the_others_are_played_after_the_replay_was_told(tmp_path: Path) -> None:
    """Their time is none of its speed, and of a tape without a usable tick nothing is played nine times."""
    settings, begun = settings_of(*LIVELY), []

    def beside(_: object) -> list[SensitivityRow]:
        begun.append(stopwatch_ns())
        return []

    for name, tape in (("dark", ([0, 1], [800.0, 801.0])), ("light", wave(10))):
        before = stopwatch_ns()
        path = write_tape(tmp_path / f"{name}.parquet", *tape)
        replay = Replay(settings, [path], [], parse_latency("zero"), ReplayOutputs())
        replay.beside = beside
        if name == "dark":
            with pytest.raises(TapeError, match="no tick could be used"):
                asyncio.run(replay.run())
            assert not begun
        else:
            summary = asyncio.run(replay.run())
            assert summary.wall_s <= (begun[0] - before) / NS_PER_S
