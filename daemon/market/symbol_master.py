"""Fyers' symbol master files of one day → lot, tick and kind of every symbol, and the futures on each name.

The files are public CSVs without a header, a segment each (`NSE_CM.csv`, `NSE_FO.csv`), of 21 columns: token, details,
instrument type, lot, tick, ISIN, trading session, date of the last update, expiry (UTC seconds), symbol, exchange,
segment, scrip code, name of the underlying, its scrip code, strike, option type, its token, and three more (two more
since 2024: columns are added at the end); the names are those of the public documentation of Fyers API v3. Pure but for
reading the copies.
Invariant: a master that was opened is whole and of its day; which contract is in front depends on it and on the date
alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from daemon.core.clock import IST
from daemon.core.csv import read_csv
from daemon.core.errors import UsageError

FILES: Final = ("NSE_CM", "NSE_FO")
LEAST_COLUMNS: Final = 18
_KEPT: Final = {"f2": "type", "f3": "lot", "f4": "tick", "f7": "updated", "f8": "expiry", "f9": "symbol", "f13": "name"}
INDEX_TYPE: Final = "10"
FUTURE_TYPES: Final = ("11", "13")
OPTION_TYPES: Final = ("14", "15")
"""Index and stock, of each; everything else in the cash file that is no index is a share, a fund or a bond."""


class Listing(msgspec.Struct, frozen=True):
    """One row. `lot_size` is 0 for an index; `expiry` is None for what never ends."""

    symbol: str
    type: str
    lot_size: int
    tick_size: Decimal
    expiry: dt.date | None
    name: str

    @property
    def is_index(self) -> bool:
        """Quoted, never traded."""
        return self.type == INDEX_TYPE

    @property
    def is_future(self) -> bool:
        """On an index or a share."""
        return self.type in FUTURE_TYPES

    @property
    def is_option(self) -> bool:
        """On an index or a share."""
        return self.type in OPTION_TYPES

    @property
    def is_on_index(self) -> bool:
        """Whether a contract is on an index: settled in cash."""
        return self.type in (FUTURE_TYPES[0], OPTION_TYPES[0])


class SymbolMaster:
    """The master of one day, checked. Raises `UsageError` that names the file and what is wrong with it."""

    def __init__(self, texts: Mapping[str, bytes], day: dt.date, min_rows: int, max_age_days: int) -> None:
        """`texts`: the bytes of each of `FILES`, as they were downloaded on `day`."""
        self.day = day
        tables = [_table(name, texts.get(name), day, min_rows, max_age_days) for name in FILES]
        self._table = pa.concat_tables(tables)
        self._symbols = self._table["symbol"].combine_chunks()
        self._futures = self._read_futures()

    @classmethod
    def cached(cls, directory: Path, day: dt.date, min_rows: int, max_age_days: int) -> SymbolMaster:
        """The copies of `day`; raises `UsageError` where there are none, or none that can be believed."""
        folder = folder_of(directory, day)
        texts = {}
        for name in FILES:
            path = folder / f"{name}.csv"
            try:
                texts[name] = path.read_bytes()
            except OSError as error:
                raise UsageError(
                    f"market.symbol_master: {path} can't be read ({error.strerror}); hrmd instruments update gets "
                    f"today's, and that of another day must be put there"
                ) from None
        return cls(texts, day, min_rows, max_age_days)

    @property
    def rows(self) -> int:
        """How many symbols it holds."""
        return int(self._table.num_rows)

    def listing(self, symbol: str) -> Listing | None:
        """The row of a symbol, None where it isn't listed."""
        row = pc.index(self._symbols, symbol).as_py()
        return None if row < 0 else self._listing(row)

    def future(self, exchange: str, name: str, month: int, on: dt.date, roll_days: int) -> str | None:
        """The `month`-th (1: front) future on `name` as of `on`; None where there is none.

        A contract stops being in front `roll_days` calendar days before its expiry, and with 0 after its expiry.
        """
        earliest = on + dt.timedelta(days=roll_days)
        standing = [symbol for expiry, symbol in self._futures.get((exchange, name), []) if expiry >= earliest]
        return standing[month - 1] if 1 <= month <= len(standing) else None

    def _listing(self, row: int) -> Listing:
        cells = {name: self._table[name][row].as_py() for name in _KEPT.values()}
        symbol = cells["symbol"]
        try:
            lot, tick = int(Decimal(cells["lot"])), Decimal(cells["tick"])
        except (InvalidOperation, ValueError):
            lot, tick = -1, Decimal(-1)
        if lot < 0 or (lot == 0 and cells["type"] != INDEX_TYPE) or not tick.is_finite() or tick <= 0:
            raise UsageError(
                f"symbol master of {self.day}: {symbol}: expected a lot and a tick above 0, got lot {cells['lot']!r}, "
                f"tick {cells['tick']!r}"
            )
        return Listing(symbol, cells["type"], lot, tick, _expiry(cells["expiry"]), cells["name"])

    def _read_futures(self) -> dict[tuple[str, str], list[tuple[dt.date, str]]]:
        """Futures by exchange and name of the underlying, by expiry."""
        rows = self._table.filter(pc.is_in(self._table["type"], pa.array(FUTURE_TYPES)))
        found: dict[tuple[str, str], list[tuple[dt.date, str]]] = {}
        columns = (rows[name].to_pylist() for name in ("symbol", "name", "expiry"))
        for symbol, name, text in zip(*columns, strict=True):
            expiry = _expiry(text)
            exchange, _, body = symbol.partition(":")
            if expiry is None or body != f"{name}{expiry:%y%b}FUT".upper():
                raise UsageError(
                    f"symbol master of {self.day}: {symbol}: expected a future on {name!r} named after its expiry, "
                    f"got the expiry {expiry or text}"
                )
            found.setdefault((exchange, name), []).append((expiry, symbol))
        return {key: sorted(contracts) for key, contracts in found.items()}


