"""Tests of sessions, their files, their checks, and what a batch may see."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.config import FeatureSettings, History, HRMSettings
from models.training.adjusting import Action, adjusted, never, no_actions, separated
from models.training.batches import BatchSettings, Fill, Target, make_batch, returns_between_fills
from models.training.errors import DataError
from models.training.files import FileData, load
from models.training.ingest import Limits, read_bars
from models.training.sessions import Sessions, from_table, join, split_by_time
from models.training.source import StoredSource
from models.vocabulary import Vocabularies

MINUTE = 60_000_000_000
OPEN_NS = 1_546_400_700_000_000_000
DAY = 86_400_000_000_000
SHARED = Path(__file__).parents[5] / "shared" / "data"


def minutes(days: int = 4, bars: int = 60, symbol: str | None = None) -> pa.Table:
    """Return plain one-minute bars of some days."""
    rng = np.random.default_rng(1)
    ts = np.concatenate([OPEN_NS + day * DAY + np.arange(bars) * MINUTE for day in range(days)])
    close = 100 * np.exp(np.cumsum(1e-4 * rng.standard_normal(len(ts))))
    open_ = np.append(100.0, close[:-1])
    columns = {
        "ts": pa.array(ts, pa.timestamp("ns", "UTC")),
        "open": open_,
        "high": np.maximum(open_, close) * 1.0001,
        "low": np.minimum(open_, close) * 0.9999,
        "close": close,
        "volume": np.arange(len(ts), dtype=float) + 1,
    }
    if symbol is not None:
        columns["symbol"] = [symbol] * len(ts)
    return pa.table(columns)


def changed(table: pa.Table, column: str, row: int, value: float) -> pa.Table:
    """Return the table with one value changed."""
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(column), column, pa.array(values, table.schema.field(column).type))


def write(table: pa.Table, folder: Path, name: str = "X_1m.parquet") -> Path:
    """Write a table and return its path."""
    path = folder / name
    pq.write_table(table, path)
    return path


def test_one_minute_becomes_five(tmp_path: Path) -> None:
    """Resampled bars have the first open, the extremes, the last close and the whole volume."""
    table = minutes()
    sessions, reports = read_bars(write(table, tmp_path), 300)
    assert (len(sessions), sessions.interval, sessions.symbols) == (4, "5m", ("X",))
    fine = np.stack([table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")], axis=-1)
    first = fine[:5]
    expected = [first[0, 0], first[:, 1].max(), first[:, 2].min(), first[-1, 3], first[:, 4].sum()]
    assert np.allclose(sessions.bars[0], expected)
    assert sessions.ts_ns[0] == OPEN_NS
    assert reports[0].dropped == 0
    assert reports[0].rows == 240


def test_every_kind_of_bad_bar_is_counted_and_dropped(tmp_path: Path) -> None:
    """NaN, a high under the close, a duplicate and a false print are counted by kind; the rest is kept."""
    table = minutes()
    table = changed(table, "close", 3, float("nan"))
    table = changed(table, "high", 10, 1.0)
    spike = table["close"].to_numpy()[20] * 1.2
    table = changed(changed(table, "close", 20, spike), "high", 20, spike)
    table = pa.concat_tables([table, table.slice(30, 1)])
    sessions, (report,) = read_bars(write(table, tmp_path), 60)
    assert (report.not_finite, report.impossible, report.duplicates, report.outliers) == (1, 1, 1, 1)
    assert report.gaps == 3
    assert len(sessions.bars) == 237
    assert len(np.unique(sessions.ts_ns)) == 237


@pytest.mark.parametrize(("times", "false"), [(3.0, 1), (1 / 3, 1), (1.2, 0)])
def test_a_day_may_begin_with_a_false_print(tmp_path: Path, times: float, false: int) -> None:
    """The opening bar at thrice the price, or a third, and the next one back; a gap that is faded is a price."""
    table = minutes()
    before = table.to_pandas()[["open", "high", "low", "close"]].to_numpy()[120]
    for name, price in zip(("open", "high", "low", "close"), before, strict=True):
        table = changed(table, name, 120, price * times)
    sessions, (report,) = read_bars(write(table, tmp_path), 60)
    assert report.outliers == false
    assert len(sessions.bars) == 240 - false


@pytest.mark.parametrize(("column", "times"), [("high", 10.0), ("low", 0.1)])
def test_a_false_extreme_is_a_false_print(tmp_path: Path, column: str, times: float) -> None:
    """Paise for rupees in one of a bar's four prices, far from where it opened and closed."""
    table = minutes()
    table = changed(table, column, 20, table[column].to_numpy()[20] * times)
    sessions, (report,) = read_bars(write(table, tmp_path), 60)
    assert (report.outliers, len(sessions.bars)) == (1, 239)


