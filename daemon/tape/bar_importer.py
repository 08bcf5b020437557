"""Files of bars (OHLCV) → a tape of the ticks that stand for them.

Invariant: the tape holds every bar of the sources that is possible and not contradicted by those around it, once, in
order of time; every other is counted under one reason with the first row it was found in, and a file whose bars are of
another interval is refused.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST, IST_OFFSET_NS, NS_PER_S
from daemon.core.errors import TapeError, UsageError
from daemon.core.files import named_twice
from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date
from daemon.market.instruments import FEW_TICKS, InstrumentBook, Kind
from daemon.settings.market import MarketSettings
from daemon.settings.values import INTERVALS
from daemon.tape.bar_ticks import BAR_INTERVALS, BARS_NOTE, DAILY, OPEN_AFTER_NS, Bars, ticks_of
from daemon.tape.columns import Columns, check_complete, choose, two_symbols
from daemon.tape.false_bars import false_bars
from daemon.tape.file import SIMULATED, as_dictionary
from daemon.tape.format import TapeWriter
from daemon.tape.parsing import NumberColumn, TimeColumn, is_text
from daemon.tape.sources import JsonlSource, ParquetSource, Source, open_source

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

BAR_NAMES: Final = {
    "ts": ("ts", "ts_open", "timestamp", "datetime"),
    "symbol": ("symbol", "ticker"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "interval": ("interval",),
}
"""What a bar has, and the names under which it is known, whatever their case."""
PRICES: Final = ("open", "high", "low", "close")
MOST_PRICE: Final = 10_000_000.0
LEAST_PRICE: Final = 0.0001
MOST_VOLUME: Final = 10**12
"""Beyond, the tick filter would reject the ticks."""
MISPLACED_SHARE: Final = 0.05
"""If so many bars begin where none does, they are of another interval, or stamped by their ends."""
MOST_OUTSIDE: Final = 0.5
"""If more than so many bars, of days with a session, lie outside its hours, the others are of another hour, too."""
_CHUNK_BARS: Final = 65_536


class BarsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import of bars did. `left_out`: why → how many; `first_left_out`: why → where the first one stood."""

    source: str
    out: str
    format: str
    interval: str
    bars: int
    ticks: int
    symbols: list[str]
    columns: dict[str, str]
    left_out: dict[str, int]
    first_left_out: dict[str, str]
    remarks: dict[str, str]
    sorted: bool


class _Rows(msgspec.Struct):
    """All rows of the sources as they stand; `file` and `row` say where."""

    file: Ints
    row: Ints
    ts: Ints
    code: Ints
    prices: NDArray[np.float64]
    volume: NDArray[np.float64]
    other: Mask


def check_interval(name: str) -> None:
    """Raises `UsageError` for intervals of which no tape can be made."""
    if name == DAILY:
        raise UsageError("--bars 1d: a day is one bar, so nothing decided in it could trade in it; expected 1m to 60m")
    if name not in BAR_INTERVALS:
        raise UsageError(f"--bars {name}: expected one of {', '.join(BAR_INTERVALS)}")


def import_bars(
    sources: Sequence[Path],
    out: Path,
    interval: str,
    mapping: Mapping[str, str],
    symbol: str | None = None,
    zone: zoneinfo.ZoneInfo | None = None,
    *,
    calendar: MarketCalendar | None = None,
    instruments: InstrumentBook | None = None,
    by_end: bool = False,
    overwrite: bool = False,
) -> BarsReport:
    """Make the tape `out` of files of bars of one `interval`; `by_end`: their times are the bars' ends.

    Raises `TapeError` where a source can't be read, lacks a column or holds bars of another interval, and where `out`
    can't be written.
    """
    check_interval(interval)
    for path in sources:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out}: is the source itself; name another file")
    if (twice := named_twice(sources)) is not None:
        raise UsageError(f"{twice}: is given twice; each of its rows would count twice")
    codes: dict[str, int] = {} if symbol is None else {symbol: 0}
    files = [_File(path, mapping, symbol, zone, interval, codes) for path in sources]
    rows = _joined([file.rows(number) for number, file in enumerate(files)])
    judged = _Judged(rows, sources, tuple(codes), interval, calendar or MarketCalendar(), by_end)
    judged.leave_out_false(instruments or InstrumentBook(MarketSettings()))
    bars = judged.bars()
    for path, file in zip(sources, files, strict=True):
        judged.left_out += file.source.skipped
        judged.first = {reason: str(path) for reason in file.source.skipped} | judged.first
    formats = ", ".join(dict.fromkeys(file.source.format for file in files))
    notes = {"source": ", ".join(path.name for path in sources), "format": formats, BARS_NOTE: interval}
    if any(isinstance(file.source, ParquetSource) and file.source.notes.items() >= SIMULATED.items() for file in files):
        notes |= SIMULATED
    with TapeWriter(out, columns=("last_qty", "bid", "ask"), notes=notes, overwrite=overwrite) as writer:
        for part in _by_time(bars):
            writer.write(ticks_of(part, tuple(codes)))
    return BarsReport(
        source=", ".join(str(path) for path in sources), out=str(out), format=formats, interval=interval,
        bars=len(bars.start), ticks=writer.rows, symbols=[name for name in codes if name],
        columns={target: names[0] for target, names in files[0].columns.sources.items()},
        left_out=dict(judged.left_out), first_left_out=judged.first,
        remarks={"ts": files[0].time.remark} if files[0].time.remark else {}, sorted=judged.unsorted,
    )  # fmt: skip


