"""A download of bars: whole, resumed, and refused, against a sandbox that makes history of its tape."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from daemon.brokers.history_download import HistoryDownload, Wish
from daemon.core.clock import ReplayClock
from daemon.core.errors import CheckFailed, UsageError
from daemon.market.calendar import MarketCalendar
from daemon.sandbox.faults import FaultKind, Route
from models.training.ingest import read_bars
from tests.samples import DAY, MINUTE, OPEN, wave, write_tape
from tests.unit.sandbox.desk import SBIN, Desk, opened

MONDAY, TUESDAY = dt.date(2026, 1, 5), dt.date(2026, 1, 6)
SINCE = dt.date(2025, 8, 1)
"""So early that it takes two calls."""

WISH = Wish(SBIN, "5m", SINCE, TUESDAY)
AFTERWARDS = ReplayClock(OPEN + 30 * DAY)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole sessions."""
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", *wave(minutes=375, days=2))


def load(desk: Desk, out: Path, wish: Wish = WISH, wall: ReplayClock = AFTERWARDS) -> HistoryDownload:
    """A download that doesn't pause for long."""
    return HistoryDownload(desk.rest, wish, out, wall, MarketCalendar(), pause_s=0.01)


async def test_bars_that_training_reads(tape: Path, tmp_path: Path) -> None:
    """All of both sessions, equal to the ticks, in the form that the training's checks accept."""
    out = tmp_path / "bars.parquet"
    async with opened(tapes=(tape,)) as desk:
        report = await load(desk, out).run()
    assert (report.bars, report.calls, report.dropped) == (150, 2, {})
    assert (report.first_ts, report.last_ts) == (OPEN, OPEN + DAY + 370 * MINUTE)
    assert MONDAY not in report.empty_sessions
    assert dt.date(2026, 1, 2) in report.empty_sessions
    sessions, (checked,) = read_bars(out, 300)
    assert (len(sessions), checked.symbol, checked.dropped, checked.gaps) == (2, SBIN, 0, 0)
    times, prices = (np.asarray(column) for column in wave(minutes=375))
    slot = (times - OPEN) // (5 * MINUTE)
    highs = [float(prices[slot == number].max()) for number in range(75)]
    assert pq.read_table(out)["high"].to_pylist()[:75] == highs
    assert pq.read_schema(out).metadata[b"holds"] == b"bars, not ticks"
    assert [item.name for item in tmp_path.iterdir()] == ["bars.parquet"]  # noqa: ASYNC240 — a test may wait


async def test_a_download_that_broke_goes_on(tape: Path, tmp_path: Path) -> None:
    """What was answered is not asked for again, and the result is the same as in one go."""
    async with opened(tapes=(tape,)) as desk:
        desk.trouble(FaultKind.DELAY, Route.HISTORY, seconds=0.0)
        desk.trouble(FaultKind.BROKEN, Route.HISTORY, times=5)
        with pytest.raises(CheckFailed, match=r"2025-11-09 to 2026-01-06: no answer in 5 tries .HTTP 502"):
            await load(desk, tmp_path / "a.parquet").run()
        assert not (tmp_path / "a.parquet").exists()
        report = await load(desk, tmp_path / "a.parquet").run()
        assert (report.calls, report.calls_before) == (1, 1)
        await load(desk, tmp_path / "b.parquet").run()
    assert pq.read_table(tmp_path / "a.parquet").equals(pq.read_table(tmp_path / "b.parquet"))


async def test_a_part_that_was_cut_off_is_asked_for_again(tape: Path, tmp_path: Path) -> None:
    """A half-written copy is no answer."""
    out = tmp_path / "a.parquet"
    async with opened(tapes=(tape,)) as desk:
        download = load(desk, out)
        part = tmp_path / "a.parquet.part" / "2025-08-01_2025-11-08.json"
        part.write_text('{"bars": [[')
        report = await download.run()
    assert (report.calls, report.calls_before, report.bars) == (2, 0, 150)


async def test_parts_of_another_wish(tape: Path, tmp_path: Path) -> None:
    """Aren't mixed in; the message says what they are of."""
    out = tmp_path / "a.parquet"
    async with opened(tapes=(tape,)) as desk:
        load(desk, out)
        with pytest.raises(UsageError, match=r"parts of another download .*\"interval\":\"5m\""):
            load(desk, out, Wish(SBIN, "15m", SINCE, TUESDAY))


async def test_a_day_that_is_not_over(tape: Path, tmp_path: Path) -> None:
    """Its bars so far are taken, but not kept for a later try."""
    noon = ReplayClock(OPEN + DAY + 62 * MINUTE)
    out = tmp_path / "a.parquet"
    async with opened(tapes=(tape,)) as desk:
        report = await load(desk, out, wall=noon).run()
        assert (report.bars, report.dropped) == (75 + 12, {"unfinished": 63})
        kept: list[str] = []
        again = load(desk, tmp_path / "b.parquet", wall=noon)
        await again.run(lambda *_: kept.extend(path.name for path in (tmp_path / "b.parquet.part").glob("2*")))
    assert set(kept) == {"2025-08-01_2025-11-08.json"}


async def test_what_is_refused(tape: Path, tmp_path: Path) -> None:
    """An unknown symbol, a token that ended, a span without a bar: each says what it is, nothing is written."""
    out = tmp_path / "a.parquet"
    async with opened(tapes=(tape,)) as desk:
        with pytest.raises(UsageError, match="symbol NSE:X: Fyers knows none of that name"):
            await load(desk, tmp_path / "x", Wish("NSE:X", "5m", MONDAY, MONDAY)).run()
        with pytest.raises(CheckFailed, match="no 5m bar between 2026-01-07 and 2026-01-08"):
            await load(desk, out, Wish(SBIN, "5m", dt.date(2026, 1, 7), dt.date(2026, 1, 8))).run()
        await desk.admin("POST", "token", {})
        with pytest.raises(CheckFailed, match=r"refused the token .*hrmd login"):
            await load(desk, tmp_path / "b.parquet").run()
    assert not out.exists()


async def test_a_limit_is_waited_for(tape: Path, tmp_path: Path) -> None:
    """A 429 is no end: the call is made again after it."""
    async with opened(tapes=(tape,)) as desk:
        desk.trouble(FaultKind.LIMITED, Route.HISTORY, seconds=0)
        report = await load(desk, tmp_path / "a.parquet").run()
    assert (report.calls, report.bars) == (3, 150)
