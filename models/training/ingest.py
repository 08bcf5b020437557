"""Bar files → checked sessions and a report of what was wrong with them.

Invariant: a bar that reaches a session is finite, encloses its open and close, stands once, lies in the market's hours
on the interval's grid from the open, as a daemon's own bars do, and belongs to one instrument; whatever was dropped is
counted in the report, and a file that is too bad is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.india import DAY_NS, days_in_india, in_india
from models.training.columns import PRICES, read_table, since_1970
from models.training.errors import DataError
from models.training.sessions import Floats, Hours, Ints, Sessions, join, usual_hours

FAR: Final = np.log(1.5)
"""A day begins where it will, and may go back at once, and a bar goes further than it closes: beyond that it was no
price."""
FEW: Final = 0.2
"""Rupees that are a few ticks: of what costs no more than that they are any multiple, and a price all the same."""

OUTSIDE_SHARE: Final = 0.05
"""Of a file's bars: so many outside the market's hours are no auction and no odd session, but another clock's."""
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """What is tolerated.

    A bar whose return is over ``outlier_sigma`` robust deviations and comes straight back is dropped, the first of a
    day only where that is half of the lower price, and one whose high or low is as far from open and close
    (and more than a few ticks); a session that misses more than ``missing_share`` of the usual bars is left out; a file
    of which more than ``bad_share`` of the rows are dropped is refused.
    """

    outlier_sigma: float = 30.0
    missing_share: float = 0.2
    bad_share: float = 0.02


@dataclass(frozen=True)
class Report:
    """What one file came to; counts of bars unless named otherwise."""

    file: str
    symbol: str
    interval_s: int
    rows: int
    not_finite: int
    impossible: int
    duplicates: int
    outliers: int
    outside: int
    gaps: int
    sessions: int
    sessions_left_out: int

    @property
    def dropped(self) -> int:
        """Bars that did not reach a session because they were wrong in themselves."""
        return self.not_finite + self.impossible + self.duplicates + self.outliers

    @property
    def words(self) -> str:
        """One line for a person."""
        wrong = {
            "not finite": self.not_finite, "impossible": self.impossible, "duplicates": self.duplicates,
            "false prints": self.outliers,
        }  # fmt: skip
        said = ", ".join(f"{count:,} {name}" for name, count in wrong.items() if count)
        dropped = f"{self.dropped:,} dropped ({said})" if said else "none dropped"
        if self.outside:
            dropped += f", {self.outside:,} outside the market's hours or grid"
        return (
            f"{Path(self.file).name}: {self.symbol}: {self.rows:,} bars of {self.interval_s} s, {dropped}, "
            f"{self.gaps:,} missing; {self.sessions:,} sessions, {self.sessions_left_out:,} left out as incomplete"
        )


def read_bars(
    path: Path,
    interval_s: int,
    symbol: str | None = None,
    limits: Limits | None = None,
    columns: Mapping[str, str] | None = None,
    hours: Hours = usual_hours,
) -> tuple[Sessions, list[Report]]:
    """Sessions of every instrument in a Parquet or CSV file, resampled to ``interval_s``, one report an instrument.

    The file has columns ts or ts_open (UTC bar start, a timestamp or number since 1970), open, high, low, close and
    optionally volume and symbol, or those that ``columns`` names instead; without that of a symbol ``symbol`` or else
    the file's name names the instrument. Sessions are days in Mumbai, of the bars in the market's ``hours``. Raises
    DataError with the file's name where it can't be used.
    """
    limits = limits or Limits()
    table = read_table(path, columns or {})
    ts = _timestamps(table, path)
    bars = np.stack([_column(table, name, path) for name in (*PRICES, "volume")], axis=-1)
    names = _names(table, path, symbol or path.stem.split("_")[0])
    intervals = None
    if "interval" in table.column_names:
        intervals = np.asarray(table["interval"].to_pylist(), dtype=object)
        bars[bars[:, 4] == -1, 4] = np.nan  # as a replay writes an instrument without volume
    parts, reports = [], []
    for name in dict.fromkeys(names.tolist()):
        rows = _of_interval(np.flatnonzero(names == name), intervals, interval_s, f"{path}: {name}")
        sessions, report = _instrument(bars[rows], ts[rows], str(name), interval_s, limits, path, hours)
        parts.append(sessions)
        reports.append(report)
    return join(parts), reports


