"""A day on the sandbox through the real SDK, with a cut in it: the replay of what was recorded makes the same bars."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from daemon.core.events import Bar, FeedState, FeedStatus
from daemon.market.symbol_files import newest_day
from daemon.run.output_tables import bars_table
from daemon.run.recording import record_only
from daemon.run.service import Service
from daemon.settings.tree import Settings
from daemon.tape.format import TapeReader, TapeWriter
from daemon.tape.recorded import reels_by_day
from daemon.tape.sealing import seal
from tests.samples import play, settings_of
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox.desk import TOKEN, Desk, opened

pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")

NAMES = (*(f"NSE:SHARE{number:02}-EQ" for number in range(9)), "NSE:NIFTY50-INDEX")
SPEED = 20.0
START_S, LENGTH_S = 1800, 3000
DAY = "2026-01-05"
PATIENCE_S = 120.0
MAKING = ("strategy.name=rules", "strategy.interval=1m", "bars.intervals=[1m, 5m, 30m]", "market.unlisted=infer")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten symbols that walk, each twice a second."""
    steps = 2 * LENGTH_S
    number = np.arange(steps * len(NAMES))
    step, code = number // len(NAMES), (number % len(NAMES)).astype(np.int32)
    index = code == len(NAMES) - 1
    walks = np.cumsum(np.random.default_rng(5).choice([-0.05, 0.05], (steps, len(NAMES))), axis=0)
    price = np.round(500.0 + 10 * code + walks.ravel(), 2)
    path = tmp_path_factory.mktemp("tape") / "ten.parquet"
    with TapeWriter(path, columns=("volume", "last_qty", "bid", "ask", "bid_qty", "ask_qty")) as writer:
        writer.write(
            make_batch(
                NAMES, code=code, ts_event=START_S + step / 2, ltp=price, volume=np.where(index, -1, 1000 + 3 * step),
                last_qty=np.where(index, -1, 3), bid=np.where(index, np.nan, price - 0.05),
                ask=np.where(index, np.nan, price + 0.05), bid_qty=np.where(index, -1, 10),
                ask_qty=np.where(index, -1, 10),
            )
        )  # fmt: skip
    return path


def recording(desk: Desk, directory: Path, *more: str) -> Settings:
    """Live ticks of the sandbox, on paper, recorded."""
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    server, places = desk.server, desk.endpoints
    return settings_of(
        *MAKING, f"feed.symbols=[{', '.join(NAMES)}]", "feed.source=fyers", "feed.rehearse=true",
        f"broker.fyers.socket_url={server.data_socket_url}",
        f"broker.fyers.symbol_token_url={server.symbol_tokens_url}",
        f"broker.fyers.index_map_url={server.index_names_url}", "feed.live.start_s=600", "feed.live.silence_s=30",
        "feed.live.restart_longest_s=0.5", "feed.live.compare_every_s=0", "feed.live.stale_after_s=240",
        f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
        f"broker.fyers.token_file={token_file}", f"journal.path={directory}/j.sqlite", "control.enabled=false",
        f"feed.record.path={directory}/tapes", "feed.record.flush_s=0.2", "feed.record.when=always",
        f"broker.fyers.calls_file={directory}/calls", *more,
    )  # fmt: skip


async def live_bars(tape: Path, directory: Path) -> list[Bar]:
    """Every bar of a live run of some minutes, with a link that is cut and comes back."""
    bars: list[Bar] = []
    statuses: list[FeedStatus] = []
    async with opened(tapes=[tape]) as desk:
        assert desk.server.player is not None
        service = Service(recording(desk, directory))
        service.app.bus.tap((Bar,), bars.append)
        service.app.bus.tap((FeedStatus,), statuses.append)
        running = asyncio.create_task(service.run())
        playing = asyncio.create_task(desk.server.player.run(SPEED))

        async def minutes(count: int) -> None:
            wanted = len({bar.ts_close for bar in bars}) + count
            async with asyncio.timeout(PATIENCE_S):
                while len({bar.ts_close for bar in bars}) < wanted and not running.done():  # noqa: ASYNC110 — a test
                    await asyncio.sleep(0.05)

        await minutes(3)
        await desk.admin("POST", "cut")
        await minutes(3)
        service.app.stop("enough")
        await running
        playing.cancel()
    recorder = service.view.status().recorder
    assert recorder is not None
    assert recorder.recorded > 0
    assert (recorder.lost, recorder.trouble) == (0, "")
    assert sum(status.state is FeedState.STALE and status.symbol is None for status in statuses) >= 2
    return bars


async def test_live_is_replay(tape: Path, tmp_path: Path) -> None:
    """Every bar that was made live is the replay's, in its order, with its gap; there are bars without one, too."""
    live = await live_bars(tape, tmp_path)
    (day,) = reels_by_day(tmp_path / "tapes")
    said = seal(tmp_path / "tapes", day, reels_by_day(tmp_path / "tapes")[day])
    assert (said.day, said.torn, said.cut_off) == (DAY, {}, [])
    await asyncio.to_thread(play, tmp_path / "tapes" / f"{DAY}.parquet", *MAKING, bars=tmp_path / "bars.parquet")
    again = pq.read_table(tmp_path / "bars.parquet")
    assert {bar.gap for bar in live} == {True, False}
    assert {bar.symbol for bar in live} == set(NAMES)
    assert again.slice(0, len(live)) == bars_table(live)


async def test_a_live_feed_is_recorded_without_trading(tape: Path, tmp_path: Path) -> None:
    """`hrmd tape record` on the same feed: ticks of every symbol on the tape; the symbol master of today is got first.

    Nothing else is made.
    """
    symbols = tmp_path / "symbols"
    stop = asyncio.Event()
    async with opened(tapes=[tape]) as desk:
        assert desk.server.player is not None
        master = ("market.symbol_master.use=always", "market.symbol_master.min_rows=1",
                  "market.symbol_master.max_age_days=36500", f"market.symbol_master.url={desk.server.url}/sym_details",
                  f"market.symbol_master.directory={symbols}")  # fmt: skip
        recorded = asyncio.create_task(record_only(recording(desk, tmp_path, *master), stop))
        playing = asyncio.create_task(desk.server.player.run(SPEED))
        async with asyncio.timeout(PATIENCE_S):
            while not recorded.done() and not any(  # noqa: ASYNC110 — a test
                path.stat().st_size > 20_000 for path in (tmp_path / "tapes").glob("*.ticks")
            ):
                await asyncio.sleep(0.05)
        stop.set()
        said = await recorded
        playing.cancel()
    sealed = seal(tmp_path / "tapes", DAY, reels_by_day(tmp_path / "tapes")[DAY])
    assert said.recorded == sealed.ticks > 0
    assert set(TapeReader([tmp_path / "tapes" / f"{DAY}.parquet"]).symbols) == set(NAMES)
    assert newest_day(symbols) is not None
    assert not (tmp_path / "j.sqlite").exists()
