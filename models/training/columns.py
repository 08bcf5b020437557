"""A file of bars, Parquet or CSV under whatever names → a table with the columns that bars have.

Invariant: a time in the table is UTC: what a CSV file writes without a zone is Mumbai's, as exchanges and vendors here
write it, and a Parquet timestamp says what it is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.india import MUMBAI_NS
from models.training.errors import DataError

PRICES: Final = ("open", "high", "low", "close")
NAMES: Final = ("ts", *PRICES, "volume", "symbol")
WRITTEN: Final = "%Y%m%d %H:%M:%S", "%Y%m%d %H:%M", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d/%m/%Y %H:%M:%S", \
    "%d/%m/%Y %H:%M", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M"  # fmt: skip
"""Times of CSV files beside ISO 8601 and numbers since 1970."""
_GROUPED: Final = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{2,3})*,[0-9]{3}(\.[0-9]*)?$")
"""A number with its thousands, or its lakhs and crores, set apart: 1,00,000.50."""
_MUMBAI: Final = timezone(timedelta(hours=5, minutes=30))
_UNITS: Final = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
"""Numbers below the first are so many nanoseconds each: seconds, milliseconds, microseconds since 1970."""


def columns_named(text: str) -> dict[str, str]:
    """``time=Date,open=Open`` as names of columns by those of bars; `time` is ts. Raises DataError."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise DataError(f"--columns {text}: expected ts=NAME,open=NAME and so on")
        name = "ts" if name == "time" else name
        if name not in NAMES or name in found:
            raise DataError(f"--columns {part}: no such column of bars, or twice; there are {', '.join(NAMES)}")
        found[name] = column
    return found


def read_table(path: Path, columns: Mapping[str, str]) -> pa.Table:
    """The bars of a file under the names `NAMES`; ``columns`` says under which other names they stand there.

    A time may stand in two columns, ``ts: Date+Time``. Bars that a replay wrote (`ts_open`) keep their `interval`.
    Raises DataError for a file that can't be read or lacks one.
    """
    try:
        table = _read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if path.suffix.lower() == ".csv" else "Parquet"
        raise DataError(f"{path}: not a readable {kind} file ({str(error).splitlines()[0]})") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: holds no bars")
    return _named(table, path, columns)


