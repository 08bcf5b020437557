"""Ticks of other formats become tapes, with every loss counted."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import json
import lzma
import os
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.core.errors import TapeError, UsageError
from daemon.core.events import TickBatch
from daemon.tape import sources
from daemon.tape.bar_importer import import_bars
from daemon.tape.bar_ticks import BARS_NOTE
from daemon.tape.format import TapeReader, TapeWriter
from daemon.tape.importer import ImportReport, import_tape, parse_map
from daemon.tape.marks import MARKS_NOTE, hole, marks_of
from daemon.tape.zones import parse_zone
from tests.samples import tick

SECOND = 1_000_000_000
AT = 1_767_584_700  # 2026-01-05 09:15 IST
SHARED = Path(__file__).parents[3] / "../shared/data"


def written(path: Path, text: str) -> Path:
    """Write a text file."""
    path.write_text(text, encoding="utf-8")
    return path


def ticks_of(path: Path) -> TickBatch:
    """Read a small tape as one batch."""
    (batch,) = TapeReader([path]).batches(10_000)
    return batch


def imported(source: Path, *options: str, symbol: str | None = None) -> tuple[ImportReport, TickBatch]:
    """Import with `--map` options; the report and the tape's ticks."""
    out = source.parent / "out.parquet"
    report = import_tape(source, out, parse_map(list(options)), symbol)
    return report, ticks_of(out)


def fyers_line(**changes: Any) -> str:
    """Make a SymbolUpdate as Fyers sends it, with made-up values."""
    message: dict[str, Any] = {
        "ltp": 820.5, "vol_traded_today": 1000, "last_traded_time": AT - 3, "exch_feed_time": AT, "bid_size": 10,
        "ask_size": 20, "bid_price": 820.45, "ask_price": 820.5, "last_traded_qty": 5, "tot_buy_qty": 100,
        "type": "sf", "symbol": "NSE:SBIN-EQ",
    }  # fmt: skip
    return json.dumps({key: value for key, value in (message | changes).items() if value is not None}) + "\n"


def test_fyers_messages(tmp_path: Path) -> None:
    """Each SymbolUpdate is a tick at `exch_feed_time`, an index one has neither volume nor quotes."""
    message = {"ltp": 25000.5, "exch_feed_time": AT + 1, "type": "if", "symbol": "NSE:NIFTY50-INDEX"}
    index = json.dumps(message) + "\n"
    source = written(tmp_path / "messages.jsonl", fyers_line() + index)

    report, ticks = imported(source)

    assert ticks.symbols == ("NSE:SBIN-EQ", "NSE:NIFTY50-INDEX")
    assert ticks.code.tolist() == [0, 1]
    assert ticks.ts_event.tolist() == [AT * SECOND, (AT + 1) * SECOND]
    assert ticks.ltp.tolist() == [820.5, 25000.5]
    assert (ticks.volume.tolist(), ticks.last_qty.tolist()) == ([1000, -1], [5, -1])
    assert (ticks.bid_qty.tolist(), ticks.ask_qty.tolist()) == ([10, -1], [20, -1])
    np.testing.assert_array_equal(ticks.bid, [820.45, np.nan])
    np.testing.assert_array_equal(ticks.ask, [820.5, np.nan])
    assert report.columns["ts_event"] == "exch_feed_time"
    assert report.remarks == {"ts_event": "numbers, read as s since 1970 UTC"}
    assert (report.rows, report.format, report.skipped) == (2, "jsonl", {})


def test_lines_that_are_no_ticks_are_counted(tmp_path: Path) -> None:
    """Control messages, depth without a price, and what is broken in any way: counted, never a crash."""
    lines = (
        '{"type": "cn", "code": 200, "message": "Authentication done", "s": "ok"}\n\n'
        '[1, 2]\n"text"\n{"ltp": 1.0, "symb\n\n'
        '{"type": "dp", "symbol": "NSE:SBIN-EQ", "bid_price1": 1.0}\n'
    )
    source = tmp_path / "messages.jsonl"
    source.write_bytes(lines.encode() + b'{"ltp": "\xff\xfe"}\n' + fyers_line().encode())

    report, ticks = imported(source)

    assert len(ticks) == report.rows == 1
    assert report.skipped == {"blank_line": 2, "control_message": 1, "no_price": 1, "not_an_object": 2, "not_json": 2}


