"""Several files of bars → what is trained on and what is held out of every one of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.training import run
from models.training.columns import columns_named
from models.training.errors import DataError
from models.training.files import FileData, Schedule, load, scheduled
from models.training.ingest import read_bars
from models.training.market import HiddenRegimeMarket
from models.training.progress import NoteReport, Report
from models.training.reference import simulated_sessions
from models.training.sessions import Sessions
from models.training.settings import TrainingSettings

DAY_NS = 86_400_000_000_000
BORDER = date(2019, 1, 26)
SETTINGS = TrainingSettings(min_sessions=4, validation_sessions=8)


def bars_of(path: Path, seed: int, *, count: int = 40, shift_days: int = 0, rows: slice = slice(None)) -> Path:
    """Write a file of `count` short sessions from 2 January 2019, moved by whole days."""
    drawn = simulated_sessions(HiddenRegimeMarket(bars=16), count, seed)
    columns = {"ts": pa.array(drawn.ts_ns + shift_days * DAY_NS, pa.timestamp("ns", "UTC"))}
    columns |= {name: drawn.bars[:, i] for i, name in enumerate(("open", "high", "low", "close", "volume"))}
    pq.write_table(pa.table(columns)[rows], path)
    return path


def held_out(files: list[Path], settings: TrainingSettings = SETTINGS) -> Sessions:
    """What a training on these files validates on."""
    return run.sources(FileData(files, [300], BORDER), settings)[1].sessions


def counts(sessions: Sessions) -> dict[str, int]:
    """Sessions by symbol."""
    names, found = np.unique(sessions.symbol, return_counts=True)
    return {sessions.symbols[name]: int(count) for name, count in zip(names, found, strict=True)}


def test_every_file_validates_on_its_own_last_part(tmp_path: Path) -> None:
    """Of two files with the same days the newest sessions of both are held out."""
    files = [bars_of(tmp_path / "AAA.parquet", 1), bars_of(tmp_path / "BBB.parquet", 2)]
    held = held_out(files)
    assert counts(held) == {"AAA": 4, "BBB": 4}
    own = run.sources(FileData(files[:1], [300], BORDER), SETTINGS)[1].sessions.start_ns()
    assert held.start_ns()[:4].tolist() == own[-4:].tolist()


def test_a_file_with_few_sessions_leaves_its_share_to_the_others(tmp_path: Path) -> None:
    """A file that ends two sessions behind the border gives these two, the other one six."""
    long = bars_of(tmp_path / "AAA.parquet", 1)
    after = held_out([long], SETTINGS.model_copy(update={"validation_sessions": 100}))
    ends = int(after.start_ns()[1]) + DAY_NS // 2
    whole = pq.read_table(bars_of(tmp_path / "whole.parquet", 2))
    kept = np.asarray(whole["ts"].cast(pa.int64())) < ends
    pq.write_table(whole.filter(pa.array(kept)), tmp_path / "BBB.parquet")
    assert counts(held_out([long, tmp_path / "BBB.parquet"])) == {"AAA": 6, "BBB": 2}


def test_files_of_one_symbol_in_any_order_are_one_history(tmp_path: Path) -> None:
    """Months of a symbol as they come from a shell's list give the sessions of one file with all of them."""
    both = held_out([bars_of(tmp_path / "SBIN.parquet", 1)])
    first = bars_of(tmp_path / "SBIN_b.parquet", 1, rows=slice(0, 20 * 16))
    second = bars_of(tmp_path / "SBIN_a.parquet", 1, rows=slice(20 * 16, None))
    found = held_out([second, first])
    np.testing.assert_array_equal(found.start_ns(), both.start_ns())
    np.testing.assert_array_equal(found.past(np.arange(len(found)), 20), both.past(np.arange(len(both)), 20))


