"""Files of ticks in someone else's columns turned into a tape.

Invariant: the tape holds one row for each tick of the sources, in the sources' order (but for sources whose rows are in
no order of time, see `daemon.tape.ordering`); what could not be read is null there (time 0, price NaN, so that the tick
filter counts it) and counted in the report, and no tick is dropped unsaid.
"""

from __future__ import annotations

import zoneinfo
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daemon.core.errors import TapeError, UsageError
from daemon.core.events import MISSING_INT, TickBatch
from daemon.core.files import named_twice
from daemon.tape.bar_ticks import BARS_NOTE
from daemon.tape.columns import FYERS_NAMES, Columns, choose_columns, parse_map, two_symbols, understood
from daemon.tape.file import REQUIRED_COLUMNS, TAPE_COLUMNS, as_dictionary, listed
from daemon.tape.format import TapeWriter
from daemon.tape.marks import MARKS_NOTE, marks_of
from daemon.tape.ordering import BEHIND_LEAST, Disorder, in_order
from daemon.tape.parsing import NumberColumn, TimeColumn, is_text
from daemon.tape.sources import JsonlSource, ParquetSource, Source, open_source

__all__ = ["ImportReport", "import_tape", "parse_map"]

_TIMES = ("ts_event", "ts_recv")
_INTEGERS = ("last_qty", "volume", "bid_qty", "ask_qty", "oi")
_QUOTES = ("bid", "ask")
_BANDS = ("lower_band", "upper_band")


class ImportReport(msgspec.Struct, frozen=True):
    """What an import did: counts by reason, and how each column was read."""

    source: str
    out: str
    format: str
    rows: int
    symbols: list[str]
    columns: dict[str, str]
    skipped: dict[str, int]
    invalid_times: int
    unreadable: dict[str, int]
    remarks: dict[str, str]
    sorted: str = ""
    """Why and how the rows were sorted; "" where they are in the sources' order."""