def test_broken_values_in_messages_are_kept_as_null(tmp_path: Path) -> None:
    """A tick with a broken time, price or symbol is still a tick: the filter will say what is wrong with it."""
    source = written(
        tmp_path / "m.jsonl",
        fyers_line(exch_feed_time="soon")
        + fyers_line(ltp="n/a", vol_traded_today=-4)
        + fyers_line(symbol=None, bid_price=0.0, last_traded_qty=True)
        + fyers_line(exch_feed_time=None),
    )

    report, ticks = imported(source)

    assert ticks.ts_event.tolist() == [0, AT * SECOND, AT * SECOND, 0]
    np.testing.assert_array_equal(ticks.ltp, [820.5, np.nan, 820.5, 820.5])
    assert [ticks.symbols[code] for code in ticks.code] == ["NSE:SBIN-EQ", "NSE:SBIN-EQ", "", "NSE:SBIN-EQ"]
    assert (ticks.volume[1], ticks.last_qty[2]) == (-1, -1)
    assert ticks.bid[2] == 0
    assert report.invalid_times == 2
    assert report.unreadable == {"ltp": 1, "volume": 1}
    assert report.symbols == ["NSE:SBIN-EQ"]


def test_nobody_and_no_word_are_two_things_on_a_tape(tmp_path: Path) -> None:
    """A quote of 0 stays 0, one that isn't there is null, through file and reader; so does the day's band."""
    locked = fyers_line(ask_price=0.0, ask_size=0, lower_ckt=720.0, upper_ckt=880.0)
    source = written(
        tmp_path / "m.jsonl", fyers_line() + locked + fyers_line(ask_price=None, ask_size=None, upper_ckt=0)
    )

    _, ticks = imported(source)

    np.testing.assert_array_equal(ticks.ask, [820.5, 0.0, np.nan])
    assert ticks.ask_qty.tolist() == [20, 0, -1]
    np.testing.assert_array_equal(ticks.upper_band, [np.nan, 880.0, np.nan])
    np.testing.assert_array_equal(ticks.lower_band, [np.nan, 720.0, np.nan])
    null_count = pq.read_table(tmp_path / "out.parquet")["ask"].null_count
    assert null_count == 1


def test_quotes_that_are_all_0_are_none(tmp_path: Path) -> None:
    """A source that fills what it doesn't know with zeros isn't one whose book is empty all day."""
    rows = "".join(f"{AT + second},SBIN,820.5,0,0,0,0\n" for second in range(3))
    source = written(tmp_path / "t.csv", "ts_event,symbol,ltp,bid,ask,bid_qty,ask_qty\n" + rows)
    _, ticks = imported(source)
    assert np.isnan(ticks.bid).all()
    assert np.isnan(ticks.ask).all()
    assert (ticks.bid_qty == -1).all()
    source.write_text(source.read_text() + f"{AT + 9},SBIN,820.5,820.45,0,7,0\n")
    (tmp_path / "out.parquet").unlink()
    _, ticks = imported(source)
    assert ticks.ask.tolist() == [0.0] * 4


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_a_source_without_a_column_for_one_side_knows_no_book(tmp_path: Path, side: str) -> None:
    """It isn't one whose other side is empty all day; what there is of the book is left out."""
    rows = f"{AT},SBIN,820.5,820.45,7\n"
    _, ticks = imported(written(tmp_path / "t.csv", f"ts_event,symbol,ltp,{side},{side}_qty\n" + rows))
    assert np.isnan([ticks.bid[0], ticks.ask[0]]).all()
    assert [ticks.bid_qty[0], ticks.ask_qty[0]] == [-1, -1]


@pytest.mark.nightly
def test_messages_over_many_chunks(tmp_path: Path) -> None:
    """The order of arrival holds across chunks, and the last one may be short or empty."""
    for count in (sources.CHUNK_ROWS, sources.CHUNK_ROWS + 3):
        source = written(tmp_path / "m.jsonl", "".join(fyers_line(ltp=1 + i) for i in range(count)))
        out = tmp_path / f"{count}.parquet"

        import_tape(source, out, {})

        prices = np.concatenate([batch.ltp for batch in TapeReader([out]).batches(100_000)])
        assert np.array_equal(prices, np.arange(1, count + 1))


