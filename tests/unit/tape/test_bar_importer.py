"""Files of bars become tapes; a bar that can't be one is counted with its row, another interval is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.brokers.history_download import SCHEMA
from daemon.core.errors import TapeError, UsageError
from daemon.tape.bar_importer import BarsReport, import_bars
from daemon.tape.bar_ticks import BARS_NOTE
from daemon.tape.format import TapeReader
from daemon.tape.zones import parse_zone
from tests.samples import OPEN, SBIN

INDIA = parse_zone("Asia/Kolkata")
HEAD = "Date,Time,Open,High,Low,Close,Volume\n"
GOOD = [f"20260105,09:{minute}:00,100,101,99,100.5,10" for minute in range(15, 60, 5)]


def written(path: Path, rows: list[str], head: str = HEAD) -> Path:
    """A vendor's CSV."""
    path.write_text(head + "\n".join(rows) + "\n")
    return path


def imported(source: Path, interval: str = "5m", by_end: bool = False) -> BarsReport:
    """As `hrmd tape import --bars`."""
    out = source.with_name("out.parquet")
    return import_bars([source], out, interval, {}, SBIN, INDIA, by_end=by_end, overwrite=True)


def test_a_vendor_s_bars(tmp_path: Path) -> None:
    """Found by their names whatever their case; the tape says what it is made of."""
    report = imported(written(tmp_path / "b.csv", GOOD))

    assert (report.bars, report.ticks, report.symbols) == (9, 63, [SBIN])
    assert (report.left_out, report.sorted) == ({}, False)
    assert report.columns["ts"] == "Date+Time"
    reader = TapeReader([tmp_path / "out.parquet"])
    assert reader.notes[BARS_NOTE] == "5m"
    assert reader.first_ts == OPEN + 5_000_000_000


def test_bars_of_another_zone_are_no_bars_of_the_morning(tmp_path: Path) -> None:
    """UTC read as India's: what of the afternoon falls behind 09:15 would be traded as the day's first hour."""
    times = [f"{3 + minute // 60:02}:{minute % 60:02}" for minute in range(45, 420, 5)]
    source = written(tmp_path / "b.csv", [f"20260105,{time}:00,100,101,99,100.5,10" for time in times])
    said = r"b\.csv row 1 \(.* at 2026-01-05 03:45:00 IST\): 66 of 75 bars of days .* --tz says of which"
    with pytest.raises(TapeError, match=said):
        imported(source)
    report = import_bars([source], tmp_path / "o.parquet", "5m", {}, SBIN, parse_zone("UTC"))
    assert (report.bars, report.left_out) == (75, {})


@pytest.mark.parametrize("date", ["20090105", "20260104"])
def test_days_without_a_session_say_nothing_of_the_zone(tmp_path: Path, date: str) -> None:
    """Years before the calendar's first, and a Sunday: they are left out, however many they are."""
    source = written(tmp_path / "b.csv", [row.replace("20260105", date) for row in 2 * GOOD] + GOOD)
    report = imported(source)
    assert (report.bars, report.left_out) == (9, {"outside_session": 18})


@pytest.mark.parametrize(("symbol", "left_out"), [(SBIN, {"false_price": 1}), ("NSE:NIFTY26JAN26000CE", {})])
def test_a_bar_in_paise_is_left_out(tmp_path: Path, symbol: str, left_out: dict[str, int]) -> None:
    """And said with its row; an option may be worth any multiple for a bar."""
    rows = [*GOOD[:4], "20260105,09:35:00,10000,10100,9900,10050,10", *GOOD[5:]]
    source = written(tmp_path / "b.csv", rows)
    report = import_bars([source], tmp_path / "o.parquet", "5m", {}, symbol, INDIA)

    assert report.left_out == left_out
    assert all(" row 5 (" in where for where in report.first_left_out.values())
    (batch,) = TapeReader([tmp_path / "o.parquet"]).batches(1024)
    assert (batch.ltp.max() < 102) == bool(left_out)


