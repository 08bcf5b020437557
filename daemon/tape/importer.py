"""A file of ticks in someone else's columns turned into a tape.

Invariant: the tape holds one row for each tick of the source, in the source's order; what could not be read is null
there (time 0, price NaN, so that the tick filter counts it) and counted in the report, and no tick is dropped unsaid.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daemon.core.errors import TapeError, UsageError
from daemon.core.events import MISSING_INT, TickBatch
from daemon.tape.file import REQUIRED_COLUMNS, TAPE_COLUMNS, as_dictionary, listed
from daemon.tape.format import TapeWriter
from daemon.tape.parsing import NumberColumn, TimeColumn, is_text
from daemon.tape.sources import Source, open_source

FYERS_NAMES = {
    "ts_event": "exch_feed_time",
    "symbol": "symbol",
    "ltp": "ltp",
    "last_qty": "last_traded_qty",
    "volume": "vol_traded_today",
    "bid": "bid_price",
    "ask": "ask_price",
    "bid_qty": "bid_size",
    "ask_qty": "ask_size",
    "oi": "OI",
    "lower_band": "lower_ckt",
    "upper_band": "upper_ckt",
}
"""Tape column → key in a Fyers SymbolUpdate. `exch_feed_time` moves with every update, `last_traded_time` does not."""

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


def parse_map(options: list[str]) -> dict[str, str]:
    """`target=source` options as a dictionary; raises `UsageError` naming the option and the targets there are."""
    mapping: dict[str, str] = {}
    for option in options:
        target, separator, source = option.partition("=")
        if not separator or not target or not source:
            raise UsageError(f"--map {option}: expected TAPE_COLUMN=SOURCE_COLUMN, such as ts_event=ts")
        if target not in TAPE_COLUMNS:
            close = difflib.get_close_matches(target, TAPE_COLUMNS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a tape has {', '.join(TAPE_COLUMNS)}"
            raise UsageError(f"--map {option}: a tape has no column {target} ({hint})")
        if target in mapping:
            raise UsageError(f"--map {option}: {target} is mapped already, to {mapping[target]}")
        mapping[target] = source
    return mapping


def import_tape(
    source: Path, out: Path, mapping: Mapping[str, str], symbol: str | None = None, *, overwrite: bool = False
) -> ImportReport:
    """Convert `source` (Parquet, CSV or JSONL) into the tape `out`.

    `mapping` is tape column → source column; unmapped columns are taken where the source has their tape name or
    Fyers' name. `symbol` names the only instrument of a source without a symbol column. Raises `TapeError` where the
    source can't be read, lacks a column, or holds no tick or no time at all, and where `out` can't be written.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"--out {out}: is the source itself; name another file")
    opened = open_source(source, mapping.get("ltp", FYERS_NAMES["ltp"]))
    columns = _choose_columns(source, opened, mapping, symbol)
    reading = _Reading(columns, symbol)
    notes = {"source": source.name, "format": opened.format}
    with TapeWriter(out, columns=list(columns), notes=notes, overwrite=overwrite) as writer:
        for chunk in opened.chunks(list(dict.fromkeys(columns.values()))):
            writer.write(reading.ticks(source, chunk))
        _check_result(source, opened, mapping, columns, reading)
    return ImportReport(
        source=str(source),
        out=str(out),
        format=opened.format,
        rows=reading.rows,
        symbols=[name for name in reading.codes if name],
        columns={target: name for target, name in columns.items() if reading.filled[target]},
        skipped=dict(sorted(opened.skipped.items())),
        invalid_times=reading.invalid_times,
        unreadable={
            name: column.unreadable
            for name, column in reading.readers.items()
            if column.unreadable and name != "ts_event"
        },
        remarks={name: time.remark for name, time in reading.times.items() if time.remark},
    )


def _choose_columns(path: Path, source: Source, mapping: Mapping[str, str], symbol: str | None) -> dict[str, str]:
    """Tape column → source column, for all that the source has (or, in JSONL, may have)."""
    there = None if source.format == "jsonl" else set(source.columns)
    for target, name in mapping.items():
        if there is not None and name not in there:
            raise TapeError(f"{path}: --map {target}={name}: no column {name}; it has {listed(source.columns)}")
    columns: dict[str, str] = {}
    for target in TAPE_COLUMNS:
        names = [mapping[target]] if target in mapping else [target, FYERS_NAMES.get(target, target)]
        if there is None:
            columns[target] = names[-1]
        elif found := [name for name in names if name in there]:
            columns[target] = found[0]
    if symbol is not None:
        if "symbol" in mapping or (there is not None and "symbol" in columns):
            raise _two_symbols(path, symbol, columns["symbol"])
        columns.pop("symbol", None)
    for name in columns.values():
        if (count := list(source.columns).count(name)) > 1:
            raise TapeError(f"{path}: {count} columns are named {name}; which is meant can't be told")
    missing = [name for name in REQUIRED_COLUMNS if name not in columns and not (name == "symbol" and symbol)]
    if missing:
        advice = " or --symbol NAME" if missing[0] == "symbol" else ""
        raise TapeError(
            f"{path}: no column for {', '.join(missing)}; it has {listed(source.columns)}: "
            f"add --map {missing[0]}=COLUMN{advice}"
        )
    return columns