def test_csv_with_other_names_and_delimiter(tmp_path: Path) -> None:
    """`--map` names the columns, the header tells the delimiter, rows of another length are counted."""
    source = written(
        tmp_path / "ticks.csv",
        "when;name;price;cum\n"
        "2026-01-05 09:15:00+05:30;NSE:SBIN-EQ;820.5;100\n"
        "2026-01-05 09:15:01+05:30; NSE:SBIN-EQ;oops;101\n"
        "broken line\n"
        ";;;\n",
    )

    report, ticks = imported(source, "ts_event=when", "symbol=name", "ltp=price", "volume=cum")

    assert ticks.ts_event.tolist() == [AT * SECOND, (AT + 1) * SECOND, 0]
    assert [ticks.symbols[code] for code in ticks.code] == ["NSE:SBIN-EQ", "NSE:SBIN-EQ", ""]
    np.testing.assert_array_equal(ticks.ltp, [820.5, np.nan, np.nan])
    assert ticks.volume.tolist() == [100, 101, -1]
    assert report.skipped == {"wrong_column_count": 1}
    assert report.unreadable == {"ltp": 1}
    assert report.format == "csv"


def test_csv_without_a_zone_asks_for_one(tmp_path: Path) -> None:
    """Times without a zone are nobody's: one line asks; told, it is said how they were read."""
    source = written(tmp_path / "t.txt", "ts_event,symbol,ltp\n2026-01-05 09:15:00,AAA,1.5\n")
    with pytest.raises(TapeError, match=r"t\.txt: column ts_event has times without a zone: add --tz Asia/Kolkata"):
        import_tape(source, tmp_path / "out.parquet", {})
    assert list(tmp_path.iterdir()) == [source]

    report = import_tape(source, tmp_path / "out.parquet", {}, zone=parse_zone("Asia/Kolkata"))

    assert ticks_of(tmp_path / "out.parquet").ts_event.tolist() == [AT * SECOND]
    assert report.remarks["ts_event"] == "times without a zone, read as Asia/Kolkata"