def test_a_share_that_seldom_moves_has_no_false_print_in_each_tick(tmp_path: Path) -> None:
    """Most of its bars close where the one before did: what is far is told by those that move."""
    table = minutes()
    close = np.where(np.arange(240) % 10 == 5, 8.05, 8.0)
    close[100] = 24.0
    for name in ("open", "high", "low", "close"):
        table = table.set_column(table.column_names.index(name), name, pa.array(close))
    sessions, (report,) = read_bars(write(table, tmp_path), 60)
    assert (report.outliers, len(sessions.bars)) == (1, 239)


def test_a_few_ticks_of_a_cheap_share_are_no_false_print(tmp_path: Path) -> None:
    """Of a share at 15 paise a tick of 5 is a third of it, and two are no false high."""
    table = minutes()
    for name in ("open", "low", "close"):
        table = table.set_column(table.column_names.index(name), name, pa.array(np.full(240, 0.15)))
    highs = np.where(np.arange(240) % 10 == 0, 0.25, 0.15)
    table = table.set_column(table.column_names.index("high"), "high", pa.array(highs))
    sessions, (report,) = read_bars(write(table, tmp_path), 60)
    assert (report.outliers, len(sessions.bars)) == (0, 240)


def test_a_bad_file_is_refused_with_its_counts(tmp_path: Path) -> None:
    """More bad bars than allowed: one line with the file, the counts and the instrument."""
    path = write(changed(minutes(), "close", 3, float("nan")), tmp_path)
    with pytest.raises(DataError, match=r"X_1m\.parquet: 1 of 240 bars of X are unusable \(1 not finite"):
        read_bars(path, 60, limits=Limits(bad_share=0.001))


def test_broken_days_are_left_out(tmp_path: Path) -> None:
    """A day that misses half its bars is no session; the report counts it."""
    table = minutes()
    sessions, (report,) = read_bars(write(table.slice(30), tmp_path), 60)
    assert len(sessions) == 3
    assert report.sessions_left_out == 1