def test_a_day_in_two_files_is_refused(tmp_path: Path) -> None:
    """The symbol and the day are named."""
    files = [bars_of(tmp_path / "SBIN_a.parquet", 1), bars_of(tmp_path / "SBIN_b.parquet", 2, shift_days=0)]
    with pytest.raises(DataError, match=r"SBIN of 2019-01-02 is there twice"):
        held_out(files)


def test_a_border_that_leaves_a_side_empty_names_the_option_and_what_the_files_hold(tmp_path: Path) -> None:
    """A date behind the last session and one before the first."""
    path = bars_of(tmp_path / "AAA.parquet", 1)
    for border in (date(2031, 1, 1), date(2001, 1, 1)):
        with pytest.raises(DataError) as refused:
            run.sources(FileData([path], [300], border), SETTINGS)
        assert str(refused.value) == (
            f"--border {border}: leaves one side without sessions: "
            "AAA.parquet has sessions from 2019-01-02 to 2019-02-10"
        )


def csv_of(path: Path, parquet: Path, head: str, times: Callable[[datetime], str]) -> Path:
    """Write the bars of a Parquet file as text under other names."""
    table = pq.read_table(parquet)
    rows = [head]
    for when, *values in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        rows.append(
            ",".join([times(when.to_pydatetime() if hasattr(when, "to_pydatetime") else when), *map(str, values)])
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def in_mumbai(written: str) -> Callable[[datetime], str]:
    """Write a time as it is on Mumbai's clocks."""
    return lambda when: when.astimezone(timezone(timedelta(hours=5, minutes=30))).strftime(written)


@pytest.mark.parametrize(
    ("head", "columns", "times"),
    [
        (
            "Date,Open,HIGH,low,Close,Vol",
            "ts=Date,volume=Vol",
            in_mumbai("%d-%m-%Y %H:%M"),
        ),
        (
            "Date,Time,open,high,low,close,volume",
            "ts=Date+Time",
            in_mumbai("%Y%m%d,%H:%M"),
        ),
        ("time,open,high,low,close,volume", "time=time", lambda t: t.isoformat()),
        ("ts,open,high,low,close,volume", "", lambda t: str(int(t.timestamp()))),
        ("ts,open,high,low,close,volume", "", in_mumbai("%Y-%m-%d %H:%M:%S")),
    ],
)
def test_bars_of_csv_files_are_those_of_parquet_files(
    tmp_path: Path, head: str, columns: str, times: Callable[[datetime], str]
) -> None:
    """Under other names, with the time in two columns, in Mumbai's or any zone or as a number."""
    parquet = bars_of(tmp_path / "AAA.parquet", 1, rows=slice(0, 160))
    path = csv_of(tmp_path / "AAA.csv", parquet, head, times)
    (text, _), (stored, _) = read_bars(path, 300, columns=columns_named(columns)), read_bars(parquet, 300)
    np.testing.assert_array_equal(text.ts_ns, stored.ts_ns)
    np.testing.assert_allclose(text.bars, stored.bars)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_as_an_indian_spreadsheet_writes_it(tmp_path: Path, delimiter: str) -> None:
    """Lakhs set apart by commas, and columns by what `hrmd tape import` knows, too."""
    path = tmp_path / "AAA.csv"
    rows = [[f"2020-01-01 09:{minute}", *['"1,23,456.50"'] * 4, '"1,00,000"'] for minute in range(15, 60, 5)]
    lines = [["ts", "open", "high", "low", "close", "volume"], *rows]
    path.write_text("\n".join(delimiter.join(line) for line in lines) + "\n")
    sessions, _ = read_bars(path, 300)
    assert (sessions.bars == [123456.5, 123456.5, 123456.5, 123456.5, 100_000]).all()


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("Date,open,high,low,close", "2020-01-01 09:15,1,1,1,1", "columns ts are absent; found Date, open"),
        (
            "ts,open,high,low,close",
            "soon,1,1,1,1",
            "'soon' in row 1 is no time that is known, or is not written as the first is; expected 2020-01-31",
        ),
        ("ts,open,high,low,close", "2020-01-01 09:15,1,1,1,1\n,1,1,1,1", "'' in row 2 is no time that is known"),
        ("ts,open,high,low,close", "1577850300,1,1,1,1\nnoon,1,1,1,1", "'noon' in row 2 is no time that is known"),
        ("ts,open,high,low,close", "2020-01-01 09:15,one,1,1,1", "column open is not all numbers: 'one' in row 1"),
        ("ts;open;high;low;close", "2020-01-01 09:15;24,250;25;24;25", "column open has 24,250: a comma that may be"),
        (
            "ts;open;high;low;close",
            "2020-01-01 09:15;800,5;801;799;800",
            "column open has 800,5: a comma that may be a",
        ),
    ],
)
def test_text_that_is_no_bar_is_refused(tmp_path: Path, head: str, row: str, said: str) -> None:
    """One line with the file, the column and what would be right."""
    path = tmp_path / "AAA.csv"
    path.write_text(f"{head}\n{row}\n")
    with pytest.raises(DataError) as refused:
        read_bars(path, 300)
    assert str(refused.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open", "--columns open: expected ts=NAME,open=NAME"),
        ("when=Date", "--columns when=Date: no such column"),
    ],
)
def test_a_mapping_that_can_not_be_meant(text: str, said: str) -> None:
    """The option is named, and what there is."""
    with pytest.raises(DataError, match=said):
        columns_named(text)


