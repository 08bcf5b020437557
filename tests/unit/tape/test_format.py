"""Tapes are read as written, in bounded pieces, and a file that is none is refused in one line."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.core.errors import TapeError
from daemon.core.events import TICK_COLUMNS, TickBatch
from daemon.tape.format import TapeReader, TapeWriter
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch


def rows_of(reader: TapeReader, chunk_rows: int = 3, symbols: list[str] | None = None) -> dict[str, list[Any]]:
    """All columns of a tape as lists, with the symbols instead of codes."""
    found: dict[str, list[Any]] = {name: [] for name in (*TICK_COLUMNS, "symbol")}
    for batch in reader.batches(chunk_rows, symbols):
        assert len(batch) <= chunk_rows
        assert batch.symbols == reader.symbols
        for name in TICK_COLUMNS:
            found[name] += getattr(batch, name).tolist()
        found["symbol"] += [batch.symbols[code] for code in batch.code]
    return found


def write_table(path: Path, **columns: Any) -> Path:
    """Write a Parquet file of any columns, two rows a group."""
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_a_tape_is_read_as_written(small_tape: Path) -> None:
    """Every value comes back, null as −1 and NaN."""
    found = rows_of(TapeReader([small_tape]))

    assert found["symbol"] == ["AAA", "AAA", "BBB", "AAA"]
    assert found["ltp"] == [1, 2, 3, 4]
    assert found["volume"] == [5, -1, 7, 8]
    np.testing.assert_array_equal(found["bid"], [0.5, np.nan, 2.5, 3.5])
    np.testing.assert_array_equal(found["ask"], [1.5, np.nan, 3.5, 4.5])
    assert found["last_qty"] == found["oi"] == found["traded"] == [-1] * 4


def test_one_side_of_a_book_is_none(tmp_path: Path) -> None:
    """A source that has no column for the other side can't say that nobody is there."""
    tape = tmp_path / "t.parquet"
    with TapeWriter(tape, columns=["bid", "bid_qty"]) as writer:
        writer.write(make_batch(("AAA",), code=[0, 0], ltp=[1, 2], bid=[0.5, 1.5], bid_qty=[3, 0]))
    found = rows_of(TapeReader([tape]))
    assert np.isnan(found["bid"]).all()
    assert found["bid_qty"] == [-1, -1]


def test_what_a_reader_tells_about_a_tape(small_tape: Path) -> None:
    """Rows, symbols, span, the columns that hold something, and the writer's notes."""
    reader = TapeReader([small_tape])

    assert (reader.rows, reader.symbols) == (4, ("AAA", "BBB"))
    assert (reader.first_ts, reader.last_ts) == (OPEN_NS, OPEN_NS + 3 * SECOND)
    assert reader.columns == ("ts_event", "symbol", "ltp", "volume", "bid", "ask")
    assert reader.notes == {"seed": "7"}


def test_several_files_are_one_stream(small_tape: Path, tmp_path: Path) -> None:
    """Symbols get one table over all files, and the rows follow in the order of the files."""
    other = tmp_path / "other.parquet"
    with TapeWriter(other) as writer:
        writer.write(make_batch(("CCC", "BBB"), code=[0, 1], ltp=[5, 6], ts_event=[60, 61]))

    reader = TapeReader([small_tape, other])
    found = rows_of(reader)

    assert reader.symbols == ("AAA", "BBB", "CCC")
    assert found["symbol"] == ["AAA", "AAA", "BBB", "AAA", "CCC", "BBB"]
    assert found["ltp"] == [1, 2, 3, 4, 5, 6]
    assert reader.last_ts == OPEN_NS + 61 * SECOND


def test_only_the_named_symbols(small_tape: Path) -> None:
    """Rows of other symbols are left out, and a chunk without any is not handed on."""
    found = rows_of(TapeReader([small_tape]), 1, ["BBB"])

    assert found["ltp"] == [3]


def test_a_symbol_that_is_not_there_is_refused(small_tape: Path) -> None:
    """The message says which symbols there are, before the first chunk is asked for."""
    with pytest.raises(TapeError, match=r"symbol ZZZ: not on the tape; it has AAA, BBB"):
        TapeReader([small_tape]).batches(10, ["AAA", "ZZZ"])