@pytest.mark.parametrize("header", ["Date,Time,LTP,LTQ", "date;time;ltp;ltq", "DATE,TIME,Ltp,last_qty"])
def test_a_vendor_s_day_and_time_columns(tmp_path: Path, header: str) -> None:
    """The pair is found by its names, whatever their case, or named with --map."""
    separator = ";" if ";" in header else ","
    row = separator.join(["20260105", "09:15:00.5", "820.5", "7"])
    source = written(tmp_path / "t.csv", f"{header}\n{row}\n")

    report = import_tape(source, tmp_path / "out.parquet", {}, "NSE:SBIN-EQ", parse_zone("Asia/Kolkata"))

    ticks = ticks_of(tmp_path / "out.parquet")
    assert ticks.ts_event.tolist() == [AT * SECOND + 500_000_000]
    assert (ticks.ltp.tolist(), ticks.last_qty.tolist()) == ([820.5], [7])
    assert report.columns["ts_event"].lower() == "date+time"

    other = written(tmp_path / "o.csv", "d,t,ltp\n05-01-2026,09:15,820.5\n")
    mapping = parse_map(["ts_event=d+t"])
    import_tape(other, tmp_path / "out.parquet", mapping, "A", parse_zone("Asia/Kolkata"), overwrite=True)
    assert ticks_of(tmp_path / "out.parquet").ts_event.tolist() == [AT * SECOND]
    with pytest.raises(TapeError, match=r"--map ts_event=d\+x: no column x; it has d, t, ltp"):
        import_tape(other, tmp_path / "out.parquet", {"ts_event": "d+x"}, "A")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_time_of_day_may_be_a_duration(tmp_path: Path, unit: str) -> None:
    """As a database's TIME comes out of pandas: 33300 s since midnight are 09:15, not 03:33:00."""
    clocks = pa.array([33_300, 86_400, -1], pa.duration("s")).cast(pa.duration(unit))
    days = pa.array([dt.date(2026, 1, 5)] * 3)
    pq.write_table(pa.table({"date": days, "time": clocks, "ltp": [820.5] * 3}), tmp_path / "t.parquet")

    import_tape(tmp_path / "t.parquet", tmp_path / "out.parquet", {}, "NSE:SBIN-EQ", parse_zone("Asia/Kolkata"))

    assert ticks_of(tmp_path / "out.parquet").ts_event.tolist() == [AT * SECOND, 0, 0]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (gzip.compress(b"ts_event,symbol,ltp\n", mtime=0), "gzip"),
        (b"PK\x03\x04\x14\0", "zip"),
        (bz2.compress(b"ts_event"), "bzip2"),
        (b"\x28\xb5\x2f\xfd\0", "zstd"),
        (lzma.compress(b"ts_event"), "xz"),
        (b"ARROW1\0\0", "Arrow"),
        (b"\xff\xff\xff\xff\x70", "Arrow"),
        (b"SQLite format 3\0", "SQLite"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, head: bytes, what: str) -> None:
    """Whatever its name says: what it is, and what would be read."""
    (tmp_path / "t.csv").write_bytes(head)

    with pytest.raises(TapeError, match=rf"t\.csv: is {what}.*; expected Parquet, CSV or JSONL"):
        import_tape(tmp_path / "t.csv", tmp_path / "out.parquet", {})


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_that_is_mapped_is_not_read_as_its_name_says(tmp_path: Path, suffix: str) -> None:
    """`--map last_qty=volume`: the quantities of single trades are no total of the day as well."""
    rows = [
        {"ts_event": AT * SECOND, "ltp": 820.5, "volume": 7},
        {"ts_event": AT * SECOND + 1, "ltp": 820.6, "volume": 5},
    ]
    csv = "".join(",".join(map(str, row)) + "\n" for row in ([*rows[0]], *(row.values() for row in rows)))
    text = csv if suffix == "csv" else "".join(json.dumps(row) + "\n" for row in rows)
    source = written(tmp_path / f"t.{suffix}", text)

    report, ticks = imported(source, "last_qty=volume", symbol="NSE:SBIN-EQ")

    assert (ticks.last_qty.tolist(), ticks.volume.tolist()) == ([7, 5], [-1, -1])
    assert "volume" not in report.columns


def test_a_needed_column_may_be_mapped_as_well(tmp_path: Path) -> None:
    """`--map ts_recv=ts_event`: the exchange's time is still the exchange's time."""
    source = written(tmp_path / "t.csv", f"ts_event,ltp\n{AT * SECOND},820.5\n")

    _, ticks = imported(source, "ts_recv=ts_event", symbol="NSE:SBIN-EQ")

    assert ticks.ts_event.tolist() == ticks.ts_recv.tolist() == [AT * SECOND]


