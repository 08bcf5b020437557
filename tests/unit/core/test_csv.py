"""CSV for Arrow: parsed by who asks, in blocks of whole lines."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from daemon.core.csv import read_csv
from daemon.core.errors import TapeError
from daemon.tape.sources import CsvSource


def test_who_asks_parses() -> None:
    """A row that is counted is counted on the thread that reads, and no other thread calls Python."""
    threads = []

    def count(row: Any) -> str:
        threads.append(threading.get_ident())
        return "skip"

    table = read_csv(
        b"a,b\n" + b"1,2\n3\n" * 100_000,
        None,
        pyarrow.csv.ConvertOptions(column_types={"a": pa.string(), "b": pa.string()}),
        pyarrow.csv.ParseOptions(invalid_row_handler=count),
    )
    assert table.num_rows == len(threads) == 100_000
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blocks_are_cut_between_lines(tmp_path: Path, end: str) -> None:
    """A file of several blocks has every row once, whatever ends its lines."""
    rows = 500_000
    path = tmp_path / "t.csv"
    text = "ts;symbol" + end + "".join(f"{n:012};NSE:SBIN-EQ{end}" for n in range(rows)) + f"1;2;3{end}{rows:012};Z"
    path.write_bytes(text.encode())
    source = CsvSource(path)
    read = [int(value) for chunk in source.chunks(["ts"]) for value in chunk["ts"].to_pylist()]
    assert read == list(range(rows + 1))
    assert (list(source.columns), dict(source.skipped)) == (["ts", "symbol"], {"wrong_column_count": 1})


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    """It would be held in memory as a whole."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"x" * (24 << 20))
    with pytest.raises(TapeError, match=r"t\.csv: can't be read as CSV \(a line is longer than 16 MiB\)"):
        CsvSource(path)