def test_time_of_receipt_is_made_where_none_was_recorded(tmp_path: Path) -> None:
    """It is the running maximum of the valid stamps, across chunks: a fault neither sets it back nor forward."""
    ts = [0, OPEN_NS, OPEN_NS + 5, OPEN_NS + 3, 10**15, 5_000_000_000 * SECOND, OPEN_NS + 4, OPEN_NS + 9]
    path = write_table(tmp_path / "t.parquet", ts_event=pa.array(ts), symbol=["A"] * 8, ltp=[1.0] * 8)
    expected = [0, OPEN_NS, *[OPEN_NS + 5] * 5, OPEN_NS + 9]

    reader = TapeReader([path])

    assert rows_of(reader, 1)["ts_recv"] == expected
    assert rows_of(reader, 8)["ts_recv"] == expected
    assert (reader.first_ts, reader.last_ts) == (OPEN_NS, OPEN_NS + 9)


def test_recorded_time_of_receipt_is_kept_and_never_falls(tmp_path: Path) -> None:
    """A gap is filled from what came before, and a clock that was set back does not set the tape back."""
    recv = [OPEN_NS + 10, None, 0, OPEN_NS + 30, OPEN_NS + 20]
    ts = [OPEN_NS, OPEN_NS + 1, OPEN_NS + 15, OPEN_NS + 29, OPEN_NS + 19]
    path = write_table(
        tmp_path / "t.parquet", ts_event=pa.array(ts), symbol=["A"] * 5, ltp=[1.0] * 5, ts_recv=pa.array(recv)
    )

    found = rows_of(TapeReader([path]), 2)

    assert [at - OPEN_NS for at in found["ts_recv"]] == [10, 10, 15, 30, 30]


def test_no_valid_time_at_all(tmp_path: Path) -> None:
    """A tape of broken stamps can be opened; it has no span."""
    path = write_table(tmp_path / "t.parquet", ts_event=pa.array([0, 5]), symbol=["A", "A"], ltp=[1.0, 1.0])

    reader = TapeReader([path])

    assert (reader.first_ts, reader.last_ts) == (None, None)
    assert rows_of(reader)["ts_recv"] == [0, 0]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_symbols_in_any_text_column(tmp_path: Path, kind: Any) -> None:
    """Plain, large and dictionary texts are symbols; null is the nameless symbol that no one knows."""
    symbols = pa.array(["B", None, "A", "B", "C" * 40, "C" * 40], pa.string())
    symbols = symbols.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else symbols.cast(kind)
    path = write_table(
        tmp_path / "t.parquet", ts_event=pa.array([OPEN_NS] * 6), symbol=symbols, ltp=[1.0, None, 3.0, 4.0, 5.0, 6.0]
    )

    reader = TapeReader([path])
    found = rows_of(reader, 4)

    assert set(reader.symbols) == {"", "A", "B", "C" * 40}
    assert found["symbol"] == ["B", "", "A", "B", "C" * 40, "C" * 40]
    assert np.isnan(found["ltp"][1])


def test_null_times_are_no_times(tmp_path: Path) -> None:
    """They become 0, which the filter rejects as bad_time."""
    path = write_table(tmp_path / "t.parquet", ts_event=pa.array([None, OPEN_NS]), symbol=["A", "A"], ltp=[1.0, 1.0])

    assert rows_of(TapeReader([path]))["ts_event"] == [0, OPEN_NS]


def good_columns() -> dict[str, Any]:
    """Make the least that a tape has."""
    return {"ts_event": pa.array([OPEN_NS]), "symbol": pa.array(["A"]), "ltp": pa.array([1.0])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ts_event": None}, r"no column ts_event; .* has symbol, ltp; `hrmd tape import --map ts_event=COLUMN`"),
        ({"symbol": None, "ltp": None}, r"no column symbol, ltp"),
        (
            {"ltp": None} | dict.fromkeys(("Open", "High", "Low", "Close"), pa.array([1.0])),
            r"no column ltp; .*, Close: these are bars, which `hrmd tape import --bars 5m` converts",
        ),
        (
            {"ts_event": pa.array([1], pa.timestamp("ms"))},
            r"column ts_event is timestamp\[ms\], a tape has int64 \(UTC",
        ),
        ({"ltp": pa.array([1])}, r"column ltp is int64, a tape has double"),
        ({"symbol": pa.array([7])}, r"column symbol is int64, a tape has string"),
        ({"volume": pa.array([1.5])}, r"column volume is double, a tape has int64;"),
    ],
)
def test_wrong_columns_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The message names the file, the column, and what would be right."""
    columns = {name: column for name, column in (good_columns() | change).items() if column is not None}
    path = write_table(tmp_path / "t.parquet", **columns)

    with pytest.raises(TapeError, match=rf"t\.parquet: {message}") as caught:
        TapeReader([path])
    assert "\n" not in str(caught.value)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    """It can't be told which of them is meant."""
    columns = good_columns()
    table = pa.Table.from_arrays([*columns.values(), columns["ltp"]], names=[*columns, "ltp"])
    pq.write_table(table, tmp_path / "t.parquet")

    with pytest.raises(TapeError, match="2 columns are named ltp"):
        TapeReader([tmp_path / "t.parquet"])


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    """A tape has at least one tick."""
    empty = {name: column.slice(0, 0) for name, column in good_columns().items()}

    with pytest.raises(TapeError, match=r"holds no ticks \(0 rows\)"):
        TapeReader([write_table(tmp_path / "t.parquet", **empty)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"ts,ltp\n1,2\n", "not a Parquet file; `hrmd tape import` converts CSV and JSONL"),
        (b"PAR1", "truncated"),
        (b"PAR1 and no footer", "truncated, its Parquet footer is missing"),
        (b"PAR1 no footer \x08\0\0\0PAR1", "damaged, its Parquet footer can't be read"),
    ],
)
def test_what_is_no_tape_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """One line says what is wrong with the file."""
    path = tmp_path / "t.parquet"
    path.write_bytes(content)

    with pytest.raises(TapeError, match=rf"t\.parquet: {message}") as caught:
        TapeReader([path])
    assert "\n" not in str(caught.value)


