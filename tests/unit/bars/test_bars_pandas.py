"""Bars against an independent account of the same ticks: a pandas resample of each session."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from daemon.bars.builder import BarBuilder
from daemon.core.events import Bar, TickBatch
from daemon.feed.replay import Schedule
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.settings.values import INTERVALS
from daemon.tape.format import TapeReader, TapeWriter
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

SHARED = Path(__file__).parents[3] / "../shared/data"
IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
GRACE_NS = SECOND


def resampled(ticks: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Bars of `ticks` (symbol, ts, ltp, volume: cumulative or NaN) by resampling every day from 09:15."""
    days = ticks.ts.dt.tz_convert(IST).dt.normalize()
    frames = []
    for (symbol, day), group in ticks.groupby(["symbol", days], sort=False):
        opened, closed = day + pd.Timedelta("9h15min"), day + pd.Timedelta("15h30min")
        table = group.set_index(group.ts.dt.tz_convert(IST))
        table["traded"] = table.volume.cummax().ffill().diff().fillna(0.0)
        if table.volume.isna().all():
            table["traded"] = np.nan
        bins = table.resample(f"{INTERVALS[interval]}s", origin=opened)
        bars = bins.ltp.ohlc()
        bars["volume"] = bins.traded.sum(min_count=1).fillna(-1).astype(int)
        bars["ticks"] = bins.ltp.count()
        bars = bars[bars.ticks > 0]
        bars["ts_open"] = bars.index.tz_convert("UTC").as_unit("ns").astype("int64")
        ends = np.minimum(bars.index + pd.Timedelta(seconds=INTERVALS[interval]), closed)
        bars["ts_close"] = pd.DatetimeIndex(ends).tz_convert("UTC").as_unit("ns").astype("int64")
        frames.append(bars.assign(symbol=symbol))
    return pd.concat(frames).sort_values(["symbol", "ts_open"], kind="stable").reset_index(drop=True)


def frame_of(batches: list[TickBatch]) -> pd.DataFrame:
    """Accepted ticks as a table; null volume is NaN."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "symbol": np.array(batch.symbols)[batch.code],
                    "ts": pd.to_datetime(batch.ts_event, unit="ns", utc=True),
                    "ltp": batch.ltp,
                    "volume": np.where(batch.volume < 0, np.nan, batch.volume),
                }
            )
            for batch in batches
        ],
        ignore_index=True,
    )


def assert_equal(bars: list[Bar], ticks: pd.DataFrame) -> None:
    """Every interval agrees in every field of every bar, exactly."""
    columns = ["symbol", "ts_open", "ts_close", "open", "high", "low", "close", "volume", "ticks"]
    for interval in INTERVALS:
        mine = pd.DataFrame(
            [{name: getattr(bar, name) for name in columns} for bar in bars if bar.interval == interval]
        )
        mine = mine.sort_values(["symbol", "ts_open"], kind="stable").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine[columns], resampled(ticks, interval)[columns], check_exact=True)


def built(path: Path, chunk_rows: int, interval: str) -> tuple[list[Bar], list[TickBatch], BarBuilder]:
    """Bars of all intervals of a tape, closed at the moments of `interval`; and the accepted ticks."""
    calendar = MarketCalendar()
    tick_filter = TickFilter(InstrumentBook(MarketSettings()), calendar, 20.0)
    builder = BarBuilder(calendar, dict(INTERVALS), GRACE_NS)
    reader = TapeReader([path])
    assert reader.first_ts is not None
    assert reader.last_ts is not None
    schedule = Schedule(INTERVALS[interval], GRACE_NS, 15)
    due = [m for session in calendar.sessions_between(reader.first_ts, reader.last_ts) for m in schedule.of(session)]
    bars, accepted = [], []
    for raw in reader.batches(chunk_rows):
        batch, _ = tick_filter.apply(raw)
        start = 0
        while start < len(batch):
            stop = int(np.searchsorted(batch.ts_recv, due[0], side="right")) if due else len(batch)
            builder.on_ticks(batch.slice(start, stop))
            if stop < len(batch):
                bars += builder.on_time(due.pop(0))
            start = stop
        accepted.append(batch)
    for moment in due:
        bars += builder.on_time(moment)
    return bars, accepted, builder


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Write three sessions of two shares and an index: bursts, silences, falling and missing volumes."""
    rng = np.random.default_rng(20260105)
    path = tmp_path / "made-up.parquet"
    with TapeWriter(path) as writer:
        for day in range(3):
            n = 4000
            recv = day * 86_400 + np.sort(rng.choice([rng.uniform(0, 22_500, n), rng.uniform(9_000, 9_300, n)], axis=0))
            code = rng.integers(0, 3, n)
            volume = np.zeros(n, dtype=np.int64)
            for share in (0, 1):
                mine = code == share
                volume[mine] = 10_000 * share + np.cumsum(rng.integers(0, 40, np.count_nonzero(mine)))
            volume[rng.random(n) < 0.02] -= 25
            volume[(rng.random(n) < 0.05) | (volume < 0) | (code == 2)] = -1
            prices = np.round(100 * np.exp(np.cumsum(rng.normal(0, 2e-4, n))) / 0.05) * 0.05
            writer.write(
                make_batch(
                    ("AAA", "BBB", "NSE:NIFTY50-INDEX"), code=code, ts_event=np.floor(recv), ts_recv=recv, ltp=prices,
                    volume=volume,
                )
            )  # fmt: skip
    return path


@pytest.mark.parametrize(("chunk_rows", "interval"), [(1_000_000, "5m"), (777, "60m"), (50, "1m")])
def test_made_up_ticks_agree_with_pandas(made_up: Path, chunk_rows: int, interval: str) -> None:
    """All intervals agree, whatever the chunks and the moments at which bars are closed."""
    bars, accepted, builder = built(made_up, chunk_rows, interval)
    assert builder.late == 0
    assert {bar.ts_open // (86_400 * SECOND) - OPEN_NS // (86_400 * SECOND) for bar in bars} == {0, 1, 2}
    assert {bar.volume for bar in bars if bar.symbol == "NSE:NIFTY50-INDEX"} == {-1}
    assert_equal(bars, frame_of(accepted))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded market data is not beside this checkout")
@pytest.mark.slow
def test_real_ticks_agree_with_pandas(tmp_path: Path) -> None:
    """Fifty sessions of recorded RELIANCE ticks, with all their faults, agree in every bar of every interval."""
    table = pd.read_parquet(SHARED / "TICKS_RELIANCE_2021.parquet")
    path = tmp_path / "reliance.parquet"
    with TapeWriter(path, columns=["volume"]) as writer:
        stamps = table.ts.dt.tz_convert("UTC") if table.ts.dt.tz is not None else table.ts.dt.tz_localize("UTC")
        ts = stamps.astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        batch = make_batch(("RELIANCE",), ltp=table.ltp.to_numpy(), volume=table.volume.to_numpy().astype(np.int64))
        writer.write(type(batch)(**{f: getattr(batch, f) for f in batch.__struct_fields__} | {"ts_event": ts}))
    bars, accepted, builder = built(path, 131_072, "5m")
    assert builder.late == 0
    assert len({bar.ts_open for bar in bars if bar.interval == "1d"}) >= 50
    assert sum(len(batch) for batch in accepted) > 900_000
    assert_equal(bars, frame_of(accepted))