@pytest.mark.parametrize(
    ("table", "interval_s", "match"),
    [
        (minutes().drop_columns(["close"]), 60, "columns close are absent"),
        (minutes().slice(0, 0), 60, "holds no bars"),
        (minutes(), 90, "bars of 60 s, from which bars of 90 s can't be made"),
        (minutes().slice(0, 1), 60, "fewer than two usable bars"),
        (minutes(days=5, bars=1), 60, "expected whole seconds within a day"),
        (minutes().set_column(0, "ts", pa.array(["x"] * 240)), 60, "column ts is string"),
        (minutes().set_column(1, "open", pa.array(["x"] * 240)), 60, "column open is string"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, table: pa.Table, interval_s: int, match: str) -> None:
    """Each way of being unfit gives one line that names the file and what is wrong."""
    with pytest.raises(DataError, match=match):
        read_bars(write(table, tmp_path), interval_s)


def test_files_that_are_no_parquet_are_refused(tmp_path: Path) -> None:
    """Text and a missing file give one line each."""
    text = tmp_path / "bars.parquet"
    text.write_text("ts,open")
    for path in (text, tmp_path / "none.parquet"):
        with pytest.raises(DataError, match="not a readable Parquet file") as caught:
            read_bars(path, 60)
        assert "\n" not in str(caught.value)


def test_mixed_instruments_become_sessions_of_their_own(tmp_path: Path) -> None:
    """Two instruments in one file are told apart; integer times are read as nanoseconds."""
    table = pa.concat_tables([minutes(symbol="A"), minutes(symbol="B")])
    table = table.set_column(0, "ts", table["ts"].cast(pa.int64()))
    sessions, reports = read_bars(write(table, tmp_path), 300)
    assert sessions.symbols == ("A", "B")
    assert [report.symbol for report in reports] == ["A", "B"]
    assert np.array_equal(sessions.symbol, [0, 0, 0, 0, 1, 1, 1, 1])


def test_stored_sessions_are_mapped_and_equal(sessions: Sessions, tmp_path: Path) -> None:
    """What was saved comes back as memory maps with the same values; a torn set is refused."""
    sessions.save(tmp_path / "set")
    opened = Sessions.open(tmp_path / "set")
    assert isinstance(opened.bars, np.memmap)
    assert np.array_equal(opened.bars, sessions.bars)
    assert (opened.symbols, opened.interval_s, len(opened)) == (sessions.symbols, 300, 24)
    np.save(tmp_path / "set" / "bars.npy", np.zeros((3, 5)))
    with pytest.raises(DataError, match="lengths"):
        Sessions.open(tmp_path / "set")
    (tmp_path / "set" / "sessions.json").unlink()
    with pytest.raises(DataError, match="no complete stored sessions"):
        Sessions.open(tmp_path / "set")


def test_split_purges_the_border(sessions: Sessions) -> None:
    """No session day stands on both sides, and one day before the border is on neither."""
    border = int(sessions.start_ns()[10])
    before, after = split_by_time(sessions, border)
    assert (len(before), len(after)) == (9, 14)
    assert before.start_ns().max() + 2 * DAY == after.start_ns().min()
    assert len(split_by_time(sessions, border, purge=0)[0]) == 10
    for bad in (0, 2**62):
        with pytest.raises(DataError, match="leaves one side without sessions"):
            split_by_time(sessions, bad)


def test_intervals_do_not_mix_and_are_named(sessions: Sessions) -> None:
    """Joining 5-minute and 1-minute sessions is refused; intervals have their usual names."""
    other = replace(sessions, interval_s=60)
    with pytest.raises(DataError, match="5m"):
        join([sessions, other])
    assert [replace(sessions, interval_s=s).interval for s in (1, 90, 60, 3_600, 86_400)] == [
        "1s",
        "90s",
        "1m",
        "1h",
        "1d",
    ]


def test_an_epoch_sees_every_session_once(sessions: Sessions) -> None:
    """Over one epoch, two ranks together take each session exactly once, in an order that depends on the seed."""
    source = StoredSource(sessions, 1)

    def epoch(seed: int) -> list[int]:
        return [int(row) for step in range(6) for rank in (0, 1) for row in source.take(seed, step, rank, 2, 2)[1]]

    assert sorted(epoch(1)) == list(range(24))
    assert epoch(1) == epoch(1) != epoch(2)


SMALL = FeatureSettings(window=10, patch=5, min_bars=3, coarse_window=3, history=History.ROLLING)


def remembering(history: History, features: FeatureSettings = SMALL) -> BatchSettings:
    """Return settings whose windows hold bars of this session only, or of earlier ones too."""
    return BatchSettings(features.model_copy(update={"history": history}))


@pytest.mark.parametrize("history", list(History))
def test_features_never_see_the_future(sessions: Sessions, history: History) -> None:
    """Changing every bar after t changes no feature of any decision up to t, and does change later ones."""
    settings, vocabularies = remembering(history), Vocabularies()
    bars = sessions.bars.copy()
    cut = int(sessions.offsets[5]) + 8
    bars[cut:, :4] *= 1.3
    rows = np.array([5])
    before = make_batch(sessions, rows, settings, vocabularies).features
    after = make_batch(replace(sessions, bars=bars), rows, settings, vocabularies).features
    for name in ("patches", "coarse", "calendar", "valid"):
        one, other = getattr(before, name), getattr(after, name)
        assert np.array_equal(one[:8], other[:8])
    assert not np.array_equal(before.patches[8:], after.patches[8:])


def test_coarse_bars_reach_back_like_live_ones(sessions: Sessions) -> None:
    """With rolling history the coarse window ends with this session's whole bars and begins in the session before."""
    features = SMALL.model_copy(update={"coarse_window": 4})
    batch = make_batch(sessions, np.array([3]), BatchSettings(features), Vocabularies()).features
    coarse = batch.coarse.reshape(15, 4, 9)
    assert (coarse[:, :, -1] == 1).all()  # all four are present: three of the session before, or more
    first = sessions.bars[sessions.offsets[2] : sessions.offsets[3]]
    own = sessions.bars[sessions.offsets[3] : sessions.offsets[3] + 6]
    closes = np.log([first[5, 3], first[11, 3], first[15, 3], own[5, 3]])
    level = coarse[5, :, 5]  # distance from the newest close, in units of volatility · sqrt(4)
    assert np.allclose(level / level[0], (closes - closes[-1]) / (closes[0] - closes[-1]), atol=1e-4)
    alone = make_batch(sessions, np.array([3]), remembering(History.SESSION, features), Vocabularies())
    assert alone.features.coarse.reshape(15, 4, 9)[5, :, -1].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("fill", list(Fill))
def test_returns_begin_one_fill_later(sessions: Sessions, fill: Fill) -> None:
    """Returns of decision t depend on nothing up to bar t; each is the move between its fill and the next."""
    settings = BatchSettings(SMALL, fill=fill)
    rows = np.array([2])
    returns = returns_between_fills(sessions, rows, settings)[0]
    bars = sessions.bars[sessions.offsets[2] : sessions.offsets[3]]
    column = 0 if fill is Fill.NEXT_OPEN else 3
    assert returns[3] == pytest.approx(1e4 * np.log(bars[5, column] / bars[4, column]))
    last = np.log(bars[-1, 3] / bars[-1, column])
    assert returns[-1] == pytest.approx(1e4 * last)
    spoilt = sessions.bars.copy()
    spoilt[sessions.offsets[2] : sessions.offsets[2] + 4] *= 2
    assert np.array_equal(returns_between_fills(replace(sessions, bars=spoilt), rows, settings)[0][3:], returns[3:])


def test_expected_returns_are_those_of_the_filter(sessions: Sessions) -> None:
    """The conditional-mean target gives the stored expectation of the bar after each decision."""
    settings = BatchSettings(SMALL, target=Target.CONDITIONAL_MEAN)
    returns = returns_between_fills(sessions, np.array([1]), settings)[0]
    assert np.array_equal(returns, sessions.expected_bp[sessions.offsets[1] + 1 : sessions.offsets[2]])


def test_short_histories_and_padding_are_not_live(sessions: Sessions) -> None:
    """The first bars of a session and everything behind a shorter session's end are not live."""
    short = from_table(sessions.bars[:12].reshape(1, 12, 5), sessions.ts_ns[:12].reshape(1, 12), "SIM", 300)
    both = join([sessions.select(np.array([3])), short])
    batch = make_batch(both, np.array([0, 1]), remembering(History.SESSION), Vocabularies())
    assert batch.live[0].tolist() == [False] * 2 + [True] * 13
    assert batch.live[1].tolist() == [False] * 2 + [True] * 9 + [False] * 4
    assert (batch.returns_bp[1, 11:] == 0).all()


def test_mirrored_sessions_are_upside_down(sessions: Sessions) -> None:
    """Mirroring negates returns, keeps ranges and volume, and swaps the wicks."""
    rows, settings = np.array([4]), BatchSettings(SMALL)
    plain = make_batch(sessions, rows, settings, Vocabularies())
    turned = make_batch(sessions, rows, settings, Vocabularies(), mirror=np.array([True]))
    assert np.array_equal(turned.returns_bp, -plain.returns_bp)
    one, other = (batch.features.patches.reshape(15, 10, 9)[9] for batch in (plain, turned))
    assert np.allclose(other[:, 0], -one[:, 0], atol=1e-4)
    assert np.allclose(other[:, [2, 6]], one[:, [2, 6]], atol=1e-4)
    assert np.allclose(other[:, 3], one[:, 4], atol=1e-4)


def test_rolling_history_reaches_into_the_session_before(sessions: Sessions) -> None:
    """With rolling history the first decision has a full window; with session history one bar."""
    rows = np.array([6])
    present = {
        history: make_batch(sessions, rows, remembering(history), Vocabularies()).live[0, 0] for history in History
    }
    assert present[History.ROLLING]
    assert not present[History.SESSION]


def test_batches_equal_live_encoding(sessions: Sessions, hrm: HRMSettings) -> None:
    """The features of a decision equal those that `encode` makes of the same observation live."""
    from models.features import Observation, encode

    features = hrm.features
    batch = make_batch(sessions, np.array([2]), remembering(History.SESSION, features), Vocabularies())
    t, first = 14, int(sessions.offsets[2])
    window = sessions.bars[first : first + t + 1]
    coarse = [window[i : i + 6] for i in range(0, 12, 6)]
    made = [[part[0, 0], part[:, 1].max(), part[:, 2].min(), part[-1, 3], part[:, 4].sum()] for part in coarse]
    now = int(sessions.ts_ns[first + t]) + 5 * MINUTE
    weekday = int(np.datetime64(now + 19_800_000_000_000, "ns").astype("datetime64[D]").astype(int) + 3) % 7
    live = Observation("SIM", "5m", now, window, np.array(made), 0, 0.0, 0.0, 0, 75.0, 5.0, weekday, 0.0, 0.5)
    expected = encode([live], Vocabularies(), features)
    for name in ("patches", "coarse", "calendar", "valid", "position"):
        assert np.allclose(getattr(batch.features, name)[t], getattr(expected, name)[0], atol=1e-6), name


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="no recorded data beside the checkout")
def test_recorded_index_bars_become_sessions() -> None:
    """Nine years of NIFTY minutes give more than 2,100 whole five-minute sessions and hardly a dropped bar."""
    sessions, (report,) = read_bars(SHARED / "NIFTY_1m_2012_2021.parquet", 300)
    assert len(sessions) > 2_100
    assert np.median(sessions.lengths) == 75
    assert report.dropped < 20


def test_sessions_before_a_split_are_counted_in_the_new_price() -> None:
    """Prices times the ratio, volumes inversely, of that instrument and earlier days only; else nothing is copied."""
    bars = np.full((2, 3, 5), 100.0)
    ts = OPEN_NS + np.arange(2)[:, None] * DAY + np.arange(3) * 300 * 10**9
    both = join([from_table(bars, ts, name, 300) for name in ("X", "Y")])
    action = Action(OPEN_NS + DAY - 1, 0.2, 5.0)
    found = adjusted(both, lambda name: [action] if name == "X" else [])
    assert found.bars[0].tolist() == [20.0, 20.0, 20.0, 20.0, 500.0]
    assert (found.bars[3:] == 100.0).all()
    assert (both.bars == 100.0).all()
    assert adjusted(both, no_actions) is both
    assert adjusted(both, lambda _: [Action(OPEN_NS, 0.2, 5.0)]) is both


def test_no_window_reaches_over_a_jump_that_nobody_explained() -> None:
    """Days at 100, 100, 20, 20 of one symbol and four of another: rolling windows begin anew on the third day."""
    close = np.repeat([100.0, 100.0, 20.0, 20.0], 3).reshape(4, 3)
    bars = np.repeat(close[..., None], 5, axis=-1)
    ts = OPEN_NS + np.arange(4)[:, None] * DAY + np.arange(3) * 300 * 10**9
    both = join([from_table(bars, ts, "X", 300), from_table(np.full((4, 3, 5), 7.0), ts, "Y", 300)])
    apart = separated(both, lambda _, before, after: abs(after / before - 1) > 0.2)
    assert [apart.symbols[row] for row in apart.symbol] == ["X"] * 4 + ["Y"] * 4
    assert separated(both, never) is both
    features = FeatureSettings(history=History.ROLLING, window=8, patch=4, min_bars=2, coarse_interval="15m")
    for sessions, seen in ((both, [[1, 2], [4, 5], [7, 8], [8, 8]]), (apart, [[1, 2], [4, 5], [1, 2], [4, 5]])):
        batch = make_batch(sessions, np.arange(4), BatchSettings(features), Vocabularies())
        present = batch.features.patches.reshape(4, 2, 8, 9)[..., -1].sum(axis=-1)
        assert present.tolist() == seen
    assert StoredSource(apart, 1).symbols == ("X", "Y")


def test_the_end_of_a_session_is_the_calendars(tmp_path: Path) -> None:
    """A file that ends before the session does tells no other time to its close, nor does one that begins late."""
    whole, late = minutes(4, 60), minutes(4, 60).slice(3)
    border = dt.date(2019, 1, 1)
    given = []
    for number, table in enumerate((whole, whole.slice(0, 230), late)):
        sessions, _ = load(FileData([write(table, tmp_path, f"{number}_1m.parquet")], [300], border), 300)
        row = 0 if number == 2 else 3
        given.append(make_batch(sessions, np.array([row]), remembering(History.SESSION), Vocabularies()))
    one, cut, begun = (batch.features.calendar for batch in given)
    assert np.array_equal(cut, one[: len(cut)])
    log_minutes_done, log_minutes_left = 3, 4
    assert one[0, log_minutes_done] == pytest.approx(begun[0, log_minutes_done])
    assert one[0, log_minutes_left] == pytest.approx(np.log1p(370.0) / np.log1p(375.0))
    hours = [[OPEN_NS + day * DAY, OPEN_NS + day * DAY + 60 * MINUTE] for day in range(4)]
    told = FileData([tmp_path / "0_1m.parquet"], [300], border, hours=lambda _: np.array(hours))
    sessions, _ = load(told, 300)
    short = make_batch(sessions, np.array([3]), remembering(History.SESSION), Vocabularies()).features.calendar
    assert short[0, log_minutes_left] == pytest.approx(np.log1p(55.0) / np.log1p(375.0))
    sessions.save(tmp_path / "stored")
    assert np.array_equal(Sessions.open(tmp_path / "stored").hours, sessions.hours)


def test_a_hole_in_a_session_shows_no_later_coarse_bar(sessions: Sessions) -> None:
    """Without the bars of its second half hour a session's third isn't seen before it is over."""
    first = int(sessions.offsets[3])
    there = np.ones(len(sessions.bars), bool)
    there[first + 6 : first + 12] = False
    counts = np.add.reduceat(there, sessions.offsets[:-1])
    holed = replace(
        sessions, bars=sessions.bars[there], ts_ns=sessions.ts_ns[there], expected_bp=sessions.expected_bp[there],
        offsets=np.append(0, np.cumsum(counts)),
    )  # fmt: skip
    spoilt = holed.bars.copy()
    spoilt[holed.offsets[3] + 7 :, :4] *= 1.3
    settings = remembering(History.SESSION)
    one, other = (
        make_batch(each, np.array([3]), settings, Vocabularies()).features.coarse
        for each in (holed, replace(holed, bars=spoilt))
    )
    assert np.array_equal(one[:7], other[:7])