def test_what_history_download_writes(tmp_path: Path) -> None:
    """Its columns need neither --map nor --symbol nor --tz."""
    columns = {name: [100.0, 100.0] for name in ("open", "high", "low", "close")}
    table = pa.table(
        columns | {"ts": pa.array([OPEN, OPEN + 300_000_000_000], SCHEMA.field("ts").type), "volume": [1, 2],
                   "symbol": [SBIN, SBIN]}
    )  # fmt: skip
    pq.write_table(table.select(SCHEMA.names).cast(SCHEMA), tmp_path / "h.parquet")
    report = import_bars([tmp_path / "h.parquet"], tmp_path / "out.parquet", "5m", {})
    assert (report.bars, report.symbols, report.left_out) == (2, [SBIN], {})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("20260105,10:00:00,100,98,99,100,10", "impossible"),
        ("20260105,10:00:00,100,101,99,102,10", "impossible"),
        ("20260105,10:00:00,98,101,99,100,10", "impossible"),
        ("20260105,10:00:00,100,101,99,,10", "bad_price"),
        ("20260105,10:00:00,100,101,99,x,10", "bad_price"),
        ("20260105,10:00:00,100,101,-99,100,10", "bad_price"),
        ("20260105,10:00:00,0,101,0,100,10", "bad_price"),
        ("20260105,10:00:00,100,inf,99,100,10", "bad_price"),
        ("20260105,10:00:00,100,101,99,100,-1", "bad_quantity"),
        ("20260105,10:00:00,100,101,99,100,1.5", "bad_quantity"),
        ("20260105,10:00:00,100,101,99,100,many", "bad_quantity"),
        ("20260105,09:20:00,100,101,99,100,10", "duplicate"),
        ("20260105,08:00:00,100,101,99,100,10", "outside_session"),
        ("20260104,10:00:00,100,101,99,100,10", "outside_session"),
        ("20990104,10:00:00,100,101,99,100,10", "outside_session"),
        ("20260105,later,100,101,99,100,10", "bad_time"),
    ],
)
def test_bad_bars_are_left_out_and_counted(tmp_path: Path, row: str, reason: str) -> None:
    """Under one reason, with the row that the first of them is in; the others are there."""
    report = imported(written(tmp_path / "b.csv", [*GOOD, row]))

    assert report.left_out == {reason: 1}
    assert report.first_left_out[reason].startswith(f"{tmp_path / 'b.csv'} row 10 ({SBIN}")
    assert report.bars == 9


@pytest.mark.parametrize("row", ["20260105,10:00:00,100,101,99", "20260105,10:00:00,100,101,99,100,1,250"])
def test_a_line_of_other_columns_is_left_out_and_counted(tmp_path: Path, row: str) -> None:
    """One cut short, or with a comma in a number: it can't be told what is which."""
    source = written(tmp_path / "b.csv", [*GOOD, row])
    report = imported(source)
    assert (report.bars, report.left_out) == (9, {"wrong_column_count": 1})
    assert report.first_left_out == {"wrong_column_count": str(source)}
    written(source, [row, row])
    with pytest.raises(TapeError, match=r"holds no bars \(2 wrong_column_count\)"):
        imported(source)


def test_one_misplaced_bar_is_left_out(tmp_path: Path) -> None:
    """Among many it is a fault of its own."""
    rows = [f"20260105,{minute // 60:02d}:{minute % 60:02d},100,101,99,100,10" for minute in range(555, 930, 5)]
    report = imported(written(tmp_path / "b.csv", [*rows, "20260105,09:17,100,101,99,100,10"]))
    assert (report.bars, report.left_out) == (75, {"misplaced": 1})


def test_bars_in_no_order_are_sorted(tmp_path: Path) -> None:
    """And that is said."""
    report = imported(written(tmp_path / "b.csv", GOOD[::-1]))
    assert (report.bars, report.sorted) == (9, True)