def test_faults_of_a_file_are_told(tmp_path: Path) -> None:
    """What was dropped and what is missing, a line a file, before anything is learned."""
    table = pq.read_table(bars_of(tmp_path / "AAA.parquet", 1))
    close = table["close"].to_numpy().copy()
    close[3] = np.nan
    pq.write_table(table.set_column(4, "close", pa.array(close)), tmp_path / "AAA.parquet")
    told: list[Report] = []
    run.sources(FileData([tmp_path / "AAA.parquet"], [300], BORDER), SETTINGS, [told.append])
    (note,) = told
    assert isinstance(note, NoteReport)
    assert note.text == (
        "AAA.parquet: AAA: 640 bars of 300 s, 1 dropped (1 not finite), 1 missing; "
        "40 sessions, 0 left out as incomplete"
    )


def test_a_schedule_names_the_borders(tmp_path: Path) -> None:
    """From the first date on: the first day of every month that has sessions behind it."""
    sessions = load(FileData([bars_of(tmp_path / "AAA.parquet", 1, count=100)], [300], BORDER), 300)[0]
    months = [date(2019, 1, 26), date(2019, 2, 1), date(2019, 3, 1), date(2019, 4, 1)]
    assert scheduled(sessions, Schedule.MONTHLY, BORDER) == months
    assert scheduled(sessions, Schedule.QUARTERLY, BORDER) == [months[0], months[3]]
    assert scheduled(sessions, Schedule.YEARLY, BORDER) == months[:1]


def test_bars_that_a_replay_wrote_are_read(tmp_path: Path) -> None:
    """Under their own names, several intervals in a file, volume −1 where the instrument has none."""
    plain = pq.read_table(bars_of(tmp_path / "AAA.parquet", 1, rows=slice(0, 160)))
    length = len(plain)
    fine = plain.rename_columns(["ts_open", *plain.column_names[1:]])
    fine = fine.set_column(5, "volume", pa.array([-1] * length, pa.int64()))
    fine = fine.append_column("symbol", pa.array(["AAA"] * length))
    coarse = fine.append_column("interval", pa.array(["15m"] * length))
    path = tmp_path / "bars.parquet"
    pq.write_table(pa.concat_tables([fine.append_column("interval", pa.array(["5m"] * length)), coarse[::3]]), path)
    (written, reports), (stored, _) = read_bars(path, 300), read_bars(tmp_path / "AAA.parquet", 300)
    np.testing.assert_array_equal(written.ts_ns, stored.ts_ns)
    np.testing.assert_allclose(written.bars[..., :4], stored.bars[..., :4])
    assert np.isnan(written.bars[..., 4]).all()
    assert [report.dropped for report in reports] == [0]
    with pytest.raises(DataError, match="AAA has bars of 5m, 15m, from which bars of 60 s can't be made"):
        read_bars(path, 60)


