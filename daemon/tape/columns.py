"""The names that a source has for things → which of its columns each tape column is read from.

Understood without `--map`: the tape's own names, Fyers' names (both whatever their case), `LTQ`, and the pair
`Date` and `Time`. Invariant: no column is read as something that it was not named for.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon.core.errors import TapeError, UsageError
from daemon.tape.file import PRICES, REQUIRED_COLUMNS, TAPE_COLUMNS, are_bars, listed
from daemon.tape.sources import Source
from daemon.tape.zones import joined

FYERS_NAMES: Final = {
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

OTHER_NAMES: Final = {"last_qty": ("ltq",)}
PAIR: Final = ("date", "time")
_PLUS: Final = "+"


class Columns(msgspec.Struct, frozen=True):
    """Where each tape column is read from: of several source columns the first that has a value in a row.

    `pairs`: made columns, each of one of days and one of times of day.
    """

    sources: dict[str, tuple[str, ...]]
    pairs: dict[str, tuple[str, str]]

    @property
    def asked(self) -> list[str]:
        """The source columns that are needed, each once."""
        names = [name for target in self.sources.values() for name in target]
        return list(dict.fromkeys(part for name in names for part in self.pairs.get(name, (name,))))

    def complete(self, chunk: dict[str, Any]) -> None:
        """Add the made columns to a chunk of the source."""
        for name, (days, clocks) in self.pairs.items():
            chunk[name] = joined(chunk[days], chunk[clocks])


def parse_map(options: list[str], targets: Collection[str] = tuple(TAPE_COLUMNS), what: str = "tape") -> dict[str, str]:
    """`target=source` options as a dictionary; raises `UsageError` naming the option and the targets there are."""
    mapping: dict[str, str] = {}
    example = "ts_event=ts" if what == "tape" else "ts=when"
    for option in options:
        target, separator, source = option.partition("=")
        if not separator or not target or not source:
            raise UsageError(f"--map {option}: expected {what.upper()}_COLUMN=SOURCE_COLUMN, such as {example}")
        if target not in targets:
            close = difflib.get_close_matches(target, targets, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a {what} has {', '.join(targets)}"
            raise UsageError(f"--map {option}: a {what} has no column {target} ({hint})")
        if target in mapping:
            raise UsageError(f"--map {option}: {target} is mapped already, to {mapping[target]}")
        mapping[target] = source
    return mapping


def understood(target: str) -> tuple[str, ...]:
    """The names under which a tape column is known without `--map`."""
    return tuple(dict.fromkeys((target, FYERS_NAMES.get(target, target), *OTHER_NAMES.get(target, ()))))


def choose_columns(path: Path, source: Source, mapping: Mapping[str, str], symbol: str | None) -> Columns:
    """What each tape column is read from, of all that the source has (or, in JSONL, may have). Raises `TapeError`."""
    there = None if source.format == "jsonl" else list(source.columns)
    columns, pairs = choose(path, there, mapping, {name: understood(name) for name in TAPE_COLUMNS}, "ts_event")
    if symbol is not None:
        if "symbol" in mapping or (there is not None and "symbol" in columns):
            raise two_symbols(path, symbol, columns["symbol"][0])
        columns.pop("symbol", None)
    of_bar = [name for name in columns.get("ltp", ()) if name.strip().lower() in PRICES]
    if are_bars(there or ()) and ("ltp" not in columns or of_bar):
        early = f"; as ticks their {of_bar[0]} would be known too early" if of_bar else ""
        bars = f"holds bars, for it has {listed(there or ())}: --bars 5m, or what their interval is"
        raise TapeError(f"{path}: {bars}{early}")
    check_complete(path, there, columns, [name for name in REQUIRED_COLUMNS if name != "symbol" or symbol is None])
    return Columns(columns, pairs)


def choose(
    path: Path,
    there: Sequence[str] | None,
    mapping: Mapping[str, str],
    known: Mapping[str, tuple[str, ...]],
    time: str,
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, str]]]:
    """(target → source columns, made columns); `known` are the names of each target, `time` is the one of the time.

    What `mapping` says is something else isn't read as what its name says, unless nothing else says what is needed.
    """
    columns: dict[str, tuple[str, ...]] = {}
    pairs: dict[str, tuple[str, str]] = {}
    said = set(mapping.values())
    free = [name for name in there or () if name not in said]
    for target, names in known.items():
        if target in mapping:
            columns[target] = (mapping[target],)
        elif there is None:
            if left := tuple(name for name in names if name not in said):
                columns[target] = left
        elif found := _found(free, names) or (_found(there, names) if target in REQUIRED_COLUMNS else None):
            columns[target] = (found,)
    if there is None or time in columns:
        day, plus, clock = mapping.get(time, "").partition(_PLUS)
        if plus and day and clock and mapping[time] not in (there or ()):
            pairs[mapping[time]] = (day, clock)
    elif (days := _found(there, PAIR[:1])) and (clocks := _found(there, PAIR[1:])):
        columns[time] = (f"{days}{_PLUS}{clocks}",)
        pairs[columns[time][0]] = (days, clocks)
    if there is not None:
        _check_there(path, there, mapping, Columns(columns, pairs))
    return columns, pairs


def check_complete(
    path: Path, there: Sequence[str] | None, columns: Mapping[str, tuple[str, ...]], needed: Sequence[str]
) -> None:
    """Raise `TapeError` for what is needed and not there, with what is there and which option would say more."""
    missing = [name for name in needed if name not in columns]
    if missing:
        advice = " or --symbol NAME" if missing[0] == "symbol" else ""
        raise TapeError(
            f"{path}: no column for {', '.join(missing)}; it has {listed(there or ())}: "
            f"add --map {missing[0]}=COLUMN{advice}"
        )


def two_symbols(path: Path, symbol: str, column: str) -> UsageError:
    """The refusal of `--symbol` for a source that names its symbols."""
    return UsageError(f"--symbol {symbol}: {path} names its symbols itself, in {column}; leave --symbol out")


def _found(there: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has one of these names: as it is written, else but for its case."""
    for name in names:
        if name in there:
            return name
    lower = {name.lower() for name in names}
    return next((name for name in there if name.strip().lower() in lower), None)


def _check_there(path: Path, there: Sequence[str], mapping: Mapping[str, str], columns: Columns) -> None:
    for target, name in mapping.items():
        for part in columns.pairs.get(name, (name,)):
            if part not in there:
                raise TapeError(f"{path}: --map {target}={name}: no column {part}; it has {listed(there)}")
    counts = Counter(there)
    for name in columns.asked:
        if counts[name] > 1:
            raise TapeError(f"{path}: {counts[name]} columns are named {name}; which is meant can't be told")