@pytest.mark.parametrize(
    ("rows", "interval", "message"),
    [
        (GOOD, "1m", r"its bars are 5m apart, not 1m: --bars 5m where there is one"),
        (GOOD, "15m", r"b\.csv row 2 .*09:20:00 IST\): no 15m bar begins then; .*another interval"),
        (["20260105,15:25:00,1,1,1,1,1", "20260105,15:30:00,1,1,1,1,1"], "5m", "row 2 .*stamped by their ends: --"),
        (["20260105,09:19:59,1,1,1,1,1"], "5m", r"row 1 .*or stamped by their ends \(--stamp end\)"),
        (["20260104,10:00:00,1,1,1,1,1"], "5m", r"holds no 5m bar \(1 outside_session, first .*row 1"),
        ([], "5m", r"b\.csv: .*(holds no bars|can't be read)"),
    ],
)  # fmt: skip
def test_bars_of_another_kind_are_refused(tmp_path: Path, rows: list[str], interval: str, message: str) -> None:
    """One line that names the row and what would be right; nothing is written."""
    source = written(tmp_path / "b.csv", rows)
    with pytest.raises(TapeError, match=message) as caught:
        imported(source, interval)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_intervals_that_make_no_tape() -> None:
    """A day can't be traded inside, and an interval has to be one that bars have."""
    for name, message in (("1d", "a day is one bar"), ("7m", "expected one of 1m, 3m, 5m")):
        with pytest.raises(UsageError, match=f"--bars {name}: {message}"):
            import_bars([Path("x")], Path("y"), name, {})


@pytest.mark.parametrize("stamps", [("09:20:00", "09:25:00", "15:30:00"), ("09:19:59", "09:24:59", "15:29:59")])
def test_bars_stamped_by_their_ends(tmp_path: Path, stamps: tuple[str, ...]) -> None:
    """Told so, they begin where they began."""
    source = written(tmp_path / "b.csv", [f"20260105,{stamp},100,101,99,100,10" for stamp in stamps])
    assert imported(source, by_end=True).bars == 3
    reader = TapeReader([tmp_path / "out.parquet"])
    assert reader.first_ts == OPEN + 5_000_000_000
    assert reader.last_ts == OPEN + 375 * 60_000_000_000 - 1


def test_bars_said_to_be_stamped_by_their_ends_that_are_not(tmp_path: Path) -> None:
    """Each would lie five minutes too early. Where one ends with the session the first is a stray."""
    rows = [f"20260105,{stamp},100,101,99,100,10" for stamp in ("09:15:00", "09:20:00", "15:25:00")]
    with pytest.raises(TapeError, match=r"b\.csv row 1 .*09:15:00 IST\).*stamped by their starts: --stamp start"):
        imported(written(tmp_path / "b.csv", rows), by_end=True)
    report = imported(written(tmp_path / "c.csv", [*rows, "20260105,15:30:00,100,101,99,100,10"]), by_end=True)
    assert (report.bars, report.left_out) == (3, {"outside_session": 1})


def test_files_of_several_intervals(tmp_path: Path) -> None:
    """As `hrmd replay --bars-out` writes them: those of the interval are taken."""
    head = HEAD.strip() + ",interval\n"
    rows = [f"{row},5m" for row in GOOD] + ["20260105,09:15:00,100,101,99,100,10,30m"]
    report = imported(written(tmp_path / "b.csv", rows, head))
    assert (report.bars, report.left_out) == (9, {"other_interval": 1})


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    """Named in one line with those that are."""
    with pytest.raises(TapeError, match="no column for ts, close; it has a, Open, High, Low: add --map ts=COLUMN"):
        imported(written(tmp_path / "b.csv", ["1,1,1,1"], "a,Open,High,Low\n"))
    with pytest.raises(TapeError, match="times without a zone: add --tz"):
        import_bars([written(tmp_path / "b.csv", GOOD)], tmp_path / "o", "5m", {}, SBIN)
    jsonl = tmp_path / "b.jsonl"
    jsonl.write_text('{"ts": 1}\n')
    with pytest.raises(TapeError, match=r"b\.jsonl: is JSONL; bars are read from CSV or Parquet"):
        imported(jsonl)