def _names(table: pa.Table, path: Path, name: str) -> NDArray[np.object_]:
    """The instrument of each row, in capitals as exchanges write them; ``name`` where no column says it."""
    if "symbol" not in table.column_names:
        return np.full(table.num_rows, name.strip().upper(), dtype=object)
    names = [(text or "").strip().upper() for text in table["symbol"].cast(pa.string()).to_pylist()]
    if "" in names:
        raise DataError(
            f"{path}: column symbol is empty in {names.count(''):,} of {len(names):,} rows, the first of them row "
            f"{names.index('') + 1:,}; expected a name in each"
        )
    return np.asarray(names, dtype=object)


def _of_interval(rows: Ints, intervals: NDArray[np.object_] | None, wanted_s: int, where: str) -> Ints:
    """Of the rows those of the longest interval from which the wanted one can be made; all where none is written."""
    if intervals is None:
        return rows
    lengths = {str(each): _seconds(str(each), where) for each in dict.fromkeys(intervals[rows].tolist())}
    fitting = {length: each for each, length in lengths.items() if wanted_s % length == 0}
    if not fitting:
        raise DataError(f"{where} has bars of {', '.join(lengths)}, from which bars of {wanted_s} s can't be made")
    chosen: Ints = rows[intervals[rows] == fitting[max(fitting)]]
    return chosen


def _seconds(interval: str, where: str) -> int:
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(interval[-1:])
    if unit is None or not interval[:-1].isdecimal() or int(interval[:-1]) == 0:
        raise DataError(f"{where}: interval {interval!r} is not known; expected 30s, 5m or 1h")
    return int(interval[:-1]) * unit


def _timestamps(table: pa.Table, path: Path) -> Ints:
    kind, column = table.schema.field("ts").type, table["ts"]
    if column.null_count:
        row = pc.is_null(column).to_pylist().index(True) + 1
        raise DataError(f"{path}: {column.null_count:,} rows have no time, the first of them row {row:,}")
    if pa.types.is_timestamp(kind):
        return np.asarray(column.cast(pa.timestamp("ns", tz=kind.tz)).cast(pa.int64()).to_numpy())
    if pa.types.is_integer(kind):
        return since_1970(np.asarray(column.to_numpy(), np.int64))
    raise DataError(f"{path}: column ts is {kind}, expected a timestamp or whole numbers since 1970")


def _column(table: pa.Table, name: str, path: Path) -> Floats:
    if name not in table.column_names:  # only volume may be absent
        return np.full(table.num_rows, np.nan)
    try:
        return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column {name} is {table.schema.field(name).type}, expected numbers") from error