def folder_of(directory: Path, day: dt.date) -> Path:
    """Where the copies of a day are kept."""
    return directory / day.isoformat()


def _table(name: str, text: bytes | None, day: dt.date, min_rows: int, max_age_days: int) -> pa.Table:
    """The columns that we read, as text."""
    where = f"symbol master {name}.csv of {day}"
    if text is None:
        raise UsageError(f"{where}: is not there")
    fields = [f"f{number}" for number in range(text.partition(b"\n")[0].count(b",") + 1)]
    if len(fields) < LEAST_COLUMNS:
        raise UsageError(f"{where}: expected at least {LEAST_COLUMNS} columns, got {len(fields)}")
    try:
        table = read_csv(
            text,
            fields,
            pcsv.ConvertOptions(
                column_types=dict.fromkeys(fields, pa.string()), include_columns=list(_KEPT), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0][:160]
        raise UsageError(f"{where}: expected {len(fields)} columns in every row ({reason})") from None
    table = table.rename_columns(list(_KEPT.values()))
    if table.num_rows < min_rows:
        raise UsageError(
            f"{where}: holds {table.num_rows} rows, expected at least {min_rows} (market.symbol_master.min_rows)"
        )
    _check_symbols(where, table)
    _check_age(where, table, day, max_age_days)
    return table


def _check_symbols(where: str, table: pa.Table) -> None:
    symbols = table["symbol"].combine_chunks()
    exchange = where.split()[2].partition("_")[0]
    foreign = pc.index(pc.starts_with(symbols, pattern=f"{exchange}:"), False).as_py()
    if foreign >= 0:
        raise UsageError(f"{where}: row {foreign + 1}: expected a symbol of {exchange} in column 10")
    if pc.count_distinct(symbols).as_py() != table.num_rows:
        raise UsageError(f"{where}: a symbol stands in it twice")


def _check_age(where: str, table: pa.Table, day: dt.date, max_age_days: int) -> None:
    """The newest row's date: a file that is served but no longer made looks like any other."""
    newest = pc.max(table["updated"]).as_py() or ""
    try:
        updated = dt.date.fromisoformat(newest)
    except ValueError:
        raise UsageError(f"{where}: expected dates such as 2026-01-05 in column 8, got {newest[:20]!r}") from None
    if (day - updated).days > max_age_days:
        raise UsageError(
            f"{where}: its newest row is of {updated}, more than {max_age_days} days old "
            "(market.symbol_master.max_age_days)"
        )


def _expiry(text: str) -> dt.date | None:
    """The day in India of an expiry in UTC seconds; None for none."""
    try:
        seconds = int(Decimal(text))
    except (InvalidOperation, ValueError):
        return None
    return dt.datetime.fromtimestamp(seconds, IST).date() if seconds > 0 else None