def minutes_of(path: Path, first: int, last: int, *, days: int = 4, step: int = 1, second: int = 0) -> Path:
    """A file of bars that begin `first` … `last` minutes after 09:15, each at a price of its own."""
    opens = [datetime(2019, 1, 2 + day, 9, 15, second, tzinfo=timezone(timedelta(hours=5.5))) for day in range(days)]
    times = [opened + timedelta(minutes=minute) for opened in opens for minute in range(first, last + 1, step)]
    columns: dict[str, object] = {"ts": pa.array(times, pa.timestamp("ns", "UTC"))}
    price = 100 + np.arange(len(times)) / 100
    columns |= dict.fromkeys(("open", "high", "low", "close"), price)
    pq.write_table(pa.table(columns), path)
    return path


def loaded(path: Path) -> Sessions:
    """The five-minute bars of a file."""
    return load(FileData([path], [300], BORDER), 300)[0]


@pytest.mark.parametrize(("first", "last", "outside"), [(-8, 374, 32), (1, 374, 0), (0, 380, 24)])
def test_bars_lie_on_the_grid_of_a_daemon(tmp_path: Path, first: int, last: int, outside: int) -> None:
    """Of five minutes from the open to the close, whatever the file has before, after, or not of the first minute."""
    path = minutes_of(tmp_path / "SBIN.parquet", first, last)
    whole = loaded(minutes_of(tmp_path / "whole.parquet", 0, 374))
    sessions, (report,) = load(FileData([path], [300], BORDER), 300)
    np.testing.assert_array_equal(sessions.ts_ns, whole.ts_ns)
    assert (report.outside, report.dropped, report.gaps) == (outside, 0, 0)
    assert (f", {outside} outside the market's hours or grid, 0 missing" in report.words) is bool(outside)


def test_minutes_that_are_stamped_by_their_ends_are_refused(tmp_path: Path) -> None:
    """Asked for bars of five minutes they would be those from 09:16, each a minute late."""
    path = minutes_of(tmp_path / "SBIN.parquet", 1, 375)
    with pytest.raises(DataError, match=r"SBIN: a bar begins at 2019-01-02 15:30 IST.*stamped by their ends"):
        loaded(path)


def test_minutes_may_be_called_by_their_last_second(tmp_path: Path) -> None:
    """09:15:59 is the bar of 09:15."""
    named, whole = minutes_of(tmp_path / "A.parquet", 0, 374, second=59), minutes_of(tmp_path / "B.parquet", 0, 374)
    np.testing.assert_array_equal(loaded(named).ts_ns, loaded(whole).ts_ns)
    np.testing.assert_array_equal(loaded(named).bars, loaded(whole).bars)


def test_bars_off_the_grid_are_refused(tmp_path: Path) -> None:
    """From none of five minutes that begin at 09:17 those of 09:15 can be made."""
    with pytest.raises(DataError, match=r"SBIN: 292 of 292 bars of 300 s begin off.* 09:17:00 IST; expected 09:15 and"):
        loaded(minutes_of(tmp_path / "SBIN.parquet", 2, 364, step=5))


