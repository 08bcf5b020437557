"""One replay over several processes: the same decisions, money and tables, or one process and the reason."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from daemon.core.clock import NS_PER_S
from daemon.core.json_form import plain
from daemon.market.calendar import MarketCalendar
from daemon.report.summary import ReplaySummary
from daemon.run.latency import parse_latency
from daemon.run.many import Crew, Job
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.run.split import EVER, Share, live_through, shares
from tests.samples import CLOSE, DAY, HRM, LIVELY, OPEN, play, settings_of, wave, write_tape


def figures(summary: ReplaySummary) -> dict[str, Any]:
    """All but what was measured of the machine."""
    found: dict[str, Any] = plain(summary)
    found.update(wall_s=0.0, ticks_per_s=0.0)
    if found["hrm_metrics"] is not None:
        found["hrm_metrics"]["inference_ms"] = None
    return found


def split(tape: Path, *overrides: str, workers: int = 3, latency: str = "zero", **outputs: Path) -> ReplaySummary:
    """Over several processes."""

    async def run() -> ReplaySummary:
        made = Replay(settings_of(*overrides), [tape], [], parse_latency(latency), ReplayOutputs(**outputs), workers)
        return await made.run()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first hour of four days that swing, and the last minutes, in which all is squared off."""
    times, prices = wave(60, days=4)
    ends = [(CLOSE + day * DAY - left * NS_PER_S, 800.0) for day in range(4) for left in range(1500, 0, -20)]
    both = sorted([*zip(times, prices, strict=True), *ends])
    return write_tape(tmp_path_factory.mktemp("split") / "t.parquet", [t for t, _ in both], [p for _, p in both])


def test_shares_are_the_one_by_one_run(tape: Path, tmp_path: Path) -> None:
    """The SHA-256 of the decisions, every figure, and the tables of trades, equity and bars."""
    one, several = tmp_path / "one", tmp_path / "several"
    one.mkdir()
    several.mkdir()
    names = ("trades", "equity", "bars", "decisions")
    _, alone = play(tape, *LIVELY, latency="fixed:500", **{name: one / name for name in names})
    together = split(tape, *LIVELY, workers=2, latency="fixed:500", **{name: several / name for name in names})
    assert alone.trades > 10
    assert together.decisions_sha256 == alone.decisions_sha256
    assert figures(together) == figures(alone)
    for name in names:
        assert pq.read_table(several / name) == pq.read_table(one / name)


@pytest.mark.nightly
def test_a_network_s_shares_are_the_one_by_one_run(tape: Path) -> None:
    """Its windows reach into the sessions before, which another process decided on."""
    _, alone = play(tape, *HRM, "hierarchical_reasoning_model.novelty.enabled=false")
    together = split(tape, *HRM, "hierarchical_reasoning_model.novelty.enabled=false", workers=2)
    assert figures(together) == figures(alone)


def test_what_is_carried_over_is_said_and_played_in_one_process(tape: Path, tmp_path: Path) -> None:
    """A position that is held over night; a journal, too, is written by one process."""
    times, prices = wave(40, days=2)
    open_end = write_tape(tmp_path / "t.parquet", times, prices)
    job = Job(settings=settings_of(*LIVELY).model_dump_json(), tapes=[str(open_end)])
    first, second = shares(job, MarketCalendar(), 2)
    assert "held" in live_through(first).carried or "failed" in live_through(first).carried
    assert live_through(second).carried == ""
    _, alone = play(open_end, *LIVELY)
    assert figures(split(open_end, *LIVELY, journal=tmp_path / "j.sqlite")) == figures(alone)
    with capture_logs() as logs:
        assert figures(split(open_end, *LIVELY, workers=2)) == figures(alone)
    said = [line["reason"] for line in logs if line["event"] == "played in one process"]
    assert [reason.split(":")[0] for reason in said] == ["sessions depend on each other"]


def test_shares_cover_every_session_once(tape: Path) -> None:
    """Cut where a session opens; no more shares than sessions."""
    job = Job(settings="{}", tapes=[str(tape)])
    found = shares(job, MarketCalendar(), 3)
    assert [one.first_ts for one in found[1:]] == [one.until_ts for one in found[:-1]]
    assert (found[0].first_ts, found[-1].until_ts) == (0, EVER)
    assert found[1].first_ts == OPEN + DAY - 1
    assert len(shares(job, MarketCalendar(), 9)) == 4
    assert shares(job, MarketCalendar(), 1) == [Share(job=job, number=0, first_ts=0, until_ts=EVER)]


@pytest.mark.parametrize(("cash", "in_one"), [(20_000, True), (1_000_000, False)])
@pytest.mark.parametrize("slippage_bp", [0, 150])
def test_what_was_won_or_lost_before_is_there_for_entries(
    tape: Path, cash: int, slippage_bp: int, *, in_one: bool
) -> None:  # fmt: skip
    """An account that is too small after days that lost isn't played with the money of its beginning."""
    settings = (*LIVELY, f"broker.paper.starting_cash={cash}", f"broker.paper.slippage_bp={slippage_bp}")
    _, alone = play(tape, *settings)
    with capture_logs() as logs:
        together = split(tape, *settings)
    assert figures(together) == figures(alone)
    reasons = [entry["reason"] for entry in logs if entry["event"] == "played in one process"]
    assert bool(reasons) is (in_one and bool(slippage_bp))


def nap(job: bytes) -> bytes:
    """Work that takes a moment."""
    time.sleep(0.2)
    return job


def test_processes_that_were_begun_late_end_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first is ready before the second is asked for, the pool begins that one when there is more to do."""
    submit = ProcessPoolExecutor.submit

    def one_by_one(pool: ProcessPoolExecutor, work: Any, *given: Any) -> Future[Any]:
        future = submit(pool, work, *given)
        if given == (False,):
            future.result()
            time.sleep(0.1)
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", one_by_one)
    crew = Crew(2, thinks=False)
    assert list(crew.do(nap, [b"a", b"b"])) == [b"a", b"b"]
    closing = threading.Thread(target=crew.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