def _read_csv(path: Path) -> pa.Table:
    """Every column as text; numbers are read where they are known to be some.

    Python's own reader: Arrow's keeps threads that can abort a process that ends.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        delimiter = max(",;\t", key=stream.readline().count)
        stream.seek(0)
        names, *rows = list(csv.reader(stream, delimiter=delimiter)) or [[]]
    ragged = next((line for line, row in enumerate(rows, 2) if row and len(row) != len(names)), None)
    if ragged is not None:
        raise DataError(f"{path}: line {ragged} has {len(rows[ragged - 2])} values, expected {len(names)} as in line 1")
    columns = zip(*(row for row in rows if row), strict=True) if any(rows) else [()] * len(names)
    texts = [pa.array([value or None for value in column], pa.string()) for column in columns]
    return pa.Table.from_arrays(texts, names=names)


def _named(table: pa.Table, path: Path, columns: Mapping[str, str]) -> pa.Table:
    found: dict[str, pa.ChunkedArray] = {}
    absent = []
    for name in NAMES:
        usual = "ts_open" if name == "ts" and not _stands(table, "ts") else name
        there = [_stands(table, part) for part in columns.get(name, usual).split("+")]
        if all(there):
            found[name] = _column([table[part] for part in there if part], name, path)
        elif name in columns or name in ("ts", *PRICES):
            absent.append(columns.get(name, name))
    if absent:
        raise DataError(
            f"{path}: columns {', '.join(absent)} are absent; found {', '.join(table.column_names)}; "
            "--columns ts=…,open=… says which is which"
        )
    if "ts_open" in table.column_names and "interval" in table.column_names:
        found["interval"] = table["interval"].cast(pa.string())
    return pa.table(found)


def _stands(table: pa.Table, name: str) -> str | None:
    """The column of that name, or the only one that differs from it by capitals."""
    if name in table.column_names:
        return name
    near = [one for one in table.column_names if one.strip().casefold() == name.strip().casefold()]
    return near[0] if len(near) == 1 else None


def _column(parts: list[pa.ChunkedArray], name: str, path: Path) -> pa.ChunkedArray:
    texts = path.suffix.lower() == ".csv"
    if name == "ts":
        if not texts and len(parts) > 1:
            raise DataError(f"{path}: a time in {len(parts)} columns is read of CSV files only; expected one timestamp")
        return _times(parts, path) if texts else parts[0]
    if name == "symbol" or not texts:
        return parts[0]
    written = pc.utf8_trim_whitespace(parts[0].cast(pa.string()))
    commas = [text for text in written.to_pylist() if text and "," in text]
    told = name == "volume" or any("." in text or text.count(",") > 1 for text in commas)
    unclear = next((text for text in commas if not told or not _GROUPED.match(text)), None)
    if unclear is not None:
        raise DataError(f"{path}: column {name} has {unclear}: a comma that may be a decimal one; expected a point")
    try:
        return pc.cast(pc.replace_substring(written, ",", ""), pa.float64())
    except pa.ArrowInvalid as error:
        texts = written.to_pylist()
        row = next(row for row, text in enumerate(texts) if text and not _is_number(text.replace(",", "")))
        raise DataError(
            f"{path}: column {name} is not all numbers: {texts[row]!r} in row {row + 1:,}; expected a number or nothing"
        ) from error


def _is_number(text: str) -> bool:
    try:
        pc.cast(pa.scalar(text), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _times(parts: list[pa.ChunkedArray], path: Path) -> pa.ChunkedArray:
    """Texts as UTC nanoseconds."""
    texts = [
        " ".join(row) if None not in row else "" for row in zip(*(part.to_pylist() for part in parts), strict=True)
    ]
    texts = [text.strip() for text in texts]
    try:
        return pa.chunked_array([pa.array(_read_times(texts), pa.int64())])
    except (ValueError, OverflowError):
        row = next((row for row in range(len(texts)) if not _can_read(texts, row)), 0)
        raise DataError(
            f"{path}: {texts[row]!r} in row {row + 1:,} is no time that is known, or is not written as the first is; "
            "expected 2020-01-31 09:15:00, 2020-01-31T09:15:00+05:30, 31-01-2020 09:15, 20200131 09:15 or whole "
            "seconds since 1970"
        ) from None


def _can_read(texts: list[str], row: int) -> bool:
    """Whether a time is read as the first one is."""
    try:
        return len(_read_times([texts[0], texts[row]])) > 0
    except (ValueError, OverflowError):
        return False


def _read_times(texts: list[str]) -> np.ndarray:
    first = texts[0]
    if first.lstrip("-").isdigit() and len(first) != 8:
        return since_1970(np.array([int(text) for text in texts], np.int64))
    for written in WRITTEN:
        try:
            datetime.strptime(first, written)
        except ValueError:
            continue
        read = pc.strptime(pa.array(texts), format=written, unit="ns").cast(pa.int64())
        return np.asarray(read.to_numpy(zero_copy_only=False)) - MUMBAI_NS
    return np.array([_iso(text) for text in texts], np.int64)


def since_1970(numbers: np.ndarray) -> np.ndarray:
    """Seconds, milli-, micro- or nanoseconds since 1970 as the last of these, told by the size of the first."""
    return numbers * next((each for below, each in _UNITS if abs(int(numbers[0])) < below), 1)


def _iso(text: str) -> int:
    when = datetime.fromisoformat(text)
    passed = (when if when.tzinfo else when.replace(tzinfo=_MUMBAI)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000_000 + passed.microseconds * 1_000
