"""Ticks as they come → a file that only grows, and back as far as it is whole.

A reel is a row of frames, each with its length and checksum: symbols as they are first seen, ticks (an Arrow record
batch, zstd), marks of the feed, and an end mark where the writer ended in order. Invariant: whatever cut a reel
off, reading it yields every frame up to the first that is not whole, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daemon.core.errors import TapeError
from daemon.core.events import BAND_COLUMNS, MISSING_INT, TICK_COLUMNS, TickBatch, joined_bands
from daemon.core.growing import DiskFile, GrowingFile
from daemon.tape.marks import Mark

MAGIC = b"hrmdreel"
_HEAD = struct.Struct("<cIII")  # kind, bytes stored, bytes before compression, crc32 of the stored
_SYMBOLS, _TICKS, _BANDED, _MARK, _END = b"S", b"T", b"B", b"M", b"E"
_RECORDED = tuple(name for name in TICK_COLUMNS if name != "traded")  # `traded` is the filter's, not the exchange's
_SCHEMA = pa.schema(
    [
        (name, pa.int32() if name == "code" else pa.float64() if name in ("ltp", "bid", "ask") else pa.int64())
        for name in _RECORDED
    ]
)
_BANDED_SCHEMA = pa.schema([*_SCHEMA, *((name, pa.float64()) for name in BAND_COLUMNS)])
_SCHEMAS = {_TICKS: _SCHEMA, _BANDED: _BANDED_SCHEMA}
"""By the kind of a frame: ticks of a source that tells no price bands, and of one that does."""


class ReelWriter:
    """Appends to a new reel. After an `OSError` the file ends where the last whole `append` ended."""

    def __init__(self, path: Path, create: Callable[[Path], GrowingFile] = DiskFile) -> None:
        """Create the file; raises `OSError` where it can't be, or exists."""
        self.path = path
        self._symbols: dict[str, int] = {}
        self._size = 0
        self._torn = False
        self._file = create(path)
        try:
            self._write(MAGIC)
        except OSError:
            self.abandon()
            path.unlink(missing_ok=True)
            raise

    def append(self, items: Sequence[TickBatch | Mark]) -> None:
        """Write ticks and marks in their order, and return when the disk has them."""
        known = len(self._symbols)
        try:
            self._write(b"".join(self._frames(items)))
        except OSError:
            for symbol in list(self._symbols)[known:]:  # their frame was taken back: they are to be told again
                del self._symbols[symbol]
            raise

    def finish(self) -> None:
        """Say that nothing is missing at the end, and close."""
        try:
            self._write(_frame(_END, b""))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without an end mark; calling it again does nothing."""
        self._file.close()

    def _frames(self, items: Sequence[TickBatch | Mark]) -> Iterator[bytes]:
        pending: list[TickBatch] = []
        for item in items:
            if isinstance(item, TickBatch):
                pending.append(item)
                continue
            yield from self._ticks(pending)
            pending = []
            yield _frame(_MARK, msgspec.json.encode(item))
        yield from self._ticks(pending)

    def _ticks(self, batches: list[TickBatch]) -> Iterator[bytes]:
        """One frame for all, after a frame for the symbols that are new."""
        if not batches:
            return
        known = len(self._symbols)
        codes = [self._codes(batch) for batch in batches]
        new = list(self._symbols)[known:]
        if new:
            yield _frame(_SYMBOLS, msgspec.json.encode(new))
        arrays = [pa.array(np.concatenate(codes))]
        arrays += [pa.array(np.concatenate([getattr(batch, name) for batch in batches])) for name in _RECORDED[1:]]
        bands = joined_bands(batches)
        kind = _BANDED if bands else _TICKS
        if bands:
            nothing = np.full(len(arrays[0]), np.nan)
            arrays += [pa.array(bands.get(name, nothing)) for name in BAND_COLUMNS]
        yield _frame(kind, bytes(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMAS[kind]).serialize()))

    def _codes(self, batch: TickBatch) -> NDArray[np.int32]:
        table = self._symbols
        own: NDArray[np.int32] = np.array(
            [table.setdefault(symbol, len(table)) for symbol in batch.symbols], dtype=np.int32
        )
        return own[batch.code]

    def _write(self, content: bytes) -> None:
        """Write at the end of what is whole; what of it got there is cut off again when not all of it did.

        Until that is so on the disk nothing else is written there: of two frames the second would be read on.
        """
        if self._torn:
            self._cut_off()
        done, self._torn = 0, True
        try:
            while done < len(content):
                done += self._file.write(content[done:], self._size + done)
            self._file.sync()
        except OSError:
            with contextlib.suppress(OSError):  # the next write tries again
                self._cut_off()
            raise
        self._size, self._torn = self._size + len(content), False

    def _cut_off(self) -> None:
        self._file.cut(self._size)
        self._file.sync()
        self._torn = False


class ReelReader:
    """Yields what a reel holds, once; what it says of the end is known when the iteration is over."""

    def __init__(self, path: Path) -> None:
        """Raises `TapeError` where the file can't be read or is no reel at all."""
        self.path = path
        self.ended = False
        """Whether the writer ended in order."""
        self.torn_bytes = 0
        """How much of the file's end was not whole."""
        self.ticks = 0
        self.last_ts = 0
        """`ts_recv` of the last tick."""
        self._symbols: tuple[str, ...] = ()
        try:
            with path.open("rb") as stream:
                head = stream.read(len(MAGIC))
        except OSError as error:
            raise TapeError(f"{path}: can't be read ({error.strerror or error})") from None
        begun = head.rstrip(b"\0")  # a block that never reached the disk reads as zeros
        if not MAGIC.startswith(begun):
            raise TapeError(f"{path}: not a reel of a recording")

    def __iter__(self) -> Iterator[TickBatch | Mark]:
        try:
            with self.path.open("rb") as stream:
                yield from self._items(stream)
        except OSError as error:
            raise TapeError(f"{self.path}: can't be read ({error.strerror or error})") from None

    def _items(self, stream: Any) -> Iterator[TickBatch | Mark]:
        size = self.torn_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if stream.read(len(MAGIC)) != MAGIC:
            return
        whole = len(MAGIC)
        while not self.ended and (found := _next_frame(stream, size - whole)) is not None:
            kind, payload = found
            whole = stream.tell()
            if kind == _SYMBOLS:
                self._symbols += tuple(msgspec.json.decode(payload, type=list[str]))
            elif kind in _SCHEMAS:
                yield self._batch(payload, _SCHEMAS[kind])
            elif kind == _MARK:
                yield msgspec.json.decode(payload, type=Mark)
            self.ended = kind == _END
        self.torn_bytes = size - whole

    def _batch(self, payload: bytes, schema: Any) -> TickBatch:
        record = pa.ipc.read_record_batch(pa.py_buffer(payload), schema)
        columns: dict[str, Any] = {name: record.column(name).to_numpy() for name in schema.names}
        batch = TickBatch(
            symbols=self._symbols, **columns, traded=np.broadcast_to(np.int64(MISSING_INT), (record.num_rows,))
        )
        self.ticks += len(batch)
        self.last_ts = int(batch.ts_recv[-1])
        return batch


def _frame(kind: bytes, payload: bytes) -> bytes:
    stored = bytes(pa.compress(payload, codec="zstd")) if payload else b""
    return _HEAD.pack(kind, len(stored), len(payload), zlib.crc32(stored)) + stored


def _next_frame(stream: Any, left: int) -> tuple[bytes, bytes] | None:
    """(kind, payload), None where `left` bytes hold no whole frame."""
    if left < _HEAD.size:
        return None
    kind, stored_size, size, checksum = _HEAD.unpack(stream.read(_HEAD.size))
    if kind not in (_SYMBOLS, _TICKS, _BANDED, _MARK, _END) or stored_size > left - _HEAD.size:
        return None
    if not stored_size and kind != _END:  # a first byte, and zeros where the next block should be: their sum is zero
        return None
    stored = stream.read(stored_size)
    if len(stored) < stored_size or zlib.crc32(stored) != checksum:
        return None
    return kind, bytes(pa.decompress(stored, decompressed_size=size, codec="zstd")) if stored else b""