def import_tape(
    sources: Path | Sequence[Path],
    out: Path,
    mapping: Mapping[str, str],
    symbol: str | None = None,
    zone: zoneinfo.ZoneInfo | None = None,
    *,
    overwrite: bool = False,
) -> ImportReport:
    """Convert `sources` (each Parquet, CSV or JSONL), one after the other, into the tape `out`.

    `mapping` is tape column → source column; unmapped columns are taken where the source has one of the names of
    `daemon.tape.columns`. `symbol` names the only instrument of a source without a symbol column, `zone` is that of
    times without one. Raises `TapeError` where a source can't be read, lacks a column, or holds no tick or no time at
    all, and where `out` can't be written.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    for path in paths:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out}: is the source itself; name another file")
    if (twice := named_twice(paths)) is not None:
        raise UsageError(f"{twice}: is given twice; each of its rows would count twice")
    codes: dict[str, int] = {} if symbol is None else {symbol: 0}
    readings = [_Reading(path, mapping, symbol, zone, codes) for path in paths]
    formats = ", ".join(dict.fromkeys(reading.source.format for reading in readings))
    notes = _said_of_all(readings) | {"source": ", ".join(path.name for path in paths), "format": formats}
    targets = [name for name in TAPE_COLUMNS if any(name in reading.columns.sources for reading in readings)]
    disorder = Disorder()
    with TapeWriter(out, columns=targets, notes=notes, overwrite=overwrite) as writer:
        for reading in readings:
            for batch in reading.batches():
                disorder.see(batch)
                writer.write(batch)
            reading.check()
            disorder.end_of_source()
        said = ""
        if disorder.suspected:
            least = BEHIND_LEAST if len(readings) == 1 and readings[0].is_log else 0
            found = in_order(writer.table(("ts_event", "ts_recv", "symbol")), disorder.source_rows, least)
            if found is not None:
                order, said = found
                writer.rearrange(order)
    return _report(paths, out, formats, readings, codes, said)


def _said_of_all(readings: Sequence[_Reading]) -> dict[str, str]:
    """The notes of sources that are tapes: made up where one of them is, and all that their feeds said of themselves.

    Raises `TapeError` where some are made of bars, or of other bars, and some aren't.
    """
    kinds = {reading.notes.get(BARS_NOTE, ""): reading.path for reading in readings}
    if len(kinds) > 1:
        said = ", ".join(f"{path} of {kind + ' bars' if kind else 'ticks'}" for kind, path in kinds.items())
        raise TapeError(f"sources of different kinds make no tape together: {said}")
    notes = {name: text for reading in reversed(readings) for name, text in reading.notes.items()}
    marks = [mark for reading in readings for mark in marks_of(reading.notes)]
    if marks:
        marks.sort(key=lambda mark: mark.place)
        notes[MARKS_NOTE] = msgspec.json.encode(marks).decode()
    return notes


def _report(
    paths: Sequence[Path], out: Path, formats: str, readings: Sequence[_Reading], codes: Mapping[str, int], said: str
) -> ImportReport:
    columns: dict[str, str] = {}
    for target in TAPE_COLUMNS:
        names = dict.fromkeys(name for reading in readings for name in reading.names_of(target))
        if names:
            columns[target] = ", ".join(names)
    skipped: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    remarks: dict[str, str] = {}
    for reading in readings:
        skipped.update(reading.source.skipped)
        for target, column in reading.readers:
            if column.unreadable and target != "ts_event":
                unreadable[target] += column.unreadable
            if isinstance(column, TimeColumn) and column.remark:
                remarks.setdefault(target, column.remark)
    return ImportReport(
        source=", ".join(str(path) for path in paths),
        out=str(out),
        format=formats,
        rows=sum(reading.rows for reading in readings),
        symbols=[name for name in codes if name],
        columns=columns,
        skipped=dict(sorted(skipped.items())),
        invalid_times=sum(reading.invalid_times for reading in readings),
        unreadable=dict(unreadable),
        remarks=remarks,
        sorted=said,
    )


class _Reading:
    """One source on its way to the tape, and the counts of what was read."""

    def __init__(
        self,
        path: Path,
        mapping: Mapping[str, str],
        symbol: str | None,
        zone: zoneinfo.ZoneInfo | None,
        codes: dict[str, int],
    ) -> None:
        """`codes`: of the symbols of all sources, which grow while they are read."""
        self.source: Source = open_source(path, mapping.get("ltp", FYERS_NAMES["ltp"]))
        self.columns: Columns = choose_columns(path, self.source, mapping, symbol)
        self.rows = 0
        self.invalid_times = 0
        self.path, self._mapping, self._codes = path, mapping, codes
        self._filled: Counter[tuple[str, str]] = Counter()
        chosen = self.columns.sources
        self._times = [
            (target, TimeColumn(name, zone)) for target in _TIMES for name in chosen.get(target, ())
        ]  # fmt: skip
        numbers = (*_INTEGERS, *_QUOTES, *_BANDS, "ltp")
        self._numbers = [(target, NumberColumn(name)) for target in numbers for name in chosen.get(target, ())]

    @property
    def readers(self) -> list[tuple[str, TimeColumn | NumberColumn]]:
        """(tape column, what reads a column of the source for it)."""
        return [*self._times, *self._numbers]

    @property
    def notes(self) -> dict[str, str]:
        """What the source says of itself, where it is a tape."""
        return dict(self.source.notes) if isinstance(self.source, ParquetSource) else {}

    @property
    def is_log(self) -> bool:
        """Whether it holds Fyers' messages, as they came."""
        return self.names_of("ts_event") == [FYERS_NAMES["ts_event"]] and self.source.format == "jsonl"

    def names_of(self, target: str) -> list[str]:
        """The source columns from which values for a tape column came."""
        return [name for name in self.columns.sources.get(target, ()) if self._filled[target, name]]

    def batches(self) -> Any:
        """Stream the source as ticks."""
        for chunk in self.source.chunks(self.columns.asked):
            try:
                yield self._ticks(chunk)
            except TapeError as error:
                raise TapeError(f"{self.path}: {error}") from None

    def check(self) -> None:
        """Refuse a tape that would be of no use: nothing was read from a column that has to be there."""
        path, source = self.path, self.source
        if not self.rows:
            raise TapeError(f"{path}: holds no ticks ({_skipped(source)}){_keys(source)}")
        if "symbol" not in self.columns.sources and FYERS_NAMES["symbol"] in source.columns:
            raise two_symbols(path, next(iter(self._codes)), FYERS_NAMES["symbol"])
        for target, names in self.columns.sources.items():
            if not self.names_of(target) and (target in self._mapping or target in REQUIRED_COLUMNS):
                raise TapeError(
                    f"{path}: not one of {self.rows} ticks has a readable {target} in {' or '.join(names)}; "
                    f"its columns are {listed(source.columns)}: --map {target}=COLUMN names another"
                )

    def _ticks(self, chunk: dict[str, Any]) -> TickBatch:
        n = len(next(iter(chunk.values())))
        self.columns.complete(chunk)
        symbols = self.columns.sources.get("symbol", ())
        for name, column in chunk.items():
            if pa.types.is_dictionary(column.type) and name not in symbols:
                chunk[name] = column.dictionary_decode()
        arrays: dict[str, Any] = {}
        for target, time in self._times:
            self._merge(arrays, target, time.name, time.read(chunk[time.name]), 0)
        for target, number in self._numbers:
            column = chunk[number.name]
            if target in _INTEGERS:
                self._merge(arrays, target, number.name, number.read_integers(column), MISSING_INT)
            else:
                values = number.read_floats(column)
                if target in _QUOTES:  # 0: nobody is on that side, null: nothing is known of it
                    values = np.where(values >= 0, values, np.nan)
                elif target in _BANDS:  # 0: Fyers has none
                    values = np.where(values > 0, values, np.nan)
                self._merge(arrays, target, number.name, values, np.nan)
        code = self._coded(chunk[symbols[0]]) if symbols else np.zeros(n, np.int32)
        self.invalid_times += n - int(np.count_nonzero(arrays["ts_event"]))
        self.rows += n
        return TickBatch(symbols=tuple(self._codes), code=code, **_completed(arrays, n))

    def _merge(self, arrays: dict[str, Any], target: str, name: str, values: NDArray[Any], null: float) -> None:
        """Keep what another column of the same meaning had, and add what it lacked."""
        filled = ~np.isnan(values) if np.isnan(null) else values != null
        if target in arrays:
            held = arrays[target]
            empty = np.isnan(held) if np.isnan(null) else held == null
            filled &= empty
            values = np.where(filled, values, held)
        self._filled[target, name] += int(np.count_nonzero(filled))
        arrays[target] = values

    def _coded(self, column: Any) -> NDArray[np.int32]:
        (name,) = self.columns.sources["symbol"]
        column = as_dictionary(column)
        if not is_text(column.dictionary.type):
            raise TapeError(f"column {name} is {column.dictionary.type}; a symbol is text")
        names = [(text or "").strip() for text in column.dictionary.to_pylist()] + [""]
        indices = column.indices.fill_null(len(names) - 1).to_numpy()
        used, codes = set(np.unique(indices).tolist()), self._codes
        table = [codes.setdefault(text, len(codes)) if i in used else 0 for i, text in enumerate(names)]
        code: NDArray[np.int32] = np.array(table, dtype=np.int32)[indices]
        self._filled["symbol", name] += len(indices) - int(np.count_nonzero(code == codes.get("", -1)))
        return code


def _skipped(source: Source) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(source.skipped.items())) or "0 rows"
    objects = "not_an_object" in source.skipped  # a list of all ticks, as a JSON file has one
    return f"{told}; expected one JSON object a line, as `jq -c '.[]'` makes them of a list" if objects else told


def _keys(source: Source) -> str:
    """What a JSONL without ticks has, and what is understood."""
    if not isinstance(source, JsonlSource) or not source.other_keys:
        return ""
    known = ", ".join(" or ".join(understood(target)[:2]) for target in TAPE_COLUMNS)
    return f": its keys are {listed(source.other_keys)}; understood are {known}: --map ltp=KEY names another"


def _completed(arrays: dict[str, Any], n: int) -> dict[str, Any]:
    """All tick columns but `code`: null where the source has none."""
    columns = {name: np.broadcast_to(np.int64(MISSING_INT), (n,)) for name in (*_INTEGERS, "ts_recv", "traded")}
    columns |= {name: np.broadcast_to(np.float64(np.nan), (n,)) for name in _QUOTES}
    columns |= arrays
    columns["ts_recv"] = np.where(columns["ts_recv"] > 0, columns["ts_recv"], MISSING_INT)
    return columns