def _instrument(
    bars: Floats, ts: Ints, name: str, interval_s: int, limits: Limits, path: Path, hours: Hours
) -> tuple[Sessions, Report]:
    rows = len(ts)
    finite = np.isfinite(bars[:, :4]).all(axis=1) & ~np.isinf(bars[:, 4])
    prices = np.where(finite[:, None], bars[:, :4], 1.0)
    possible = (prices > 0).all(axis=1) & (prices[:, 1] >= prices.max(axis=1)) & (prices[:, 2] <= prices.min(axis=1))
    possible &= ~(bars[:, 4] < 0)
    good = finite & possible
    order = np.flatnonzero(good)[np.argsort(ts[good], kind="stable")]
    ts, bars = ts[order], bars[order]
    first = np.append(True, np.diff(ts) > 0) if len(ts) else np.empty(0, bool)
    duplicates = int((~first).sum())
    ts, bars = ts[first], bars[first]
    found_s = _interval(ts, path, name)
    if interval_s % found_s:
        raise DataError(f"{path}: {name} has bars of {found_s} s, from which bars of {interval_s} s can't be made")
    opened, inside = _in_hours(ts, found_s, hours, f"{path}: {name}")
    outside = int((~inside).sum())
    ts, bars, opened = ts[inside], bars[inside], opened[inside]
    spikes = _spikes(bars[:, 3], ts, limits.outlier_sigma) | _false_extremes(bars)
    ts, bars, opened = ts[~spikes], bars[~spikes], opened[~spikes]
    sessions, gaps, left_out = _sessions(bars, ts, opened, name, found_s, interval_s, limits)
    report = Report(
        str(path), name, found_s, rows, int((~finite).sum()), int((finite & ~possible).sum()), duplicates,
        int(spikes.sum()), outside, gaps, len(sessions), left_out,
    )  # fmt: skip
    if report.dropped > limits.bad_share * rows:
        raise DataError(
            f"{path}: {report.dropped} of {rows} bars of {name} are unusable ({report.not_finite} not finite, "
            f"{report.impossible} impossible, {duplicates} duplicates, {report.outliers} outliers)"
        )
    if not len(sessions):
        raise DataError(f"{path}: {name} has no session that is complete enough")
    return sessions, report


def _interval(ts: Ints, path: Path, name: str) -> int:
    """Return the usual distance of bars in seconds."""
    steps = np.diff(ts)
    if not len(steps):
        raise DataError(f"{path}: {name} has fewer than two usable bars")
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[counts.argmax()])
    if usual % _SECOND or usual >= DAY_NS:
        raise DataError(f"{path}: {name} has bars {usual / 1e9:g} s apart, expected whole seconds within a day")
    return usual // _SECOND


def _in_hours(ts: Ints, found_s: int, hours: Hours, where: str) -> tuple[Ints, NDArray[np.bool_]]:
    """When the market opened on the day of each bar, and whether the bar lies in its hours, on the grid from there.

    Raises DataError for bars that another clock stamped, or by their ends: all of them would be of another time.
    """
    day = days_in_india(ts)
    first = np.flatnonzero(np.append(True, np.diff(day) != 0))
    opened, closed = np.repeat(hours(ts[first]), np.diff(np.append(first, len(ts))), axis=0).T
    outside, at_close = (ts < opened) | (ts >= closed), ts == closed
    if np.count_nonzero(outside & ~at_close) > OUTSIDE_SHARE * len(ts):
        row = int(np.argmax(outside))
        raise DataError(
            f"{where}: {np.count_nonzero(outside):,} of {len(ts):,} bars are outside the market's hours, the first "
            f"at {in_india(ts[row]):%Y-%m-%d %H:%M} IST, where {in_india(opened[row]):%H:%M} to "
            f"{in_india(closed[row]):%H:%M} is "
            "right: are their times of another zone? In Parquet a time without a zone is UTC, in CSV Mumbai's"
        )
    if at_close.any() and not (ts == opened).any():
        row = int(np.argmax(at_close))
        raise DataError(
            f"{where}: a bar begins at {in_india(ts[row]):%Y-%m-%d %H:%M} IST, when the market closes, and none "
            "when it opens: the bars are stamped by their ends; expected their starts"
        )
    into = (ts - opened) % (found_s * _SECOND)
    off = ~outside & (into > 0) & (into != (found_s - 1) * _SECOND)  # 09:15:59 is how some write the bar of 09:15
    if np.count_nonzero(off) > OUTSIDE_SHARE * len(ts):
        row = int(np.argmax(off))
        raise DataError(
            f"{where}: {np.count_nonzero(off):,} of {len(ts):,} bars of {found_s} s begin off the market's grid, the "
            f"first at {in_india(ts[row]):%Y-%m-%d %H:%M:%S} IST; expected {in_india(opened[row]):%H:%M} and every "
            f"{found_s} s from there"
        )
    return opened, ~(outside | off)