@pytest.mark.parametrize("unit", [10**9, 10**6, 10**3, 1])
def test_times_of_parquet_files_may_be_numbers(tmp_path: Path, unit: int) -> None:
    """Seconds, milli-, micro- or nanoseconds since 1970, as in CSV files."""
    path = bars_of(tmp_path / "AAA.parquet", 1)
    table = pq.read_table(path)
    numbers = pa.array(table["ts"].cast(pa.int64()).to_numpy() // unit)
    pq.write_table(table.set_column(0, "ts", numbers), tmp_path / "numbers.parquet")
    np.testing.assert_array_equal(read_bars(tmp_path / "numbers.parquet", 300)[0].ts_ns, read_bars(path, 300)[0].ts_ns)


def test_rows_without_a_time_or_a_name_are_refused(tmp_path: Path) -> None:
    """They belong to no day and to nobody; a time in two columns of a Parquet file is not half read either."""
    path = bars_of(tmp_path / "AAA.parquet", 1)
    table = pq.read_table(path)
    times = table["ts"].to_pylist()
    times[4] = None
    pq.write_table(table.set_column(0, "ts", pa.array(times, pa.timestamp("ns", "UTC"))), path)
    with pytest.raises(DataError, match=r"AAA\.parquet: 1 rows have no time, the first of them row 5"):
        read_bars(path, 300)
    pq.write_table(table.append_column("symbol", pa.array(["AAA", None] * (len(table) // 2))), path)
    with pytest.raises(
        DataError, match=r"column symbol is empty in 320 of 640 rows, the first of them row 2; expected"
    ):
        read_bars(path, 300)
    with pytest.raises(DataError, match="a time in 2 columns is read of CSV files only"):
        read_bars(path, 300, columns=columns_named("ts=ts+symbol"))


def test_an_instrument_is_one_under_all_its_names(tmp_path: Path) -> None:
    """In small letters, or with exchange and series: its days would be learned from, and judged, twice."""
    table = pq.read_table(bars_of(tmp_path / "SBIN.parquet", 1))
    for name in ("sbin ", "NSE:SBIN-EQ"):
        pq.write_table(table.append_column("symbol", pa.array([name] * len(table))), tmp_path / "other.parquet")
        with pytest.raises(DataError, match=r"SBIN.* of 2019-01-02 is there twice: expected each day of an instrument"):
            load(FileData([tmp_path / "SBIN.parquet", tmp_path / "other.parquet"], [300], BORDER), 300)
    small = bars_of(tmp_path / "nifty_5m.parquet", 1)
    assert read_bars(small, 300)[0].symbols == ("NIFTY",), "the name under which a daemon's model finds it"


def stamped(path: Path, hours: float, count: int = 12) -> Path:
    """A file of whole sessions whose stamps are so many hours later than they should be."""
    drawn = simulated_sessions(HiddenRegimeMarket(), count, 3)
    columns = {"ts": pa.array(drawn.ts_ns + round(hours * 3_600_000_000_000), pa.timestamp("ns"))}
    columns |= {name: drawn.bars[:, i] for i, name in enumerate(("open", "high", "low", "close", "volume"))}
    pq.write_table(pa.table(columns), path)
    return path


def test_bars_of_another_zone_are_refused(tmp_path: Path) -> None:
    """Times of Mumbai's clocks without a zone are UTC in Parquet: most bars would lie behind the close."""
    path = stamped(tmp_path / "SBIN.parquet", 5.5)
    with pytest.raises(
        DataError, match=r"SBIN\.parquet: .* outside the market's hours.*15:30 IST.*09:15 to 15:30.*UTC"
    ):
        load(FileData([path], [300], BORDER), 300)
    assert len(load(FileData([stamped(path, 0)], [300], BORDER), 300)[0]) == 12


def test_bars_that_are_stamped_by_their_ends_are_refused(tmp_path: Path) -> None:
    """One bar a day that begins when the market closes, and none when it opens: every bar would be known too late."""
    path = stamped(tmp_path / "SBIN.parquet", 5 / 60)
    with pytest.raises(DataError, match=r"SBIN\.parquet: .*15:30.*stamped by their ends.*starts"):
        load(FileData([path], [300], BORDER), 300)
