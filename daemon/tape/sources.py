"""Files of ticks as others write them (Parquet, CSV, JSONL) turned into Arrow columns, a chunk at a time.

Invariant: every line or row is handed on or counted under one reason; a source never holds more than a chunk.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from daemon.core.csv import read_csv
from daemon.core.errors import TapeError
from daemon.core.files import Utf8Stream, encoding_of, open_regular
from daemon.tape.file import decoding, first_line, notes_of, open_parquet
from daemon.tape.parsing import as_plain

CHUNK_ROWS = 65_536
_CSV_BLOCK_BYTES = 4 << 20
_CSV_LINE_BYTES = 16 << 20
_HEADER_BYTES = 1 << 16
_NULL_TEXTS = ["", "null", "NULL", "None", "nan", "NaN", "NA"]


_OTHERS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip, as spreadsheets are, too",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"ARROW1": "Arrow IPC (Feather)",
    b"FEA1": "Arrow IPC (Feather)",
    b"\xff\xff\xff\xff": "Arrow IPC (a stream)",
    b"SQLite format 3": "SQLite",
}
"""What files of other kinds begin with."""


class Source(Protocol):
    """One file of ticks, and what of it was skipped, by reason."""

    format: str
    skipped: Counter[str]

    @property
    def columns(self) -> Sequence[str]:
        """The names seen so far (for JSONL they grow while it is read)."""

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream the named columns as Arrow arrays of equal length; unknown names are all null or missing."""


class ParquetSource:
    """A Parquet file of any columns."""

    format = "parquet"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()
        schema = open_parquet(path)[1]
        self.columns: Sequence[str] = schema.names
        self.notes = notes_of(path, schema)
        """What it says of itself, where it is a tape."""

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream the row groups."""
        with decoding(self._path), pq.ParquetFile(self._path, pre_buffer=False, buffer_size=65536) as file:
            for record in file.iter_batches(CHUNK_ROWS, columns=list(names), use_threads=False):
                record.validate(full=True)
                yield {name: as_plain(record.column(name)) for name in names}


class CsvSource:
    """A CSV file with a header; its delimiter is the one of `, ; tab |` that the header has most of."""

    format = "csv"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()
        try:
            with Utf8Stream(path) as stream:
                header = stream.readline(_HEADER_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise TapeError(f"{path}: can't be read as CSV ({error.strerror})") from None
        self._delimiter = max(",;\t|", key=header.count)
        first = next(self._blocks(), b"")
        self.columns: Sequence[str] = self._table(first, None, []).schema.names

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, some MiB of them at a time; raises `TapeError`."""
        rest = b""
        try:
            with io.BufferedReader(Utf8Stream(self._path), _CSV_BLOCK_BYTES) as stream:
                while block := stream.read(_CSV_BLOCK_BYTES):
                    rest += block
                    end = (rest.rfind(b"\n") if b"\n" in rest else rest.rfind(b"\r")) + 1
                    if end:
                        yield rest[:end]
                    elif len(rest) > _CSV_LINE_BYTES:
                        raise TapeError(
                            f"{self._path}: can't be read as CSV (a line is longer than {_CSV_LINE_BYTES >> 20} MiB)"
                        )
                    rest = rest[end:]
        except OSError as error:
            raise TapeError(f"{self._path}: can't be read as CSV ({error.strerror})") from None
        if rest:
            yield rest

    def _table(self, text: bytes, columns: Sequence[str] | None, names: Sequence[str]) -> Any:
        """The rows of a block, all named columns as text; `columns`: of the file, None where its header is in it."""
        parse = pyarrow.csv.ParseOptions(
            delimiter=self._delimiter, invalid_row_handler=self._count_invalid if names else _skip
        )
        convert = pyarrow.csv.ConvertOptions(
            include_columns=list(names),
            column_types=dict.fromkeys(names, pa.string()),
            null_values=_NULL_TEXTS,
            strings_can_be_null=True,
        )
        try:
            return read_csv(text, None if columns is None else list(columns), convert, parse)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise TapeError(f"{self._path}: can't be read as CSV ({first_line(error)})") from None

    def _count_invalid(self, row: Any) -> str:
        self.skipped["wrong_column_count"] += 1
        return "skip"

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream the blocks, all columns as text."""
        for number, block in enumerate(self._blocks()):
            table = self._table(block, self.columns if number else None, names)
            for record in table.to_batches():
                yield {name: record.column(name) for name in names}


def _skip(row: Any) -> str:
    return "skip"


class JsonlSource:
    """Fyers SymbolUpdate messages, one JSON object a line; control messages and broken lines are counted."""

    format = "jsonl"

    def __init__(self, path: Path, price: str) -> None:
        self._path = path
        self._price = price
        self.skipped: Counter[str] = Counter()
        self._seen: dict[str, None] = {}
        self._others: dict[str, None] = {}

    @property
    def columns(self) -> Sequence[str]:
        """The keys of all tick messages so far."""
        return tuple(self._seen)

    @property
    def other_keys(self) -> Sequence[str]:
        """The keys of the messages without a price."""
        return tuple(self._others)

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream the tick messages (those with a price), all values as text."""
        texts: dict[str, list[str | None]] = {name: [] for name in names}
        rows = 0
        for message in self._messages():
            for name, column in texts.items():
                column.append(_as_text(message.get(name)))
            rows += 1
            if rows == CHUNK_ROWS:
                yield {name: pa.array(column, pa.string()) for name, column in texts.items()}
                texts, rows = {name: [] for name in names}, 0
        if rows:
            yield {name: pa.array(column, pa.string()) for name, column in texts.items()}

    def _messages(self) -> Iterator[dict[str, Any]]:
        decoder = msgspec.json.Decoder(dict[str, Any])
        with _lines(self._path) as stream:
            for line in stream:
                if not line.strip():
                    self.skipped["blank_line"] += 1
                    continue
                try:
                    message = decoder.decode(line)
                except msgspec.ValidationError:
                    self.skipped["not_an_object"] += 1
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self.skipped["not_json"] += 1
                else:
                    if self._price in message:
                        self._seen.update(dict.fromkeys(message))
                        yield message
                    else:
                        self._others.update(dict.fromkeys(message))
                        self.skipped["no_price" if "symbol" in message else "control_message"] += 1


def _lines(path: Path) -> IO[Any]:
    """The lines of a text in the encoding that it shows: bytes of UTF-8, or text."""
    stream = open_regular(path)
    encoding = encoding_of(stream.read(4))
    stream.seek(3 if encoding == "utf-8-sig" else 0)
    return io.TextIOWrapper(stream, encoding, errors="replace") if encoding == "utf-16" else stream


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def open_source(path: Path, price: str) -> Source:
    """Find out what a file is, by its first bytes and its name; `price` is the JSONL key of the price.

    Raises `TapeError` where it is missing, empty or unreadable.
    """
    try:
        with open_regular(path) as stream:
            head = stream.read(4096)
    except FileNotFoundError:
        raise TapeError(f"{path}: no such file; expected Parquet, CSV or JSONL") from None
    except OSError as error:
        raise TapeError(f"{path}: can't be read ({error.strerror})") from None
    if not head:
        raise TapeError(f"{path}: the file is empty (0 bytes); expected Parquet, CSV or JSONL")
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise TapeError(f"{path}: is {kind}; expected Parquet, CSV or JSONL, unpacked")
    suffix = path.suffix.lower()
    if head.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
        return ParquetSource(path)
    if suffix in (".jsonl", ".ndjson", ".json") or head.decode(encoding_of(head), "replace").lstrip().startswith("{"):
        return JsonlSource(path, price)
    return CsvSource(path)