def _spikes(close: Floats, ts: Ints, sigma: float) -> NDArray[np.bool_]:
    """Bars that jump far away and straight back: a false print, where a real move would stay."""
    logs = np.log(close)
    there, back = np.diff(logs[:-1]), np.diff(logs[1:])
    out = np.zeros(len(close), bool)
    if len(there) == 0:
        return out
    moves = np.abs(np.diff(logs))
    usual = np.median(moves) or np.median(moves[moves > 0] if moves.any() else moves)  # most bars may not move at all
    scale = 1.4826 * usual + 1e-12
    within_a_day = np.diff(ts)[:-1] < DAY_NS // 4
    far = np.where(within_a_day, sigma * scale, max(sigma * scale, FAR))
    way = np.minimum(np.abs(there), np.abs(back))
    out[1:-1] = (np.abs(there + back) < 0.2 * way) & (way > far)
    return out


def _false_extremes(bars: Floats) -> NDArray[np.bool_]:
    """Bars whose high or low is far from where they opened and closed."""
    first, high, low, last = bars[:, :4].T

    def far(above: Floats, below: Floats) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (np.log(above / below) > FAR) & (above - below > FEW)
        return found

    return far(high, np.maximum(first, last)) | far(np.minimum(first, last), low)


def _sessions(
    bars: Floats, ts: Ints, opened: Ints, name: str, found_s: int, interval_s: int, limits: Limits
) -> tuple[Sessions, int, int]:
    """Split by Mumbai day, resample on a grid from each day's open, and leave out broken days."""
    day = days_in_india(ts)
    starts = np.flatnonzero(np.append(True, np.diff(day) != 0)) if len(day) else np.empty(0, np.int64)
    ends = np.append(starts[1:], len(ts))
    usual = int(np.median(ends - starts)) if len(starts) else 0
    kept_bars, kept_ts, lengths, gaps, left_out = [], [], [], 0, 0
    for first, last in zip(starts, ends, strict=True):
        missing = int((ts[last - 1] - ts[first]) // (found_s * _SECOND)) + 1 - (last - first)
        gaps += missing
        if last - first < (1 - limits.missing_share) * usual or missing > limits.missing_share * usual:
            left_out += 1
            continue
        day_bars, day_ts = _resample(bars[first:last], ts[first:last], interval_s * _SECOND, int(opened[first]))
        kept_bars.append(day_bars)
        kept_ts.append(day_ts)
        lengths.append(len(day_ts))
    total = sum(lengths)
    sessions = Sessions(
        bars=np.concatenate(kept_bars) if kept_bars else np.empty((0, 5)),
        ts_ns=np.concatenate(kept_ts) if kept_ts else np.empty(0, np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        symbol=np.zeros(len(lengths), np.int64),
        symbols=(name,),
        interval_s=interval_s,
        expected_bp=np.full(total, np.nan),
    )
    return sessions, gaps, left_out


def _resample(bars: Floats, ts: Ints, interval_ns: int, open_ns: int) -> tuple[Floats, Ints]:
    """One bar for each interval that has at least one bar in it."""
    slot = (ts - open_ns) // interval_ns
    first = np.flatnonzero(np.append(True, np.diff(slot) != 0))
    last = np.append(first[1:], len(ts)) - 1
    made = np.stack(
        [
            bars[first, 0],
            np.maximum.reduceat(bars[:, 1], first),
            np.minimum.reduceat(bars[:, 2], first),
            bars[last, 3],
            np.add.reduceat(bars[:, 4], first),
        ],
        axis=-1,
    )
    return made, open_ns + slot[first] * interval_ns