class _File:
    """One file of bars, read whole."""

    def __init__(
        self, path: Path, mapping: Mapping[str, str], symbol: str | None, zone: zoneinfo.ZoneInfo | None,
        interval: str, codes: dict[str, int],
    ) -> None:  # fmt: skip
        self.source: Source = open_source(path, "close")
        if isinstance(self.source, JsonlSource):
            raise TapeError(f"{path}: is JSONL; bars are read from CSV or Parquet")
        there = list(self.source.columns)
        columns, pairs = choose(path, there, mapping, BAR_NAMES, "ts")
        if symbol is not None and "symbol" in columns:
            raise two_symbols(path, symbol, columns["symbol"][0])
        check_complete(path, there, columns, ["ts", *PRICES, *(("symbol",) if symbol is None else ())])
        self.columns = Columns(columns, pairs)
        self.time = TimeColumn(columns["ts"][0], zone)
        self._path, self._codes, self._interval = path, codes, interval

    def rows(self, number: int) -> _Rows:
        """Everything it holds; `number` is its own."""
        parts: list[_Rows] = []
        at = 0
        for chunk in self.source.chunks(self.columns.asked):
            self.columns.complete(chunk)
            try:
                parts.append(self._read(chunk, number, at))
            except TapeError as error:
                raise TapeError(f"{self._path}: {error}") from None
            at += len(parts[-1].ts)
        if not at:
            told = ", ".join(f"{count} {reason}" for reason, count in sorted(self.source.skipped.items()))
            raise TapeError(f"{self._path}: holds no bars ({told or '0 rows'})")
        return _joined(parts)

    def _read(self, chunk: dict[str, Any], number: int, at: int) -> _Rows:
        names = {target: found[0] for target, found in self.columns.sources.items()}
        for name, column in chunk.items():
            if pa.types.is_dictionary(column.type):
                chunk[name] = column.dictionary_decode()
        ts = self.time.read(chunk[names["ts"]])
        n = len(ts)
        prices = np.stack([NumberColumn(names[name]).read_floats(chunk[names[name]]) for name in PRICES], axis=1)
        volume, other = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
        if "volume" in names:
            column = chunk[names["volume"]]
            volume = NumberColumn(names["volume"]).read_floats(column, whole=True)
            volume = np.where(np.isnan(volume) & ~np.asarray(column.is_null()), -1.0, volume)  # there, and no number
        if "interval" in names:
            other = np.asarray(chunk[names["interval"]].cast(pa.string()).to_pylist(), dtype=object) != self._interval
        code = self._coded(chunk[names["symbol"]]) if "symbol" in names else np.zeros(n, dtype=np.int64)
        return _Rows(np.full(n, number), at + 1 + np.arange(n), ts, code, prices, volume, other)

    def _coded(self, column: Any) -> Ints:
        if not is_text(column.type):
            raise TapeError(f"column {self.columns.sources['symbol'][0]} is {column.type}; a symbol is text")
        coded = as_dictionary(column)
        names = [(text or "").strip() for text in coded.dictionary.to_pylist()] + [""]
        indices = coded.indices.fill_null(len(names) - 1).to_numpy()
        used, codes = set(np.unique(indices).tolist()), self._codes
        table = [codes.setdefault(text, len(codes)) if i in used else 0 for i, text in enumerate(names)]
        code: Ints = np.array(table, dtype=np.int64)[indices]
        return code


