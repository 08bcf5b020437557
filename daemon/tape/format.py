"""Parquet tapes turned into `TickBatch`es, and back.

A tape holds ticks in arrival order: `ts_event` int64 (UTC ns), `symbol` string, `ltp` float64, and, where known,
`ts_recv` int64, `last_qty`, `volume` (cumulative for the day), `bid_qty`, `ask_qty`, `oi` int64, `bid`, `ask` float64,
and the day's price band, `lower_band`, `upper_band` float64. A quote of 0 is an empty side of the book, null is
unknown; a tape without a single quote above 0, or with a column for one side of the book alone, has none.
Invariant: a reader yields every row of its files once, in their order, holding two chunks in memory at a time (of
small row groups as many as `LOOKED_AHEAD` rows are), and `ts_recv` never falls.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daemon.core.errors import TapeError
from daemon.core.events import BAND_COLUMNS, MISSING_INT, TickBatch
from daemon.tape.file import (
    NOTES_KEY,
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    ROW_GROUP_ROWS,
    TAPE_COLUMNS,
    TapeFile,
    as_dictionary,
    buffer_of,
    check_file,
    decoding,
    int_column,
    listed,
    records,
    symbols_of,
    time_spans,
    valid_times,
)
from daemon.tape.receipts import LOOKED_AHEAD, Receipts, stamps

OPENING_ROWS = 101
_NO_TIMES = np.zeros(0, dtype=np.int64)
_SYMBOL_TYPE = pa.dictionary(pa.int32(), pa.string())


class TapeReader:
    """One or many tape files as one stream of ticks.

    Raises `TapeError` at once when a file is missing, empty, truncated, no Parquet or of other columns, and while
    streaming when a page can't be decoded.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise TapeError("no tape given: name at least one Parquet file")
        self.files = tuple(check_file(Path(path)) for path in paths)
        self.rows: int = sum(file.metadata.num_rows for file in self.files)
        self.symbols = tuple(dict.fromkeys(symbol for file in self.files for symbol in symbols_of(file)))
        self._code_of = {symbol: code for code, symbol in enumerate(self.symbols)}

    @cached_property
    def first_ts(self) -> int | None:
        """The smallest valid `ts_event`, UTC ns; None where no stamp is valid. Reads the column where it must."""
        spans = [span for file in self.files for span in time_spans(file)]
        return min((first for first, _ in spans), default=None)

    @cached_property
    def last_ts(self) -> int | None:
        """The largest valid `ts_event`, UTC ns; None where no stamp is valid. Reads the column where it must."""
        spans = [span for file in self.files for span in time_spans(file)]
        return max((last for _, last in spans), default=None)

    @cached_property
    def opening_ts(self) -> int | None:
        """About when the tape begins, UTC ns: the median of its first valid stamps, so that no false one moves it."""
        for file in self.files:
            for record in records(file, ["ts_event"], ROW_GROUP_ROWS):
                ts = int_column(record.column(0), 0)
                ts = ts[valid_times(ts)][:OPENING_ROWS]
                if len(ts):
                    return int(np.sort(ts)[(len(ts) - 1) // 2])
        return None

    def first_in(self, start: int, stop: int) -> int | None:
        """The first stamp in [start, stop), UTC ns, among the tape's first rows."""
        for file in self.files:
            for record in records(file, ["ts_event"], ROW_GROUP_ROWS):
                ts = int_column(record.column(0), 0)
                inside = ts[(ts >= start) & (ts < stop)]
                if len(inside):
                    return int(inside[0])
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The tape columns that hold a value in at least one file, in the tape's order."""
        return tuple(name for name in TAPE_COLUMNS if any(name in file.columns for file in self.files))

    @property
    def notes(self) -> dict[str, str]:
        """What the writers said about the tape (`simulated`, `seed`, `source`, …); of several files the first's."""
        return {key: text for file in reversed(self.files) for key, text in file.notes.items()}

    def batches(self, chunk_rows: int, symbols: Collection[str] | None = None) -> Iterator[TickBatch]:
        """Stream the ticks in arrival order, at most `chunk_rows` at a time, of all or of the named `symbols`.

        `ts_recv` is the running maximum, over the whole tape, of the times recorded, and of the `ts_event`s where none
        was, but for stamps that what follows contradicts (see `daemon.tape.receipts`). Raises `TapeError` for a symbol
        that is not on the tape.
        """
        wanted = None
        if symbols is not None:
            for symbol in sorted(set(symbols) - set(self.symbols)):
                raise TapeError(f"symbol {symbol}: not on the tape; it has {listed(self.symbols)}")
            wanted = np.array([symbol in symbols for symbol in self.symbols])
        return self._stream(chunk_rows, wanted)

    def _decoded(self, file: TapeFile, record: Any) -> TickBatch:
        with decoding(file.path):
            return _decode(record, self.symbols, self._code_of)

    def _stream(self, chunk_rows: int, wanted: NDArray[np.bool_] | None) -> Iterator[TickBatch]:
        receipts = Receipts(alone="ts_recv" not in self.columns)
        coming = (
            self._decoded(file, record)
            for file in self.files
            for record in records(file, list(file.columns), chunk_rows)
        )
        held = deque(itertools.islice(coming, 1))
        while held:
            batch = held.popleft()
            while sum(map(len, held)) < LOOKED_AHEAD and (later := next(coming, None)) is not None:
                held.append(later)
            after = np.concatenate([_NO_TIMES, *(later.ts_recv[:LOOKED_AHEAD] for later in held)])
            ts_recv = receipts.of(batch.ts_recv, after)
            batch = msgspec.structs.replace(batch, ts_recv=ts_recv)
            if wanted is not None:
                batch = batch.take(wanted[batch.code])
            if len(batch):
                yield batch


class TapeWriter:
    """Writes a tape so that it is either whole or not there: a temporary file, renamed when the block ends well.

    `columns` are the optional columns to keep (the required ones always are); `notes` travel in the file's metadata.
    Raises `TapeError` when the place can't be written, is taken (without `overwrite`), or no tick was written.
    """

    def __init__(
        self,
        path: Path,
        *,
        columns: Collection[str] = tuple(OPTIONAL_COLUMNS),
        notes: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = path
        self.rows = 0
        self._columns = [name for name in TAPE_COLUMNS if name in REQUIRED_COLUMNS or name in columns]
        fields = [(name, TAPE_COLUMNS[name]) for name in self._columns]
        schema = pa.schema([(name, _SYMBOL_TYPE if name == "symbol" else kind) for name, kind in fields])
        self._schema = schema.with_metadata({NOTES_KEY: msgspec.json.encode(dict(notes or {}), order="sorted")})
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        _check_place(path, overwrite)

    def __enter__(self) -> Self:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from None
        self._part = Path(name)
        try:
            os.fchmod(handle, 0o644)
            os.close(handle)
            self._parquet = self._opened()
        except BaseException:  # asked to end before the block begins, whose end would take it away
            self._part.unlink(missing_ok=True)
            raise
        return self

    def _opened(self) -> Any:
        return pq.ParquetWriter(
            str(self._part),
            self._schema,
            compression="zstd",
            use_dictionary=["symbol", "ltp", "bid", "ask", "last_qty", "bid_qty", "ask_qty", *BAND_COLUMNS],
            column_encoding={
                name: "DELTA_BINARY_PACKED" for name in ("ts_event", "ts_recv", "volume", "oi") if name in self._columns
            },
        )

    def table(self, columns: Collection[str] | None = None) -> Any:
        """What was written, in memory, all or some columns, one dictionary of symbols; then only `rearrange` writes."""
        try:
            self._flush()
            self._parquet.close()
            names = None if columns is None else [name for name in self._columns if name in columns]
            return pq.read_table(self._part, columns=names, read_dictionary=["symbol"]).unify_dictionaries()
        except OSError as error:
            raise self._unwritable(error) from None

    def rearrange(self, order: NDArray[np.int64]) -> None:
        """Write all again, row `order[i]` at place i; holds the tape in memory."""
        table = self.table().combine_chunks()
        try:
            self._parquet = self._opened()
            for start in range(0, len(order), ROW_GROUP_ROWS):
                rows = table.take(pa.array(order[start : start + ROW_GROUP_ROWS])).cast(self._schema)
                self._parquet.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        except OSError as error:
            raise self._unwritable(error) from None

    def write(self, batch: TickBatch) -> None:
        """Append ticks; null (−1, NaN) becomes Parquet null."""
        self._pending.append(_encode(batch, self._columns, self._schema))
        self._pending_rows += len(batch)
        self.rows += len(batch)
        if self._pending_rows >= ROW_GROUP_ROWS:
            try:
                self._flush()
            except OSError as error:
                raise self._unwritable(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._parquet.close()
                self._publish()
        except OSError as failure:
            raise self._unwritable(failure) from None
        finally:
            with contextlib.suppress(OSError):  # of a file that is thrown away
                self._parquet.close()
            self._part.unlink(missing_ok=True)

    def _publish(self) -> None:
        if not self.rows:
            raise TapeError(f"{self.path}: not written, for there was no tick to write")
        with self._part.open("rb") as part:
            os.fsync(part.fileno())
        os.replace(self._part, self.path)

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
        self._pending, self._pending_rows = [], 0
        self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def _unwritable(self, error: OSError) -> TapeError:
        return TapeError(f"{self.path}: can't be written ({error.strerror or error})")


# -- reading ----------------------------------------------------------------------------------------------------------


def _decode(record: Any, symbols: tuple[str, ...], code_of: dict[str, int]) -> TickBatch:
    """A record batch as it stands; `ts_recv` has yet to be made of what it holds."""
    n = record.num_rows
    present = set(record.schema.names)
    ts_event = int_column(record.column("ts_event"), 0)

    def ints(name: str) -> NDArray[np.int64]:
        return int_column(record.column(name), MISSING_INT) if name in present else _constant_int(n)

    def floats(name: str) -> NDArray[np.float64]:
        return _float_column(record.column(name)) if name in present else _constant_float(n)

    recorded = int_column(record.column("ts_recv"), 0) if "ts_recv" in present else None
    return TickBatch(
        symbols=symbols,
        code=_codes(record.column("symbol"), code_of),
        ts_event=ts_event,
        ts_recv=stamps(ts_event, recorded),
        ltp=floats("ltp"),
        last_qty=ints("last_qty"),
        volume=ints("volume"),
        bid=floats("bid"),
        ask=floats("ask"),
        bid_qty=ints("bid_qty"),
        ask_qty=ints("ask_qty"),
        oi=ints("oi"),
        traded=_constant_int(n),
        **{name: floats(name) for name in BAND_COLUMNS if name in present},
    )


def _codes(column: Any, code_of: dict[str, int]) -> NDArray[np.int32]:
    column = as_dictionary(column)
    names = ["" if name is None else name for name in column.dictionary.to_pylist()]
    # a dictionary may hold names that no row uses; the table of symbols has only those that rows do
    table = np.array([code_of.get(name, -1) for name in names] + [code_of.get("", 0)], dtype=np.int32)
    if len(names) == 1 and not column.null_count:
        return np.broadcast_to(table[0], (len(column),))
    indices = column.indices.cast(pa.int32())
    if indices.null_count:
        indices = indices.fill_null(len(names))
    codes: NDArray[np.int32] = table[buffer_of(indices, np.dtype(np.int32))]
    return codes


def _float_column(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = buffer_of(
        column.fill_null(np.nan) if column.null_count else column, np.dtype(np.float64)
    )
    return values


def _constant_int(n: int) -> NDArray[np.int64]:
    """Null n times over without n words: one read-only value with stride 0."""
    return np.broadcast_to(np.int64(MISSING_INT), (n,))


def _constant_float(n: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.float64(np.nan), (n,))


# -- writing ----------------------------------------------------------------------------------------------------------


def _encode(batch: TickBatch, columns: Sequence[str], schema: Any) -> Any:
    arrays = []
    for name in columns:
        if name == "symbol":
            names = pa.array(batch.symbols, pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(batch.code, pa.int32()), names))
            continue
        values = getattr(batch, name)
        if values is None:
            arrays.append(pa.nulls(len(batch), pa.float64()))
        elif name in ("ts_event", "ltp"):
            arrays.append(pa.array(values))
        elif values.dtype == np.float64:
            arrays.append(pa.array(values, from_pandas=True))
        else:
            arrays.append(pa.array(values, mask=values < 0))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _check_place(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise TapeError(f"{path}: is a directory; name a file to write")
    if not path.parent.is_dir():
        raise TapeError(f"{path}: can't be written, for the directory {path.parent} does not exist")
    if path.exists() and not overwrite:
        raise TapeError(f"{path}: exists already; --force overwrites it")
