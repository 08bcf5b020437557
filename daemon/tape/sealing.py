"""The reels of a day → its tape, and the reels gone.

A day's tape may be sealed in several goes (a restart, ticks that came after the close): what is sealed already is taken
over, and the tape's notes name the reels that are in it. Where the recording was cut off or paused the notes hold
a `Mark`, so that a replay flags the bars there. Invariant: a reel is deleted only when every tick that could
be read of it was read back, equal, from a file that is on the disk; whatever interrupts a sealing, doing it again is
right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from daemon.core.errors import TapeError
from daemon.core.events import BAND_COLUMNS, MISSING_INT, TickBatch
from daemon.core.files import is_there, sync_directory
from daemon.tape.file import ROW_GROUP_ROWS
from daemon.tape.format import TapeReader, TapeWriter
from daemon.tape.marks import MARKS_NOTE, Mark, hole, marks_of
from daemon.tape.recorded import tape_path
from daemon.tape.reel import ReelReader

_RECORDED, _REELS, _LAST = "recorded", "reels", "last_ts_recv"
_COLUMNS = ("ts_event", "ts_recv", "ltp", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty", "oi")


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a day's reels; `tape` is None where they held no tick."""

    day: str
    tape: str | None
    ticks: int
    added: int
    """Ticks of those that came from reels now."""
    torn: dict[str, int]
    """Bytes at the end of a reel that were not whole, by its name."""
    cut_off: list[str]
    """Reels whose writer did not end in order."""


def seal(directory: Path, day: str, reels: Sequence[Path]) -> Sealed:
    """Put reels into their day's tape and delete them. Raises `TapeError`; then they are still there."""
    earlier = _Earlier(tape_path(directory, day))
    fresh = [path for path in reels if path.name not in earlier.reels]
    scans = [_scan(path) for path in fresh]
    added = sum(scan.ticks for scan in scans)
    torn = {scan.path.name: scan.torn_bytes for scan in scans if scan.torn_bytes}
    cut_off = [scan.path.name for scan in scans if not scan.ended]
    if added:
        _write(earlier, fresh, scans)
    for path in reels:
        path.unlink(missing_ok=True)
    ticks = earlier.rows + added
    return Sealed(
        day=day, tape=str(earlier.path) if ticks else None, ticks=ticks, added=added, torn=torn, cut_off=cut_off
    )


def sealed_reels(directory: Path, day: str) -> tuple[str, ...]:
    """Names of the reels that are in a day's tape. Raises `TapeError`."""
    return _Earlier(tape_path(directory, day)).reels


class _Earlier:
    """What of the day is sealed already."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = TapeReader([path]) if is_there(path) else None
        notes = self.reader.notes if self.reader is not None else {}
        if self.reader is not None and notes.get(_RECORDED) != "true":
            raise TapeError(f"{path}: was not recorded here; move it away, this day's tape goes there")
        self.rows = self.reader.rows if self.reader is not None else 0
        self.reels = tuple(msgspec.json.decode(notes.get(_REELS, "[]"), type=list[str]))
        self.marks = marks_of(notes)
        self.last_ts = int(notes.get(_LAST, "0"))

    def batches(self) -> Iterator[TickBatch]:
        """Its ticks."""
        if self.reader is not None:
            yield from self.reader.batches(ROW_GROUP_ROWS)


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What a first reading of a reel told."""

    path: Path
    ticks: int
    last_ts: int
    marks: list[Mark]
    ended: bool
    torn_bytes: int


def _scan(path: Path) -> _Scan:
    reader = ReelReader(path)
    marks = [item for item in reader if isinstance(item, Mark)]
    return _Scan(
        path=path, ticks=reader.ticks, last_ts=reader.last_ts, marks=marks, ended=reader.ended,
        torn_bytes=reader.torn_bytes,
    )  # fmt: skip


