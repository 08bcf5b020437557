"""What a tape file is: its columns, the check that a file is one, and what its footer tells without reading the ticks.

Invariant: a `TapeFile` that `check_file` returned has rows and the required columns, all of the right type.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daemon.core.errors import TapeError
from daemon.core.files import open_regular

FIRST_VALID_NS = 946_684_800_000_000_000
"""2000-01-01 UTC: an earlier stamp is a fault of the recorder, not a time."""
LAST_VALID_NS = 4_102_444_800_000_000_000
"""2100-01-01 UTC: so is a later one."""

PRICES = ("open", "high", "low", "close")
"""What bars have, and ticks don't, whatever their case."""

REQUIRED_COLUMNS = {"ts_event": pa.int64(), "symbol": pa.string(), "ltp": pa.float64()}
OPTIONAL_COLUMNS = {
    "ts_recv": pa.int64(),
    "last_qty": pa.int64(),
    "volume": pa.int64(),
    "bid": pa.float64(),
    "ask": pa.float64(),
    "bid_qty": pa.int64(),
    "ask_qty": pa.int64(),
    "oi": pa.int64(),
    "lower_band": pa.float64(),
    "upper_band": pa.float64(),
}
TAPE_COLUMNS = REQUIRED_COLUMNS | OPTIONAL_COLUMNS

NOTES_KEY = b"hrmd.notes"
SIMULATED = {"simulated": "true"}
"""The note of what a program made up."""
ROW_GROUP_ROWS = 262_144
_MAGIC = b"PAR1"
_DAMAGE = (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError)


class TapeFile(msgspec.Struct, frozen=True):
    """One checked file: its Parquet metadata, the tape columns that hold at least one value, and its notes."""

    path: Path
    metadata: Any
    columns: tuple[str, ...]
    notes: dict[str, str]


