"""A backtest as the control API runs it: the real process, on the settings that hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

from daemon.control.backtests import Backtests, BacktestTicket, JobState
from tests.samples import LIVELY, settings_of, wave, write_tape


async def test_a_backtest_comes_to_the_document_of_a_replay(tmp_path: Path) -> None:
    """Decisions, trades and money, as `hrmd replay --json` prints them."""
    write_tape(tmp_path / "wave.parquet", *wave(60))
    jobs = Backtests(tmp_path, [])
    ticket = BacktestTicket(tapes=["wave.parquet"], strategy="rules")
    job = await jobs.start(ticket, "anna", settings_of(*LIVELY).model_dump_json())
    assert jobs._task is not None
    async with asyncio.timeout(120):
        await jobs._task
    done = jobs.get(job.job)
    assert done is not None
    assert (done.state, done.error, done.progress) == (JobState.DONE, "", 1.0)
    assert done.result is not None
    assert done.result["strategy"] == "rules"
    assert done.result["decisions"] > 0
    assert isinstance(done.result["net_pnl"], str)