def _write(earlier: _Earlier, fresh: Sequence[Path], scans: Sequence[_Scan]) -> None:
    """Write beside the tape, read back, compare, and only then take its place."""
    marks, last_ts = _marks(earlier, scans)
    notes = {
        _RECORDED: "true",
        _REELS: msgspec.json.encode([*earlier.reels, *(path.name for path in fresh)]).decode(),
        _LAST: str(last_ts),
        MARKS_NOTE: msgspec.json.encode(marks).decode(),
    }
    partial = earlier.path.with_name(f".{earlier.path.name}.new")
    written, found = _Digest(), _Digest()
    try:
        with TapeWriter(partial, notes=notes, overwrite=True) as writer:
            for batch in _in_order(earlier, fresh):
                written.add(batch)
                writer.write(batch)
        for batch in TapeReader([partial]).batches(ROW_GROUP_ROWS):
            found.add(batch)
        if written.value != found.value:
            raise TapeError(f"{partial}: what was read back is not what was written; the reels are kept")
        os.replace(partial, earlier.path)
        sync_directory(earlier.path.parent)
    except OSError as error:
        raise TapeError(f"{earlier.path}: can't be sealed ({error.strerror or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def _marks(earlier: _Earlier, scans: Sequence[_Scan]) -> tuple[list[Mark], int]:
    """(marks of the whole day in order, the last tick's receipt): those recorded, and one for every hole."""
    marks, last_ts = list(earlier.marks), earlier.last_ts
    for scan in scans:
        if scan.ticks and last_ts and not _ends_in_a_hole(marks, last_ts):
            marks.append(hole(last_ts, "the recording was paused here"))
        marks += [msgspec.structs.replace(mark, after=max(mark.after, last_ts)) for mark in scan.marks]
        last_ts = max(last_ts, scan.last_ts)
        if scan.ticks and not scan.ended:
            marks.append(hole(last_ts, "the recording was cut off here"))
    return sorted(marks, key=lambda mark: mark.place), last_ts


def _ends_in_a_hole(marks: Sequence[Mark], last_ts: int) -> bool:
    return bool(marks) and marks[-1] == hole(last_ts, marks[-1].status.reason)


def _in_order(earlier: _Earlier, fresh: Sequence[Path]) -> Iterator[TickBatch]:
    """All ticks of the day, as a tape holds them: `ts_recv` never falls."""
    yield from earlier.batches()
    newest = earlier.last_ts
    for path in fresh:
        for item in ReelReader(path):
            if isinstance(item, TickBatch):
                received = np.maximum(np.maximum.accumulate(item.ts_recv), newest)
                newest = int(received[-1])
                yield msgspec.structs.replace(item, ts_recv=received)


class _Digest:
    """A digest of ticks that does not depend on how they were cut into batches."""

    def __init__(self) -> None:
        self._hashes = {name: hashlib.blake2b() for name in ("symbol", *_COLUMNS, *BAND_COLUMNS)}
        self._names: dict[str, int] = {}

    def add(self, batch: TickBatch) -> None:
        """Take more ticks in."""
        seen = dict.fromkeys(batch.code.tolist())
        table = np.zeros(len(batch.symbols), dtype=np.int32)
        for code in seen:
            table[code] = self._names.setdefault(batch.symbols[code], len(self._names))
        self._hashes["symbol"].update(table[batch.code].tobytes())
        for name in _COLUMNS:
            values = getattr(batch, name)
            if values.dtype == np.float64:
                values = np.where(np.isnan(values), np.nan, values)
            elif name not in ("ts_event", "ts_recv"):
                values = np.where(values < 0, MISSING_INT, values)
            self._hashes[name].update(values.tobytes())
        for name in BAND_COLUMNS:
            column = getattr(batch, name)
            column = np.full(len(batch), np.nan) if column is None else np.where(np.isnan(column), np.nan, column)
            self._hashes[name].update(column.tobytes())

    @property
    def value(self) -> list[str]:
        """The digest."""
        return [*self._names, *(item.hexdigest() for item in self._hashes.values())]