def open_parquet(path: Path) -> tuple[Any, Any]:
    """Read (metadata, Arrow schema) of any Parquet file that has rows; raises `TapeError`."""
    try:
        with open_regular(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            head = _bytes_at(stream, 0)
            tail = _bytes_at(stream, max(0, size - 4))
    except FileNotFoundError:
        raise TapeError(f"{path}: no such tape; expected a Parquet file as `hrmd tape import` writes it") from None
    except OSError as error:
        raise TapeError(f"{path}: can't be read ({error.strerror})") from None
    if size == 0:
        raise TapeError(f"{path}: the file is empty (0 bytes); expected a Parquet tape")
    if head != _MAGIC:
        raise TapeError(f"{path}: not a Parquet file; `hrmd tape import` converts CSV and JSONL")
    if tail != _MAGIC or size <= 8:
        raise TapeError(f"{path}: truncated, its Parquet footer is missing; copy or import it again")
    with decoding(path, "its Parquet footer"), pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
    if metadata.num_rows == 0:
        raise TapeError(f"{path}: holds no ticks (0 rows)")
    return metadata, schema


def check_file(path: Path) -> TapeFile:
    """Check one tape by its first and last bytes, its footer and its columns; raises `TapeError`."""
    metadata, schema = open_parquet(path)
    with decoding(path, "its Parquet footer"):
        return _checked(path, metadata, schema)


@contextlib.contextmanager
def decoding(path: Path, part: str = "a page") -> Iterator[None]:
    """Whatever Arrow, or what is made of its columns, raises for damaged bytes is one `TapeError` that names the file.

    A flipped bit shows as almost any error: a text that is no UTF-8, a count beyond all memory, an unknown type.
    """
    try:
        yield
    except _DAMAGE as error:
        raise TapeError(f"{path}: damaged, {part} can't be read ({first_line(error)})") from None


def _checked(path: Path, metadata: Any, schema: Any) -> TapeFile:
    _check_schema(path, schema)
    empty = {name for name in OPTIONAL_COLUMNS if name in schema.names and _all_null(path, metadata, name)}
    quotes = [name for name in ("bid", "ask") if name in schema.names and name not in empty]
    one_sided = ("bid" in schema.names) != ("ask" in schema.names)
    if one_sided or (quotes and all(_all_zero(path, metadata, name) for name in quotes)):
        # what the source can't tell of, or writes 0 for, is no empty side of the book
        empty |= {"bid", "ask", "bid_qty", "ask_qty"}
    columns = tuple(name for name in TAPE_COLUMNS if name in schema.names and name not in empty)
    return TapeFile(path=path, metadata=metadata, columns=columns, notes=notes_of(path, schema))


def are_bars(names: Iterable[str]) -> bool:
    """Whether columns of these names are those of bars."""
    return set(PRICES) <= {name.strip().lower() for name in names}


def _bytes_at(stream: Any, offset: int) -> bytes:
    stream.seek(offset)
    return bytes(stream.read(4))


def _check_schema(path: Path, schema: Any) -> None:
    missing = [name for name in REQUIRED_COLUMNS if name not in schema.names]
    if missing:
        way = f"; `hrmd tape import --map {missing[0]}=COLUMN` converts it"
        if are_bars(schema.names):
            way = ": these are bars, which `hrmd tape import --bars 5m` converts (or whatever their interval is)"
        raise TapeError(
            f"{path}: no column {', '.join(missing)}; a tape has ts_event, symbol and ltp, this file has "
            f"{listed(schema.names)}{way}"
        )
    for name, wanted in TAPE_COLUMNS.items():
        positions = schema.get_all_field_indices(name)
        if len(positions) > 1:
            raise TapeError(f"{path}: {len(positions)} columns are named {name}; a tape has one")
        for position in positions:
            kind = schema.field(position).type
            value = kind.value_type if pa.types.is_dictionary(kind) else kind
            fits = pa.types.is_string(value) or pa.types.is_large_string(value) if name == "symbol" else kind == wanted
            if not fits:
                unit = " (UTC nanoseconds)" if name.startswith("ts_") else ""
                raise TapeError(
                    f"{path}: column {name} is {kind}, a tape has {wanted}{unit}; `hrmd tape import` converts it"
                )


def notes_of(path: Path, schema: Any) -> dict[str, str]:
    """What a tape's writer said of it. Raises `TapeError`."""
    raw = (schema.metadata or {}).get(NOTES_KEY)
    try:
        return msgspec.json.decode(raw, type=dict[str, str]) if raw else {}
    except msgspec.MsgspecError:
        raise TapeError(f"{path}: its notes (metadata key {NOTES_KEY.decode()}) are not an object of texts") from None


def _column_chunks(path: Path, metadata: Any, name: str) -> Iterator[Any]:
    """The metadata of a column in each row group.

    Each is read from first: where the footer is damaged that is an error, while asking for the metadata would end the
    process (Arrow's `ColumnChunkMetaData` throws, and pyarrow doesn't catch it there).
    """
    position = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == name)
    with decoding(path), pq.ParquetFile(path, metadata=metadata, buffer_size=65536, pre_buffer=False) as file:
        for group in range(metadata.num_row_groups):
            next(file.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
            yield metadata.row_group(group).column(position)


def _all_null(path: Path, metadata: Any, name: str) -> bool:
    return all(
        chunk.statistics is not None and chunk.statistics.null_count == chunk.num_values
        for chunk in _column_chunks(path, metadata, name)
    )


def _all_zero(path: Path, metadata: Any, name: str) -> bool:
    """Whether a column says 0, or nothing, in every row: of quotes that is no empty book, but none at all."""
    return all(
        chunk.statistics is not None and chunk.statistics.has_min_max and chunk.statistics.max == 0
        for chunk in _column_chunks(path, metadata, name)
        if chunk.statistics is None or chunk.statistics.null_count != chunk.num_values
    )


def symbols_of(file: TapeFile) -> Iterator[str]:
    """List the symbols, by reading their column.

    Its statistics aren't asked: those of a text in a damaged footer end the process inside Arrow.
    """
    with decoding(file.path):
        for record in records(file, ["symbol"], ROW_GROUP_ROWS):
            codes = as_dictionary(record.column(0))
            names = codes.dictionary.to_pylist()
            if len(names) == 1:  # it is a row's where not all say nothing
                yield from (names[0] or "",) if codes.null_count < len(codes) else ()
            else:
                used = set(codes.indices.unique().to_pylist())  # a dictionary may hold names that no row uses
                yield from (symbol or "" for code, symbol in enumerate(names) if code in used)
            if codes.null_count:
                yield ""


def time_spans(file: TapeFile) -> Iterator[tuple[int, int]]:
    """Yield (first, last) valid `ts_event` of each row group that has one."""
    with decoding(file.path):
        for group, chunk in enumerate(_column_chunks(file.path, file.metadata, "ts_event")):
            known = chunk.statistics
            if known is not None and known.has_min_max and known.min >= FIRST_VALID_NS and known.max < LAST_VALID_NS:
                yield known.min, known.max
                continue
            for record in records(file, ["ts_event"], ROW_GROUP_ROWS, [group]):
                ts = int_column(record.column(0), 0)
                ts = ts[valid_times(ts)]
                if len(ts):
                    yield int(ts.min()), int(ts.max())


def valid_times(ts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which stamps (UTC ns) can be times at all: from 2000 to 2099."""
    return (ts >= FIRST_VALID_NS) & (ts < LAST_VALID_NS)


def records(file: TapeFile, columns: list[str], rows: int, groups: list[int] | None = None) -> Iterator[Any]:
    """Stream record batches straight from the pages: nothing is buffered beyond the page being decoded."""
    with (
        decoding(file.path),
        pq.ParquetFile(
            file.path, metadata=file.metadata, read_dictionary=["symbol"], buffer_size=65536, pre_buffer=False
        ) as parquet,
    ):
        stream = parquet.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False)
        for record in stream:
            if record.num_rows:
                record.validate(full=True)
                yield record


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Write names in a row, at most `limit` of them, for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def first_line(error: Exception) -> str:
    """Cut a library's message to one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def as_dictionary(column: Any) -> Any:
    """Make an Arrow text column one of dictionary codes."""
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def int_column(column: Any, null: int) -> NDArray[np.int64]:
    """Take the values of an Arrow int64 column, `null` where it has none."""
    values: NDArray[np.int64] = buffer_of(column.fill_null(null) if column.null_count else column, np.dtype(np.int64))
    return values


def buffer_of(column: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    """View an Arrow array without nulls, no copy (its own `to_numpy` would import pandas where that is installed)."""
    return np.frombuffer(column.buffers()[1], dtype=kind, count=len(column), offset=column.offset * kind.itemsize)