def _two_symbols(path: Path, symbol: str, column: str) -> UsageError:
    return UsageError(f"--symbol {symbol}: {path} names its symbols itself, in {column}; leave --symbol out")


def _check_result(
    path: Path, source: Source, mapping: Mapping[str, str], columns: Mapping[str, str], reading: _Reading
) -> None:
    """Refuse a tape that would be of no use: nothing was read from a column that has to be there."""
    if not reading.rows:
        skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(source.skipped.items()))
        raise TapeError(f"{path}: holds no ticks ({skipped or '0 rows'})")
    if "symbol" not in columns and FYERS_NAMES["symbol"] in source.columns:
        raise _two_symbols(path, next(iter(reading.codes)), FYERS_NAMES["symbol"])
    for target, name in columns.items():
        if not reading.filled[target] and (target in mapping or target in REQUIRED_COLUMNS):
            raise TapeError(
                f"{path}: not one of {reading.rows} ticks has a readable {target} in {name}; "
                f"its columns are {listed(source.columns)}: --map {target}=COLUMN names another"
            )


class _Reading:
    """The columns of a source on their way to the tape, and the counts of what was read."""

    def __init__(self, columns: Mapping[str, str], symbol: str | None) -> None:
        self.rows = 0
        self.invalid_times = 0
        self.filled: Counter[str] = Counter()
        self.codes: dict[str, int] = {} if symbol is None else {symbol: 0}
        self.times = {name: TimeColumn(columns[name]) for name in ("ts_event", "ts_recv") if name in columns}
        self.numbers = {
            name: NumberColumn(columns[name]) for name in (*_INTEGERS, *_QUOTES, *_BANDS, "ltp") if name in columns
        }
        self.readers: dict[str, TimeColumn | NumberColumn] = self.times | self.numbers
        self._columns = columns

    def ticks(self, path: Path, chunk: dict[str, Any]) -> TickBatch:
        """One chunk as ticks."""
        try:
            return self._ticks(chunk)
        except TapeError as error:
            raise TapeError(f"{path}: {error}") from None

    def _ticks(self, chunk: dict[str, Any]) -> TickBatch:
        n = len(next(iter(chunk.values())))
        for name, column in chunk.items():
            if pa.types.is_dictionary(column.type) and name != self._columns.get("symbol"):
                chunk[name] = column.dictionary_decode()
        arrays: dict[str, Any] = {}
        for name, time in self.times.items():
            arrays[name] = time.read(chunk[self._columns[name]])
            self.filled[name] += int(np.count_nonzero(arrays[name]))
        for name, number in self.numbers.items():
            column = chunk[self._columns[name]]
            if name in _INTEGERS:
                arrays[name] = number.read_integers(column)
                self.filled[name] += int(np.count_nonzero(arrays[name] >= 0))
            else:
                values = number.read_floats(column)
                if name in _QUOTES:  # 0: nobody is on that side, null: nothing is known of it
                    values = np.where(values >= 0, values, np.nan)
                elif name in _BANDS:  # 0: Fyers has none
                    values = np.where(values > 0, values, np.nan)
                arrays[name] = values
                self.filled[name] += int(np.count_nonzero(~np.isnan(values)))
        code = self._codes(chunk[self._columns["symbol"]]) if "symbol" in self._columns else np.zeros(n, np.int32)
        self.invalid_times += n - int(np.count_nonzero(arrays["ts_event"]))
        self.rows += n
        return TickBatch(symbols=tuple(self.codes), code=code, **_completed(arrays, n))

    def _codes(self, column: Any) -> NDArray[np.int32]:
        column = as_dictionary(column)
        if not is_text(column.dictionary.type):
            raise TapeError(f"column {self._columns['symbol']} is {column.dictionary.type}; a symbol is text")
        names = [(name or "").strip() for name in column.dictionary.to_pylist()] + [""]
        indices = column.indices.fill_null(len(names) - 1).to_numpy()
        used = set(np.unique(indices).tolist())
        table = [self.codes.setdefault(name, len(self.codes)) if i in used else 0 for i, name in enumerate(names)]
        code: NDArray[np.int32] = np.array(table, dtype=np.int32)[indices]
        self.filled["symbol"] += len(indices) - int(np.count_nonzero(code == self.codes.get("", -1)))
        return code


def _completed(arrays: dict[str, Any], n: int) -> dict[str, Any]:
    """All tick columns but `code`: null where the source has none."""
    columns = {name: np.broadcast_to(np.int64(MISSING_INT), (n,)) for name in (*_INTEGERS, "ts_recv", "traded")}
    columns |= {name: np.broadcast_to(np.float64(np.nan), (n,)) for name in _QUOTES}
    columns |= arrays
    columns["ts_recv"] = np.where(columns["ts_recv"] > 0, columns["ts_recv"], MISSING_INT)
    return columns