def test_a_truncated_tape_is_refused(small_tape: Path) -> None:
    """Half of a tape has no footer."""
    content = small_tape.read_bytes()
    small_tape.write_bytes(content[: len(content) // 2])

    with pytest.raises(TapeError, match="truncated"):
        TapeReader([small_tape])


def test_a_damaged_page_is_a_tape_error(small_tape: Path) -> None:
    """The footer is whole, so it shows only while the ticks are read."""
    content = bytearray(small_tape.read_bytes())
    content[4:200] = b"\xff" * 196
    small_tape.write_bytes(bytes(content))

    with pytest.raises(TapeError, match="damaged, a page can't be read"):
        list(TapeReader([small_tape]).batches(10))


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    """Nothing is read from a path that is no file."""
    with pytest.raises(TapeError, match=r"nowhere\.parquet: no such tape"):
        TapeReader([tmp_path / "nowhere.parquet"])
    with pytest.raises(TapeError, match=r"can't be read \(is a directory, expected a regular file\)"):
        TapeReader([tmp_path])
    with pytest.raises(TapeError, match="no tape given"):
        TapeReader([])


def test_foreign_notes_are_refused(tmp_path: Path) -> None:
    """The notes are an object of texts."""
    table = pa.table(good_columns()).replace_schema_metadata({"hrmd.notes": "[1]"})
    pq.write_table(table, tmp_path / "t.parquet")

    with pytest.raises(TapeError, match=r"its notes \(metadata key hrmd\.notes\)"):
        TapeReader([tmp_path / "t.parquet"])


def test_a_row_group_without_statistics_is_read(tmp_path: Path) -> None:
    """Symbols, span and columns are then found in the ticks themselves."""
    table = pa.table(good_columns() | {"volume": pa.array([None], pa.int64())})
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=False)

    reader = TapeReader([tmp_path / "t.parquet"])

    assert (reader.symbols, reader.first_ts, reader.columns[-1]) == (("A",), OPEN_NS, "volume")


def test_many_small_writes_fill_row_groups(tmp_path: Path) -> None:
    """Ticks are collected into large groups, across tables of symbols."""
    path = tmp_path / "t.parquet"
    whole = make_batch(ltp=np.arange(1.0, 300_001.0))
    with TapeWriter(path) as writer:
        for start in range(0, 300_000, 100_000):
            part = whole.slice(start, start + 100_000)
            writer.write(TickBatch(symbols=(f"S{start}",), **{name: getattr(part, name) for name in TICK_COLUMNS}))

    reader = TapeReader([path])

    assert writer.rows == reader.rows == 300_000
    assert reader.files[0].metadata.num_row_groups <= 3
    assert reader.symbols == ("S0", "S100000", "S200000")
    assert np.array_equal(np.concatenate([batch.ltp for batch in reader.batches(65_536)]), whole.ltp)


def test_an_unfinished_tape_is_not_there(tmp_path: Path) -> None:
    """When the block fails neither the tape nor a temporary file is left."""
    path = tmp_path / "t.parquet"
    with pytest.raises(ZeroDivisionError), TapeWriter(path) as writer:
        writer.write(make_batch(ltp=[1.0 / writer.rows]))

    assert list(tmp_path.iterdir()) == []


def test_a_tape_without_ticks_is_not_written(tmp_path: Path) -> None:
    """A reader would refuse it."""
    with pytest.raises(TapeError, match="not written, for there was no tick"), TapeWriter(tmp_path / "t.parquet"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_places_that_cant_be_written(tmp_path: Path, small_tape: Path) -> None:
    """They are refused before any work is done."""
    with pytest.raises(TapeError, match=r"exists already; --force overwrites it"):
        TapeWriter(small_tape)
    with pytest.raises(TapeError, match="is a directory"):
        TapeWriter(tmp_path)
    with pytest.raises(TapeError, match=r"the directory .*gone does not exist"):
        TapeWriter(tmp_path / "gone" / "t.parquet")
    with pytest.raises(TapeError, match=r"can't be written \(File name too long\)"), TapeWriter(tmp_path / ("x" * 250)):
        pass


def test_overwriting_replaces_the_whole_tape(small_tape: Path) -> None:
    """With `overwrite` the new tape takes the old one's place."""
    with TapeWriter(small_tape, overwrite=True) as writer:
        writer.write(make_batch(ltp=[9.0]))

    assert rows_of(TapeReader([small_tape]))["ltp"] == [9]


@pytest.mark.parametrize("rows", [10, 300_000])
def test_a_full_disk_is_a_tape_error(tmp_path: Path, rows: int) -> None:
    """Whether it fills while ticks are written or at the end; nothing is left behind."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with (
            pytest.raises(TapeError, match=r"t\.parquet: can't be written \(.*File too large"),
            TapeWriter(tmp_path / "t.parquet") as writer,
        ):
            writer.write(make_batch(ltp=np.random.default_rng(1).random(rows) + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_row_uses_are_no_symbols(tmp_path: Path) -> None:
    """A file's dictionary may hold more names than its rows: only those of rows are on the tape."""
    path = tmp_path / "tape.parquet"
    with TapeWriter(path) as writer:
        writer.write(make_batch(("AAA", "BBB"), code=[0, 0], ts_event=[1, 2], ltp=[1.0, 2.0]))

    reader = TapeReader([path])

    assert reader.symbols == ("AAA",)
    assert [batch.code.tolist() for batch in reader.batches(1)] == [[0], [0]]


def test_a_name_beside_nameless_rows(tmp_path: Path) -> None:
    """One name in the dictionary, and rows that have none: both are there; of a file of nulls only the nameless."""
    for number, (symbols, expected) in enumerate(((["AAA", None], ("AAA", "")), ([None, None], ("",)))):
        path = tmp_path / f"{number}.parquet"
        columns = {"ts_event": pa.array([OPEN_NS, OPEN_NS]), "symbol": pa.array(symbols, pa.string()),
                   "ltp": pa.array([1.0, 2.0])}  # fmt: skip
        pq.write_table(pa.table(columns), path)
        reader = TapeReader([path])
        assert reader.symbols == expected
        assert [expected[code] for batch in reader.batches(9) for code in batch.code] == [it or "" for it in symbols]


def test_any_flipped_bit_of_a_footer_is_read_or_refused(tmp_path: Path) -> None:
    """Bit 0 of each byte: some of them end the process inside Arrow where a column's metadata is asked for unread."""
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=["volume"]) as writer:
        writer.write(make_batch(("NSE:A-EQ", "NSE:B-EQ"), code=[0, 1] * 20, ltp=[100.0] * 40, volume=range(40)))
    content = path.read_bytes()
    refused = 0
    for place in range(len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content) - 4):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            reader = TapeReader([path])
            assert reader.first_ts is None or reader.first_ts > 0
            list(reader.batches(10))
        except TapeError as error:
            refused += 1
            said = str(error)
            assert said.startswith(f"{path}: ")
            assert "\n" not in said
    assert refused > 100


def test_a_symbol_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """In the pages and in the footer's statistics: one line that names the file."""
    path = tmp_path / "t.parquet"
    with TapeWriter(path) as writer:
        writer.write(make_batch(("NSE:ABCDEFGH-EQ",), ltp=[100.0] * 4))
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"ABC\xff\xfeFGH"))
    with pytest.raises(TapeError, match=r"t\.parquet: damaged, .* can't be read"):
        list(TapeReader([path]).batches(10))


def test_a_pipe_is_no_tape(tmp_path: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(tmp_path / "t.parquet")
    with pytest.raises(TapeError, match=r"t\.parquet: can't be read \(is a named pipe, expected a regular file\)"):
        TapeReader([tmp_path / "t.parquet"])