class _Judged:
    """Which rows are bars of the interval, and why the others aren't."""

    def __init__(
        self,
        rows: _Rows,
        sources: Sequence[Path],
        symbols: tuple[str, ...],
        interval: str,
        calendar: MarketCalendar,
        by_end: bool,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.unsorted = False
        self._rows, self._sources, self._symbols = rows, sources, symbols
        self._interval, self._length = interval, INTERVALS[interval] * NS_PER_S
        self._good = np.ones(len(rows.ts), dtype=np.bool_)
        self._by_end, self._calendar = by_end, calendar
        self._start, self._end = rows.ts, rows.ts
        self._judge()

    def leave_out_false(self, instruments: InstrumentBook) -> None:
        """Leave out what the bars around it contradict; an option may be worth any multiple for a bar."""
        true = np.ones(len(self._good), dtype=np.bool_)
        for code in np.unique(self._rows.code[self._good]).tolist():
            instrument = instruments.resolve(self._symbols[code]) if self._symbols[code] else None
            if instrument is not None and instrument.kind is not Kind.OPTION:
                own = np.flatnonzero(self._good & (self._rows.code == code))
                own = own[np.argsort(self._start[own], kind="stable")]
                true[own] = ~false_bars(self._rows.prices[own], FEW_TICKS * float(instrument.tick_size))
        self._keep(true, "false_price")

    def bars(self) -> Bars:
        """Those that are left, in order of time; raises `TapeError` where none is."""
        kept = np.flatnonzero(self._good)
        if not len(kept):
            why = ", ".join(f"{count} {reason}, first {self.first[reason]}" for reason, count in self.left_out.items())
            raise TapeError(f"{self._sources[0]}: holds no {self._interval} bar ({why})")
        self._check_spacing(kept)
        order = kept[np.argsort(self._start[kept], kind="stable")]
        for code in np.unique(self._rows.code[kept]).tolist():
            own = self._start[kept][self._rows.code[kept] == code]
            self.unsorted = self.unsorted or bool((np.diff(own) < 0).any())
        rows, prices = self._rows, self._rows.prices
        return Bars(
            code=rows.code[order].astype(np.int32),
            start=self._start[order],
            end=self._end[order],
            **{name: prices[order, place] for place, name in enumerate(PRICES)},
            volume=np.nan_to_num(rows.volume[order], nan=-1).astype(np.int64),
        )

    def _judge(self) -> None:
        rows = self._rows
        first, high, low, last = rows.prices.T
        with np.errstate(invalid="ignore"):
            priced = (rows.prices >= LEAST_PRICE).all(axis=1) & (rows.prices < MOST_PRICE).all(axis=1)
            possible = (high >= np.maximum(first, last)) & (low <= np.minimum(first, last)) & (high >= low)
            traded = np.isnan(rows.volume) | (
                (rows.volume >= 0) & (rows.volume <= MOST_VOLUME) & (rows.volume == np.floor(rows.volume))
            )
        self._keep(rows.ts > 0, "bad_time")
        self._keep(~rows.other, "other_interval")
        self._place()
        self._keep(priced, "bad_price")
        self._keep(possible, "impossible")
        self._keep(traded, "bad_quantity")
        kept = np.flatnonzero(self._good)
        _, firsts = np.unique(np.stack([rows.code[kept], self._start[kept]]), axis=1, return_index=True)
        once = np.zeros(len(rows.ts), dtype=np.bool_)
        once[kept[firsts]] = True
        self._keep(once, "duplicate")

    def _place(self) -> None:
        """Find start and end of each bar, and leave out those that lie in no session."""
        ts, calendar, length = self._rows.ts, self._calendar, self._length
        opened, closed = _sessions(ts - (1 if self._by_end else 0), calendar)
        at_end, at_start = self._good & (ts == closed), self._good & (ts == opened)
        if not self._by_end and at_end.any() and not at_start.any():
            raise TapeError(
                f"{self._where(at_end)}: then the session is over, so the bars are stamped by their ends: --stamp end"
            )
        if self._by_end and at_start.any() and not at_end.any():
            raise TapeError(
                f"{self._where(at_start)}: then the session begins, and none is of its close, so the bars are "
                "stamped by their starts: --stamp start"
            )
        inside = (ts > opened) & (ts <= closed) if self._by_end else (ts >= opened) & (ts < closed)
        of_day = self._good & (opened > 0)
        outside, read = of_day & ~inside, np.count_nonzero(of_day)
        if MOST_OUTSIDE * read < np.count_nonzero(outside) < read:
            raise TapeError(
                f"{self._where(outside)}: {np.count_nonzero(outside):,} of {read:,} bars of days with a session lie "
                "outside the market's hours: are their times of another zone? --tz says of which"
            )
        self._keep(inside, "outside_session")
        inner = ts - opened - (1 if self._by_end else 0)
        self._start = opened + inner // length * length
        self._end = np.minimum(self._start + length, closed)
        placed = self._end - ts <= NS_PER_S if self._by_end else ts == self._start
        misplaced = self._good & ~placed
        if np.count_nonzero(misplaced) > MISPLACED_SHARE * np.count_nonzero(self._good):
            what, or_ends = ("ends", "") if self._by_end else ("begins", ", or stamped by their ends (--stamp end)")
            raise TapeError(
                f"{self._where(misplaced)}: no {self._interval} bar {what} then; these are bars of another interval, "
                f"in another zone{or_ends}"
            )
        self._keep(placed, "misplaced")
        traded = calendar.in_session(self._start + OPEN_AFTER_NS) & calendar.in_session(self._end - 1)
        self._keep(traded, "outside_session")

    def _check_spacing(self, kept: Ints) -> None:
        """Raise `TapeError` where no two bars of a session are as close as bars of the interval are."""
        order = kept[np.lexsort((self._start[kept], self._rows.code[kept]))]
        steps = np.diff(self._start[order])
        day = (self._start[order] + IST_OFFSET_NS) // DAY_NS
        same = (np.diff(day) == 0) & (np.diff(self._rows.code[order]) == 0)
        if np.count_nonzero(same) >= 3 and steps[same].min() > self._length:
            apart = int(steps[same].min()) // NS_PER_S
            name = next((name for name, length in INTERVALS.items() if length == apart), f"{apart} s")
            raise TapeError(
                f"{self._sources[0]}: its bars are {name} apart, not {self._interval}: --bars {name} where there is one"
            )

    def _keep(self, good: Any, reason: str) -> None:
        bad = self._good & ~good
        count = int(np.count_nonzero(bad))
        if count:
            self.left_out[reason] += count
            self.first.setdefault(reason, self._where(bad))
            self._good &= good

    def _where(self, which: Any) -> str:
        row = int(np.argmax(which))
        rows = self._rows
        at = rows.ts[row]
        clock = ""
        if at:
            clock = f" at {dt.datetime.fromtimestamp(int(at) // NS_PER_S, IST):%Y-%m-%d %H:%M:%S} IST"
        return f"{self._sources[int(rows.file[row])]} row {rows.row[row]} ({self._symbols[int(rows.code[row])]}{clock})"


def _sessions(ts: Ints, calendar: MarketCalendar) -> tuple[Ints, Ints]:
    """(open, close) of the session on the day of each time, 0 where there is none."""
    days, places = np.unique((ts + IST_OFFSET_NS) // DAY_NS, return_inverse=True)
    spans = np.zeros((len(days), 2), dtype=np.int64)
    for number, day in enumerate(days.tolist()):
        try:
            session = calendar.session(ist_date(day * DAY_NS - IST_OFFSET_NS))
        except CalendarRangeError:
            continue
        if session is not None:
            spans[number] = session.open_ns, session.close_ns
    found = spans[places.reshape(-1)]
    return found[:, 0], found[:, 1]


def _joined(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Rows.__struct_fields__))


def _by_time(bars: Bars) -> Iterator[Bars]:
    """Cut sorted bars into parts, never between bars that begin together."""
    n, start = len(bars.start), 0
    while start < n:
        stop = min(start + _CHUNK_BARS, n)
        if stop < n:
            stop = int(np.searchsorted(bars.start, bars.start[stop - 1], side="right"))
        yield bars.take(slice(start, stop))
        start = stop