def test_parquet_with_one_symbol_and_its_time_of_receipt(tmp_path: Path) -> None:
    """`--symbol` stands for a missing column; dictionaries of texts are read like texts."""
    table = pa.table(
        {
            "ts_event": pa.array([AT * SECOND, AT * SECOND + 1]),
            "ts_recv": pa.array([AT * SECOND + 7, None]),
            "ltp": pa.array(["1.5", "1.6"]).dictionary_encode(),
            "oi": pa.array([3, None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")

    report, ticks = imported(tmp_path / "t.parquet", symbol="NSE:SBIN-EQ")

    assert ticks.symbols == ("NSE:SBIN-EQ",)
    assert ticks.ts_recv.tolist() == [AT * SECOND + 7, AT * SECOND + 7]
    assert ticks.oi.tolist() == [3, -1]
    assert list(report.columns) == ["ts_event", "ltp", "ts_recv", "oi"]


def test_symbols_keep_one_table_over_chunks(tmp_path: Path) -> None:
    """A symbol's code stays the same when later chunks bring others or leave some out."""
    rows = sources.CHUNK_ROWS
    names = ["A"] * rows + ["B"] * rows + ["A"]
    table = pa.table({"ts_event": pa.array([AT] * len(names)), "symbol": names, "ltp": [1.0] * len(names)})
    pq.write_table(table, tmp_path / "t.parquet")

    report = import_tape(tmp_path / "t.parquet", tmp_path / "out.parquet", {})

    reader = TapeReader([tmp_path / "out.parquet"])
    assert [reader.symbols[code] for batch in reader.batches(rows) for code in batch.code] == names
    assert report.symbols == ["A", "B"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ts_event"], "--map ts_event: expected TAPE_COLUMN=SOURCE_COLUMN"),
        (["=ts"], "--map =ts: expected"),
        (["ts_evnt=ts"], r"no column ts_evnt \(did you mean ts_event\?\)"),
        (["colour=ts"], r"no column colour \(a tape has ts_event, symbol, ltp"),
        (["ltp=a", "ltp=b"], "--map ltp=b: ltp is mapped already, to a"),
    ],
)
def test_wrong_map_options(options: list[str], message: str) -> None:
    """The message repeats the option and says what would be right."""
    with pytest.raises(UsageError, match=message):
        parse_map(options)


@pytest.mark.parametrize(
    ("text", "mapping", "symbol", "message"),
    [
        ("a,b\n1,2\n", {}, None, "no column for ts_event, symbol, ltp; it has a, b: add --map ts_event=COLUMN"),
        (
            "Time,Open,High,Low,Close\n1,2,2,2,2\n",
            {},
            None,
            "holds bars, for it has Time, Open, .*: --bars 5m, or what",
        ),
        (
            f"Time,Sym,Open,High,Low,Close\n{AT},A,2,2,2,2\n",
            {"ts_event": "Time", "symbol": "Sym", "ltp": "Close"},
            None,
            "holds bars, .*: --bars 5m, or what their interval is; as ticks their Close would be known too early",
        ),
        ("ts_event,ltp\n1,2\n", {}, None, "no column for symbol; .*--map symbol=COLUMN or --symbol NAME"),
        ("a,b\n1,2\n", {"ltp": "c"}, None, "--map ltp=c: no column c; it has a, b"),
        ("ts_event,symbol,ltp\n1,A,2\n", {}, "A", r"--symbol A: .* names its symbols itself, in symbol"),
        ("ts_event,symbol,ltp\n", {}, None, r"holds no ticks \(0 rows\)"),
        ("ts_event,symbol,ltp\n5,A,2\n", {}, None, "not one of 1 ticks has a readable ts_event in ts_event"),
        (f"ts_event,symbol,ltp\n{AT},A,x\n", {}, None, "not one of 1 ticks has a readable ltp"),
        (
            f"ts_event,symbol,ltp,v\n{AT},A,1,x\n",
            {"volume": "v"},
            None,
            "has a readable volume in v; its columns are ts",
        ),
        ("", {}, None, r"the file is empty \(0 bytes\)"),
    ],
)
def test_csv_that_makes_no_tape(
    tmp_path: Path, text: str, mapping: dict[str, str], symbol: str | None, message: str
) -> None:
    """One line names the file, the columns that are there, and the option to add; nothing is written."""
    source = written(tmp_path / "t.csv", text)

    with pytest.raises(UsageError, match=message) as caught:
        import_tape(source, tmp_path / "out.parquet", mapping, symbol)

    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 in a value, and a header that can't be one."""
    source = tmp_path / "t.csv"
    source.write_bytes(b"ts_event,symbol,ltp\n%d,\xff\xfe,1.0\n" % AT)
    with pytest.raises(TapeError, match=r"t\.csv: can't be read as CSV"):
        import_tape(source, tmp_path / "out.parquet", {})

    good = b"%d,AAA,1.0\n" % AT
    source.write_bytes(b"ts_event,symbol,ltp\n" + good * (5_000_000 // len(good)) + b"%d,\xff\xfe,1.0\n" % AT)
    with pytest.raises(TapeError, match=r"t\.csv: can't be read as CSV .*is not UTF-8 text: byte 0xff in line"):
        import_tape(source, tmp_path / "out.parquet", {})

    source.write_bytes(b"\n\n\n")
    with pytest.raises(TapeError, match=r"t\.csv: can't be read as CSV"):
        import_tape(source, tmp_path / "out.parquet", {})


def test_a_list_of_ticks_says_what_is_expected(tmp_path: Path) -> None:
    """A JSON file that is one value is no JSONL."""
    (tmp_path / "list.json").write_text(f"[{fyers_line().strip()}]")
    with pytest.raises(
        TapeError, match=r"list\.json: holds no ticks \(1 not_an_object; expected one JSON object a line"
    ):
        imported(tmp_path / "list.json")


def test_jsonl_that_makes_no_tape(tmp_path: Path) -> None:
    """Only control messages; a key that no message has, among those that there are."""
    out = tmp_path / "out.parquet"
    control = written(tmp_path / "c.jsonl", '{"type": "cn"}\n')
    with pytest.raises(TapeError, match=r"c\.jsonl: holds no ticks \(1 control_message\)"):
        import_tape(control, out, {})

    source = written(tmp_path / "m.jsonl", fyers_line())
    with pytest.raises(
        TapeError, match="readable ts_event in trade_time; its columns are ltp, vol_traded_today, last_"
    ):
        import_tape(source, out, {"ts_event": "trade_time"})
    for mapping in ({}, {"symbol": "symbol"}):
        with pytest.raises(UsageError, match=r"--symbol A: .* names its symbols itself, in symbol; leave --symbol out"):
            import_tape(source, out, mapping, "A")


def test_jsonl_of_one_symbol(tmp_path: Path) -> None:
    """`--symbol` names the instrument of messages that don't."""
    report, ticks = imported(written(tmp_path / "m.jsonl", fyers_line(symbol=None)), symbol="NSE:SBIN-EQ")

    assert (ticks.symbols, report.symbols) == (("NSE:SBIN-EQ",), ["NSE:SBIN-EQ"])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("ts_event", pa.array([True]), r"t\.parquet: column ts_event is bool; a time is"),
        ("ltp", pa.array([True]), r"t\.parquet: column ltp is bool; expected a number"),
        ("symbol", pa.array([7]), r"t\.parquet: column symbol is int64; a symbol is text"),
    ],
)
def test_parquet_of_wrong_types(tmp_path: Path, column: str, values: Any, message: str) -> None:
    """A type that can't hold what is wanted is refused by name."""
    columns = {"ts_event": pa.array([AT]), "symbol": pa.array(["A"]), "ltp": pa.array([1.0])} | {column: values}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")

    with pytest.raises(TapeError, match=message):
        import_tape(tmp_path / "t.parquet", tmp_path / "out.parquet", {})


def test_sources_that_cant_be_read(tmp_path: Path) -> None:
    """Missing, a directory, no Parquet in spite of its name, damaged inside."""
    out = tmp_path / "out.parquet"
    with pytest.raises(TapeError, match=r"gone\.csv: no such file; expected Parquet, CSV or JSONL"):
        import_tape(tmp_path / "gone.csv", out, {})
    with pytest.raises(TapeError, match=r"can't be read \(is a directory, expected a regular file\)"):
        import_tape(tmp_path, out, {})
    with pytest.raises(TapeError, match="not a Parquet file"):
        import_tape(written(tmp_path / "x.parquet", "a,b\n"), out, {})

    damaged = tmp_path / "d.parquet"
    pq.write_table(pa.table({"ts_event": [AT] * 99, "symbol": ["A"] * 99, "ltp": [1.0] * 99}), damaged)
    damaged.write_bytes(b"PAR1" + b"\xff" * 60 + damaged.read_bytes()[64:])
    with pytest.raises(TapeError, match=r"d\.parquet: damaged, a page can't be read"):
        import_tape(damaged, out, {})
    assert not out.exists()


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    """Not even with `overwrite`, nor under another name for the same file."""
    source = written(tmp_path / "m.jsonl", fyers_line())
    (tmp_path / "link").symlink_to(source)

    with pytest.raises(UsageError, match="is the source itself"):
        import_tape(source, tmp_path / "link", {}, overwrite=True)


def test_a_source_that_is_given_twice(tmp_path: Path) -> None:
    """Its ticks, and bars, would count twice, under another name for the same file, too."""
    source = written(tmp_path / "m.jsonl", fyers_line())
    (tmp_path / "link").symlink_to(source)
    for make in (partial(import_tape, mapping={}), partial(import_bars, interval="5m", mapping={})):
        with pytest.raises(UsageError, match="link: is given twice"):
            make([source, tmp_path / "link"], tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()


@pytest.mark.parametrize("order", [1, -1])
def test_what_several_tapes_say_of_themselves_is_kept(tmp_path: Path, order: int) -> None:
    """Made-up ticks stay made up, holes stay holes, whichever tape is named first; bars and ticks make no tape."""
    holes = [hole((AT + at) * SECOND, "the recording was paused here") for at in (5, 90_000)]
    said = [{MARKS_NOTE: msgspec.json.encode([holes[0]]).decode()},
            {MARKS_NOTE: msgspec.json.encode([holes[1]]).decode(), "simulated": "true"}, {BARS_NOTE: "5m"}]  # fmt: skip
    ticks, made_up, of_bars = (tmp_path / name for name in ("ticks.parquet", "made_up.parquet", "of_bars.parquet"))
    for path, notes in zip((ticks, made_up, of_bars), said, strict=True):
        with TapeWriter(path, columns=(), notes=notes) as writer:
            writer.write(tick(AT * SECOND, 800.0))
    import_tape([ticks, made_up][::order], tmp_path / "out.parquet", {})
    notes = TapeReader([tmp_path / "out.parquet"]).notes
    assert notes["simulated"] == "true"
    assert marks_of(notes) == holes
    with pytest.raises(TapeError, match=r"different kinds make no tape together: .*of_bars\.parquet of 5m bars"):
        import_tape([ticks, of_bars][::order], tmp_path / "none.parquet", {})
    assert not (tmp_path / "none.parquet").exists()


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the recorded market data is not beside this checkout")
def test_recorded_ticks(tmp_path: Path) -> None:
    """A year's part of real ticks: every row arrives, in order, with its faults kept for the filter to count."""
    source = SHARED / "TICKS_RELIANCE_2021.parquet"
    report = import_tape(source, tmp_path / "out.parquet", {"ts_event": "ts"})

    batches = list(TapeReader([tmp_path / "out.parquet"]).batches(131_072))
    original = pq.read_table(source, columns=["ts", "ltp", "volume"])
    expected = original["ts"].cast(pa.int64()).to_numpy() * 1_000_000  # milliseconds
    assert np.array_equal(np.concatenate([batch.ts_event for batch in batches]), expected)
    assert np.array_equal(np.concatenate([batch.ltp for batch in batches]), original["ltp"].to_numpy())
    assert np.array_equal(np.concatenate([batch.volume for batch in batches]), original["volume"].to_numpy())
    assert report.invalid_times == int(np.count_nonzero(expected == 0)) > 5000


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the recorded market data is not beside this checkout")
def test_recorded_messages(tmp_path: Path) -> None:
    """Seventeen real messages of Fyers: fourteen ticks of five symbols, three control messages."""
    report = import_tape(SHARED / "fyers_sample_messages.jsonl", tmp_path / "out.parquet", {})

    assert (report.rows, len(report.symbols), report.skipped) == (14, 5, {"control_message": 3})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_spreadsheet_s_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    """CSV and JSONL with a byte order mark, as spreadsheets write them, are the same ticks."""
    csv, jsonl = tmp_path / "t.csv", tmp_path / "t.jsonl"
    csv.write_text(f"ts_event,symbol,ltp\n{AT},₹AAA,1.5\n", encoding=encoding)
    jsonl.write_text('{"exch_feed_time":1767584700,"symbol":"₹AAA","ltp":1.5}\n', encoding=encoding)
    for source in (csv, jsonl):
        report = import_tape(source, tmp_path / "out.parquet", {}, overwrite=True)
        assert (report.rows, report.symbols, report.skipped, report.invalid_times) == (1, ["₹AAA"], {}, 0)


def test_a_line_nested_too_deeply_is_no_tick(tmp_path: Path) -> None:
    """It is counted as what it is, and the others are read."""
    source = written(tmp_path / "m.jsonl", fyers_line().rstrip() + "\n" + '{"ltp":' + "[" * 100_000)
    assert import_tape(source, tmp_path / "out.parquet", {}).skipped == {"not_json": 1}


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(TapeError, match=r"t\.csv: can't be read \(is a named pipe, expected a regular file\)"):
        import_tape(tmp_path / "t.csv", tmp_path / "out.parquet", {})


def test_columns_as_arrow_writers_make_them(tmp_path: Path) -> None:
    """Nothing but nulls has a type of its own, and texts may be views, in a dictionary or not."""
    n = 3
    columns = {
        "ts_event": pa.array([AT * SECOND + i for i in range(n)]),
        "symbol": pa.array(["NSE:SBIN-EQ"] * n).cast(pa.string_view()),
        "ltp": pa.array(["800.5", "800.6", "800.7"]).cast(pa.string_view()),
        "bid": pa.nulls(n), "oi": pa.nulls(n), "volume": pa.array([1, 2, 3]),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "views.parquet")

    report, ticks = imported(tmp_path / "views.parquet")

    assert ticks.symbols == ("NSE:SBIN-EQ",)
    assert ticks.ltp.tolist() == [800.5, 800.6, 800.7]
    assert np.isnan(ticks.bid).all()
    assert not {"bid", "oi"} & set(report.columns)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """In Parquet and in CSV, where they matter."""
    table = pa.Table.from_arrays(
        [pa.array([AT * SECOND]), pa.array(["NSE:SBIN-EQ"]), pa.array([1.0]), pa.array([2.0])],
        names=["ts_event", "symbol", "ltp", "ltp"],
    )  # fmt: skip
    pq.write_table(table, tmp_path / "two.parquet")
    (tmp_path / "two.csv").write_text(f"ts_event,symbol,ltp,ltp\n{AT},NSE:SBIN-EQ,1,2\n")
    for name in ("two.parquet", "two.csv"):
        with pytest.raises(TapeError, match="2 columns are named ltp"):
            imported(tmp_path / name)


def own_line(second: int, price: float = 820.5, **changes: Any) -> str:
    """A message under a tape's own names."""
    message = {"ts_event": (AT + second) * SECOND, "symbol": "NSE:SBIN-EQ", "ltp": price, "volume": 1000, "bid": 820.0}
    return json.dumps(message | changes) + "\n"


def test_messages_under_a_tape_s_own_names(tmp_path: Path) -> None:
    """JSONL of tape columns is read as it is named, times of receipt among them."""
    source = written(tmp_path / "m.jsonl", own_line(0, ts_recv=AT * SECOND + 5) + own_line(1, oi=3))

    report, ticks = imported(source)

    assert ticks.ts_event.tolist() == [AT * SECOND, (AT + 1) * SECOND]
    assert ticks.ts_recv[0] == AT * SECOND + 5
    assert (ticks.volume.tolist(), ticks.oi.tolist()) == ([1000, 1000], [-1, 3])
    assert report.columns["ts_event"] == "ts_event"
    assert report.invalid_times == 0


def test_messages_of_both_kinds_in_one_file(tmp_path: Path) -> None:
    """Each is read under its own names, and the report lists them."""
    report, ticks = imported(written(tmp_path / "m.jsonl", own_line(0) + fyers_line(exch_feed_time=AT + 1)))

    assert ticks.ts_event.tolist() == [AT * SECOND, (AT + 1) * SECOND]
    assert ticks.bid.tolist() == [820.0, 820.45]
    assert report.columns["ts_event"] == "ts_event, exch_feed_time"
    assert report.columns["bid"] == "bid, bid_price"


def test_messages_under_unknown_names(tmp_path: Path) -> None:
    """One line lists what was seen and what is understood; --map says the rest."""
    line = json.dumps({"t": AT, "sym": "NSE:SBIN-EQ", "price": 820.5}) + "\n"
    source = written(tmp_path / "m.jsonl", line)
    known = r"its keys are t, sym, price; understood are ts_event or exch_feed_time, symbol, ltp, .*: --map ltp=KEY"
    with pytest.raises(TapeError, match=known):
        import_tape(source, tmp_path / "out.parquet", {})
    with pytest.raises(TapeError, match="readable ts_event in ts_event or exch_feed_time; its columns are t, sym, pri"):
        import_tape(source, tmp_path / "out.parquet", {"ltp": "price"})

    report, _ = imported(source, "ltp=price", "ts_event=t", "symbol=sym")

    assert (report.rows, report.symbols) == (1, ["NSE:SBIN-EQ"])
