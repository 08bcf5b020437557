"""Bars laid end to end ↔ trading sessions, in memory or memory-mapped.

Invariant: sessions lie in time order of each symbol, each is a run of consecutive rows, and a stored set that was not
written to its end can't be opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.india import DAY_NS, MUMBAI_NS, days_in_india, in_india
from models.past import FEWEST, LEFT, SUMS, known, session_evidence, session_sums
from models.training.errors import DataError
from models.vocabulary import short

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Hours = Callable[[Ints], Ints]
"""Starts of sessions (N,) → when the market opened and closed on those days, (N, 2), all UTC nanoseconds."""

_ARRAYS = ("bars", "ts_ns", "offsets", "symbol", "expected_bp")
AT_ONCE = 256
"""Sessions whose evidence is worked out together."""
_OWN = ("cost_bp", "hours_ns")
"""Arrays that not every set has."""
MINUTE_NS = 60_000_000_000
OPEN_NS, CLOSE_NS = 555 * MINUTE_NS, 930 * MINUTE_NS
"""09:15 and 15:30: the usual hours of a session, from midnight."""
_INDEX = "sessions.json"


@dataclass(frozen=True, eq=False)
class Sessions:
    """N sessions of R bars in all.

    ``bars`` (R, 5): open, high, low, close, volume (NaN where there is none); ``ts_ns`` (R,): UTC start of each bar;
    ``offsets`` (N+1,): first row of each session; ``symbol`` (N,): index into ``symbols``; ``expected_bp`` (R,): what
    an exact filter expected of each bar's log-return before it began, NaN where no filter exists. ``cost_bp`` (N,):
    what trading one unit once costs there; None where that is for the settings to say.
    """

    bars: Floats
    ts_ns: Ints
    offsets: Ints
    symbol: Ints
    symbols: tuple[str, ...]
    interval_s: int
    expected_bp: Floats
    cost_bp: Floats | None = None
    complexity: Floats | None = field(default=None, repr=False)
    """(R,): how hard the market is to read at each bar's close, 0..1, where somebody has worked it out."""
    hours_ns: Ints | None = field(default=None, repr=False)
    """(N, 2): open and close of each session by the calendar, UTC; None where nobody said."""
    chosen_from: tuple[Sessions, Ints] | None = field(default=None, repr=False)
    """The sessions that these are a part of, and their rows there: what came before them is there."""

    def __len__(self) -> int:
        """Return number of sessions."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Bars of each session, (N,)."""
        return np.diff(self.offsets)

    @property
    def interval(self) -> str:
        """The interval as the vocabularies name it: 300 s is ``5m``."""
        for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
            if self.interval_s % seconds == 0:
                return f"{self.interval_s // seconds}{unit}"
        return f"{self.interval_s}s"

    def sha256(self) -> str:
        """Of all that can be learned from them."""
        digest = hashlib.sha256(repr((self.symbols, self.interval_s)).encode())
        for name in ("bars", "ts_ns", "offsets", "symbol", "expected_bp", "cost_bp", "hours_ns"):
            array = getattr(self, name)
            digest.update(name.encode() + (b"" if array is None else np.ascontiguousarray(array).tobytes()))
        return digest.hexdigest()

    @cached_property
    def sums(self) -> Floats:
        """What each session leaves for those after it (`models.past.left_by`), (N, 41)."""
        ends, lengths = self.offsets, self.lengths
        out = np.zeros((len(self), LEFT))
        for i in range(len(self)):
            out[i, :SUMS] = session_sums(self.bars[ends[i] : ends[i + 1]])
        for length in np.unique(lengths[lengths >= FEWEST + 2]):
            alike = np.flatnonzero(lengths == length)
            for rows in np.array_split(alike, -(-len(alike) // AT_ONCE)):
                bars = self.bars[ends[rows][:, None] + np.arange(length)]
                out[rows, SUMS:] = np.round(session_evidence(bars), 3)
        return out

    def past(self, rows: Ints, most: int) -> Floats:
        """What is known of the ``most`` sessions of its symbol before each of ``rows``, (B, 41)."""
        if self.chosen_from is not None:
            whole, chosen = self.chosen_from
            return whole.past(chosen[rows], most)
        begins = np.flatnonzero(np.append(True, np.diff(self.symbol) != 0))
        first = begins[np.searchsorted(begins, rows, side="right") - 1]
        return np.array(
            [known(self.sums[max(start, row - most) : row], most) for start, row in zip(first, rows, strict=True)]
        )

    @cached_property
    def hours(self) -> Ints:
        """Open and close of each session, UTC, (N, 2): by the calendar, never by the bars that happen to be there.

        Where nobody said, 09:15 to 15:30 in Mumbai; a session that isn't inside lasts from its first to its last bar.
        """
        if self.hours_ns is not None:
            return self.hours_ns
        first = self.start_ns()
        last = self.ts_ns[self.offsets[1:] - 1] + self.interval_s * 1_000_000_000
        usual = usual_hours(first)
        inside = (first >= usual[:, 0]) & (last <= usual[:, 1])
        return np.where(inside[:, None], usual, np.stack([first, last], axis=-1))

    def start_ns(self) -> Ints:
        """UTC start of each session's first bar, (N,)."""
        return np.asarray(self.ts_ns[self.offsets[:-1]])

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Sessions:
        """Return the sessions that ``rows`` names, copied into memory."""
        chosen = np.arange(len(self))[rows]
        bars = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in chosen]
        flat = np.concatenate(bars) if bars else np.empty(0, np.int64)
        return Sessions(
            bars=self.bars[flat],
            ts_ns=self.ts_ns[flat],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[chosen])]).astype(np.int64),
            symbol=self.symbol[chosen],
            symbols=self.symbols,
            interval_s=self.interval_s,
            expected_bp=self.expected_bp[flat],
            cost_bp=None if self.cost_bp is None else self.cost_bp[chosen],
            complexity=None if self.complexity is None else self.complexity[flat],
            hours_ns=None if self.hours_ns is None else self.hours_ns[chosen],
            chosen_from=(self, chosen),
        )

    def with_past(self, most: int) -> Sessions:
        """The same, knowing of what they were chosen from only the ``most`` sessions before each: little to send."""
        whole, chosen = self, np.arange(len(self))
        while whole.chosen_from is not None:
            root, rows = whole.chosen_from
            whole, chosen = root, rows[chosen]
        begins = np.flatnonzero(np.append(True, np.diff(whole.symbol) != 0))
        first = begins[np.searchsorted(begins, chosen, side="right") - 1]
        near = [np.arange(max(start, row - most), row + 1) for start, row in zip(first, chosen, strict=True)]
        kept = np.unique(np.concatenate(near)) if near else np.empty(0, np.int64)
        there = replace(whole.select(kept), chosen_from=None)
        return replace(self, chosen_from=(there, np.searchsorted(kept, chosen)))

    def save(self, folder: Path) -> None:
        """Write one ``.npy`` an array; the index comes last and makes the set valid."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INDEX).unlink(missing_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        for name in _OWN:
            (folder / f"{name}.npy").unlink(missing_ok=True)
            if (own := getattr(self, name)) is not None:
                np.save(folder / f"{name}.npy", own)
        index = {"symbols": self.symbols, "interval_s": self.interval_s, "sessions": len(self), "bars": len(self.bars)}
        pending = folder / f"{_INDEX}.part"
        pending.write_text(json.dumps(index))
        os.replace(pending, folder / _INDEX)

    @classmethod
    def open(cls, folder: Path) -> Sessions:
        """Map a stored set into memory; pages are read as they are needed.

        Raises DataError where the folder holds none, or one that was not written to its end.
        """
        try:
            index = json.loads((folder / _INDEX).read_text())
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no complete stored sessions here ({error})") from error
        if len(arrays["bars"]) != index["bars"] or len(arrays["offsets"]) != index["sessions"] + 1:
            raise DataError(f"{folder}: the arrays do not have the lengths that {_INDEX} names")
        own = {name: np.load(path) for name in _OWN if (path := folder / f"{name}.npy").exists()}
        return cls(symbols=tuple(index["symbols"]), interval_s=index["interval_s"], **arrays, **own)


def usual_hours(start_ns: Ints) -> Ints:
    """09:15 and 15:30 in Mumbai of the days of ``start_ns`` (N,), UTC, (N, 2)."""
    midnight = days_in_india(start_ns) * DAY_NS - MUMBAI_NS
    return np.stack([midnight + OPEN_NS, midnight + CLOSE_NS], axis=-1)


def from_table(bars: Floats, ts_ns: Ints, symbol: str, interval_s: int, expected_bp: Floats | None = None) -> Sessions:
    """Whole sessions of equal length (N, T, 5) of one symbol, starts (N, T) and optional expectations (N, T)."""
    n, t = ts_ns.shape
    return Sessions(
        bars=bars.reshape(n * t, 5),
        ts_ns=ts_ns.reshape(-1),
        offsets=np.arange(n + 1, dtype=np.int64) * t,
        symbol=np.zeros(n, np.int64),
        symbols=(symbol,),
        interval_s=interval_s,
        expected_bp=np.full(n * t, np.nan) if expected_bp is None else expected_bp.reshape(-1),
        hours_ns=np.stack([ts_ns[:, 0], ts_ns[:, -1] + interval_s * 1_000_000_000], axis=-1),
    )


def join(parts: Sequence[Sessions]) -> Sessions:
    """Put sessions of several symbols behind one another. Raises DataError for mixed intervals."""
    intervals = sorted({part.interval for part in parts})
    if len(intervals) != 1:
        raise DataError(f"bars of different intervals can't be mixed: {', '.join(intervals) or 'no data'}")
    names = tuple(dict.fromkeys(name for part in parts for name in part.symbols))
    ends = np.concatenate([np.diff(part.offsets) for part in parts])
    rows = [np.array([names.index(name) for name in part.symbols], np.int64)[part.symbol] for part in parts]
    return Sessions(
        bars=np.concatenate([part.bars for part in parts]),
        ts_ns=np.concatenate([part.ts_ns for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(ends)]).astype(np.int64),
        symbol=np.concatenate(rows),
        symbols=names,
        interval_s=parts[0].interval_s,
        expected_bp=np.concatenate([part.expected_bp for part in parts]),
        cost_bp=_joined_costs(parts),
        hours_ns=np.concatenate([part.hours for part in parts])
        if any(part.hours_ns is not None for part in parts)
        else None,
    )


def _joined_costs(parts: Sequence[Sessions]) -> Floats | None:
    """All or none of the parts say what a trade costs."""
    costs = [part.cost_bp for part in parts if part.cost_bp is not None]
    return np.concatenate(costs) if len(costs) == len(parts) else None


def split_by_time(sessions: Sessions, border_ns: int, purge: int = 1) -> tuple[Sessions, Sessions]:
    """Sessions before and from ``border_ns`` on; the last ``purge`` session days before the border go to neither.

    Days, not sessions, are purged, so that no instrument's last training day touches another's first validation day.
    Raises DataError where either side is left empty.
    """
    start = sessions.start_ns()
    before = start < border_ns
    days = np.unique(start[before] // 86_400_000_000_000)
    first_purged = days[-purge] if 0 < purge <= len(days) else (days[-1] + 1 if len(days) else 0)
    kept = before & (start // 86_400_000_000_000 < first_purged) if purge <= len(days) else np.zeros(len(start), bool)
    if not kept.any() or before.all():
        raise DataError(f"a split at {np.datetime64(border_ns, 'ns')} leaves one side without sessions")
    return sessions.select(kept), sessions.select(~before)


def in_order(sessions: Sessions) -> Sessions:
    """The same sessions one symbol behind another, each in time order, however many files they came from.

    Raises DataError where an instrument has a session twice, be it under two of its names.
    """
    start = sessions.start_ns()
    plain = [short(name) for name in sessions.symbols]
    instrument = np.array([plain.index(name) for name in plain], np.int64)[sessions.symbol]
    order = np.lexsort((start, instrument))
    day, same = start[order] // DAY_NS, instrument[order]
    twice = np.flatnonzero((np.diff(day) == 0) & (np.diff(same) == 0))
    if len(twice):
        pair = order[twice[0] : twice[0] + 2]
        names = " and ".join(dict.fromkeys(sessions.symbols[row] for row in sessions.symbol[pair]))
        when = in_india(int(start[pair[0]])).date()
        raise DataError(f"{names} of {when} is there twice: expected each day of an instrument in one file")
    order = np.lexsort((start, sessions.symbol))
    if (order == np.arange(len(order))).all():
        return sessions
    return replace(sessions.select(order), chosen_from=None)


def newest_of_each(sessions: Sessions, count: int) -> Sessions:
    """The newest ``count`` sessions, taken from all symbols alike: one that has too few leaves its share to others."""
    start, age = sessions.start_ns(), np.empty(len(sessions), np.int64)
    for symbol in np.unique(sessions.symbol):
        own = np.flatnonzero(sessions.symbol == symbol)
        age[own[np.argsort(-start[own], kind="stable")]] = np.arange(len(own))
    youngest = np.lexsort((sessions.symbol, age))[:count]
    return sessions.select(np.sort(youngest))
